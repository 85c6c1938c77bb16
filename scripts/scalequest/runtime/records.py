"""The record of an attempt: a small file in a folder that others may write to, so that nothing in it is taken on trust.

A record that does not hold what a lease writes counts as damaged, and there is none.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Record = dict[str, Any]
# States of an attempt; the first two are alive until their process is found dead.
WAITING, RUNNING, DONE, FAILED, STOPPED = "waiting", "running", "done", "failed", "stopped"
# The most that operation.lease_seconds may be: a record must not make others wait for ever.
LONGEST_LEASE = 86400
_LONGEST_FILE, _LONGEST_TEXT = 1 << 16, 1 << 12
# Linux numbers no process higher.
_LAST_PROCESS = 1 << 22
_SLURM_JOB = re.compile(r"[0-9]{1,18}")


def _whole(value: Any, least: int = 0, most: int = 2**63 - 1) -> bool:
    # `True` is an int, too.
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _number(value: Any, most: float = 1e10) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most


def _text(value: Any) -> bool:
    # Half a surrogate pair is legal in JSON, and in no file.
    return (
        isinstance(value, str)
        and len(value) <= _LONGEST_TEXT
        and not any(c == "\0" or "\ud800" <= c <= "\udfff" for c in value)
    )


def _span(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_whole, value)) and value[0] <= value[1]


_FIELDS: dict[str, Callable[[Any], bool]] = {
    "unit": _text,
    "host": _text,
    "boot": _text,
    "processes": _text,
    "process": lambda value: _whole(value, 1, _LAST_PROCESS),
    "process_start": _whole,
    "slurm_job": lambda value: value is None or (_text(value) and bool(_SLURM_JOB.fullmatch(value))),
    "directory": lambda value: _text(value) and Path(value).is_absolute(),
    "gpus": lambda value: _whole(value, most=1 << 20),
    "started": _text,
    "beats": _whole,
    "seconds": _number,
    "rows": lambda value: _whole(value, most=1 << 53),
    "state": lambda value: value in (WAITING, RUNNING, DONE, FAILED, STOPPED),
}
# What older releases do not write.
_LATER: dict[str, Callable[[Any], bool]] = {
    "devices": lambda value: value is None or _text(value),
    "takes_over": lambda value: isinstance(value, bool),
    "span": lambda value: value is None or _span(value),
    "lease_seconds": lambda value: _number(value, LONGEST_LEASE) and value > 0,
    "run": lambda value: value is None or _text(value),
}


def read(path: Path) -> Record | None:
    """An attempt's record; None where it is damaged, which a machine's crash can do, or somebody else wrote it."""
    for _ in range(3):
        try:
            # A pipe would never end.
            if not path.is_file() or path.stat().st_size > _LONGEST_FILE:
                raise FileNotFoundError(path)
            record = json.loads(path.read_text(encoding="utf-8"))
            return record if _is_sound(record) else None
        except (OSError, ValueError, RecursionError):
            # On a network file system a file that is just being replaced may seem to be gone.
            time.sleep(0.2)
    return None


def _is_sound(record: Any) -> bool:
    return (
        isinstance(record, dict)
        and all(name in record and sound(record[name]) for name, sound in _FIELDS.items())
        and all(sound(record[name]) for name, sound in _LATER.items() if name in record)
    )


def slurm_job(number: str | None) -> str | None:
    """The number of a SLURM job as a record has it; None for what is none."""
    return number if number and _SLURM_JOB.fullmatch(number) else None
