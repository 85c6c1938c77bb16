"""Checks of the project's own seed problems: the shape of the file, and a proof of every stored answer.

The seed problems teach a small model to ask questions, so one wrong answer or one repeated template would
be copied many times over. Each answer is therefore derived a second time here, from the facts in the
problem, by enumeration, by exact simulation or by solving equations. A proof never sees the stored answer.
"""

import ast
import calendar
import json
import math
import re
from collections import Counter
from collections.abc import Callable
from datetime import date, datetime, timedelta
from fractions import Fraction as Q
from functools import cache
from itertools import combinations, count, permutations, product
from pathlib import Path

import pytest
import sympy as sp
from sympy.parsing.sympy_parser import (
    convert_xor,
    implicit_multiplication,
    parse_expr,
    rationalize,
    standard_transformations,
)

SEED_FILE = Path(__file__).resolve().parents[2] / "resources" / "domains" / "math" / "seed_problems.jsonl"
KEYS = ["id", "topic", "level", "split", "problem", "solution", "answer"]
TOPICS = [
    "arithmetic_word_problems",
    "algebra",
    "geometry",
    "number_theory",
    "combinatorics",
    "probability",
    "functions_and_sequences",
    "measurement_and_rates",
]

ROWS = [json.loads(line) for line in SEED_FILE.read_text(encoding="utf-8").splitlines()]
BY_ID = {row["id"]: row for row in ROWS}
PROOFS: dict[str, Callable[[], object]] = {}

x, y, z = sp.symbols("x y z")


def proof(function):
    """Register a proof; its name carries the problem's id (seed_001 proves seed-001)."""
    name = function.__name__.replace("_", "-")
    assert name not in PROOFS, f"two proofs for {name}"
    PROOFS[name] = function
    return function


def only(values):
    """The one distinct value found by a search: no value or two values means an ill-posed problem."""
    distinct = set(values)
    assert len(distinct) == 1, f"expected one value, found {sorted(map(str, distinct))}"
    return distinct.pop()


def chance(outcomes, event):
    """Share of equally likely outcomes for which the event holds."""
    outcomes = list(outcomes)
    return Q(sum(1 for outcome in outcomes if event(outcome)), len(outcomes))


def boxed(text):
    """Contents of every box in a text; braces are matched by counting, as fractions nest them."""
    found = []
    for start in (m.end() for m in re.finditer(r"\\boxed\{", text)):
        depth, end = 1, start
        while depth:
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        found.append(text[start : end - 1])
    return found


def parse(answer):
    """Exact value of a stored answer: a sympy number or expression, a tuple of them, or a word."""
    if word := re.fullmatch(r"\\text\{(.+)\}", answer):
        return word[1]
    if re.fullmatch(r"\d{1,2}:\d\d", answer):
        return answer
    if answer.startswith("(") and "," in answer:
        return tuple(parse(part.strip()) for part in answer[1:-1].split(","))
    text = re.sub(r"\\frac\{([^{}]*)\}\{([^{}]*)\}", r"((\1)/(\2))", answer)
    text = re.sub(r"\\sqrt\{([^{}]*)\}", r"sqrt(\1)", text).replace(r"\pi", " pi ")
    assert "\\" not in text, f"LaTeX that the parser does not know: {answer}"
    # rationalize turns decimals such as 30.72 into exact fractions.
    rules = (*standard_transformations, implicit_multiplication, convert_xor, rationalize)
    return parse_expr(text, local_dict={"x": x}, transformations=rules)


def same(value, other):
    """Exact equality of two answers."""
    if isinstance(value, str) or isinstance(other, str):
        return value == other
    if isinstance(value, tuple) or isinstance(other, tuple):
        if not (isinstance(value, tuple) and isinstance(other, tuple) and len(value) == len(other)):
            return False
        return all(same(v, o) for v, o in zip(value, other, strict=True))
    value, other = sp.sympify(value), sp.sympify(other)
    # A float could agree by rounding, which would be no proof.
    assert not value.has(sp.Float) and not other.has(sp.Float), f"inexact answer: {value}, {other}"
    return sp.simplify(value - other) == 0


@cache
def proved(problem_id):
    return PROOFS[problem_id]()


# arithmetic word problems


@proof
def seed_001():
    trays = [18] * 4
    trays[0] -= 7
    return sum(trays)


@proof
def seed_002():
    loans = [6 for _ in range(23)] + [2 for _ in range(9)]
    return sum(loans)


@proof
def seed_003():
    return next(weeks for weeks in count() if 1200 + 350 * weeks >= 4000)


@proof
def seed_004():
    chairs = 96
    for _ in range(3):
        chairs -= 12
    rows = 0
    while chairs > 0:
        chairs -= 12
        rows += 1
    return rows


@proof
def seed_005():
    return sp.solve(2 * (x + 5) - 48, x)[0]


@proof
def seed_006():
    cents = sum(340 for _ in range(5)) - 200
    return Q(cents, 100)


@proof
def seed_007():
    litres = sum(3 for day in range(4) for goat in range(7))
    return max(w for w in range(100) if 14 * w <= litres)


@proof
def seed_008():
    aboard = 31
    for off, on in [(12, 8), (9, 0)]:
        aboard += on - off
    return aboard


@proof
def seed_009():
    return sum(Q(12, 100) * 20 for card in range(45)) - 15


@proof
def seed_010():
    players = [p for p in range(36) if p % 3 != 0]
    not_drums = [p for i, p in enumerate(players) if i % 8 >= 3]
    return len(not_drums)


@proof
def seed_011():
    used = sp.solve(sp.Eq(x / 16, sp.Rational(450, 6)), x)[0]
    return 2000 - used


@proof
def seed_012():
    prices = [22 if i < 45 else Q(22, 2) for i in range(60)]
    return sum(prices) - 840


@proof
def seed_013():
    return only(2 * 3 * d for d in range(161) if d + 3 * d + 2 * 3 * d == 160)


@proof
def seed_014():
    sold = Q(85, 100) * 240
    # Average price per sold seat, instead of counting the two groups apart.
    return sold * (Q(1, 4) * 8 + Q(3, 4) * 14)


@proof
def seed_015():
    return only(m for m in range(501, 5000) if 1900 + 4 * (m - 500) == 2640)


