"""Finished rows, kept where Snakemake deletes nothing.

A stage's results live under `{root}/{stage}/{key digest}/`, the key being all that made them: the model's digest, the
settings that shape a row, the engine's release, SAMPLING_VERSION. A row is found again by its table's key and a digest
of the row that it was made from: an answer to another text under the same id is not taken for this one. Each part is
one Parquet file whose name carries the hash of its bytes; a part that does not match is set aside and made again.
"""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scalequest.files import replaced, write_json
from scalequest.hashing import digest
from scalequest.tables import Table, to_arrow

log = logging.getLogger(__name__)
Row = dict[str, Any]
_INPUT = "input"


class RowStore:
    """The finished rows of one stage under one key."""

    def __init__(self, root: str | Path, stage: str, key: Mapping[str, Any], table: Table):
        # Rows of another shape are other rows: a new column does not meet parts that lack it.
        self.folder = Path(root) / stage / digest(key, [str(field) for field in table.schema])[:20]
        self.table = table
        if not (self.folder / "key.json").exists():
            write_json(self.folder / "key.json", dict(key))

    def key(self, row: Mapping[str, Any]) -> tuple:
        """The values of the table's key columns."""
        return tuple(row[column] for column in self.table.key)

    def read(self, window: str, wanted: Mapping[tuple, str]) -> list[Row]:
        """The stored rows of a window whose key is wanted and was made from that input (key -> input digest).

        Torn and corrupt parts are set aside, not trusted.
        """
        found: dict[tuple, Row] = {}
        for path in sorted(self.folder.glob(f"{window}.*.parquet")):
            for row in self._read_part(path):
                source = row.pop(_INPUT)
                if wanted.get(self.key(row)) == source:
                    found.setdefault(self.key(row), row)
        return list(found.values())

    def write(self, window: str, rows: Iterable[Mapping[str, Any]], inputs: Mapping[tuple, str]) -> None:
        """Add rows to a window as one part, durably. `inputs` gives the digest of the input of each key."""
        arrow = to_arrow(rows, self.table)
        sources = [inputs[self.key(row)] for row in arrow.select(list(self.table.key)).to_pylist()]
        buffer = io.BytesIO()
        pq.write_table(arrow.append_column(_INPUT, pa.array(sources, pa.string())), buffer, compression="zstd")
        data = buffer.getvalue()
        with replaced(self.folder / f"{window}.{hashlib.sha256(data).hexdigest()[:32]}.parquet") as part:
            part.write_bytes(data)

    def _read_part(self, path: Path) -> list[Row]:
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest()[:32] == path.name.split(".")[-2]:
            try:
                return pq.read_table(io.BytesIO(data)).to_pylist()
            except pa.ArrowException:
                pass
        aside = path.with_suffix(".corrupt")
        path.replace(aside)
        log.warning("stored part %s does not match its checksum: set aside as %s, its rows are made again", path, aside)
        return []


def in_windows(
    rows: Sequence[Row],
    store: RowStore,
    window: int,
    work: Callable[[list[Row]], list[Row]],
    *,
    group: str = "rows",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Row]:
    """Results for all rows, window by window, made only where the store has none.

    A window is a fixed block of `index`, so which rows share a batch depends neither on shards nor on restarts.
    `rows` have `index`, the key columns of the store's table, and all else from which `work` makes a result: `work`
    maps a window's missing rows to one result row for each, with the same key. `group` names the index space.
    """
    blocks: dict[int, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row["index"], store.key(row))):
        blocks.setdefault(row["index"] // window, []).append(row)
    results: list[Row] = []
    done = 0
    for number, block in blocks.items():
        name = f"{group}-{window}-{number:08d}"
        inputs = {store.key(row): digest(row) for row in block}
        have = store.read(name, inputs)
        found = {store.key(row) for row in have}
        missing = [row for row in block if store.key(row) not in found]
        if missing:
            made = work(missing)
            store.write(name, made, inputs)
            have += made
        results += have
        done += len(block)
        progress(done, len(rows))
    return results
