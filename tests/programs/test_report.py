"""Data profile and report, made of written tables: their numbers, hostile text, what is missing."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from pages import DESKTOP, PHONE, axe, chromium, requests, trouble
from programs import script, succeeded
from scalequest.grading.answer_types import TYPES, answer_type
from scalequest.publishing import profile, report_tables
from scalequest.publishing.figures import FIGURES, figures
from scalequest.publishing.report_figures import Run
from scalequest.rows.tables import CANDIDATES, FAIL_RATES, JUDGEMENTS, PROBLEMS, VERDICTS, read_rows, write_table
from scalequest.runtime.files import read_json, write_json
from written_run import CUT, HOSTILE, OPTIONS, PLAIN, write_evaluation, write_run, write_topics, write_verified

FILTERS: list[dict[str, Any]] = [
    {"name": "duplicates"},
    {"name": "difficulty"},
    {"name": "solvability", "min_probability": 0.5},
]
SETTINGS = {"name": "a <run>", "generators": ["plain", "hostile"], "students": ["pupil"], "filters": FILTERS}
SIGNING = {"shingle": 3, "permutations": 128}
# Topics of the seed problems, by the data's own.
OWN = ["algebra", HOSTILE[1], "\u202e" + HOSTILE[5]]


def asked_about_topics(results: Path) -> list[Path]:
    """Write tables of topics, after the seed problems got some of the data's own."""
    path = results / "seeds/seeds.parquet"
    seeds = [row | {"facts": json.dumps({"topic": OWN[row["index"] % 3]})} for row in read_rows(path, PROBLEMS)]
    write_table(path, seeds, PROBLEMS)
    return write_topics(results, {"plain": 40, "hostile": 16}, [row["id"] for row in seeds])


def profiled(run: Path, topics: list[Path] | None = None) -> dict[str, Any]:
    """The profile of a run's tables."""
    results = run / "results"
    tables: dict[str, Any] = {
        kind: [results / kind / f"{name}/seed0/gpu0.parquet" for name in ("plain", "hostile")]
        for kind in ("filtered", "candidates")
    }
    tables |= {"seeds": results / "seeds/seeds.parquet", "benchmarks": results / "datasets/bench.parquet"}
    tables |= {"duplicates": results / "filters/duplicates/seed0.parquet", "out": results / "profile.json"}
    settings: dict[str, Any] = {"duplicates": SIGNING, "generators": ["plain", "hostile"]}
    settings |= {"topics": OPTIONS} if topics else {}
    succeeded(script("profile_data", settings, **tables, topics=topics))
    found: dict[str, Any] = read_json(results / "profile.json")
    return found


