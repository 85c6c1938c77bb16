"""What a job's log says: how far it is, how fast, and how it ended. Only the end of a log is read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# Lines by which a job ended, with those that belong to them.
_ENDED = re.compile(r"^\S+ \S+: (?:error|crashed): (.*(?:\n    .*)*)", re.MULTILINE)
# Lines of `job.Progress`, and of a training's steps (training/process.py).
_PROGRESS = re.compile(
    r"^(\d\d):(\d\d):(\d\d) \S+: (?:(.+): (\d+) of (\d+) rows, [0-9.]+ rows/s(?:, (\d+) tokens/s)?, \d+ s left"
    r"|(\w+): step (\d+) of (\d+), .*)$",
    re.MULTILINE,
)
_ATTEMPT = "\n---- "
# Bytes of the end of a log in which its progress, or its error, is looked for.
_TAIL, _LONG_TAIL = 1 << 15, 1 << 18
# Seconds over which a rate is measured.
_LATELY = 300


@dataclass(frozen=True)
class Progress:
    """How far a job is: rows, or `steps` of a training, `done` of `total`; their rate over the last minutes, and tokens
    generated since it began, both a second and None where they are not known."""

    done: int
    total: int
    steps: bool
    rate: float | None
    tokens: float | None


def last_error(text: str) -> str | None:
    """The error with which the last attempt in a log ended, on one line; None where that says none."""
    said = _ENDED.findall(text.rpartition(_ATTEMPT)[2])
    return " ".join(said[-1].split()) if said else None


def why_failed(logs: Iterable[str], folder: Path = Path()) -> tuple[str, str]:
    """Why a job failed, in the last words of its log, and that log's path; `logs` are paths within the run's folder."""
    for name in logs:
        try:
            text = tail(folder / name, _LONG_TAIL)
        except OSError:
            continue
        if said := last_error(text):
            # The first line of a crash's is its sentence, the rest its traceback.
            return said.partition(" Traceback ")[0], name
        lines = [line for line in text.splitlines() if line.strip()]
        return (lines[-1] if lines else "it has said nothing"), name
    return "it has no log", ""


def progress(path: Path) -> Progress | None:
    """What the last attempt in a log says of its progress; None where it says nothing."""
    try:
        text = tail(path, _TAIL).rpartition(_ATTEMPT)[2]
    except OSError:
        return None
    found = [match.groups() for match in _PROGRESS.finditer(text)]
    if not found:
        return None
    # A job may count several things, one after another.
    steps = found[-1][3] is None
    what, done, total = (7, 8, 9) if steps else (3, 4, 5)
    lines = [
        (_clock(line), int(line[done]))
        for line in found
        if line[what] == found[-1][what] and line[total] == found[-1][total]
    ]
    last = found[-1]
    tokens = None if last[6] is None else float(last[6])
    return Progress(int(last[done]), int(last[total]), steps, _rate(lines), tokens)


def tail(path: Path, size: int) -> str:
    """The last bytes of a text, whole if it is no longer. Raises OSError where it cannot be read."""
    with path.open("rb") as file:
        length = file.seek(0, os.SEEK_END)
        file.seek(max(0, length - size))
        return file.read().decode("utf-8", "replace")


def _clock(line: tuple[str, ...]) -> int:
    """Seconds since midnight at which a line was written."""
    hours, minutes, seconds = map(int, line[:3])
    return 3600 * hours + 60 * minutes + seconds


def _rate(lines: list[tuple[int, int]]) -> float | None:
    """Of lines with a time of day and a number done: how much was done a second, over the last minutes. One line says
    nothing: its average has the loading of a model in it."""
    now, done = lines[-1]
    # Across midnight the time of day starts again.
    ages = [((now - then) % 86400, done - before) for then, before in lines[:-1]]
    lately = [(age, more) for age, more in ages if 0 < age <= _LATELY and more >= 0] or ages[-1:]
    age, more = lately[0] if lately else (0, 0)
    return more / age if age > 0 and more > 0 else None
