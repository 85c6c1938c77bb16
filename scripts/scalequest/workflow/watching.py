"""How far a run is, from what Snakemake, its jobs and its attempts have written. Nothing is locked, nothing is written.

Snakemake's log has the jobs and their states, the jobs' logs have rows and rates, the record of the run has its process
and its plan, and the records of attempts have the hours.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from scalequest.runtime import lease, records
from scalequest.runtime.records import Record
from scalequest.stages import BY_RULE, STAGES
from scalequest.workflow.job_logs import Progress, progress, why_failed
from scalequest.workflow.run_log import DONE, FAILED, RUNNING, Job, RunLog
from scalequest.workflow.run_record import RunRecord

# Rules of no stage: summaries, report, browser, targets.
OTHER = "other rules"
# Seconds between two looks at the records of all attempts, which may be thousands of files, and two questions to SLURM.
_SELDOM = 30
_READERS = 8


@dataclass(frozen=True)
class Row:
    """A stage: its jobs by their state, which add up to `total`; how many of its rows (`steps`: of a training's steps)
    are done, and of how many, exactly or `about`; rows (or steps) and tokens a second of the jobs that run. `began` and
    `ends` are seconds of the epoch. What is not known is None."""

    name: str
    done: int
    running: int
    waiting: int
    failed: int
    total: int
    rows: int | None = None
    of: int | None = None
    about: bool = False
    steps: bool = False
    rate: float | None = None
    tokens: float | None = None
    began: float | None = None
    ends: float | None = None


@dataclass(frozen=True)
class Failure:
    """A job that failed and is not tried again: its rule, its log's path, and the reason."""

    rule: str
    log: str
    why: str


@dataclass(frozen=True)
class Frame:
    """A run at one moment.

    `alive`: whether Snakemake's process lives, None where that cannot be seen from here; `ended`: its log says that it
    has ended; `good`: all is done; `stopping`: it waits for the jobs that run, and starts no others. `last`: when its
    log last grew, and `ends`: when the run will have ended, in seconds of the epoch; None where nothing can be said.
    `again`: attempts beyond the first of each job. `hours` and `gpu_hours` are those of engines, trainings and grading
    in this run; `left_behind`: how many of them go on though Snakemake is gone.
    """

    record: RunRecord
    alive: bool | None
    ended: bool
    good: bool
    stopping: bool
    last: float
    rows: tuple[Row, ...]
    failures: tuple[Failure, ...]
    again: int
    ends: float | None
    hours: float
    gpu_hours: float
    left_behind: int

    @property
    def over(self) -> bool:
        """Whether nothing will come any more."""
        return self.ended or self.alive is False


class Watch:
    """Looks at a run, again and again; what cannot change is read once. `folder` is the run's."""

    def __init__(self, folder: Path, record: RunRecord):
        self.folder, self.record = folder, record
        self.log = RunLog(folder / record.log)
        self._alive: bool | None = None
        self._asked = self._looked = 0.0
        self._made: dict[int, int] = {}
        self._failed: dict[tuple[int, int], Failure] = {}
        self._ended: dict[Path, Record] = {}
        self._own: list[Record] = []

    def frame(self) -> Frame:
        """The run as it is now."""
        now = time.time()
        alive = self._lives(now)
        over = self.log.ended or alive is False
        rows = tuple(self._rows(over, now))
        jobs = self.log.jobs
        attempts = self._own_attempts(now, over)
        return Frame(
            record=self.record,
            alive=alive,
            ended=self.log.ended,
            good=self.log.ended and sum(row.done for row in rows) == sum(row.total for row in rows),
            stopping=self.log.stopping,
            last=_changed(self.log.path) or self.record.began,
            rows=rows,
            failures=tuple(self._failure(number, job) for number, job in jobs.items() if job.state == FAILED),
            again=sum(job.attempts - 1 for job in jobs.values()),
            ends=None if over else _run_ends(rows, self.record, now),
            hours=sum(one["seconds"] for one in attempts) / 3600,
            gpu_hours=sum(one["seconds"] * one["gpus"] for one in attempts) / 3600,
            left_behind=sum(one["state"] == records.RUNNING and bool(lease.known_alive(one)) for one in attempts)
            if over
            else 0,
        )

    def _lives(self, now: float) -> bool | None:
        """Read what is new in the log; whether Snakemake's process lives."""
        first, grown = not self._asked, self.log.read()
        if self.log.ended:
            return False
        here = lease.is_here(self.record.process)
        if grown and not first and not here:
            self._alive, self._asked = True, now
        elif here or now - self._asked >= _SELDOM:
            self._alive, self._asked = lease.known_alive(self.record.process), now
            if self._alive is False:
                # It may have ended just now, by its own words.
                self.log.read()
        return self._alive

    def _rows(self, over: bool, now: float) -> Iterator[Row]:
        """The stages in their order, and all other rules."""
        jobs: defaultdict[str, dict[int, Job]] = defaultdict(dict)
        for number, job in self.log.jobs.items():
            jobs[_name(job.rule)][number] = job
        totals: defaultdict[str, int] = defaultdict(int)
        for rule, count in self.log.counts.items():
            totals[_name(rule)] += count
        said = {} if over else self._running()
        self._count_rows()
        for name in [stage.rule for stage in STAGES if stage.rule in totals] + [OTHER] * (OTHER in totals):
            own = jobs[name]
            states = [job.state for job in own.values()]
            done, failed = states.count(DONE), states.count(FAILED)
            running = [said[number] for number in own if number in said]
            total = max(totals[name], len(own))
            row = Row(name, done, len(running), total - done - failed - len(running), failed, total)
            yield row if name == OTHER else self._with_rows(row, own, running, now)

    def _running(self) -> dict[int, Progress | None]:
        """The jobs that run, with what their logs say. On a cluster a job that Snakemake calls running may wait in a
        queue: it runs once it has written to its log."""
        found = {}
        for number, job in self.log.jobs.items():
            if job.state == RUNNING:
                path = self.folder / job.log
                begun = bool(job.log) and (_changed(path) or 0.0) >= job.begun
                if begun or self.record.local or not job.log:
                    found[number] = progress(path) if begun else None
        return found

    def _count_rows(self) -> None:
        """Count the rows of jobs that are newly done: those of their first table, or the steps of their training."""
        new = {number: job for number, job in self.log.jobs.items() if job.state == DONE and number not in self._made}
        with ThreadPoolExecutor(_READERS) as pool:
            self._made.update(zip(new, pool.map(self._made_by, new.values()), strict=True))

    def _made_by(self, job: Job) -> int:
        if job.rule not in BY_RULE:
            return 0
        if BY_RULE[job.rule].kind == "training":
            said = progress(self.folder / job.log)
            return said.done if said and said.steps else 0
        return next((_table_rows(self.folder / name) for name in job.output if name.endswith(".parquet")), 0)

    def _with_rows(self, row: Row, own: Mapping[int, Job], running: list[Progress | None], now: float) -> Row:
        """The row with what is known of its rows, rate and end."""
        kind, plan = BY_RULE[row.name].kind, self.record.plan.get(row.name)
        known = [said for said in running if said is not None]
        finished = sum(self._made[number] for number, job in own.items() if job.state == DONE)
        rows = finished + sum(said.done for said in known)
        of: float | None = finished + sum(said.total for said in known)
        if unknown := row.total - row.done - len(known):
            planned = plan.rows if plan and kind == "engine" else None
            of = None if planned is None or of is None or plan is None else of + unknown * planned / plan.jobs
        rate = sum(said.rate or 0 for said in known) or None
        return replace(
            row,
            rows=rows if rows or known else None,
            of=round(of) if of else None,
            about=bool(unknown),
            steps=kind == "training",
            rate=rate,
            tokens=sum(said.tokens or 0 for said in known) or None,
            began=min((job.begun for job in own.values()), default=None),
            ends=now + max(of - rows, 0) / rate if of and rate else None,
        )

    def _failure(self, number: int, job: Job) -> Failure:
        if (number, job.attempts) not in self._failed:
            why, log = why_failed([job.log] if job.log else [], self.folder)
            self._failed[number, job.attempts] = Failure(job.rule, log or job.log, " ".join((job.message, why)).strip())
        return self._failed[number, job.attempts]

    def _own_attempts(self, now: float, over: bool) -> list[Record]:
        """The records of the run's attempts."""
        if over or now - self._looked >= _SELDOM:
            found = [one for root in self.record.storage for _, one in lease.attempts(self.folder / root, self._ended)]
            # Staging is no work of engines and trainings.
            self._own = [one for one in found if one.get("run") == self.record.run and one["stage"] != "staged"]
            self._looked = now
        return self._own


def _run_ends(rows: Iterable[Row], record: RunRecord, now: float) -> float | None:
    """When the run ends: what runs at its rate, or by the plan where it has none yet, and what follows by the plan.

    None without a plan, after a failure, where nothing runs, and where a model takes longer than it was planned to.
    """
    rows, plan = list(rows), record.plan
    running = [row for row in rows if row.running and row.name in plan]
    if not running or any(row.failed for row in rows):
        return None
    whole, ends = max(entry.ends for entry in plan.values()), []
    for row in running:
        entry = plan[row.name]
        own = row.ends or (row.began or now) + entry.ends - entry.begins
        if own < now and BY_RULE[row.name].kind in ("engine", "training"):
            return None
        ends.append(max(own, now) + whole - entry.ends)
    return max(ends)


def _name(rule: str) -> str:
    return rule if rule in BY_RULE else OTHER


def _changed(path: Path) -> float | None:
    """When a file was last written; None where there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _table_rows(path: Path) -> int:
    """Rows of a table; 0 where it cannot be read."""
    # Here, as a frame without finished jobs needs no tables.
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowException):
        return 0