@proof
def seed_016():
    return sp.solve(x / 9 - x / 12 - 6, x)[0]


@proof
def seed_017():
    def left(m):
        for _ in range(2):
            m = m - Q(m, 2) - 6
        return m

    return only(m for m in range(1, 1000) if left(m) == 10)


@proof
def seed_018():
    return only(fives for fives in range(42) if 5 * fives + 2 * (41 - fives) == 136)


@proof
def seed_019():
    price = x
    for percent in (25, -20, -10):
        price = price * sp.Rational(100 + percent, 100)
    return sp.solve(price - 1350, x)[0]


@proof
def seed_020():
    return only(r for r in range(31) for w in range(31) if r + w + 4 == 30 and 5 * r - 2 * w == 88)


@proof
def seed_021():
    return sp.solve((4 * sp.Rational(29, 2) + x) / 5 - 17, x)[0]


@proof
def seed_022():
    return min(a + b for a in range(1, 60) for b in range(1, 60) if 24 * a == 18 * b >= 200)


@proof
def seed_023():
    return only(j + s for s in range(100) for j in range(100) if j == s + 5 and 12 * j + 20 * s == 1020)


@proof
def seed_024():
    return sum(str(locker).count("3") for locker in range(1, 501))


@proof
def seed_025():
    found = []
    for sister, ravi, wait in product(range(1, 40), range(1, 60), range(60)):
        if ravi == 3 * sister and sister + wait == ravi and sister + ravi + 2 * wait == 56:
            found.append(ravi)
    return only(found)


@proof
def seed_026():
    def days(stock):
        sold = []
        for share in (Q(1, 5), Q(1, 3), Q(3, 4)):
            sold.append(share * stock)
            stock -= sold[-1]
        return sold, stock

    return only(days(h)[0][2] - days(h)[0][0] for h in range(1, 2000) if days(h)[1] == 32)


@proof
def seed_027():
    juice, water = Q(60), Q(0)
    for _ in range(3):
        part = Q(12) / (juice + water)
        juice, water = juice * (1 - part), water * (1 - part) + 12
    return juice


@proof
def seed_028():
    return only(m for m in range(9, 400) if all(m % r == 3 for r in (5, 6, 8)) and m % 9 == 0)


@proof
def seed_029():
    sol = sp.solve([x + 12 * y - 20 * 12, x + 6 * y - 30 * 6, x + z * y - 22 * z], [x, y, z], dict=True)
    return only(s[z] for s in sol)


@proof
def seed_030():
    def fair(coins):
        rest = Q(coins)
        shares: list[Q] = []
        while rest > 0:
            own = len(shares) + 1
            if own > rest:
                return False
            shares.append(own + (rest - own) / 9)
            rest -= shares[-1]
            if shares[-1] != shares[0]:
                return False
        return len(shares) > 1

    return only(coins for coins in range(2, 2000) if fair(coins))


# algebra


@proof
def seed_031():
    return only(v for v in range(-100, 101) if 5 * v - 8 == 27)


@proof
def seed_032():
    return only(v for v in range(100) if v + v + 9 == 31)


@proof
def seed_033():
    # a^2 + 2ab = (a + b)^2 - b^2, which avoids repeating the direct substitution.
    return (4 + -3) ** 2 - (-3) ** 2


@proof
def seed_034():
    return sp.expand(3 * (2 * x + 5) - 4 * x)


@proof
def seed_035():
    return only(v + 2 for v in range(100) if v + (v + 1) + (v + 2) == 72)


@proof
def seed_036():
    return only(d for d in range(1, 100) if 10 + 4 * d == 58)


@proof
def seed_037():
    return sum(1 for v in range(1, 1000) if 3 * v + 4 < 25)


@proof
def seed_038():
    return sp.solve(sp.Eq(7 * x + 2, 37), x)[0]


@proof
def seed_039():
    sol = sp.solve([2 * x + 3 * y - 16, x - y - 3], [x, y])
    return sol[x], sol[y]


@proof
def seed_040():
    # A quadratic is fixed by three values, so interpolate it instead of expanding.
    return sp.expand(sp.interpolate([(v, (v - 6) * (v + 2)) for v in (0, 1, 2)], x))


@proof
def seed_041():
    return max(v for v in range(1, 100) if v * v - 11 * v + 28 == 0)


@proof
def seed_042():
    return only(a for a in range(15) if 9 * a + 5 * (14 - a) == 98)


@proof
def seed_043():
    return only(v for v in range(-200, 201) if Q(3 * v - 1, 4) == 8)


@proof
def seed_044():
    return only(v for v in range(1000) if Q(v, 3) + Q(v, 4) == 21)


@proof
def seed_045():
    line = sp.Line(sp.Point(2, 1), sp.Point(6, 13))
    return only(p.y for p in line.intersection(sp.Line(sp.Point(0, 0), sp.Point(0, 1))))


@proof
def seed_046():
    return only(w for w in range(1, 22) if w + w + 2 * (2 * w - 3) == 42)


@proof
def seed_047():
    return only({sp.simplify(r**2 + 1 / r**2) for r in sp.solve(x**2 - 5 * x + 1, x)})


@proof
def seed_048():
    t = sp.symbols("t", positive=True)
    return only(sp.solve(sp.discriminant(x**2 + t * x + 49, x), t))


@proof
def seed_049():
    return sum(sp.Rational(h, 2) for h in range(-100, 101) if abs(h - 7) == 15)


@proof
def seed_050():
    quadratic = x**2 - 8 * x + 21
    # The vertex sits where the derivative vanishes.
    h = only(sp.solve(sp.diff(quadratic, x), x))
    return h + quadratic.subs(x, h)


@proof
def seed_051():
    remainder = sp.rem(x**3 - 2 * x**2 + y * x + 6, x - 2, x)
    return only(sp.solve(remainder - 20, y))


@proof
def seed_052():
    return only(r for r in sp.roots(x**2 - 3 * x - 4, x) if sp.sqrt(3 * r + 4) == r)


@proof
def seed_053():
    ages = product(range(4, 60), range(4, 120))
    return only(b for b, m in ages if m - 3 == 7 * (b - 3) and m + 9 == 3 * (b + 9))


