"""Estimate the size of a run before anything is submitted: `make plan`, or this file with Snakemake's arguments.

Jobs by rule, rows, GPU-hours, begin and end of each stage, room on disk, and the throughputs that these are estimated
from. Nothing is run and nothing is written.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scalequest.workflow.confirm import reason_to_confirm
from scalequest.workflow.dryrun import with_plan
from scalequest.workflow.estimate import TRAININGS, Estimator, Job
from scalequest.workflow.planned_jobs import at_once, not_known, planned
from scalequest.workflow.schedule import duration, gpu_hours, per_rule, schedule, too_long
from scalequest.workflow.throughputs import throughputs
from scalequest.workflow.training_memory import table as memory_table
from scalequest.workflow.training_memory import trainings

GB = 1e9


def report(workflow: Any) -> str:
    """The plan of a workflow, as a text."""
    config = workflow.globals["CONFIG"]
    estimator = Estimator(config)
    jobs = planned(workflow.dag, estimator)
    if not jobs:
        return "Nothing would run: every file is there, and follows from the config and the code as they are."
    limits = at_once(workflow)
    lines = [*table(jobs, limits), *not_known(jobs, estimator), "", *slow(jobs), *disk(jobs, config)]
    if any(job.rule in TRAININGS for job in jobs) and (found := trainings(config)):
        lines += ["", *memory_table(found)]
    lines += ["", *sources(jobs, estimator)]
    reason = reason_to_confirm(jobs, config["operation"]["confirm_above_gpu_hours"])
    return "\n".join([*lines, *(["", f"It will have to be confirmed: {reason}"] if reason else [])])


def table(jobs: Sequence[Job], limits: Mapping[str, int]) -> list[str]:
    """A line for each rule, and the totals."""
    times = schedule(jobs, **limits)
    lines = [f"{'':24}{'jobs':>6}{'rows':>13}{'stored':>13}{'a job':>10}{'GPU-hours':>11}{'begins':>11}{'ends':>10}"]
    for cost in per_rule(jobs):
        own = [time for job, time in zip(jobs, times, strict=True) if job.rule == cost.rule]
        rows = "" if cost.rows is None else f"{cost.rows:,.0f}"
        found = f"{cost.found:,.0f}" if cost.found else ""
        hours = f"{cost.gpu_hours:,.1f}" if cost.gpu_hours else ""
        lines.append(
            f"{cost.rule:24}{cost.jobs:6d}{rows:>13}{found:>13}{duration(cost.seconds / cost.jobs):>10}{hours:>11}"
            f"{duration(min(begin for begin, _ in own)):>11}{duration(max(end for _, end in own)):>10}"
        )
    words = {"at_once": "jobs", "cores": "cores", "gpus": "GPUs"}
    told = " and ".join(
        f"{number} {words[name]}" for name, number in limits.items() if name != "gpus" or gpu_hours(jobs)
    )
    return [
        *lines,
        "",
        f"In all: {len(jobs)} jobs, {gpu_hours(jobs):,.1f} GPU-hours, {duration(max(end for _, end in times))} "
        f"by the clock with {told or 'any number of jobs'} at one time",
        "(--jobs, --cores, --resources gpu=N). Waiting in a queue, downloads and 6 to 9 s a SLURM job come on top.",
        "`rows` are to be made, read or trained on. `stored` rows are there already, of the same model and settings:",
        "an upper bound, as a row whose text has changed is made again.",
    ]


def slow(jobs: Sequence[Job]) -> list[str]:
    """A line for each rule whose jobs need more time than their first attempt has."""
    late: dict[str, list[Job]] = {}
    for job in jobs:
        if job.limits and job.seconds > job.limits[0]:
            late.setdefault(job.rule, []).append(job)
    return [
        f"{rule}: {len(own)} of its jobs need more than the {duration(own[0].limits[0])} of their first attempt; "
        "retries go on from the last window."
        for rule, own in late.items()
    ] + [*too_long(jobs), *([""] if late else [])]


def disk(jobs: Sequence[Job], config: Mapping[str, Any]) -> list[str]:
    """A line for each folder: what is there, what comes to it, what is free."""
    storage = config["storage"]
    places = {"results": Path("results"), "progress": Path(storage["progress"]), "models": Path(storage["models"])}
    needed = dict.fromkeys([*places, "checkpoints"], 0.0)
    for job in jobs:
        for name, size in job.room.items():
            needed[name] += size
    lines = [f"{'room on disk, GB':36}{'now':>10}{'comes':>10}{'free':>10}"]
    total = 0.0
    for name, path in places.items():
        now = size_of(path)
        total += now + needed[name]
        lines.append(f"{path!s:36}{now / GB:10.1f}{needed[name] / GB:10.1f}{free(path) / GB:10.1f}")
    total += needed["checkpoints"]
    if needed["checkpoints"]:
        lines.append(
            f"{'of trainings, while they run':36}{'':10}{needed['checkpoints'] / GB:10.1f}          (beside the models)"
        )
    lines.append(f"{'in all':36}{'':10}{total / GB:10.1f}")
    needed["models"] += needed["checkpoints"]
    by_disk: dict[int, list[str]] = {}
    for name, path in places.items():
        by_disk.setdefault(existing(path).stat().st_dev, []).append(name)
    for names in by_disk.values():
        comes, there = sum(needed[name] for name in names), free(places[names[0]])
        if comes > there:
            folders = ", ".join(str(places[name]) for name in names)
            lines.append(
                f"The disk of {folders} has {there / GB:,.1f} GB free, less than the {comes / GB:,.1f} GB that come."
            )
    quota = config["operation"]["quota_gb"]
    if quota is not None and total > quota * GB:
        lines.append(
            f"That is more than operation.quota_gb ({quota:g}). `make gc` says what can go; weights and finished rows "
            "may lie elsewhere (storage.models, storage.progress; once a run has begun, leave links in the old places)."
        )
    return lines


def size_of(folder: Path) -> float:
    """Bytes of a folder's files, each counted once."""
    seen: dict[tuple[int, int], int] = {}
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            status = path.stat()
            seen[status.st_dev, status.st_ino] = status.st_blocks * 512
    return float(sum(seen.values()))


def free(folder: Path) -> float:
    """Free bytes of the disk that a folder is, or would be, on."""
    return float(shutil.disk_usage(existing(folder)).free)


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return folder


def sources(jobs: Sequence[Job], estimator: Estimator) -> list[str]:
    """The throughputs and shares that the numbers above are estimated from."""
    lines = ["estimated from these throughputs"]
    for cost in per_rule(jobs):
        lines += [f"{cost.rule:24}{source}" for source in cost.sources]
    lines.append(f"{'seed problems':24}{estimator.seeds:,.0f}: {estimator.seeds_source}")
    kept = ", ".join(
        f"{name} {estimator.shares[None][name]:.0%}"
        for name in estimator.config["filters"]["order"]
        if estimator.config["filters"][name]["enabled"] and estimator.config["filters"][name]["action"] == "drop"
    )
    if kept:
        lines.append(f"{'share that filters keep':24}{kept}: {estimator.shares_source}")
    return [*lines, f"{'bytes a row':24}{throughputs()['disk']['source']}"]


if __name__ == "__main__":
    with_plan(sys.argv[1:], report)
