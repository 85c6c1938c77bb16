"""Benchmark items in questions: overlap, short items, spans, ties, and questions that only look alike."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scalequest.contamination import BenchmarkIndex, verdict
from scalequest.duplicates import ngrams, tokens

LONG = "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May."
SHORT = "Evaluate $2^{10}$."


def problems(*questions: str, source: str = "bench") -> list[dict]:
    return [{"source": source, "id": f"{source}/{n}", "question": question} for n, question in enumerate(questions)]


INDEX = BenchmarkIndex(problems(LONG, SHORT, ""), 13)


@pytest.mark.parametrize(
    ("question", "item"),
    [
        (LONG, "bench/0"),
        (LONG.upper().replace(" ", "\n "), "bench/0"),
        (f"A riddle: {LONG} How many clips is that?", "bench/0"),
        (LONG.replace("48", "49"), "bench/0"),
        (LONG.replace("then she sold half", "last week bought 48"), None),
        (LONG.replace("in May", "in June"), "bench/0"),
        ("evaluate  $2^{10}$ .", "bench/1"),
        ("Evaluate $2^{11}$.", None),
        (f"{SHORT} Then add one to the result and give the answer in words please.", None),
        (" ".join(LONG.split()[:13]), None),
        ("", None),
        ("How many clips did she sell?", None),
    ],
)
def test_matches(question: str, item: str | None) -> None:
    best, matches = INDEX.matches(question, 0.5)
    assert [match.item_id for match in matches] == ([item] if item else [])
    keep, reason, score, evidence = verdict(best, matches)
    assert (keep, evidence, score) == (item is None, item, best)
    assert reason == ("overlaps bench" if item else "")


def test_the_overlap_is_the_share_of_the_items_ngrams() -> None:
    words = tokens(LONG)
    half = " ".join(words[:17])
    best, matches = INDEX.matches(half, 0.0)
    assert best == (17 - 12) / (len(words) - 12) == matches[0].overlap
    assert INDEX.matches(half, best)[1] == matches
    assert INDEX.matches(half, best + 1e-9) == (best, [])


def test_the_longest_span_is_shown() -> None:
    words = tokens(LONG)
    question = " ".join([*words[:14], "but", *words[3:], "so"])
    (match,) = INDEX.matches(question, 0.5)[1]
    assert match.span == " ".join(words[3:])
    assert (match.benchmark, match.item) == ("bench", LONG)


def test_all_items_are_found_most_covered_first() -> None:
    longer = LONG + " How many clips did Natalia sell altogether in April and May?"
    index = BenchmarkIndex([*problems(longer, LONG), *problems(LONG, source="other")], 13)
    found = index.matches(LONG, 0.3)[1]
    assert [(match.item_id, match.overlap == 1.0) for match in found] == [
        ("bench/1", True),
        ("other/0", True),
        ("bench/0", False),
    ]


def test_an_index_without_items_matches_nothing() -> None:
    assert BenchmarkIndex([], 13).matches(LONG, 0.0) == (0.0, [])


@given(st.text(max_size=80), st.text(max_size=40), st.text(max_size=40))
def test_a_question_that_holds_an_item_covers_it(item: str, before: str, after: str) -> None:
    assume(len(tokens(item)) >= 3)
    best, matches = BenchmarkIndex(problems(item), 3).matches(f"{before} {item} {after}", 1.0)
    assert best == 1.0
    assert len(matches) == 1
    assert set(ngrams(tokens(matches[0].span), 3)) <= set(ngrams(tokens(item), 3))
