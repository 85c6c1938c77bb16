"""The prompt files ask for what the method asks for, and are filled without reading anything into a row's text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalequest.domains.base import open_domain
from scalequest.errors import ScaleQuestError
from scalequest.llm import prompts
from scalequest.tasks import rewriting

PROMPTS = open_domain("math").prompts
PLACES = {
    "rewrite_solvability": ["question"],
    "rewrite_difficulty": ["question"],
    "judge_solvability": ["question"],
    "judge_verdict": [],
    "respond": ["question"],
    "verify": ["question", "response"],
}
# What question preference optimisation asks of each rewrite, as words that only a prompt that asks for it has.
SOLVABILITY = {
    "solve first": r"try to solve the question first",
    "check by the solution": r"use your solution to check",
    "fix or replace": r"fix whatever is not meaningful, or replace",
    "one thing asked": r"exactly one thing",
    "one numeric answer": r"exactly one numeric answer",
    "common sense": r"common sense",
    "positive money": r"prices are positive",
    "whole people": r"people and objects come in whole numbers",
    "self-contained": r"self-contained",
    "no solution inside": r"contain no solution",
}
DIFFICULTY = {
    "list ways": r"list several ways to make the question harder",
    "correct errors": r"correct any errors",
    "plan": r"make a plan",
    "10 to 20 words": r"add only 10 to 20 words",
    "review": r"review the rewritten question",
    "final problem": r"give the final question",
    "no hints": r"no hints",
}


@pytest.mark.parametrize(("name", "places"), PLACES.items())
def test_each_prompt_has_its_places(name: str, places: list[str]) -> None:
    filled = prompts.fill(PROMPTS.load(name), **{place: f"<<{place}>>" for place in places})
    assert [filled.count(f"<<{place}>>") for place in places] == [1] * len(places)


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        *[pytest.param("solvability", p, id=f"solvability: {what}") for what, p in SOLVABILITY.items()],
        *[pytest.param("difficulty", p, id=f"difficulty: {what}") for what, p in DIFFICULTY.items()],
    ],
)
def test_rewrite_prompts_ask_for_what_the_method_lists(name: str, pattern: str) -> None:
    assert re.search(pattern, rewriting.request("2 + 2?", name, PROMPTS), re.IGNORECASE)


def test_rewrite_prompts_are_not_swapped() -> None:
    solvable, harder = PROMPTS.load("rewrite_solvability").lower(), PROMPTS.load("rewrite_difficulty").lower()
    assert "harder" in harder and "harder" not in solvable
    assert "numeric answer" in solvable and "numeric answer" not in harder
    assert not any(re.search(pattern, harder, re.I) for pattern in SOLVABILITY.values())
    assert not any(re.search(pattern, solvable, re.I) for pattern in DIFFICULTY.values())


@pytest.mark.parametrize("which", rewriting.FIELDS)
def test_rewrite_prompts_name_the_fields_in_order(which: str) -> None:
    labels = re.findall(r"^([a-z_]+): ", PROMPTS.load(f"rewrite_{which}"), re.MULTILINE)
    assert tuple(labels) == rewriting.FIELDS[which]
    assert labels[-1] == "final_question"


def test_judge_asks_both_questions_and_for_one_last_word() -> None:
    text = PROMPTS.load("judge_solvability")
    assert "(a) Is it a mathematics problem" in text and "(b) Can it be solved from what it gives" in text
    assert "step by step" in text
    assert "last line that is a single word: Yes" in text.splitlines()[-1] and "No" in text.splitlines()[-1]
    for name in ("judge_verdict", "verify"):
        assert PROMPTS.load(name).endswith("Answer with one word, Yes or No.")


def test_respond_asks_for_steps_and_a_box() -> None:
    text = prompts.fill(PROMPTS.load("respond"), question="Find $\\frac{1}{2} + \\frac{1}{3}$.")
    assert "Find $\\frac{1}{2} + \\frac{1}{3}$." in text
    assert "step by step" in text and "\\boxed{}" in text


def test_a_question_that_names_a_place_is_not_expanded() -> None:
    filled = prompts.fill("Q: {question}\nR: {response}", question="what is {response}?", response="{question}")
    assert filled == "Q: what is {response}?\nR: {question}"


@pytest.mark.parametrize(
    ("template", "fields"),
    [("{question}", {}), ("{question}", {"question": "a", "response": "b"}), ("none", {"question": "a"})],
)
def test_missing_and_unknown_fields_are_errors(template: str, fields: dict[str, str]) -> None:
    with pytest.raises(ScaleQuestError, match="places"):
        prompts.fill(template, **fields)


def test_missing_prompt_is_named() -> None:
    with pytest.raises(ScaleQuestError, match=r"no_such\.txt does not exist"):
        PROMPTS.load("no_such")


@given(st.text(), st.text())
def test_any_text_arrives_as_it_is(question: str, response: str) -> None:
    assert prompts.fill("a {question} b {response} c", question=question, response=response) == (
        f"a {question} b {response} c"
    )
