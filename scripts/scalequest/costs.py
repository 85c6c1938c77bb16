"""What a plan costs, estimated from what earlier jobs of the same rules took; and the question before a dear run.

`make explain` and the start of a run share this. The estimate is an upper bound where rows are found in the progress
folder, and rough where jobs have another size than those that ran before.
"""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalequest.errors import ScaleQuestError

BENCHMARKS = Path("benchmarks")
CONFIRM = "SCALEQUEST_CONFIRM"
KEY = "operation.confirm_above_gpu_hours"


@dataclass(frozen=True)
class Job:
    """A planned job: its rule, the GPUs that it takes, whether its rule's time is measured (it has a `benchmark:`)."""

    rule: str
    gpus: int
    measured: bool = True


@dataclass(frozen=True)
class Cost:
    """The jobs of one rule, in seconds of work one after another and in GPU-hours; None where nobody knows."""

    rule: str
    jobs: int
    seconds: float | None
    gpu_hours: float | None


def planned(jobs: Iterable[Any]) -> list[Job]:
    """Snakemake's jobs as this module sees them; those that make nothing (targets) are left out."""
    return [
        Job(job.rule.name, int(job.resources.get("gpu", 0) or 0), bool(job.benchmark)) for job in jobs if job.output
    ]


def seconds_per_job(folder: Path = BENCHMARKS) -> dict[str, float]:
    """Mean seconds of a job of each rule that ran here, from Snakemake's `folder/RULE.tsv` and `folder/RULE/*.tsv`.

    A file that is no benchmark (a run was killed while writing it) counts as none.
    """
    files = [(path.stem, path) for path in folder.glob("*.tsv")]
    files += [(path.parent.name, path) for path in folder.glob("*/*.tsv")]
    found: dict[str, list[float]] = {}
    for rule, path in files:
        try:
            with path.open(encoding="utf-8", newline="") as handle:
                seconds = [float(row["s"]) for row in csv.DictReader(handle, delimiter="\t")]
        except (KeyError, TypeError, ValueError):
            continue
        if seconds:
            found.setdefault(rule, []).append(sum(seconds))
    return {rule: sum(times) / len(times) for rule, times in found.items()}


def estimate(jobs: Sequence[Job], seconds: Mapping[str, float]) -> list[Cost]:
    """The cost of each rule, in the order in which the rules first appear."""
    costs = []
    for rule in dict.fromkeys(job.rule for job in jobs):
        own = [job for job in jobs if job.rule == rule]
        gpus = sum(job.gpus for job in own)
        # What is not worth a benchmark takes no time worth telling.
        each = seconds.get(rule) if own[0].measured else 0.0
        costs.append(
            Cost(
                rule,
                len(own),
                None if each is None else each * len(own),
                None if each is None and gpus else (each or 0.0) * gpus / 3600,
            )
        )
    return costs


def gpu_hours(costs: Iterable[Cost]) -> tuple[float, list[str]]:
    """GPU-hours in all, and the rules with GPUs whose cost nobody knows."""
    costs = list(costs)
    return sum(cost.gpu_hours or 0.0 for cost in costs), [cost.rule for cost in costs if cost.gpu_hours is None]


def too_dear(costs: Iterable[Cost], limit: float | None) -> str | None:
    """Why a run has to be confirmed, in a sentence; None where it has not. What never ran here counts as too dear."""
    if limit is None:
        return None
    hours, unknown = gpu_hours(costs)
    if hours > limit:
        return f"this run would take about {hours:.2g} GPU-hours, more than {KEY} ({limit:g})."
    if unknown:
        return (
            f"this run has GPU jobs that never ran here ({', '.join(unknown)}), so whether it takes more than "
            f"{KEY} ({limit:g}) is unknown."
        )
    return None


def confirm(jobs: Sequence[Job], limit: float | None) -> None:
    """Ask before a run that is too dear: on a terminal, or by the environment variable SCALEQUEST_CONFIRM=yes.

    Raises ScaleQuestError where the answer is no, or where there is nobody to ask.
    """
    why = too_dear(estimate(jobs, seconds_per_job()), limit)
    if why is None or os.environ.get(CONFIRM) == "yes":
        return
    if not sys.stdin or not sys.stdin.isatty():
        raise ScaleQuestError(
            f"{why} If that is meant, start it with {CONFIRM}=yes; `make explain` says what it is for."
        )
    try:
        answer = input(f"{why[0].upper()}{why[1:]} Go on? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise ScaleQuestError(f"not confirmed: {why} Nothing was started.")
