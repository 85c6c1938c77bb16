"""Verdicts on answers, made once and kept: which are right by a grader, and which answers to a question are the same.

They lie in the store of rows, in windows, so a job that is killed judges a window again at most, a new version of one
grader leaves the other's verdicts, and another rule of selection compares nothing. What names them is what decides
them: the grader with its version, the libraries that it rests on, the time that a pair has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from scalequest.graders import GRADERS, Item, grade_all, pool_of
from scalequest.grading import Grouping
from scalequest.job import Progress
from scalequest.operation import operation
from scalequest.store import RowStore, in_windows
from scalequest.tables import GRADES, GROUPS, Table

Row = dict[str, Any]
# Folders below the progress folder, by the rules that judge most.
_GRADING, _GROUPING = "grade_answers", "select_responses"
# Problems or questions: seconds of work, and minutes where every pair takes its whole time.
WINDOW = 256
# The grader that says whether a solver is right and which answers to a question are the same.
EQUIVALENCE = "equivalence"


def graded(
    answers: Sequence[Mapping[str, Any]], grader: str, *, group: str, progress: Path, time_limit: float
) -> tuple[list[Row], str]:
    """GRADES rows by one grader, one for each answer, and the name of the store that keeps them.

    `answers` have `id`, `sample`, `index` of the problem, `gold` (None: there is none, and no answer is right), `facts`
    (further fields of the problem by name), `response`, and `cut` where that ended at the limit of tokens. `group`
    names whose answers to what they are, `time_limit` is seconds for a pair.
    """
    store = _store(progress, _GRADING, grader, GRADES, time_limit)
    rows = [{**answer, "grader": grader} for answer in answers]
    with pool_of(grader, operation()["grading_workers"]) as pool:

        def work(rows: list[Row]) -> list[Row]:
            known = [row for row in rows if row["gold"] is not None]
            items = [Item(row["gold"], row["response"], row["facts"], row["cut"]) for row in known]
            grades = iter(grade_all(grader, items, pool, time_limit=time_limit))
            made = []
            for row in rows:
                found = {"answer": None, "right": False, "how": "no gold"}
                if row["gold"] is not None:
                    grade = next(grades)
                    found = {"answer": grade.answer, "right": grade.right, "how": grade.how}
                made.append({**{name: row[name] for name in (*GRADES.key, "gold")}, **found})
            return made

        return in_windows(rows, store, WINDOW, work, group=group, progress=Progress(f"grades by {grader}")), store.name


def grouped(
    questions: Sequence[Mapping[str, Any]], *, group: str, progress: Path, time_limit: float
) -> tuple[dict[str, Grouping], str]:
    """By id, which answers to a question are the same, and the name of the store that keeps it.

    `questions` have `id`, `index` and `answers` in order of sample, None for a response without one.
    """
    store = _store(progress, _GROUPING, EQUIVALENCE, GROUPS, time_limit)
    with pool_of(EQUIVALENCE, operation()["grading_workers"]) as pool:

        def work(rows: list[Row]) -> list[Row]:
            found = pool.group_all([row["answers"] for row in rows], time_limit)
            return [
                {"id": row["id"], "groups": _firsts(one, len(row["answers"])), "undecided": one.undecided}
                for row, one in zip(rows, found, strict=True)
            ]

        rows = [dict(question) for question in questions]
        made = in_windows(rows, store, WINDOW, work, group=group, progress=Progress("questions compared"))
    return {row["id"]: Grouping(_members(row["groups"]), row["undecided"]) for row in made}, store.name


def _store(progress: Path, stage: str, grader: str, table: Table, time_limit: float) -> RowStore:
    releases = {name: version(name) for name in ("math-verify", "latex2sympy2-extended", "sympy")}
    key = {"grader": grader, "version": GRADERS[grader].version, "libraries": releases, "time_limit": time_limit}
    return RowStore(progress, stage, key, table)


def _firsts(grouping: Grouping, count: int) -> list[int]:
    """For each position the first of its group."""
    firsts = [0] * count
    for group in grouping.groups:
        for place in group:
            firsts[place] = group[0]
    return firsts


def _members(firsts: Sequence[int]) -> list[list[int]]:
    """The groups of which `_firsts` tells."""
    groups: dict[int, list[int]] = {}
    for place, first in enumerate(firsts):
        groups.setdefault(first, []).append(place)
    return list(groups.values())
