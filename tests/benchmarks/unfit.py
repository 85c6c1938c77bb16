"""How many problems of a benchmark are taken for ones whose answers cannot be checked: all of them have answers.

python tests/benchmarks/unfit.py --problems data/gsm8k_test.jsonl results/datasets/math_test.parquet
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from common import print_table

from scalequest.grading.problem_types import NO_OPTIONS, PROOF, SEVERAL, unfit
from scalequest.rows.tables import PROBLEMS, read_rows


def texts(path: Path) -> list[str]:
    """The problems of a staged data set, or of JSON lines with a field `question` or `problem`."""
    if path.suffix == ".parquet":
        return [row["question"] for row in read_rows(path, PROBLEMS)]
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [row["question"] if "question" in row else row["problem"] for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", required=True, type=Path, nargs="+", help="staged data sets, or JSON lines")
    parser.add_argument("--show", type=int, default=0, help="so many of each kind")
    args = parser.parse_args()
    rows = []
    for path in args.problems:
        problems = texts(path)
        found = [unfit(text) for text in problems]
        counts = Counter(found)
        rows.append((path.stem, f"{len(problems):,}", *(str(counts[kind]) for kind in (PROOF, NO_OPTIONS, SEVERAL))))
        for kind in (PROOF, NO_OPTIONS, SEVERAL):
            of_kind = [text for text, why in zip(problems, found, strict=True) if why == kind]
            for text in of_kind[: args.show]:
                print(f"{path.stem}, {kind}: {text!r}")
    print_table(("data set", "problems", PROOF, NO_OPTIONS, SEVERAL), rows)


if __name__ == "__main__":
    main()
