"""Settings are frozen when a run starts: a job that meets another config refuses.

On a cluster every job parses the config again. Had it been edited since the start, the job would run one set of
settings and Snakemake would record the other.
"""

from __future__ import annotations

import os

from scalequest.errors import ScaleQuestError

_NAME = "SCALEQUEST_FROZEN_CONFIG"


def freeze(found: str, main_process: bool) -> None:
    """In the main process, note the config's digest for the jobs; in a job, raise ScaleQuestError if it is another."""
    if main_process:
        os.environ[_NAME] = found
    elif os.environ.get(_NAME, found) != found:
        raise ScaleQuestError(
            "the config was edited while this run was going on; this job would run with other settings than the run "
            "was started with. Stop the run and start it again: finished work is kept."
        )
