"""The number and its threshold in a reason: readable, and never on the wrong side of each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalequest.filters.reasons import at_least, below

SHARES = st.floats(0, 1)


@pytest.mark.parametrize(
    ("score", "limit", "text"),
    [
        (0.21, 0.25, "0.21, below 0.25"),
        (0.0, 0.4, "0.00, below 0.4"),
        (0.2499, 0.25, "0.2499, below 0.25"),
        (-3.5, 1.0, "-3.50, below 1"),
        (0.24999999999, 0.25, "0.24999999999, below 0.25"),
    ],
)
def test_the_score_stands_beside_the_threshold(score: float, limit: float, text: str) -> None:
    assert below(score, limit) == text


def test_what_is_at_the_threshold_reaches_it() -> None:
    assert at_least(0.7, 0.7) == "0.70, at least 0.7"
    assert at_least(1.0, 0.5) == "1.00, at least 0.5"


@given(SHARES, SHARES)
def test_the_numbers_shown_compare_as_those_meant(score: float, limit: float) -> None:
    say, word = (below, "below") if score < limit else (at_least, "at least")
    shown, bound = map(float, say(score, limit).split(f", {word} "))
    assert (shown < bound) == (score < limit)