@proof
def seed_054():
    sols = sp.solve([x + y - 6, x**3 + y**3 - 90], [x, y])
    return only({sp.simplify(p * q) for p, q in sols if sp.simplify(p).is_real})


@proof
def seed_055():
    return sp.simplify(sum(1 / r**2 for r in sp.solve(2 * x**2 - 5 * x + 1, x)))


@proof
def seed_056():
    # x + 3 divides 20, so both unknowns stay well inside this window.
    window = range(-60, 61)
    return sum(1 for u in window for v in window if u * v + 2 * u + 3 * v == 14)


@proof
def seed_057():
    f = x**2 + y**2 - 6 * x + 10 * y + 50
    # A positive definite Hessian makes the single critical point the global minimum.
    assert sp.hessian(f, (x, y)).is_positive_definite
    return f.subs(sp.solve([sp.diff(f, x), sp.diff(f, y)], [x, y]))


@proof
def seed_058():
    p, q, r = sp.symbols("p q r", positive=True)
    sols = sp.solve([p * q - 12, q * r - 20, p * r - 15], [p, q, r], dict=True)
    return only(s[p] + s[q] + s[r] for s in sols)


@proof
def seed_059():
    product_of_logs = sp.log(9) / sp.log(4) * sp.log(256) / sp.log(9)
    return sp.simplify(sp.expand_log(product_of_logs, force=True))


@proof
def seed_060():
    a, b, c = sp.symbols("a b c")
    f = x**3 + a * x**2 + b * x + c
    return f.subs(sp.solve([f.subs(x, v) - v for v in (1, 2, 3)], [a, b, c]))


# geometry


@proof
def seed_061():
    return sp.Polygon((0, 0), (9, 0), (9, 4), (0, 4)).perimeter


@proof
def seed_062():
    return only(a for a in range(1, 180) if 48 + 67 + a == 180)


@proof
def seed_063():
    # Any apex at height 5 will do; the shoelace formula then gives the area.
    return abs(sp.Polygon((0, 0), (14, 0), (3, 5)).area)


@proof
def seed_064():
    return only(side for side in range(1, 82) if side * side == 81)


@proof
def seed_065():
    return len(set(product(range(5), range(3), range(4))))


@proof
def seed_066():
    return sp.Circle((0, 0), 15).circumference


@proof
def seed_067():
    corners = list(product(range(6), range(2)))
    edges = set()
    for (i, top), (j, other) in combinations(corners, 2):
        if (top == other and (i - j) % 6 in (1, 5)) or (i == j and top != other):
            edges.add(((i, top), (j, other)))
    return len(edges)


@proof
def seed_068():
    return only(a for a in range(1, 180) if a + 3 * a == 180)


@proof
def seed_069():
    return sp.Point(5, 0).distance(sp.Point(0, 12))


@proof
def seed_070():
    return abs(sp.Polygon((0, 0), (10, 0), (10, 5), (6, 5), (6, 8), (0, 8)).area)


@proof
def seed_071():
    first, second, third = sp.Point(0, 0), sp.Point(7, 1), sp.Point(9, 6)
    corner = sp.Point(x, y)
    sides = (second - first) - (third - corner)
    sol = sp.solve(list(sides), [x, y])
    return sol[x], sol[y]


@proof
def seed_072():
    return only(sides for sides in range(3, 400) if (sides - 2) * 180 == 140 * sides)


@proof
def seed_073():
    # Add up thin rings from the inner to the outer edge.
    return sp.integrate(2 * sp.pi * x, (x, 6, 6 + 2))


@proof
def seed_074():
    return sp.Point(-2, 3).distance(sp.Point(6, 9))


@proof
def seed_075():
    # Count unit squares of the surface of a 6 x 5 x 4 stack of cubes, leaving out the open top.
    cubes = set(product(range(6), range(5), range(4)))
    steps = [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, -1)]
    moved = [tuple(p + q for p, q in zip(cube, step, strict=True)) for cube in cubes for step in steps]
    return sum(1 for cube in moved if cube not in cubes)


@proof
def seed_076():
    ray = sp.Line(sp.Point(3, 0), sp.Point(0, 2))
    return only(p.y for p in ray.parallel_line(sp.Point(18, 0)).intersection(sp.Line((0, 0), (0, 1))))


@proof
def seed_077():
    # Heron's formula needs only the three sides.
    half = sp.Rational(36, 2)
    return sp.sqrt(half * (half - 12) ** 3)


@proof
def seed_078():
    return sp.Polygon((8, 0), (0, 15), (-8, 0), (0, -15)).perimeter


@proof
def seed_079():
    ends = sp.Circle((0, 0), 13).intersection(sp.Line((0, 5), (1, 5)))
    return ends[0].distance(ends[1])


@proof
def seed_080():
    height = sp.symbols("height", positive=True)
    corner = sp.Point(6, height)
    tall = only(sp.solve(corner.distance(sp.Point(0, 0)) - 10, height))
    return abs(sp.Polygon((0, 0), (20, 0), (14, tall), (6, tall)).area)


@proof
def seed_081():
    height = only(h for h in range(1, 5) if h * h + 3 * 3 == 5 * 5)
    # Slice the cone into discs; the radius grows linearly from the tip.
    return sp.integrate(sp.pi * (3 * x / height) ** 2, (x, 0, height))


@proof
def seed_082():
    def on_circle(degrees):
        angle = sp.rad(degrees)
        return sp.Matrix([sp.cos(angle), sp.sin(angle)])

    a, b, c = on_circle(-110), on_circle(0), on_circle(130)
    cosine = (a - b).dot(c - b) / ((a - b).norm() * (c - b).norm())
    # The exact cosine is a tangle of trigonometric values; 40 digits single out one whole angle.
    return only(d for d in range(1, 180) if abs(sp.N(cosine - sp.cos(sp.rad(d)), 40)) < 1e-30)


@proof
def seed_083():
    r = sp.symbols("r", positive=True)
    radius = only(sp.solve(sp.pi * r**2 - 50 * sp.pi, r))
    return sp.Polygon((radius, 0), (0, radius), (-radius, 0), (0, -radius)).area


