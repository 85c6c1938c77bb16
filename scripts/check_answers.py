"""Which responses to a question agree, and whether the reward of the configuration `rl` can check the answer.

It compares answers, which takes time, so that build_formats need not.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalequest.domains.base import open_domain
from scalequest.grading import checkable
from scalequest.grading.verdicts import firsts, grouped
from scalequest.rows.selected import best, questions_with_selection
from scalequest.rows.tables import ANSWER_CHECKS, group_of, index_of, write_table
from scalequest.runtime import job
from scalequest.settings import Grading, read_settings

Row = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """Domain of the questions, and how answers are compared."""

    domain: str
    grading: Grading


def asked(name: str, responses: list[Row], groups: list[list[int]]) -> Row:
    """What is checked of a question: the selected answer, and one answer of each other group."""
    selected = best(responses)
    others = [responses[group[0]]["answer"] for group in groups if selected not in group]
    others = [answer for answer in others if answer is not None]
    return {"id": name, "index": index_of(name), "answer": responses[selected]["answer"], "others": others}


def main() -> None:
    parser = job.parser(__doc__ or "")
    parser.add_argument("--candidates", type=Path, required=True, help="scored responses (table candidates)")
    parser.add_argument("--progress", type=Path, required=True, help="folder of finished windows")
    parser.add_argument("--out", type=Path, required=True, help="the table answer_checks")
    args = parser.parse_args()
    settings = read_settings(Settings, args.settings)
    grader = open_domain(settings.domain).main
    found = [
        (name, [{key: row[key] for key in ("answer", "reward", "selected")} for row in responses])
        for name, responses in questions_with_selection(args.candidates)
    ]
    kept: dict[str, Any] = {"group": group_of(name for name, _ in found), "progress": args.progress}
    kept["time_limit"] = settings.grading.time_limit
    answers = [{"id": name, "index": index_of(name), "answers": [row["answer"] for row in own]} for name, own in found]
    groupings, compared = grouped(answers, grader, **kept)
    questions = [asked(name, own, groupings[name].groups) for name, own in found]
    reasons, checked = checkable.reasons(questions, grader, **kept)
    rows = [
        {"id": name, "groups": firsts(groupings[name].groups, len(own)), "reason": reasons[name]} for name, own in found
    ]
    write_table(args.out, rows, ANSWER_CHECKS, made_in=[compared, *checked])


if __name__ == "__main__":
    job.run(main)
