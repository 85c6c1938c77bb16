"""The answers of the grader `paper`: extraction and comparison as in the evaluation that the paper used.

The paper (arXiv 2410.18693, section 4.1) evaluates with DART-Math's framework (arXiv 2407.13690). What is described of
it, and followed here:

- extraction looks behind "therefore", for GSM8K's and PRM800K's marks, a box, "the answer is"; where all fail, it takes
  the last formula, then the last number: nearly every response has an answer;
- strings are compared once variants of LaTeX, units and percent signs are gone; then numbers, within 1e-9 of their size
  or 1e-8, and within a thousandth where one side may be a percentage; then expressions, sets and matrices by sympy;
- OlympiadBench has its own judge: several answers in any order, an absolute tolerance (1e-8, or the row's), units left
  out, equations up to a factor.

Assumed, where descriptions are silent: which words are units, that words are compared without case, and that what sympy
cannot read is different. Model text is parsed by a grammar of LaTeX and never evaluated, so that some plain expressions
that sympy's own reader would run as Python are different here. All is linear in the length of a response.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from scalequest.answers import LONGEST, brace_pairs, parsed, top_level_items

RELATIVE, ABSOLUTE, PERCENT = 1e-9, 1e-8, 1e-3
_GSM8K, _PRM800K = "#### ", "# Answer\n\n"
_SAYS = re.compile(r"answer\s*(?:to (?:this|the) (?:problem|question)\s*)?(?:is|:|=)\s*:?", re.IGNORECASE)
# No formula holds the start of another one: many unclosed ones would take quadratic time.
_FORMULA = re.compile(r"\$\$?([^$]+)\$|\\\(((?:(?!\\\().)+?)\\\)|\\\[((?:(?!\\\[).)+?)\\\]", re.DOTALL)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?|-?\.\d+")
_CLAUSE = re.compile(r"\.\s|\.$|\n|,\s")


# ---------------------------------------------------------------- extraction
def extract(response: str) -> str | None:
    """The answer as written, or None where there is neither mark nor formula nor number. Never raises."""
    text = response.rpartition("herefore")[2] or response
    for mark in (_GSM8K, _PRM800K):
        text = text.rpartition(mark)[2] or text
    found = _boxed(text) or _said(text)
    if found is None and len(text) < len(response) and _is_marked(response):
        found = text.strip().partition("\n")[0]
    found = found or _last_formula(text) or _last_number(text)
    return found.strip() or None if found else None


def _is_marked(response: str) -> bool:
    return _GSM8K in response or _PRM800K in response


def _boxed(text: str) -> str | None:
    """What the last box holds; without braces, what stands up to the end of the formula."""
    place = text.rfind("oxed")
    if place < 0:
        return None
    start = place + len("oxed")
    if text[start : start + 1] == "{":
        pairs = brace_pairs(text)
        return text[start + 1 : pairs[start]] if start in pairs else text[start + 1 :][:LONGEST]
    return text[start:].partition("$")[0].strip()[:LONGEST] or None


def _said(text: str) -> str | None:
    said = list(_SAYS.finditer(text))
    if not said:
        return None
    rest = text[said[-1].end() :].strip()
    if formula := re.match(r"\$+([^$]+)\$|\\\((.+?)\\\)", rest, re.DOTALL):
        return next(group for group in formula.groups() if group)
    return _CLAUSE.split(rest, maxsplit=1)[0].strip(" *") or None


def _last_formula(text: str) -> str | None:
    found = _FORMULA.findall(text)
    return next((group for group in found[-1] if group.strip()), None) if found else None


def _last_number(text: str) -> str | None:
    found = _NUMBER.findall(text)
    return found[-1].replace(",", "") if found else None


# ---------------------------------------------------------------- normalisation
_REPLACED = tuple(
    (re.compile(pattern), new)
    for pattern, new in (
        (r"\\\$|\$|\\[!,;: ]|~|\\(?:left|right|displaystyle|limits|quad|qquad)(?![A-Za-z])", ""),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\(?:mathrm|mathbf|mathit|textbf|textit|boldsymbol|bm)\s*\{([^{}]*)\}", r"\1"),
        # Words behind a number are units; alone they are the answer.
        (r"(?<=[0-9}])\s*\\(?:text|mbox|hbox)\s*\{[^{}]*\}(?:\s*\^\s*\{?[23]\}?)?", ""),
        (r"\\(?:text|mbox|hbox)\s*\{([^{}]*)\}", r"\1"),
        (r"\^\s*\{?\s*\\circ\s*\}?|\\degree(?![A-Za-z])|\N{DEGREE SIGN}", ""),
        (r"\\?%|\bper ?cent\b", ""),
        (r"\\(?:leq|le)(?![A-Za-z])", "<="),
        (r"\\(?:geq|ge)(?![A-Za-z])", ">="),
        (r"(?<=\d),(?=\d{3}(?!\d))", ""),
        (r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}"),
        (r"\\frac\s*(\d)\s*\{", r"\\frac{\1}{"),
        (r"(\\frac\s*\{[^{}]*\})\s*(\d)", r"\1{\2}"),
        (r"\\sqrt\s*(\w)", r"\\sqrt{\1}"),
        (r"(?<![A-Za-z\\])inf(?:inity)?(?![A-Za-z])", r"\\infty"),
        (r"^[A-Za-z](?:_\{?\w\}?)?(?:\([A-Za-z]\))?\s*(?:=|\\in)\s*", ""),
        (r"\s+(?:and|or)\s+", ","),
        (
            r"(?<=[0-9])\s*(?:dollars?|cents?|hours?|minutes?|seconds?|days?|weeks?|months?|years?|meters?|feet|foot|inches|inch"
            r"|miles?|cm|mm|km|kg|grams?|degrees?|units?|square units?)\b\.?",
            "",
        ),
    )
)


def normalise(text: str) -> str:
    """An answer without the variants of LaTeX, units and percent signs. Linear; never raises."""
    text = text.strip().rstrip(".").strip()
    if len(text) > LONGEST:
        return text
    for pattern, new in _REPLACED:
        text = pattern.sub(new, text.strip())
    text = re.sub(r"\s+", " ", text).strip(" .")
    return text.lower() if re.fullmatch(r"[A-Za-z ]{2,}", text) else text.replace(" ", "")


# ---------------------------------------------------------------- comparison
def how_equal(gold: str, prediction: str, facts: str) -> tuple[bool | None, str]:
    """Whether two answers are equal and what says so: `string`, `number`, or empty while undecided. `facts` is JSON."""
    left, right = normalise(gold), normalise(prediction)
    if left == right:
        return True, "string"
    if len(right) > LONGEST or not right:
        return False, "string"
    first, second = _plain(left), _plain(right)
    if first is not None and second is not None:
        return _close(first, second, json.loads(facts)), "number"
    return None, ""


def equal_slow(gold: str, prediction: str, facts: str) -> bool:
    """Whether two answers are equal as sets, tuples, matrices, equations or expressions. Not bounded in time; call it
    through `graders.grade_all`."""
    known = json.loads(facts)
    if "answer_type" in known:
        return _olympiad(gold, prediction, known)
    return _equal(normalise(gold), normalise(prediction), known)


def _plain(text: str) -> float | None:
    if re.fullmatch(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d{1,3})?", text):
        return float(text)
    fraction = re.fullmatch(r"([+-]?\d+)/(\d+)|([+-]?)\\frac\{([+-]?\d+)\}\{(\d+)\}", text)
    if fraction is None or len(text) > 300:
        return None
    top, bottom, sign, inner, below = fraction.groups()
    divisor = float(bottom or below)
    if not divisor:
        return None
    return float(top) / divisor if top else (-1 if sign == "-" else 1) * float(inner) / divisor


def _close(gold: float, prediction: float, facts: Mapping[str, str]) -> bool:
    if "answer_type" in facts:
        # OlympiadBench: an absolute tolerance, and percentages either way.
        return any(abs(value - prediction) <= _tolerance(facts) * 1.01 for value in (gold / 100, gold, gold * 100))
    if math.isclose(gold, prediction, rel_tol=RELATIVE, abs_tol=ABSOLUTE):
        return True
    others = (gold / 100, gold * 100)
    return 0 < prediction < 100 and any(0 < v < 100 and math.isclose(v, prediction, rel_tol=PERCENT) for v in others)


def _tolerance(facts: Mapping[str, str]) -> float:
    try:
        return abs(float(facts["error"]))
    except (KeyError, ValueError):
        return ABSOLUTE


def _olympiad(gold: str, prediction: str, facts: Mapping[str, str]) -> bool:
    """OlympiadBench's judge: as many answers, each paired with another one, in any order."""
    unit = facts.get("unit") or ""
    lists = []
    for text in (gold, prediction):
        plain = normalise(text.replace(unit, "") if unit else text)
        lists.append([half for item in top_level_items(plain) for half in _both_signs(item)])
    golds, found = lists
    if len(golds) != len(found):
        return False
    for item in golds:
        match = next((other for other in found if _equal(item, other, facts)), None)
        if match is None:
            return False
        found.remove(match)
    return True