@proof
def seed_084():
    # On the base (0,0)-(14,0), the apex is where circles of radius 13 and 15 meet.
    apex = max(sp.Circle((0, 0), 13).intersection(sp.Circle((14, 0), 15)), key=lambda p: p.y)
    return sp.Triangle((0, 0), (14, 0), apex).inradius


@proof
def seed_085():
    h = sp.symbols("h", positive=True)
    to_a, to_b = sp.Matrix([-4, -h]), sp.Matrix([9, -h])
    tall = only(sp.solve(to_a.dot(to_b), h))
    return abs(sp.Polygon((-4, 0), (9, 0), (0, tall)).area)


@proof
def seed_086():
    d = sp.symbols("d", positive=True)
    return only(sp.solve(sp.Point(0, 9).distance(sp.Point(d, 4)) ** 2 - (9 + 4) ** 2, d))


@proof
def seed_087():
    def crossing(p, q, r):
        # Walk over a p-by-q face to a point of its far edge, then over the neighbouring q-by-r face.
        t = sp.symbols("t", positive=True)
        route = sp.sqrt(p**2 + t**2) + sp.sqrt(r**2 + (q - t) ** 2)
        best = sp.solve(sp.diff(route, t), t)
        return min(sp.nsimplify(sp.sqrt(sp.simplify(route.subs(t, b) ** 2))) for b in best)

    return min(crossing(*edges) for edges in permutations((3, 4, 5)))


@proof
def seed_088():
    corners = sp.RegularPolygon((0, 0), 4, 6).vertices
    middles = [p.midpoint(q) for p, q in zip(corners, corners[1:] + corners[:1], strict=True)]
    return sp.simplify(abs(sp.Polygon(*middles).area))


@proof
def seed_089():
    sheet = sp.Polygon((0, 0), (8, 0), (8, 6), (0, 6))
    fold = sp.Segment((0, 0), (8, 6)).perpendicular_bisector()
    start, end = sheet.intersection(fold)
    return start.distance(end)


@proof
def seed_090():
    displaced = sp.integrate(sp.pi * (9 - x**2), (x, -3, 3))
    return only(sp.solve(sp.Circle((0, 0), 6).area * y - displaced, y))


# number theory


@proof
def seed_091():
    return max(d for d in range(1, 37) if 36 % d == 0 and 60 % d == 0)


@proof
def seed_092():
    return next(minute for minute in count(1) if minute % 6 == 0 and minute % 8 == 0)


@proof
def seed_093():
    return sum(1 for p in range(21, 40) if all(p % d for d in range(2, p)))


@proof
def seed_094():
    beads = 100
    while beads >= 7:
        beads -= 7
    return beads


@proof
def seed_095():
    return sum(1 for d in range(1, 29) if 28 % d == 0)


@proof
def seed_096():
    return only(d for d in range(10) if (407 + 10 * d) % 9 == 0)


@proof
def seed_097():
    return sum(p for p in range(2, 91) if 90 % p == 0 and all(p % d for d in range(2, p)))


@proof
def seed_098():
    return next(m for m in count(51) if m % 4 == 0 and m % 6 == 0)


@proof
def seed_099():
    start = next(d for d in range(1, 8) if date(2025, 1, d).strftime("%A") == "Wednesday")
    return (date(2025, 1, start) + timedelta(days=100)).strftime("%A")


@proof
def seed_100():
    return only(v for v in range(100) if f"{v:b}" == "110101")


@proof
def seed_101():
    bouquets = max(b for b in range(1, 85) if 84 % b == 0 and 126 % b == 0)
    return Q(84 + 126, bouquets)


@proof
def seed_102():
    return int(str(7**50)[-1])


@proof
def seed_103():
    return only({3 * v % 12 for v in range(1000) if v % 12 == 5})


@proof
def seed_104():
    return next(m for m in count(1) if math.isqrt(72 * m) ** 2 == 72 * m)


@proof
def seed_105():
    return only(v for v in range(1, 553) if v * (v + 1) == 552)


@proof
def seed_106():
    return sum(1 for v in range(1, 101) if v % 4 == 0 and v % 6 != 0)


@proof
def seed_107():
    whole = 2**4 * 3**2 * 5
    return sum(1 for d in range(2, whole + 1, 2) if whole % d == 0)


@proof
def seed_108():
    return next(v for v in count(1) if v % 5 == 2 and v % 7 == 3 and v % 9 == 4)


@proof
def seed_109():
    digits = str(math.factorial(60))
    return len(digits) - len(digits.rstrip("0"))


@proof
def seed_110():
    return only(b for b in range(6, 37) if int("135", b) == 59)


@proof
def seed_111():
    return 2**100 % 13


@proof
def seed_112():
    return only(v for v in range(1, 181) if math.gcd(v, 36) == 6 and math.lcm(v, 36) == 180)


@proof
def seed_113():
    return sum(1 for v in range(100, 1000) if math.prod(int(d) for d in str(v)) == 12)


@proof
def seed_114():
    return sum(1 for v in range(1, 201) if v != 5 and (v + 9) % (v - 5) == 0)


@proof
def seed_115():
    squares = {3 * v**2 for v in range(1, 200)}
    cubes = {5 * v**3 for v in range(1, 30)}
    return min(squares & cubes)


@proof
def seed_116():
    # Each unknown exceeds 12, so neither can be above 12 + 144.
    return sum(1 for p in range(13, 157) for q in range(13, 157) if 12 * (p + q) == p * q)


@proof
def seed_117():
    return int(str(3**2024)[-2:])


@proof
def seed_118():
    made = {7 * i + 11 * j for i in range(100) for j in range(100)}
    missing = [cents for cents in range(500) if cents not in made]
    # Seven possible amounts in a row make every later amount possible.
    assert all(cents in made for cents in range(missing[-1] + 1, missing[-1] + 8))
    return missing[-1]


@proof
def seed_119():
    return sum(1 for v in range(10, 100) if sum(divmod(v, 10)) + math.prod(divmod(v, 10)) == v)


@proof
def seed_120():
    return int("".join(str(v) for v in range(1, 31))) % 9


# combinatorics


@proof
def seed_121():
    return len(list(product(range(4), range(6), range(3))))


@proof
def seed_122():
    return len(set(permutations(["Anouk", "Bilal", "Chen", "Dalia"])))


