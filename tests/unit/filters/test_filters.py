"""Filters applied late: order, dropping or marking, thresholds; and what is missing is an error."""

from __future__ import annotations

import pytest

from cut_difficulty import Settings, cut
from scalequest.errors import ScaleQuestError
from scalequest.filters.decision import Evidence, FilterRule, decide

QUESTIONS = [
    {"id": f"g/s0/{index:09d}", "generator": "g", "seed": 0, "index": index, "question": f"Question {index}?"}
    for index in range(5)
]
IDS = [str(row["id"]) for row in QUESTIONS]


def settings(order, **sections):
    return [FilterRule(name, **({"action": "drop"} | sections.get(name, {}))) for name in order]


def text_verdicts(name, bad):
    return {name: {i: {"keep": i not in bad, "reason": f"{name} reason"} for i in IDS}}


def judgement(probability=None, verdict=None):
    return {"probability": probability, "verdict": verdict}


def kept(rows):
    return [row["index"] for row in rows if row["kept"]]


def test_no_filter_keeps_everything():
    rows = decide(QUESTIONS, Evidence(), settings([]))
    assert kept(rows) == [0, 1, 2, 3, 4]
    assert all(row["reason"] == row["dropped_by"] == row["marks"] == "" for row in rows)


def test_the_first_that_drops_is_named_and_later_ones_are_not_asked():
    found = Evidence(
        verdicts=text_verdicts("language", {IDS[0]}) | text_verdicts("length", {IDS[0], IDS[1]}),
        judgements={i: judgement(0.9) for i in IDS[2:]},
    )
    order = ["language", "length", "solvability"]
    rows = decide(QUESTIONS, found, settings(order, solvability={"min_probability": 0.5}))
    assert [row["dropped_by"] for row in rows] == ["language", "length", "", "", ""]
    assert rows[0]["reason"] == "language: language reason"


def test_marking_drops_nothing_and_is_remembered():
    found = Evidence(verdicts=text_verdicts("contamination", {IDS[3]}))
    rows = decide(QUESTIONS, found, settings(["contamination"], contamination={"action": "mark"}))
    assert kept(rows) == [0, 1, 2, 3, 4]
    assert rows[3]["marks"] == "contamination"
    assert rows[3]["reason"] == "contamination: contamination reason"


def test_a_probability_without_a_threshold_is_an_error():
    found = Evidence(judgements={i: judgement(0.9) for i in IDS})
    with pytest.raises(ScaleQuestError, match="solvability has no min_probability"):
        decide(QUESTIONS, found, settings(["solvability"]))


@pytest.mark.parametrize(("threshold", "expected"), [(0.0, [0, 1, 2, 3, 4]), (0.5, [2, 3, 4]), (0.51, [3, 4])])
def test_solvability_threshold_is_applied_late(threshold, expected):
    found = Evidence(judgements={i: judgement(p) for i, p in zip(IDS, [0.1, 0.2, 0.5, 0.6, 1.0], strict=True)})
    rows = decide(QUESTIONS, found, settings(["solvability"], solvability={"min_probability": threshold}))
    assert kept(rows) == expected
    assert [row["solvable"] for row in rows] == [0.1, 0.2, 0.5, 0.6, 1.0]
    dropped = [row["reason"] for row in rows if not row["kept"]]
    assert (
        dropped == [f"solvability: not solvable: {p:.2f}, below {threshold:g}" for p in (0.1, 0.2, 0.5)][: len(dropped)]
    )


def test_text_verdicts_drop_no_and_unparsed():
    verdicts = ["yes", "no", "unparsed", "yes", "no"]
    found = Evidence(judgements={i: judgement(verdict=v) for i, v in zip(IDS, verdicts, strict=True)})
    rows = decide(QUESTIONS, found, settings(["solvability"], solvability={"min_probability": 0.5}))
    assert kept(rows) == [0, 3]
    assert [row["solvable"] for row in rows] == [1.0, 0.0, None, 1.0, 0.0]
    assert rows[2]["reason"] == "solvability: verdict unparsed"


def test_too_easy_is_below_the_cut_of_the_generator():
    scores = dict(zip(IDS, [0.0, 0.1, 0.2, 0.3, 0.4], strict=True))
    only = settings(["difficulty"])
    rows = decide(QUESTIONS, Evidence(scores=scores, cuts={"g": 0.2}), only)
    assert kept(rows) == [2, 3, 4]
    assert rows[1]["reason"] == "difficulty: too easy: 0.10, below 0.2"
    assert kept(decide(QUESTIONS, Evidence(scores=scores, cuts={"g": None}), only)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("name", ["language", "solvability"])
def test_missing_evidence_is_an_error_that_names_the_question(name):
    with pytest.raises(ScaleQuestError, match="g/s0/000000000"):
        decide(QUESTIONS, Evidence(), settings([name], solvability={"min_probability": 0.5}))


@pytest.mark.parametrize(
    ("generators", "below", "quantile", "expected"),
    [([], 0.5, None, None), (["g"], 0.5, None, 0.5), (["g"], None, 0.25, 0.25), (["other"], None, 0.25, None)],
)
def test_cut(generators, below, quantile, expected):
    assert cut([0.0, 0.25, 0.5, 0.75, 1.0], "g", Settings(generators, below, quantile)) == expected


def test_a_quantile_of_nothing_cuts_nothing():
    assert cut([], "g", Settings(("g",), None, 0.2)) is None
