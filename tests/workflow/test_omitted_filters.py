"""Filters that `filters.order` omits: the plan has none of their jobs."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import ROOT
from planner import Planner

JOBS = {
    "solvability": {"judge_questions"},
    "difficulty": {"measure_fail_rates", "train_scorer", "score_difficulty", "cut_difficulty"},
    "duplicates": {"filter_duplicates"},
}
TEXTS = ("language", "length", "contamination")


@pytest.mark.parametrize(
    "order",
    [["language", "length", "contamination"], ["duplicates"], ["difficulty", "solvability"], ["solvability"], []],
    ids=lambda order: "+".join(order) or "none",
)
def test_an_omitted_filter_has_no_job(tmp_path, order):
    omitted = {name: {"enabled": False} for name in (*JOBS, *TEXTS) if name not in order}
    with Planner() as planner:
        found = planner.ask(ROOT, tmp_path, {"filters": {"order": order}})
        switched_off = planner.ask(ROOT, tmp_path, {"filters": omitted})
    assert "error" not in found, found["error"]
    assert found == switched_off
    expected = {job for name, jobs in JOBS.items() for job in jobs if name in order}
    # Near-duplicates are sought by the signatures that the filters of texts write.
    if {*TEXTS, "duplicates"} & set(order):
        expected.add("filter_text")
    assert set(found["all"]) & {*set().union(*JOBS.values()), "filter_text"} == expected
    assert "apply_filters" in found["all"]


def test_where_solvers_say_how_hard_a_question_is_no_scorer_is_trained(tmp_path):
    sampling = {"temperature": 0.7, "top_p": 1.0, "max_tokens": 64}
    solver = {"model": "smollm2", "samples": 4, "sampling": sampling}
    config: dict[str, Any] = {
        "verification": {"solvers": {"one": solver}},
        "filters": {"difficulty": {"by": "pass_rate"}},
    }
    with Planner() as planner:
        found = planner.ask(ROOT, tmp_path, config)
        config["filters"]["order"] = ["solvability"]
        off = planner.ask(ROOT, tmp_path, config)
    assert "error" not in found, found["error"]
    solved = {"filter_for_solvers", "score_pass_rates", "cut_difficulty"}
    assert {*solved, *JOBS["difficulty"]} & set(found["all"]) == solved
    assert not {*solved, *JOBS["difficulty"]} & set(off["all"])
    assert "sample_solutions" in found["all"] and "sample_solutions" in off["all"]
