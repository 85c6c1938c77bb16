"""Final answers: what is extracted, how it is cleaned, and which pairs are equal."""

from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalequest.grading.equality import equal_fast, equal_slow
from scalequest.grading.extraction import extract_answer
from scalequest.grading.graders import GRADERS
from scalequest.grading.latex import LONGEST
from scalequest.grading.normalisation import normalise, split_answer
from scalequest.grading.numbers import number
from scalequest.grading.units import other_unit, unit_name

EXTRACTED = [
    (r"So the value is $\boxed{42}$.", "42"),
    (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
    (r"first \boxed{1}, then \boxed{2}", "2"),
    (r"\boxed{\text{A}\{1, 2\}}", r"\text{A}\{1, 2\}"),
    (r"\boxed{\{x : x > 0\}}", r"\{x : x > 0\}"),
    (r"\fbox{7}", "7"),
    (r"\boxed 5$.", "5"),
    (r"$\boxed  12.$", "12"),
    (r"\boxed {9}", "9"),
    (r"\boxed{}", None),
    (r"\boxed{3} and later \boxed{}", "3"),
    (r"\boxed{3} and cut at \boxed{4", "3"),
    (r"\boxed{never closed", None),
    (r"\boxed{a}}}}", "a"),
    (r"outer \boxed{x = \boxed{5}}", "5"),
    (r"\boxedanswer{5}", None),
    ("\\boxed{\n  8\n}", "8"),
    ("He has 3 + 4 = <<3+4=7>>7 apples.\n#### 7", "7"),
    ("#### 1,234\n", "1,234"),
    ("#### $18 \n\nQuestion: and now?", "$18"),
    ("#### Step 1\nWe add.\n#### Step 2\nThe answer is 9.", "9"),
    ("#### Sunday", "Sunday"),
    ("####", None),
    ("The answer is 12.", "12"),
    ("The final answer is: $\\frac{3}{4}$. I hope it is correct.", r"\frac{3}{4}"),
    ("**Answer:** 3.5 metres", "3.5 metres"),
    ("Answer: B\n", "B"),
    ("ANSWER:\n(C)", "(C)"),
    ("So the answer to the problem is 17 because 17 is prime.", "17"),
    ("The answer is 5. Therefore we are done.", "5"),
    ("The answer is $x=5$, since 5 is odd.", "x=5"),
    ("The answer is 1.\nNo, the answer is 2.", "2"),
    ("the answer is 3\n" + "line\n" * 10, None),
    # money, not mathematics
    ("The answer is $18, because she sells 9 eggs.", "$18"),
    ("So the answer is $18 and she keeps $2.", "$18"),
    ("The answer is $1,200.50.", "$1,200.50"),
    ("The answer is $18 per day, or $2 an hour.", "$18"),
    ("The answer is $18$, because.", "18"),
    ("The answer is $12 \\text{ cm and more}$.", r"12 \text{ cm and more}"),
    ("The answer is approximately 3.14.", "3.14"),
    ("The answer is about $5.", "$5"),
    ("The answer is 0.333...", "0.333..."),
    ("The answers are 2 and 3.", "2 and 3"),
    # boxes of one answer
    (r"x = \boxed{2} or x = \boxed{3}", "2, 3"),
    (r"So $x=\boxed{2}$, and $y=\boxed{3}$.", "2, 3"),
    (r"So $\boxed{2}$, $\boxed{3}$ and $\boxed{4}$.", "2, 3, 4"),
    (r"$\boxed{2} \text{ or } \boxed{3}$", "2, 3"),
    (r"\boxed{\frac12} or \boxed{0.5}", "0.5"),
    (r"The sum is $\boxed{x+11}$ or $\boxed{11+x}$.", "11+x"),
    (r"$\boxed{2}$. So the sum is $\boxed{3}$.", "3"),
    (r"We take \boxed{2} or else, by the second case, \boxed{3}", "3"),
    (r"\boxed{5} and \boxed{}", "5"),
    (r"\boxed{1}, \boxed{2}, hence \boxed{3} or \boxed{4}", "3, 4"),
    ("I do not know.", None),
    ("", None),
    ("answer", None),
    ("answer:", None),
]

NORMALISED = [
    ("$x = 5$", "5"),
    (r"\dfrac12", r"\frac{1}{2}"),
    (r"\tfrac{1}2", r"\frac{1}{2}"),
    (r"\frac 97", r"\frac{9}{7}"),
    (r"\frac{\sqrt6}3", r"\frac{\sqrt{6}}{3}"),
    (r"\sqrt3", r"\sqrt{3}"),
    (r"x^2", "x^{2}"),
    (r"x^12", "x^{12}"),
    (r"\left( \frac{1}{2}, 3 \right)", r"(\frac{1}{2}, 3)"),
    (r"15,\!000", "15000"),
    ("1,234,567", "1234567"),
    ("1{,}000", "1000"),
    ("10 000", "10000"),
    ("(1,234)", "(1, 234)"),
    ("100, 200", "100, 200"),
    (r"\$15.48", "15.48"),
    ("\N{EURO SIGN}5", "5"),
    (r"25\%", "25%"),
    ("25 percent", "25%"),
    (r"90^\circ", "90"),
    (r"90^{\circ}", "90"),
    ("90\N{DEGREE SIGN}", "90"),
    ("20 degrees", "20"),
    (r"8\text{ meals}", "8"),
    (r"11.6 \mathrm{lb} / \mathrm{in}^{2}", "11.6"),
    ("350,000 pages", "350000"),
    ("5cm", "5"),
    ("6m", "6m"),
    ("5xyz", "5xyz"),
    ("3 million", "3million"),
    (r"3\mathrm{i}", "3i"),
    (r"\text{Sunday}", "sunday"),
    ("(A)", "A"),
    (r"\textbf{(E)}", "E"),
    ("No solution.", r"\emptyset"),
    (r"7, -2, \text{ and } -5", "7, -2, -5"),
    ("x=-1 or x=1", "-1, 1"),
    ("f(x)=x+1", "x+1"),
    ("4x-5y=-50", "4x-5y=-50"),
    (r"\left[\begin{array}{rr}1 & 2 \\ 3 & 4\end{array}\right]", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"),
    (r"\begin{bmatrix} 1 \\ 2 \end{bmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
    ("2\N{GREEK SMALL LETTER PI}", r"2\pi"),
    ("\N{MINUS SIGN}3", "-3"),
    (r"\(5\)", "5"),
    ("**5**", "5"),
    ("Solution is: 7", "7"),
    (r"x \in [1,2]", "[1, 2]"),
    ("$", "$"),
    ("", ""),
    (r"x \in \mathbb{R}", r"(-\infty, \infty)"),
    ("all real numbers", r"(-\infty, \infty)"),
    (r"\{x \mid x > 3\}", "x>3"),
    (r"\{x \mid x = 2k\}", r"\{x\mid x=2k\}"),
    (r"\{n \mid n \in \mathbb{Z}\}", r"\{n\mid n\in\mathbb{Z}\}"),
    (r"\mathbb{R} \setminus \{2\}", r"(-\infty, 2)\cup(2, \infty)"),
    (r"\sin 30^{\circ}", r"\sin\frac{30\pi}{180}"),
    (r"\sin x^\circ", r"\sin x"),
    ("0.1666...", r"0.1\overline{6}"),
    (r"0.\dot{3}", r"0.\overline{3}"),
    ("3.14...", r"3.14\dots"),
    ("Three", "3"),
    ("AB", "AB"),
    ("Cat", "cat"),
    (r"{n \choose 2}", r"\binom{n}{2}"),
    ("9:00 a.m.", "9"),
    ("9:30 PM", "9:30"),
    ("400 BC", "400"),
    ("4 BC", "4BC"),
    ("2pm", "2pm"),
    ("2e3", r"2\times10^{3}"),
    ("2 e + 3", "2e +3"),
    (r"\frac{1}{11e+122}", r"\frac{1}{11e +122}"),
    ("x=2+3=5", "2+3=5"),
    ("5=x", "5"),
    (r"P(X=1)=\frac14", r"\frac{1}{4}"),
    (r"y=\sum_{n=0}^{5}x^n", r"\sum_{n=0}^{5}x^{n}"),
    ("2x=5", "2x=5"),
    ("xy=5", "xy=5"),
    (r"\approx 3", "3"),
    (r"2\mathbf{j}", "2j"),
    (r"\langle 1,2\rangle", "(1, 2)"),
]

NUMBERS = [
    ("7", Fraction(7)),
    ("-0.50", Fraction(-1, 2)),
    (".5", Fraction(1, 2)),
    ("5.", Fraction(5)),
    (r"\frac{-1}{2}", Fraction(-1, 2)),
    ("-3/4", Fraction(-3, 4)),
    (r"33\frac{1}{3}", Fraction(100, 3)),
    ("-2 1/2", Fraction(-5, 2)),
    (r"1.5\times10^{3}", Fraction(1500)),
    ("2e-2", Fraction(1, 50)),
    ("1/0", None),
    (r"\frac{1}{0}", None),
    (r"\pi", None),
    ("1,2", None),
    ("", None),
    ("\N{ARABIC-INDIC DIGIT THREE}", None),
    ("3million", Fraction(3_000_000)),
    ("1.5thousand", Fraction(1500)),
]

# Over the 4,300 digits that int() reads.
DIGITS = "7" * 5000
ENDLESS = [
    *(DIGITS, f"-{DIGITS}", f"{DIGITS}%", f"{DIGITS}.5", f"0.{DIGITS}", f".{DIGITS}", f"{DIGITS}e5"),
    *(f"{DIGITS}/3", f"3/{DIGITS}", rf"\frac{{{DIGITS}}}{{3}}", rf"\frac{{3}}{{{DIGITS}}}", f"{DIGITS} 1/2"),
    *(rf"2\frac{{1}}{{{DIGITS}}}", f"1/0.{DIGITS}"),
]

# gold, prediction, equal, why
PAIRS = [
    # units
    (r"180\text{ miles}", "180", True, "unit left out"),
    ("180", r"180\text{ mi}", True, "unit added"),
    (r"5\text{ cm}", r"5\text{ centimetres}", True, "the same unit"),
    (r"5\text{ cm}", r"5\text{ m}", False, "another unit"),
    (r"20\text{ cm}^2", "20 square centimeters", True, "area, two ways"),
    (r"20\text{ cm}^2", r"20\text{ cm}^3", False, "area is no volume"),
    (r"8\text{ meals}", "8 dinners", False, "what is counted has another name"),
    (r"30\pi\text{ cm}", r"30\pi", True, "unit after an expression"),
    ("$6m$", "6", False, "m is a variable"),
    (r"\$5", "5 cents", False, "dollars are no cents"),
    (r"\$5", "5 dollars", True, "currency, two ways"),
    (r"10 \mathrm{~m} / \mathrm{s}", "10", True, "compound unit left out"),
    ("5 million", "5", False, "million is a factor"),
    # percent
    (r"50\%", "50", True, "asked for a percentage"),
    (r"50\%", "0.5", True, "the number that it is"),
    (r"50\%", r"\frac{1}{2}", True, "as a fraction"),
    (r"12.5\%", "12.5 percent", True, "in words"),
    (r"50\%", "5", False, "another number"),
    (r"50\%", r"0.5\%", False, "half a percent"),
    # intervals
    ("[1,2)", r"\left[1, 2\right)", True, "size of brackets"),
    ("[1,2)", "[1,2]", False, "open is not closed"),
    ("(1,2)", "[1,2]", False, "open is not closed"),
    (r"(-\infty, 3)", r"(-\infty,3]", False, "open is not closed"),
    (r"(-\infty,-8)\cup (8,\infty)", r"(-\infty, -8) \cup (8, +\infty)", True, "plus before infinity"),
    (r"(8,\infty)\cup(-\infty,-8)", r"(-\infty,-8)\cup (8,\infty)", True, "order of a union"),
    (r"[1/2, 1]", r"[0.5, 1]", True, "end points as numbers"),
    (r"x \in [1,3]", "[1,3]", True, "membership spelled out"),
    ("(1,3)", "1<x<3", True, "interval as inequality"),
    # sets and lists
    ("1,2,3", "3, 1, 2", True, "order of a list of solutions"),
    (r"\{1,2\}", r"\{2,1\}", True, "order of a set"),
    (r"\{1,2\}", "1 and 2", True, "set in words"),
    ("1,2,3", "1,2", False, "one missing"),
    ("1,2", "1,2,3", False, "one too many"),
    ("1,2,3", "1,2,4", False, "one wrong"),
    (r"\frac12, 3", "0.5, 3", True, "numbers within"),
    ("(1,2)", "(2,1)", False, "order of a point"),
    ("(1,2),(3,4)", "(3,4), (1,2)", True, "order of points"),
    ("(1,2),(3,4)", "(1,4),(3,2)", False, "other points"),
    (r"\emptyset", r"\varnothing", True, "two signs for it"),
    (r"1+\sqrt2, 1-\sqrt2", r"1-\sqrt{2}, 1+\sqrt{2}", True, "radicals in a list"),
    # matrices
    (
        r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}",
        r"\begin{bmatrix} 1&2\\3&4 \end{bmatrix}",
        True,
        "kind of brackets",
    ),
    (
        r"\begin{pmatrix} 1/2 \\ 3 \end{pmatrix}",
        r"\begin{pmatrix} \frac{1}{2} \\ 3 \end{pmatrix}",
        True,
        "numbers within",
    ),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 2 \\ 1 \end{pmatrix}", False, "order of rows"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 1 & 2 \end{pmatrix}", False, "column is not row"),
    (
        r"\frac{1}{2}\begin{pmatrix} 2 & 4 \\ 6 & 8 \end{pmatrix}",
        r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}",
        True,
        "scalar drawn in",
    ),
    # mixed numbers and fractions
    (r"33\frac{1}{3}", r"\frac{100}{3}", True, "mixed number"),
    ("2 1/2", "2.5", True, "mixed number, plain"),
    ("2 1/2", "21/2", False, "the space counts"),
    (r"-1\frac{1}{2}", "-1.5", True, "sign of a mixed number"),
    (r"\frac{2}{4}", r"\frac12", True, "not in lowest terms"),
    (r"\frac{-1}{2}", r"-\frac{1}{2}", True, "place of the sign"),
    (r"\frac{1}{2}", r"-\frac{1}{2}", False, "sign"),
    ("3/4", ".75", True, "decimal without zero"),
    (r"\frac{5\pi}{4}", r"\frac{5}{4}\pi", True, "place of pi"),
    # degrees
    (r"90^\circ", "90", True, "sign left out"),
    (r"90^{\circ}", "90 degrees", True, "in words"),
    (r"18.8^{\circ}", "18.9", False, "another angle"),
    (r"32^{\circ} \mathrm{F}", "32", True, "temperature"),
    (r"32^{\circ} \mathrm{F}", r"32^{\circ}\text{C}", False, "another scale"),
    # thousands separators
    ("1,234", "1234", True, "comma"),
    (r"15,\!000", "15000", True, "comma with thin space"),
    ("1{,}000{,}000", "10^6", True, "million, written out and as a power"),
    ("1,234", "1.234", False, "a point is no separator"),
    ("(1,234)", "(1, 234)", True, "a point in the plane"),
    ("(1,234)", "1234", False, "a point in the plane"),
    # text and choice
    (r"\text{Sunday}", "Sunday.", True, "style and full stop"),
    ("No solution", "no solution", True, "capital"),
    ("no solution", "on solution", False, "letters are not factors"),
    (r"\text{Evelyn}", "Carla", False, "another name"),
    (r"\text{Yes}", "no", False, "yes is not no"),
    ("(A)", "A", True, "brackets of a choice"),
    (r"\textbf{(B)}", "B.", True, "style of a choice"),
    ("A", "B", False, "another choice"),
    ("A, C", "C, A", True, "several choices"),
    (r"\text{1:03 PM}", "1:03 PM", True, "time of day"),
    (r"\text{1:03 PM}", "1:03 AM", False, "time of day"),
    # x = 5
    ("5", "x = 5", True, "name left out"),
    ("x=5", "5", True, "name added"),
    ("x=5", "y=5", False, "another unknown"),
    ("y=2x+1", "f(x)=2x+1", True, "a function by either name"),
    ("y=2x+1", "2x-y+1=0", True, "line in another form"),
    ("x=-1, x=1", r"x=\pm 1", True, "two solutions"),
    ("x=1, y=2", "y=2, x=1", True, "order of unknowns"),
    ("x=1, y=2", "x=2, y=1", False, "swapped"),
    ("4x-5y=-50", "5y=4x+50", True, "equation turned round"),
    # plus or minus
    (r"\pm 8", "8, -8", True, "two values"),
    (r"2 \pm \sqrt{6}", r"2+\sqrt6, 2-\sqrt6", True, "two values"),
    (r"\pm 8", "8", False, "one value"),
    (r"\pm i, \pm 2", "i, -i, 2, -2", True, "four values"),
    # radicals and other equivalent forms
    (r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}", True, "rationalised"),
    (r"\sqrt{12}", r"2\sqrt{3}", True, "simplified"),
    (r"\sqrt{12}", r"3\sqrt{2}", False, "another radical"),
    (r"\sqrt[3]{8}", "2", True, "root taken"),
    (r"\sqrt{3+2\sqrt{2}}", r"1+\sqrt2", True, "nested radical"),
    ("(x-2)(x+3)", "x^2+x-6", True, "expanded"),
    ("(x-2)(x+3)", "x^2+x+6", False, "wrong sign"),
    (r"10-4 n", "-4n+10", True, "order of a sum"),
    (r"2^{10}", "1024", True, "power"),
    (r"\ln(x^2)", r"\ln x", False, "another function"),
    (r"\log_2 8", "3", True, "logarithm"),
    ("3+5i", "5i+3", True, "complex"),
    # near misses
    ("3.14", "3.1415", False, "more digits are another number"),
    ("0.333", r"\frac{1}{3}", False, "a rounded third"),
    ("0.3333333333", r"\frac{1}{3}", False, "a rounded third, longer"),
    ("0.50", "0.5", True, "trailing zero"),
    ("1000000", "1000001", False, "last digit"),
    ("99.99", "100", False, "nearly"),
    (r"\pi", "3.14", False, "rounded pi"),
    (r"1.715 \times 10^{14}", "171500000000000", True, "powers of ten"),
    ("10^{10^{10}}", "10^{10^{10}}", True, "the same text"),
    ("10^{10^{10}}", "10^{10^{11}}", False, "too large to compare"),
]


