"""Ending a job early and cleanly: a signal, a deadline, another job that takes the work over.

Finished windows are on disk whatever happens; what is here only makes the end quick, and says what it was.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scalequest.runtime.operation import operation

log = logging.getLogger("scalequest")
# When the job began, on the clock of one machine, which is named with it; processes that the job starts inherit it.
_BEGAN = "SCALEQUEST_BEGAN"
# Schedulers follow SIGTERM by SIGKILL after 30 seconds (SLURM's KillWait).
_GRACE_SECONDS = 20.0
_asked: list[Stop] = []
# Not empty within `undivided`.
_holding: list[str] = []


class Stop(SystemExit):
    """The end of a job that was told to end; no library's `except Exception` keeps it. `code` is the status."""

    def __init__(self, why: str, code: int):
        super().__init__(code)
        self.why = why


def begin() -> None:
    """The job begins now, whatever the process that started it has in its environment."""
    os.environ[_BEGAN] = f"{boot()} {time.monotonic()}"


def boot() -> str:
    """What names this machine from its start to its end."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def listen() -> None:
    """End on SIGTERM and SIGINT at once, within 20 seconds even where a library hangs; on SIGUSR1 after the window."""
    heard, told = os.pipe()
    os.set_blocking(told, False)
    # Python runs no handler while the main thread waits in native code; this number is written all the same.
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    # A child's signals are not ours, and it would write them into our pipe.
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
    threading.Thread(target=_end_in_time, args=(heard,), name="watchdog", daemon=True).start()
    signal.signal(signal.SIGTERM, _at_once)
    signal.signal(signal.SIGINT, _at_once)
    signal.signal(signal.SIGUSR1, lambda number, frame: _asked.append(_told_by(number)))


def check(seconds_needed: float = 0.0) -> None:
    """Raise Stop where the job was told to end, or has less time left than `seconds_needed`."""
    if _asked:
        raise _asked[-1]
    left = seconds_left()
    if left is not None and left < seconds_needed:
        # EX_TEMPFAIL: trying again helps.
        needed = f", a window takes {seconds_needed:.0f} s" if seconds_needed else ""
        raise Stop(f"{max(left, 0):.0f} s are left before the time limit{needed}", 75)


@contextmanager
def undivided() -> Iterator[None]:
    """Let SIGTERM and SIGINT wait until the block is done: of what belongs together they leave all or nothing."""
    asked = len(_asked)
    try:
        _holding.append("")
        yield
    finally:
        _holding.clear()
    if late := [stop for stop in _asked[asked:] if stop.code != 128 + signal.SIGUSR1]:
        raise late[0]


def seconds_left() -> float | None:
    """Seconds until `operation.deadline_minutes` or the SLURM job's limit, whichever is first; None without either."""
    ends = [end for end in (_deadline(), _slurm_end()) if end is not None]
    return min(ends) - time.monotonic() if ends else None


def _deadline() -> float | None:
    """When `operation.deadline_minutes` are over, on this machine's monotonic clock."""
    minutes = operation()["deadline_minutes"]
    if minutes is None:
        return None
    if os.environ.get(_BEGAN, "").partition(" ")[0] != boot():
        # A job's process on another node.
        begin()
    return float(os.environ[_BEGAN].partition(" ")[2]) + 60 * minutes


def requeue() -> bool:
    """Put this SLURM job back into the queue, to begin again under its number and with its time limit.

    Returns False where that limit is not what ends the job, and where SLURM refuses. Otherwise SLURM ends this process.
    """
    number, program = os.environ.get("SLURM_JOB_ID", ""), shutil.which("scontrol")
    end, deadline = _slurm_end(), _deadline()
    if not program or end is None or (deadline is not None and deadline < end):
        return False
    try:
        asked = subprocess.run([program, "requeue", number], capture_output=True, text=True, timeout=30, check=False)  # noqa: S603 - a number and a constant
    except (OSError, subprocess.TimeoutExpired):
        return False
    if asked.returncode:
        log.info("SLURM does not requeue job %s: %s", number, asked.stderr.strip())
        return False
    log.info("requeued: SLURM job %s begins again when it is its turn", number)
    # SIGTERM ends the sleep, SIGKILL all.
    time.sleep(60)
    return True


_known_end: list[float | None] = []


def _slurm_end() -> float | None:
    """When the SLURM job ends, on this process's monotonic clock; asked once, as a limit rarely moves."""
    if not _known_end:
        number = os.environ.get("SLURM_JOB_ID", "")
        left = parse_time_left(_squeue(number, "%L")) if number.isdigit() else None
        _known_end.append(None if left is None else time.monotonic() + left)
    return _known_end[0]


def _squeue(number: str, what: str) -> str:
    if not (program := shutil.which("squeue")):
        return ""
    try:
        found = subprocess.run(  # noqa: S603 - a number and a constant
            [program, "--noheader", "--jobs", number, "--format", what],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip()


def slurm_state(number: str) -> str:
    """State of a SLURM job (RUNNING ...), or "" where it is over or SLURM cannot be asked."""
    return _squeue(number, "%T")


def slurm_size(number: str) -> tuple[int, int] | None:
    """Nodes of a SLURM job and its cores on all of them; None where SLURM cannot be asked."""
    found = _squeue(number, "%D %C").split()
    return (int(found[0]), int(found[1])) if len(found) == 2 and all(map(str.isdigit, found)) else None


def parse_time_left(text: str) -> float | None:
    """Seconds from what squeue says (`1-02:03:04`, `02:03:04`, `03:04`); None for UNLIMITED and anything else."""
    days, _, clock = text.rpartition("-")
    parts = clock.split(":")
    if not all(part.isdigit() for part in [*parts, *([days] if days else [])]) or not 2 <= len(parts) <= 3:
        return None
    seconds = 0
    for part in parts:
        seconds = 60 * seconds + int(part)
    return float(seconds + 86400 * int(days or 0))


def _at_once(number: int, _frame: Any) -> None:
    for again in (signal.SIGTERM, signal.SIGINT):
        signal.signal(again, signal.SIG_IGN)
    # Where this is raised within a destructor Python drops it: then it ends the job before its next window.
    _asked.append(_told_by(number))
    if not _holding:
        raise _asked[-1]


def _end_in_time(heard: int) -> None:
    """Wait for SIGTERM or SIGINT, whose numbers come through `heard`, and end the process 20 seconds later."""
    while (number := os.read(heard, 1)[0]) not in (signal.SIGTERM, signal.SIGINT):
        pass
    time.sleep(_GRACE_SECONDS)
    os._exit(128 + number)


def _told_by(number: int) -> Stop:
    return Stop(f"told by {signal.Signals(number).name}", 128 + number)
