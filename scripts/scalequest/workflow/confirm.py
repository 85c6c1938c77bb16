"""The question before a run that takes more GPU-hours than the config allows without one."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from scalequest.errors import ScaleQuestError
from scalequest.workflow.estimate import Job
from scalequest.workflow.schedule import gpu_hours

# Environment variable that confirms such a run.
CONFIRM = "SCALEQUEST_CONFIRM"
KEY = "operation.confirm_above_gpu_hours"


def reason_to_confirm(jobs: Sequence[Job], limit: float | None) -> str | None:
    """Why a run must be confirmed, as a sentence; None where it need not. `limit`: GPU-hours, None for no limit."""
    hours = gpu_hours(jobs)
    if limit is None or hours <= limit:
        return None
    return f"this run would take about {hours:.2g} GPU-hours, more than {KEY} ({limit:g})."


def confirm(jobs: Sequence[Job], limit: float | None) -> None:
    """Ask on the terminal before a run of more than `limit` GPU-hours, unless SCALEQUEST_CONFIRM=yes is set.

    Raises ScaleQuestError where the answer is no, or where there is no terminal.
    """
    why = reason_to_confirm(jobs, limit)
    if why is None or os.environ.get(CONFIRM) == "yes":
        return
    if not sys.stdin or not sys.stdin.isatty():
        raise ScaleQuestError(
            f"{why} To run it all the same, set {CONFIRM}=yes; `make plan` and `make explain` say what takes the time."
        )
    try:
        answer = input(f"{why[0].upper()}{why[1:]} Go on? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise ScaleQuestError(f"not confirmed: {why} Nothing was started.")
