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
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scalequest.hashing import digest
from scalequest.rows.tables import Table, to_arrow
from scalequest.runtime.files import replaced, write_json
from scalequest.runtime.lease import Lease, note
from scalequest.runtime.stopping import Stop, undivided

log = logging.getLogger(__name__)
Row = dict[str, Any]
_INPUT = "input"


def store_name(stage: str, key: Mapping[str, Any], table: Table) -> str:
    """Name of the store of a stage's rows under a key, which is its folder below the progress folder."""
    # Rows of another shape are other rows: a new column does not meet parts that lack it.
    return f"{stage}/{digest(key, [str(field) for field in table.schema])[:20]}"


class RowStore:
    """The finished rows of one stage under one key. `gpus` is what a job of the stage occupies."""

    def __init__(self, root: str | Path, stage: str, key: Mapping[str, Any], table: Table, gpus: int = 0):
        self.name = store_name(stage, key, table)
        self.folder = Path(root) / self.name
        self.table, self.gpus = table, gpus
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
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            # Another job has just set it aside.
            return []
        except OSError as error:
            log.warning("stored part %s cannot be read (%s): its rows are made again", path, error.strerror)
            return []
        if hashlib.sha256(data).hexdigest()[:32] == path.name.split(".")[-2]:
            try:
                return pq.read_table(io.BytesIO(data)).to_pylist()
            except pa.ArrowException:
                pass
        aside = path.with_suffix(".corrupt")
        log.warning("stored part %s does not match its checksum: set aside as %s, its rows are made again", path, aside)
        # Another job may have set it aside, or the disk be read-only: it is not trusted either way.
        with suppress(OSError):
            path.replace(aside)
        return []


Work = Callable[[list[Row]], list[Row]]
Each = Callable[[Work, Iterable[list[Row]]], Iterator[tuple[int, list[Row]]]]


def one_by_one(work: Work, batches: Iterable[list[Row]]) -> Iterator[tuple[int, list[Row]]]:
    """Each batch's number and its results."""
    return enumerate(map(work, batches))


def in_windows(
    rows: Sequence[Row],
    store: RowStore,
    window: int,
    work: Work,
    *,
    group: str = "rows",
    progress: Callable[[int, int], None] = lambda done, total: None,
    each: Each = one_by_one,
) -> list[Row]:
    """Results for all rows, window by window, made only where the store has none.

    A window is a fixed block of `index`, so which rows share a batch depends neither on shards nor on restarts.
    `rows` have `index`, the key columns of the store's table, and all else from which `work` makes a result: `work`
    maps a window's missing rows to one result row for each, with the same key. `group` names the index space.
    `each` applies `work` to windows, and may begin one before the last is done (`Engine.each`).
    Raises Stop, with every finished window stored, where the job must end early (`Lease.check`).
    """
    unit = f"{group}-{window}"
    blocks = _blocks(rows, store, window)
    windows = _windows(blocks, store, unit)
    results = [row for w in windows for row in w.stored()]
    waiting = [w for w in windows if w.missing]
    if not waiting:
        note(store.folder / "attempts", unit)
        return results
    # By its blocks: a job of another cut into shards, or of a looser filter, is at the same ones.
    with Lease(store.folder / "attempts", unit, store.gpus, span=(min(blocks), max(blocks))) as lease:
        started: list[tuple[_Window, float]] = []
        stops: list[Stop] = []
        slowest = _Slowest()

        def batches() -> Iterator[list[Row]]:
            for w in waiting:
                try:
                    lease.check(slowest.seconds)
                except Stop as stop:
                    # Windows that are under way beside this one are finished first.
                    stops.append(stop)
                    return
                # A job that was at this work before may have stored more since.
                results.extend(w.stored())
                if w.missing:
                    started.append((w, time.monotonic()))
                    yield w.missing

        for number, made in each(work, batches()):
            w, begun = started[number]
            with undivided():
                store.write(w.name, made, w.inputs)
                lease.count(len(made))
            results += made
            slowest.done(number, len(started), time.monotonic() - begun)
            progress(len(results), len(rows))
        if stops:
            raise stops[0]
    return results


class _Slowest:
    """Seconds of the slowest window. Those that began before any was done include the engine's loading, so they count
    only until there are others."""

    def __init__(self) -> None:
        self._first, self._loading, self._longest = 0, 0.0, 0.0

    @property
    def seconds(self) -> float:
        return self._longest or self._loading

    def done(self, number: int, started: int, seconds: float) -> None:
        """Count window `number`, which took so many seconds; `started` windows have begun by now."""
        self._first = self._first or started
        if number < self._first:
            self._loading = max(self._loading, seconds)
        else:
            self._longest = max(self._longest, seconds)


def stored(rows: Sequence[Row], store: RowStore, window: int, *, group: str = "rows") -> list[Row]:
    """What `in_windows` would find in the store for these rows; nothing is made."""
    return [row for w in _windows(_blocks(rows, store, window), store, f"{group}-{window}") for row in w.stored()]


def _blocks(rows: Sequence[Row], store: RowStore, window: int) -> dict[int, list[Row]]:
    """The rows of each window, by its number."""
    blocks: dict[int, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row["index"], store.key(row))):
        blocks.setdefault(row["index"] // window, []).append(row)
    return blocks


def _windows(blocks: Mapping[int, list[Row]], store: RowStore, unit: str) -> list[_Window]:
    return [_Window(store, f"{unit}-{number:08d}", block) for number, block in blocks.items()]


class _Window:
    """A window's rows, and which of them the store lacks."""

    def __init__(self, store: RowStore, name: str, rows: list[Row]):
        self.store, self.name = store, name
        self.inputs = {store.key(row): digest(row) for row in rows}
        self.missing = rows

    def stored(self) -> list[Row]:
        """Rows of the store that were not known yet; they are missing no more."""
        wanted = {self.store.key(row): self.inputs[self.store.key(row)] for row in self.missing}
        found = self.store.read(self.name, wanted)
        keys = {self.store.key(row) for row in found}
        self.missing = [row for row in self.missing if self.store.key(row) not in keys]
        return found
