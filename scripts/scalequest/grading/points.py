"""Figures that are named by points.

A triangle has its vertices in any order, an angle has its vertex in the middle, and in "triangle ABC is congruent to
triangle DEF" each vertex corresponds to the one in its place.
"""

from __future__ import annotations

import re

_POINT = r"[A-Z](?:'|_\{[0-9A-Za-z]{1,3}\}|\^\{(?:\\prime ?){1,3}\})*"
# Polygons: their vertices may begin anywhere and go in either direction.
_ROUND = frozenset(("triangle", "square", "Box", "parallelogram", "area"))
_EITHER_WAY = frozenset(("angle", "overline", "overleftrightarrow", "widehat", "length"))
_FIGURE = re.compile(
    rf"m?\\(?P<sign>triangle|square|Box|parallelogram|angle) ?(?P<points>(?:{_POINT}){{1,8}})"
    rf"|\\(?P<sign2>overline|overleftrightarrow|overrightarrow|widehat|vec)\{{(?P<points2>(?:{_POINT}){{2,3}})\}}"
    rf"|(?P<points3>(?:{_POINT}){{1,8}})"
)
_MEASURE = re.compile(rf"\[(?P<area>(?:{_POINT}){{3,8}})\]|\|?(?P<length>(?:{_POINT}){{2}})\|?")
_RELATION = re.compile(r"\\(cong|simeq|sim)(?![A-Za-z])")
# Signs that may be omitted.
_LEFT_OUT = frozenset(("triangle", "angle", "overline"))
# Longer text names no figure.
_LONGEST = 200

Points = tuple[str, ...]


def same_figures(a: str, b: str) -> bool | None:
    """Whether two normalised answers name one figure, or state one congruence or similarity; one side may omit the sign
    of the figure. None where one of them is no such name, or neither has a sign."""
    left, right = _statement(a), _statement(b)
    if left is None or right is None or not (left[1] or right[1]):
        return None
    kinds = {left[1], right[1]}
    kind = left[1] or right[1]
    left_out = "" in kinds and kind in _LEFT_OUT and len(left[2][0]) > 1
    if left[0] != right[0] or (len(kinds) > 1 and not left_out):
        return False
    return _in_one_order(kind, left[2]) == _in_one_order(kind, right[2])


def same_measure(a: str, b: str) -> bool:
    """Whether two names are of one measured thing: AB and BA, [ABC] and [BCA], the angles ABC and CBA."""
    left, right = _MEASURE.fullmatch(a), _MEASURE.fullmatch(b)
    if left is None or right is None:
        return bool(same_figures(a, b))
    kind = str(left.lastgroup)
    one, other = ([_points(found[kind] or "")] for found in (left, right))
    return left.lastgroup == right.lastgroup and _in_one_order(kind, one) == _in_one_order(kind, other)


def _statement(text: str) -> tuple[str, str, list[Points]] | None:
    """The relation (empty for one figure), the kind of the figures, and their points; None for any other text, and
    where kinds or numbers of points differ."""
    if len(text) > _LONGEST:
        return None
    parts = _RELATION.split(text)
    figures = [_FIGURE.fullmatch(part.strip()) for part in parts[::2]]
    relations = {relation.replace("simeq", "cong") for relation in parts[1::2]}
    kinds = {found["sign"] or found["sign2"] or "" for found in figures if found}
    named = [_points(found["points"] or found["points2"] or found["points3"]) for found in figures if found]
    if not all(figures) or len(kinds) > 1 or len(relations) > 1 or len({len(points) for points in named}) > 1:
        return None
    return "".join(relations), kinds.pop(), named


def _points(text: str) -> Points:
    return tuple(point.replace(r"\prime", "'").replace(" ", "") for point in re.findall(_POINT, text))


def _in_one_order(kind: str, figures: list[Points]) -> list[Points]:
    """The figures in a form that does not depend on the order in which their points are named."""
    size = len(figures[0])
    places = list(range(size))
    ways = [[*places[turn:], *places[:turn]] for turn in (places if kind in _ROUND else [0])]
    if kind in _ROUND or kind in _EITHER_WAY:
        ways += [way[::-1] for way in ways]
    seen = [[tuple(points[place] for place in way) for points in figures] for way in ways]
    # Only the vertices of polygons correspond to each other.
    return min(map(sorted, seen)) if kind in _ROUND else sorted(map(min, zip(*seen, strict=True)))
