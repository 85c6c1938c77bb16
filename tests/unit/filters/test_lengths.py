"""The length filter: each reason, the limits themselves, and which reason goes first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scalequest.filters.length import Settings, verdict

SETTINGS = Settings(min_characters=5, max_characters=10, require_end=True)


@pytest.mark.parametrize(
    ("question", "finish_reason", "reason"),
    [
        ("12345", "stop", ""),
        ("1234567890", "stop", ""),
        ("1234", "stop", "too short: 4 characters, below 5"),
        ("12345678901", "stop", "too long: 11 characters, above 10"),
        ("  1234  ", "stop", "too short: 4 characters, below 5"),
        ("1234567", "length", "cut"),
        ("12345678901", "length", "cut"),
        ("", "stop", "empty"),
        (" \n\t", "length", "empty"),
        ("\u200b\u200b\u200b\u200b\u200b\u200b", "stop", "empty"),
        ("?!?!?!", "stop", "empty"),
        ("求x的值是多少", "stop", ""),
        ("x" * 1_000_000, "stop", "too long: 1000000 characters, above 10"),
    ],
)
def test_reasons(question: str, finish_reason: str, reason: str) -> None:
    expected = (not reason, reason, float(len(question.strip())))
    assert verdict({"question": question, "finish_reason": finish_reason}, SETTINGS) == expected


def test_a_cut_question_may_be_allowed() -> None:
    assert verdict({"question": "1234567", "finish_reason": "length"}, replace(SETTINGS, require_end=False)) == (
        True,
        "",
        7.0,
    )
