"""Token ids of very many rows, held in four bytes a token."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scalequest.errors import ScaleQuestError
from scalequest.hashing import canonical_json
from scalequest.runtime.files import replaced

# Rows that are made, written or read at a time.
_BLOCK = 50_000
# Where a file has the facts, in its metadata.
_FACTS = b"scalequest.facts"


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

    def write(self, path: Path, facts: Mapping[str, Any]) -> None:
        """Write the rows as Parquet, with facts of the training set, whole or not at all."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.parquet as pq

        tokens, lengths, masked = (np.frombuffer(a, a.typecode) for a in (self._tokens, self._lengths, self._masked))
        schema = pa.schema({"input_ids": pa.list_(pa.int32()), "masked": pa.int64()}, {_FACTS: canonical_json(facts)})
        ends = np.concatenate([[0], np.cumsum(lengths)])
        with replaced(path) as part, pq.ParquetWriter(part, schema, compression="zstd") as file:
            for first in range(0, len(self), _BLOCK):
                last = min(first + _BLOCK, len(self))
                begin, end = ends[first], ends[last]
                offsets = pa.array(ends[first : last + 1] - begin, pa.int32())
                ids = pa.ListArray.from_arrays(offsets, pa.array(tokens[begin:end]))
                file.write_table(pa.table([ids, pa.array(masked[first:last])], schema=schema))

    @classmethod
    def read(cls, path: Path) -> tuple[Samples, dict[str, Any]]:
        """Rows and facts that `write` has written. Raises ScaleQuestError for a file that is not of that kind."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        found = cls()
        try:
            with pq.ParquetFile(path) as file:
                facts = json.loads(file.schema_arrow.metadata[_FACTS])
                for number in range(file.num_row_groups):
                    block = file.read_row_group(number)
                    for ids in block["input_ids"].chunks:
                        found._tokens.frombytes(ids.flatten().to_numpy().tobytes())
                        found._lengths.frombytes(ids.value_lengths().to_numpy().astype("int64").tobytes())
                    found._masked.frombytes(block["masked"].to_numpy().tobytes())
        except (OSError, KeyError, TypeError, ValueError, pa.ArrowInvalid) as error:
            raise ScaleQuestError(
                f"{path} has no samples of a training set ({error}). Remove it: tokenize_student makes it anew."
            ) from None
        return found, facts

    def blocks(self, rows: int = _BLOCK) -> Iterator[Any]:
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
