"""Verified answers: the largest group over all solvers, their pass rates, and the rows of `rl` that a policy keeps."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

import build_formats
import verify_answers
from build_formats import Band, Policy
from programs import operating, script, succeeded
from scalequest.errors import ScaleQuestError
from scalequest.rows.published import RL
from scalequest.rows.tables import ATTEMPTS, FILTERED, QUESTIONS, SCORES, VERIFIED, read_rows, write_table
from scalequest.runtime.files import read_json
from scalequest.runtime.operation import OPERATION
from test_build_dataset import HOSTILE, Run, question
from test_build_formats import FILES, accuracy, answers, check, joined

Row = dict[str, Any]
# By question: answers of solver `small`, answers of solver `large`.
TRIED: list[tuple[list[str | None], list[str | None]]] = [
    (["4", "5", "4"], ["4.0", "4"]),
    (["1/2", "3", "7"], ["0.5", r"\frac{1}{2}"]),
    ([None, None, "9"], [None, "8"]),
    ([None, None, None], [None, None]),
    (["2", "3", "5"], ["7", "11"]),
    (["x^2", "x^2", "x^2"], ["x^2", "x^2"]),
]


def attempts(questions: list[Row], tried: list[list[str | None]], cut: bool = False) -> list[Row]:
    return [
        {
            **{
                "id": row["id"],
                "sample": sample,
                "reasoning": None,
                "response": f"So it is {answer}.",
                "answer": answer,
            },
            **{"finish_reason": "length" if cut else "stop", "tokens": 5, "sampling_seed": sample},
        }
        for row, own in zip(questions, tried, strict=True)
        for sample, answer in enumerate(own)
    ]


def verify(folder: Path, run: Run, solvers: dict[str, list[Row]]) -> list[Row]:
    """The verified answers to the questions of a run's one shard."""
    words = ["verify_answers.py", "--questions", run.filtered[0], "--solutions"]
    for name, rows in solvers.items():
        write_table(folder / f"{name}.parquet", rows, ATTEMPTS)
        words.append(str(folder / f"{name}.parquet"))
    settings = {"solvers": list(solvers), "domain": "math", "grading": {"time_limit": 5.0}}
    words += ["--settings", json.dumps(settings), "--progress", str(folder / "progress")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(OPERATION, operating(grading_workers=1)[OPERATION])
        patch.setattr(sys, "argv", [*words, "--out", str(folder / "verified.parquet")])
        verify_answers.main()
    return read_rows(folder / "verified.parquet", VERIFIED)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[Row]]:
    """A shard whose questions two solvers answered, and its verified answers."""
    folder = tmp_path_factory.mktemp("verified")
    asked = [question(i, f"What is it, {i}?") for i in range(len(TRIED))]
    asked.append(question(len(TRIED), "Prove that 4 is even."))
    proved: tuple[list[str | None], list[str | None]] = (["4", "4", "4"], ["4", "4"])
    tried = [*TRIED, proved]
    run = Run(folder, [(asked, joined([answers(row, "4", "5") for row in asked]))])
    solvers = {"small": attempts(asked, [own for own, _ in tried]), "large": attempts(asked, [own for _, own in tried])}
    return run, verify(folder, run, solvers)


def test_the_answer_is_that_of_most_samples_of_all_solvers(made: tuple[Run, list[Row]]) -> None:
    rows = made[1]
    rates = [[(entry["solver"], round(entry["rate"], 3)) for entry in row["pass_rates"]] for row in rows]
    assert [(row["answer"], row["agreement"]) for row in rows] == [
        ("4", 0.8),
        ("1/2", 0.6),
        ("9", 0.2),
        (None, 0.0),
        ("2", 0.2),
        ("x^2", 1.0),
        ("4", 1.0),
    ]
    assert rates[:3] == [
        [("small", 0.667), ("large", 1.0)],
        [("small", 0.333), ("large", 1.0)],
        [("small", 0.333), ("large", 0.0)],
    ]
    assert [row["answer_type"] for row in rows] == [
        *("integer", "fraction", "integer", "none", "integer", "expression", "proof")
    ]
    assert [row["unfit"] for row in rows] == ["", "", "", "", "", "", "proof"]


def policy(least: float = 0.0, low: float = 0.0, high: float = 1.0, solver: str | None = None, **more: Any) -> Policy:
    return Policy(least, Band(solver, low, high), more.get("types"))


