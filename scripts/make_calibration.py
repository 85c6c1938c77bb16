"""Seed problems for a calibration: whole, shuffled word by word, and cut in half; and the solver's attempts at them.

A filter should keep the whole problems and drop the others. Of the attempts, the final answers are known to be right or
wrong, so each rule of selection can be counted.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measure_fail_rates import draw
from scalequest.hashing import row_seed
from scalequest.rows.known_texts import KINDS
from scalequest.rows.tables import ATTEMPTS, FILTERED, PROBLEMS, QUESTIONS, question_id, read_rows, write_table
from scalequest.runtime import job
from scalequest.settings import read_settings

Row = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """How many problems are drawn."""

    problems: int


def text_of(problem: Row, kind: str) -> str:
    """A problem's text as one of KINDS. The order of shuffled words is drawn by the problem's id."""
    words = problem["question"].split()
    if kind == "shuffled":
        random.Random(row_seed("calibration", problem["id"])).shuffle(words)  # noqa: S311 - an order, not a secret
    return {"whole": problem["question"], "shuffled": " ".join(words), "cut": " ".join(words[: len(words) // 2])}[kind]


def texts(problems: Sequence[Row]) -> Iterator[Row]:
    """QUESTIONS rows: each problem as each kind, of the generator `known`."""
    for row in problems:
        for place, kind in enumerate(KINDS):
            index = row["index"] * len(KINDS) + place
            yield {
                **{"id": question_id("known", 0, index), "generator": "known", "seed": 0, "index": index},
                **{"question": text_of(row, kind), "finish_reason": "stop", "tokens": 0, "sampling_seed": 0},
            }


def answered(problems: Sequence[Row]) -> list[Row]:
    """FILTERED rows: the problems as questions that the filters kept, of the generator `answered`."""
    return [
        {
            **{"id": question_id("answered", 0, row["index"]), "generator": "answered", "seed": 0},
            **{"index": row["index"], "question": row["question"], "kept": True, "dropped_by": "", "marks": ""},
            **{"reason": "", "difficulty": None, "solvable": None},
        }
        for row in problems
    ]


def attempts_at(problems: Sequence[Row], attempts: Sequence[Row]) -> list[Row]:
    """The attempts at these problems, under the ids of `answered`."""
    ids = {row["id"]: question_id("answered", 0, row["index"]) for row in problems}
    return [{**row, "id": ids[row["id"]]} for row in attempts if row["id"] in ids]


def main() -> None:
    """Draw the problems, and write them in each form."""
    parser = job.parser(__doc__ or "")
    parser.add_argument("--seeds", required=True, type=Path, help="table of seed problems")
    parser.add_argument("--attempts", required=True, type=Path, help="table of the solver's attempts")
    parser.add_argument("--problems", required=True, type=Path, help="table of the drawn problems to write")
    parser.add_argument("--texts", required=True, type=Path, help="table of each problem as each kind to write")
    parser.add_argument("--questions", required=True, type=Path, help="table of the problems as questions to write")
    parser.add_argument("--responses", required=True, type=Path, help="table of the attempts at them to write")
    args = parser.parse_args()
    found = draw(read_rows(args.seeds, PROBLEMS), read_settings(Settings, args.settings).problems)
    write_table(args.problems, found, PROBLEMS)
    write_table(args.texts, texts(found), QUESTIONS)
    write_table(args.questions, answered(found), FILTERED)
    write_table(args.responses, attempts_at(found, read_rows(args.attempts, ATTEMPTS)), ATTEMPTS)


if __name__ == "__main__":
    job.run(main)
