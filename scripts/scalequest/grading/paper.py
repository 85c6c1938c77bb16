"""The answers of the grader `paper`: extraction and comparison as in the evaluation that the paper used.

The paper (arXiv 2410.18693, section 4.1) evaluates with DART-Math's framework (arXiv 2407.13690). This does the same:

- extraction looks behind the last "therefore" and behind GSM8K's and PRM800K's marks for a box, then for "the answer
  is"; where both fail it takes the last number of the whole response, so that nearly every response has an answer;
- an answer is compared as a string without case, after variants of LaTeX, a list of units and percent signs are
  removed; then as a number, within 1e-9 of its size or 1e-8, and within a thousandth where one side may be a
  percentage; then by sympy. The brackets of a point or an interval do not matter;
- a response that was cut at the token limit, and an answer with a character beyond ASCII, are wrong;
- OlympiadBench has its own judge: several answers in any order, an absolute tolerance (1e-8, or the row's), without
  units, equations up to an integer factor.

Differences on purpose: model text is parsed by a grammar of LaTeX, never evaluated as Python; a mixed number is a
number and not a product; words are compared as text, booleans and days of the week too; a question that says "find the"
does not make every answer a set. docs/reference/graders.md has how often verdicts differ. Time is linear in the length
of a response.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from scalequest.grading.latex import LONGEST, brace_pairs, is_prose, top_level_items
from scalequest.grading.symbolic import parsed
from scalequest.grading.values import apart, values

RELATIVE, ABSOLUTE, PERCENT = 1e-9, 1e-8, 1e-3
_MARKS = ("herefore", "####", "# Answer")
_BEFORE, _AFTER = ("is the ans", "is our ans"), ("answer is", "answer:", "answer :")
_NUMBER = re.compile(r"-?(?:\d+(?:\.\d+)?|\.\d+)")


# ---------------------------------------------------------------- extraction
def extract(response: str) -> str | None:
    """The answer as written, or None where there is neither mark nor number. Never raises."""
    text = response
    for mark in _MARKS:
        text = text.rpartition(mark)[2]
    found = (_boxed(text) or _said(text) or _last_number(response) or "").strip()
    return found or None


def _boxed(text: str) -> str | None:
    """The content of the last box; one that is not closed contains all that follows."""
    place = text.rfind("oxed{")
    if place < 0:
        return None
    start = place + len("oxed")
    pairs = brace_pairs(text)
    return text[start + 1 : pairs[start]] if start in pairs else text[start + 1 :][:LONGEST]


def _said(text: str) -> str | None:
    for phrase in _BEFORE:
        if phrase in text:
            return re.split(r"[,.!]", text.split(phrase)[-2].strip())[-1].strip() or None
    for phrase in _AFTER:
        if phrase in text:
            rest = text.rpartition(phrase)[2].strip(" \n.")
            return rest[1:-1] if rest.startswith("$") and rest.endswith("$") else rest or None
    return None


def _last_number(text: str) -> str | None:
    found = _NUMBER.findall(text.replace(",", ""))
    return found[-1] if found else None


# ---------------------------------------------------------------- normalisation
_UNITS = (
    r"hours?|minutes?|mins?|seconds?|secs?|s|days?|weeks?|months?|years?|(?:kilo)?meters?|miles?|inch(?:es)?|feet|pieces?|bits?|tons?"
    r"|billions?|[nu\N{GREEK SMALL LETTER MU}cdkm]?m|[km]?g|t|hz|Hz|k?m/s|eV|V|C|[ap]\.?m\.?"
)
_REPLACED = tuple(
    (re.compile(pattern), new)
    for pattern, new in (
        # The second of two backslashes ends a row and does not begin a space.
        (r"\\\$|\$|(?<!\\)\\[!,;: ]|~|\\(?:left|right|displaystyle|limits|quad|qquad)(?![A-Za-z])|[£€￥]", ""),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\(?:mathrm|mathbf|mathit|textbf|textit|boldsymbol|bm|text|mbox|hbox)\s*\{([^{}]*)\}", r"\1"),
        (r"\^\s*\{?\s*\\circ\s*\}?|\\degree(?![A-Za-z])", ""),
        (r"\\?%", ""),
        (r"\\(?:leq|le)(?![A-Za-z])", "<="),
        (r"\\(?:geq|ge)(?![A-Za-z])", ">="),
        (r"\\approx(?![A-Za-z])", "="),
        (r"\\(?:cdot|times)(?![A-Za-z])", "*"),
        (r"\N{UNION}", r"\\cup "),
        (r"\N{GREEK SMALL LETTER PI}", r"\\pi "),
        (r"\N{INFINITY}", r"\\infty "),
        (r"\N{MINUS SIGN}", "-"),
        (r"(?<=\d)\{,\}(?=\d)|(?<=\d),(?=\d{3}(?!\d))", ""),
        (r"(?<=\d)\s*:\s*(?=\d)", "/"),
        (r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}"),
        (r"\\frac\s*(\d)\s*\{", r"\\frac{\1}{"),
        (r"(\\frac\s*\{[^{}]*\})\s*(\d)", r"\1{\2}"),
        (r"\\sqrt\s*(\w)", r"\\sqrt{\1}"),
        (r"\{[pbBvV]?matrix\}|\{array\}(?:\{[lcr]*\})?", "{pmatrix}"),
        (r"(?<![A-Za-z\\])inf(?:inity)?(?![A-Za-z])", r"\\infty"),
        (r"^[A-Za-z](?:_\{?\w\}?)? ?\\in(?![A-Za-z]) ?", ""),
        (r" and ", ","),
        (rf"(?<=[0-9}}]) ?(?:{_UNITS})\.?$", ""),
    )
)
# A side of an equation that only names the other one.
_NAME = re.compile(r"(?:[A-Za-z](?:_\{?\w\}?)?|\\[a-z]+|[A-Z]{2})(?: ?\(-?[\w.]+\))?|[^A-Za-z=]*")
# OlympiadBench's solutions have \mathbf{1 2} for 12.
_BOLD_NUMBER = re.compile(r"\\(?:math(?:bf|rm|it)|boldsymbol|bm) ?\{([-\d. ]+)\}")
# Without spaces a letter may follow.
_PLUS_MINUS = re.compile(r"\\(?:pm(?!od)|mp)")
# Between the digits of a mixed number a space stays.
_SPACE = re.compile(r"(?<!\d) | (?!\d)|(?<=\d) (?=\d{3}(?:\D|$))")
_WORDS = (
    *("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen"),
    *("fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)


def _cleaned(text: str) -> str:
    """An answer without the variants of LaTeX, units and percent signs. Linear; never raises."""
    text = text.strip(" \n\t.,:;?#/\"'")
    if len(text) > LONGEST or (text.isascii() and text.isdigit()):
        return text
    text = _BOLD_NUMBER.sub(lambda found: found[1].replace(" ", ""), text)
    for pattern, new in _REPLACED:
        # No run of spaces is left that the next pattern would begin with at each place.
        text = pattern.sub(new, " ".join(text.split()))
    return " ".join(text.split()).strip(" .")


def normalise(text: str) -> str:
    """An answer cleaned, with a comma between alternatives, each without the side of an equation that only names the
    other one, in small letters where it is a word. Linear; never raises."""
    text = _cleaned(text)
    return text if len(text) > LONGEST else ",".join(_unnamed(part) for part in text.split(" or "))


def _unnamed(text: str) -> str:
    sides = [side.strip() for side in text.split("=")]
    plain = not any(sign in text for sign in ("matrix", "<", ">"))
    if plain and (len(sides) > 2 or (len(sides) == 2 and _NAME.fullmatch(sides[0]))):
        text = sides[-1]
    if text.lower() in _WORDS:
        return str(_WORDS.index(text.lower()) + 1)
    return text.lower() if re.fullmatch(r"[A-Za-z ]{2,}", text) else _SPACE.sub("", text)


def _compared(text: str) -> str:
    """An answer as it is compared where OlympiadBench's judge is not asked: normalised, each plus-minus as two."""
    return ",".join(half for item in top_level_items(normalise(text)) for half in _both_signs(item))


