"""Settings are frozen when a run starts: a job that meets another config refuses.

On a cluster every job parses the config again. Had it been edited since the start, the job would run one set of
settings and Snakemake would record the other.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from scalequest.errors import ScaleQuestError
from scalequest.hashing import digest

_NAME = "SCALEQUEST_FROZEN_CONFIG"


def freeze(config: Mapping[str, Any], main_process: bool) -> None:
    """In the main process, note the config for the jobs; in a job, raise ScaleQuestError if it is another one."""
    found = digest(config)
    if main_process:
        os.environ[_NAME] = found
    elif os.environ.get(_NAME, found) != found:
        raise ScaleQuestError(
            "the config was edited while this run was going on; this job would run with other settings than the run "
            "was started with. Stop the run and start it again: finished work is kept."
        )
