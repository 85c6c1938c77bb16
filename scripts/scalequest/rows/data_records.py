"""Records of data files (JSON lines, JSON, Parquet, CSV, TSV), one by one, with their row numbers."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scalequest.errors import ScaleQuestError

Record = Mapping[str, Any]
# A row and its number; None for a row that is malformed and left out.
Numbered = Iterator[tuple[int, Record | None]]

# The second is for brackets that are nested too deep.
_NO_JSON = (ValueError, RecursionError)
_DELIMITERS = {".csv": ",;", ".tsv": "\t"}
_MEND = "Mend the row, or leave such rows out: on_bad_row: skip for this dataset."
_SAVE = "Save the file as UTF-8."
# A cell of a long solution has more than the 128 KiB that the module takes by default.
csv.field_size_limit(2**31 - 1)


@dataclass(frozen=True)
class Unreadable:
    """A value that its file holds and Python cannot: a date beyond the year 9999, a text that is not UTF-8."""

    reason: str


def read_records(path: Path, on_bad_row: str) -> Numbered:
    """Records of a file, read by its ending (any other than .json, .parquet, .csv and .tsv as JSON lines).

    Numbers count from 1: lines of JSON lines, rows of Parquet and of a JSON list, rows of CSV and TSV as a spreadsheet
    numbers them, the header being row 1.

    A malformed row raises ScaleQuestError with file and number (`on_bad_row` "error") or yields None ("skip").
    """
    kind = path.suffix.lower()
    if kind == ".parquet":
        yield from enumerate(_parquet(path), 1)
    elif kind == ".json":
        yield from _json(path, on_bad_row)
    elif kind in _DELIMITERS:
        yield from _separated(path, _delimiter(path), on_bad_row)
    else:
        yield from _json_lines(path, on_bad_row)


def _parquet(path: Path) -> Iterator[Record]:
    try:
        for batch in pq.ParquetFile(path).iter_batches():
            yield from _rows(batch)
    except (OSError, pa.ArrowException) as error:
        raise ScaleQuestError(f"{path} cannot be read as Parquet: {error}") from None


def _rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    try:
        return batch.to_pylist()
    except (ValueError, OverflowError):
        # One value that Python has no word for: the others are whole.
        columns = list(zip(batch.schema.names, batch.columns, strict=True))
        return [{name: _cell(column[row]) for name, column in columns} for row in range(batch.num_rows)]


def _cell(value: pa.Scalar) -> Any:
    try:
        return value.as_py()
    except (ValueError, OverflowError) as error:
        return Unreadable(str(error))


def _json(path: Path, on_bad_row: str) -> Numbered:
    try:
        # Of bytes, a byte order mark is read as such.
        records = json.loads(path.read_bytes())
    except _NO_JSON as error:
        raise ScaleQuestError(
            f"{path} is not JSON: {error}. (A file with one record on each line is read by the name of .jsonl.)"
        ) from None
    if not isinstance(records, list):
        raise ScaleQuestError(f"{path} holds a {type(records).__name__}; a list of records is needed.")
    for number, record in enumerate(records, 1):
        yield number, _checked(record, path, number, on_bad_row, "is not an object")


def _json_lines(path: Path, on_bad_row: str) -> Numbered:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except _NO_JSON as error:
                yield number, _checked(None, path, number, on_bad_row, f"is not JSON: {error}")
                continue
            yield number, _checked(record, path, number, on_bad_row, "is not an object")


def _separated(path: Path, delimiter: str, on_bad_row: str) -> Numbered:
    """Rows of a CSV or TSV file whose first row names the columns: every cell is text, an empty one missing."""
    names: list[str] = []
    number = 0
    # What is no UTF-8 becomes surrogates, which show the row.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
        rows = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            for number, cells in enumerate(rows, 1):
                if not cells:
                    continue
                if not names:
                    names = _named(cells, path)
                    continue
                fault = _fault(cells)
                if len(cells) != len(names):
                    fault = f"has {len(cells)} cells where the header has {len(names)}"
                if fault:
                    yield number, _checked(None, path, number, on_bad_row, fault)
                else:
                    yield number, {name: cell or None for name, cell in zip(names, cells, strict=True)}
        except csv.Error as error:
            # Not left out as a bad row: where the next one begins is not known.
            raise ScaleQuestError(
                f"{path}, row {number + 1} (to line {rows.line_num}) is not CSV: {error}. A cell with a quote, a line "
                'break or the delimiter stands in quotes, and a quote in it is written twice (""): mend the row.'
            ) from None


def _delimiter(path: Path) -> str:
    """The delimiter by which the header has the most cells, and of two such the one that comes first."""

    def cells(delimiter: str) -> tuple[int, int]:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
            try:
                header = next((row for row in csv.reader(lines, delimiter=delimiter, strict=True) if row), [""])
            except csv.Error:
                return 0, 0
        return len(header), -len(header[0])

    return max(_DELIMITERS[path.suffix.lower()], key=cells)


def _named(header: list[str], path: Path) -> list[str]:
    if fault := _fault(header):
        raise ScaleQuestError(f"{path}: the header {fault}. {_SAVE}")
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise ScaleQuestError(f"{path}: the header names {', '.join(map(repr, twice))} more than once; rename one.")
    return header


def _fault(cells: list[str]) -> str:
    """What keeps a row's cells from being text; empty where nothing does."""
    text = "".join(cells)
    if "\0" in text:
        return "has a NUL character, which is in no text"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "is not UTF-8 text"
    return ""


def _checked(record: Any, path: Path, number: int, on_bad_row: str, what: str) -> Record | None:
    if isinstance(record, dict):
        return record
    if on_bad_row == "error":
        raise ScaleQuestError(f"{path}, row {number} {what}. {_MEND}")
    return None
