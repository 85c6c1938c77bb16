"""One living writer for each piece of work, and a record of every attempt at it.

Killing Snakemake on a cluster leaves its jobs running, and a new run would put a second job on the same shard. Each
attempt is a small file, `{unit}.{number}.json`, whose number is one above the last: creating it is atomic and decides
who comes next. The holder gives signs of life by counting up in its file; nobody compares the clocks of two machines.
An attempt waits until no older one is alive. An older one that is left over from an earlier run of the same working
folder stores the window in hand and ends when it sees a newer one, unless that only waits (`operation.other_writer`);
to others it does not yield: neither to another folder's nor to a job beside it in its own run.
The files stay: they add up to the hours that the work took over all attempts.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from scalequest.runtime import records, stopping
from scalequest.runtime.files import RUN, write_json
from scalequest.runtime.operation import operation
from scalequest.runtime.records import DONE, FAILED, RUNNING, STOPPED, WAITING, Record

log = logging.getLogger(__name__)


class Lease:
    """The right to work on `unit`, a name within `folder`. A context manager: entering it waits for the right.

    What is done about a living holder is `operation.other_writer`. `gpus` is what the attempt occupies. With a `span`,
    first and last number of parts of the unit, it is a right to these alone.
    """

    def __init__(self, folder: Path, unit: str, gpus: int = 0, span: tuple[int, int] | None = None):
        self.folder, self.unit, self.gpus, self.span = folder, unit, gpus, span
        self.beat_seconds = operation()["lease_seconds"] / 6
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._record: Record = {}
        self._number = 0
        # Numbers that a network file system may not list yet, and those of attempts at other parts.
        self._met: set[int] = set()
        self._apart: set[int] = set()

    def __enter__(self) -> Lease:
        self._create()
        try:
            older = [self._path(number) for number, _ in self._others(range(1, self._number))]
            self._await(older)
            self._began = time.monotonic()
            self._update(state=RUNNING)
        except BaseException as error:
            # Who waits no more must not make the living one yield.
            self._end(error)
            raise
        threading.Thread(target=self._beat, name="lease", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        self._over.set()
        state = DONE if error is None else STOPPED if isinstance(error, SystemExit | KeyboardInterrupt) else FAILED
        try:
            self._update(state=state)
        except OSError as trouble:
            # A full disk must not hide the error that ends the job; a lease without signs of life runs out.
            log.warning("the end of the attempt could not be noted: %s", trouble)

    def check(self, seconds_needed: float = 0.0) -> None:
        """Raise Stop where another job has taken the work over, or this one must end (`stopping.check`)."""
        stopping.check(seconds_needed)
        for _, other in self._others(range(self._number + 1, sys.maxsize)):
            # One that works has found this one dead, as a machine that slept for longer than the lease seems to be.
            waits = other["state"] == WAITING and self._yields_to(other) and known_alive(other) is not False
            if other["state"] == RUNNING or waits:
                raise stopping.Stop(f"taken over by {_who(other)}", 75)

    def count(self, rows: int, *, at_once: bool = True) -> None:
        """Add finished rows to the attempt's record: now, or with its next sign of life."""
        with self._lock:
            self._record["rows"] += rows
        if at_once:
            self._update()

    def _path(self, number: int) -> Path:
        return self.folder / f"{self.unit}.{number:06d}.json"

    def _others(self, numbers: range) -> Iterator[tuple[int, Record]]:
        """The attempts of those numbers at parts of this one's span, those whose record can be read."""
        for number in sorted(self._met.union(_numbers(self.folder, self.unit))):
            if number not in numbers or number in self._apart or (other := records.read(self._path(number))) is None:
                continue
            span = other.get("span")
            if self.span and span and (span[1] < self.span[0] or self.span[1] < span[0]):
                self._apart.add(number)
            else:
                yield number, other

    def _yields_to(self, newer: Record) -> bool:
        return newer.get("takes_over", True) and _later_run(self._record, newer)

    def _create(self, state: str = WAITING) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._record = {
            "unit": self.unit,
            "host": socket.gethostname(),
            **identity(),
            "slurm_job": records.slurm_job(os.environ.get("SLURM_JOB_ID")),
            "directory": str(Path.cwd()),
            "run": os.environ.get(RUN),
            "lease_seconds": operation()["lease_seconds"],
            "takes_over": operation()["other_writer"] != "wait",
            "span": list(self.span) if self.span else None,
            "gpus": self.gpus,
            # For people: nothing is decided by these two.
            "devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "beats": 0,
            "seconds": 0.0,
            "rows": 0,
            "state": state,
        }
        mine = self.folder / f".{self.unit}.{socket.gethostname()}.{os.getpid()}.new"
        try:
            write_json(mine, self._record)
            number = max(_numbers(self.folder, self.unit), default=0) + 1
            while not self._number:
                try:
                    # A link appears whole, and at most one of two creators gets the number.
                    os.link(mine, self._path(number))
                    self._number = number
                except FileExistsError:
                    # A network file system may lose the answer to a link that it made, and say this to the repetition.
                    if records.read(self._path(number)) == self._record:
                        self._number = number
                        break
                    # Counted on, not looked up: it may show an old list for a minute.
                    self._met.add(number)
                    number += 1
        finally:
            mine.unlink(missing_ok=True)

    def _update(self, **changes: Any) -> None:
        with self._lock:
            self._record |= changes
            self._record["beats"] += 1
            self._record["devices"] = os.environ.get("CUDA_VISIBLE_DEVICES")
            self._record["seconds"] = round(time.monotonic() - self._began, 1)
            write_json(self._path(self._number), self._record)

    def _beat(self) -> None:
        while not self._over.wait(self.beat_seconds):
            try:
                self._update()
            except OSError as trouble:
                log.warning("no sign of life could be written: %s", trouble)

    def _await(self, older: list[Path]) -> None:
        """Wait until no older attempt is alive. Raises Stop where a newer one takes over, or this job must end."""
        watched = [_Watch(path) for path in older]
        said: set[Path] = set()
        while watched := [alive for alive in watched if alive()]:
            for path in (alive.path for alive in watched if alive.path not in said):
                yields = operation()["other_writer"] != "wait" and _is_leftover(path)
                what = "store the window in hand" if yields else "finish"
                log.info("%s is at this work (%s): waiting for it to %s", _who(records.read(path)), self.unit, what)
                said.add(path)
            self._update()
            self.check()
            time.sleep(min(1.0, self.beat_seconds))
        if said:
            log.info("the work is free")


