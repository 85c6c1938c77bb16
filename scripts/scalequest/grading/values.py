"""Values of a LaTeX expression at a few points, by a small grammar: expressions with other values are not equal.

This finds in microseconds that most wrong answers differ from the gold answer, where computer algebra takes a second or
does not end. It never finds two answers equal. Points are positive, because people simplify as if letters were. Algebra
decides on a text that can be read in two ways (`1/2x`, `\\ln 3/2`, `2\\frac{1}{3}`) or that may lose its digits. There
are only operations on floating-point numbers, so the cost is bounded.
"""

from __future__ import annotations

import cmath
import math
import random
import re
from collections.abc import Callable
from functools import lru_cache

POINTS = 4
LONGEST = 400
_DEEPEST = 30
# Relative: values nearer than this may be equal. A sum that cancels more digits, or loses a term, is not used.
_NEAR = 1e-6
_CANCELLED, _DROPPED = 1e-7, 1e-10
# Beyond this the absolute value of a complex number, or a difference, may overflow.
_LARGEST = 1e300
_NONE = complex(math.nan, 0.0)

Values = tuple[complex, ...]

_TOKEN = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)|(\\[A-Za-z]+)|([A-Za-z])|([-+*/^_(){}\[\]])| +")
# Without its backslash the name of a function would be read as a product of letters.
_PLAIN_FUNCTION = re.compile(
    r"(?<![\\A-Za-z])[A-Za-z]*(?:sin|cos|tan|cot|sec|csc|log|ln|exp|lim|max|min|mod|gcd|lcm|det|arc|pi|deg|rad|inf)"
)
# 5E-3 is a number and would be read as a sum; a derivative is no fraction.
_SCIENTIFIC = re.compile(r"[0-9.][eE][+-]?[0-9]")
_DERIVATIVE = re.compile(r"\\frac *\{ *d[^{}]*\} *\{ *d")
_APPLIED = re.compile(r"(?<![\\A-Za-z])[fghFGPE](?:\^\{[^{}]*\})?\(")
_MIXED = re.compile(r"[0-9] *\\frac\{[0-9]+\}\{[0-9]+\}|[0-9] +[0-9]")
_LETTERS = frozenset(
    re.findall(
        r"\S+",
        # Without \gamma, which sympy may read as Euler's constant.
        r"\alpha \beta \delta \epsilon \theta \lambda \mu \nu \rho \sigma \tau "
        r"\phi \varphi \omega \Delta \Omega",
    )
)


class _UnreadableError(Exception):
    """The text is outside the grammar."""


@lru_cache(maxsize=1 << 14)
def values(text: str) -> Values | None:
    """The values of a normalised answer at POINTS fixed points, nan where a value is not certain; None for a text
    outside the grammar. Constants have the same value at every point. Never raises."""
    text = text.removeprefix("+")
    if text.removeprefix("-") == r"\infty":
        return (complex(-math.inf if text[0] == "-" else math.inf),) * POINTS
    if not text or len(text) > LONGEST:
        return None
    if any(p.search(text) for p in (_PLAIN_FUNCTION, _APPLIED, _MIXED, _SCIENTIFIC, _DERIVATIVE)):
        return None
    try:
        reader = _Reader(_tokens(text))
        found = reader.sum()
        return found if reader.kind == "" else None
    except (_UnreadableError, ArithmeticError, ValueError):
        # Outside the grammar, or too large for a float.
        return None


def apart(a: Values, b: Values) -> bool:
    """Whether two expressions differ at every point where both have a value; there must be at least two such points."""
    sure = [(x, y) for x, y in zip(a, b, strict=True) if not (cmath.isnan(x) or cmath.isnan(y))]
    return len(sure) > 1 and not any(_near(x, y) for x, y in sure)


def _near(x: complex, y: complex) -> bool:
    if cmath.isinf(x) or cmath.isinf(y):
        return x == y
    return abs(x - y) <= _NEAR * max(abs(x), abs(y))


