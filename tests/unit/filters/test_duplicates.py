"""Duplicates: what counts as the same text, signatures that hold across processes, and the append-only verdicts."""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalequest.config.defaults import fill_defaults
from scalequest.errors import ScaleQuestError
from scalequest.filters import duplicates
from scalequest.filters.duplicates import (
    Comparing,
    Duplicate,
    Signed,
    Signing,
    band_groups,
    find_duplicates,
    jaccard,
    ngrams,
    normalise,
    signatures,
    text_digest,
    tokens,
)
from scalequest.settings import read_settings

# Bands of two values: pairs of the threshold's similarity are certain to meet.
SIGNING = Signing(shingle=3, permutations=128)
COMPARING = Comparing(shingle=3, bands=64, threshold=0.7)
WORDS = [f"w{number}" for number in range(40)]


def shingles(text: str) -> frozenset[str]:
    return frozenset(ngrams(tokens(text), 3))


def signed(texts: list[str]) -> Signed:
    return Signed([str(n) for n in range(len(texts))], list(map(text_digest, texts)), texts, signatures(texts, SIGNING))


def find(texts: list[str], settled: int = 0, settings: Comparing = COMPARING) -> list[Duplicate | None]:
    return find_duplicates(signed(texts), settled, settings)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What is 3.5 + x^2?", ["what", "is", "3", ".", "5", "+", "x", "^", "2", "?"]),
        (r"\frac{1}{2}", ["\\", "frac", "{", "1", "}", "{", "2", "}"]),
        ("“Tom\u2019s” — 5\u22123", ['"', "tom", "'", "s", '"', "-", "5", "-", "3"]),
        ("cafe\u0301", ["café"]),
        ("x² and x2", ["x²", "and", "x2"]),
        (" \n ", []),
    ],
)
def test_tokens(text: str, expected: list[str]) -> None:
    assert tokens(text) == expected


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("What is 2 + 2?", "what is 2+2 ?", True),
        ("What is 2 + 2?", "What is 2 + 3?", False),
        ("What is 2 + 2?", "What is 2 - 2?", False),
        ("Solve x < 3", "Solve x > 3", False),
        ("Find x_1", "Find x_2", False),
    ],
)
def test_numbers_and_symbols_tell_texts_apart(one: str, other: str, same: bool) -> None:
    assert (text_digest(one) == text_digest(other)) == same
    assert (find([one, other])[1] is not None) == same


@given(st.frozensets(st.sampled_from(WORDS)), st.frozensets(st.sampled_from(WORDS)))
def test_jaccard(one: frozenset[str], other: frozenset[str]) -> None:
    assert jaccard(one, other) == jaccard(other, one)
    assert 0 <= jaccard(one, other) <= 1
    assert (jaccard(one, other) == 1) == (one == other)
    assert jaccard(one, one) == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [([], []), (["a"], ["a"]), (["a", "b", "c"], ["a b c"]), (["a", "b", "c", "d"], ["a b c", "b c d"])],
)
def test_ngrams(words: list[str], expected: list[str]) -> None:
    assert ngrams(words, 3) == expected


def test_signatures_are_the_same_in_any_process_and_beside_any_text() -> None:
    texts = ["What is the sum of 3 and 5?", "", "求 x 的值", "one"]
    program = (
        "from scalequest.filters.duplicates import Signing, signatures\n"
        f"print(signatures({texts!r}, Signing(3, 16)).tolist())"
    )
    printed = subprocess.run(  # noqa: S603 - our own interpreter on the text above
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    here = signatures(texts, Signing(3, 16))
    assert printed.strip() == str(here.tolist())
    assert (signatures(texts[2:3], Signing(3, 16)) == here[2:3]).all()
    # Stored signatures were made so; another value here asks for a new SIGNATURE_VERSION.
    assert here[0, :3].tolist() == [2135124097, 326295563, 2169907675]


def test_signatures_estimate_the_similarity() -> None:
    one, other = " ".join(WORDS[:30]), " ".join(WORDS[5:35])
    matrix = signatures([one, other], Signing(3, 512))
    assert abs((matrix[0] == matrix[1]).mean() - jaccard(shingles(one), shingles(other))) < 0.1


def test_another_algorithm_of_rensa_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "RENSA_ALGORITHM", 1)
    with pytest.raises(ScaleQuestError, match="install the release"):
        signatures(["text"], SIGNING)


def test_the_default_finds_what_is_just_above_the_threshold() -> None:
    settings = read_settings(Comparing, fill_defaults({})["filters"]["duplicates"])
    draw = random.Random(0)  # noqa: S311 - a sample, not a secret
    words = [f"w{number}" for number in range(5000)]
    texts: list[str] = []
    while len(texts) < 400:
        one = draw.choices(words, k=60)
        other = list(one)
        for place in draw.sample(range(60), 3):
            other[place] = draw.choice(words)
        pair = [" ".join(one), " ".join(other)]
        if settings.threshold <= jaccard(*map(shingles, pair)) < settings.threshold + 0.05:
            texts += pair
    found = find(texts, settings=settings)
    assert found[::2] == [None] * 200
    assert sum(hit is not None for hit in found[1::2]) >= 199


