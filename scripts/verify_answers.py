"""The answer to each question on which most samples of one or more solvers agree, and how often each solver has it.

Answers are compared as mathematics. What is kept of them is decided later, from these numbers (build_formats).
Source of the idea: DeepMath-103K (arXiv 2504.11456) and Big-Math (arXiv 2502.17387), section 3.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalequest.domains.base import open_domain
from scalequest.errors import ScaleQuestError
from scalequest.grading import checkable
from scalequest.grading.problem_types import problem_type, unfit
from scalequest.grading.verdicts import grouped
from scalequest.rows.tables import ATTEMPTS, FILTERED, VERIFIED, group_of, read_rows, write_table
from scalequest.runtime import job
from scalequest.settings import Grading, read_settings

log = logging.getLogger("scalequest")
Row = dict[str, Any]
# Questions of which a solver that answers none must have trouble of its own.
ENOUGH = 16


@dataclass(frozen=True)
class Settings:
    """Names of the solvers in their order, the domain of the questions, and how answers are compared."""

    solvers: tuple[str, ...]
    domain: str
    grading: Grading


def samples_of(solvers: Mapping[str, Sequence[Row]]) -> dict[str, list[tuple[str, str | None]]]:
    """By question id, solver and answer of each sample, solvers in their order. A response that was cut has no answer.

    Raises ScaleQuestError for a solver without an answer to any of ENOUGH questions or more.
    """
    found: dict[str, list[tuple[str, str | None]]] = {}
    for solver, rows in solvers.items():
        answers = [None if row["finish_reason"] == "length" else row["answer"] for row in rows]
        asked = len({row["id"] for row in rows})
        if asked >= ENOUGH and all(answer is None for answer in answers):
            cut = sum(row["finish_reason"] == "length" for row in rows)
            key = f"verification.solvers.{solver}"
            limit = f"at {key}.sampling.max_tokens"
            if any(row["reasoning"] is not None for row in rows):
                limit += f" or had traces that did not end within {key}.thinking.budget"
            raise ScaleQuestError(
                f"{key} answers nothing: none of its {len(rows)} responses to {asked} questions has a final answer, "
                f"and {cut} were cut {limit}. Raise that if it is most of them, or take another "
                f"solver; results/solutions/{solver} has the responses."
            )
        for row, answer in zip(rows, answers, strict=True):
            found.setdefault(row["id"], []).append((solver, answer))
    return found


def largest(answers: Sequence[str | None], groups: Sequence[Sequence[int]]) -> list[int]:
    """Positions of the largest group of equal answers, of several that with the first sample; empty without one."""
    with_answer = [sorted(group) for group in groups if answers[group[0]] is not None]
    return max(with_answer, key=lambda group: (len(group), -group[0]), default=[])


def verified(question: Row, samples: Sequence[tuple[str, str | None]], groups: Sequence[Sequence[int]]) -> Row:
    """The row of VERIFIED, without `reason`, and `others`, one answer of each other group."""
    answers = [answer for _, answer in samples]
    own = largest(answers, groups)
    # The way in which most of them write it.
    answer = Counter(answers[place] for place in own).most_common(1)[0][0] if own else None
    drawn, right = Counter(solver for solver, _ in samples), Counter(samples[place][0] for place in own)
    return {
        "id": question["id"],
        "answer": answer,
        "agreement": len(own) / len(samples),
        "pass_rates": [{"solver": solver, "rate": right[solver] / count} for solver, count in drawn.items()],
        "answer_type": problem_type(question["question"], answer),
        "unfit": unfit(question["question"]),
        "others": [text for group in groups if group[0] not in own and (text := answers[group[0]]) is not None],
    }


def main() -> None:
    parser = job.parser(__doc__ or "")
    parser.add_argument("--questions", type=Path, required=True, help="table of filtered questions")
    parser.add_argument(
        "--solutions", type=Path, nargs="+", required=True, help="attempts of each solver, in their order"
    )
    parser.add_argument("--progress", type=Path, required=True, help="folder of finished windows")
    parser.add_argument("--out", type=Path, required=True, help="the table verified")
    args = parser.parse_args()
    settings = read_settings(Settings, args.settings)
    grader = open_domain(settings.domain).main
    questions = [row for row in read_rows(args.questions, FILTERED) if row["kept"]]
    solutions = [read_rows(path, ATTEMPTS) for path in args.solutions]
    samples = samples_of(dict(zip(settings.solvers, solutions, strict=True)))
    if absent := [row["id"] for row in questions if row["id"] not in samples]:
        raise ScaleQuestError(
            f"{args.solutions[0]} has no response to '{absent[0]}' of {args.questions}. Remove it; the rule "
            "sample_solutions makes it again."
        )
    kept: dict[str, Any] = {"group": group_of(row["id"] for row in questions), "progress": args.progress}
    kept["time_limit"] = settings.grading.time_limit
    asked = [
        {"id": row["id"], "index": row["index"], "answers": [answer for _, answer in samples[row["id"]]]}
        for row in questions
    ]
    groupings, compared = grouped(asked, grader, **kept)
    rows = [verified(row, samples[row["id"]], groupings[row["id"]].groups) for row in questions]
    checks = [
        {"id": row["id"], "index": question["index"], "answer": row["answer"], "others": row["others"]}
        for row, question in zip(rows, questions, strict=True)
    ]
    reasons, checked = checkable.reasons(checks, grader, **kept)
    made = [{key: row[key] for key in row if key != "others"} | {"reason": reasons[row["id"]]} for row in rows]
    write_table(args.out, made, VERIFIED, made_in=[compared, *checked])
    agreed = sum(len(samples[row["id"]]) * row["agreement"] > 1 for row in rows)
    log.info("on %d of %d questions at least two samples agree", agreed, len(rows))


if __name__ == "__main__":
    job.run(main)
