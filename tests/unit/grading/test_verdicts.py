"""Verdicts are made once: found again by what decides them, made again where that changes, and held to their version.

python tests/unit/grading/test_verdicts.py --record        after a grader's version was raised, or pairs were added
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests"), str(ROOT / "tests" / "support")]

from scalequest.grading import graders, verdicts  # noqa: E402 - the path above is for the imports below
from scalequest.grading import pool as grading  # noqa: E402
from scalequest.grading.graders import GRADERS, Grader, Item, grade_all, pool_of  # noqa: E402
from scalequest.grading.pool import Grouping  # noqa: E402
from scalequest.runtime.files import read_json, write_json  # noqa: E402

GOLDEN = ROOT / "tests" / "golden" / "verdicts.json"
RECORD = "python tests/unit/grading/test_verdicts.py --record"


def answer(number: int, response: str, gold: str | None = "12", sample: int = 0) -> dict[str, Any]:
    row = {"id": f"b/{number:08d}", "sample": sample, "index": number, "gold": gold, "facts": {}}
    return {**row, "response": response, "cut": False}


def graded(folder: Path, answers: list[dict], grader: str = "equivalence", limit: float = 20.0) -> list[dict]:
    rows, _ = verdicts.graded(answers, GRADERS[grader], group="m.b", progress=folder, time_limit=limit)
    return sorted(rows, key=lambda row: row["id"])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The responses that a grader was shown, and the answers that were compared with each other."""
    seen: list[str] = []
    whole, group = graders.grade_all, grading.Pool.group_all

    def watched(grader: Grader, items: Any, pool: Any, **more: Any) -> Any:
        seen.extend(item.response for item in items)
        return whole(grader, items, pool, **more)

    def grouping(pool: Any, lists: Any, limit: float) -> Any:
        seen.extend(text for one in lists for text in one)
        return group(pool, lists, limit)

    monkeypatch.setattr(verdicts, "grade_all", watched)
    monkeypatch.setattr(grading.Pool, "group_all", grouping)
    return seen


# More than one window.
MANY = [answer(i, rf"\boxed{{{12 + i % 2}}}") for i in range(verdicts.WINDOW + 5)]


def test_no_answer_is_judged_twice(tmp_path: Path, asked: list[str]) -> None:
    first = graded(tmp_path, MANY)
    assert len(asked) == len(MANY)
    assert [row["right"] for row in first] == [i % 2 == 0 for i in range(len(MANY))]
    assert graded(tmp_path, MANY) == first
    assert len(asked) == len(MANY)
    # By the other grader nothing was judged yet.
    graded(tmp_path, MANY, "paper")
    assert len(asked) == 2 * len(MANY)


def test_what_was_made_of_something_else_is_judged_again(tmp_path: Path, asked: list[str]) -> None:
    graded(tmp_path, MANY)
    asked.clear()
    changed = [*MANY[:-2], answer(len(MANY) - 2, r"\boxed{99}"), answer(len(MANY) - 1, MANY[-1]["response"], gold="13")]
    found = graded(tmp_path, changed)
    assert asked == [row["response"] for row in changed[-2:]]
    assert [row["right"] for row in found[-2:]] == [False, MANY[-1]["response"] == r"\boxed{13}"]


