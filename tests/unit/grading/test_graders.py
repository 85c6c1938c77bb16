"""The two graders: hard pairs with their right verdicts, where the two differ, and text that means harm."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalequest.grading import paper as paper_answers
from scalequest.grading.graders import GRADERS, Grade, Item, grade_all, pool_of
from scalequest.grading.pool import Pool

TESTS = Path(__file__).parent
NUMERICAL = {"answer_type": "Numerical"}


def lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (TESTS / name).read_text(encoding="utf-8").splitlines()]


def boxed(answer: str) -> str:
    return rf"Putting all together, we find that the result is $\boxed{{{answer}}}$."


# One pool for each grader, as starting one takes seconds.
POOLS: dict[str, Pool] = {}


@pytest.fixture(scope="module", autouse=True)
def pools() -> Iterator[None]:
    with ExitStack() as stack:
        POOLS.update({name: stack.enter_context(pool_of(rules)) for name, rules in GRADERS.items()})
        yield


def graded(grader: str, *items: Item, limit: float = 10.0) -> list[Grade]:
    return grade_all(GRADERS[grader], items, POOLS[grader], time_limit=limit)


def right(grader: str, gold: str, answer: str, **facts: str) -> bool:
    return graded(grader, Item(gold, boxed(answer), facts))[0].right


# ---------------------------------------------------------------- hard pairs
PAIRS = lines("hard_pairs.jsonl")


def test_the_hard_pairs_are_many_of_every_kind_and_of_both_verdicts() -> None:
    assert len(PAIRS) >= 300
    assert sum(not row["equal"] for row in PAIRS) >= len(PAIRS) / 2
    assert len({(row["gold"], row["prediction"]) for row in PAIRS}) == len(PAIRS)
    for kind in {row["kind"] for row in PAIRS}:
        own = [row["equal"] for row in PAIRS if row["kind"] == kind]
        assert len(own) >= 12 and 4 <= sum(own) <= len(own) - 4, kind
    assert all(row["why"] for row in PAIRS)


def test_equivalence_is_right_on_every_hard_pair() -> None:
    with pool_of(GRADERS["equivalence"]) as pool:
        found = pool.equal_pairs([(row["gold"], row["prediction"]) for row in PAIRS], 10)
    wrong = [(row, verdict) for row, verdict in zip(PAIRS, found, strict=True) if verdict.equal != row["equal"]]
    assert wrong == []


def test_a_boxed_hard_pair_gets_the_same_verdict() -> None:
    found = graded("equivalence", *(Item(row["gold"], boxed(row["prediction"]), {}) for row in PAIRS))
    wrong = [(row, grade) for row, grade in zip(PAIRS, found, strict=True) if grade.right != row["equal"]]
    assert wrong == []


# ---------------------------------------------------------------- where the graders differ
def test_neither_grader_is_the_other_in_disguise() -> None:
    rows = lines("grader_differences.jsonl")
    assert len(rows) >= 20
    assert {row["equivalence"] for row in rows} == {True, False}
    items = [Item(row["gold"], row["response"], row["facts"]) for row in rows]
    for grader in GRADERS:
        found = [grade.right for grade in graded(grader, *items)]
        assert found == [row[grader] for row in rows], grader
    assert all(row["equivalence"] != row["paper"] and row["why"] for row in rows)


@pytest.mark.parametrize(
    ("one", "other"), [(r"\text{east}", r"\text{seat}"), ("no", "on"), ("north, east", "north, seat")]
)
def test_to_the_papers_grader_two_words_of_the_same_letters_are_two(one: str, other: str) -> None:
    assert right("paper", one, one)
    assert not right("paper", one, other)


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (r"\boxed{3} or rather \boxed{4}.", "4"),
        (r"A box \boxed{3}. Therefore the answer is 5.", "5"),
        ("Half of it.\n#### 12", "12"),
        ("Half of it.\n#### 1,200", "1200"),
        (r"Half of it.\n#### \frac{1}{2}", "2"),
        ("# Answer\n\n7", "7"),
        ("The answer is $x^2$.", "x^2"),
        ("So the answer is 42. And that is all of 43.", "42. And that is all of 43"),
        ("Clearly, 42 is our answer, not 43.", "42"),
        (r"The answer is 3, that is \boxed 4", r"3, that is \boxed 4"),
        ("We get $a=1$ and then $b=2$ at last.", "2"),
        ("There are 3 cats and 1,024 dogs.", "1024"),
        ("There are -3.5 of them.", "-3.5"),
        (r"It ends in \boxed{12", "12"),
        ("Nothing at all.", None),
        ("", None),
    ],
)
def test_the_papers_grader_looks_in_this_order(response: str, answer: str | None) -> None:
    assert paper_answers.extract(response) == answer


def test_olympiadbench_has_its_tolerance_units_and_several_answers() -> None:
    assert right("paper", "2.5", "2.59", **NUMERICAL, error="1e-1")
    assert not right("paper", "2.5", "2.62", **NUMERICAL, error="1e-1")
    assert not right("paper", "2.5", "2.59", **NUMERICAL)
    assert right("paper", "0.123456789", "0.1234567891", **NUMERICAL)
    several = {"answer_type": "Numerical", "unit": "^{\\circ}"}
    assert right("paper", "30^{\\circ},60", "60,30^{\\circ}", **several)
    assert not right("paper", "30,60", "30", **several)
    assert not right("paper", "30,60", "30,30", **several)
    assert right("paper", "(1,8,19), (2,7,13)", "(2,7,13), (1,8,19)", answer_type="Tuple")
    assert not right("paper", "(1,8,19), (2,7,13)", "(1,8,13), (2,7,19)", answer_type="Tuple")
    assert right("paper", "x+y=1", "2x+2y=2", answer_type="Expression")
    assert not right("paper", "2x+2y=2", "3x+3y=3", answer_type="Expression")
    assert not right("paper", "(0,1)", "[0,1]", answer_type="Interval")


@pytest.mark.parametrize(
    ("gold", "said"), [("0.005", "5E-3"), (r"6.67\times10^{-11}", "6.67E-11"), (r"\sqrt{3}\ln 2", r"\ln 2\sqrt{3}")]
)
def test_values_tell_nothing_apart_that_algebra_finds_equal(gold: str, said: str) -> None:
    assert right("paper", gold, said)


@pytest.mark.parametrize(
    ("gold", "said", "error", "verdict"),
    [
        # Numbers as they stand may be percentages, nothing else.
        ("$1$", "100", "", True),
        ("$100$", "1", "", True),
        (r"$\frac{2}{5}$", "40", "", False),
        ("40", r"\frac{2}{5}", "", False),
        ("$k=1$", "100", "", False),
        ("$k=1$", "k = 1", "", True),
        (r"$8 \%$", "800", "", False),
        (r"$4^{\circ}$", "400", "", False),
        ("4.2", "4.29", "0.1", True),
        ("4.2", r"\frac{1}{25}", "0.1", False),
        # As many answers, and letters are not words.
        ("$f(n)=n$, $g(n)=1$", "1", "", False),
        ("$f(n)=n$, $g(n)=1$", "g(n)=1, f(n)=n", "", True),
        (r"$\frac{n}{2}$", r"\frac{N}{2}", "", False),
        (r"$\binom{n}{2}$", r"\binom{N}{2}", "", False),
        # Words are not products of letters.
        ("$7$", "Seven", "", True),
        ("$Yes$", "yes", "", True),
        (r"$\sqrt{2} \sin x$", r"\sin x\sqrt{2}", "", True),
    ],
)
def test_olympiadbench_judges_as_its_framework_does(gold: str, said: str, error: str, verdict: bool) -> None:
    facts = {"answer_type": "Numerical", **({"error": error} if error else {})}
    assert right("paper", gold, said, **facts) is verdict


@pytest.mark.parametrize(
    ("gold", "answer", "verdict"),
    [
        ("(0,1)", "[0,1]", True),
        ("[0,1)", "[0,1]", False),
        ("1,2", r"1 \text{ and } 2", True),
        ("(1,2)", "(2,1)", False),
        ("100", "1", False),
        ("0.5", "50", True),
        ("5", r"5 \text{ cm}", True),
        ("5", r"5 \text{ apples}", False),
        ("25", r"a = 5 \cdot 5 = 25", True),
        (r"\theta = 40^\circ", "40", True),
        ("3:2", r"\frac{3}{2}", True),
        ("7", "seven", True),
        ("No solution", "no solution.", True),
        # Alternatives first, then names.
        ("x=1 or x=2", "x=7 or x=2", False),
        ("x=1 or x=2", "x=2", False),
        (r"x=1\text{ or }x=2", "x=2 or x=1", True),
        # Without an "or" what follows the last equals sign is the answer, as in the framework.
        ("x=1, x=2", "2", True),
        # The space of a mixed number.
        ("12", "1 2", False),
        ("11/2", "1 1/2", False),
        ("12 000", "12000", True),
        ("12", r"\mathbf{1 2}", True),
        (r"-\frac{15}{4}", r"-\frac{\mathbf{1 5}}{\mathbf{4}}", True),
        ("2 x + 1", "2x+1", True),
        # Plus and minus outside OlympiadBench too.
        (r"\frac{1\pm\sqrt{5}}{2}", r"\frac{1+\sqrt{5}}{2}, \frac{1-\sqrt{5}}{2}", True),
        (r"\frac{1\pm\sqrt{5}}{2}", r"\frac{1}{2}\pm\frac{\sqrt{5}}{2}", True),
        (r"\frac{1\pm\sqrt{5}}{2}", r"\frac{1+\sqrt{5}}{2}", False),
        (r"-1 \pm 2i", "-1 + 2i, -1 - 2i", True),
        (r"y=2 \pm x", "2 + x, 2 - x", True),
        (r"3 i\sqrt{5}", r"3\sqrt{5} i", True),
        (r"\frac{1}{2+i}", r"\frac{2-i}{5}", True),
        (r"\log (0.01)=-2", "-2", True),
        (r"$\cos (-2.01) \approx-0.425$", "-0.425", True),
        (r"\begin{pmatrix} 1 & 2 \\ 3 & 1/2 \end{pmatrix}", r"\begin{bmatrix}1&2\\3&\frac12\end{bmatrix}", True),
    ],
)
def test_the_papers_grader_compares_like_this(gold: str, answer: str, verdict: bool) -> None:
    assert right("paper", gold, answer) == verdict


def test_to_the_papers_grader_a_response_that_was_cut_has_no_answer() -> None:
    item = Item("12", boxed("12"), {}, cut=True)
    assert [(graded(name, item)[0].right, graded(name, item)[0].how) for name in ("equivalence", "paper")] == [
        (True, "string"),
        (False, "none"),
    ]


def test_a_response_that_breaks_the_search_for_its_answer_is_an_error_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rules = replace(GRADERS["equivalence"], extract=lambda text: str(5 // len(text)))
    monkeypatch.setitem(GRADERS, "equivalence", rules)
    found = graded("equivalence", Item("5", "x", {}), Item("5", "", {}))
    assert found == [Grade(True, "5", "string"), Grade(False, None, "error")]


# ---------------------------------------------------------------- hostile text
HOSTILE = {
    "nothing": "",
    "long": boxed("9" * 100_000),
    "long words": boxed("word " * 20_000),
    "tower": boxed("10^{10^{10}}"),
    "factorials": boxed("9!!!!!!!!"),
    "deep": boxed("{" * 10_000 + "1" + "}" * 10_000),
    "unclosed": r"\boxed{" * 10_000,
    "roots": boxed(r"\sqrt{" * 3_000 + "2" + "}" * 3_000),
    "python": boxed("__import__('pathlib').Path('ran').touch()"),
    "plain python": "The answer is __import__('pathlib').Path('ran').touch()",
    "formula python": "$__import__('pathlib').Path('ran').touch()$",
    "lambda": boxed("(lambda: open('ran','w'))()"),
    "shell": "The answer is $(touch ran) `touch ran`",
    "marks": boxed("\u202e12\u200b\x00\u0660\u0661"),
    "half a character": boxed("\ud800"),
    "hashes": "#### " * 20_000,
    "therefores": "Therefore " * 20_000,
    "answers": "answer is " * 20_000,
    "dollars": "$" * 50_000,
    "formulas": r"\(" * 50_000,
    "displays": r"\[" * 50_000,
    "spaces": "the answer is" + " " * 100_000,
}


@pytest.mark.parametrize("grader", GRADERS)
def test_whatever_a_model_says_gets_a_grade_and_nothing_is_run(
    grader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    begun = time.monotonic()
    items = [Item(gold, text, {}) for text in HOSTILE.values() for gold in ("12", r"\sqrt{x}")]
    # Its own processes, so that they begin in this folder.
    with pool_of(GRADERS[grader]) as pool:
        found = grade_all(GRADERS[grader], items, pool, time_limit=2)
    assert len(found) == 2 * len(HOSTILE)
    assert not any(grade.right for grade in found)
    assert list(tmp_path.iterdir()) == []
    # Two seconds each at most, and far less for most.
    assert time.monotonic() - begun < 2 * 2 * len(HOSTILE)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=list(HOSTILE))
def test_extraction_takes_linear_time(text: str) -> None:
    for grader in GRADERS.values():
        begun = time.process_time()
        grader.extract(text)
        # Far above linear work on a slow machine, far below quadratic work on a fast one.
        assert time.process_time() - begun < 2, grader.name


@pytest.mark.parametrize("grader", GRADERS)
@given(text=st.text(max_size=200))
def test_extraction_never_raises(grader: str, text: str) -> None:
    answer = GRADERS[grader].extract(text)
    assert answer is None or answer


def test_a_hanging_pair_costs_its_limit_and_nothing_else() -> None:
    slow = Item("x", boxed(r"\sum_{k=1}^{99999999} \frac{1}{k^{99}}"), {})
    fine = [Item(r"\sqrt{8}", boxed(r"2\sqrt{2}"), {}), Item("a+b", boxed("b+a"), {})]
    for grader in GRADERS:
        begun = time.monotonic()
        found = graded(grader, fine[0], slow, fine[1], limit=3)
        assert [grade.right for grade in found] == [True, False, True], grader
        assert time.monotonic() - begun < 40


def test_equal_pairs_are_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fast(*pair: str) -> tuple[bool | None, str]:
        asked.append(pair)
        return True, "string"

    with Pool(fast=fast) as pool:
        assert len(pool.equal_pairs([("1", "2"), ("1", "2"), ("3", "4")], 1)) == 3
    assert asked == [("1", "2"), ("3", "4")]