def reported(run: Path, topics: bool = False, verified: bool = False, **more: Any) -> str:
    """The page of a run's report."""
    files: dict[str, Any] = {"results": run / "results", "marks": run / "marks", "folder": run / "results/report"}
    files |= {"shards": ["plain/seed0/gpu0", "hostile/seed0/gpu0"], "out": run / "results/report.html"}
    settings = {**SETTINGS, "gpu_hour_usd": 2.0, **({"topics": True} if topics else {})}
    settings |= {"verified": True} if verified else {}
    succeeded(script("build_report", settings, **files, **more))
    return (run / "results/report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with its profile and its report."""
    run = tmp_path_factory.mktemp("reported")
    results = run / "results"
    write_run(results, {"plain": PLAIN, "hostile": HOSTILE})
    write_evaluation(results)
    rates = [{"id": str(i), "index": i, "question": "?", "fail_rate": i / 19, "samples": 4} for i in range(20)]
    write_table(results / "difficulty/fail_rates.parquet", rates, FAIL_RATES)
    own = {"n": 3, "pearson": 0.5, "spearman": None, "mae": 0.1, "rmse": 0.2}
    metrics = dict.fromkeys(("scorer", "question_length", "constant_mean"), own)
    write_json(results / "difficulty/metrics.json", {**metrics, "predictions": [[0.1, 0.0], [0.6, 0.5], [1.2, 1.0]]})
    for folder in ("question_tuning/plain", "difficulty", "students/pupil"):
        losses = [json.dumps({"step": step, "loss": 1 / step}) for step in range(1, 9)]
        (results / folder).mkdir(parents=True, exist_ok=True)
        (results / folder / "loss.jsonl").write_text("\n".join(losses) + "\n", encoding="utf-8")
    head = "model,kind,grader,benchmark,n,percent,low,high,compared_with,published,difference"
    line = "pupil,measured,paper,bench,6,50.0,20.0,80.0,Paper's,61.0,-11.0"
    (results / "evaluation/table1.csv").write_text(f"{head}\n{line}\n", encoding="utf-8")
    spent = {"attempts": 3, "cut_short": 1, "rows": 9, "hours": 4.0, "gpu_hours": 8.0}
    stages = [{"stage": "responses", "tokens": 12345}]
    attempts = {"sample_responses": spent, "something_new": {**spent, "gpu_hours": 2.5}}
    write_json(results / "summary.json", {"attempts": attempts, "stages": stages})
    write_json(results / "config.json", {"responses": {"samples": 77}})
    (run / "marks").mkdir()
    (run / "marks/mine.jsonl").write_text('{"id": "plain/s0/000000001", "mark": "bad", "note": "<i>no</i>"}\n')
    profiled(run)
    reported(run)
    return run


def rows(run: Path, name: str) -> list[dict[str, str]]:
    """The data of a figure."""
    with (run / f"results/report/{name}.csv").open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


# ---------------------------------------------------------------- the profile


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        *((text, "integer") for text in ("5", "-12", "1,234", "$7$", "\\$20", "30\\%")),
        *((text, "decimal") for text in ("0.5", "-3.25", ".5")),
        *((text, "fraction") for text in ("\\frac{1}{2}", "1/2", "-\\dfrac{3}{4}")),
        *((text, "expression") for text in ("x^2+1", "\\sqrt{2}", "2\\pi", "x > 3", "no solution")),
        *((text, "set") for text in ("1, 2", "(1, 2)", "\\{1, 2\\}", "[0, 1)")),
        ("\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}", "set"),
        *((text, "text") for text in ("Monday", "undefined", "\\text{Alice and Bob}")),
        *((text, "none") for text in (None, "", "  ")),
    ],
)
def test_answer_types(answer: str | None, expected: str) -> None:
    assert expected in TYPES
    assert answer_type(answer) == expected


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_has_an_answer_type(text: str) -> None:
    assert answer_type(text) in TYPES


def test_the_profile_counts_texts_answers_and_copies(made: Path) -> None:
    found = read_json(made / "results/profile.json")
    plain, seeds = found["kinds"]["plain"], found["kinds"]["seed problems"]
    assert (plain["texts"], seeds["texts"]) == (60, 6)
    assert plain["characters"]["p50"] == np.median([len(text) for text in PLAIN])
    # As many texts of each kind.
    assert plain["of_texts"] == seeds["of_texts"] == 6
    assert plain["answer_types"] == {"integer": 40}
    assert seeds["answer_types"] == {"integer": 6}
    # One template: a question is near another one, and no copy of a seed problem.
    assert plain["nearest_of_its_kind"]["p50"] > 0.3
    assert plain["nearest_seed_problem"]["p95"] < 0.1
    assert found["agreement"]["plain"]["questions"] == 40
    assert found["agreement"]["plain"]["largest_group"]["mean"] == 0.5
    # The two verdicts of that filter are on the first questions.
    assert found["duplicates"]["plain"] == [[1, 1.0]]


def test_nearest_is_the_most_similar_other_row() -> None:
    rng = np.random.default_rng(0)
    many = rng.integers(0, 4, (150, 32)).astype(np.uint32)
    found = profile.nearest(many, many, same=True)
    alike = (many[:, None, :] == many[None, :, :]).mean(axis=2)
    np.fill_diagonal(alike, 0)
    assert found == pytest.approx(alike.max(axis=1))
    assert list(profile.nearest(many[:3], many)) == [1.0, 1.0, 1.0]
    assert len(profile.nearest(many[:1], many[:1], same=True)) == 0


def test_the_rate_of_duplicates_grows_with_n(tmp_path: Path) -> None:
    verdicts = [
        {
            "id": f"g/s0/{i:09d}",
            "filter": "duplicates",
            "keep": i % 10 != 9,
            "reason": "",
            "score": None,
            "evidence": None,
        }
        for i in range(40)
    ]
    write_table(tmp_path / "v.parquet", verdicts, VERDICTS)
    assert profile.duplicate_rates([tmp_path / "v.parquet"], ["g", "other"]) == {
        "g": [[16, 0.0625], [32, 0.09375], [40, 0.1]]
    }


# ---------------------------------------------------------------- the report


