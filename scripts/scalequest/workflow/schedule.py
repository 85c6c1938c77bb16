"""The jobs of a plan together: the cost of each rule, and when each job begins and ends."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scalequest.workflow.estimate import Job


@dataclass(frozen=True)
class Cost:
    """The jobs of one rule: their number, rows and found rows (as of a `Job`), seconds of the jobs one after another,
    GPU-hours, and the sources of their throughputs."""

    rule: str
    jobs: int
    rows: float | None
    seconds: float
    gpu_hours: float
    sources: tuple[str, ...]
    found: float = 0.0


def per_rule(jobs: Sequence[Job]) -> list[Cost]:
    """The cost of each rule, in the order in which the rules first appear."""
    costs = []
    for rule in dict.fromkeys(job.rule for job in jobs):
        own = [job for job in jobs if job.rule == rule]
        rows = [job.rows for job in own if job.rows is not None]
        costs.append(
            Cost(
                rule,
                len(own),
                sum(rows) if rows else None,
                sum(job.seconds for job in own),
                gpu_hours(own),
                tuple(dict.fromkeys(job.source for job in own if job.source)),
                sum(job.found for job in own),
            )
        )
    return costs


def gpu_hours(jobs: Iterable[Job]) -> float:
    """GPU-hours of all jobs."""
    return sum(job.seconds * job.gpus for job in jobs) / 3600


def schedule(
    jobs: Sequence[Job], *, at_once: int | None = None, cores: int | None = None, gpus: int | None = None
) -> list[tuple[float, float]]:
    """When each job begins and ends, in seconds, on machines that nobody else uses. A job starts once the jobs that it
    follows have ended and `at_once` jobs, `cores` and `gpus` (None: any number) allow it, in the order of the plan.

    `jobs` are in an order in which `after` names only earlier ones.
    """
    times: list[tuple[float, float]] = [(0.0, 0.0)] * len(jobs)
    missing = [len(job.after) for job in jobs]
    followers: dict[int, list[int]] = {}
    for number, job in enumerate(jobs):
        for above in job.after:
            followers.setdefault(above, []).append(number)
    limits = {name: whole for name, whole in (("at_once", at_once), ("cores", cores), ("gpus", gpus)) if whole}
    # A job that asks for more than there is gets everything, as with Snakemake's cores.
    takes = [{name: min(n, limits[name]) for name, n in _takes(job).items() if name in limits and n} for job in jobs]
    free = dict(limits)
    ready = [number for number, count in enumerate(missing) if not count]
    running: list[tuple[float, int]] = []
    now = 0.0
    while ready or running:
        waiting = []
        for number in ready:
            if all(free[name] >= n for name, n in takes[number].items()):
                for name, n in takes[number].items():
                    free[name] -= n
                times[number] = (now, now + jobs[number].seconds)
                heapq.heappush(running, (times[number][1], number))
            else:
                waiting.append(number)
        now, number = heapq.heappop(running)
        for name, n in takes[number].items():
            free[name] += n
        for follower in followers.get(number, ()):
            missing[follower] -= 1
            if not missing[follower]:
                waiting.append(follower)
        ready = sorted(waiting)
    return times


def too_long(jobs: Sequence[Job]) -> list[str]:
    """A sentence for each rule with a training that needs more time than all its attempts have, by its estimate."""
    late = [job for job in jobs if len(job.limits) > 1 and job.seconds > sum(job.limits)]
    found = []
    for rule in dict.fromkeys(job.rule for job in late):
        own = [job for job in late if job.rule == rule]
        longest = max(own, key=lambda job: job.seconds)
        retries = len(longest.limits) - 1 + math.ceil((longest.seconds - sum(longest.limits)) / longest.limits[-1])
        found.append(
            f"{rule}: {len(own)} training{'s' if len(own) > 1 else ''} would take up to {duration(longest.seconds)}, "
            f"more than the {duration(sum(longest.limits))} of {len(longest.limits)} attempts. Near its limit a SLURM "
            "job is requeued after a checkpoint, without a retry; where the site forbids it (scontrol show config | "
            f"grep JobRequeue), set retries to {retries} in the profile. More processes make it shorter."
        )
    return found


def _takes(job: Job) -> dict[str, int]:
    """How much of each limited resource a job takes."""
    return {"at_once": 0 if job.local else 1, "cores": job.threads, "gpus": job.gpus}


def duration(seconds: float) -> str:
    """Seconds as text, in a unit that fits."""
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= (2 if unit == "d" else 1) * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
