"""The whole workflow on a tiny random model: the real Snakemake, TRL and vLLM, from seeds to dataset.

One run is shared by the session (tests/workflow.py). The model's texts are noise, so filters mark or are lenient here;
that the numbers add up and that only the right things rerun does not depend on the texts.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from scalequest.graders import GRADERS
from scalequest.hashing import file_sha256
from scalequest.tables import ATTEMPTS, CANDIDATES, DATASET, FILTERED, GRADES, PAIRS, QUESTIONS, read_rows
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
        ended = [c["reward"] for c in answered if c["id"] == row["id"] and c["finish_reason"] == "stop"]
        assert row["reward"] == max(ended)


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
        *("filter_text", "filter_duplicates", "score_difficulty", "select_responses", "build_dataset"),
    }
    lines = (run / "results/summary.txt").read_text().splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 100


def test_a_finished_run_plans_nothing(run, config):
    assert planned(snakemake(run, config, "-n")) == {}


@pytest.mark.parametrize("path", ["questions/nosuch/seed0/gpu0", "filters/duplicates/seed7", "datasets/nosuch"])
def test_a_path_of_what_the_config_does_not_know_is_a_sentence(run, config, path):
    result = snakemake(run, config, "-n", f"results/{path}.parquet")
    assert result.returncode != 0
    assert f"No rule to produce results/{path}.parquet" in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr


TIGHTER = {"apply_filters", "sample_responses", "score_responses", "select_responses"}
END = {"build_dataset", "summarize_run", "write_config"}
PROOF = {"tune_student", "count_overlap", "sample_answers", "grade_answers", "build_table"}


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
    assert "kept" in new and "scalequest.engine: loading" not in new
    left = [row for path in shards(run, "filtered") for row in read_rows(path, FILTERED) if row["kept"]]
    assert 0 < len(left) < len(rows)


def test_a_config_mistake_is_one_sentence_before_any_job(tmp_path, config):
    result = snakemake(tmp_path, merged(config, {"responses": {"sampels": 3}}), "-n")
    assert result.returncode != 0
    assert "did you mean" in (result.stdout + result.stderr)
    assert "Traceback" not in result.stderr
