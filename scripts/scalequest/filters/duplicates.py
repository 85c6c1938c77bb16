r"""Exact and near duplicates among questions, found without any row's verdict resting on a later row.

Questions are compared as sets of word n-grams in which numbers and symbols count: two problems that differ in one
number are different problems. MinHash signatures in bands propose pairs; the exact Jaccard similarity of the sets
decides. A row is dropped only for a row that comes before it and is kept, so a further seed changes no older verdict.

Sources: Broder, On the resemblance and containment of documents (1997); Leskovec, Rajaraman, Ullman, Mining of Massive
Datasets, section 3.4 (banding). Signatures are rensa's.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from scalequest.errors import ScaleQuestError

# Raised with any change to tokens, shingles or signatures; it seeds the hash functions, so that versions never mix.
SIGNATURE_VERSION = 1
# The algorithm of rensa that signatures stored so far were made with.
RENSA_ALGORITHM = 2
# A band value that so many kept rows share is a template's common words; it takes no more rows, so that thousands of
# rows from one template cost no square of their number.
MAX_BUCKET = 128
# Exact comparisons for one row, the most promising ones; it bounds the cost in the same way.
MAX_COMPARISONS = 32

EXACT, NEAR = "exact duplicate", "near-duplicate"
_TOKEN = re.compile(r"\w+|[^\w\s]")
_SAME = str.maketrans("\u2018\u2019\u201c\u201d\u2010\u2011\u2012\u2013\u2014\u2212", "''\"\"------")
_CHUNK = 10_000


@dataclass(frozen=True)
class Signing:
    """What the config's `filters.duplicates` says of signatures: tokens of a shingle, numbers of a signature."""

    shingle: int
    permutations: int


@dataclass(frozen=True)
class Comparing:
    """What the config's `filters.duplicates` says of comparing: `threshold` is a Jaccard similarity."""

    shingle: int
    bands: int
    threshold: float


@dataclass(frozen=True)
class Duplicate:
    """Why a row is dropped: reason, position of the kept row that it repeats, Jaccard similarity of the two."""

    reason: str
    kept: int
    similarity: float


@dataclass(frozen=True)
class Signed:
    """Rows of the signatures table in the order in which they are judged; `matrix` is (rows, permutations) uint32."""

    ids: Sequence[str]
    digests: Sequence[str]
    questions: Sequence[str] | pa.ChunkedArray
    matrix: NDArray[np.uint32]

    def question(self, position: int) -> str:
        value = self.questions[position]
        return value if isinstance(value, str) else value.as_py()


