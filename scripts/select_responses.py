"""Choose responses for each question, normally one, and keep every candidate with its reward and its votes.

Scores of the steps of a response become one reward here, so that another `reward.aggregate` asks no model anew.
The rule is `reward` (the paper: the reward model's favourite), `majority` (the largest group of equal answers),
`majority_then_reward` (the favourite within the largest groups) or `weighted_vote` (the favourite within the group of
the largest sum of rewards). A response that was cut has no say, nor has one without a final answer when answers are
required. Sources: ScaleQuest (arXiv 2410.18693), section 3.4; weighted votes: Li et al. 2022 (arXiv 2206.02336).
"""

from __future__ import annotations

import logging
import math
import operator
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from scalequest.domains.base import open_domain
from scalequest.errors import ScaleQuestError
from scalequest.grading.pool import Grouping
from scalequest.grading.verdicts import grouped
from scalequest.rows import tables
from scalequest.runtime import job
from scalequest.runtime.files import write_json
from scalequest.settings import Grading, read_settings

log = logging.getLogger("scalequest")
Row = dict[str, Any]
RULES = ("reward", "majority", "majority_then_reward", "weighted_vote")
# One reward from the scores of a response's steps, of which there is at least one.
AGGREGATES: Mapping[str, Callable[[Sequence[float]], float]] = {
    "min": min,
    "product": math.prod,
    "last": operator.itemgetter(-1),
}
# From the answers to each question, in order of sample, to which of them are the same.
Same = Callable[[Mapping[str, Sequence[str | None]]], Mapping[str, Grouping]]


@dataclass(frozen=True)
class Selection:
    """The config's `selection`: one of RULES, whether a response needs a final answer, and how many are selected.
    `unbounded`: rewards are scores of a reward model, and no probabilities."""

    rule: str
    require_answer: bool
    keep: int = 1
    unbounded: bool = False


@dataclass(frozen=True)
class Settings:
    """How responses are selected and answers compared, and the domain of the questions. `aggregate` is one of
    AGGREGATES where the rewards are scores of steps, and None where they are one number each."""

    selection: Selection
    grading: Grading
    domain: str
    aggregate: str | None


def is_eligible(row: Mapping[str, Any], require_answer: bool) -> bool:
    """Whether a response may be selected: not cut, and with a final answer where one is required."""
    return row["finish_reason"] != "length" and not (require_answer and row["answer"] is None)


def read_rewards(path: str, aggregate: str | None) -> list[Row]:
    """One reward for each response, from the table `rewards`, or from the scores of its steps in `step_rewards`. A
    response without steps has the reward 0, the lowest."""
    if aggregate is None:
        return tables.read_rows(path, tables.REWARDS)
    if aggregate not in AGGREGATES:
        raise ScaleQuestError(f"reward.aggregate is {aggregate!r}; it must be one of {', '.join(AGGREGATES)}.")
    return [
        {"id": row["id"], "sample": row["sample"], "reward": AGGREGATES[aggregate](row["steps"] or [0.0])}
        for row in tables.read_rows(path, tables.STEP_REWARDS)
    ]


def with_rewards(attempts: Sequence[Row], rewards: Sequence[Row] | None, require_answer: bool) -> list[Row]:
    """Attempts with `reward`; None where there are no rewards, or none for a response that cannot be selected anyway.

    Raises ScaleQuestError naming the row (id, sample) whose reward is not finite or is missing, or that has no attempt.
    """
    if rewards is None:
        return [{**row, "reward": None} for row in attempts]
    scores = {(row["id"], row["sample"]): row["reward"] for row in rewards}
    for (question, sample), reward in scores.items():
        if not math.isfinite(reward):
            raise ScaleQuestError(
                f"the reward of response (id {question!r}, sample {sample}) is {reward}, not a finite number. "
                "Look at the reward model's output for it, or choose another reward model."
            )
    unknown = scores.keys() - {(row["id"], row["sample"]) for row in attempts}
    if unknown:
        question, sample = min(unknown)
        raise ScaleQuestError(
            f"there is a reward for (id {question!r}, sample {sample}) but no such response: the two tables are not "
            "of the same run. Remove the rewards; the rule that makes them runs again."
        )
    for row in attempts:
        if (row["id"], row["sample"]) not in scores and is_eligible(row, require_answer):
            raise ScaleQuestError(
                f"response (id {row['id']!r}, sample {row['sample']}) has no reward. "
                "Remove the rewards; the rule that makes them runs again."
            )
    return [{**row, "reward": scores.get((row["id"], row["sample"]))} for row in attempts]


def weight(reward: float, unbounded: bool) -> float:
    """What a response counts in a weighted vote, more than 0: its reward, or that of a reward model as a probability
    (the logistic function), as a score below 0 would make a group smaller with each response."""
    if not unbounded:
        return reward
    return 1 / (1 + math.exp(-reward)) if reward >= 0 else math.exp(reward) / (1 + math.exp(reward))


