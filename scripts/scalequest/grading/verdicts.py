"""Stored verdicts on answers: which are right by a grader, and which answers to a question are equal.

They are rows of the store, made in windows. So a killed job repeats at most the windows that it was at, a new version
of one grader leaves the verdicts of the other, and another rule of selection compares nothing again. They are found by
what decides them: the grader and its version, the releases of the libraries, the time limit of a pair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from scalequest.grading.graders import Grader, Item, grade_all, pool_of
from scalequest.grading.pool import Grouping
from scalequest.rows.store import RowStore, in_windows
from scalequest.rows.tables import GRADES, GROUPS, Table
from scalequest.runtime.job import Progress
from scalequest.runtime.operation import operation

Row = dict[str, Any]
# Folders below the progress folder, named after the rules that store most.
_GRADING, _GROUPING = "grade_answers", "select_responses"
# Problems or questions of a window, which takes seconds, or minutes where every pair takes its whole time.
WINDOW = 256


def graded(
    answers: Sequence[Mapping[str, Any]], grader: Grader, *, group: str, progress: Path, time_limit: float
) -> tuple[list[Row], str]:
    """One row (GRADES) for each answer, by one grader, and the name of the store of these rows.

    `answers` have `id`, `sample`, `index` of the problem, `gold` (None: unknown, and no answer is right), `facts`
    (further fields of the problem by name), `response`, and `cut`, whether that ended at the token limit. `group` is
    the name of the index space (`store.in_windows`), `time_limit` is in seconds of processor time for a pair.
    Raises ScaleQuestError where the grader's processes cannot start; Stop where the job must end early.
    """
    store = _store(progress, _GRADING, grader, GRADES, time_limit)
    rows = [{**answer, "grader": grader.name} for answer in answers]
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

        return in_windows(
            rows, store, WINDOW, work, group=group, progress=Progress(f"grades by {grader.name}")
        ), store.name


def grouped(
    questions: Sequence[Mapping[str, Any]], grader: Grader, *, group: str, progress: Path, time_limit: float
) -> tuple[dict[str, Grouping], str]:
    """The groups of equal answers to each question, by id, and the name of the store of these rows (GROUPS).

    `questions` have `id`, `index` and `answers` in order of sample, None for a response without an answer. Other
    arguments and errors as of `graded`.
    """
    store = _store(progress, _GROUPING, grader, GROUPS, time_limit)
    with pool_of(grader, operation()["grading_workers"]) as pool:

        def work(rows: list[Row]) -> list[Row]:
            found = pool.group_all([row["answers"] for row in rows], time_limit)
            return [
                {"id": row["id"], "groups": firsts(one.groups, len(row["answers"])), "undecided": one.undecided}
                for row, one in zip(rows, found, strict=True)
            ]

        rows = [dict(question) for question in questions]
        made = in_windows(rows, store, WINDOW, work, group=group, progress=Progress("questions compared"))
    return {row["id"]: Grouping(_members(row["groups"]), row["undecided"]) for row in made}, store.name


def _store(progress: Path, stage: str, grader: Grader, table: Table, time_limit: float) -> RowStore:
    releases = {name: version(name) for name in grader.libraries}
    key = {"grader": grader.name, "version": grader.version, "libraries": releases, "time_limit": time_limit}
    return RowStore(progress, stage, key, table)


def firsts(groups: Sequence[Sequence[int]], count: int) -> list[int]:
    """For each of `count` positions the first position of its group."""
    found = [0] * count
    for group in groups:
        for place in group:
            found[place] = group[0]
    return found


def _members(found: Sequence[int]) -> list[list[int]]:
    """The groups of the positions in the form of `firsts`."""
    groups: dict[int, list[int]] = {}
    for place, first in enumerate(found):
        groups.setdefault(first, []).append(place)
    return list(groups.values())