def _both_signs(item: str) -> list[str]:
    return [item.replace(r"\pm", sign) for sign in "+-"] if item.count(r"\pm") == 1 else [item]


def _equal(gold: str, prediction: str, facts: Mapping[str, str]) -> bool:
    if gold == prediction:
        return True
    first, second = _plain(gold), _plain(prediction)
    if first is not None and second is not None:
        return _close(first, second, facts)
    if not gold or not prediction or max(len(gold), len(prediction)) > LONGEST:
        return False
    left, right = _items(gold), _items(prediction)
    if left and right:
        if left[0] != right[0] or len(left[1]) != len(right[1]):
            return False
        if left[0] != "set":
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
    """A list or set as ("set", items), a tuple or an interval as (its brackets, items); None for one thing."""
    if len(items := top_level_items(text)) > 1:
        return "set", items
    for opening, closing in ((r"\{", r"\}"), ("(", ")"), ("[", "]"), ("(", "]"), ("[", ")")):
        if text.startswith(opening) and text.endswith(closing):
            items = top_level_items(text[len(opening) : -len(closing)])
            return ("set" if opening == r"\{" else opening + closing, items) if len(items) > 1 else None
    return None


def _equal_expressions(gold: str, prediction: str, facts: Mapping[str, str]) -> bool:
    import sympy

    left, right = parsed(gold), parsed(prediction)
    if left is None or right is None:
        return False
    if left == right:
        return True
    if isinstance(left, sympy.Equality) and isinstance(right, sympy.Equality):
        # Two equations are one where they differ by a factor.
        ratio = sympy.simplify((left.lhs - left.rhs) / (right.lhs - right.rhs))
        return bool(ratio.is_number and ratio.is_finite and ratio != 0)
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
        return _close(float(left.evalf()), float(right.evalf()), facts)
    except (TypeError, ValueError, OverflowError):
        return False