@proof
def seed_123():
    return len({frozenset((p, q)) for p in range(5) for q in range(5) if p != q})


@proof
def seed_124():
    return sum(1 for v in range(10, 100) if set(str(v)) <= set("259"))


@proof
def seed_125():
    # Direct ways between village, river and temple; the square of the table counts two-leg routes.
    ways = sp.Matrix([[0, 3, 0], [0, 0, 2], [0, 0, 0]])
    return (ways**2)[0, 2]


@proof
def seed_126():
    return len(set(product("HT", repeat=3)))


@proof
def seed_127():
    return len(list(combinations(["apple", "pear", "fig", "plum"], 2)))


@proof
def seed_128():
    return sum(1 for captain in range(9) for deputy in range(9) if captain != deputy)


@proof
def seed_129():
    return len(set(permutations("LEVEL")))


@proof
def seed_130():
    points = [(v, v * v) for v in range(7)]

    # Points of a parabola, like those of a circle, never have three on a line.
    def twice_area(p, q, r):
        return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])

    return sum(1 for trio in combinations(points, 3) if twice_area(*trio) != 0)


@proof
def seed_131():
    return sum(1 for v in range(100, 1000, 2) if len(set(str(v))) == 3)


@proof
def seed_132():
    club = ["girl"] * 6 + ["boy"] * 5
    return sum(1 for team in combinations(range(11), 4) if [club[p] for p in team].count("girl") == 2)


@proof
def seed_133():
    ways = {(0, 0): 1}
    for east, north in product(range(5), range(4)):
        if (east, north) != (0, 0):
            ways[east, north] = ways.get((east - 1, north), 0) + ways.get((east, north - 1), 0)
    return ways[4, 3]


@proof
def seed_134():
    good = 0
    for order in permutations(range(8)):
        places = [i for i, book in enumerate(order) if book >= 5]
        good += places[-1] - places[0] == 2
    return good


@proof
def seed_135():
    chosen = (s for size in range(7) for s in combinations(range(1, 7), size))
    return sum(1 for s in chosen if any(v % 2 == 0 for v in s))


@proof
def seed_136():
    return sum(1 for seats in permutations(range(6)) if abs(seats[0] - seats[1]) != 1)


@proof
def seed_137():
    return sum(1 for hands in product(range(1, 11), repeat=4) if sum(hands) == 10)


@proof
def seed_138():
    return len(set(range(4, 301, 4)) | set(range(5, 301, 5)) | set(range(6, 301, 6)))


@proof
def seed_139():
    splits = set()
    for order in permutations(range(8)):
        splits.add(frozenset(frozenset(order[i : i + 2]) for i in (0, 2, 4, 6)))
    return len(splits)


@proof
def seed_140():
    return sum(1 for letters in product("AB", repeat=5) if "BB" not in "".join(letters))


@proof
def seed_141():
    def looks(ring):
        turned = [ring[i:] + ring[:i] for i in range(5)]
        return frozenset(turned + [t[::-1] for t in turned])

    return len({looks(ring) for ring in permutations(range(5))})


@proof
def seed_142():
    return sum(1 for digits in permutations("12345") if int("".join(digits)) > 34000)


@proof
def seed_143():
    good = 0
    for ups in combinations(range(10), 5):
        heights = [sum(1 for u in ups if u < step) for step in range(11)]
        good += all(2 * h <= step for step, h in enumerate(heights))
    return good


@proof
def seed_144():
    return sum(1 for put in permutations(range(5)) if sum(i == p for i, p in enumerate(put)) == 1)


@proof
def seed_145():
    cells = list(product(range(2), range(3)))
    touching = [(p, q) for p, q in combinations(cells, 2) if abs(p[0] - q[0]) + abs(p[1] - q[1]) == 1]
    paintings = (dict(zip(cells, colours, strict=True)) for colours in product("RBY", repeat=6))
    return sum(1 for painting in paintings if all(painting[p] != painting[q] for p, q in touching))


@proof
def seed_146():
    return sum(1 for winners in product(range(5), repeat=3) if len(set(winners)) > 1)


@proof
def seed_147():
    # Count by size: an h-by-w rectangle fits in (4 - h + 1)(6 - w + 1) places.
    return sum((5 - h) * (7 - w) for h in range(1, 5) for w in range(1, 7))


@proof
def seed_148():
    # A subset is a bit mask, so that intersections and unions are bit operations.
    masks = range(16)
    return sum(1 for p, q, r in product(masks, repeat=3) if p & q & r == 0 and p | q | r == 15)


@proof
def seed_149():
    def climbs(step):
        if step == 10:
            return [[]]
        nexts = [step + jump for jump in (1, 2, 3) if step + jump <= 10 and step + jump != 6]
        return [[place, *rest] for place in nexts for rest in climbs(place)]

    return len(climbs(0))


@proof
def seed_150():
    # People 2k and 2k+1 are a couple, and seats[p] is the chair of person p.
    good = 0
    for seats in permutations(range(8)):
        good += all((seats[2 * k] - seats[2 * k + 1]) % 8 == 4 for k in range(4))
    return good


# probability


@proof
def seed_151():
    return chance(["green"] * 5 + ["orange"] * 7, lambda marble: marble == "green")


@proof
def seed_152():
    return chance(range(1, 7), lambda top: top % 3 == 0)


@proof
def seed_153():
    return chance("PROBABILITY", lambda letter: letter == "B")


@proof
def seed_154():
    return chance(range(20), lambda morning: not morning < 3)


@proof
def seed_155():
    return chance(range(1, 41), lambda ticket: str(ticket).endswith("5"))


@proof
def seed_156():
    red = chance(["red"] * 3 + ["blue"] * 4 + ["white"], lambda colour: colour == "red")
    return sum(red for spin in range(200))


@proof
def seed_157():
    return chance(product("HT", repeat=2), lambda toss: toss == ("T", "T"))


@proof
def seed_158():
    return chance(product(range(1, 7), repeat=2), lambda roll: sum(roll) == 8)


@proof
def seed_159():
    socks = ["black"] * 6 + ["grey"] * 4
    return chance(permutations(socks, 2), lambda pulled: pulled == ("black", "black"))