def note(folder: Path, unit: str) -> None:
    """Leave the record of an attempt that found everything done: it tells `make gc` which working folder rests on it.

    Where nothing can be written there is none.
    """
    with suppress(OSError):
        Lease(folder, unit)._create(DONE)


def attempts(root: Path, ended: dict[Path, Record] | None = None) -> Iterator[tuple[Path, Record]]:
    """Every attempt recorded below a progress or models folder, with the folder whose work it was at; its `stage` is
    the first folder below `root`. Who asks again and again gives `ended`, so that a file of an attempt that is over is
    read once."""
    known = {} if ended is None else ended
    for path in sorted(root.glob("*/**/attempts/*.json")):
        if (record := known.get(path) or records.read(path)) is not None:
            if record["state"] not in (WAITING, RUNNING):
                known[path] = record
            yield path.parent.parent, {**record, "stage": path.relative_to(root).parts[0]}


class _Watch:
    """Whether the holder of an attempt may still be alive, by asking again and again."""

    def __init__(self, path: Path):
        self.path = path
        self.beats: int | None = None
        self.since = time.monotonic()

    def __call__(self) -> bool:
        record = records.read(self.path)
        if record is None or record["state"] not in (WAITING, RUNNING):
            return False
        known = known_alive(record)
        if known is not None:
            return known
        if record["beats"] != self.beats:
            self.beats, self.since = record["beats"], time.monotonic()
        # By the holder's own measure: it may beat more seldom than this process would.
        return time.monotonic() - self.since < record.get("lease_seconds", operation()["lease_seconds"])


def known_alive(record: Record) -> bool | None:
    """Whether an attempt's process lives, where that can be known at once; None where its signs of life must tell."""
    if is_here(record):
        return process_start(record["process"]) == record["process_start"]
    number = record["slurm_job"]
    if number is None:
        return None
    if number == os.environ.get("SLURM_JOB_ID"):
        # A requeued job keeps its number: what ran under it before is over.
        return False
    # The empty answer says nothing: SLURM may not be at hand here.
    return False if stopping.slurm_state(number) in _ENDED else None


_ENDED = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"),
    *("TIMEOUT", "REVOKED"),
}


def is_here(record: Record) -> bool:
    """Whether a process, by its `identity`, is (or was) one of those that can be seen from here."""
    mine = identity()
    return (record["boot"], record["processes"]) == (mine["boot"], mine["processes"])


def identity() -> Record:
    """What names this process: its id and start, within one boot and one name space of processes."""
    return {
        "boot": stopping.boot(),
        "processes": str(Path("/proc/self/ns/pid").readlink()),
        "process": os.getpid(),
        "process_start": process_start(os.getpid()),
    }


def process_start(number: int) -> int | None:
    """Start of a process in clock ticks since boot; None where it is gone. A reused id has another start."""
    try:
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # A zombie has ended; only its parent has not noticed.
    return None if fields[0] == "Z" else int(fields[19])


def _numbers(folder: Path, unit: str) -> list[int]:
    found = (re.fullmatch(r"\.([0-9]{6,18})\.json", path.name.removeprefix(unit)) for path in folder.glob("*.json"))
    return sorted(int(match[1]) for match in found if match)


def _who(record: Record | None) -> str:
    if record is None:
        return "another job"
    job = f", SLURM job {record['slurm_job']}" if record["slurm_job"] else ""
    return f"process {record['process']} on {record['host']}{job}, started {record['started']},"


def _is_leftover(path: Path) -> bool:
    """Whether an attempt is one of an earlier run of this folder."""
    record = records.read(path)
    return record is not None and _later_run(record, {"directory": str(Path.cwd()), "run": os.environ.get(RUN)})


def _later_run(older: Record, newer: Record) -> bool:
    """Whether two attempts are of one folder and of different runs; of a job that is started by hand none is known."""
    run = newer.get("run")
    return newer["directory"] == older["directory"] and (run is None or run != older.get("run"))
