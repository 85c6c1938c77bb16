"""What Snakemake's log file says of a run's jobs, read line by line as the file grows.

The lines are those of one release (workflow/dryrun.py); tests hold this to it with real runs.
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

WAITING, RUNNING, DONE, FAILED = "waiting", "running", "done", "failed"
_TIME = re.compile(r"\[(\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4})\]")
_BEGINS = re.compile(r"(?:local)?(?:rule|checkpoint) (\w+):|Error in rule (\w+):")
_FIELD = re.compile(r"    (message|output|log|jobid): (.*)")
_ENDS = re.compile(r"Finished jobid: (\d+) \(Rule: (\w+)\)")
_MISSING = re.compile(r"Job (\d+) +(completed successfully, but some output files are missing\.).*")
_AGAIN = re.compile(r"Trying to restart job (\d+)\.")
_COUNT = re.compile(r"(\w+) +(\d+)")
# Of a job that failed, Snakemake shows the log, whose text may look like anything, between two such lines.
_SHOWN, _BAR = re.compile(r"Logfile .*:"), re.compile(r"=+")


@dataclass
class Job:
    """A job that has begun: its rule, its log and first output file, when its last attempt began (seconds of the epoch,
    by Snakemake's clock), how many attempts there were, and what Snakemake said of a failure."""

    rule: str
    log: str = ""
    output: list[str] = field(default_factory=list)
    begun: float = 0.0
    attempts: int = 1
    state: str = RUNNING
    message: str = ""


class RunLog:
    """A log file. `counts`: jobs of each rule that the run has to do; `jobs`: those that have begun, by their number;
    `ended`: Snakemake has ended; `stopping`: it was asked to, and waits for the jobs that run."""

    def __init__(self, path: Path):
        self.path = path
        self.counts: dict[str, int] = {}
        self.jobs: dict[int, Job] = {}
        self.ended = self.stopping = False
        self._offset, self._time = 0, ""
        self._block: tuple[bool, Job] | None = None
        self._in_counts, self._shown, self._bar = False, False, ""

    def read(self) -> bool:
        """Read the whole lines that are new; whether there were any."""
        before = self._offset
        # It may be gone: where a user tidied up, or a network file system is slow.
        with suppress(OSError), self.path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                # On a network file system a line may be there by half.
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                self._line(line.decode("utf-8", "replace").rstrip("\n"))
        return self._offset > before

    def _line(self, line: str) -> None:
        if self._bar:
            self._bar = "" if line == self._bar else self._bar
        elif self._shown and _BAR.fullmatch(line):
            self._bar, self._shown = line, False
        elif line.startswith("    "):
            self._field(line)
        else:
            self._shown = bool(_SHOWN.fullmatch(line))
            self._event(line)

    def _event(self, line: str) -> None:
        """A line that is not set in."""
        self._block = None
        if found := _TIME.fullmatch(line):
            self._time = found[1]
        elif found := _BEGINS.fullmatch(line):
            self._block = bool(found[2]), Job(found[1] or found[2])
        elif found := _ENDS.fullmatch(line):
            self._to(int(found[1]), found[2], DONE)
        elif found := _MISSING.fullmatch(line):
            self._to(int(found[1]), None, FAILED, f"it {found[2]}")
        elif found := _AGAIN.fullmatch(line):
            if (job := self.jobs.get(int(found[1]))) is not None and job.state == FAILED:
                job.state = WAITING
        elif line == "Job stats:":
            self._in_counts = True
        elif self._in_counts and (found := _COUNT.fullmatch(line)) and found[1] != "total":
            self.counts[found[1]] = int(found[2])
        elif not line:
            self._in_counts = False
        elif line.startswith("Complete log(s): "):
            self.ended = True
        elif line.startswith("Will exit after finishing currently running jobs"):
            self.stopping = True

    def _field(self, line: str) -> None:
        """A line of the block of a job that begins or has failed."""
        if self._block is None or not (found := _FIELD.fullmatch(line)):
            return
        (failed, job), (name, value) = self._block, found.groups()
        if name == "output":
            job.output = value.split(", ")
        elif name == "log":
            job.log = value.split(", ")[0]
        elif name == "message":
            job.message = "" if value == "None" else value
        elif value.isdigit():
            number = int(value)
            if failed:
                self._to(number, job.rule, FAILED, job.message)
            else:
                before = self.jobs.get(number)
                job.attempts = before.attempts + 1 if before else 1
                job.begun = time.mktime(time.strptime(self._time)) if self._time else 0.0
                self.jobs[number] = job

    def _to(self, number: int, rule: str | None, state: str, message: str = "") -> None:
        """The new state of a job that runs, if it is one of this rule (None: of any)."""
        job = self.jobs.get(number)
        if job is not None and rule in (None, job.rule) and job.state == RUNNING:
            job.state, job.message = state, message