def test_every_figure_is_drawn_with_its_data(made: Path) -> None:
    for name in figures(topics=False):
        if name != "duplicates":
            assert rows(made, name), name
        root = ET.parse(made / f"results/report/{name}.svg").getroot()  # noqa: S314 - our own drawing
        assert root.tag.endswith("svg")
        texts = " ".join("".join(element.itertext()) for element in root.iter() if element.tag.endswith("text"))
        assert "mathdefault" not in texts
    funnel = [(row["generator"], row["step"], int(row["out"])) for row in rows(made, "funnel")]
    assert funnel[:4] == [
        *(("plain", "questions", 60), ("plain", "duplicates", 60), ("plain", "difficulty", 59)),
        ("plain", "solvability", 40),
    ]
    assert sum(int(row["count"]) for row in rows(made, "solvability") if row["series"] == "plain, kept") == 40
    assert [row["published"] for row in rows(made, "students")] == ["61.0"]
    # Too few questions for a curve.
    assert "Not drawn" in (made / "results/report/duplicates.svg").read_text()


def test_a_figure_says_how_many_values_it_has(made: Path) -> None:
    drawing = (made / "results/report/rewards.svg").read_text(encoding="utf-8")
    assert "selected (n = 51)" in drawing
    assert "other responses (n = 51)" in drawing
    # What is no number is not counted.
    assert "plain, before filters (n = 59)" in (made / "results/report/solvability.svg").read_text(encoding="utf-8")


def test_a_threshold_is_drawn_where_there_is_one(made: Path) -> None:
    difficulty, solvable = ((made / f"results/report/{name}.svg").read_text() for name in ("difficulty", "solvability"))
    # Of the generator `hostile` nothing is cut.
    assert difficulty.count(f"threshold {CUT:.3g}") == 1
    assert solvable.count("threshold 0.5") == 2


def test_seed_problems_stand_beside_the_questions_once_they_are_judged(made: Path, tmp_path: Path) -> None:
    """Whole ones: a calibration judges shuffled and cut ones too."""
    run = shutil.copytree(made, tmp_path / "run")
    judged = [{"id": f"known/s0/{n:09d}", "probability": 0.9, "verdict": None, "tokens": 1} for n in range(36)]
    judged = [{**row, "reasoning": ""} for row in judged]
    write_table(run / "results/calibration/judgements.parquet", judged, JUDGEMENTS)
    reported(run)
    drawing = (run / "results/report/solvability.svg").read_text(encoding="utf-8")
    assert drawing.count("seed problems (n = 12)") == 2
    assert {row["series"] for row in rows(run, "solvability")} > {"seed problems"}
    assert "seed problems (n" not in (made / "results/report/solvability.svg").read_text(encoding="utf-8")


def test_lengths_of_responses_and_how_many_were_cut(made: Path) -> None:
    found = {(row["generator"], row["responses"]): row for row in rows(made, "response_lengths")}
    tokens = [9 + index for index in range(60) if index % 3 != 2]
    for kind, cut in (("selected", 0), ("other", 40)):
        row = found["plain", kind]
        assert (int(row["n"]), int(row["cut"])) == (40, cut)
        assert [float(row[f"p{percent}"]) for percent in (5, 50, 95)] == list(np.percentile(tokens, (5, 50, 95)))
    assert "plain, other (n = 40, 100.0% cut)" in (made / "results/report/response_lengths.svg").read_text()


def test_how_often_the_best_reward_has_the_answer_of_most(tmp_path: Path) -> None:
    # Rewards and votes of a question's responses. The best of the first is in the largest group, that of the second is
    # not; the third and the fourth have one response that counts.
    questions: list[list[tuple[float | None, int]]] = [
        [(0.9, 2), (0.1, 2), (0.5, 1)],
        [(0.2, 3), (0.9, 1), (0.1, 3), (0.3, 3)],
        [(0.5, 1)],
        [(None, 1), (0.1, 1)],
    ]
    candidates = [
        {
            "id": f"plain/s0/{index:09d}",
            "sample": sample,
            "reasoning": None,
            "response": "?",
            "answer": "5",
            "reward": reward,
        }
        | {"votes": votes, "selected": False, "tokens": 1, "finish_reason": "stop"}
        for index, responses in enumerate(questions)
        for sample, (reward, votes) in enumerate(responses)
    ]
    write_table(tmp_path / "candidates/plain/seed0/gpu0.parquet", candidates, CANDIDATES)
    run = Run(tmp_path, ["plain", "other"], ["plain/seed0/gpu0"], [], [])
    assert report_tables.agreement(run).rows == (("plain", 2, "50.0%", "70.8%", "70.8%"),)


