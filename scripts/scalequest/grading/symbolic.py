"""Equality of two expressions by math-verify and sympy.

The time of this is not bounded, so it runs in processes that can be killed (`pool`). Model text is parsed, never
evaluated: math-verify gets its LaTeX grammar alone, because its grammar for plain expressions ends in Python's eval.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from scalequest.grading.equations import same_equation
from scalequest.grading.latex import FUNCTIONS, LONGEST, other_variables

# Exponents and factorials beyond this are not expanded: 10^{10^{10}} would fill the memory.
LARGEST_EXPONENT = 100_000
_HUGE = 1e300
# Largest difference of two equal numbers, of which one has decimals, computed to 30 digits.
_EXACTLY = 1e-13
# The same for two numbers without decimals, which sympy computes to up to a hundred digits.
_ZERO = 1e-60
# Letters before a bracket that do not name a function.
_FACTOR = re.compile(r"((?<![\\A-Za-z])[A-Za-z]{0,2}[a-eijklmnortxyz](?:_\{[^{}]*\})?|\\(?:pi|alpha|beta|theta))\(")


def _multiplied(text: str) -> str:
    """`i(5)^{1/2}` with a sign between the factors, because the parser would read a function i."""
    return _FACTOR.sub(
        lambda found: found[0] if found[1] in FUNCTIONS or found[1] == "ln" else rf"{found[1]}\cdot(", text
    )


def equal_symbolically(gold: str, prediction: str) -> bool:
    """Whether two normalised expressions or equations are equal by math-verify, and not only after rounding.

    Not bounded in time.
    """
    if max(len(gold), len(prediction)) > LONGEST:
        return False
    if other_variables(gold, prediction):
        return False
    parse, verify = _math_verify()
    left, right = (parse(_multiplied(text)) for text in (gold, prediction))
    if any(_magnitude(e) == math.inf for e in [*left, *right]):
        return False
    if not left or not right:
        return False
    if all(type(side[0]).__name__ == "Equality" for side in (left, right)):
        return same_equation(left[0], right[0], verify)
    return (verify(left, right) and not _rounded(left[0], right[0])) or _equal_logarithms(left[0], right[0])


def _equal_logarithms(a: Any, b: Any) -> bool:
    """Whether two expressions are equal once logarithms of products are expanded, as for positive numbers."""
    import sympy

    if not all(isinstance(one, sympy.Expr) and one.has(sympy.log) for one in (a, b)):
        return False
    return bool(sympy.simplify(sympy.expand_log(a - b, force=True)) == 0)


def _rounded(a: Any, b: Any) -> bool:
    """Whether two numbers agree only in the digits that math-verify compares: 1.41421356 is not the root of two, and
    1 + 2^{-99} is not 1."""
    import sympy

    if not (getattr(a, "is_number", False) and getattr(b, "is_number", False)):
        return False
    decimals = a.has(sympy.Float), b.has(sympy.Float)
    if all(decimals):
        return False
    exact = [x.xreplace({f: sympy.Rational(str(f)) for f in x.atoms(sympy.Float)}) for x in (a, b)]
    return bool(abs((exact[0] - exact[1]).evalf(30)) > (_EXACTLY if any(decimals) else _ZERO))


@lru_cache(maxsize=1)
def _math_verify() -> tuple[Callable[[str], list[Any]], Callable[[list[Any], list[Any]], bool]]:
    """math-verify's parser and its comparison, imported at the first use because sympy takes seconds to import."""
    import logging

    from latex2sympy2_extended.latex2sympy2 import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse, verify

    # It warns that its own time limit is off, as it should be: the pool bounds the time.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    # Units are off, because its list has single letters: 6m would become 6.
    config = LatexExtractionConfig(
        boxed_match_priority=-1,
        normalization_config=NormalizationConfig(
            basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none", equations=False
        ),
    )

    # Parsing takes most of the time, and one gold answer is compared with many predictions.
    @lru_cache(maxsize=1024)
    def read(text: str) -> list[Any]:
        found = parse(f"${text}$", [config], fallback_mode="no_fallback", parsing_timeout=None)
        return [_with_imaginary_unit(one) if hasattr(one, "free_symbols") else one for one in found]

    def check(gold: list[Any], prediction: list[Any]) -> bool:
        return verify(gold, prediction, allow_set_relation_comp=True, timeout_seconds=None)

    return read, check


def _with_imaginary_unit(expression: Any) -> Any:
    """An expression with the letter i as the imaginary unit, unless it is an index or a base vector."""
    import sympy

    letters = {str(symbol): symbol for symbol in expression.free_symbols}
    if "i" not in letters or letters.keys() & {"j", "k", "n"}:
        return expression
    return expression.xreplace({letters["i"]: sympy.I})


def parsed(text: str) -> Any | None:
    """The sympy expression of a LaTeX text; None where it cannot be parsed, or where evaluating it would not end."""
    read, _ = _math_verify()
    found = [one for one in read(text) if hasattr(one, "free_symbols")]
    return found[0] if found and _magnitude(found[0]) != math.inf else None


def _magnitude(expression: Any) -> float:
    """An upper bound of an expression's absolute value, without evaluating it; inf where that would not end."""
    sizes = [_magnitude(part) for part in (expression.flat() if hasattr(expression, "flat") else expression.args)]
    if math.inf in sizes:
        return math.inf
    name = type(expression).__name__
    try:
        if getattr(expression, "is_Number", False):
            return abs(float(expression)) if expression.is_finite else 0.0
        if name == "Pow":
            return math.inf if sizes[1] > LARGEST_EXPONENT else max(sizes[0], 1.0) ** sizes[1]
        if name in ("factorial", "factorial2", "gamma", "binomial"):
            return math.inf if sizes[0] > LARGEST_EXPONENT else math.gamma(sizes[0] + 1)
        size = math.prod(max(part, 1.0) for part in sizes) if name == "Mul" else math.fsum(sizes)
        return min(size, _HUGE)
    except OverflowError:
        return _HUGE
