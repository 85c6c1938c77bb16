"""How much of each benchmark a student's training set holds, as our dataset is decontaminated and others may not be.

A row holds a problem by the measure of the filter `contamination` (scalequest.contamination). Rows count that the
student is trained on, and those that are too long for it. Nothing is left out of a training set here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scalequest.filters.contamination import BenchmarkIndex, Overlap
from scalequest.rows.tables import PROBLEMS, read_rows
from scalequest.runtime import job
from scalequest.runtime.files import write_json
from scalequest.settings import read_settings
from scalequest.training import student_data as training_sets

Row = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """The student's training set, and when a row counts as holding a problem."""

    data: training_sets.Slice
    contamination: Overlap


def overlap(questions: Counter[str], benchmarks: Mapping[str, Sequence[Row]], section: Overlap) -> Row:
    """By benchmark: `problems`, how many of them the questions hold (`held`), and how many rows hold one (`rows`).

    `questions` counts the training set's rows by their question.
    """
    index = BenchmarkIndex((problem for own in benchmarks.values() for problem in own), section.ngram)
    rows: Counter[str] = Counter()
    held: dict[str, set[str]] = defaultdict(set)
    for question, count in questions.items():
        _, matches = index.matches(question, section.min_overlap)
        for match in matches:
            held[match.benchmark].add(match.item_id)
        rows.update(dict.fromkeys((match.benchmark for match in matches), count))
    return {
        name: {"problems": len(own), "held": len(held[name]), "rows": rows[name]} for name, own in benchmarks.items()
    }


def main() -> None:
    """Read the training set as the training does, and the benchmarks; write what the one holds of the others."""
    parser = job.parser(__doc__ or "")
    training_sets.add_arguments(parser)
    parser.add_argument("--benchmarks", required=True, type=Path, nargs="+", help="tables of the benchmarks' problems")
    parser.add_argument("--out", required=True, type=Path, help="counts to write, JSON")
    args = parser.parse_args()
    settings = read_settings(Settings, args.settings)
    pairs = training_sets.read(args, settings.data.rows).pairs
    benchmarks = {path.stem: read_rows(path, PROBLEMS) for path in args.benchmarks}
    counts = overlap(Counter(pair.question for pair in pairs), benchmarks, settings.contamination)
    write_json(args.out, {"rows": len(pairs), "contamination": asdict(settings.contamination), "benchmarks": counts})
    shown = ", ".join(f"{own['held']} of {own['problems']} problems of {name}" for name, own in counts.items())
    job.log.info("%d rows hold %s", len(pairs), shown)


if __name__ == "__main__":
    job.run(main)