def equal(gold: str, prediction: str) -> bool:
    fast = equal_fast(gold, prediction)
    return equal_slow(gold, prediction) if fast is None else fast


@pytest.mark.parametrize(("response", "expected"), EXTRACTED)
def test_extract(response: str, expected: str | None) -> None:
    assert extract_answer(response) == expected


@pytest.mark.parametrize(("answer", "expected"), NORMALISED)
def test_normalise(answer: str, expected: str) -> None:
    assert normalise(answer) == expected
    assert normalise(expected) == expected


@pytest.mark.parametrize(("text", "expected"), NUMBERS)
def test_number(text: str, expected: Fraction | None) -> None:
    found = number(text)
    assert (found.value if found else None) == expected


@pytest.mark.parametrize("text", ENDLESS, ids=lambda text: f"{text[:12]}...{text[-6:]}")
def test_more_digits_than_int_reads_are_no_number(text: str) -> None:
    assert number(text) is None
    assert normalise(text) == text
    assert equal_fast(text, text) is True
    assert equal_fast(text, "5") is None
    assert equal_fast("1/2", text) is None
    assert equal_fast(text, text.replace("77", "78", 1)) is None
    assert equal_slow(text, "5") is False


@pytest.mark.parametrize("unit", ["", " cm", r"\text{ cm}"])
def test_digits_that_cleaning_makes_of_one_character_are_bounded_too(unit: str) -> None:
    # Each is one character before and two digits after: the answer is short enough to be cleaned.
    text = "\N{CIRCLED NUMBER TWENTY}" * 3000 + unit
    assert len(text) < LONGEST
    assert normalise(text).startswith("20" * 3000)
    assert equal_fast(text, "5") is None