def test_what_each_choice_of_verified_answers_leaves(made: Path, tmp_path: Path) -> None:
    results = tmp_path / "run/results"
    shutil.copytree(made, tmp_path / "run")
    run = Run(results, ["plain", "hostile"], ["plain/seed0/gpu0", "hostile/seed0/gpu0"], FILTERS, [])
    assert report_tables.verified(run).missing == "None yet: the solvers have answered no question."
    assert "Verified answers" not in reported(tmp_path / "run")
    write_verified(results, {"plain": 40, "hostile": 16})
    counts = {what: count for what, count, _ in report_tables.verified(run).rows}
    assert counts == {
        **{"all": 38, "left out: no answer": 2, "left out: proof": 2, "left for the policy": 34},
        **{f"agreement at least {least}": 34 for least in ("0.25", "0.5", "0.75")},
        "agreement at least 1": 0,
        **{f"pass rate of {name}: {band}": 0 for name in ("small", "large") for band in report_tables._BANDS},
        **{"pass rate of small: 0.25 to 0.75": 34, "pass rate of large: 1": 34, "type text": 34},
    }
    assert "pass rate of small: 0.25 to 0.75" in reported(tmp_path / "run", verified=True)


def test_the_page_has_cost_settings_and_marks(made: Path) -> None:
    page = (made / "results/report.html").read_text(encoding="utf-8")
    for cell in ("12,345", "251.0", "323.8", "responses.samples", "77", "&lt;i&gt;no&lt;/i&gt;", "a &lt;run&gt;"):
        assert f">{cell}<" in page, cell
    # 8 GPU-hours at 2 dollars, and 2.5 of a program of no stage; the sum has both.
    for cell in ("16", "5", "21", "10.5"):
        assert f">{cell}<" in page
    assert "0 of 1 are good" in page
    assert len(page) < 5e6


def test_the_same_run_gives_the_same_bytes(made: Path) -> None:
    before = (made / "results/report.html").read_bytes(), (made / "results/report/losses.svg").read_bytes()
    reported(made)
    assert ((made / "results/report.html").read_bytes(), (made / "results/report/losses.svg").read_bytes()) == before


