"""What kind of thing a final answer is: a coarse name, for tables of a data set."""

from __future__ import annotations

import re

from scalequest.grading.latex import is_prose
from scalequest.grading.lists import collection, matrix_entries
from scalequest.grading.normalisation import normalise
from scalequest.grading.values import values

TYPES = ("integer", "decimal", "fraction", "expression", "set", "text", "none")
_INTEGER = re.compile(r"[+-]?\d+")
_DECIMAL = re.compile(r"[+-]?\d*\.\d+")
_FRACTION = re.compile(r"[+-]?(?:\\frac\{[+-]?\d+\}\{\d+\}|\d+ ?/ ?\d+)")
# What only mathematics has; a text is words without any of it.
_MATHEMATICS = re.compile(r"\\[a-zA-Z]+|[=^_<>+*/]|\d")


def answer_type(answer: str | None) -> str:
    """One of TYPES. `set` is every answer of several items (lists, points, intervals, matrices); `expression` is other
    mathematics; `text` is words. Never raises."""
    if answer is None or not answer.strip():
        return "none"
    text = normalise(answer).removesuffix("%")
    for name, pattern in (("integer", _INTEGER), ("decimal", _DECIMAL), ("fraction", _FRACTION)):
        if pattern.fullmatch(text):
            return name
    if text.startswith(r"\begin{") and (matrix_entries(text) or "matrix}" in text):
        return "set"
    if collection(text) is not None:
        return "set"
    if is_prose(text):
        return "text"
    return "expression" if values(text) is not None or _MATHEMATICS.search(text) else "text"
