"""Bring a data set to disk as one table of problems, with a manifest of the hashes of the files it came from."""

from __future__ import annotations

import heapq
import itertools
import math
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from scalequest.domains.base import open_domain
from scalequest.errors import ScaleQuestError
from scalequest.hashing import canonical_json, digest, file_sha256
from scalequest.llm import sources
from scalequest.rows.data_records import read_records
from scalequest.rows.tables import PROBLEMS, write_blocks
from scalequest.runtime import job
from scalequest.runtime.files import write_json
from scalequest.settings import read_settings

_NO_TEXT = (
    "which is no text and no finite number. Mend the row, or leave such rows out: on_bad_row: skip for this dataset."
)


@dataclass(frozen=True)
class Settings:
    """One of the config's `datasets`, and the domain that its problems are of. `fields` and `facts` are names of its
    fields by our names; `where` has the value that a field must have; `max_rows` is None for all."""

    source: str
    fields: Mapping[str, str]
    facts: Mapping[str, str]
    where: Mapping[str, Any]
    max_rows: int | None
    on_bad_row: Literal["error", "skip"]
    domain: str


def read_problems(name: str, files: list[Path], settings: Settings, left_out: Counter[str]) -> Iterator[dict[str, Any]]:
    """Rows of the files as PROBLEMS rows, one by one; `left_out` counts what is left out and why.

    Raises ScaleQuestError as `to_problem`, and where no row has one of the fields.
    """
    # A bad row is one of those that `where` chooses, and keeps its number: leaving it out renames no other.
    numbers = itertools.count()
    fields, there = settings.fields, set[str]()
    for file in files:
        for row, record in read_records(file, settings.on_bad_row):
            if record is not None and any(record.get(key) != value for key, value in settings.where.items()):
                left_out["where"] += 1
                continue
            index = next(numbers)
            if record is None:
                left_out["malformed"] += 1
                continue
            try:
                problem = to_problem(record, settings, f"{file}, row {row}")
            except ScaleQuestError:
                if settings.on_bad_row == "error":
                    raise
                left_out["unusable"] += 1
                continue
            there |= {column for column, field in fields.items() if not is_missing(record.get(field))}
            yield {"id": f"{name}/{index:08d}", "index": index, "source": name, **problem}
    if there and (never := sorted(set(fields) - there)):
        raise ScaleQuestError(
            f"no row of data set '{name}' has a field '{fields[never[0]]}' (fields.{never[0]}): name the right field "
            "in the config."
        )


def drawn(rows: Iterable[dict[str, Any]], count: int | None) -> Iterable[dict[str, Any]]:
    """At most `count` rows (all for None), drawn by the hash of their ids, in order, counted anew."""
    if count is None:
        return rows
    kept = heapq.nsmallest(count, rows, key=lambda row: digest(row["id"]))
    return [{**row, "index": index} for index, row in enumerate(sorted(kept, key=lambda row: row["id"]))]


def blocks(rows: Iterable[dict[str, Any]], size: int = 20_000) -> Iterator[list[dict[str, Any]]]:
    """The rows in lists of that many: a training set of a million does not fit a login node's memory as objects."""
    rest = iter(rows)
    while block := list(itertools.islice(rest, size)):
        yield block


def to_problem(record: Mapping[str, Any], settings: Settings, place: str) -> dict[str, str | None]:
    """Question, solution, answer and facts of a record; an answer that has no field, or none here, is read out of the
    solution.

    Raises ScaleQuestError where there is no question, where a value is no text or a text is no Unicode, and, unless bad
    rows are skipped, where any other field is missing; else what is missing is null.
    """
    fields, values = settings.fields, dict[str, str | None]()
    for column in ("question", "solution", "answer"):
        field = fields.get(column)
        text = None if field is None else text_of(record.get(field), f"{place}, field '{field}' (fields.{column})")
        if text is None and field is not None and (column == "question" or settings.on_bad_row == "error"):
            what = f"nothing in its field '{field}'" if field in record else f"no field '{field}'"
            raise ScaleQuestError(
                f"{place} has {what} (fields.{column}); its fields are {sorted(record)}. Name the right "
                "field in the config, or set on_bad_row: skip, which keeps what has a question and leaves out the rest."
            )
        values[column] = None if text is None else text.strip() or None
    if values["question"] is None:
        raise ScaleQuestError(f"{place} has an empty question (field '{fields['question']}').")
    if values["answer"] is None and values["solution"] is not None:
        values["answer"] = open_domain(settings.domain).main.extract(values["solution"])
    values["facts"] = facts_of(record, settings.facts, place)
    for column, text in values.items():
        try:
            (text or "").encode()
        except UnicodeEncodeError as error:
            raise ScaleQuestError(
                f"{place} has {error.object[error.start]!a} in its {column}, half of a surrogate pair, which is no "
                "character. Mend the row, or leave such rows out: on_bad_row: skip for this dataset."
            ) from None
    return values