@pytest.fixture(scope="module")
def with_topics(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run with topics, some of them hostile."""
    run = tmp_path_factory.mktemp("topics") / "run"
    shutil.copytree(made, run)
    profiled(run, asked_about_topics(run / "results"))
    reported(run, topics=True)
    return run


def test_topics_have_shares_with_intervals_and_are_compared_with_the_datas_own(made: Path, with_topics: Path) -> None:
    found = read_json(with_topics / "results/profile.json")
    topics = found.pop("topics")
    assert found == read_json(made / "results/profile.json")
    assert topics["options"] == OPTIONS
    assert set(topics["kinds"]) == {"plain", "hostile", "seed problems"}
    assert [entry["count"] for entry in topics["kinds"]["plain"]["topics"].values()] == [10] * 4
    # Six seed problems: topics 0, 1, 2, 3, 0, 1 of the list, of the data's own 0, 1, 2, 0, 1, 2.
    assert topics["facts"]["agree"] == {"problems": 2, "count": 1, "share": 0.5, "low": 0.094531, "high": 0.905469}
    drawn = rows(with_topics, "topics")
    # Six are too few for a share.
    assert [(row["kind"], row["topic"]) for row in drawn] == [(k, t) for k in ("hostile", "plain") for t in OPTIONS]
    assert {(row["share"], row["questions"]) for row in drawn} == {("0.25", "40"), ("0.25", "16")}
    assert all(float(row["low"]) < 0.25 < float(row["high"]) for row in drawn)
    page = (with_topics / "results/report.html").read_text(encoding="utf-8")
    assert "Of the 2 problems whose topic has the name of one in the list, the model chose it for 1: 50%" in page


def test_a_run_without_topics_says_nothing_of_them(made: Path, with_topics: Path, tmp_path: Path) -> None:
    """Though tables of an earlier run lie there."""
    shutil.copytree(with_topics, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/results/report")
    profiled(tmp_path / "run")
    reported(tmp_path / "run")
    for name in ("profile.json", "report.html"):
        assert (tmp_path / "run/results" / name).read_bytes() == (made / "results" / name).read_bytes(), name
    assert not (tmp_path / "run/results/report/topics.svg").exists()


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_browser_shows_it_and_hostile_text_is_text(with_topics: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    with chromium(tmp_path, size) as driver:
        driver.get("about:blank")
        requests(driver)
        driver.get((with_topics / "results/report.html").as_uri())
        assert driver.execute_script("return document.querySelectorAll('figure svg').length") == len(FIGURES) - 1
        assert driver.execute_script("return document.querySelectorAll('script, img, iframe').length") == 0
        assert driver.execute_script("return window.pwned") is None
        assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")
        assert axe(driver) == []
        assert [url for url in requests(driver) if not url.startswith(("file:", "about:", "data:"))] == []
        assert trouble(driver) == []


def test_an_unfinished_run_lists_what_is_missing(tmp_path: Path) -> None:
    write_run(tmp_path / "results", {"plain": PLAIN})
    expected = [tmp_path / "results/filtered/plain/seed0/gpu0.parquet", tmp_path / "results/summary.json"]
    page = reported(tmp_path, expected=expected)
    assert "1 of its files are missing" in page
    assert f"<li>{expected[1]}</li>" in page
    assert f"<li>{expected[0]}</li>" not in page
    assert "Not drawn: nothing has been measured yet." in page
    assert rows(tmp_path, "funnel")


def test_a_run_that_has_made_nothing_has_a_page(tmp_path: Path) -> None:
    page = reported(tmp_path)
    assert page.count("Not drawn: ") == len(FIGURES) - 1
    page = reported(tmp_path, topics=True)
    assert page.count("Not drawn: ") == len(FIGURES)
    assert "Not counted: no seed problem with a topic of its own (datasets.NAME.facts.topic) was asked about." in page


def test_the_page_of_a_large_run_is_no_larger_than_5_mb(tmp_path: Path) -> None:
    """Many questions, long texts, long trainings, many marks, a config of other settings, many missing files."""
    results = tmp_path / "results"
    long = "<&" * 50_000
    write_run(results, {"plain": [f"Question {n} of many?" for n in range(30_000)], "hostile": [long] * 30})
    verdicts = [
        {"id": f"plain/s0/{n:09d}", "filter": "duplicates", "keep": False, "reason": "like another", "score": 0.9}
        | {"evidence": long if n < 10 else "another"}
        for n in range(30_000)
    ]
    write_table(results / "filters/duplicates/seed0.parquet", verdicts, VERDICTS)
    predictions = [[n % 997 / 997, n % 7 / 6] for n in range(30_000)]
    own = {"n": 30_000, "pearson": 0.5, "spearman": 0.5, "mae": 0.1, "rmse": 0.2}
    names = ("scorer", "question_length", "constant_mean")
    write_json(results / "difficulty/metrics.json", {**dict.fromkeys(names, own), "predictions": predictions})
    (results / "students/pupil").mkdir(parents=True)
    losses = "".join(f'{{"step": {step}, "loss": {1 / step}}}\n' for step in range(1, 50_001))
    (results / "students/pupil/loss.jsonl").write_text(losses, encoding="utf-8")
    write_json(results / "config.json", {"responses": {f"key{n}": long for n in range(300)}})
    marks = [json.dumps({"id": f"plain/s0/{n:09d}", "mark": "good", "note": long[:5000]}) for n in range(3000)]
    (tmp_path / "marks").mkdir()
    (tmp_path / "marks/mine.jsonl").write_text("\n".join(marks), encoding="utf-8")
    page = reported(tmp_path, expected=[f"results/responses/{n:09d}.parquet" for n in range(3000)])
    assert len(page.encode()) < 5e6
    # What is left out is said, and figures are of all.
    left_out = ("2,800 more are left out", "105 more are left out")
    for said in (*left_out, "n = 30,000)", "1,000 of n = 30,000", "3000 of 3000"):
        assert said in page, said
    curve, every = rows(tmp_path, "losses"), [1 / step for step in range(1, 50_001)]
    assert "50,000 steps, means of 125" in curve[0]["model"]
    assert (len(curve), float(curve[0]["step"])) == (400, 63.0)
    assert np.mean([float(row["loss"]) for row in curve]) == pytest.approx(np.mean(every))
    tenths = [row for row in rows(tmp_path, "calibration") if row["of"] == "mean of a tenth"]
    assert len(tenths) == 10
    assert np.mean([float(row["measured"]) for row in tenths]) == pytest.approx(np.mean([y for _, y in predictions]))
