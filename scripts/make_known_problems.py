"""Seed problems with known answers, for a rehearsal: models solve them, and a reward model tells right from wrong.

The right response to a problem is its solution, the wrong one the solution of another problem with another answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalequest.errors import ScaleQuestError
from scalequest.hashing import drawn
from scalequest.rows.tables import ATTEMPTS, FILTERED, PROBLEMS, question_id, read_rows, write_table
from scalequest.runtime import job
from scalequest.settings import read_settings

Row = dict[str, Any]
# Numbers of the responses to a problem.
RIGHT, WRONG = 0, 1


@dataclass(frozen=True)
class Settings:
    """How many problems are drawn."""

    problems: int


def draw(problems: Sequence[Row], count: int) -> list[Row]:
    """At most `count` problems with an answer, drawn by the hash of their ids and numbered in table order.

    Raises ScaleQuestError where fewer than two have one, or all have the same.
    """
    usable = [row for row in problems if row["answer"]]
    if len({row["answer"] for row in usable}) < 2:
        raise ScaleQuestError(
            f"{len(usable)} of {len(problems)} seed problems have an answer, and a rehearsal needs two with different "
            "ones: name the field in datasets.NAME.fields.answer, or the solutions that end in one in fields.solution."
        )
    ids = drawn([row["id"] for row in usable], count, 0, "rehearsal")
    return [{**row, "index": index} for index, row in enumerate(row for row in usable if row["id"] in ids)]


def questions(problems: Sequence[Row]) -> list[Row]:
    """The problems as questions that the filters left."""
    return [
        {
            **{"id": question_id("known", 0, row["index"]), "generator": "known", "seed": 0, "index": row["index"]},
            **{"question": row["question"], "kept": True, "dropped_by": "", "marks": "", "reason": ""},
            **{"difficulty": None, "solvable": None},
        }
        for row in problems
    ]


def responses(problems: Sequence[Row]) -> list[Row]:
    """A right and a wrong response to each problem that has another answer than some other problem."""
    made = []
    for number, row in enumerate(problems):
        behind = [*problems[number + 1 :], *problems[:number]]
        other = next((other for other in behind if other["answer"] != row["answer"]), None)
        for sample, source in ((RIGHT, row), (WRONG, other)) if other else ():
            made.append(
                {
                    **{"id": question_id("known", 0, row["index"]), "sample": sample},
                    **{
                        "reasoning": None,
                        "response": source["solution"] or source["answer"],
                        "answer": source["answer"],
                    },
                    **{"finish_reason": "stop", "tokens": 0, "sampling_seed": 0},
                }
            )
    return made


def main() -> None:
    """Draw the problems, and write them with their responses."""
    parser = job.parser(__doc__ or "")
    parser.add_argument("--seeds", required=True, type=Path, help="table of seed problems")
    parser.add_argument("--problems", required=True, type=Path, help="table of the drawn problems to write")
    parser.add_argument("--questions", required=True, type=Path, help="the same as a table of questions to write")
    parser.add_argument("--attempts", required=True, type=Path, help="table of right and wrong responses to write")
    args = parser.parse_args()
    found = draw(read_rows(args.seeds, PROBLEMS), read_settings(Settings, args.settings).problems)
    write_table(args.problems, found, PROBLEMS)
    write_table(args.questions, questions(found), FILTERED)
    write_table(args.attempts, responses(found), ATTEMPTS)


if __name__ == "__main__":
    job.run(main)
