"""`make explain` and the question before an expensive run, on the real workflow."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import ROOT
from planner import Planner
from programs import finished
from scalequest.hashing import digest, file_sha256
from scalequest.rows.tables import FILTERED, QUESTIONS, made_in, read_rows
from scalequest.runtime.files import read_json, write_json
from scalequest.workflow.confirm import reason_to_confirm
from scalequest.workflow.estimate import Job
from workflow import checkout_copy, merged, snakemake, succeeded

# ---------------------------------------------------------------- the question


@pytest.mark.parametrize(
    ("gpus", "limit", "part"),
    [
        (2, None, None),
        (2, 2.0, None),
        (2, 1.5, "about 2 GPU-hours, more than operation.confirm_above_gpu_hours (1.5)"),
        (0, 0.0, None),
    ],
)
def test_what_is_too_dear(gpus, limit, part):
    found = reason_to_confirm([Job("rule", 1.0, 3600.0, "", gpus=gpus)], limit)
    assert found is None if part is None else found is not None and part in found


@pytest.mark.parametrize(("answer", "status"), [("yes\n", 0), ("y\n", 0), ("\n", 1), ("no\n", 1)])
def test_on_a_terminal_it_asks(answer, status, tmp_path):
    code = (
        "from scalequest.workflow.confirm import confirm\n"
        "from scalequest.workflow.estimate import Job\n"
        "confirm([Job('rule', 1.0, 7200.0, '', gpus=1)], 1.0)"
    )
    terminal, end = pty.openpty()
    os.write(terminal, answer.encode())
    result = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code], stdin=end, capture_output=True, text=True, cwd=tmp_path, check=False
    )
    os.close(terminal)
    os.close(end)
    assert "Go on? [y/N]" in result.stdout
    assert result.returncode == status, result.stderr
    assert ("Nothing was started" in result.stderr) == (status == 1)


# ---------------------------------------------------------------- explain


def explain(folder: Path, config: Mapping[str, Any], *arguments: str, checkout: Path = ROOT) -> dict[str, str]:
    """What explain says of each rule, and under `all` the whole text."""
    path = folder / "overlay.yaml"
    path.write_text(yaml.safe_dump(dict(config)))
    result = finished(
        [
            *(
                sys.executable,
                str(checkout / "scripts" / "tools" / "explain.py"),
                "--snakefile",
                str(checkout / "Snakefile"),
            ),
            *("--profile", str(checkout / "profiles" / "local"), "--configfile", str(path), *arguments),
        ],
        cwd=folder,
    )
    text = succeeded(result)
    said: dict[str, str] = {"all": result.stdout}
    rule = ""
    for line in result.stdout.partition("Would run:")[2].partition("\n\n")[0].splitlines()[1:]:
        if not line.startswith(" "):
            rule = line.split()[0]
        said[rule] = said.get(rule, "") + line + "\n"
    assert "Traceback" not in text
    return said


def test_a_finished_run_has_nothing_to_explain(run, config):
    assert explain(run, config)["all"].startswith("Nothing would run")


def test_a_threshold_is_named_with_its_old_and_new_value(run, config):
    before = {path: path.stat().st_mtime_ns for path in (run / ".snakemake" / "metadata").rglob("*")}
    said = explain(run, merged(config, {"filters": {"solvability": {"min_probability": 0.3}}}))
    assert "filters.solvability.min_probability: 0.0 -> 0.3" in said["apply_filters"]
    assert said["sample_responses"].splitlines()[1:] == [
        "    rows: at least 0 to make, at most 64 stored already",
        "    follows from apply_filters",
    ]
    assert said["sample_responses"].split()[1] == "2"
    assert "judge_questions" not in said
    assert "0.00 GPU-hours" in said["all"]
    assert {path: path.stat().st_mtime_ns for path in (run / ".snakemake" / "metadata").rglob("*")} == before


@pytest.mark.parametrize(
    ("change", "rule", "line"),
    [
        ({"grading": {"time_limit": 2.0}}, "select_responses", "grading.time_limit: 5.0 -> 2.0"),
        ({"preference_tuning": {"questions": 40}}, "sample_pair_questions", "arguments: "),
        ({"questions": {"seeds": [0, 1]}}, "sample_questions", "new: it never ran here"),
        ({"questions": {"seeds": [0, 1]}}, "build_dataset", "it reads now also"),
        ({"filters": {"contamination": {"enabled": False}}}, "filter_text", "it reads no longer results/datasets/"),
    ],
    ids=["grading", "a number", "seed", "more inputs", "fewer inputs"],
)
def test_reasons_are_in_plain_words(change, rule, line, run, config):
    assert f"    {line}" in explain(run, merged(config, change))[rule]


def test_changed_code_and_prompts_are_told_apart(run, config, tmp_path):
    checkout = checkout_copy(tmp_path / "checkout", "scripts", "resources")
    helper = checkout / "scripts" / "scalequest" / "filters" / "contamination.py"
    helper.write_text(helper.read_text() + "\nADDED = 1\n")
    prompt = checkout / "resources" / "domains" / "math" / "prompts" / "verify.txt"
    prompt.write_text(prompt.read_text() + "\n")
    said = explain(run, config, checkout=checkout)
    assert "its code has changed: scripts/filter_text.py, or what it imports" in said["filter_text"]
    assert "a file of resources/ has changed" in said["score_responses"]
    assert "code" not in said["score_responses"] and "resources" not in said["filter_text"]


def test_deleted_files_are_named(run, config, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    (folder / "results/dataset/manifest.json").unlink()
    assert "gone: results/dataset/manifest.json" in explain(folder, config)["build_dataset"]


def test_what_never_ran_here_is_estimated_too(config, tmp_path):
    said = explain(tmp_path, merged(config, {"device": "gpu", "operation": {"confirm_above_gpu_hours": 0.01}}))
    # Two jobs of which each begins with two minutes.
    assert said["sample_questions"].split()[:5] == ["sample_questions", "2", "4.0", "min", "0.07"]
    assert "It will have to be confirmed" in said["all"]


# ---------------------------------------------------------------- rows that are stored

# As many as the tiny run has, of questions (16 in each of two shards) and of two responses to each.
QUESTION_ROWS, RESPONSE_ROWS = 32, 64
ON_QUESTIONS = ("score_difficulty", "judge_questions")
ON_RESPONSES = ("sample_responses", "score_responses")
# A run of these on a GPU would be asked about if it made a single row.
AT_ALL = {"operation": {"confirm_above_gpu_hours": 0.0}}
ON_A_GPU = ("--set-resources", "sample_responses:gpu=1", "score_responses:gpu=1")


@pytest.fixture(scope="module")
def planner() -> Iterator[Planner]:
    with Planner() as started:
        yield started


@pytest.fixture
def copy(run, tmp_path) -> Path:
    """A copy of the finished run that a test may damage."""
    return shutil.copytree(run, tmp_path / "run")


def remove_shard(folder: Path, shard: int) -> None:
    """Remove all results of a shard, and the dataset, so that they are made again."""
    for path in [*(folder / "results").glob(f"**/tiny/seed0/gpu{shard}.*"), folder / "results/dataset/manifest.json"]:
        path.unlink()


def store_of(table: Path) -> Path:
    """The store in which a table of results was made, in the folder of its run."""
    folder = next(parent for parent in table.parents if parent.name == "results").parent
    (name,) = made_in(table)
    return folder / "progress" / name


def test_a_tighter_filter_makes_nothing_and_asks_nothing(planner, run, config):
    kept = [row for path in (run / "results/filtered").rglob("*.parquet") for row in read_rows(path, FILTERED)]
    threshold = sorted(row["solvable"] for row in kept)[10]
    tighter = merged(config, {"filters": {"solvability": {"min_probability": threshold}}})
    rows = planner.rows(ROOT, run, tighter)
    left = sum(row["solvable"] >= threshold for row in kept)
    assert 0 < left < QUESTION_ROWS
    assert {rule: rows[rule] for rule in ON_RESPONSES} == dict.fromkeys(ON_RESPONSES, (0, 2 * left))
    assert "judge_questions" not in rows
    assert "have to be confirmed" not in explain(run, merged(tighter, AT_ALL), *ON_A_GPU)["all"]


def test_of_three_responses_the_third_is_made(run, config):
    said = explain(run, merged(config, {"responses": {"samples": 3}, **AT_ALL}), *ON_A_GPU)
    assert "    rows: at least 32 to make, at most 64 stored already" in said["sample_responses"]
    assert "    rows: at least 32 to make, at most 64 stored already" in said["score_responses"]
    assert "have to be confirmed" in said["all"]


@pytest.mark.parametrize("larger", [{"shards": 3}, {"questions_per_shard": 24}])
def test_more_questions_make_nothing_older(larger, planner, run, config):
    rows = planner.rows(ROOT, run, merged(config, {"questions": larger}))
    for rule in ON_QUESTIONS:
        assert rows[rule] == (QUESTION_ROWS / 2, QUESTION_ROWS), rule
    for rule in ON_RESPONSES:
        assert rows[rule] == (RESPONSE_ROWS / 2, RESPONSE_ROWS), rule


def test_other_sampling_makes_all_and_all_that_follows(planner, run, config):
    rows = planner.rows(ROOT, run, merged(config, {"responses": {"sampling": {"temperature": 0.9}}}))
    assert {rule: rows[rule] for rule in ON_RESPONSES} == dict.fromkeys(ON_RESPONSES, (RESPONSE_ROWS, 0))
    rows = planner.rows(ROOT, run, merged(config, {"questions": {"sampling": {"temperature": 0.9}}}))
    made = {rule: rows[rule] for rule in ("sample_questions", *ON_QUESTIONS, *ON_RESPONSES)}
    assert [number for number, _ in made.values()] == [*[QUESTION_ROWS] * 3, *[RESPONSE_ROWS] * 2]
    assert not any(found for _, found in made.values())


def test_results_that_are_gone_are_found_stored(planner, copy, config):
    remove_shard(copy, 1)
    rows = planner.rows(ROOT, copy, config)
    assert rows["sample_questions"] == (0, QUESTION_ROWS / 2)
    # Duplicates are sought in all shards, and what follows from them runs again.
    assert {rule: rows[rule] for rule in ON_QUESTIONS} == dict.fromkeys(ON_QUESTIONS, (0, QUESTION_ROWS))
    assert {rule: rows[rule] for rule in ON_RESPONSES} == dict.fromkeys(ON_RESPONSES, (0, RESPONSE_ROWS))


def test_what_is_missing_in_the_progress_folder_is_made(planner, copy, config):
    remove_shard(copy, 1)
    responses = store_of(copy / "results/responses/tiny/seed0/gpu0.parquet")
    for path in responses.glob("tiny-s0-8-00000003.*.parquet"):
        path.unlink()
    rows = planner.rows(ROOT, copy, config)
    assert rows["sample_responses"] == (RESPONSE_ROWS / 4, RESPONSE_ROWS * 3 / 4)
    assert rows["score_responses"] == (0, RESPONSE_ROWS)
    # A part that cannot be read is one that is missing.
    for path in responses.glob("tiny-s0-8-00000002.*.parquet"):
        path.write_bytes(path.read_bytes()[:-8])
    assert planner.rows(ROOT, copy, config)["sample_responses"] == (RESPONSE_ROWS / 2, RESPONSE_ROWS / 2)


def test_before_a_training_all_that_follows_counts(planner, run, config):
    rows = planner.rows(ROOT, run, merged(config, {"question_tuning": {"epochs": 2}}))
    for rule in ("sample_pair_questions", "judge_pair_questions", "sample_questions", *ON_QUESTIONS, *ON_RESPONSES):
        assert rows[rule][0] > 0 and rows[rule][1] == 0, rule
    assert "train_scorer" not in rows


def test_what_no_training_comes_before_is_found_stored(planner, copy, config):
    for path in (copy / "results").iterdir():
        if path.name not in ("models", "datasets", "seeds", "question_tuning"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    rows = planner.rows(ROOT, copy, config)
    pairs, problems = config["preference_tuning"]["questions"], config["difficulty"]["problems"]
    assert rows["sample_pair_questions"] == rows["judge_pair_questions"] == (0, pairs)
    assert rows["measure_fail_rates"] == (0, problems)
    # A student is trained, and the model that it began as is measured too.
    assert rows["sample_answers"][0] == rows["sample_answers"][1] > 0
    assert rows["sample_questions"] == rows["score_difficulty"] == (QUESTION_ROWS, 0)


def test_rows_about_other_questions_of_the_same_ids_count_too_as_an_upper_bound(planner, copy, config):
    """A generator was trained anew and has asked all its questions, and then the run was killed."""
    questions = copy / "results/questions/tiny/seed0/gpu0.parquet"
    manifest = copy / "results/preference_tuning/tiny/model.json"
    entry, old = read_json(manifest), store_of(questions)
    write_json(manifest, entry | {"digest": digest("another generator")})
    key = read_json(old / "key.json") | {"model": digest("another generator")}
    new = old.parent / digest(key, [str(field) for field in QUESTIONS.schema])[:20]
    new.mkdir()
    write_json(new / "key.json", key)
    for part in old.glob("*.parquet"):
        shutil.copyfile(part, new / part.name)
    rows = planner.rows(ROOT, copy, config)
    assert rows["sample_questions"] == (0, QUESTION_ROWS)
    assert {rule: rows[rule] for rule in ON_QUESTIONS} == dict.fromkeys(ON_QUESTIONS, (0, QUESTION_ROWS))
    assert {rule: rows[rule] for rule in ON_RESPONSES} == dict.fromkeys(ON_RESPONSES, (0, RESPONSE_ROWS))


# ---------------------------------------------------------------- an expensive run


def test_an_expensive_run_is_refused_before_any_job(run, config):
    expensive = merged(config, {"device": "gpu", "operation": {"confirm_above_gpu_hours": 0.0}})
    before = {path: file_sha256(path) for path in (run / "results").rglob("*") if path.is_file()}
    result = snakemake(run, expensive)
    text = result.stdout + result.stderr
    assert result.returncode != 0
    assert "GPU-hours, more than operation.confirm_above_gpu_hours (0)" in text
    assert "SCALEQUEST_CONFIRM=yes" in text
    assert "Traceback" not in text
    assert {path: file_sha256(path) for path in (run / "results").rglob("*") if path.is_file()} == before
    assert "SCALEQUEST_CONFIRM" not in succeeded(snakemake(run, expensive, "-n"))
    # The refused run left no lock.
    succeeded(snakemake(run, config))


def test_a_confirmed_run_goes_on(run, config, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    changed = {"evaluation": {"k": [1]}}
    expensive = merged(config, {**changed, "operation": {"confirm_above_gpu_hours": 0.0}})
    on_a_gpu = ("--set-resources", "grade_answers:gpu=1")
    assert "SCALEQUEST_CONFIRM=yes" in snakemake(folder, expensive, *on_a_gpu).stderr
    succeeded(snakemake(folder, expensive, *on_a_gpu, SCALEQUEST_CONFIRM="yes"))
    assert explain(folder, expensive)["all"].startswith("Nothing would run")
