"""Whether two equations hold for the same real numbers: `\\ln y=x+c` is `y=e^{x+c}`, and `x=y^2` is not `y=\\sqrt{x}`.

Equations are sympy's, parsed by the caller. Time is not bounded here, but by the process that this runs in.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

# Equations with more unknowns are not compared.
_MOST_UNKNOWNS = 5
# At so many points the other unknowns are set, and at so many of them the equation must have a solution.
_POINTS, _MET = 8, 2
_DIGITS, _NEAR = 30, 1e-20


def same_equation(a: Any, b: Any, verify: Callable[[list[Any], list[Any]], bool]) -> bool:
    """Whether two equations are the same, up to a factor or solved for another unknown. `verify` is math-verify's
    comparison. It gets complex letters: with real ones, any two equations without real solutions would be equal."""
    import sympy

    sides = [a.lhs, a.rhs, b.lhs, b.rhs]
    if any(getattr(side, "is_Matrix", False) or not isinstance(side, sympy.Expr) for side in sides):
        return verify([a], [b])
    left, right, other_left, other_right = (
        side.xreplace({one: sympy.Symbol(str(one)) for one in side.free_symbols}) for side in sides
    )
    first, second = (sympy.Eq(*pair, evaluate=False) for pair in ((left, right), (other_left, other_right)))
    if verify([first], [second]):
        return True
    if other_left == other_right:
        return False
    ratio = sympy.simplify((left - right) / (other_left - other_right))
    if ratio.is_number and ratio.is_finite and ratio != 0:
        return True
    return _same_solutions(left - right, other_left - other_right)


def _same_solutions(a: Any, b: Any) -> bool:
    """Whether two expressions of two or more unknowns are zero for the same real numbers: with all but one of the
    unknowns set to numbers, the solutions for that one are the same. False where this cannot be decided."""
    import sympy
    from sympy.core.function import AppliedUndef

    if any(one.has(AppliedUndef, sympy.Derivative, sympy.Integral, sympy.I) for one in (a, b)):
        return False
    if a.free_symbols != b.free_symbols or not 2 <= len(a.free_symbols) <= _MOST_UNKNOWNS:
        return False
    real = {one: sympy.Symbol(str(one), real=True) for one in a.free_symbols}
    a, b = a.xreplace(real), b.xreplace(real)
    # Odd roots become real roots once their radicand is a number.
    unknowns = sorted(real.values(), key=lambda one: (_under_odd_roots(one, a, b), str(one)))
    for unknown in unknowns:
        same = _same_for(unknown, a, b, [one for one in unknowns if one != unknown])
        if same is not None:
            return same
    return False


def _same_for(unknown: Any, a: Any, b: Any, others: Sequence[Any]) -> bool | None:
    """Whether the solutions for one unknown are the same at every point; None where they cannot all be found."""
    met = 0
    for point in _points(others):
        first, second = (_solutions(one.subs(point), unknown) for one in (a, b))
        if first is None or second is None:
            return None
        if len(first) != len(second) or any(
            abs(x - y) > _NEAR * (1 + abs(x)) for x, y in zip(first, second, strict=True)
        ):
            return False
        met += bool(first)
    return met >= _MET


def _points(symbols: Sequence[Any]) -> Iterator[dict[Any, Any]]:
    """Fixed rational numbers for the symbols: positive ones first, then of either sign."""
    import sympy

    draw = random.Random(0)  # noqa: S311 - fixed points, not a secret
    for number in range(_POINTS):
        signs = (1,) if number < _MET else (-1,) if number == _MET else (1, -1)
        values = [Fraction(draw.randint(1, 40), draw.randint(3, 17)) * draw.choice(signs) for _ in symbols]
        yield {
            one: sympy.Rational(value.numerator, value.denominator) for one, value in zip(symbols, values, strict=True)
        }


def _solutions(expression: Any, unknown: Any) -> list[Any] | None:
    """The real zeros of an expression of one unknown, in order; None where they are not found, or are infinitely
    many."""
    import sympy

    expression = expression.replace(_is_odd_root, lambda one: sympy.real_root(one.base, one.exp.q) ** one.exp.p)
    if not expression.has(unknown) or expression.has(sympy.zoo, sympy.nan):
        return None
    if expression.is_polynomial(unknown):
        found = sympy.Poly(expression, unknown)
        if not all(one.is_real for one in found.coeffs()):
            return []
        if all(one.is_rational for one in found.coeffs()):
            return [root.evalf(_DIGITS) for root in sorted(set(sympy.real_roots(found)))]
    solved = sympy.solveset(expression, unknown, sympy.S.Reals)
    if not isinstance(solved, sympy.FiniteSet):
        return [] if solved is sympy.S.EmptySet else None
    roots = [root.evalf(_DIGITS) for root in solved]
    if not all(root.is_real for root in roots):
        return None
    # sin(y) = x has more solutions than arcsin(x), and arcsin(x) = y has fewer than x = sin(y).
    return sorted(root for root in roots if abs(expression.evalf(_DIGITS, subs={unknown: root})) < _NEAR)


def _is_odd_root(expression: Any) -> bool:
    """Whether an expression is a root of odd degree of a number."""
    exponent = getattr(expression, "exp", None)
    return bool(expression.is_Pow and expression.base.is_real and expression.base.is_number and _odd(exponent))


def _odd(exponent: Any) -> bool:
    return bool(exponent.is_Rational and exponent.q > 1 and exponent.q % 2)


def _under_odd_roots(symbol: Any, *expressions: Any) -> bool:
    import sympy

    return any(_odd(power.exp) and power.base.has(symbol) for one in expressions for power in one.atoms(sympy.Pow))
