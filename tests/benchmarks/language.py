"""Share of texts that the language filter keeps as English, by rule: problems of English data sets, and 40 questions
in other languages.

    python tests/benchmarks/language.py results/datasets/gsm8k_test.parquet results/datasets/math_test.parquet

Rule and threshold as in config.yaml. The questions in other languages are foreign_questions.txt beside this file, a
language code and a question a line; some are written without their accents, as many people type them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from common import default_config, print_table

from scalequest.filters.language import Settings, verdict
from scalequest.rows.tables import PROBLEMS, read_rows
from scalequest.runtime import job

FOREIGN = Path(__file__).with_name("foreign_questions.txt")
RULES = ("detect", "ascii")


def foreign_questions() -> list[str]:
    """The questions in other languages."""
    return [line.split("\t", 1)[1] for line in FOREIGN.read_text(encoding="utf-8").splitlines()]


def kept(texts: Sequence[str], rule: str, min_probability: float) -> int:
    """How many of the texts the rule keeps as English."""
    return sum(verdict({"question": text}, Settings(rule, min_probability, "en")).keep for text in texts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problems", nargs="*", type=Path, help="tables of English problems")
    args = parser.parse_args()
    limit = default_config()["filters"]["language"]["min_probability"]
    texts = {path.stem: [row["question"] for row in read_rows(path, PROBLEMS)] for path in args.problems}
    if len(texts) > 1:
        texts["all of these"] = [text for table in texts.values() for text in table]
    texts["in other languages"] = foreign_questions()
    rows = []
    for name, table in texts.items():
        counts = [kept(table, rule, limit) for rule in RULES]
        rows.append([name, f"{len(table):,}", *(f"{count:,} ({count / len(table):.1%})" for count in counts)])
    print_table(["", "questions", *(f"kept by `rule: {rule}`" for rule in RULES)], rows)


if __name__ == "__main__":
    job.run(main)
