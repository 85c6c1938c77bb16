"""Count the questions that seed problems have in common with benchmarks: what is trained on cannot be a test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from scalequest.rows.tables import PROBLEMS, read_arrow
from scalequest.runtime import job
from scalequest.runtime.files import write_json


def questions(path: Path) -> list[str]:
    """The questions of a table of problems, white space aside, as make_seeds compares them."""
    return [" ".join(question.split()) for question in read_arrow(path, PROBLEMS)["question"].to_pylist()]


def compare(seeds: Mapping[str, list[str]], benchmarks: Mapping[str, list[str]]) -> dict[str, dict]:
    """By benchmark: its number of `problems`, and how many of them each set of seeds has (`equal`)."""
    known = {name: set(texts) for name, texts in seeds.items()}
    return {
        benchmark: {
            "problems": len(texts),
            "equal": {name: sum(text in own for text in texts) for name, own in known.items()},
        }
        for benchmark, texts in benchmarks.items()
    }


def main() -> None:
    parser = job.parser(__doc__ or "")
    parser.add_argument("--seeds", required=True, type=Path, nargs="+", help="tables of seed problems, one a source")
    parser.add_argument("--benchmarks", required=True, type=Path, nargs="+", help="tables of the benchmarks' problems")
    parser.add_argument("--out", required=True, type=Path, help="JSON of counts to write")
    args = parser.parse_args()
    seeds, benchmarks = ({path.stem: questions(path) for path in paths} for paths in (args.seeds, args.benchmarks))
    counts = compare(seeds, benchmarks)
    write_json(args.out, counts)
    for benchmark, own in counts.items():
        for name, equal in own["equal"].items():
            if equal:
                job.log.warning(
                    "%d of the %d problems of benchmark '%s' are seed problems of '%s' too, so generators are trained "
                    "on them. Leave them out of the one or the other, or take another benchmark.",
                    *(equal, own["problems"], benchmark, name),
                )


if __name__ == "__main__":
    job.run(main)
