"""A calibration's numbers: what it makes of problems, and what it counts of verdicts and selections."""

from __future__ import annotations

from pathlib import Path

import pytest

from calibrate import as_csv, best_threshold, of_filters, of_judge, of_selection, page, picks
from make_calibration import answered, attempts_at, texts
from scalequest.rows.known_texts import KINDS
from scalequest.rows.tables import ATTEMPTS, FILTERED, QUESTIONS, to_arrow
from select_responses import Selection

PAPER = Selection("reward", require_answer=True)
PROBLEMS = [
    {"id": f"sums/{n}", "index": n, "question": f"Anna has {n} apples and buys {n} more. How many has she?"}
    for n in range(40)
]


def judgement(number: int, kind: str, probability: float) -> dict:
    index = number * len(KINDS) + KINDS.index(kind)
    return {"id": f"known/s0/{index:09d}", "verdict": None, "probability": probability}


def test_a_problem_becomes_three_texts_of_which_the_first_is_itself():
    rows = list(texts(PROBLEMS))
    to_arrow(rows, QUESTIONS)
    assert len(rows) == 3 * len(PROBLEMS)
    whole, shuffled, cut = (row["question"] for row in rows[3:6])
    assert whole == PROBLEMS[1]["question"]
    assert sorted(shuffled.split()) == sorted(whole.split())
    assert shuffled != whole
    assert whole.startswith(cut)
    assert len(cut.split()) == len(whole.split()) // 2
    # The order of the words follows from the problem alone.
    assert list(texts(PROBLEMS[1:2])) == rows[3:6]


def test_attempts_are_those_at_the_drawn_problems():
    attempt = {
        "sample": 0,
        "reasoning": None,
        "response": "2",
        "answer": "2",
        "finish_reason": "stop",
        "tokens": 1,
        "sampling_seed": 0,
    }
    rows = attempts_at(PROBLEMS[:2], [{"id": problem["id"], **attempt} for problem in PROBLEMS])
    to_arrow(rows, ATTEMPTS)
    to_arrow(answered(PROBLEMS), FILTERED)
    assert [row["id"] for row in rows] == [row["id"] for row in answered(PROBLEMS)[:2]]


def test_the_threshold_of_one_half_is_shown_on_the_other():
    rates = {"whole": 0.8, "shuffled": 0.3, "cut": 0.5}
    rows = [judgement(n, kind, rate + 0.001 * n) for n in range(40) for kind, rate in rates.items()]
    found = of_judge(rows, 0.4)
    chosen = [row for row in found if row["of"] == "chosen on the other half"]
    assert {row["texts"]: row["percent"] for row in chosen} == {"whole": 100.0, "shuffled": 0.0, "cut": 0.0}
    assert {row["n"] for row in chosen} == {20}
    assert 0.5 < chosen[0]["threshold"] <= 0.8
    configured = [row for row in found if row["of"] == "filters.solvability.min_probability"]
    assert {row["texts"]: row["percent"] for row in configured} == {"whole": 100.0, "shuffled": 0.0, "cut": 100.0}
    assert {row["n"] for row in found if row["of"] == "all problems"} == {40}


def test_of_equal_thresholds_the_lowest_is_chosen():
    judged = [judgement(n, kind, p) for n, kind, p in ((0, "whole", 0.9), (1, "whole", 0.5), (0, "shuffled", 0.7))]
    # From 0.5 on both whole ones are kept and so is the other, from 0.8 on one and no other.
    assert best_threshold({row["id"]: row["probability"] for row in judged}) == 0.5


def test_thresholds_lie_where_the_probabilities_do():
    """A small model's judgements may differ in the second digit alone."""
    rates = {"whole": 0.57, "shuffled": 0.53, "cut": 0.51}
    rows = [judgement(n, kind, rate + n / 10000) for n in range(40) for kind, rate in rates.items()]
    found = of_judge(rows, 0.5)
    (chosen,) = {row["threshold"] for row in found if row["of"] == "chosen on the other half"}
    assert 0.534 <= chosen <= 0.571
    limits = {row["threshold"] for row in found if row["of"] == "all problems"}
    assert len(limits) > 10 and min(limits) > 0.5 and max(limits) < 0.58


def test_a_verdict_as_text_has_no_threshold_but_is_counted():
    rows = [{**judgement(n, "whole", 0), "probability": None, "verdict": "yes"} for n in range(8)]
    assert {row["percent"] for row in of_judge(rows, None) if row["of"] == "all problems"} == {100.0}


def test_a_filter_is_counted_by_kind():
    rows = [{**judgement(n, kind, 0), "filter": "length", "keep": kind != "cut"} for n in range(5) for kind in KINDS]
    shares = {row["texts"]: (row["percent"], row["n"]) for row in of_filters(rows)}
    assert shares == {"whole": (0.0, 5), "shuffled": (0.0, 5), "cut": (100.0, 5)}


def responses(*rows: tuple[str | None, float | None, bool, str]) -> list[dict]:
    return [
        {"sample": n, "response": str(n), "answer": a, "reward": r, "right": right, "finish_reason": end}
        for n, (a, r, right, end) in enumerate(rows)
    ]


def test_each_rule_selects_its_response():
    rows = responses(("4", 0.9, False, "stop"), ("5", 0.2, True, "stop"), ("5", 0.3, True, "stop"))
    found = picks(rows, [[0], [1, 2]], PAPER)
    by_reward = {"reward": 0, "majority_then_reward": 1, "weighted_vote": 0}
    assert found == {"random": 2 / 3, "best possible": 1, "majority": 1, **by_reward}


def test_a_cut_response_is_never_selected_and_a_problem_without_one_counts_as_wrong():
    rows = responses(("5", 0.9, True, "length"), (None, 0.1, False, "stop"))
    found = picks(rows, [[0], [1]], PAPER)
    assert set(found.values()) == {0.0}


def test_without_rewards_there_are_no_rules_by_reward():
    rows = responses(("5", None, True, "stop"))
    assert set(picks(rows, [[0]], PAPER)) == {"random", "best possible", "majority"}


def test_the_gain_over_chance_is_of_the_same_problems():
    rules = dict.fromkeys(("majority", "reward", "majority_then_reward", "best possible"), 1.0)
    found = of_selection([{"random": 0.25, **rules}] * 30, "reward")
    assert found[0]["percent"] == 25.0
    assert {row["gain"] for row in found[1:]} == {75.0}
    assert {row["gain_low"] for row in found[1:]} == {75.0}
    assert [row["rule"] for row in found if row["of_config"]] == ["reward"]


def test_nothing_to_count_makes_empty_tables(tmp_path: Path):
    assert of_judge([], 0.5) == of_selection([], "reward") == of_filters([]) == []
    assert "Kept by the judge" in page([], [], [])
    assert as_csv([]) == "none\n"


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_problem_is_no_error(kind):
    (row,) = [
        row for row in texts([{"id": "a/0", "index": 0, "question": ""}]) if row["id"].endswith(str(KINDS.index(kind)))
    ]
    assert row["question"] == ""
