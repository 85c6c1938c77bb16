"""One run at a time, with one config and one code: a job that finds others stops.

On a cluster every job reads the workflow again. If the config, a script or a prompt was edited after the start, the job
would run with the new ones while Snakemake records the old ones. A killed Snakemake leaves its jobs behind: one that
starts, or ends, after a later run has begun must not replace that run's results, which may have other settings.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path

from scalequest.errors import ScaleQuestError
from scalequest.hashing import canonical_json
from scalequest.runtime.files import RUN, RUN_FILE, newer_run, write_text

_NAME = "SCALEQUEST_FROZEN"


def freeze(found: Mapping[str, str], main_process: bool) -> None:
    """In the main process, store digests of what a run depends on, by name, for its jobs.

    In a job, raises ScaleQuestError where a digest differs, or where a later run has begun in this folder.
    """
    if main_process:
        os.environ[_NAME] = canonical_json(dict(found))
        return
    if newer_run():
        raise ScaleQuestError(
            "another run has begun in this folder since this job was submitted, and makes what this job "
            "would. This job stops; the rows that it made are kept."
        )
    before = json.loads(os.environ.get(_NAME) or "{}")
    if changed := [what for what, value in found.items() if before.get(what, value) != value]:
        raise ScaleQuestError(
            f"{' and '.join(changed)} edited while this run was going on; this job would not run with what the run was "
            "started with. Stop the run and start it again: finished work is kept."
        )


def begin_run() -> None:
    """Mark that a run begins in this folder, in the main process before its first job. Its jobs inherit the mark."""
    os.environ[RUN] = uuid.uuid4().hex
    write_text(Path(RUN_FILE), os.environ[RUN])