def _tokens(text: str) -> list[tuple[str, str]]:
    """(kind, text) of each token; the kind is number, command, letter or the sign itself. The last token is empty."""
    found: list[tuple[str, str]] = []
    place = 0
    while place < len(text):
        token = _TOKEN.match(text, place)
        if not token:
            raise _UnreadableError
        place = token.end()
        number, command, letter, sign = token.groups()
        if number or command or letter or sign:
            kind = "number" if number else "command" if command else "letter" if letter else sign
            found.append((kind, token.group()))
    return [*found, ("", "")]


class _Reader:
    """A recursive descent parser; each method returns the values of the part that it has read."""

    def __init__(self, tokens: list[tuple[str, str]]):
        self.tokens, self.place, self.depth = tokens, 0, 0

    @property
    def kind(self) -> str:
        return self.tokens[self.place][0]

    @property
    def text(self) -> str:
        return self.tokens[self.place][1]

    def take(self, kind: str = "") -> str:
        if kind and self.kind != kind:
            raise _UnreadableError
        self.place += 1
        return self.tokens[self.place - 1][1]

    def sum(self) -> Values:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise _UnreadableError
        total: Values | None = None
        while total is None or self.kind in ("+", "-"):
            sign = self.take() if self.kind in ("+", "-") else "+"
            term = self.product()
            if sign == "-":
                term = tuple(-x for x in term)
            total = term if total is None else _each(_add, total, term)
        self.depth -= 1
        return total

    def product(self) -> Values:
        total = self.factor()
        divided = False
        while True:
            if self.kind in ("*", "/") or self.text in (r"\cdot", r"\times"):
                divided = self.take() == "/"
                operand = self.factor()
                total = _each(_divide if divided else _multiply, total, operand)
            elif self.kind in ("letter", "command", "(", "{"):
                if divided:
                    raise _UnreadableError
                total = _each(_multiply, total, self.factor())
            elif self.kind == "number":
                raise _UnreadableError
            else:
                return total

    def factor(self) -> Values:
        base = self.base()
        if self.kind != "^":
            return base
        self.take()
        exponent = self.group() if self.kind == "{" else self.base()
        if self.kind == "^":
            raise _UnreadableError
        return _each(_power, base, exponent)

    def base(self) -> Values:
        if self.kind == "number":
            return (complex(float(self.take())),) * POINTS
        if self.kind == "letter":
            return self.letter()
        if self.kind == "{":
            return self.group()
        if self.kind == "(":
            self.take()
            inside = self.sum()
            self.take(")")
            return inside
        if self.kind == "command":
            return self.command()
        raise _UnreadableError

    def group(self) -> Values:
        self.take("{")
        inside = self.sum()
        self.take("}")
        return inside

    def letter(self) -> Values:
        name = self.take()
        if self.kind == "_":
            self.take()
            return _variable(f"{name}_{self.index()}")
        return {"e": (complex(math.e),) * POINTS, "i": (1j,) * POINTS}.get(name) or _variable(name)

    def index(self) -> str:
        self.take("{")
        name = self.take() if self.kind in ("number", "letter") else ""
        self.take("}")
        return name

    def command(self) -> Values:
        name = self.take()
        if name == r"\pi":
            return (complex(math.pi),) * POINTS
        if name in _LETTERS:
            return _variable(name)
        if name == r"\frac":
            return _each(_divide, self.group(), self.group())
        if name == r"\sqrt":
            root: Values | None = None
            if self.kind == "[":
                self.take()
                root = self.sum()
                self.take("]")
            inside = self.group()
            return _each(_root, inside, root or (complex(2),) * POINTS)
        return self.function(name)

    def function(self, name: str) -> Values:
        """A function of its argument, which is in brackets, or else the factors up to a sign."""
        power, base = None, None
        if name == r"\log":
            self.take("_")
            base = self.group()
        elif name not in _FUNCTIONS:
            raise _UnreadableError
        if self.kind == "^":
            self.take()
            power = self.power_of_function()
        argument = self.base() if self.kind in ("(", "{") else self.plain_argument()
        if self.kind == "^":
            raise _UnreadableError
        result = tuple(_FUNCTIONS.get(name, _logarithm)(x) for x in argument)
        if base:
            result = _each(_divide, result, tuple(_logarithm(x) for x in base))
        return _each(_power, result, (complex(power),) * POINTS) if power else result

    def power_of_function(self) -> int:
        self.take("{")
        power = self.take("number")
        self.take("}")
        if power not in ("2", "3", "4", "5", "6"):
            raise _UnreadableError
        return int(power)

    def plain_argument(self) -> Values:
        total: Values | None = None
        while self.kind in ("number", "letter") or self.text in (r"\pi", r"\frac", r"\sqrt") or self.text in _LETTERS:
            factor = self.factor()
            total = factor if total is None else _each(_multiply, total, factor)
            if self.text == r"\sqrt":
                raise _UnreadableError
        # It is not clear whether what follows belongs to the argument.
        if total is None or self.kind in ("(", "{", "/", "*") or self.text in (r"\cdot", r"\times"):
            raise _UnreadableError
        return total


