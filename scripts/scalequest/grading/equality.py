"""Whether two answers are equal, in three steps from cheap to expensive.

The steps are equal strings after normalisation, exact numbers, and symbolic mathematics. `decide` takes microseconds
for the first two. `equal_slow` does the third; on a hostile text it may never end, so `pool` calls it in processes that
it can kill.
"""

from __future__ import annotations

import re
from functools import lru_cache

from scalequest.grading.intervals import as_union
from scalequest.grading.latex import (
    EQUATION,
    LONGEST,
    MATRIX,
    UNION,
    closes_at_end,
    is_prose,
    other_variables,
    split_relations,
    top_level_items,
    variables,
)
from scalequest.grading.lists import ORDERED, collection, coordinates, matrix_entries, several_solutions
from scalequest.grading.normalisation import Parts, split_answer
from scalequest.grading.numbers import equal_numbers, in_base, number
from scalequest.grading.points import same_figures, same_measure
from scalequest.grading.symbolic import equal_symbolically
from scalequest.grading.units import other_unit
from scalequest.grading.values import Values, apart, values

# Answers with more items are left to `equal_slow`, whose time is bounded.
_MOST_ITEMS = 100
# Relative difference that rounding may cause.
_ROUNDED = 0.05
# 0.333... is not 0.333.
_DOTS = r"\dots"
_CLOSED_AT_INFINITY = re.compile(r"\[[+-]?\\infty(?![A-Za-z])|\\infty\]")


def how_equal(a: str, b: str) -> tuple[bool | None, str]:
    """The result of `equal_fast` and the step that decided: `string`, `number`, or empty where none did."""
    left, right = split_answer(a), split_answer(b)
    if left.value == right.value:
        return (True, "string") if not _conflict(left, right) else (None, "")
    if not _conflict(left, right):
        first, second = number(left.value), number(right.value)
        if first and second:
            return equal_numbers(first, second), "number"
    return None, ""


def equal_fast(a: str, b: str) -> bool | None:
    """Whether two answers are equal, by string or by exact number; None where neither decides it.

    False only for two plain numbers that differ: 0.333 is not 1/3. A percentage equals its number with or without the
    sign (50% = 1/2 = 50), since questions ask for either. Symmetric.
    """
    return how_equal(a, b)[0]


def decide(gold: str, prediction: str) -> tuple[bool | None, str]:
    """Whether two answers are equal and the step that decided, `string` or `number`; None where only `equal_slow` can.

    Unlike `how_equal`, it also finds that answers differ in words, names, units, letters or the values of expressions.
    It takes microseconds and is symmetric.
    """
    equal, how = how_equal(gold, prediction)
    if equal is not None:
        return equal, how
    left, right = split_answer(gold), split_answer(prediction)
    rearranged = _rearranged(left, right)
    if (_conflict(left, right) and not rearranged) or not left.value or not right.value:
        return False, "string"
    if (_DOTS in left.value) != (_DOTS in right.value) or _other_brackets(left.value, right.value):
        return False, "string"
    if max(len(left.value), len(right.value)) > LONGEST:
        return None, ""
    bases = in_base(left.value), in_base(right.value)
    if all(bases):
        return bases[0] == bases[1], "number"
    for based, other in ((bases[0], right.value), (bases[1], left.value)):
        # A base on one side only is the one that the question names.
        if based and based[0] == other:
            return True, "number"
    if (same := same_figures(left.value, right.value)) is not None:
        return same, "string"
    if left.value.isalpha() and right.value.isalpha() and (_points(gold) or _points(prediction)):
        return False, "string"
    if is_prose(left.value) or is_prose(right.value):
        return (None, "") if _letters(left.value) == _letters(right.value) else (False, "string")
    return (False, "number") if not rearranged and _apart(left.value, right.value) else (None, "")


def _points(answer: str) -> bool:
    """Whether an answer as written consists of names of points, whose order counts: AB is not BA, but ab is ba."""
    letters = re.sub(r"\\[A-Za-z]+|[^A-Za-z]", "", answer)
    return len(letters) > 1 and letters.isupper()


def _rearranged(a: Parts, b: Parts) -> bool:
    """Whether they are equations solved for two different unknowns: x = y^3 may be y = \\sqrt[3]{x}."""
    if a.unit or b.unit or a.name == b.name or is_prose(a.value) or is_prose(b.value):
        return False
    return all(
        one.name and one.name in {letter.lower() for letter in variables(other.value)}
        for one, other in ((a, b), (b, a))
    )


