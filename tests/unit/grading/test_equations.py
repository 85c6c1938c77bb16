"""Equations with one set of solutions, and figures named by points: what is one, and what must not be taken for one."""

from __future__ import annotations

import pytest

from scalequest.grading.graders import GRADERS, pool_of
from scalequest.grading.points import same_figures, same_measure


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (r"\ln y=x+c", "y=e^{x+c}", True),
        ("s=vt", r"v=\frac{s}{t}", True),
        ("y^2=x", "x=y^2", True),
        ("x^2+y^2=1", "x^2=1-y^2", True),
        # One half of a curve, a part of it, and a curve with another one.
        ("y^2=x", r"y=\sqrt{x}", False),
        ("y=x", r"y=\sqrt{x^2}", False),
        ("y=x", "y=|x|", False),
        ("y=x", "y^2=x^2", False),
        ("xy=x", "y=1", False),
        ("x^3=y^3", r"x=-y", False),
        # No real points at all: what is said is not the same.
        ("x^2+y^2=-1", "x^4+y^2=-2", False),
        # Part of the curve; and not finitely many solutions, which is not seen.
        (r"x=\sin y", r"y=\arcsin x", False),
        (r"\sin y=x", r"\sin y-x=0", True),
        (r"\sin y=x^2", r"x^2=2\sin y", False),
        # One unknown: roots may be lost or counted otherwise.
        ("x^2-4=0", "x^4-16=0", False),
    ],
)
def test_two_equations_are_one_where_they_hold_for_the_same_numbers(one: str, other: str, same: bool) -> None:
    with pool_of(GRADERS["equivalence"]) as pool:
        verdicts = pool.equal_pairs([(one, other), (other, one)], 20)
    assert [verdict.equal for verdict in verdicts] == [same, same], verdicts


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (r"\triangle ABC", r"\triangle CAB", True),
        (r"\triangle AB'C", r"\triangle ACB'", True),
        (r"\triangle A_{1}BC", r"\triangle BCA_{1}", True),
        (r"\triangle A_{1}BC", r"\triangle A_{2}BC", False),
        (r"m\angle ABC", r"\angle CBA", True),
        (r"\angle A", "A", False),
        (r"\triangle ABC\sim\triangle DEF", r"\triangle CBA\sim\triangle FED", True),
        (r"\triangle ABC\sim\triangle DEF", r"\triangle CBA\sim\triangle DEF", False),
        (r"\overline{AB}\cong\overline{CD}", r"\overline{DC}\cong\overline{AB}", True),
        (r"\overrightarrow{AB}", "AB", False),
        ("ABC", "ACB", None),
        (r"\triangle ABC", "12", None),
        (r"\frac{1}{7}\triangle ABC", r"\triangle ABC", None),
    ],
)
def test_figures_are_one_by_what_order_means_in_them(one: str, other: str, same: bool | None) -> None:
    assert same_figures(one, other) is same_figures(other, one) is same


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("AB", "BA", True), ("[ABC]", "[CAB]", True), ("|AB|", "BA", True), ("ABC", "BAC", False), ("AB", "AC", False)],
)
def test_a_length_and_an_area_have_several_names(one: str, other: str, same: bool) -> None:
    assert same_measure(one, other) is same_measure(other, one) is same
