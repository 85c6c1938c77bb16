"""How a job ended, as its log says it."""

from __future__ import annotations

import re

# Lines by which a job ended, with those that belong to them.
_ENDED = re.compile(r"^\S+ \S+: (?:error|crashed): (.*(?:\n    .*)*)", re.MULTILINE)
_ATTEMPT = "\n---- "


def last_error(text: str) -> str | None:
    """The error with which the last attempt in a log ended, on one line; None where that says none."""
    said = _ENDED.findall(text.rpartition(_ATTEMPT)[2])
    return " ".join(said[-1].split()) if said else None