def test_a_new_version_of_a_grader_and_another_limit_judge_again(
    tmp_path: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    graded(tmp_path, MANY)
    graded(tmp_path, MANY, limit=21.0)
    assert len(asked) == 2 * len(MANY)
    monkeypatch.setitem(GRADERS, "equivalence", replace(GRADERS["equivalence"], version=10**6))
    graded(tmp_path, MANY)
    assert len(asked) == 3 * len(MANY)


def test_a_job_that_is_stopped_keeps_its_windows(tmp_path: Path, asked: list[str]) -> None:
    whole = verdicts.grade_all

    class Killed(Exception):
        pass

    def second_window(grader: Grader, items: Any, pool: Any, **more: Any) -> Any:
        if len(items) < verdicts.WINDOW:
            raise Killed
        return whole(grader, items, pool, **more)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(verdicts, "grade_all", second_window)
        graded(tmp_path, MANY)
    assert len(asked) == verdicts.WINDOW
    graded(tmp_path, MANY)
    assert len(asked) == len(MANY)


def test_equal_answers_are_found_again_and_only_what_changed_is_compared(tmp_path: Path, asked: list[str]) -> None:
    def same(questions: list[dict]) -> dict[str, Grouping]:
        return verdicts.grouped(questions, GRADERS["equivalence"], group="g-s0", progress=tmp_path, time_limit=20.0)[0]

    texts: list[list[str | None]] = [["1/2", "0.5", None, "3"], ["x+1", "2", "1+x"], [None, None], []]
    questions: list[dict[str, Any]] = [
        {"id": f"g/s0/{i:09d}", "index": i, "answers": own} for i, own in enumerate(texts)
    ]
    groups = [[[0, 1], [2], [3]], [[0, 2], [1]], [[0], [1]], []]
    assert list(same(questions).values()) == [Grouping(one) for one in groups]
    asked.clear()
    # A fifth answer to the second one.
    more = [{**row, "answers": [*row["answers"], "2.0"]} if row["index"] == 1 else row for row in questions]
    assert same(more)["g/s0/000000001"] == Grouping([[0, 2], [1, 3]])
    assert asked == ["x+1", "2", "1+x", "2.0"]
    assert same(questions)["g/s0/000000001"] == Grouping([[0, 2], [1]])
    assert len(asked) == 4


# ---------------------------------------------------------------- verdicts and versions
def pairs() -> list[tuple[str, str, dict[str, str]]]:
    """Gold answer, response and facts of the hard pairs and of those on which the graders differ."""
    found = []
    for name in ("hard_pairs.jsonl", "grader_differences.jsonl"):
        for line in Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            response = row.get("response") or rf"Hence we have found that $\boxed{{{row['prediction']}}}$."
            found.append((row["gold"], response, row.get("facts") or {}))
    return found


def current() -> dict[str, Any]:
    """Each grader's version, and the pairs that it finds right and wrong."""
    result: dict[str, Any] = {}
    for grader, rules in GRADERS.items():
        items = [Item(gold, response, facts) for gold, response, facts in pairs()]
        with pool_of(rules) as pool:
            grades = grade_all(rules, items, pool, time_limit=20.0)
        # A limit that a busy machine hits says nothing.
        sides: dict[str, list[str]] = {"right": [], "wrong": []}
        for item, grade in zip(items, grades, strict=True):
            if grade.how != "timeout":
                sides["right" if grade.right else "wrong"].append(f"{item.gold}  <-  {item.response}")
        result[grader] = {"version": rules.version, **sides}
    return result


def test_verdicts_do_not_change_while_the_version_stays() -> None:
    """Stored verdicts are found again by the grader's version alone."""
    found, recorded = current(), read_json(GOLDEN)
    for grader, own in found.items():
        known = recorded[grader]
        assert own["version"] == known["version"], f"{grader} has another version than the record: {RECORD}"
        for side, other in (("right", "wrong"), ("wrong", "right")):
            changed = sorted(set(own[side]) & set(known[other]))
            assert not changed, f"{grader} now finds {side}: {changed}. Raise its version in graders.py, then {RECORD}"
            assert set(own[side]) <= set(known[side]), f"there are new pairs: {RECORD}"


def record() -> None:
    """Write the record. Refuses changed verdicts under an old version."""
    found = current()
    if GOLDEN.exists():
        recorded = read_json(GOLDEN)
        for grader, own in found.items():
            known = recorded[grader]
            changed = set(own["right"]) & set(known["wrong"]) | set(own["wrong"]) & set(known["right"])
            if changed and own["version"] == known["version"]:
                sys.exit(f"{grader} judges {len(changed)} pairs otherwise: raise its version in graders.py first.")
    write_json(GOLDEN, found)


if __name__ == "__main__" and sys.argv[1:] == ["--record"]:
    record()
