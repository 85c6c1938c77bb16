"""Benchmark items inside questions: a training set that holds its own test proves nothing.

A 13-gram in common makes a candidate (the n of arXiv 2410.18693, and of Brown et al., arXiv 2005.14165, appendix C);
the share of the benchmark item's n-grams that the question covers proves it. Tokens are words, numbers and single
symbols, since formulas split at white space alone leave half of the items too short to ever match; an item that is
still shorter than n tokens matches where it is the whole question.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from scalequest.duplicates import ngrams, tokens


@dataclass(frozen=True)
class Match:
    """A benchmark item found in a question: its dataset, id and text; the share (0 to 1) of its n-grams that the
    question covers; and the longest stretch of the question, as normalised text, that is in the item."""

    benchmark: str
    item_id: str
    item: str
    overlap: float
    span: str


class BenchmarkIndex:
    """Benchmark items by their n-grams. `problems` are rows of the problems table, `size` is n in tokens."""

    def __init__(self, problems: Iterable[Mapping[str, Any]], size: int):
        self.size = size
        self._items: list[Mapping[str, Any]] = []
        self._counts: list[int] = []
        self._postings: dict[str, list[int]] = defaultdict(list)
        for problem in problems:
            # A text shorter than n tokens is one n-gram, itself, which only an equal text has: no case apart.
            grams = set(ngrams(tokens(problem["question"]), size))
            for gram in grams:
                self._postings[gram].append(len(self._items))
            self._items.append(problem)
            self._counts.append(len(grams))

    def matches(self, question: str, min_overlap: float) -> tuple[float, list[Match]]:
        """The highest overlap with any item (0 without a common n-gram), and the items with at least `min_overlap`,
        most covered first, equally covered ones in the order of the index."""
        grams = ngrams(tokens(question), self.size)
        covered = Counter(item for gram in set(grams) for item in self._postings.get(gram, ()))
        overlaps = {item: count / self._counts[item] for item, count in covered.items()}
        proven = sorted(
            (item for item, overlap in overlaps.items() if overlap >= min_overlap),
            key=lambda item: (-overlaps[item], item),
        )
        found = [self._match(item, overlaps[item], self._span(grams, item)) for item in proven]
        return max(overlaps.values(), default=0.0), found

    def _match(self, item: int, overlap: float, span: str) -> Match:
        problem = self._items[item]
        return Match(problem["source"], problem["id"], problem["question"], overlap, span)

    def _span(self, grams: list[str], item: int) -> str:
        best = start = length = 0
        for position, gram in enumerate(grams):
            length = length + 1 if item in self._postings.get(gram, ()) else 0
            if length > best:
                best, start = length, position + 1 - length
        words = [gram.split(" ")[0] for gram in grams[start : start + best - 1]]
        return " ".join([*words, grams[start + best - 1]])


def verdict(best: float, matches: list[Match]) -> tuple[bool, str, float, str | None]:
    """Whether to keep a question, why not (empty when kept), the highest overlap, and the id of the item it matches.

    The arguments are what `BenchmarkIndex.matches` returns.
    """
    if not matches:
        return True, "", best, None
    return False, f"overlaps {matches[0].benchmark}", best, matches[0].item_id
