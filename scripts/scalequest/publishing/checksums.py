"""A finished run as digests: what must be equal when the same thing is made twice.

Three kinds of lines in one text file. Of files whose bytes say it all, the SHA-256 of the bytes, as `sha256sum -c`
reads it; of JSON, a digest without what says where and when it was made; of tables, a digest of all rows over all
shards, which does not depend on how the rows are dealt out to shards, nor on the library that writes Parquet. The last
two kinds stand behind `#`, where `sha256sum` sees comments.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scalequest.errors import ScaleQuestError
from scalequest.hashing import digest, file_sha256
from scalequest.runtime.files import read_json, read_text

BYTES, JSON, ROWS = "bytes", "json", "rows"
Key = tuple[str, str]

# Left out of every JSON file, by its top-level key. A model's `folder` is a path of this machine; a dataset's `run` is
# clock, host and duration, its `inputs` and `outputs` are files that have lines of their own, and its `config_sha256`
# is of the config that it quotes in full.
LEFT_OUT = ("folder", "run", "inputs", "outputs", "config_sha256")
# How questions are dealt out to jobs: of the two keys of the config's `questions`, their product counts.
_DEALT = ("shards", "questions_per_shard")
# Shows the config, these two keys included.
_CARD = "README.md"
_SHARD = "*"
_OF_A_SHARD = re.compile(r"/gpu\d+\.")
_LINE = re.compile(r"(?:# (json|rows) )?([0-9a-f]{64})  (\S.*)")
_HEADER = """\
# Digests of a finished run. `sha256sum -c` on this file, in the run's folder, checks the lines without '#'.
# json: a JSON file without what says where and when; rows: all rows of a table, however they are dealt out to shards.
"""


def write(patterns: Sequence[str], shards: int) -> str:
    """The checksums of the files that the patterns name, as text sorted by path; `*` is each shard's number.

    Raises ScaleQuestError for a file that is missing or cannot be read.
    """
    lines: dict[Key, str] = {}
    for pattern in patterns:
        paths = [pattern.replace(_SHARD, str(gpu)) for gpu in range(shards)] if _SHARD in pattern else [pattern]
        for path in paths:
            lines.update([_of_file(path)])
        if rows := _of_rows(paths):
            lines[pattern, ROWS] = rows
    shown = {BYTES: "", JSON: "# json ", ROWS: "# rows "}
    return _HEADER + "".join(f"{shown[kind]}{value}  {path}\n" for (path, kind), value in sorted(lines.items()))


def read(path: Path) -> dict[Key, str]:
    """(path, kind) -> digest, from a checksums file. Raises ScaleQuestError for a file that is not one."""
    remedy = " Make it with `snakemake checksums` in that run."
    lines = read_text(path, "the checksums file", remedy).splitlines()
    found: dict[Key, str] = {}
    for number, line in enumerate(lines, 1):
        match = _LINE.fullmatch(line)
        if match:
            found[match[3], match[1] or BYTES] = match[2]
        elif line and not line.startswith("#"):
            raise ScaleQuestError(f"{path} is no checksums file: line {number} is {line[:80]!r}.")
    if not found:
        raise ScaleQuestError(f"{path} is no checksums file: it has no digest.")
    return found


@dataclass
class Comparison:
    """How one run's checksums differ from another's: paths that differ, that only the other has, that only this one
    has; `resharded` where the shards are others, so that rows were compared and not files."""

    differing: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    resharded: bool = False
    same_rows: bool = True

    @property
    def equal(self) -> bool:
        return not (self.differing or self.missing or self.extra)


def compare(mine: Mapping[Key, str], other: Mapping[Key, str]) -> Comparison:
    """Compare two runs. Where their shards are others, files of single shards and the card, which quotes the size of a
    shard, are left out, and the digests of all rows take their place."""
    result = Comparison(resharded=_shards(mine) != _shards(other))
    if result.resharded:
        mine, other = (dict(_undealt(entries)) for entries in (mine, other))
    different = {key for key in mine.keys() & other.keys() if mine[key] != other[key]}
    result.same_rows = not any(kind == ROWS for _, kind in different)

    def paths(keys: Iterable[Key]) -> list[str]:
        # Where the files of the shards are compared, their rows are no news.
        return sorted({path for path, _ in keys if result.resharded or "*" not in path})

    result.differing = paths(different)
    result.missing, result.extra = paths(other.keys() - mine.keys()), paths(mine.keys() - other.keys())
    return result


def _shards(entries: Iterable[Key]) -> set[str]:
    return {path for path, _ in entries if _OF_A_SHARD.search(path)}


def _undealt(entries: Mapping[Key, str]) -> Iterator[tuple[Key, str]]:
    for (path, kind), value in entries.items():
        if not _OF_A_SHARD.search(path) and Path(path).name != _CARD:
            yield (path, kind), value


def _of_file(path: str) -> tuple[Key, str]:
    if not Path(path).is_file():
        raise ScaleQuestError(f"{path} does not exist: the run is not finished.")
    if path.endswith(".json"):
        return (path, JSON), digest(canonical(read_json(path)))
    return (path, BYTES), file_sha256(path)


def canonical(value: Any) -> Any:
    """What a JSON file says, without what says where and when it was made (`LEFT_OUT`)."""
    if not isinstance(value, Mapping):
        return value
    result = {key: below for key, below in value.items() if key not in LEFT_OUT}
    if isinstance(result.get("config"), Mapping):
        result["config"] = canonical(result["config"])
    questions = result.get("questions")
    if isinstance(questions, Mapping) and set(_DEALT) <= set(questions):
        rest = {key: below for key, below in questions.items() if key not in _DEALT}
        result["questions"] = {**rest, "number": questions[_DEALT[0]] * questions[_DEALT[1]]}
    return result


def _of_rows(paths: Sequence[str]) -> str | None:
    """Digest of the rows of one table's shards, in the order of the shards; None for what is no table."""
    if paths[0].endswith(".parquet"):
        return _rows_of_tables(paths)
    if (paths[0].endswith(".jsonl") and len(paths) > 1) or (
        _OF_A_SHARD.search(paths[0]) and paths[0].endswith(".jsonl")
    ):
        lines = hashlib.sha256()
        for path in paths:
            lines.update(Path(path).read_bytes())
        return lines.hexdigest()
    return None


def _rows_of_tables(paths: Sequence[str]) -> str:
    """Each column has a hash of its own, over the JSON of its values: where a shard or row group ends does not show."""
    columns: dict[str, Any] = {}
    schema: list[str] | None = None
    for path in paths:
        try:
            with pq.ParquetFile(path) as file:
                found = [f"{column.name} {column.type}" for column in file.schema_arrow]
                if schema not in (None, found):
                    raise ScaleQuestError(f"{path} has other columns than {paths[0]}: the run is not of one make.")
                schema = found
                for batch in file.iter_batches(batch_size=4096):
                    for column in batch.schema.names:
                        values = json.dumps(batch[column].to_pylist(), separators=(",", ":"))[1:-1]
                        columns.setdefault(column, hashlib.sha256()).update(f"{values},".encode())
        except (OSError, pa.ArrowException) as error:
            raise ScaleQuestError(f"{path} cannot be read as Parquet ({error}).") from None
    return digest(schema, {name: column.hexdigest() for name, column in columns.items()})