def choose(rows: Sequence[Row], groups: Sequence[Sequence[int]], settings: Selection) -> list[int]:
    """Positions of the selected responses among one question's rows (in order of sample), the best one first.

    `groups` are positions of responses with equal answers; only eligible members count. Ties go to the lowest sample.
    After the best come those of the same group whose text is another one, as many as are to be kept.
    """
    rule = settings.rule
    members = [[i for i in group if is_eligible(rows[i], settings.require_answer)] for group in groups]
    members = sorted(group for group in members if group)
    if not members:
        return []
    if rule == "reward":
        sizes = [0.0] * len(members)
    elif rule == "weighted_vote":
        sizes = [math.fsum(weight(rows[i]["reward"], settings.unbounded) for i in group) for group in members]
    else:
        sizes = [float(len(group)) for group in members]

    def order(i: int) -> tuple[float, int]:
        return (0.0 if rule == "majority" else -rows[i]["reward"]), i

    largest = [group for group, size in zip(members, sizes, strict=True) if size == max(sizes)]
    own = min(largest, key=lambda group: min(map(order, group)))
    by_text: dict[str, int] = {}
    for i in sorted(own, key=order):
        by_text.setdefault(" ".join(rows[i]["response"].split()), i)
    return list(by_text.values())[: settings.keep]


def candidates_of(rows: Sequence[Row], groups: Sequence[Sequence[int]], selected: Collection[int]) -> list[Row]:
    """One question's rows of the candidates table."""
    votes = {i: len(group) for group in groups for i in group}
    names = [column.name for column in tables.CANDIDATES.columns]
    return [
        {name: row[name] for name in names if name in row} | {"votes": votes[i], "selected": i in selected}
        for i, row in enumerate(rows)
    ]


def why_none(rows: Sequence[Row]) -> str:
    """Why a question without an eligible response has none: cut, no_answer, or cut_or_no_answer where both occur."""
    reasons = {"cut" if row["finish_reason"] == "length" else "no_answer" for row in rows}
    return reasons.pop() if len(reasons) == 1 else "cut_or_no_answer"


def select(
    attempts: Sequence[Row], rewards: Sequence[Row] | None, settings: Selection, same: Same
) -> tuple[list[Row], Row]:
    """Rows of the candidates table, one for each attempt, and the counts of the summary.

    `same` says which answers to a question are equal.
    Raises ScaleQuestError for an unknown rule, a rule that needs rewards without them, and as `with_rewards`.
    """
    rule, require_answer = settings.rule, settings.require_answer
    if rule not in RULES:
        raise ScaleQuestError(f"selection.rule is {rule!r}; it must be one of {', '.join(RULES)}.")
    if rewards is None and rule != "majority":
        raise ScaleQuestError(f"selection.rule {rule!r} needs rewards, and none were given (--rewards).")
    scored = sorted(with_rewards(attempts, rewards, require_answer), key=lambda row: (row["id"], row["sample"]))
    questions = {name: list(rows) for name, rows in groupby(scored, key=lambda row: row["id"])}
    groupings = same({name: [row["answer"] for row in rows] for name, rows in questions.items()})
    candidates: list[Row] = []
    without: Counter[str] = Counter()
    for name, rows in questions.items():
        groups = groupings[name].groups
        selected = choose(rows, groups, settings)
        candidates += candidates_of(rows, groups, selected)
        if not selected:
            without[why_none(rows)] += 1
    summary = {
        "questions": len(questions),
        "responses": len(candidates),
        "selected": sum(row["selected"] for row in candidates),
        "without": {reason: without[reason] for reason in ("cut", "no_answer", "cut_or_no_answer")},
        "timeouts": sum(grouping.undecided for grouping in groupings.values()),
    }
    return candidates, summary


def main() -> None:
    parser = job.parser(__doc__ or "")
    parser.add_argument("--attempts", required=True, help="responses with their final answers (table attempts)")
    parser.add_argument("--rewards", help="their scores (table rewards or step_rewards); rule majority needs none")
    parser.add_argument("--progress", required=True, type=Path, help="folder of finished windows")
    parser.add_argument("--out", required=True, help="all candidates (table candidates)")
    parser.add_argument("--summary", required=True, help="counts, as JSON")
    args = parser.parse_args()
    settings = read_settings(Settings, args.settings)
    attempts = tables.read_rows(args.attempts, tables.ATTEMPTS)
    rewards = read_rewards(args.rewards, settings.aggregate) if args.rewards else None
    stores: list[str] = []

    def same(answers: Mapping[str, Sequence[str | None]]) -> Mapping[str, Grouping]:
        questions = [
            {"id": name, "index": tables.index_of(name), "answers": list(own)} for name, own in answers.items()
        ]
        kept = {"group": tables.group_of(answers), "progress": args.progress, "time_limit": settings.grading.time_limit}
        found, store = grouped(questions, open_domain(settings.domain).main, **kept)
        stores.append(store)
        return found

    candidates, summary = select(attempts, rewards, settings.selection, same)
    tables.write_table(args.out, candidates, tables.CANDIDATES, made_in=stores)
    write_json(args.summary, summary)
    answered = summary["questions"] - sum(summary["without"].values())
    log.info("%d of %d questions have a selected response", answered, summary["questions"])


if __name__ == "__main__":
    job.run(main)
