"""Selection: each rule, ties, what is not eligible, and the files that the stage writes."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import select_responses
from conftest import ROOT
from programs import finished
from scalequest.errors import ScaleQuestError
from scalequest.grading.graders import GRADERS, pool_of
from scalequest.grading.pool import Grouping
from scalequest.rows import tables
from select_responses import Selection

Row = dict[str, Any]


def attempt(sample: int, answer: str | None, *, finish: str = "stop", question: str = "g/s0/000000000") -> Row:
    return {
        "id": question,
        "sample": sample,
        "reasoning": None,
        "response": f"response {sample}" + (rf" \boxed{{{answer}}}" if answer else ""),
        "answer": answer,
        "finish_reason": finish,
        "tokens": 5,
        "sampling_seed": sample,
    }


def rewards_of(attempts: list[Row], values: list[float]) -> list[Row]:
    return [{"id": a["id"], "sample": a["sample"], "reward": v} for a, v in zip(attempts, values, strict=True)]


def settings(rule: str, *, require_answer: bool = True, keep: int = 1, unbounded: bool = False) -> Selection:
    return Selection(rule, require_answer, keep, unbounded)


def same(answers: Mapping[str, Sequence[str | None]]) -> dict[str, Grouping]:
    with pool_of(GRADERS["equivalence"]) as pool:
        return dict(zip(answers, pool.group_all(list(answers.values()), 30), strict=True))


def selected(rows: list[Row]) -> list[int]:
    return [row["sample"] for row in rows if row["selected"]]


# rule, require_answer, (answer, finish_reason) of each sample, rewards, selected sample
CASES = [
    ("reward", True, [("1", "stop"), ("2", "stop"), ("3", "stop")], [0.1, 0.9, 0.5], 1),
    ("reward", True, [("1", "stop"), ("2", "stop"), ("3", "stop")], [0.5, 0.9, 0.9], 1),
    ("reward", True, [("1", "stop"), (None, "stop"), ("3", "stop")], [0.1, 0.9, 0.5], 2),
    ("reward", False, [("1", "stop"), (None, "stop"), ("3", "stop")], [0.1, 0.9, 0.5], 1),
    ("reward", False, [("1", "stop"), ("2", "length"), ("3", "stop")], [0.1, 0.9, 0.5], 2),
    ("reward", True, [("1", "length"), (None, "stop")], [0.1, 0.9], None),
    ("reward", True, [("1", "stop"), ("2", "stop")], [-8.0, -3.0], 1),
    ("majority", True, [("1", "stop"), ("2", "stop"), ("2.0", "stop")], [0.9, 0.1, 0.2], 1),
    ("majority", True, [("1", "stop"), ("2", "stop"), ("2", "stop"), ("1", "stop")], [0.1, 0.2, 0.3, 0.9], 0),
    ("majority", True, [("3", "stop"), ("2", "length"), ("2", "length")], [0.1, 0.2, 0.3], 0),
    ("majority", True, [(None, "stop"), (None, "stop"), ("2", "stop")], [0.1, 0.2, 0.3], 2),
    ("majority", True, [("2", "length"), ("1", "stop"), ("2", "stop"), ("2", "stop")], [0.1, 0.2, 0.3, 0.4], 2),
    ("majority", False, [(None, "stop"), (None, "stop")], [0.1, 0.2], 0),
    ("majority_then_reward", True, [("1", "stop"), ("2", "stop"), ("2", "stop")], [0.9, 0.1, 0.2], 2),
    ("majority_then_reward", True, [("1", "stop"), ("2", "stop"), ("1", "stop"), ("2", "stop")], [1, 2, 3, 4], 3),
    ("majority_then_reward", True, [("1", "stop"), ("2", "stop"), ("2", "stop")], [0.9, 0.2, 0.2], 1),
    ("majority_then_reward", True, [("2", "stop"), ("2", "length"), ("1", "stop"), ("1", "stop")], [9, 9, 1, 2], 3),
    # Two that are trusted a little against one that is trusted much.
    ("weighted_vote", True, [("1", "stop"), ("2", "stop"), ("2.0", "stop")], [0.9, 0.2, 0.3], 0),
    ("weighted_vote", True, [("1", "stop"), ("2", "stop"), ("2.0", "stop")], [0.4, 0.2, 0.3], 2),
    ("weighted_vote", True, [("1", "stop"), ("2", "stop"), ("2", "length")], [0.4, 0.2, 0.3], 0),
    ("weighted_vote", True, [("1", "stop"), ("2", "stop")], [0.5, 0.5], 0),
]


@pytest.mark.parametrize(("rule", "require_answer", "samples", "rewards", "expected"), CASES)
def test_rules(
    rule: str,
    require_answer: bool,
    samples: list[tuple[str | None, str]],
    rewards: list[float],
    expected: int | None,
) -> None:
    attempts = [attempt(i, answer, finish=finish) for i, (answer, finish) in enumerate(samples)]
    rows, summary = select_responses.select(
        attempts, rewards_of(attempts, rewards), settings(rule, require_answer=require_answer), same
    )
    assert selected(rows) == ([] if expected is None else [expected])
    assert [row["sample"] for row in rows] == list(range(len(samples)))
    assert summary["selected"] == (expected is not None)


def test_the_scores_of_a_reward_model_vote_as_probabilities() -> None:
    attempts = [attempt(i, answer) for i, answer in enumerate(["1", "2", "2"])]
    for unbounded, expected in ((False, 0), (True, 1)):
        # A sum of such scores would be the smaller, the more responses agree.
        rewards = rewards_of(attempts, [-1.0, -1.5, -2.0])
        chosen = settings("weighted_vote", unbounded=unbounded)
        assert selected(select_responses.select(attempts, rewards, chosen, same)[0]) == [expected]
    assert select_responses.weight(-1e9, unbounded=True) == 0.0
    assert select_responses.weight(1e9, unbounded=True) == 1.0


def test_of_several_that_are_kept_all_have_the_answer_of_the_best_and_another_text() -> None:
    answers = ["2", "1", "2.0", "2", "2", None]
    attempts = [attempt(i, answer, finish="length" if i == 4 else "stop") for i, answer in enumerate(answers)]
    attempts[3]["response"] = attempts[0]["response"].replace(" ", "\n")
    rewards = rewards_of(attempts, [0.5, 0.6, 0.7, 0.9, 0.95, 0.99])
    for rule, keep, expected in (
        ("majority", 1, [0]),
        ("majority", 2, [0, 2]),
        ("majority", 5, [0, 2]),
        ("majority_then_reward", 2, [2, 3]),
        # Of two equal texts the one of the higher reward.
        ("reward", 5, [2, 3]),
    ):
        rows, summary = select_responses.select(attempts, rewards, settings(rule, keep=keep), same)
        assert selected(rows) == expected, (rule, keep)
        assert summary["selected"] == len(expected)


def test_order_of_rows_does_not_matter() -> None:
    attempts = [attempt(i, str(i // 2)) for i in range(4)]
    rewards = rewards_of(attempts, [1.0, 1.0, 1.0, 1.0])
    for rule in select_responses.RULES:
        rows, _ = select_responses.select(attempts[::-1], rewards[::-1], settings(rule), same)
        assert selected(rows) == [0]


def test_votes_count_mathematically_equal_answers() -> None:
    attempts = [attempt(i, answer) for i, answer in enumerate(["1/2", "0.5", None, r"\frac{2}{4}", "3"])]
    rows, _ = select_responses.select(attempts, None, settings("majority"), same)
    assert [row["votes"] for row in rows] == [3, 3, 1, 3, 1]
    assert all(row["reward"] is None for row in rows)
    assert tables.to_arrow(rows, tables.CANDIDATES).num_rows == 5


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_reward_that_is_no_number_names_its_row(value: float) -> None:
    attempts = [attempt(i, "1", question="g/s0/000000007") for i in range(3)]
    for rule in select_responses.RULES:
        with pytest.raises(ScaleQuestError, match=r"g/s0/000000007.*sample 2"):
            select_responses.select(attempts, rewards_of(attempts, [1.0, 2.0, value]), settings(rule), same)


def test_rewards_must_be_of_the_same_run() -> None:
    attempts = [attempt(0, "1"), attempt(1, "1"), attempt(2, None)]
    rewards = rewards_of(attempts, [1.0, 2.0, 3.0])
    with pytest.raises(ScaleQuestError, match=r"sample 1.*has no reward"):
        select_responses.select(attempts, rewards[:1], settings("reward"), same)
    with pytest.raises(ScaleQuestError, match=r"sample 2.*no such response"):
        select_responses.select(attempts[:2], rewards, settings("reward"), same)
    rows, _ = select_responses.select(attempts, rewards[:2], settings("reward"), same)
    assert selected(rows) == [1]
    assert rows[2]["reward"] is None


def test_settings_that_cannot_work() -> None:
    attempts = [attempt(0, "1")]
    with pytest.raises(ScaleQuestError, match="needs rewards"):
        select_responses.select(attempts, None, settings("reward"), same)
    with pytest.raises(ScaleQuestError, match="'best'"):
        select_responses.select(attempts, None, settings("best"), same)


def run(folder: Path, rule: str, aggregate: str | None = None) -> subprocess.CompletedProcess[str]:
    selection = {"selection": asdict(settings(rule)), "aggregate": aggregate}
    told = json.dumps({**selection, "grading": {"time_limit": 30}, "domain": "math"})
    files: dict[str, str] = {"attempts": "attempts.parquet", "rewards": "rewards.parquet", "out": "out.parquet"}
    files |= {"summary": "summary.json", "progress": "progress"}
    words = [word for name, file in files.items() for word in (f"--{name}", folder / file)]
    command = [sys.executable, ROOT / "scripts" / "select_responses.py", "--settings", told, *words]
    return finished(command)


def test_the_stage_keeps_every_candidate_and_counts(tmp_path: Path) -> None:
    attempts = [
        *(attempt(i, a, question="g/s0/000000000") for i, a in enumerate([r"\sqrt{12}", r"2\sqrt3", "4"])),
        *(attempt(i, "1", finish="length", question="g/s0/000000001") for i in range(2)),
        *(attempt(i, None, question="g/s0/000000002") for i in range(2)),
        attempt(0, None, question="g/s0/000000003"),
        attempt(1, "2", finish="length", question="g/s0/000000003"),
    ]
    tables.write_table(tmp_path / "attempts.parquet", attempts, tables.ATTEMPTS)
    tables.write_table(tmp_path / "rewards.parquet", rewards_of(attempts, [float(i) for i in range(9)]), tables.REWARDS)
    done = run(tmp_path, "majority_then_reward")
    assert done.returncode == 0, done.stderr
    rows = tables.read_rows(tmp_path / "out.parquet", tables.CANDIDATES)
    assert [(row["id"], row["sample"], row["votes"]) for row in rows if row["selected"]] == [("g/s0/000000000", 1, 2)]
    assert len(rows) == len(attempts)
    assert json.loads((tmp_path / "summary.json").read_text()) == {
        "questions": 4,
        "responses": 9,
        "selected": 1,
        "without": {"cut": 1, "no_answer": 1, "cut_or_no_answer": 1},
        "timeouts": 0,
    }


@pytest.mark.parametrize(
    ("aggregate", "chosen", "rewards"),
    [("min", 1, [0.25, 0.5, 0.375, 0]), ("product", 2, [0.125, 0.25, 0.375, 0]), ("last", 0, [0.5, 0.25, 0.375, 0])],
)
def test_scores_of_steps_become_one_reward(aggregate: str, chosen: int, rewards: list[float], tmp_path: Path) -> None:
    steps = [[0.25, 0.5], [1.0, 0.5, 0.5], [0.375], []]
    if aggregate == "last":
        steps[1][-1] = 0.25
    attempts = [attempt(i, str(i)) for i in range(4)]
    tables.write_table(tmp_path / "attempts.parquet", attempts, tables.ATTEMPTS)
    rows = [{"id": a["id"], "sample": a["sample"], "steps": s} for a, s in zip(attempts, steps, strict=True)]
    tables.write_table(tmp_path / "rewards.parquet", rows, tables.STEP_REWARDS)
    done = run(tmp_path, "reward", aggregate)
    assert done.returncode == 0, done.stderr
    found = tables.read_rows(tmp_path / "out.parquet", tables.CANDIDATES)
    assert ([row["reward"] for row in found], selected(found)) == (rewards, [chosen])


def test_scores_of_steps_are_not_taken_for_rewards(tmp_path: Path) -> None:
    tables.write_table(tmp_path / "attempts.parquet", [attempt(0, "1")], tables.ATTEMPTS)
    tables.write_table(tmp_path / "rewards.parquet", rewards_of([attempt(0, "1")], [0.5]), tables.REWARDS)
    assert "is not a 'step_rewards' table" in run(tmp_path, "reward", "min").stderr


def test_the_stage_reports_a_bad_reward_in_one_sentence(tmp_path: Path) -> None:
    attempts = [attempt(0, "1")]
    tables.write_table(tmp_path / "attempts.parquet", attempts, tables.ATTEMPTS)
    tables.write_table(tmp_path / "rewards.parquet", rewards_of(attempts, [math.nan]), tables.REWARDS)
    done = run(tmp_path, "reward")
    assert done.returncode == 1
    assert "g/s0/000000000" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out.parquet").exists()
