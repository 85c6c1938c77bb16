"""Benchmark items in questions: overlap, short items, spans, ties, and questions that only look alike."""

from __future__ import annotations

import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scalequest.filters.contamination import BenchmarkIndex, verdict
from scalequest.filters.duplicates import ngrams, tokens

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
    keep, reason, score, evidence = verdict(best, matches, 0.5)
    assert (keep, evidence, score) == (item is None, item, best)
    assert reason == (f"overlaps bench: {item} by {best:.2f}, at least 0.5" if item else "")


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


def brute_force(items: list[dict], question: str, size: int, min_overlap: float) -> tuple[float, list[tuple]]:
    """What `matches` is defined to return, item by item."""
    grams = ngrams(tokens(question), size)
    best, found = 0.0, []
    for position, item in enumerate(items):
        own = set(ngrams(tokens(item["question"]), size))
        overlap = len(own & set(grams)) / len(own) if own else 0.0
        best = max(best, overlap)
        if own & set(grams) and overlap >= min_overlap:
            runs = [
                (start, end)
                for start in range(len(grams))
                for end in range(start + 1, len(grams) + 1)
                if own.issuperset(grams[start:end])
            ]
            start, end = max(runs, key=lambda run: (run[1] - run[0], -run[0]))
            words = [gram.split(" ")[0] for gram in grams[start : end - 1]]
            found.append((overlap, position, item["id"], " ".join([*words, grams[end - 1]])))
    found.sort(key=lambda match: (-match[0], match[1]))
    return best, [(name, overlap, span) for overlap, _, name, span in found]


words = st.lists(st.sampled_from("abcd"), max_size=9).map(" ".join)


@given(st.lists(words, max_size=8), words, st.integers(1, 4), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_matches_are_those_of_the_definition(items: list[str], question: str, size: int, least: float) -> None:
    # Some items share a text, or differ in its case alone.
    bench = problems(*items, *(item.upper() for item in items[::2]), *items[:2])
    best, matches = BenchmarkIndex(bench, size).matches(question, least)
    found = best, [(match.item_id, match.overlap, match.span) for match in matches]
    assert found == brute_force(bench, question, size, least)


@pytest.mark.parametrize("item", [LONG, LONG + " Item {}."], ids=["one text", "one beginning"])
def test_the_time_is_linear_in_the_items_that_share_a_text(item: str) -> None:
    seconds = []
    for count in (250, 4000):
        index = BenchmarkIndex(problems(*(item.format(n) for n in range(count))), 13)
        times = []
        for _ in range(3):
            begun = time.process_time()
            assert len(index.matches(LONG, 0.5)[1]) == count
            times.append(time.process_time() - begun)
        seconds.append(min(times))
    # 16 times the items; the square would be 256.
    assert seconds[1] < 64 * seconds[0]


def test_an_index_without_items_matches_nothing() -> None:
    assert BenchmarkIndex([], 13).matches(LONG, 0.0) == (0.0, [])


@given(st.text(max_size=80), st.text(max_size=40), st.text(max_size=40))
def test_a_question_that_holds_an_item_covers_it(item: str, before: str, after: str) -> None:
    assume(len(tokens(item)) >= 3)
    best, matches = BenchmarkIndex(problems(item), 3).matches(f"{before} {item} {after}", 1.0)
    assert best == 1.0
    assert len(matches) == 1
    assert set(ngrams(tokens(matches[0].span), 3)) <= set(ngrams(tokens(item), 3))
