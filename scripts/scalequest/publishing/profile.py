"""What a data set is like, in numbers: questions of each generator beside the seed problems and the benchmarks.

Numbers that depend on how many texts there are (n-grams, similarities) are of as many texts of each kind, chosen by
hash, so that they can be compared. Similarities are of MinHash signatures, those of the near-duplicate filter.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from scalequest.filters.duplicates import Signing, ngrams, signatures, tokens
from scalequest.grading.answer_types import TYPES, answer_type
from scalequest.hashing import drawn
from scalequest.rows.tables import CANDIDATES, FILTERED, PROBLEMS, VERDICTS, read_arrow

# Texts of a kind whose n-grams and similarities are computed.
SAMPLE = 1000
# A text is called near another one from here on: the default threshold of the near-duplicate filter.
NEAR = 0.7
_QUANTILES = (5, 25, 50, 75, 95)
_BLOCK = 64


@dataclass
class Kind:
    """Texts of one kind by id, with their final answers where these are known. `of_run`: a generator's questions."""

    name: str
    texts: dict[str, str] = field(default_factory=dict)
    answers: list[str | None] = field(default_factory=list)
    of_run: bool = False


def problems(name: str, path: Path) -> Kind:
    """The problems of a table as a kind."""
    table = read_arrow(path, PROBLEMS).select(["id", "question", "answer"])
    ids, questions, answers = (table[column].to_pylist() for column in table.column_names)
    return Kind(name, dict(zip(ids, questions, strict=True)), answers)


def questions(name: str, filtered: Sequence[Path], candidates: Sequence[Path]) -> tuple[Kind, dict[str, Any]]:
    """A generator's questions as a kind, with the answer of a selected response to each; and how far the answers to a
    question agree."""
    kind = Kind(name, of_run=True)
    for path in filtered:
        table = read_arrow(path, FILTERED).select(["id", "question"])
        kind.texts.update(zip(table["id"].to_pylist(), table["question"].to_pylist(), strict=True))
    shares: list[float] = []
    for path in candidates:
        table = read_arrow(path, CANDIDATES).select(["id", "answer", "votes", "selected"])
        selected = table.filter(table["selected"])
        # Of several selected responses the answers are equal.
        kind.answers += dict(zip(selected["id"].to_pylist(), selected["answer"].to_pylist(), strict=True)).values()
        grouped = table.group_by("id").aggregate([("votes", "max"), ([], "count_all"), ("answer", "count")])
        rows = (grouped[column].to_pylist() for column in ("votes_max", "count_all", "answer_count"))
        shares += [votes / count if found else 0.0 for votes, count, found in zip(*rows, strict=True)]
    return kind, {"questions": len(shares), "largest_group": _described(shares)}


def profile(kinds: Sequence[Kind], seeds: str, signing: Signing) -> dict[str, Any]:
    """The numbers of each kind. `seeds` names the kind with which the generators' questions are compared: a copy of a
    seed problem is near it."""
    size = min([SAMPLE, *(len(kind.texts) for kind in kinds if kind.texts)])
    samples = {kind.name: _sample(kind, size) for kind in kinds}
    signed = {name: signatures(texts, signing) for name, texts in samples.items()}
    against = next((kind for kind in kinds if kind.name == seeds), None)
    compared = signatures(against.texts.values(), signing) if against else None
    found = {}
    for kind in kinds:
        entry: dict[str, Any] = {
            "texts": len(kind.texts),
            "characters": _described([len(text) for text in kind.texts.values()]),
            "answer_types": _types(kind.answers),
            "of_texts": len(samples[kind.name]),
            "distinct_ngrams": _distinct(samples[kind.name]),
            "nearest_of_its_kind": _nearness(nearest(signed[kind.name], signed[kind.name], same=True)),
        }
        if kind.of_run and compared is not None:
            entry["nearest_seed_problem"] = _nearness(nearest(signed[kind.name], compared))
        found[kind.name] = entry
    return found


def duplicate_rates(verdicts: Sequence[Path], generators: Sequence[str]) -> dict[str, list[list[float]]]:
    """For each generator, [n, share of its first n questions that repeat an earlier one], at powers of two and the end;
    of the questions that the filters before that one left.

    `verdicts` are the tables of the near-duplicate filter, in the order of the seeds.
    """
    repeats: dict[str, list[bool]] = {name: [] for name in generators}
    for path in verdicts:
        table = read_arrow(path, VERDICTS)
        table = table.filter(pc.equal(table["filter"], "duplicates"))
        owners = pc.list_element(pc.split_pattern(table["id"], "/", max_splits=1), 0)
        for name in generators:
            keep = table.filter(pc.equal(owners, name))["keep"]
            repeats[name] += pc.invert(keep).to_pylist()
    return {name: list(_growing(found)) for name, found in repeats.items() if found}


def _growing(repeats: Sequence[bool]) -> Iterator[list[float]]:
    total = np.cumsum(repeats)
    steps = [2**power for power in range(4, 40) if 2**power < len(repeats)]
    for count in [*steps, len(repeats)]:
        yield [count, _rounded(total[count - 1] / count)]


def nearest(one: NDArray[np.uint32], other: NDArray[np.uint32], *, same: bool = False) -> NDArray[np.float64]:
    """For each signature (rows of `one`), the similarity of the most similar row of `other`, 0 to 1; with `same`, a row
    is not compared with itself. Empty where there is nothing to compare with."""
    if len(other) <= same:
        return np.zeros(0)
    found = np.zeros(len(one))
    for start in range(0, len(one), _BLOCK):
        block = one[start : start + _BLOCK]
        # Column by column, so that no array has a row for each pair and permutation.
        alike = np.zeros((len(block), len(other)), np.uint16)
        for column in range(one.shape[1]):
            alike += block[:, column, None] == other[None, :, column]
        if same:
            alike[np.arange(len(block)), np.arange(start, start + len(block))] = 0
        found[start : start + len(block)] = alike.max(axis=1) / one.shape[1]
    return found


def _sample(kind: Kind, size: int) -> list[str]:
    chosen = drawn(list(kind.texts), size, 0, "profile")
    return [text for name, text in kind.texts.items() if name in chosen]


def _distinct(texts: Sequence[str]) -> dict[str, float]:
    """Distinct n-grams of tokens as a share of all, for n = 1, 2, 3."""
    split = [tokens(text) for text in texts]
    found = {}
    for size in (1, 2, 3):
        counts = Counter(itertools.chain.from_iterable(ngrams(words, size) for words in split))
        total = sum(counts.values())
        found[str(size)] = _rounded(len(counts) / total) if total else 0.0
    return found


def _types(answers: Sequence[str | None]) -> dict[str, int]:
    counts = Counter(map(answer_type, answers))
    return {name: counts[name] for name in TYPES if counts[name]}


def _nearness(similarities: NDArray[np.float64]) -> dict[str, Any]:
    near = int((similarities >= NEAR).sum())
    return {**_described(similarities), "near": near, "near_from": NEAR}


def _described(numbers: Sequence[float] | NDArray[np.float64]) -> dict[str, float | None]:
    """Mean and quantiles (p5 to p95); null without numbers."""
    if not len(numbers):
        return {"mean": None, **{f"p{percent}": None for percent in _QUANTILES}}
    quantiles = np.percentile(np.asarray(numbers, float), _QUANTILES)
    shown = {f"p{percent}": _rounded(value) for percent, value in zip(_QUANTILES, quantiles, strict=True)}
    return {"mean": _rounded(np.mean(numbers)), **shown}


def _rounded(number: Any) -> float:
    return round(float(number), 6)