@pytest.mark.parametrize("text", ["9" * 2_000_000, "." + "9" * 2_000_000, "9" * 1_000_000 + "/" + "7" * 1_000_000])
def test_millions_of_digits_cost_little(text: str) -> None:
    start = time.process_time()
    assert number(text) is None
    assert equal_fast(text, text[:-1]) is None
    assert time.process_time() - start < 5


def test_the_longest_number_is_read() -> None:
    assert number("9" * LONGEST) is not None
    assert equal_fast("9" * LONGEST, "9" * (LONGEST - 1) + "8") is False


@pytest.mark.parametrize(("gold", "prediction", "expected", "why"), PAIRS)
def test_pairs(gold: str, prediction: str, expected: bool, why: str) -> None:
    assert equal(gold, prediction) is expected, why


def test_there_are_enough_pairs() -> None:
    assert len({pair[:2] for pair in PAIRS}) >= 100
    assert sum(not pair[2] for pair in PAIRS) >= 35


def test_fast_path_says_false_only_of_plain_numbers() -> None:
    for gold, prediction, expected, why in PAIRS:
        fast = equal_fast(gold, prediction)
        assert fast in (None, expected), why
        if fast is False:
            assert number(normalise(gold)) and number(normalise(prediction)), why


def test_a_percentage_compares_with_its_number_and_not_with_another_percentage() -> None:
    assert equal_fast(r"8\%", "0.08") is True
    assert equal_fast(r"8\%", "8") is True
    assert equal_fast(r"8\%", r"800\%") is False


