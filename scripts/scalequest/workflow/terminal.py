"""What a run on this machine shows in a terminal: a line for each rule whose jobs have ended, not a block for each job.

All of Snakemake's lines stay in its log file, and all of a job's lines in the job's. `--verbose` shows everything here
too, and so does output that goes to a file or another program. Errors are shown as they come, and once more at the end.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from scalequest.runtime.job import BRIEF
from scalequest.runtime.printable import printable
from scalequest.workflow.job_logs import why_failed

_HANDLER = "DefaultStreamHandler"
# Lines of Snakemake that are no events: what it does next, and what it has found.
_ASIDE = re.compile(
    r"Select jobs to execute|Execute \d+ jobs|Finished jobid|.* steps \(.*\) done|host: |Storing output"
)
_EVENTS = {"job_info", "job_started", "job_finished", "progress", "shellcmd", "resources_info", "group_info"}


@dataclass
class Job:
    """A job that has begun: its rule, its output files, and when it began."""

    rule: str
    output: list[str]
    begun: float


@dataclass
class Ended:
    """The jobs of a rule that have ended, with the rows of their tables, and seconds from the first to the last."""

    jobs: int = 0
    rows: int = 0
    first: float = 0.0


class Progress(logging.Filter):
    """Takes Snakemake's lines of jobs, and writes its own with the handler's stream. `jobs` are those that will run, by
    their rules; `failed` has rule, log and reason of each that failed, by its number, until another attempt ends well.
    Without `brief`, Snakemake's lines are left as they are."""

    def __init__(self, handler: Any, jobs: Mapping[str, int], brief: bool):
        super().__init__()
        self.handler, self.brief = handler, brief
        self.left, self.all = Counter(jobs), sum(jobs.values())
        self.running: dict[int, Job] = {}
        self.ended: dict[str, Ended] = {}
        self.failed: dict[int, tuple[str, str, str]] = {}

    def filter(self, record: Any) -> bool:
        """Whether Snakemake's own line is shown."""
        event = str(getattr(record, "event", "") or "")
        if event == "job_info":
            self.running[record.jobid] = Job(record.rule_name, list(record.output), time.monotonic())
        elif event == "job_finished":
            self.end(record.job_id)
        elif event == "job_error":
            self.fail(record)
            return not self.brief
        # The whole command of a job that failed.
        if event == "error" and getattr(record, "exception", "") == "RuleException":
            return not self.brief
        aside = event in _EVENTS or (record.levelno <= logging.INFO and bool(_ASIDE.match(record.getMessage())))
        return not (self.brief and aside)

    def end(self, number: int) -> None:
        """Count a job that has ended, and write its rule's line if it was the last one."""
        self.failed.pop(number, None)
        job = self.running.pop(number, None)
        if job is None or not self.brief or job.rule not in self.left:
            return
        done = self.ended.setdefault(job.rule, Ended(first=job.begun))
        done.jobs += 1
        done.rows += _rows(job.output)
        self.left[job.rule] -= 1
        if self.left[job.rule] > 0:
            return
        seconds = time.monotonic() - done.first
        rate = f"{done.rows / seconds:,.1f} rows/s" if done.rows and seconds >= 1 else ""
        count = f"{done.jobs} job{'s' if done.jobs > 1 else ''}"
        rows = f"{done.rows:,} rows" if done.rows else ""
        share = f"{self.all - sum(left for left in self.left.values() if left > 0)} of {self.all}"
        self.write(f"{job.rule:24}{count:>9}{rows:>14}{_duration(seconds):>10}{rate:>15}{share:>13}")

    def fail(self, record: Any) -> None:
        """Write why a job failed."""
        why, log = why_failed(record.log or [])
        self.failed[record.jobid] = record.rule_name, log, why
        if self.brief:
            self.write(f"failed: {_said(*self.failed[record.jobid])}")

    def write(self, line: str) -> None:
        """Write a line with the time of day."""
        self.handler.stream.write(printable(f"{time.strftime('%H:%M:%S')}  {line}") + "\n")
        self.handler.stream.flush()


def rules(dag: Any) -> Counter[str]:
    """How many jobs of each rule a plan of Snakemake's has to run; those that make nothing (targets) are left out."""
    return Counter(job.rule.name for job in dag.needrun_jobs() if job.output)


def begin(jobs: Mapping[str, int]) -> None:
    """From here on failures are kept, and a terminal shows a line for each of these rules, of which so many jobs will
    run on this machine."""
    for found in logging.getLogger("snakemake.logging").handlers:
        if found.name != _HANDLER or any(isinstance(one, Progress) for one in found.filters):
            continue
        loud = any(getattr(one, "verbose", False) for one in found.filters)
        brief = bool(jobs) and not loud and found.stream.isatty()  # type: ignore[attr-defined]
        if brief:
            os.environ[BRIEF] = "yes"
        found.addFilter(Progress(found, jobs, brief))


def last_words() -> Iterator[str]:
    """What a run that failed ends with: a line for each job that did, and what to do."""
    filters = [one for found in logging.getLogger("snakemake.logging").handlers for one in found.filters]
    failed = next((list(one.failed.values()) for one in filters if isinstance(one, Progress)), [])
    if failed:
        yield f"{len(failed)} job{'s' if len(failed) > 1 else ''} failed:"
        yield from (f"  {_said(*one)}" for one in failed)
        yield "Mend what they say, and start the same command again: what is finished is not made again."


def _said(rule: str, log: str, why: str) -> str:
    return f"{rule} ({log}): {why}" if log else f"{rule}: {why}"


def _rows(files: list[str]) -> int:
    """Rows of a job's first table."""
    # Here, as the Snakefile imports this module in each of its processes.
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name in files:
        if name.endswith(".parquet"):
            try:
                return int(pq.read_metadata(name).num_rows)
            except (OSError, pa.ArrowInvalid):
                return 0
    return 0


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