def test_bands_must_divide_permutations() -> None:
    with pytest.raises(ScaleQuestError, match="100 bands do not divide 128"):
        find(["a", "b"], settings=replace(COMPARING, bands=100))


def test_band_groups() -> None:
    matrix = np.array([[1, 2, 3, 4], [1, 2, 9, 9], [7, 7, 3, 4], [5, 6, 7, 8]], dtype=np.uint32)
    groups = band_groups(matrix, 2)
    assert groups[0, 0] == groups[1, 0] != groups[0, 1] == groups[2, 1]
    assert groups[[2, 3, 1, 3], [0, 0, 1, 1]].tolist() == [-1] * 4


def test_a_dropped_row_takes_no_other_with_it() -> None:
    first, second, third = (" ".join(WORDS[start : start + 20]) for start in (0, 3, 6))
    assert jaccard(shingles(second), shingles(third)) >= 0.7 > jaccard(shingles(first), shingles(third))
    found = find([first, second, third])
    assert found == [None, Duplicate("near-duplicate", 0, jaccard(shingles(first), shingles(second))), None]
    assert find([second, third])[1] is not None


def test_the_reason_and_the_most_similar_row_are_given() -> None:
    base = " ".join(WORDS[:30])
    texts = [base, " ".join(WORDS[8:38]), base.upper(), " ".join(WORDS[7:37]), "", " "]
    found = find(texts)
    assert found[:2] == [None, None]
    assert found[2] == Duplicate("exact duplicate", 0, 1.0)
    assert found[3] is not None and (found[3].reason, found[3].kept) == ("near-duplicate", 1)
    assert found[4:] == [None, Duplicate("exact duplicate", 4, 1.0)]


def test_similarity_just_under_the_threshold_is_kept() -> None:
    one, other = " ".join(WORDS[:20]), " ".join(WORDS[3:23])
    similarity = jaccard(shingles(one), shingles(other))
    assert find([one, other], settings=replace(COMPARING, threshold=similarity))[1] is not None
    assert find([one, other], settings=replace(COMPARING, threshold=similarity + 1e-9))[1] is None


# Texts over few words, many of them edits of another: most have a near duplicate among the rest.
TEXTS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 8), st.integers(14, 20)).map(
        lambda shape: " ".join(WORDS[shape[0] * 10 + shape[1] :][: shape[2]])
    ),
    max_size=30,
)


@given(TEXTS)
def test_every_dropped_row_repeats_an_earlier_kept_one(texts: list[str]) -> None:
    found = find(texts)
    for position, hit in enumerate(found):
        if hit:
            assert hit.kept < position
            assert found[hit.kept] is None
            similarity = jaccard(shingles(texts[position]), shingles(texts[hit.kept]))
            assert similarity == hit.similarity >= 0.7
            assert (hit.reason == "exact duplicate") == (normalise(texts[position]) == normalise(texts[hit.kept]))


@given(TEXTS)
def test_no_kept_row_repeats_an_earlier_kept_one(texts: list[str]) -> None:
    kept = [text for text, hit in zip(texts, find(texts), strict=True) if hit is None]
    for position, text in enumerate(kept):
        assert all(jaccard(shingles(text), shingles(earlier)) < 0.7 for earlier in kept[:position])


@given(TEXTS, TEXTS)
def test_later_rows_change_no_earlier_verdict(first: list[str], second: list[str]) -> None:
    alone = find(first)
    together = find(first + second)
    assert together[: len(first)] == alone
    # A later seed sees only what the earlier one kept, and judges as if it had seen all of it.
    kept = [position for position, hit in enumerate(alone) if hit is None]
    apart = find([first[position] for position in kept] + second, settled=len(kept))
    positions = kept + list(range(len(first), len(first) + len(second)))
    renamed = [hit and Duplicate(hit.reason, positions[hit.kept], hit.similarity) for hit in apart]
    assert renamed == together[len(first) :]


def test_a_template_costs_no_square(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "MAX_BUCKET", 8)
    monkeypatch.setattr(duplicates, "MAX_COMPARISONS", 4)
    calls = 0

    def counted(one: frozenset[str], other: frozenset[str]) -> float:
        nonlocal calls
        calls += 1
        return jaccard(one, other)

    monkeypatch.setattr(duplicates, "jaccard", counted)
    template = " ".join(WORDS[:17])
    texts = [f"{template} a{number} b{number} c{number}" for number in range(400)]
    assert find(texts, settings=replace(COMPARING, threshold=0.75)) == [None] * 400
    assert 400 < calls <= 4 * 400


def test_a_crowd_of_near_equal_rows_falls_to_one() -> None:
    template = " ".join(WORDS)
    found = find([f"{template} {number}" for number in range(2000)])
    assert found[0] is None
    assert all(hit is not None and hit.kept == 0 for hit in found[1:])
