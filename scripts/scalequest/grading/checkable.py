"""Which answers the reward of the configuration `rl` can check (`verl_reward`, which reads as TRL's accuracy reward).

That reward reads some answers wrongly, and trains a model towards what it reads. So an answer counts only where it is
right by the reward, and the other answers to the question, as the domain's grader sets them apart, are wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from scalequest.grading import verl_reward
from scalequest.grading.graders import Grader
from scalequest.grading.latex import LONGEST
from scalequest.grading.pool import Pool, Verdict
from scalequest.grading.verdicts import WINDOW
from scalequest.rows.store import RowStore, in_windows
from scalequest.rows.tables import CHECKS
from scalequest.runtime.job import Progress
from scalequest.runtime.operation import operation

Row = dict[str, Any]
# Raise it when verdicts change.
VERSION = 1
LIBRARIES = ("math-verify", "latex2sympy2-extended", "sympy")
# A wrong answer to every question, as all responses may agree.
PROBE = "7919.137"
NO_ANSWER = "no answer"
# The folder below the progress folder, where older releases stored them.
_CHECKING = "build_formats"
# Rewards of mathematics would read a word as a product of its letters.
NO_MATHEMATICS = "answers of this domain are no mathematics"


def reasons(
    questions: Sequence[Mapping[str, Any]], grader: Grader, *, group: str, progress: Path, time_limit: float
) -> tuple[dict[str, str], list[str]]:
    """Why the reward cannot check the answer to a question, by id, empty where it can; and the names of the stores.

    `questions` have `id`, `index`, `answer` (None: there is none) and `others`, one answer of each other group of equal
    ones. `grader` is the main one of their domain. Other arguments and errors as of `verdicts.graded`.
    """
    if "math-verify" not in grader.libraries:
        return {row["id"]: NO_MATHEMATICS for row in questions}, []
    key = {"version": VERSION, "libraries": {name: version(name) for name in LIBRARIES}, "time_limit": time_limit}
    store = RowStore(progress, _CHECKING, key, CHECKS)
    with Pool(
        operation()["grading_workers"],
        fast=_undecided,
        slow=is_rewarded,
        named="math-verify",
        preload=["math_verify"],
        warm_up=_warm_up,
    ) as pool:

        def work(rows: list[Row]) -> list[Row]:
            pairs = {row["id"]: _pairs(row) for row in rows}
            verdicts = iter(pool.equal_pairs([pair for own in pairs.values() for pair in own], time_limit))
            found = {name: [next(verdicts) for _ in own] for name, own in pairs.items()}
            return [{"id": row["id"], "reason": _reason(row, found[row["id"]])} for row in rows]

        rows = [dict(row) for row in questions]
        made = in_windows(rows, store, WINDOW, work, group=group, progress=Progress("answers checked"))
    return {row["id"]: row["reason"] for row in made}, [store.name]


def is_rewarded(gold: str, answer: str) -> bool:
    """Whether the reward of an answer in a box is 1. Not bounded in time."""
    return verl_reward.reward(rf"\boxed{{{answer}}}", f"${gold}$") == 1.0


def _undecided(gold: str, answer: str) -> tuple[None, str]:
    return None, ""


def _warm_up() -> None:
    is_rewarded(r"\sqrt{2}x", r"x\sqrt{2}")


def _pairs(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The answer with itself, and with each wrong one; none where there is none or it is too long to be searched."""
    answer, others = row["answer"], row["others"]
    if answer is None or len(answer) > LONGEST:
        return []
    return [(answer, other) for other in (answer, PROBE, *(text for text in others if len(text) <= LONGEST))]


def _reason(row: Mapping[str, Any], verdicts: Sequence[Verdict]) -> str:
    if row["answer"] is None:
        return NO_ANSWER
    if not verdicts:
        return "answer too long"
    if any(verdict.how in ("timeout", "error") for verdict in verdicts):
        return "not decided within the time limit"
    if not verdicts[0].equal:
        return "the reward does not read the answer"
    return "the reward takes another answer for it" if any(verdict.equal for verdict in verdicts[1:]) else ""
