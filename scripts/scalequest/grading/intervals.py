"""Sets of real numbers, written as inequalities or exclusions, as unions of intervals."""

from __future__ import annotations

import re
from itertools import pairwise

from scalequest.grading.latex import split_relations, top_level_items
from scalequest.grading.values import values

_PUNCTURED = re.compile(r"(?:\\mathbb\{R\}|\(-\\infty, \\infty\))\\setminus\\\{(.*)\\\}")
_EXCLUDED = re.compile(r"([A-Za-z])\\ne(?![A-Za-z])(.+)")
_INTERVAL = re.compile(r"[\[(][^()\[\]]*, [^()\[\]]*[\])]")
# The sign with the same meaning once the sides are swapped.
_LESS = {"<": ">", "le": "ge", ">": "<", "ge": "le"}


def as_union(text: str) -> str:
    """Half-lines (`x<1, x>3`), ranges (`1<x<2`), exclusions (`x\\ne2`) and listed intervals as a union of intervals;
    any other text unchanged."""
    items = top_level_items(text)
    excluded = [match for item in items if (match := _EXCLUDED.fullmatch(item))]
    if excluded and len({match[1] for match in excluded}) == 1:
        # x \ne 1, 2 is x \ne 1, x \ne 2.
        return _line_without([match[2] if (match := _EXCLUDED.fullmatch(item)) else item for item in items]) or text
    if len(items) > 1 and all(_INTERVAL.fullmatch(item) for item in items):
        return r"\cup".join(items)
    parts = [_interval(item) for item in items]
    if not all(parts) or len({part[0] for part in parts if part}) != 1:
        return text
    return r"\cup".join(part[1] for part in parts if part)


def _interval(item: str) -> tuple[str, str] | None:
    """The unknown and the interval of `x<1` or `1<=x<2`."""
    sides, signs = split_relations(item)
    if len(sides) not in (2, 3) or not all(sides) or not set(signs) <= _LESS.keys():
        return None
    if signs[0] in (">", "ge"):
        sides, signs = sides[::-1], [_LESS[sign] for sign in signs[::-1]]
    if len(sides) == 2:
        at_left = len(sides[0]) == 1 and sides[0].isalpha()
        sides, signs = ([r"-\infty", *sides], ["<", *signs]) if at_left else ([*sides, r"\infty"], [*signs, "<"])
    if not (len(sides[1]) == 1 and sides[1].isalpha()) or any(sign in (">", "ge") for sign in signs):
        return None
    left, right = ("(" if signs[0] == "<" else "["), (")" if signs[1] == "<" else "]")
    return sides[1], f"{left}{sides[0]}, {sides[2]}{right}"


def punctured_line(text: str) -> str:
    """`\\mathbb{R}\\setminus\\{1, 2\\}` as a union of intervals; empty for other texts, and where the order of the
    points is not known."""
    found = _PUNCTURED.fullmatch(text)
    return _line_without(top_level_items(found[1])) if found else ""


def _line_without(points: list[str]) -> str:
    """The real line without some points, as a union; empty where their order is not known."""
    places = [(found[0].real, point) for point in points if (found := values(point)) and len(set(found)) == 1]
    ends = [r"-\infty", *(point for _, point in sorted(places)), r"\infty"]
    return r"\cup".join(f"({a}, {b})" for a, b in pairwise(ends)) if len(places) == len(points) else ""
