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

from scalequest.filters.duplicates import ngrams, tokens
from scalequest.filters.reasons import at_least
from scalequest.settings import Number


@dataclass(frozen=True)
class Overlap:
    """The config's `filters.contamination`: n in tokens, and the share of an item's n-grams from which it counts."""

    ngram: int
    min_overlap: Number


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
    """Benchmark items by their n-grams. `problems` are rows of the problems table, `size` is n in tokens.

    Items of one text (its tokens) are looked up as one, and the time for a question grows with the number of items
    that share an n-gram with it, not with its square.
    """

    def __init__(self, problems: Iterable[Mapping[str, Any]], size: int):
        self.size = size
        # By text: the items that have it, each with its position in the index, and the number of its n-grams.
        self._items: list[list[tuple[int, Mapping[str, Any]]]] = []
        self._counts: list[int] = []
        self._postings: dict[str, list[int]] = defaultdict(list)
        texts: dict[str, int] = {}
        for position, problem in enumerate(problems):
            words = tokens(problem["question"])
            text = texts.setdefault(" ".join(words), len(texts))
            if text == len(self._items):
                # A text shorter than n tokens is one n-gram, itself, which only an equal text has: no case apart.
                grams = set(ngrams(words, size))
                for gram in grams:
                    self._postings[gram].append(text)
                self._items.append([])
                self._counts.append(len(grams))
            self._items[text].append((position, problem))

    def matches(self, question: str, min_overlap: float) -> tuple[float, list[Match]]:
        """The highest overlap with any item (0 without a common n-gram), and the items with at least `min_overlap`,
        most covered first, equally covered ones in the order of the index."""
        grams = ngrams(tokens(question), self.size)
        covered = Counter(text for gram in set(grams) for text in self._postings.get(gram, ()))
        overlaps = {text: count / self._counts[text] for text, count in covered.items()}
        proven = [text for text, overlap in overlaps.items() if overlap >= min_overlap]
        texts_at = [frozenset(self._postings.get(gram, ())) for gram in grams] if proven else []
        spans = {text: _span(grams, [text in texts for texts in texts_at]) for text in proven}
        ranked = [(-overlaps[text], position, text, item) for text in proven for position, item in self._items[text]]
        found = [
            Match(item["source"], item["id"], item["question"], overlaps[text], spans[text])
            for _, _, text, item in sorted(ranked, key=lambda found: found[:2])
        ]
        return max(overlaps.values(), default=0.0), found


def _span(grams: list[str], shared: list[bool]) -> str:
    """The text of the longest run of n-grams that are shared, the first of equally long ones."""
    best = start = length = 0
    for position, common in enumerate(shared):
        length = length + 1 if common else 0
        if length > best:
            best, start = length, position + 1 - length
    words = [gram.split(" ")[0] for gram in grams[start : start + best - 1]]
    return " ".join([*words, grams[start + best - 1]])


def verdict(best: float, matches: list[Match], min_overlap: float) -> tuple[bool, str, float, str | None]:
    """Whether to keep a question, why not (empty when kept), the highest overlap, and the id of the item it matches.

    The arguments are what `BenchmarkIndex.matches` returns and what it was given.
    """
    if not matches:
        return True, "", best, None
    item = matches[0].item_id
    return False, f"overlaps {matches[0].benchmark}: {item} by {at_least(best, min_overlap)}", best, item