def tokens(text: str) -> list[str]:
    """Lower-cased words, numbers and single symbols; variants of quotes and dashes count as one."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text).translate(_SAME)
    return _TOKEN.findall(text.lower())


def normalise(text: str) -> str:
    """The tokens with single spaces between them. Idempotent."""
    return " ".join(tokens(text))


def text_digest(text: str) -> str:
    """SHA-256 (64 hex digits) of the normalised text."""
    return hashlib.sha256(normalise(text).encode()).hexdigest()


def ngrams(words: Sequence[str], size: int) -> list[str]:
    """Every run of `size` tokens, in order; a shorter text is one n-gram, and no text none."""
    if len(words) < size:
        return [" ".join(words)] if words else []
    return [" ".join(words[start : start + size]) for start in range(len(words) - size + 1)]


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """Size of the intersection over size of the union, 0 to 1; two empty sets are equal."""
    common = len(one & other)
    union = len(one) + len(other) - common
    return common / union if union else 1.0


def signatures(questions: Iterable[str], settings: Signing) -> NDArray[np.uint32]:
    """MinHash signatures (questions, permutations) of the questions' shingles; equal texts have equal ones anywhere.

    Raises ScaleQuestError where the installed rensa computes other signatures than the stored ones.
    """
    from rensa import RMinHash

    if RMinHash.ALGORITHM_VERSION != RENSA_ALGORITHM:
        raise ScaleQuestError(
            f"the installed rensa makes signatures of version {RMinHash.ALGORITHM_VERSION}, stored ones are of version "
            f"{RENSA_ALGORITHM}: install the release that envs/ names."
        )
    questions = list(questions)
    matrix = np.empty((len(questions), settings.permutations), dtype=np.uint32)
    for start in range(0, len(questions), _CHUNK):
        sets = [ngrams(tokens(question), settings.shingle) for question in questions[start : start + _CHUNK]]
        made = RMinHash.digest_matrix_from_token_sets(sets, num_perm=settings.permutations, seed=SIGNATURE_VERSION)
        matrix[start : start + len(sets)] = made.to_rows()
    return matrix


def find_duplicates(rows: Signed, settled: int, settings: Comparing) -> list[Duplicate | None]:
    """For each row after the first `settled` ones, what it repeats, or None where it is kept.

    The settled rows are those kept from earlier seeds. A row repeats a kept row before it whose normalised text is
    equal, or, among those sharing a band with it, the one that looks most similar and has at least `threshold` exactly.
    Time is linear in the number of rows: see MAX_BUCKET.
    Raises ScaleQuestError where bands do not divide the signatures' permutations.
    """
    bands = band_groups(rows.matrix, settings.bands)
    search = _Search(rows, bands, settings)
    texts: dict[str, int] = {}
    found: list[Duplicate | None] = []
    for position, digest in enumerate(rows.digests):
        if position >= settled:
            twin = texts.get(digest)
            hit = search.nearest(position) if twin is None else Duplicate(EXACT, twin, 1.0)
            found.append(hit)
            if hit:
                continue
        texts.setdefault(digest, position)
        search.add(position)
    return found


def band_groups(matrix: NDArray[np.uint32], bands: int) -> NDArray[np.int32]:
    """Numbers (rows, bands) that are equal where the rows' signatures are equal in the band; -1 for a value that no
    other row has. Numbers of different bands differ."""
    count, permutations = matrix.shape
    if permutations % bands:
        raise ScaleQuestError(
            f"filters.duplicates: {bands} bands do not divide {permutations} permutations evenly; "
            f"set bands to a divisor of {permutations}."
        )
    width = permutations // bands
    result = np.full((count, bands), -1, dtype=np.int32)
    base = 0
    for band in range(bands):
        # Folded to one number: a collision would only propose a pair that the exact comparison refuses.
        folded = np.zeros(count, dtype=np.uint64)
        for column in range(band * width, (band + 1) * width):
            folded = folded * np.uint64(0x9E3779B97F4A7C15) + matrix[:, column]
            folded ^= folded >> np.uint64(29)
        _, numbers, sizes = np.unique(folded, return_inverse=True, return_counts=True)
        shared = sizes > 1
        renumbered = np.where(shared, np.cumsum(shared) - 1 + base, -1)
        result[:, band] = renumbered[numbers]
        base += int(shared.sum())
    return result


class _Search:
    """Kept rows by band, and the nearest of them to a row."""

    def __init__(self, rows: Signed, bands: NDArray[np.int32], settings: Comparing):
        self.rows, self.bands = rows, bands
        self.threshold = settings.threshold
        # The number of equal values estimates the similarity; five standard deviations below the threshold, so that
        # hardly a true duplicate is passed over.
        permutations = rows.matrix.shape[1]
        self.promising = self.threshold * permutations - 2.5 * permutations**0.5
        self.buckets: dict[int, list[int]] = defaultdict(list)
        self.shingles = lru_cache(maxsize=10_000)(
            lambda position: frozenset(ngrams(tokens(rows.question(position)), settings.shingle))
        )

    def add(self, position: int) -> None:
        for group in self._groups(position):
            bucket = self.buckets[group]
            if len(bucket) < MAX_BUCKET:
                bucket.append(position)

    def nearest(self, position: int) -> Duplicate | None:
        near = sorted({other for group in self._groups(position) for other in self.buckets.get(group, ())})
        if not near:
            return None
        matrix = self.rows.matrix
        alike = np.count_nonzero(matrix[near] == matrix[position], axis=1)
        # Most alike first, and of those equally alike the earliest.
        for index in np.argsort(-alike, kind="stable")[:MAX_COMPARISONS].tolist():
            if alike[index] < self.promising:
                break
            other = near[index]
            similarity = jaccard(self.shingles(position), self.shingles(other))
            if similarity >= self.threshold:
                return Duplicate(NEAR, other, similarity)
        return None

    def _groups(self, position: int) -> list[int]:
        return [group for group in self.bands[position].tolist() if group >= 0]
