"""A judge's verdict: from the last line alone, or a forced choice with its probability."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judge_questions import check_parsable
from scalequest.domains.base import open_domain
from scalequest.errors import ScaleQuestError
from scalequest.tasks.judging import Judge, ask_solvable, parse_verdict, solvability_prompts

PROMPTS = open_domain("math").prompts


def judge(reasoning: int) -> Judge:
    return Judge(verdict="choice", reasoning_tokens=reasoning)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("Yes", "yes"),
        ("no", "no"),
        ("It is solvable.\nYes", "yes"),
        ("Step 1: yes it is.\nNo.", "no"),
        ("Verdict: Yes", "yes"),
        ("**No**", "no"),
        ("Final answer: \\boxed{Yes}", "yes"),
        ("Is it solvable? Yes.\n\n", "yes"),
        ("Yes, it can be solved.", "yes"),
        ("no, since the radius is missing", "no"),
        ("", "unparsed"),
        ("   \n \n", "unparsed"),
        ("By Bayes' rule", "unparsed"),
        ("The eyes have it", "unparsed"),
        ("Yes and no", "unparsed"),
        ("Yes or No", "unparsed"),
        ("There are yes votes among them", "unparsed"),
        ("Yes\nI am not sure about it", "unparsed"),
        ("I know", "unparsed"),
        ("nope", "unparsed"),
        ("是的", "unparsed"),
        ("{}" * 100_000, "unparsed"),
        ("<b>Yes</b>", "unparsed"),
        ("It can be solved.\n\\[\n\\boxed{Yes}\n\\]", "yes"),
        ("```\nNo\n```", "no"),
        ("\\begin{align*}\n\\boxed{\\text{No}}\n\\end{align*}", "no"),
        ("$\\boxed{Yes}$. I hope it is correct.", "yes"),
        ("$\\boxed{\\textbf{No}.}$\nI hope it is correct.", "no"),
        ("First \\boxed{Yes}, but then \\boxed{No}", "no"),
        ("Yes, no information is missing.", "yes"),
        ("**No**, and yes, I checked", "no"),
        ("No information is missing.", "unparsed"),
        ("No information is missing.\nYes", "yes"),
        ("Yes, the answer is no", "unparsed"),
        ("The answer is Yes. I hope it is correct.", "yes"),
        ("Verdict: **No** (the radius is missing)", "no"),
        ("\\boxed{42}", "unparsed"),
        ("\\boxed{Bayes}", "unparsed"),
        ("\\boxed{no solution}", "unparsed"),
        ("---\n\\]\n$$", "unparsed"),
        ("\\boxed{Yes}\none\ntwo\nthree\nfour", "unparsed"),
        ("\\boxed{" * 10_000, "unparsed"),
        ("\\begin{a}" * 10_000, "unparsed"),
    ],
)
def test_verdicts(text, verdict):
    assert parse_verdict(text) == verdict


@given(st.text())
def test_any_text_has_a_verdict(text):
    assert parse_verdict(text) in {"yes", "no", "unparsed"}


@given(st.text(alphabet="abc yesno\n"), st.sampled_from(["Yes", "No"]))
def test_what_comes_before_the_last_line_does_not_matter(before, word):
    assert parse_verdict(f"{before}\n{word}") == word.lower()


def test_a_judge_without_reasoning_is_shown_as_many_of_each_verdict():
    messages = ask_solvable("What is {question}?", judge(0), PROMPTS)
    verdicts = [m["content"] for m in messages if m["role"] == "assistant"]
    assert sorted(verdicts) == ["No"] * 4 + ["Yes"] * 4
    assert [m["role"] for m in messages] == ["user", "assistant"] * 8 + ["user"]
    # The question stays as it is, and is put in the words that the examples were.
    assert messages[-1]["content"].startswith("What is {question}?\n")
    assert messages[-1]["content"].endswith(messages[0]["content"].splitlines()[-1])


def test_a_judge_that_reasons_is_asked_once():
    assert [m["role"] for m in ask_solvable("What is 1 + 1?", judge(100), PROMPTS)] == ["user"]


@pytest.mark.parametrize("reasoning", [0, 100])
def test_the_prompts_that_are_part_of_the_key_exist(reasoning):
    assert all(PROMPTS.texts(solvability_prompts(judge(reasoning))).values())


@pytest.mark.parametrize(
    ("unparsed", "rows", "most", "stops"), [(4, 40, 0.05, False), (5, 40, 0.05, True), (5, 100, 0.05, False)]
)
def test_too_many_unreadable_verdicts_stop_the_stage(unparsed, rows, most, stops):
    made = [{"verdict": "unparsed" if i < unparsed else "no", "reasoning": f"I wonder ({i})"} for i in range(rows)]
    if stops:
        with pytest.raises(
            ScaleQuestError, match=rf"{unparsed} of {rows} verdicts .*'I wonder \(0\)', 'I wonder \(1\)'"
        ):
            check_parsable(made, "judge", most)
    else:
        check_parsable(made, "judge", most)