@pytest.mark.parametrize(
    ("kept", "chosen"),
    [
        ([0, 1, 2, 4, 5], policy()),
        ([0, 1, 5], policy(least=0.5)),
        ([0, 1, 2, 4], policy(high=0.7)),
        ([0, 5], policy(low=0.5)),
        ([2, 4], policy(high=0.0, solver="large")),
        ([5], policy(types=("expression", "set"))),
        ([], policy(low=0.4, high=0.6)),
    ],
)
def test_what_a_policy_keeps(made: tuple[Run, list[Row]], tmp_path: Path, kept: list[int], chosen: Policy) -> None:
    run, rows = made
    band = {"solver": chosen.pass_rate.solver, "min": chosen.pass_rate.min, "max": chosen.pass_rate.max}
    asked = {"min_agreement": chosen.min_agreement, "pass_rate": band, "types": chosen.types}
    settings = {"name": "org/demo", "domain": "math", "verification": asked}
    words = ["build_formats.py", "--settings", json.dumps(settings), "--filtered", *run.filtered]
    words += ["--candidates", *run.candidates, "--checks", *check(run)]
    words += ["--verified", str(run.folder / "verified.parquet")]
    words += [word for name, file in FILES.items() for word in (f"--{name}", str(tmp_path / file))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", words)
        build_formats.main()
    found = read_rows(tmp_path / "rl.parquet", RL)
    assert [row["id"] for row in found] == [rows[place]["id"] for place in kept]
    assert [row["extra_info"]["index"] for row in found] == list(range(len(kept)))
    for row in found:
        assert accuracy(row["solution"], row["reward_model"]["ground_truth"]) == 1.0
        rates = {entry["solver"]: entry["rate"] for entry in row["pass_rates"]}
        assert row["pass_rate"] == rates[chosen.pass_rate.solver or "small"]
    left_out = read_json(tmp_path / "formats.json")["left_out"]["rl"]
    assert sum(left_out.values()) == len(rows) - len(kept)
    assert left_out["proof"] == left_out["no answer"] == 1


def test_a_cut_response_has_no_answer_and_hostile_ones_are_only_text(tmp_path: Path) -> None:
    asked = [question(i, text) for i, text in enumerate(HOSTILE)]
    run = Run(tmp_path, [(asked, [])])
    right = attempts(asked, [[text or None, "4"] for text in HOSTILE])
    cut = attempts(asked, [["4", "4"] for _ in HOSTILE], cut=True)
    for row in cut[:1]:
        row["finish_reason"] = "stop"
    rows = verify(tmp_path, run, {"one": right, "two": cut})
    assert len(rows) == len(HOSTILE)
    assert [entry["rate"] for entry in rows[1]["pass_rates"]][1] == 0.0
    assert rows[0]["agreement"] >= 0.5


def test_a_solver_that_answers_nothing_stops_the_job(tmp_path: Path) -> None:
    asked = [question(i, f"{i}?") for i in range(verify_answers.ENOUGH)]
    run = Run(tmp_path, [(asked, [])])
    silent = attempts(asked, [[None, None] for _ in asked], cut=True)
    with pytest.raises(ScaleQuestError, match=r"solvers\.two answers nothing: none of its 32 responses .* 32 were cut"):
        verify(tmp_path, run, {"one": attempts(asked, [["4"] for _ in asked]), "two": silent})
    thinking = [row | {"reasoning": "Well."} for row in silent]
    with pytest.raises(
        ScaleQuestError, match=r"traces that did not end within verification\.solvers\.two\.thinking\.b"
    ):
        verify(tmp_path, run, {"one": attempts(asked, [["4"] for _ in asked]), "two": thinking})


def test_solvers_that_never_agree_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    asked = [question(i, f"{i}?") for i in range(3)]
    run = Run(tmp_path, [(asked, [])])
    with caplog.at_level(logging.INFO, logger="scalequest"):
        rows = verify(
            tmp_path, run, {"one": attempts(asked, [["1", "2"]] * 3), "two": attempts(asked, [["3", None]] * 3)}
        )
    assert [row["agreement"] for row in rows] == [0.25] * 3
    assert "on 0 of 3 questions at least two samples agree" in caplog.text


def test_responses_of_another_run_are_refused(tmp_path: Path) -> None:
    asked = [question(i, f"{i}?") for i in range(3)]
    run = Run(tmp_path, [(asked, [])])
    with pytest.raises(ScaleQuestError, match=r"one\.parquet has no response to 'g/s0/000000002'"):
        verify(tmp_path, run, {"one": attempts(asked[:2], [["1"], ["1"]])})


def test_fail_rates_by_the_solvers_and_what_the_filter_then_drops(made: tuple[Run, list[Row]], tmp_path: Path) -> None:
    run, verified = made
    write_table(tmp_path / "verified.parquet", verified, VERIFIED)
    scored, out = tmp_path / "scores.parquet", tmp_path / "filtered.parquet"
    succeeded(script("score_pass_rates", {}, verified=tmp_path / "verified.parquet", out=scored))
    scores = {row["id"]: row["score"] for row in read_rows(scored, SCORES)}
    # Of two solvers, by the mean of their pass rates; 1 where nobody has an answer.
    assert [round(scores[row["id"]], 3) for row in verified] == [0.167, 0.333, 0.833, 1.0, 0.833, 0.0, 0.0]
    # A threshold of one sample of six is that of five right ones, whatever 1 less 5/6 is to a computer.
    assert scores[verified[0]["id"]] == round(1 / 6, 9)
    rule = {"name": "difficulty", "action": "drop"}
    (tmp_path / "cut.json").write_text(json.dumps({"g": 0.2}))
    sampled = {"finish_reason": "stop", "tokens": 5, "sampling_seed": 0}
    asked = [
        {key: row[key] for key in ("id", "generator", "seed", "index", "question")} | sampled
        for row in read_rows(run.filtered[0], FILTERED)
    ]
    write_table(tmp_path / "questions.parquet", asked, QUESTIONS)
    files = {"questions": tmp_path / "questions.parquet", "scores": scored, "cut": tmp_path / "cut.json"}
    succeeded(script("apply_filters", {"filters": [rule]}, **files, out=out))
    rows = read_rows(out, FILTERED)
    assert [row["kept"] for row in rows] == [False, True, True, True, True, False, False]
    # A dropped question keeps its verified answer, and is no row of `rl`.
    problems = build_formats.verified_problems(out, tmp_path / "verified.parquet", policy())
    assert {problem.id for problem in problems} == {row["id"] for row in rows if row["kept"]}
