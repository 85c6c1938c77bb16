"""The whole workflow on a tiny random model: the real Snakemake, TRL and vLLM, from seeds to dataset.

One run is shared by the session (tests/support/workflow.py). The model's texts are noise, so filters mark or are
lenient here; that the numbers add up and that only the right things rerun does not depend on the texts.
"""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from calibrate import RULES
from conftest import ROOT
from scalequest.grading.graders import GRADERS
from scalequest.hashing import file_sha256
from scalequest.rows.published import DATASET
from scalequest.rows.tables import ATTEMPTS, CANDIDATES, FILTERED, GRADES, PAIRS, QUESTIONS, read_rows
from workflow import merged, planned, snakemake, succeeded


def shards(run: Path, stage: str) -> list[Path]:
    return sorted((run / "results" / stage / "tiny" / "seed0").glob("gpu*.parquet"))


def test_all_but_staging_ran_without_a_network(run):
    if (run / "alone").read_text() != "True":
        pytest.skip("no process can be cut off from the network here (unshare --net, ip)")
    assert (run / "results/dataset/manifest.json").exists()


def test_the_dataset_follows_from_what_came_before(run):
    asked = [row for path in shards(run, "questions") for row in read_rows(path, QUESTIONS)]
    sifted = {row["id"]: row for path in shards(run, "filtered") for row in read_rows(path, FILTERED)}
    answered = [row for path in shards(run, "candidates") for row in read_rows(path, CANDIDATES)]
    dataset = read_rows(run / "results/dataset/train.parquet", DATASET)
    assert len(asked) == len(sifted) == 32
    assert {row["id"] for row in answered} == {i for i, row in sifted.items() if row["kept"]}
    chosen = {row["id"]: row for row in answered if row["selected"]}
    assert len(dataset) == len(chosen) > 0
    for row in dataset:
        assert row["query"] == sifted[row["id"]]["question"]
        assert row["response"] == chosen[row["id"]]["response"]
        ended = [c for c in answered if c["id"] == row["id"] and c["finish_reason"] == "stop"]
        most = max(c["votes"] for c in ended)
        assert row["reward"] == max(c["reward"] for c in ended if c["votes"] == most)