@proof
def seed_160():
    return chance(range(100, 1000), lambda v: all(int(d) % 2 for d in str(v)))


@proof
def seed_161():
    # Tourists 18..27 are the ten who went to both places.
    castle, aquarium = set(range(0, 28)), set(range(18, 40))
    assert (len(castle), len(aquarium), len(castle & aquarium)) == (28, 22, 10)
    return chance(range(50), lambda t: t not in castle | aquarium)


@proof
def seed_162():
    shot = [True] * 4 + [False]
    return chance(product(shot, repeat=2), lambda shots: sum(shots) == 1)


@proof
def seed_163():
    pack = product(range(1, 14), ["hearts", "spades", "clubs", "diamonds"])
    return chance(pack, lambda card: card[1] == "hearts" or card[0] == 13)


@proof
def seed_164():
    return Q(sum({6: 9, 5: 3}.get(roll, 0) - 2 for roll in range(1, 7)), 6)


@proof
def seed_165():
    months = [m for m in range(1, 13) if calendar.monthrange(2025, m)[1] == 31]
    return chance(months, lambda m: calendar.month_name[m].startswith("J"))


@proof
def seed_166():
    return chance(product(range(6), repeat=3), lambda roll: len(set(roll)) == 3)


@proof
def seed_167():
    people = ["engineer"] * 4 + ["lawyer"] * 5
    return chance(combinations(people, 3), lambda committee: len(set(committee)) == 2)


@proof
def seed_168():
    # Both urns hold five balls, so all ten balls are equally likely.
    balls = [(1, c) for c in "WWBBB"] + [(2, c) for c in "WWWWB"]
    return chance([urn for urn, colour in balls if colour == "W"], lambda urn: urn == 1)


@proof
def seed_169():
    return chance(product((0, 1), repeat=6), lambda tosses: sum(tosses) >= 4)


@proof
def seed_170():
    # Half of the disc is the area under its upper edge.
    favourable = 2 * sp.integrate(sp.sqrt(1 - x**2), (x, -1, 1))
    return favourable / sp.integrate(1, (x, -2, 2), (y, -2, 2))


@proof
def seed_171():
    return chance(combinations(range(1, 10), 2), lambda pair: math.prod(pair) % 2 == 0)


@proof
def seed_172():
    first, second = sp.Rational(1, 10), x
    works = (1 - first) * (1 - second) + first * (1 - second) + (1 - first) * second
    return only(sp.solve(works - sp.Rational(49, 50), x))


@proof
def seed_173():
    def ordered(row):
        return row.index(1) < row.index(2) and row.index(3) < row.index(4)

    return chance(permutations((1, 2, 3, 4)), ordered)


@proof
def seed_174():
    rounds = sp.symbols("rounds", integer=True, nonnegative=True)
    # Anka wins in round k+1 after both players have missed k times.
    return sp.summation(sp.Rational(25, 36) ** rounds * sp.Rational(1, 6), (rounds, 0, sp.oo))


@proof
def seed_175():
    wait = sp.Rational(1, 3)
    # The second friend may come at any time in a window around the first one's arrival at x.
    window = [(0, wait, x + wait), (wait, 1 - wait, 2 * wait), (1 - wait, 1, 1 - x + wait)]
    return sum(sp.integrate(length, (x, start, end)) for start, end, length in window)


@proof
def seed_176():
    def draws(order):
        return next(k for k in count(2) if len(set(order[:k])) < k)

    orders = list(permutations("RRRRBBBB", 3))
    return Q(sum(draws(order) for order in orders), len(orders))


@proof
def seed_177():
    corners = [sp.Matrix([sp.cos(k * sp.pi / 4), sp.sin(k * sp.pi / 4)]) for k in range(8)]

    def right(trio):
        turns = ((trio[i], trio[i - 1], trio[i - 2]) for i in range(3))
        return any(sp.expand((p - q).dot(r - q)) == 0 for q, p, r in turns)

    return chance(combinations(corners, 3), right)


@proof
def seed_178():
    return chance(product(range(1, 11), repeat=3), lambda picks: max(picks) == 7)


@proof
def seed_179():
    # Fundamental matrix of the chain on "no head yet" and "last toss was a head".
    stay = sp.Matrix([[sp.Rational(1, 2), sp.Rational(1, 2)], [sp.Rational(1, 2), 0]])
    return sum((sp.eye(2) - stay).inv().row(0))


@proof
def seed_180():
    return chance(permutations("OOXXX"), lambda keys: keys.index("O") >= 2)


# functions and sequences


@proof
def seed_181():
    terms = [4, 11, 18, 25]
    while len(terms) < 10:
        terms.append(2 * terms[-1] - terms[-2])
    return terms[9]


@proof
def seed_182():
    return sp.Lambda(x, 3 * x - 5)(6)


@proof
def seed_183():
    bulbs = 3
    for day in range(1, 6):
        if day > 1:
            bulbs += bulbs
    return bulbs


@proof
def seed_184():
    return only(v for v in range(1, 100) if v**2 - 1 == 80)


@proof
def seed_185():
    sticks = set()
    for k in range(8):
        sticks |= {("top", k), ("bottom", k), ("post", k), ("post", k + 1)}
    return len(sticks)


@proof
def seed_186():
    # Values of n^2 + 1 are fixed by the five known terms; the gap is the fifth place.
    known = [(1, 2), (2, 5), (3, 10), (4, 17), (6, 37)]
    return sp.interpolate(known, x).subs(x, 5)


@proof
def seed_187():
    return only(k for k in range(-50, 51) if sp.Point(3, 11) in sp.Line((0, k), slope=2))


@proof
def seed_188():
    sol = sp.solve([x + 2 * y - 14, x + 6 * y - 34], [x, y])
    return sol[x]


@proof
def seed_189():
    outer, inner = sp.Lambda(x, x**2 - 1), sp.Lambda(x, 2 * x + 3)
    return sp.expand(outer(inner(x))).subs(x, 2)


@proof
def seed_190():
    return sum(15 + 2 * behind for behind in range(20))


@proof
def seed_191():
    return only(sp.solve((y + 7) / 2 - x, y))


@proof
def seed_192():
    first, ratio = sp.symbols("first ratio", positive=True)
    sol = only(sp.solve([first * ratio - 6, first * ratio**3 - 54], [first, ratio]))
    return sol[0] * sol[1] ** 4


