"""Token ids of very many rows, held in four bytes a token."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from typing import Any


class Samples:
    """Rows of `input_ids` and `labels`, for millions of rows: four bytes a token, where lists would take forty."""

    def __init__(self) -> None:
        self._tokens, self._lengths, self._masked = array("i"), array("q"), array("q")

    def add(self, prompt: Sequence[int], response: Sequence[int]) -> None:
        """Add a row: the ids of a prompt, which has no loss (labels of -100), and those of a response."""
        self._tokens.extend(prompt)
        self._tokens.extend(response)
        self._lengths.append(len(prompt) + len(response))
        self._masked.append(len(prompt))

    def __len__(self) -> int:
        return len(self._lengths)

    @property
    def tokens(self) -> int:
        """Tokens of all rows."""
        return len(self._tokens)

    def digest(self) -> str:
        """SHA-256 (64 hex digits) of all rows."""
        result = hashlib.sha256()
        for numbers in (self._tokens, self._lengths, self._masked):
            result.update(hashlib.sha256(memoryview(numbers)).digest())
        return result.hexdigest()

    def blocks(self, rows: int = 50_000) -> Iterator[Any]:
        """The rows as Arrow tables of `rows` rows each, with lists of int64 in `input_ids` and `labels`."""
        import numpy as np
        import pyarrow as pa

        tokens, lengths, masked = (np.frombuffer(a, a.typecode) for a in (self._tokens, self._lengths, self._masked))
        ends = np.cumsum(lengths)
        for first in range(0, len(self), rows):
            part = slice(first, first + rows)
            begin = ends[first] - lengths[first]
            offsets = np.concatenate([[0], ends[part] - begin])
            ids = tokens[begin : begin + offsets[-1]]
            # Position of each token within its row.
            place = np.arange(len(ids)) - np.repeat(offsets[:-1], lengths[part])
            labels = np.where(place < np.repeat(masked[part], lengths[part]), -100, ids)
            columns = (pa.array(values.astype(np.int64)) for values in (ids, labels))
            lists = [pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values) for values in columns]
            yield pa.table(lists, names=["input_ids", "labels"])