def test_lines_and_table_are_the_same_rows(run):
    lines = (run / "results/dataset/train.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert rows == read_rows(run / "results/dataset/train.parquet", DATASET)
    assert list(rows[0])[:2] == ["query", "response"]


def test_pairs_are_of_two_questions_with_the_better_one_chosen(run):
    pairs = read_rows(run / "results/preference_tuning/tiny/pairs.parquet", PAIRS)
    assert len(pairs) >= 4
    assert all(pair["chosen"] != pair["rejected"] and pair["margin"] > 0 for pair in pairs)


def test_the_scorer_shows_its_held_out_error_beside_the_baselines(run):
    metrics = json.loads((run / "results/difficulty/metrics.json").read_text())
    text = json.dumps(metrics)
    for word in ("pearson", "spearman", "mae", "rmse", "mean", "length"):
        assert word in text


def test_manifest_names_the_bytes(run):
    manifest = json.loads((run / "results/dataset/manifest.json").read_text())
    for name, entry in manifest["outputs"].items():
        assert file_sha256(run / "results/dataset" / name) == entry["sha256"]
    assert manifest["config"]["use"]["generators"] == ["tiny"]


def test_the_student_and_its_base_are_measured_beside_the_published_rows(run):
    with (run / "results/evaluation/table1.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = {(row["model"], row["grader"]): row for row in rows if row["kind"] == "measured"}
    assert set(found) == {(model, grader) for model in ("tiny", "tiny_student") for grader in GRADERS}
    assert {row["n"] for row in found.values()} == {"80"}
    assert sum(row["kind"] == "published" for row in rows) > 100
    for name in ("tiny", "tiny_student"):
        folder = run / "results/evaluation" / name / "embedded_test"
        answers = read_rows(folder / "answers0.parquet", ATTEMPTS)
        graded = read_rows(folder / "grades.parquet", GRADES)
        assert len(answers) == 80 and len(graded) == 80 * len(GRADERS)
    student = json.loads((run / "results/students/tiny_student/model.json").read_text())
    assert student["rows"] == len(read_rows(run / "results/dataset/train.parquet", DATASET))
    assert student["base"]["name"] == "tiny"


def test_every_rule_left_a_log_and_the_summary_fits_a_screen(run):
    assert {path.relative_to(run / "logs").parts[0].removesuffix(".log") for path in (run / "logs").rglob("*.log")} >= {
        *("tune_questions", "tune_preferences", "sample_questions", "judge_questions", "sample_responses"),
        *("filter_text", "filter_duplicates", "score_difficulty", "select_responses", "check_answers"),
        *("build_formats", "build_dataset"),
    }
    lines = (run / "results/summary.txt").read_text().splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 100


def summary(run: Path, name: str = "summary") -> dict[str, Any]:
    found = json.loads((run / "results" / f"{name}.json").read_text())
    return {**found, "by": {row["stage"]: row for row in found["stages"]}}


def test_the_summary_is_of_all_that_ran(run):
    found = summary(run)
    student = json.loads((run / "results/students/tiny_student/model.json").read_text())
    assert found["by"]["students"]["out"] == student["rows"]
    assert found["by"]["evaluation"]["in"] == found["by"]["grading"]["in"] == 2 * 80
    for row in found["stages"]:
        if row["in"] is not None:
            assert row["in"] - row["dropped"] == row["out"], row
    # Every job that ran has a benchmark file, and every one of a stage.
    benchmarks = list((run / "benchmarks").rglob("*.tsv"))
    assert found["jobs"] == len(benchmarks)
    assert {
        "tokenize_student",
        "tune_student",
        "count_overlap",
        "sample_answers",
        "grade_answers",
        "build_table",
    } <= set(found["rules"])
    assert found["other_seconds"] is None
    assert found["total_seconds"] == pytest.approx(sum(row["seconds"] or 0 for row in found["stages"]))


def test_its_hours_are_those_of_every_attempt_on_record(run):
    records = [
        json.loads(path.read_text())
        for folder in ("progress", "models")
        for path in (run / folder).glob("**/attempts/*.json")
        # Fetching is no work of an engine or a training.
        if path.relative_to(run / folder).parts[0] != "staged"
    ]
    found = summary(run)["attempts"]
    assert sum(entry["attempts"] for entry in found.values()) == len(records) >= 25
    hours = sum(record["seconds"] for record in records) / 3600
    assert sum(entry["hours"] for entry in found.values()) == pytest.approx(hours)
    assert f"all {len(records)} attempts: {hours:.2f} h" in (run / "results/summary.txt").read_text()
    assert {"students", "sample_answers", "grade_answers"} <= set(found)


# Of which stage the texts in a table are. Candidates are responses once more.
GENERATED = {
    "pairs": ["preference_tuning/tiny/questions.parquet", "preference_tuning/tiny/judgements.parquet"],
    "questions": ["questions"],
    "difficulty_scorer": ["difficulty/attempts.parquet"],
    "solvability": ["filters/solvability"],
    "responses": ["responses"],
    "evaluation": [f"evaluation/{name}/embedded_test/answers0.parquet" for name in ("tiny", "tiny_student")],
}


def test_its_tokens_are_those_of_every_table_that_counts_them(run):
    results, found = run / "results", summary(run)
    tables = [path for path in results.rglob("*.parquet") if "tokens" in pq.read_schema(path).names]
    named = {
        path
        for paths in GENERATED.values()
        for name in paths
        for path in [results / name, *(results / name).rglob("*")]
    }
    assert {path for path in tables if "candidates" not in path.parts} <= named
    for stage, paths in GENERATED.items():
        tokens = sum(pd.read_parquet(results / name)["tokens"].sum() for name in paths)
        assert found["by"][stage]["tokens"] == tokens > 0, stage
    assert found["total_tokens"] == sum(found["by"][stage]["tokens"] for stage in GENERATED)
    assert {row["stage"] for row in found["stages"] if row["tokens"]} == set(GENERATED)


def test_the_dataset_alone_has_a_summary_of_its_own(run, config):
    assert planned(snakemake(run, config, "-n", "dataset")) == {"summarize_dataset": 1, "dataset": 1}
    succeeded(snakemake(run, config, "dataset"))
    whole, found = summary(run), summary(run, "dataset_summary")
    after = {"students", "evaluation", "grading"}
    assert [row for row in whole["stages"] if row["stage"] not in after] == found["stages"]
    assert set(whole["rules"]) - set(found["rules"]) == {
        *("tokenize_student", "tune_student", "count_overlap", "sample_answers", "grade_answers", "build_table")
    }
    assert planned(snakemake(run, config, "-n")) == {}


# ---------------------------------------------------------------- folders that people read

DOCUMENT = ROOT / "docs" / "howto" / "read_results.md"


def folders() -> dict[str, str]:
    """Folders of docs/howto/read_results.md that hold one table, with what a row is."""
    part = DOCUMENT.read_text(encoding="utf-8").split("## The folders of tables\n")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| `results/([a-z/]+)` \| (.*?) \|$", part, re.MULTILINE))


def test_every_folder_that_people_read_is_read_by_one_call(run):
    assert len(folders()) >= 11
    for name in folders():
        folder = run / "results" / name
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert files and all(path.suffix == ".parquet" for path in files), name
        frame = pd.read_parquet(folder)
        assert len(frame) == sum(pq.read_metadata(path).num_rows for path in files) > 0, name


def test_every_folder_of_tables_is_one_that_people_are_told_of(run):
    """Each that holds shards, and what is said of each kind of filter."""
    results = run / "results"
    found = {path.parents[2] for path in results.rglob("gpu0.parquet")}
    found |= {path.parent for path in results.rglob("seed0.parquet")}
    assert {str(path.relative_to(results)) for path in found} == set(folders())


def test_a_finished_run_plans_nothing(run, config):
    assert planned(snakemake(run, config, "-n")) == {}


@pytest.mark.parametrize("path", ["questions/nosuch/seed0/gpu0", "filters/duplicates/seed7", "datasets/nosuch"])
def test_a_path_of_what_the_config_does_not_know_is_a_sentence(run, config, path):
    result = snakemake(run, config, "-n", f"results/{path}.parquet")
    assert result.returncode != 0
    assert f"No rule to produce results/{path}.parquet" in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr


TIGHTER = {"apply_filters", "sample_responses", "score_responses", "select_responses"}
END = {"build_formats", "build_dataset", "summarize_run", "build_report", "write_config"}
PROOF = {"tokenize_student", "tune_student", "count_overlap", "sample_answers", "grade_answers", "build_table"}
PROOF |= {"check_answers", "profile_data", "build_browser"}


@pytest.mark.parametrize(
    ("change", "rules"),
    [
        ({"filters": {"solvability": {"min_probability": 0.01}}}, TIGHTER | END | PROOF),
        ({"selection": {"rule": "majority"}}, {"select_responses"} | END | PROOF),
        ({"dataset": {"name": "other"}}, END),
        ({"questions": {"seeds": [0, 1]}}, None),
    ],
    ids=["threshold", "selection", "name", "seed"],
)
def test_a_changed_key_plans_what_follows_from_it(run, config, change, rules):
    plan = planned(snakemake(run, merged(config, change), "-n"))
    if rules is None:
        # A new seed adds shards: two of each sharded rule, and nothing of the older seed.
        sharded = ("sample_questions", "filter_text", "judge_questions", "sample_responses")
        assert [plan[name] for name in sharded] == [2, 2, 2, 2]
        assert "tune_questions" not in plan
        assert plan["filter_duplicates"] == 1
    else:
        assert set(plan) == rules


def test_swapping_two_values_is_noticed(run, config):
    swapped = {"responses": {"sampling": {"temperature": 0.9, "top_p": 1.0}}}
    assert "sample_responses" in planned(snakemake(run, merged(config, swapped), "-n"))


def test_a_tighter_threshold_loads_no_engine(run, config):
    """What a stricter filter leaves was answered and scored before; the store has it."""
    rows = [row for path in shards(run, "filtered") for row in read_rows(path, FILTERED)]
    threshold = sorted(row["solvable"] for row in rows)[len(rows) // 2]
    stricter = merged(config, {"filters": {"solvability": {"min_probability": threshold}}})
    before = {path: path.read_text() for path in (run / "logs").glob("*/attempts/*.log")}
    # The dataset alone: a student of other rows is another student.
    succeeded(snakemake(run, stricter, "dataset"))
    after = {path: path.read_text() for path in (run / "logs").glob("*/attempts/*.log")}
    # Snakemake removes a job's log before it runs again; ours keep all attempts.
    assert all(text.startswith(before[path]) for path, text in after.items())
    answered = "logs/score_responses/attempts/tiny.seed0.gpu0.log"
    assert [text.count(" ----\n") for text in (before[run / answered], after[run / answered])] == [1, 2]
    new = "".join(text.removeprefix(before[path]) for path, text in after.items())
    assert "kept" in new and "scalequest.llm.engine: loading" not in new
    left = [row for path in shards(run, "filtered") for row in read_rows(path, FILTERED) if row["kept"]]
    assert 0 < len(left) < len(rows)


def test_a_dropped_row_says_by_which_number(run, config):
    stricter = merged(config, {"filters": {"solvability": {"min_probability": 0.999}}})
    succeeded(snakemake(run, stricter, "filtered"))
    rows = pd.read_parquet(run / "results/filtered")
    dropped = rows[rows["dropped_by"] == "solvability"]
    assert len(dropped) > 0
    for _, row in dropped.iterrows():
        said = re.search(r"solvability: not solvable: ([\d.]+), below 0\.999$", row["reason"])
        assert said is not None and float(said[1]) == pytest.approx(row["solvable"], abs=0.005)


def test_a_config_mistake_is_one_sentence_before_any_job(tmp_path, config):
    result = snakemake(tmp_path, merged(config, {"responses": {"sampels": 3}}), "-n")
    assert result.returncode != 0
    assert "did you mean" in (result.stdout + result.stderr)
    assert "Traceback" not in result.stderr


def test_a_calibration_counts_what_filters_judge_and_selection_do_with_known_problems(run, config):
    own = merged(config, {"calibration": {"problems": 12}})
    before = planned(snakemake(run, own, "-n"))
    jobs = planned(snakemake(run, own, "calibrate", "-n"))
    assert set(jobs) == {
        "make_calibration",
        "filter_calibration",
        "judge_calibration",
        "score_calibration",
        "calibrate",
    }
    succeeded(snakemake(run, own, "calibrate"))
    folder = run / "results" / "calibration"
    judge, filters, selection = (pd.read_csv(folder / f"{name}.csv") for name in ("judge", "filters", "selection"))
    assert set(judge["texts"]) == {"whole", "shuffled", "cut"}
    assert set(judge[judge["of"] == "all problems"]["n"]) == {12}
    assert set(filters["filter"]) == {"language", "length", "contamination", "solvability"}
    assert list(selection["rule"]) == list(RULES)
    assert set(selection["n"]) == {12}
    assert "whose selected response is right" in (folder / "calibration.txt").read_text()
    # It is no part of the run, of which only the report is made again, with the judged problems.
    assert planned(snakemake(run, own, "-n")) == {**before, "build_report": 1}
