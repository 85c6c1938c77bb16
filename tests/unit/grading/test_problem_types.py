"""Types of problems and what makes a question unfit for a check, on questions as models write them."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from conftest import ROOT
from scalequest.grading.problem_types import NO_OPTIONS, PROOF, SEVERAL, TYPES, problem_type, unfit

ASKED = "What is it?"
ANSWERED = [
    (ASKED, "4", "integer"),
    (ASKED, "0.25", "decimal"),
    (ASKED, r"\frac{1}{2}", "fraction"),
    (ASKED, r"3\sqrt{2}", "expression"),
    ("Solve the inequality.", "x < 3", "interval"),
    ("Find the domain of f.", r"(-\infty, 3]", "interval"),
    ("Solve it.", r"(-\infty, 1) \cup (2, \infty)", "interval"),
    ("On which interval does f grow?", "(1, 2)", "interval"),
    # A point, where nothing speaks of an interval.
    ("Where do the lines meet?", "(1, 2)", "set"),
    (ASKED, r"\{1, 2\}", "set"),
    (ASKED, r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", "matrix"),
    (ASKED, "blue", "text"),
    ("Is 7 prime?", "Yes", "yes/no"),
    ("Is 9 prime?", r"\text{No}.", "yes/no"),
    ("Which is prime? (A) 4 (B) 7", "B", "multiple choice"),
    ("Which is prime?\nA. 4\nB. 7\nC. 9", r"\text{(B)}", "multiple choice"),
    # Without options a letter is an unknown.
    (ASKED, "B", "expression"),
    ("Prove that 2 is even.", "2", "proof"),
    (ASKED, None, "none"),
    (ASKED, " ", "none"),
]


@pytest.mark.parametrize(("question", "answer", "kind"), ANSWERED)
def test_the_type(question: str, answer: str | None, kind: str) -> None:
    assert problem_type(question, answer) == kind
    assert kind in TYPES


def test_a_config_may_ask_for_each_type_of_answer() -> None:
    schema = yaml.safe_load((ROOT / "schemas" / "config.schema.yaml").read_text(encoding="utf-8"))
    allowed = schema["properties"]["verification"]["properties"]["types"]["items"]["enum"]
    assert set(allowed) == set(TYPES) - {PROOF, "none"}


@pytest.mark.parametrize(
    ("question", "why"),
    [
        ("What is 2 + 2?", ""),
        # Real problems that only look like it.
        ("Records show that the team won 3 matches. How many is that?", ""),
        ("His report needs to show that he has 80. What is his grade?", ""),
        ('One read, "Where is Waldo?" and cost $3. What do two cost?', ""),
        ("What is the missing number in 2, 5, 10, 17, ?, 37?", ""),
        ("Which of the following has the least value? $A=1, B=2, C=3.$", ""),
        ("Which of the following is farthest: $(1,4)$, $(3,5)$?", ""),
        ("Color $S$ so that (i) $x, y$ are alike and (ii) $x+y$ is even. In how many ways?", ""),
        ("Find all solutions, and prove that there are no more.", PROOF),
        ("If f(a) = 3 and f(b) = 4, what is f(a) + f(b)?", ""),
        ("Show that the sum is even.", PROOF),
        ("Prove or disprove: every prime is odd.", PROOF),
        ("Verify that $x = 2$ solves it.", PROOF),
        ("Which of the following numbers is prime?", NO_OPTIONS),
        ("Choose the correct answer.", NO_OPTIONS),
        (r"Which of the following is prime? $\textbf{(A)}\ 4 \textbf{(B)}\ 7$", ""),
        ("Which of the following is prime?\nA) 4\nB) 7", ""),
        ("How old is Ann? How old is Ben?", SEVERAL),
        ("a) Find x. b) Find y.", SEVERAL),
        ("Part A: find x. Part B: find y.", SEVERAL),
        ("i) Find x.\nii) Find y.", SEVERAL),
        ("i. find x ii. find y", SEVERAL),
        ("1. Find x.\n2. Find y.", SEVERAL),
        ("What is x and what is y?", SEVERAL),
        ("She knows what it costs and how it works. What is the price of two?", ""),
        ("Prove: the sum is even.", PROOF),
        ("Give a short proof of it.", PROOF),
        ("Solve $2x + 3 = 7$ and verify that the solution satisfies the equation.", ""),
        ("Which of these numbers, 3, 4 or 9, is even?", ""),
    ],
)
def test_what_makes_a_question_unfit(question: str, why: str) -> None:
    assert unfit(question) == why


@given(st.text(max_size=400), st.none() | st.text(max_size=60))
def test_no_text_raises(question: str, answer: str | None) -> None:
    assert problem_type(question, answer) in TYPES
    assert unfit(question) in ("", PROOF, NO_OPTIONS, SEVERAL)


@pytest.mark.parametrize("text", ["A. ", "a) x ", "(A ", "which of ", "i) x ", "Part A ", "prove "])
def test_a_text_without_end_is_read_to_a_limit(text: str) -> None:
    assert unfit(text * 100_000) in ("", NO_OPTIONS, PROOF, SEVERAL)