@lru_cache(maxsize=1024)
def _variable(name: str) -> Values:
    draw = random.Random(name)  # noqa: S311 - fixed points, not a secret
    return tuple(complex(draw.uniform(0.4, 2.4)) for _ in range(POINTS))


def _each(operation: Callable[[complex, complex], complex], a: Values, b: Values) -> Values:
    return tuple(_sure(operation(x, y)) for x, y in zip(a, b, strict=True))


def _sure(value: complex) -> complex:
    return value if max(abs(value.real), abs(value.imag)) < _LARGEST else _NONE


def _add(a: complex, b: complex) -> complex:
    total = a + b
    low, high = sorted((abs(a), abs(b)))
    if low and (low < _DROPPED * high or (total and abs(total) < _CANCELLED * high)):
        return _NONE
    return total


def _multiply(a: complex, b: complex) -> complex:
    return a * b


def _divide(a: complex, b: complex) -> complex:
    return a / b if abs(b) > 1e-100 else _NONE


def _power(base: complex, exponent: complex) -> complex:
    whole = exponent.imag == 0 and exponent.real == round(exponent.real) if cmath.isfinite(exponent) else False
    # Other powers of other numbers have several values, of which people mean different ones.
    if not whole and (base.imag or base.real <= 0):
        return _NONE
    try:
        return base ** int(exponent.real) if whole else base**exponent
    except (OverflowError, ZeroDivisionError):
        return _NONE


def _root(radicand: complex, degree: complex) -> complex:
    if radicand.imag or degree.imag or degree.real not in range(2, 100):
        return _NONE
    if degree.real == 2:
        # The imaginary part of -4 is -0, which would give the other root.
        return cmath.sqrt(complex(radicand.real, 0.0))
    return complex(radicand.real ** (1 / degree.real)) if radicand.real >= 0 else _NONE


def _real(function: Callable[[float], float]) -> Callable[[complex], complex]:
    def of(x: complex) -> complex:
        # A large argument has lost its digits; a tiny value may be zero, as that of sin(pi).
        if x.imag or not abs(x) < 1e4:
            return _NONE
        try:
            value = function(x.real)
        except (ValueError, OverflowError, ZeroDivisionError):
            return _NONE
        return complex(value) if value == 0 or 1e-9 < abs(value) < 1e9 else _NONE

    return of


_logarithm = _real(math.log)
_FUNCTIONS: dict[str, Callable[[complex], complex]] = {
    r"\ln": _logarithm,
    r"\exp": _real(math.exp),
    r"\sin": _real(math.sin),
    r"\cos": _real(math.cos),
    r"\tan": _real(math.tan),
    r"\cot": _real(lambda x: 1 / math.tan(x)),
    r"\sec": _real(lambda x: 1 / math.cos(x)),
    r"\csc": _real(lambda x: 1 / math.sin(x)),
    r"\arcsin": _real(math.asin),
    r"\arccos": _real(math.acos),
    r"\arctan": _real(math.atan),
    r"\sinh": _real(math.sinh),
    r"\cosh": _real(math.cosh),
    r"\tanh": _real(math.tanh),
}
