"""Bring a data set to disk as one table of problems, with a manifest of the hashes of the files it came from."""

from __future__ import annotations

import heapq
import itertools
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from scalequest import job, sources
from scalequest.answers import extract_answer
from scalequest.errors import ScaleQuestError
from scalequest.files import write_json
from scalequest.hashing import canonical_json, digest, file_sha256
from scalequest.tables import PROBLEMS, write_blocks

DATA_FILES = {".jsonl", ".json", ".parquet"}


def read_problems(
    name: str, files: list[Path], settings: Mapping[str, Any], left_out: Counter[str]
) -> Iterator[dict[str, Any]]:
    """Rows of the files as PROBLEMS rows, one by one; `left_out` counts what is left out and why.

    Raises ScaleQuestError as `to_problem`, and where no row has one of the fields.
    """
    # A bad row is one of those that `where` chooses, and keeps its number: leaving it out renames no other.
    numbers = itertools.count()
    fields, where, on_bad_row = settings["fields"], settings.get("where") or {}, settings["on_bad_row"]
    there: set[str] = set()
    for file in files:
        for row, record in sources.read_records(file, on_bad_row):
            if record is not None and any(record.get(key) != value for key, value in where.items()):
                left_out["where"] += 1
                continue
            index = next(numbers)
            if record is None:
                left_out["malformed"] += 1
                continue
            try:
                problem = to_problem(record, settings, f"{file}, row {row}")
            except ScaleQuestError:
                if on_bad_row == "error":
                    raise
                left_out["unusable"] += 1
                continue
            there |= {column for column, field in fields.items() if record.get(field) is not None}
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


def to_problem(record: Mapping[str, Any], settings: Mapping[str, Any], place: str) -> dict[str, str | None]:
    """Question, solution, answer and facts of a record; an answer that has no field, or none here, is read out of the
    solution.

    Raises ScaleQuestError where there is no question, where a text is no Unicode, and, unless bad rows are skipped,
    where any other field is missing; else what is missing is null.
    """
    fields, values = settings["fields"], dict[str, str | None]()
    for column in ("question", "solution", "answer"):
        value = record.get(fields[column]) if column in fields else None
        if value is None and column in fields and (column == "question" or settings["on_bad_row"] == "error"):
            raise ScaleQuestError(
                f"{place} has no field '{fields[column]}' (fields.{column}); it has {sorted(record)}. Name the right "
                "field in the config, or set on_bad_row: skip, which keeps what has a question and leaves out the rest."
            )
        if isinstance(value, list):
            value = ", ".join(str(item) for item in value)
        values[column] = None if value is None else str(value).strip() or None
    if values["question"] is None:
        raise ScaleQuestError(f"{place} has an empty question (field '{fields['question']}').")
    if values["answer"] is None and values["solution"] is not None:
        values["answer"] = extract_answer(values["solution"])
    values["facts"] = facts_of(record, settings.get("facts") or {})
    for column, text in values.items():
        try:
            (text or "").encode()
        except UnicodeEncodeError as error:
            raise ScaleQuestError(
                f"{place} has {error.object[error.start]!a} in its {column}, half of a surrogate pair, which is no "
                "character. Mend the row, or leave such rows out: on_bad_row: skip for this dataset."
            ) from None
    return values


def facts_of(record: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """Further fields of a record under the names that the config gives them, as a JSON map of texts; a field that is
    missing or null is left out, as a unit or a tolerance often is."""
    found = {name: record.get(field) for name, field in names.items()}
    texts = {
        name: value if isinstance(value, str) else canonical_json(value)
        for name, value in found.items()
        if value is not None
    }
    return canonical_json(texts)


def data_files(path: Path) -> list[Path]:
    """The data files of a path: itself, or those of a folder in the order of their names."""
    if path.is_file():
        return [path]
    files = sorted(p for p in path.rglob("*") if p.suffix in DATA_FILES and ".cache" not in p.parts)
    if not files:
        raise ScaleQuestError(f"{path} has no file that ends in {', '.join(sorted(DATA_FILES))}.")
    return files


def main() -> None:
    parser = job.parser(__doc__ or "")
    parser.add_argument("--name", required=True, help="the data set's name in the config")
    parser.add_argument("--out", required=True, type=Path, help="table of problems to write")
    parser.add_argument("--manifest", required=True, type=Path, help="manifest to write")
    args = parser.parse_args()
    settings = args.settings
    source = settings["source"]
    facts: dict[str, Any] = {}
    # Named as half-written: what a killed staging leaves here is read by nobody, and `make gc` removes it.
    with tempfile.TemporaryDirectory(dir=args.out.parent, prefix=f".{args.name}.", suffix=".part") as fetched:
        if source.startswith("hf:"):
            root = Path(fetched)
            pattern = sources.hub_source(source).files or "*"
            facts["commit"] = sources.commit_of(source, kind="dataset")
            sources.fetch_from_hub(source, facts["commit"], root, kind="dataset", patterns=[pattern])
            files = data_files(root)
        else:
            path = sources.local_path(source) if source.startswith("path:") else sources.package_file(source)
            files, root = data_files(path), path.parent
        left_out: Counter[str] = Counter()
        rows = drawn(read_problems(args.name, files, settings, left_out), settings.get("max_rows"))
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