@proof
def seed_193():
    graph = sp.Line((1, 9), (4, 3))
    return only(p.x for p in graph.intersection(sp.Line((0, 0), (1, 0))))


@proof
def seed_194():
    term = 5
    for _ in range(5):
        term = 2 * term - 3
    return term


@proof
def seed_195():
    area = 3
    for day in range(1, 25):
        if day % 4 == 0:
            area *= 2
    return area


@proof
def seed_196():
    return sp.maximum(-2 * x**2 + 12 * x - 7, x, sp.S.Reals)


@proof
def seed_197():
    k = sp.symbols("k", integer=True, nonnegative=True)
    return sp.summation(12 * sp.Rational(8, 12) ** k, (k, 0, sp.oo))


@proof
def seed_198():
    return sum(1 for v in range(-100, 101) if 20 - v * v >= 0 and v - 1 != 0)


@proof
def seed_199():
    terms: list[int] = []
    while len(terms) < 15:
        n = len(terms) + 1
        terms.append(2 * n**2 + 3 * n - sum(terms))
    return terms[-1]


@proof
def seed_200():
    f = (y * x + 1) / (x - 2)
    parameter = only(sp.solve(f.subs(x, 5) - 7, y))
    return f.subs({y: parameter, x: 3})


@proof
def seed_201():
    return only(r for r in sp.roots(x * (x - 6) - 2**4, x) if r > 6)


@proof
def seed_202():
    sols = sp.solve([3 * x + 3 * y - 24, x * (x + 2 * y + 4) - (x + y) ** 2], [x, y])
    return only(smallest for smallest, step in sols if smallest > 0 and step > 0)


@proof
def seed_203():
    b, c = sp.symbols("b c")
    p = x**2 + b * x + c
    mirrored = sp.Poly(sp.expand(p.subs(x, 2 + y) - p.subs(x, 2 - y)), y).coeffs()
    return p.subs(sp.solve([*mirrored, p.subs(x, 5) - 4], [b, c])).subs(x, 0)


