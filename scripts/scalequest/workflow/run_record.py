"""What a run leaves about itself when it begins, for `make watch`: its process, its log, where it stores, and its plan.

The rest is in what Snakemake and the jobs write. Nothing decides anything by this record.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scalequest.errors import ScaleQuestError
from scalequest.runtime import records
from scalequest.runtime.files import RUN, read_json, write_json
from scalequest.runtime.lease import identity
from scalequest.workflow.estimate import Estimator, Job
from scalequest.workflow.planned_jobs import at_once, planned
from scalequest.workflow.schedule import schedule

RECORD = Path(".snakemake/scalequest_run.json")


@dataclass(frozen=True)
class Plan:
    """The jobs of a rule as they were planned: their number, the rows that they make or find stored (None: it has no
    rows), and when the first begins and the last ends, in seconds after the run's begin."""

    jobs: int
    rows: float | None
    begins: float
    ends: float


@dataclass(frozen=True)
class RunRecord:
    """A run. `process` is its `lease.identity`, with `host` and `slurm_job`; `log` the file of Snakemake's lines, and
    `storage` the folders of rows and of weights, as paths within the run's folder; `began` seconds of the epoch;
    `local`: its jobs run on the same machine; `plan` is empty where none could be made."""

    run: str
    process: dict[str, Any]
    log: str
    began: float
    local: bool
    storage: list[str]
    plan: dict[str, Plan]


def begin(workflow: Any, config: Mapping[str, Any], jobs: Sequence[Job] | None) -> None:
    """Leave the record of the run that begins in the working folder. `jobs` are those of its plan, if that is made."""
    logs = workflow.logger_manager.get_logfile()
    number = records.slurm_job(os.environ.get("SLURM_JOB_ID"))
    record = RunRecord(
        run=os.environ[RUN],
        process={**identity(), "host": socket.gethostname(), "slurm_job": number},
        log=os.path.relpath(logs[0]) if logs else "",
        began=time.time(),
        local=bool(workflow.local_exec),
        storage=[config["storage"][name] for name in ("progress", "models")],
        plan=_plan(workflow, config, jobs),
    )
    write_json(RECORD, asdict(record))


def _plan(workflow: Any, config: Mapping[str, Any], jobs: Sequence[Job] | None) -> dict[str, Plan]:
    try:
        jobs = planned(workflow.dag, Estimator(config)) if jobs is None else jobs
    # No run fails for its estimate, which reads tables that an older release may have left.
    except Exception:
        return {}
    times = schedule(jobs, **at_once(workflow))
    found = {}
    for rule in dict.fromkeys(job.rule for job in jobs):
        own = [(job, *time) for job, time in zip(jobs, times, strict=True) if job.rule == rule]
        rows = [job.rows + job.found for job, *_ in own if job.rows is not None]
        begins, ends = min(begin for _, begin, _ in own), max(end for *_, end in own)
        found[rule] = Plan(len(own), sum(rows) if rows else None, begins, ends)
    return found


def read(folder: Path) -> RunRecord | None:
    """The record of the run that has begun last in a folder; None where there is none that can be read."""
    try:
        found = read_json(folder / RECORD)
        plan = {rule: Plan(**entry) for rule, entry in found.pop("plan").items()}
        return RunRecord(**found, plan=plan)
    except (ScaleQuestError, OSError, TypeError, KeyError, AttributeError, json.JSONDecodeError):
        return None
