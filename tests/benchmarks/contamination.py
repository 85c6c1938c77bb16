"""Share of problems that share an n-gram with a benchmark item, and share that the contamination filter drops.

    python tests/benchmarks/contamination.py results/datasets/gsm8k_train.parquet results/datasets/math_train.parquet \
        --benchmarks results/datasets/gsm8k_test.parquet results/datasets/math_test.parquet

n and the overlap that a row is dropped at are those of config.yaml (`filters.contamination`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from common import default_config, print_table

from scalequest.filters.contamination import BenchmarkIndex
from scalequest.rows.tables import PROBLEMS, read_rows
from scalequest.runtime import job


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problems", nargs="+", type=Path, help="tables of problems to look into")
    parser.add_argument("--benchmarks", nargs="+", required=True, type=Path, help="tables of benchmark items")
    args = parser.parse_args()
    section = default_config()["filters"]["contamination"]
    items = [row for path in args.benchmarks for row in read_rows(path, PROBLEMS)]
    index = BenchmarkIndex(items, section["ngram"])
    rows = []
    for path in args.problems:
        found = [index.matches(row["question"], section["min_overlap"]) for row in read_rows(path, PROBLEMS)]
        counts = sum(best > 0 for best, _ in found), sum(bool(matches) for _, matches in found)
        rows.append([path.stem, f"{len(found):,}", *(f"{count:,} ({count / len(found):.3%})" for count in counts)])
    print_table([f"against {len(items):,} items", "problems", f"share a {section['ngram']}-gram", "dropped"], rows)


if __name__ == "__main__":
    job.run(main)
