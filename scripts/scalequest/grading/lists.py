"""Answers of several items: lists, sets, points, matrices of one row or column, solutions of systems."""

from __future__ import annotations

import re
from collections.abc import Iterator

from scalequest.grading.latex import closes_at_end, name_and_value, top_level_items

# Brackets of points and intervals, whose items have an order.
ORDERED = ("()", "[]", "(]", "[)")
_BORDERS = len(r"\begin{pmatrix}\end{pmatrix}")
_PLUS_MINUS = re.compile(r"\\(?:pm|mp)(?![A-Za-z]) ?")


def collection(text: str, named: bool = False) -> tuple[str, list[str]] | None:
    """The kind of a collection and its items; None for a single item.

    The kind is `list` (without brackets), `set` (braces, several values of one unknown, both signs), `unknowns` (each
    with its value, `x=1, y=2`), or the brackets of a tuple or an interval. `named`: the text is the value of a name.
    """
    items = top_level_items(text)
    kind = "list"
    if len(items) == 1:
        start, end = (2, -2) if text[:2] == r"\{" and text[-2:] == r"\}" else (1, -1)
        brackets = text[:start] + text[end:]
        if brackets in (r"\{\}", *ORDERED) and closes_at_end(text):
            inside = top_level_items(text[start:end])
            if len(inside) > 1 or brackets == r"\{\}":
                items, kind = inside, "set" if brackets == r"\{\}" else brackets
    if kind in ORDERED and not _PLUS_MINUS.search(text):
        return (kind, items) if not _unknowns(items) else ("unknowns", items)
    # A point with both signs is two points.
    items = [half for item in ([text] if kind in ORDERED else items) for half in _plus_minus(item)]
    if len(items) == 1 or not all(items):
        return None
    if _unknowns(items):
        return "unknowns", items
    return "set" if named or _PLUS_MINUS.search(text) else kind, items


def matrix_entries(text: str) -> tuple[str, list[str]] | None:
    """A matrix of one row or one column as a point: its kind and its entries. None for any other text."""
    inside = text.removeprefix(r"\begin{pmatrix}").removesuffix(r"\end{pmatrix}")
    if len(text) - len(inside) != _BORDERS or r"\begin" in inside or ("&" in inside and r"\\" in inside):
        return None
    return "()", re.split(r"&|\\\\", inside)


def _unknowns(items: list[str]) -> bool:
    """Whether each item gives a value to an unknown of its own."""
    names = [named[0] for item in items if (named := name_and_value(item))]
    return len(set(names)) == len(items)


def several_solutions(gold: str, prediction: str) -> tuple[list[str], list[str]] | None:
    """The solutions on both sides, where one side names unknowns and has several solutions (`x=a, y=\\pm b`); None
    where neither has."""
    sides = _solutions(gold), _solutions(prediction)
    if not any(sides):
        return None
    size = len(top_level_items((sides[0] or sides[1])[0]))
    first, second = (found or _as_points(text, size) for found, text in zip(sides, (gold, prediction), strict=True))
    return first, second


def _solutions(text: str) -> list[str]:
    """The solutions of a system of two or more unknowns, each as the text of its values: where the unknowns are
    repeated, or one of them has several values. Empty where there is one solution, or where it is not certain which
    values belong together."""
    items = top_level_items(_without_brackets(text))
    signs = len(_PLUS_MINUS.findall(text))
    unknowns = [named[0] if (named := name_and_value(item)) else "" for item in items]
    size = len(set(unknowns))
    if size < 2 or not all(unknowns) or signs > 1 or (signs and len(unknowns) > size):
        return []
    if len(unknowns) > size and unknowns == unknowns[:size] * (len(unknowns) // size):
        return [", ".join(items[start : start + size]) for start in range(0, len(items), size)]
    given: dict[str, list[str]] = {}
    for unknown, item in zip(unknowns, items, strict=True):
        given.setdefault(unknown, []).extend(_plus_minus(item))
    several = [values for values in given.values() if len(values) > 1]
    if len(several) != 1:
        return []
    fixed = [values[0] for values in given.values() if len(values) == 1]
    return [", ".join([*fixed, value]) for value in several[0]]


def _as_points(text: str, size: int) -> list[str]:
    """Points of `size` coordinates: listed, or one with both signs in a coordinate."""
    items = top_level_items(_without_brackets(text) if text[:1] == "\\" else text)
    if len(items) == size and len(_PLUS_MINUS.findall(text)) == 1:
        items = [f"({text})"]
    return [half for item in items for half in _plus_minus(item)]


def _without_brackets(text: str) -> str:
    if text[:1] + text[-1:] in ORDERED and closes_at_end(text):
        return text[1:-1]
    return text[2:-2] if text[:2] == r"\{" and text[-2:] == r"\}" and closes_at_end(text) else text


def coordinates(items: list[str]) -> list[str]:
    """The values of named unknowns: of x, y and z in this order, of others in the order of the text."""
    pairs = [named for item in items if (named := name_and_value(item))]
    return [value for _, value in (sorted(pairs) if {name for name, _ in pairs} <= {"x", "y", "z"} else pairs)]


def _plus_minus(item: str) -> Iterator[str]:
    """An item with one plus-minus as two items, any other as it is."""
    if len(_PLUS_MINUS.findall(item)) != 1:
        yield item
        return
    for sign in "+-":
        yield re.sub(r"(^|[=(,] ?)\+", r"\1", _PLUS_MINUS.sub(sign, item))