@pytest.mark.parametrize(
    "text",
    [
        "{" * 100_000,
        "}" * 100_000,
        r"\boxed{" * 20_000,
        r"\boxed{" * 20_000 + "1" + "}" * 20_000,
        r"\boxed " * 20_000,
        "\\" * 100_001,
        "#### \n" * 20_000,
        "####x" * 20_000,
        "answer " * 20_000,
        "the answer is" + " " * 100_000 + "5",
        "answer: " * 20_000,
        "$" * 100_000,
        r"\boxed{" + "9" * 100_000 + "}",
        r"\frac" * 20_000,
        "x=" * 40_000,
        "1,234" * 20_000,
        r"\boxed{1} or " * 20_000,
        "".join(rf"\boxed{{{number}}}, " for number in range(10_000)),
        r"\boxed{1}," + "$" * 50_000 + r"x\boxed{2}",
        "The answer is $" + "1" * 100_000,
    ],
)
def test_long_and_unbalanced_text_costs_little(text: str) -> None:
    start = time.process_time()
    found = extract_answer(text)
    normalise(found or "")
    normalise(text)
    normalise(text[:LONGEST])
    equal_fast(text, text[:-1])
    # Far above what linear work takes on a slow machine, far below what quadratic work takes on a fast one.
    assert time.process_time() - start < 5