# ---------------------------------------------------------------- comparison
def how_equal(gold: str, prediction: str, facts: str) -> tuple[bool | None, str]:
    """Whether two answers are equal and the step that decided: `string`, `number`, or empty. `facts` is JSON."""
    known = json.loads(facts)
    olympiad = "answer_type" in known
    left, right = (_cleaned(text) if olympiad else _compared(text) for text in (gold, prediction))
    if len(right) > LONGEST or not right or not right.isascii():
        return False, "string"
    if left == right or (not olympiad and left.lower() == right.lower()):
        return True, "string"
    # Words are not products of their letters.
    if known.get("unit") or (olympiad and any(re.fullmatch("[A-Za-z ]+", text) for text in (left, right))):
        return None, ""
    first, second = _plain(left), _plain(right)
    if first is not None and second is not None:
        return _close(first, second, known, not olympiad or _percent(gold, left, right)), "number"
    return (False, "number") if _apart(left, right, known) else (None, "")


def _percent(whole: str, gold: str, prediction: str) -> bool:
    """Whether OlympiadBench's judge also compares percentages: where both are plain numbers, neither fractions nor a
    side of an equation, and the whole gold answer has no percent or degree sign."""
    return not re.search("[=/f]", gold + prediction) and not re.search(r"%|\\circ|\\degree", whole)


