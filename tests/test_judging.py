"""A judge's verdict: from the last line alone, or a forced choice with its probability."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalequest.judging import parse_verdict


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