# What a pattern may begin with at each place of a long run.
RUNS = [
    *(
        " ",
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        "1",
        "a",
        "A",
        ",",
        ".",
        ":",
        "=",
        "<",
        "+",
        "-",
        "/",
        "*",
        "^",
        "_",
        "$",
        "~",
        "|",
        "'",
    ),
    *(
        "\\",
        r"\\ ",
        r"\, ",
        r"\quad ",
        r"\text{}",
        r"\text{a}",
        r"\text{ cm}",
        r"\mathrm{",
        r"\frac",
        r"\frac{",
        r"\sqrt",
    ),
    *(
        r"\sqrt{",
        r"\{",
        r"\pm",
        r"\le",
        r"\cup ",
        r"^\circ",
        r"\sin ",
        r"\sin(",
        r"\choose",
        "{a",
        r"\begin{pmatrix}",
        "&",
    ),
    *(
        "a ",
        "1 ",
        "1,",
        "1, ",
        ",234",
        "x=",
        " and ",
        " or ",
        "x_{1}",
        "1:",
        "%",
        r"\mid",
        r"\approx",
        "...",
        "a.m. ",
        "f(",
        "i(",
        "1 -",
        "30^\\circ 15' ",
        "15'",
        "'",
        "AB",
        r"\triangle AB",
        r"A\cong ",
        r"[-\infty",
        r"x=\pm1,y=2,",
    ),
]