def _other_brackets(a: str, b: str) -> bool:
    """Whether one is a list of one item, [2], and the other neither a list nor a matrix, or only one is closed at
    infinity."""
    if sorted(_CLOSED_AT_INFINITY.findall(a)) != sorted(_CLOSED_AT_INFINITY.findall(b)):
        return True
    return any(
        _listed_alone(one) and not (_listed_alone(other) or MATRIX.search(other)) for one, other in ((a, b), (b, a))
    )


def _listed_alone(text: str) -> bool:
    """Whether a text is one item in square brackets."""
    return text[:1] == "[" and text[-1:] == "]" and closes_at_end(text) and len(top_level_items(text[1:-1])) == 1


def _apart(gold: str, prediction: str) -> bool:
    """Whether an item on one side differs in value from every item on the other, or from the one in its place."""
    if max(gold.count(","), prediction.count(",")) > _MOST_ITEMS:
        return False
    left, right = _valued_items(gold), _valued_items(prediction)
    if len(left[1]) == len(right[1]) == 1 and _other_kind(gold, prediction):
        return True
    if left[0] == right[0] and left[0] in ORDERED and len(left[1]) == len(right[1]):
        return any(a and b and apart(a, b) for a, b in zip(left[1], right[1], strict=True))
    return any(
        item and all(other and apart(item, other) for other in others)
        for items, others in ((left[1], right[1]), (right[1], left[1]))
        for item in items
    )


def _other_kind(gold: str, prediction: str) -> bool:
    """Whether one is an expression and the other a matrix or a union, or their unknowns differ."""
    for one, other in ((gold, prediction), (prediction, gold)):
        if values(one) and (other == r"\emptyset" or UNION.search(other) or MATRIX.fullmatch(other)):
            return True
    return not (values(gold) and values(prediction)) and other_variables(gold, prediction)


@lru_cache(maxsize=1 << 14)
def _valued_items(text: str) -> tuple[str, list[Values | None]]:
    """The kind of a collection (`set` for a single item) and the values of its items, None for an item without."""
    kind, items = collection(text) or ("set", [text])
    return kind, [values(split_answer(item).value) for item in items]


def equal_slow(gold: str, prediction: str) -> bool:
    """Whether a prediction equals the gold answer, by structure (lists, sets, tuples, intervals) and math-verify.

    Not bounded in time and not symmetric; call it through `graders.grade_all` or a `Pool`.
    """
    left, right = split_answer(gold), split_answer(prediction)
    if not left.value or not right.value:
        return False
    if _rearranged(left, right):
        return equal_symbolically(_with_name(left, right.value), _with_name(right, left.value))
    if _conflict(left, right):
        return False
    if _equal_parts(left, right):
        return True
    # y = 2x + 1 against 2x - y + 1 = 0: the name is part of the equation.
    whole_left, whole_right = (
        _with_name(one, other.value) if one.name and "()" not in one.name and "=" in other.value else one.value
        for one, other in ((left, right), (right, left))
    )
    changed = (whole_left, whole_right) != (left.value, right.value)
    return changed and equal_symbolically(whole_left, whole_right)


def _with_name(parts: Parts, other: str) -> str:
    """A named value as an equation. The name, which is in small letters, gets the case that it has in `other`."""
    name = next((letter for letter in sorted(variables(other)) if letter.lower() == parts.name), parts.name)
    return f"{name}={parts.value}"


def _conflict(a: Parts, b: Parts) -> bool:
    """Whether names or units differ: x = 5 is not y = 5, 5 cm is not 5 m or 5%. One on one side only is no conflict."""
    units = [parts.unit or ("%" if parts.value.endswith("%") else "") for parts in (a, b)]
    return _other_name(a.name, b.name) or other_unit(*units)


def _other_name(a: str, b: str) -> bool:
    """Whether two names are of different things. The letter of a function does not count: f(x) = 2x, g(x) = 2x and
    y = 2x are one answer; k = 1 is not f(x) = 1, and f(x) is not its inverse. Words may mean the same as a letter."""
    if not a or not b or a == b or is_prose(a) or is_prose(b) or same_measure(a, b):
        return False
    first, second = (name.removesuffix("()") for name in (a, b))
    functions = all(name == "y" or name.endswith("()") for name in (a, b))
    return first != second and not (functions and ("y" in (a, b) or first[1:] == second[1:]))