def is_missing(value: Any) -> bool:
    """Whether a record's value stands for none: null, or the NaN that tables write for it."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def text_of(value: Any, place: str) -> str | None:
    """A text as it is, a number as Python writes it, a list of them joined by commas; None for a missing value.

    Raises ScaleQuestError, beginning with `place`, for anything else: it has no text that its writer would know.
    """
    if is_missing(value):
        return None
    items = value if isinstance(value, list) else [value]
    if not all(_is_plain(item) for item in items):
        raise ScaleQuestError(f"{place} holds {_shown(value)}, {_NO_TEXT}")
    return ", ".join(str(item) for item in items)


def _is_plain(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str | int | Decimal) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    # In ASCII and cut, as it comes from outside.
    return f"{value!a:.60} ({type(value).__name__})"


def facts_of(record: Mapping[str, Any], names: Mapping[str, str], place: str) -> str:
    """Further fields of a record under the names that the config gives them, as a JSON map of texts; a field that is
    missing is left out, as a unit or a tolerance often is. Raises ScaleQuestError for what JSON cannot hold."""
    texts: dict[str, str] = {}
    for name, field in names.items():
        value = record.get(field)
        if is_missing(value):
            continue
        try:
            texts[name] = str(value) if isinstance(value, str | Decimal) else canonical_json(value)
        except (TypeError, ValueError, RecursionError):
            where = f"{place}, field '{field}' (facts.{name})"
            raise ScaleQuestError(f"{where} holds {_shown(value)}, {_NO_TEXT}") from None
    return canonical_json(texts)


def left_alone(folder: Path, files: Iterable[Path]) -> list[str]:
    """Names of the files in a folder that look like data and are not read (see sources.source_files)."""
    like_data = {file for file in folder.rglob("*") if file.suffix.lower() in sources.DATA_FILES and file.is_file()}
    names = sorted(str(file.relative_to(folder)) for file in like_data.difference(files))
    # Where the hub's client keeps its notes.
    return [name for name in names if not name.startswith(".cache/")]


def main() -> None:
    parser = job.parser(__doc__ or "")
    parser.add_argument("--name", required=True, help="the data set's name in the config")
    parser.add_argument("--out", required=True, type=Path, help="table of problems to write")
    parser.add_argument("--manifest", required=True, type=Path, help="manifest to write")
    args = parser.parse_args()
    settings = read_settings(Settings, args.settings)
    source = settings.source
    facts: dict[str, Any] = {}
    # Named as half-written: what a killed staging leaves here is read by nobody, and `make gc` removes it.
    with tempfile.TemporaryDirectory(dir=args.out.parent, prefix=f".{args.name}.", suffix=".part") as fetched:
        if source.startswith("hf:"):
            root = Path(fetched)
            pattern = sources.hub_source(source).files or "*"
            facts["commit"] = sources.commit_of(source, kind="dataset")
            sources.fetch_from_hub(source, facts["commit"], root, kind="dataset", patterns=[pattern])
            files = sources.source_files(path := root)
        else:
            path = sources.local_path(source) if source.startswith("path:") else sources.package_file(source)
            files, root = sources.source_files(path), path.parent
        if path.is_dir() and (others := left_alone(path, files)):
            job.log.warning(
                "%d files of data set '%s' are not read: %s. In a folder, names that begin with . or _ are left out, "
                "and CSV and TSV files where there are others.",
                *(len(others), args.name, ", ".join(others[:5]) + ", ..." * (len(others) > 5)),
            )
        left_out: Counter[str] = Counter()
        rows = drawn(read_problems(args.name, files, settings, left_out), settings.max_rows)
        count = write_blocks(args.out, blocks(rows), PROBLEMS)
        hashes = {str(file.relative_to(root)): file_sha256(file) for file in files}
    if not count:
        args.out.unlink()
        raise ScaleQuestError(f"data set '{args.name}' ({source}) has no rows (left out: {dict(left_out)}).")
    write_json(
        args.manifest,
        {
            "name": args.name,
            "source": source,
            "digest": digest(hashes),
            "files": hashes,
            "rows": count,
            "left_out": dict(left_out),
            **facts,
        },
    )


if __name__ == "__main__":
    job.run(main, offline=False)
