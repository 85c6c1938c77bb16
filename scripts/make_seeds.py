"""Seed problems from any number of sources as one table: exact duplicates merged, counts kept by source."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from scalequest.errors import ScaleQuestError
from scalequest.hashing import digest
from scalequest.rows.tables import PROBLEMS, read_rows, write_table
from scalequest.runtime import job
from scalequest.runtime.files import write_json
from scalequest.settings import read_settings


@dataclass(frozen=True)
class Settings:
    """The config's `seeds`. `max_rows` is None for all."""

    max_rows: int | None


def merge(tables: list[list[dict]], max_rows: int | None) -> tuple[list[dict], dict[str, dict[str, int]]]:
    """One table of problems, in the order of the sources, each text once (white space aside); counts by source.

    `max_rows` keeps that many, drawn by the hash of their ids, so that a larger limit only adds rows.
    """
    seen: set[str] = set()
    counts: dict[str, Counter[str]] = {}
    rows: list[dict] = []
    for table in tables:
        for row in table:
            count = counts.setdefault(row["source"], Counter())
            count["read"] += 1
            text = " ".join(row["question"].split())
            if text in seen:
                count["duplicate"] += 1
                continue
            seen.add(text)
            rows.append(row)
    if max_rows is not None and len(rows) > max_rows:
        drawn = {row["id"] for row in sorted(rows, key=lambda row: digest(row["id"]))[:max_rows]}
        rows = [row for row in rows if row["id"] in drawn]
    for row in rows:
        counts[row["source"]]["kept"] += 1
    rows = sorted(rows, key=lambda row: row["id"])
    return [{**row, "index": index} for index, row in enumerate(rows)], {s: dict(c) for s, c in counts.items()}


def main() -> None:
    parser = job.parser(__doc__ or "")
    parser.add_argument("--problems", required=True, nargs="+", type=Path, help="tables of problems, one a source")
    parser.add_argument("--out", required=True, type=Path, help="table of seed problems to write")
    parser.add_argument("--counts", required=True, type=Path, help="JSON of counts by source to write")
    args = parser.parse_args()
    settings = read_settings(Settings, args.settings)
    rows, counts = merge([read_rows(path, PROBLEMS) for path in args.problems], settings.max_rows)
    if not rows:
        raise ScaleQuestError("the seed set is empty: use.seeds names no data set with rows, or seeds.max_rows is 0.")
    write_table(args.out, rows, PROBLEMS)
    write_json(args.counts, counts)


if __name__ == "__main__":
    job.run(main)