def _equal_parts(left: Parts, right: Parts) -> bool:
    """Whether two values are equal, whatever their names and units are."""
    gold, prediction = left.value, right.value
    if gold == prediction:
        return True
    if is_prose(gold) or is_prose(prediction):
        return _letters(gold) == _letters(prediction)
    if UNION.search(gold) or UNION.search(prediction):
        gold, prediction = as_union(gold), as_union(prediction)
    if several := several_solutions(gold, prediction):
        return _equal_in_any_order(*several)
    first, second = (collection(text, bool(one.name)) for text, one in ((gold, left), (prediction, right)))
    # A vector may be written as a row, a column or a point.
    if any(one and one[0] in ("()", "unknowns") for one in (first, second)):
        first, second = first or matrix_entries(gold), second or matrix_entries(prediction)
    if first and second:
        return _equal_collections(first, second)
    golds = _readings(gold, bool(left.name), shown=("=", "approx"))
    # A step that the gold answer has too is not checked again.
    begin_alike = split_relations(gold)[0][0] == split_relations(prediction)[0][0]
    predictions = _readings(prediction, bool(right.name), shown=("=",) if begin_alike else ())
    if (golds, predictions) in (([gold], [prediction]), ([], [])):
        return equal_symbolically(gold, prediction)
    return any(_equal_item(a, b) for a in golds for b in predictions)


def _readings(text: str, named: bool, shown: tuple[str, ...]) -> list[str]:
    """The values that an answer states: of an equation without unknowns on its left (`2+3=5`), or of a chain after a
    name, the right side and what it approximates. Empty for an equation with unknowns and for a false one. Relations in
    `shown` are taken to be true."""
    sides, signs = split_relations(text)
    if not signs or not set(signs) <= EQUATION:
        return [text]
    if not all(sides) or (not named and variables(sides[0])):
        return []
    true = {"=": _equal_item, "approx": _rounds}
    steps = list(zip(sides, signs, sides[1:], strict=False))
    if any(sign not in shown and not true[sign](a, b) for a, sign, b in steps):
        return []
    return [sides[-1], *(a for a, sign, _ in steps if sign == "approx")]


def _rounds(exact: str, rounded: str) -> bool:
    """Whether `rounded` is `exact` to its decimals, or within 5% if it has none; True where one has no known value."""
    first, second = values(exact), values(rounded)
    decimals = len(rounded.partition(".")[2])
    if not first or not second:
        return True
    return abs(first[0] - second[0]) <= (10.0**-decimals if decimals else _ROUNDED * abs(first[0]))


def _letters(text: str) -> str:
    """A text without case, spaces and punctuation."""
    return re.sub(r"[\s'\"!?;:]+|[.,](?![0-9])", "", text.casefold())


def _equal_item(gold: str, prediction: str) -> bool:
    equal = decide(gold, prediction)[0]
    return equal_slow(gold, prediction) if equal is None else equal


def _equal_in_order(golds: list[str], predictions: list[str]) -> bool:
    return all(_equal_item(g, p) for g, p in zip(golds, predictions, strict=True))


def _equal_in_any_order(golds: list[str], predictions: list[str]) -> bool:
    left, right = list(golds), list(predictions)
    # The cheap comparison first, so that algebra gets only the items that it leaves.
    for equal in (lambda g, p: equal_fast(g, p) is True, _equal_item):
        for item in list(left):
            match = next((p for p in right if equal(item, p)), None)
            if match is not None:
                left.remove(item)
                right.remove(match)
    return not left


def _equal_collections(first: tuple[str, list[str]], second: tuple[str, list[str]]) -> bool:
    """Whether collections have equal items: in any order for lists and sets, in the same order for points and
    intervals. A list, and a point whose coordinates are named, may equal a point. Other kinds differ."""
    (kind, golds), (other, predictions) = first, second
    kinds = {kind, other}
    if len(golds) != len(predictions):
        return False
    if kinds <= {"list", "set"} or kinds == {"unknowns"}:
        return _equal_in_any_order(golds, predictions)
    if len(kinds) > 1 and not kinds <= {"list", "unknowns", "()"}:
        return False
    return _equal_in_order(*(coordinates(one[1]) if one[0] == "unknowns" else one[1] for one in (first, second)))
