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
    """Rows of the files as PROBLEMS rows, one by one; `left_out` counts what is left out and why."""
    count = 0
    fields, where, on_bad_row = settings["fields"], settings.get("where") or {}, settings["on_bad_row"]
    for file in files:
        for number, record in sources.read_records(file, on_bad_row):
            if record is None:
                left_out["malformed"] += 1
                continue
            if any(record.get(key) != value for key, value in where.items()):
                left_out["where"] += 1
                continue
            problem = to_problem(record, fields, f"{file}, row {number}", on_bad_row)
            if problem is None:
                left_out["missing field"] += 1
                continue
            facts = facts_of(record, settings.get("facts") or {})
            yield {"id": f"{name}/{count:08d}", "index": count, "source": name, **problem, "facts": facts}
            count += 1


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


def to_problem(
    record: Mapping[str, Any], fields: Mapping[str, str], place: str, on_bad_row: str
) -> dict[str, str | None] | None:
    """Question, solution and answer of a record; the answer is read out of the solution where it has no field.

    None for a record without a usable question when such rows are skipped; otherwise ScaleQuestError.
    """
    values: dict[str, str | None] = {}
    for column in ("question", "solution", "answer"):
        value = record.get(fields[column]) if column in fields else None
        if column in fields and value is None:
            if on_bad_row == "skip":
                return None
            raise ScaleQuestError(
                f"{place} has no field '{fields[column]}' (fields.{column}); it has {sorted(record)}. "
                "Name the right field in the config, or set on_bad_row: skip."
            )
        if isinstance(value, list):
            value = ", ".join(str(item) for item in value)
        values[column] = None if value is None else str(value).strip()
    if not values["question"]:
        if on_bad_row == "skip":
            return None
        raise ScaleQuestError(f"{place} has an empty question (field '{fields['question']}').")
    if values["answer"] is None and values["solution"] is not None:
        values["answer"] = extract_answer(values["solution"])
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