@proof
def seed_204():
    values = {1: 1}
    for n in range(2, 101):
        values[n] = values[n - 1] + 2 if n % 2 else values[n // 2] + 1
    return values[100]


@proof
def seed_205():
    return sum(Q(1, m * (m + 2)) for m in range(1, 20, 2))


@proof
def seed_206():
    this, following = Q(2), Q(5)
    for _ in range(2024):
        this, following = following, (following + 1) / this
    return this


@proof
def seed_207():
    f = sp.Lambda(x, x**2 + 3 * x + y)
    return sum(set(sp.solve(f(f(0)), y)))


@proof
def seed_208():
    fibonacci = [1, 1]
    while len(fibonacci) < 120:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    return sum(1 for term in fibonacci if term % 4 == 0)


@proof
def seed_209():
    # Unknowns: f at 4 and f at 1/4.
    sol = sp.solve([3 * x - y - 4 * 4, 3 * y - x - sp.Rational(4, 4)], [x, y])
    return sol[x]


@proof
def seed_210():
    odd_numbers = count(1, 2)
    groups = [[next(odd_numbers) for _ in range(size)] for size in range(1, 21)]
    return groups[-1][0]


# measurement and rates


@proof
def seed_211():
    # Add up the distance minute by minute.
    return sum(Q(80, 60) for minute in range(150))


@proof
def seed_212():
    return len(range(0, 3 * 100, 25))


@proof
def seed_213():
    end = datetime(2025, 1, 1, 18, 45) + timedelta(hours=1, minutes=50)
    return f"{(end.hour - 1) % 12 + 1}:{end.minute:02d}"


@proof
def seed_214():
    return sum(15 for minute in range(60))


@proof
def seed_215():
    return only(sp.solve(8 * x - 20 * 1000, x))


@proof
def seed_216():
    degrees = -17
    for _ in range(6):
        degrees += 2
    return degrees


@proof
def seed_217():
    return only(sp.solve(sp.Eq(x / 60, sp.Rational(12, 20)), x))


@proof
def seed_218():
    metres = sum(500 for centimetre in range(7))
    return Q(metres, 1000)


@proof
def seed_219():
    cents_per_km = Q(6, 100) * 150
    return sum(cents_per_km for km in range(350)) / 100


@proof
def seed_220():
    return only(sp.solve(x / 6 + x / 3 - 1, x))


@proof
def seed_221():
    metres_per_second = Q(36 * 1000, 60 * 60)
    return next(s for s in count() if s * metres_per_second >= 240)


@proof
def seed_222():
    sol = sp.solve([x + y - 4500, 7 * x - 2 * y], [x, y])
    return sol[x]


@proof
def seed_223():
    full = Q(80, 10) * Q(35, 10) * Q(50, 10)
    return full * Q(4, 5)


@proof
def seed_224():
    walk, ride = sp.solve([5 * x / 60 - 4, 20 * y / 60 - 4], [x, y]).values()
    return walk + ride


@proof
def seed_225():
    per_baker_hour = only(sp.solve(3 * 5 * x - 90, x))
    return sum(per_baker_hour for baker in range(7) for hour in range(4))


@proof
def seed_226():
    boat, current = x, y
    return sp.solve([2 * (boat + current) - 24, 3 * (boat - current) - 24], [boat, current])[current]


@proof
def seed_227():
    hours = only(sp.solve(70 * x - (390 - 60 * x), x))
    return 390 - 70 * hours


@proof
def seed_228():
    return only(g for g in range(1, 1000) if Q(18 + g, 180 + g) == Q(19, 100))


@proof
def seed_229():
    return only(sp.solve(x / 4 + x / 6 - x / 12 - 1, x))


@proof
def seed_230():
    hours = sum(Q(1, 60) if km < 120 else Q(1, 40) for km in range(240))
    return 240 / hours


@proof
def seed_231():
    return next(real for real in count() if Q(56, 60) * real >= 7 * 60)


@proof
def seed_232():
    sol = sp.solve([x + y - 20, 18 * x + 30 * y - 20 * sp.Rational(2520, 100)], [x, y])
    return sol[y]


@proof
def seed_233():
    # The hour hand makes 1/720 of a turn a minute from 4/12 of a turn, the minute hand 1/60 from zero.
    return only(sp.solve(sp.Rational(4, 12) + x / 720 - x / 60, x))


@proof
def seed_234():
    return only(lap for lap in range(41, 1000) if Q(40, 72) + Q(40, lap) == 1)


@proof
def seed_235():
    sol = sp.solve([24 * (x + y) - 60, 40 * y - 60], [x, y])
    return 60 / sol[x]


@proof
def seed_236():
    fast, slow = 1 - x / 3, 1 - x / 5
    times = sp.solve(slow - 2 * fast, x) + sp.solve(fast - 2 * slow, x)
    return only(hours for hours in times if 0 < hours < 3)


@proof
def seed_237():
    return only(km for km in range(1, 100) if Q(60 * km, 3) + 40 + Q(60 * km, 6) == 5 * 60 + 10)


@proof
def seed_238():
    # Follow the front of the freight train and the rear of the passenger train, second by second.
    freight_front, passenger_rear, seconds = Q(300), Q(-200), 0
    while passenger_rear < freight_front:
        freight_front += Q(54000, 3600)
        passenger_rear += Q(90000, 3600)
        seconds += 1
    assert passenger_rear == freight_front
    return seconds


@proof
def seed_239():
    left, days = Q(12 * 30), Q(0)
    while left > 0:
        masons = 12 if days < 8 else 8 if days < 14 else 8 + 6
        part = min(Q(1), left / masons)
        left -= masons * part
        days += part
    return days


@proof
def seed_240():
    def level(sealed):
        return 50 + sum(8 - (2 if hour < sealed else 0) for hour in range(8))

    return only(hour for hour in range(9) if level(hour) == 108)


# The tests themselves


def trigrams(text):
    """Word 3-grams with all numbers made equal, so that a template with new numbers does not hide."""
    words = ["#" if w.isdigit() else w for w in re.findall(r"\d+|[^\W\d_]+", text.lower())]
    return set(zip(words, words[1:], words[2:], strict=False))


def test_rows_ids_and_keys():
    assert len(ROWS) == 240
    assert [row["id"] for row in ROWS] == [f"seed-{i:03d}" for i in range(1, 241)]
    for row in ROWS:
        assert list(row) == KEYS
        assert type(row["level"]) is int
        texts = [row[key] for key in KEYS if key != "level"]
        assert all(type(text) is str and text and text == text.strip() for text in texts)


def test_topics_levels_and_splits():
    assert {row["topic"] for row in ROWS} == set(TOPICS)
    assert Counter(row["split"] for row in ROWS) == {"train": 160, "test": 80}
    for topic in TOPICS:
        rows = [row for row in ROWS if row["topic"] == topic]
        assert Counter(row["split"] for row in rows) == {"train": 20, "test": 10}
        levels = Counter(row["level"] for row in rows)
        assert set(levels) == {1, 2, 3, 4} and set(levels.values()) == {7, 8}
        for split in ("train", "test"):
            assert {row["level"] for row in rows if row["split"] == split} == {1, 2, 3, 4}


def test_problem_texts_are_distinct():
    assert len({" ".join(row["problem"].lower().split()) for row in ROWS}) == len(ROWS)


def test_no_two_problems_share_a_template():
    grams = {row["id"]: trigrams(row["problem"]) for row in ROWS}
    for (one, a), (two, b) in combinations(grams.items(), 2):
        assert len(a & b) < 0.5 * len(a | b), (one, two)


@pytest.mark.parametrize("problem_id", BY_ID)
def test_text(problem_id):
    row = BY_ID[problem_id]
    assert 15 <= len(row["problem"].split()) <= 90
    assert row["problem"][-1] in ".?"
    assert boxed(row["problem"]) == [] and "boxed" not in row["problem"]
    # Unbalanced dollars would turn prose into mathematics.
    assert row["problem"].count("$") % 2 == 0 and row["solution"].count("$") % 2 == 0
    assert boxed(row["solution"]) == [row["answer"]]
    sentences = re.split(r"(?<=[.?!]) (?=[A-Z$])", row["solution"])
    assert 2 <= len(sentences) <= 8
    assert "\\boxed{" in sentences[-1]


def test_enough_proofs():
    assert len(PROOFS) >= 200
    assert set(PROOFS) <= set(BY_ID)


def test_proofs_compute():
    """No proof may simply state its answer: each has to combine facts, by operation or by call."""
    tree = ast.parse(Path(__file__).read_text(encoding="utf-8"))
    bodies = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    for problem_id in PROOFS:
        body = bodies[problem_id.replace("-", "_")]
        returns = [node.value for node in ast.walk(body) if isinstance(node, ast.Return)]
        assert not any(isinstance(value, ast.Constant) and type(value.value) is int for value in returns)
        work = (ast.BinOp, ast.Call, ast.AugAssign, ast.GeneratorExp)
        assert any(isinstance(node, work) for node in ast.walk(body)), problem_id


@pytest.mark.parametrize("problem_id", PROOFS)
def test_answer_is_proved(problem_id):
    stored = parse(BY_ID[problem_id]["answer"])
    assert same(proved(problem_id), stored), (proved(problem_id), stored)


def spoil(value):
    """A wrong answer near the right one."""
    if isinstance(value, str):
        return value + " "
    if isinstance(value, tuple):
        return (value[0] + 1, *value[1:])
    return value + 1


@pytest.mark.parametrize("problem_id", PROOFS)
def test_wrong_answer_is_noticed(problem_id):
    assert not same(proved(problem_id), spoil(parse(BY_ID[problem_id]["answer"])))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (r"\frac{3}{8}", r"\frac{8}{3}"),
        (r"36\sqrt{3}", r"36\sqrt{2}"),
        (r"28\pi", "28"),
        ("x^2-4x-12", "x^2+4x-12"),
        ("(5, 2)", "(2, 5)"),
        ("8:35", "8:53"),
        (r"\text{Friday}", r"\text{Saturday}"),
        ("30.72", "30.7"),
        ("-8", "8"),
    ],
)
def test_comparison_is_exact(right, wrong):
    assert same(parse(right), parse(right))
    assert not same(parse(right), parse(wrong))
