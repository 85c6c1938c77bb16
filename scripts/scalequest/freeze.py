"""One run at a time, of one config and one code: a job that meets others refuses.

On a cluster every job parses the workflow again. Had the config, a script or a prompt been edited since the start, the
job would run one thing and Snakemake would record the other. And killing Snakemake leaves its jobs: one that waited in
the queue, or still works, must not put its result in the place of a later run's, which may be of other settings.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path

from scalequest.errors import ScaleQuestError
from scalequest.files import RUN, RUN_FILE, newer_run, write_text
from scalequest.hashing import canonical_json

_NAME = "SCALEQUEST_FROZEN"


def freeze(found: Mapping[str, str], main_process: bool) -> None:
    """In the main process, note digests of what a run rests on, by what it is, for the jobs.

    In a job, raises ScaleQuestError where one is another, or where a later run has begun in this folder.
    """
    if main_process:
        os.environ[_NAME] = canonical_json(dict(found))
        return
    if newer_run():
        raise ScaleQuestError(
            "another run has begun in this folder since this job was submitted; it makes what this job would. This job "
            "can go: what it had made is kept."
        )
    before = json.loads(os.environ.get(_NAME) or "{}")
    if changed := [what for what, value in found.items() if before.get(what, value) != value]:
        raise ScaleQuestError(
            f"{' and '.join(changed)} edited while this run was going on; this job would run with others than the run "
            "was started with. Stop the run and start it again: finished work is kept."
        )


def begin_run() -> None:
    """Note, in the main process and before its first job, that a run begins in this folder; its jobs inherit which."""
    os.environ[RUN] = uuid.uuid4().hex
    write_text(Path(RUN_FILE), os.environ[RUN])