def _apart(gold: str, prediction: str, facts: Mapping[str, str]) -> bool:
    """Whether two expressions certainly differ: their values at a few points do, and for numbers by more than any
    tolerance, also as percentages. sympy would find the same after a second, or would not end."""
    a, b = values(gold), values(prediction)
    if a is None or b is None or not apart(a, b):
        return False
    if len(set(a)) > 1 or len(set(b)) > 1:
        return True
    near = max(2 * PERCENT * abs(b[0]), 2 * _tolerance(facts))
    return not any(abs(value - b[0]) <= near for value in (a[0] / 100, a[0], a[0] * 100))


def equal_slow(gold: str, prediction: str, facts: str) -> bool:
    """Whether two answers are equal as sets, tuples, matrices, equations or expressions. Not bounded in time; call it
    through `graders.grade_all`."""
    known = json.loads(facts)
    if "answer_type" in known:
        return _olympiad(gold, prediction, known)
    return _equal(_compared(gold), _compared(prediction), known)


def _plain(text: str) -> float | None:
    if re.fullmatch(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?", text):
        return float(text)
    fraction = re.fullmatch(r"([+-]?\d+)/(\d+)|([+-]?)\\frac\{([+-]?\d+)\}\{(\d+)\}", text)
    if fraction is None or len(text) > 300:
        return None
    top, bottom, sign, inner, below = fraction.groups()
    divisor = float(bottom or below)
    if not divisor:
        return None
    return float(top) / divisor if top else (-1 if sign == "-" else 1) * float(inner) / divisor


def _close(gold: float, prediction: float, facts: Mapping[str, str], percent: bool = True) -> bool:
    if not (math.isfinite(gold) and math.isfinite(prediction)):
        # The texts differ, and numbers too large for a float are not compared further.
        return False
    if "answer_type" in facts:
        # OlympiadBench: an absolute tolerance; either side may be a percentage.
        wanted = (gold / 100, gold, gold * 100) if percent else (gold,)
        return any(abs(value - prediction) <= _tolerance(facts) * 1.01 for value in wanted)
    if math.isclose(gold, prediction, rel_tol=RELATIVE, abs_tol=ABSOLUTE):
        return True
    shares = [value for value in (gold / 100, gold * 100) if _share(value)]
    return _share(prediction) and any(math.isclose(v, prediction, rel_tol=PERCENT, abs_tol=ABSOLUTE) for v in shares)


def _share(value: float) -> bool:
    """Whether a number may be a percentage."""
    return 0 < value < 100 and value != 1


def _tolerance(facts: Mapping[str, str]) -> float:
    try:
        given = abs(float(facts["error"]))
    except (KeyError, ValueError):
        return ABSOLUTE
    return given if math.isfinite(given) else ABSOLUTE


def _olympiad(gold: str, prediction: str, facts: Mapping[str, str]) -> bool:
    """OlympiadBench's judge: the same number of answers, which are equal in some order."""
    unit = facts.get("unit") or ""
    lists = []
    for text in (gold, prediction):
        plain = _cleaned(text.replace(unit, "") if unit else text)
        items = [item for part in plain.split(" or ") for item in top_level_items(part)]
        # Names are removed on one side only, so that two equations are compared as equations.
        named = [normalise(item) if text is prediction else _SPACE.sub("", item) for item in items]
        lists.append([half for item in named for half in _both_signs(item)])
    golds, found = lists
    if len(golds) != len(found):
        return False
    for item in golds:
        match = next((other for other in found if _equal(item, other, facts, _percent(gold, item, other))), None)
        if match is None:
            return False
        found.remove(match)
    return True


def _both_signs(item: str) -> list[str]:
    return [_PLUS_MINUS.sub(sign, item) for sign in "-+"] if len(_PLUS_MINUS.findall(item)) == 1 else [item]


def _equal(gold: str, prediction: str, facts: Mapping[str, str], percent: bool = True) -> bool:
    if gold == prediction:
        return True
    if "answer_type" in facts and ("=" in gold) != ("=" in prediction):
        gold, prediction = (side.partition("=")[2] or side for side in (gold, prediction))
    first, second = _plain(gold), _plain(prediction)
    if first is not None and second is not None:
        return _close(first, second, facts, percent)
    if not gold or not prediction or max(len(gold), len(prediction)) > LONGEST:
        return False
    left, right = _items(gold), _items(prediction)
    if left and right:
        # Only the brackets of half-open intervals count; for OlympiadBench's judge all do.
        alike = set() if "answer_type" in facts else {"set", "()", "[]"}
        if len(left[1]) != len(right[1]) or (left[0] != right[0] and not {left[0], right[0]} <= alike):
            return False
        if {left[0], right[0]} != {"set"}:
            return all(_equal(a, b, facts) for a, b in zip(left[1], right[1], strict=True))
        rest = list(right[1])
        for item in left[1]:
            match = next((other for other in rest if _equal(item, other, facts)), None)
            if match is None:
                return False
            rest.remove(match)
        return True
    return _equal_expressions(gold, prediction, facts)


def _items(text: str) -> tuple[str, list[str]] | None:
    """A list or set as ("set", items), a tuple or an interval as (its brackets, items); None for a single item."""
    if len(items := top_level_items(text)) > 1:
        return "set", items
    for opening, closing in ((r"\{", r"\}"), ("(", ")"), ("[", "]"), ("(", "]"), ("[", ")")):
        if text.startswith(opening) and text.endswith(closing):
            items = top_level_items(text[len(opening) : -len(closing)])
            return ("set" if opening == r"\{" else opening + closing, items) if len(items) > 1 else None
    return None


def _equal_expressions(gold: str, prediction: str, facts: Mapping[str, str]) -> bool:
    import sympy

    if all(re.fullmatch(r"[A-Za-z ]+", text) and is_prose(text) for text in (gold, prediction)):
        # As products of letters, east and seat would be equal.
        return gold.lower() == prediction.lower()
    if gold == prediction:
        return True
    if "answer_type" in facts and gold.lower() == prediction.lower():
        # They differ in case, which the parser would ignore.
        return False
    left, right = parsed(gold), parsed(prediction)
    if left is None or right is None:
        return False
    if left == right:
        # 1/0 is not 2/0, though sympy reads both as complex infinity.
        return not left.has(sympy.zoo, sympy.nan)
    if isinstance(left, sympy.Equality) and isinstance(right, sympy.Equality):
        # Two equations are equal if they differ by an integer factor.
        ratio = sympy.simplify((left.lhs - left.rhs) / (right.lhs - right.rhs))
        return bool(ratio.is_number and ratio.is_finite and ratio != 0 and (ratio.is_Integer or (1 / ratio).is_Integer))
    try:
        difference: Any = sympy.simplify(left - right)
    except (TypeError, ValueError, AttributeError, NotImplementedError):
        return False
    if hasattr(difference, "flat"):
        return all(value == 0 for value in difference.flat())
    if difference == 0:
        return True
    if not (getattr(left, "is_number", False) and getattr(right, "is_number", False)):
        return False
    try:
        return _close(float(left.evalf()), float(right.evalf()), facts, "answer_type" not in facts)
    except (TypeError, ValueError, OverflowError):
        return False
