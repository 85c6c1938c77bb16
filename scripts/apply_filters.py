"""Every question of a shard with every verdict: the unfiltered table, and who dropped what and why."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from scalequest.filters import decision as filters
from scalequest.rows.tables import FILTERED, QUESTIONS, read_rows, write_table
from scalequest.runtime import job
from scalequest.settings import read_settings


def main() -> None:
    parser = job.parser(__doc__ or "")
    parser.add_argument("--questions", required=True, type=Path, help="table of questions")
    filters.add_arguments(parser)
    parser.add_argument("--out", required=True, type=Path, help="table of filtered questions to write")
    args = parser.parse_args()
    questions = read_rows(args.questions, QUESTIONS)
    settings = read_settings(filters.Settings, args.settings)
    rows = filters.decide(questions, filters.read_evidence(args), settings.filters)
    dropped = Counter(row["dropped_by"] for row in rows)
    job.log.info("%d of %d questions kept; dropped by: %s", dropped.pop("", 0), len(rows), dict(dropped))
    write_table(args.out, rows, FILTERED)


if __name__ == "__main__":
    job.run(main)