@pytest.mark.parametrize("run", RUNS)
def test_no_run_of_anything_holds_up_the_process_that_grades(run: str) -> None:
    texts = [
        (first + run * (LONGEST // len(run)))[: LONGEST - 10] + last
        for first, last in [("", ""), ("x", "1"), ("1", "x"), ("{", "}"), (r"\sin", "!"), (r"1\text{ ", ")")]
    ]
    for grader in GRADERS.values():
        facts = ['{"answer_type": "Numerical"}'] if grader.uses_facts else []
        for text in texts:
            assert seconds(grader.extract, rf"\boxed{{{text}}}") < 0.15
            for pair in (("12", text), (text[:-1], text)):
                assert seconds(grader.fast, *pair, *facts) < 0.15, (grader.name, text[:40])


def test_lists_of_hundreds_of_numbers_are_left_to_the_workers() -> None:
    # The other way round each number is looked for the longest.
    texts = [", ".join(f"{number}.5" for number in numbers) for numbers in (range(500), range(499, -1, -1))]
    for grader in GRADERS.values():
        facts = ['{"answer_type": "Numerical"}'] if grader.uses_facts else []
        assert seconds(grader.fast, *texts, *facts) < 0.15, grader.name


def seconds(function: Callable[..., object], *arguments: str) -> float:
    """What a call costs without what is remembered; of three, as others compute here too."""
    costs = []
    for _ in range(3):
        split_answer.cache_clear()
        begun = time.process_time()
        function(*arguments)
        costs.append(time.process_time() - begun)
        if costs[-1] < 0.1:
            break
    return min(costs)


def test_model_text_is_not_evaluated(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    code = f"__import__('pathlib').Path({str(canary)!r}).touch()"
    for text in (code, rf"\operatorname{{{code}}}(x)", rf"\text{{{code}}}", f"1+{code}", f"{{{code}}}", f"$({code})$"):
        equal("1", extract_answer(rf"\boxed{{{text}}}") or "")
        equal(text, "1")
    assert not canary.exists()


TEXTS = st.one_of(
    st.text(max_size=60),
    st.text(alphabet="0123456789.,/-%$ x={}()[]^_\\+&!~", max_size=40),
    st.lists(
        st.sampled_from(
            [r"\frac", r"\sqrt", "{", "}", "1", "2", "x", "=", ",", " ", r"\text{", "cm", r"\%", r"\left(", r"\right)"],
        )
        | st.sampled_from(
            [r"\{", r"\}", r"\pm", "and", ".", "$", r"\begin{array}{l}", r"\end{array}", r"\boxed{", r"\circ", "^"],
        )
        | st.sampled_from(
            [
                "1,000",
                "answer is ",
                "####",
                "\n",
                "I",
                "degrees",
                r"\mathrm{",
                r"\ ",
                r"\!",
                "\N{DEGREE SIGN}",
                "E",
                "_",
            ],
        ),
        max_size=14,
    ).map("".join),
)


@settings(max_examples=400)
@given(TEXTS)
def test_never_raises_and_normalising_twice_changes_nothing(text: str) -> None:
    extract_answer(text)
    once = normalise(text)
    assert normalise(once) == once
    assert equal_fast(text, text) is True


@settings(max_examples=300)
@given(TEXTS, TEXTS)
def test_fast_equality_is_symmetric(a: str, b: str) -> None:
    assert equal_fast(a, b) is equal_fast(b, a)


@settings(max_examples=200)
@given(st.fractions(), st.integers(min_value=1, max_value=50))
def test_equal_fractions_are_equal_however_written(value: Fraction, factor: int) -> None:
    written = rf"$\dfrac{{{value.numerator * factor}}}{{{value.denominator * factor}}}$"
    assert equal_fast(written, f"{value.numerator}/{value.denominator}") is True
    assert equal_fast(written, f"x = {value.numerator + 1}/{value.denominator}") is False


@given(st.text(alphabet=st.characters(exclude_characters="{}\\", exclude_categories=["Cs"]), min_size=1))
def test_a_boxed_answer_comes_back(content: str) -> None:
    if content.strip():
        assert extract_answer(rf"So it is $\boxed{{{content}}}$.") == content.strip()


@pytest.mark.parametrize(
    ("answer", "parts"),
    [
        (r"$x = 5\text{ cm}$", ("x", "5", "cm")),
        ("f(x)=2x", ("f()", "2x", "")),
        ("P(A)=5", ("P(A)", "5", "")),
        ("(x, y)=(1, 2)", ("(x, y)", "(1, 2)", "")),
        ("7 red apples", ("", "7", "red apple")),
        ("7 people", ("", "7", "")),
        (r"7 \pmod{10}", ("", "7", "mod 10")),
    ],
)
def test_name_and_unit_are_kept_beside_the_value(answer: str, parts: tuple[str, str, str]) -> None:
    found = split_answer(answer)
    assert (found.name, found.value, found.unit) == parts


@pytest.mark.parametrize(
    ("words", "unit"),
    [
        ("square feet", "ft^2"),
        ("sq. ft.", "ft^2"),
        ("m / s ^{2}", "m/s^2"),
        ("miles per hour", "mi/h"),
        ("dollars an hour", "dollar/h"),
        ("A.M.", "am"),
        ("square units", "unit^2"),
        ("units", ""),
        ("integers", ""),
        ("boxes", "box"),
        ("glasses", "glass"),
        ("cookies", unit_name("cookie")),
        ("kids", "child"),
        ("different ways", "different"),
        ("people in total", ""),
    ],
)
def test_a_unit_has_one_name(words: str, unit: str) -> None:
    assert unit_name(words) == unit


@pytest.mark.parametrize(
    ("a", "b", "other"),
    [
        ("cm", "m", True),
        ("ft", "ft/s", True),
        ("unit^2", "unit^3", True),
        ("red apple", "apple", False),
        ("red apple", "green apple", True),
        ("mi north", "mi", False),
        ("cm", "", False),
        ("degree", "celsius", False),
        ("celsius", "fahrenheit", True),
    ],
)
def test_units_that_are_both_there_must_be_one(a: str, b: str, other: bool) -> None:
    assert other_unit(a, b) is other_unit(b, a) is other


@pytest.mark.parametrize(
    ("one", "other"), [(r"\sum_{i=1}^{n}i^{2}", r"\sum_{i=1}^{n}i^{2}+1"), ("i+2j", "2i+j"), ("i+k", r"i-i^{2}k")]
)
def test_an_index_and_a_base_vector_are_no_imaginary_units(one: str, other: str) -> None:
    assert equal_slow(one, one)
    assert not equal_slow(one, other)
