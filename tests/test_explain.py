"""`make explain` and the question before a dear run: the estimate on tables of cases, the rest on the real workflow."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import ROOT
from scalequest import costs
from scalequest.costs import Cost, Job
from scalequest.hashing import file_sha256
from workflow import checkout_copy, merged, snakemake, succeeded

# ---------------------------------------------------------------- the estimate


def benchmark(path: Path, *seconds: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("s\th:m:s\n" + "".join(f"{value}\t0:00:01\n" for value in seconds))


def test_seconds_are_the_mean_of_a_rules_jobs(tmp_path):
    benchmark(tmp_path / "make_seeds.tsv", "4.0")
    benchmark(tmp_path / "sample_questions" / "a.seed0.gpu0.tsv", "10.0")
    benchmark(tmp_path / "sample_questions" / "a.seed0.gpu1.tsv", "20.0")
    benchmark(tmp_path / "train_scorer.tsv", "many")
    (tmp_path / "filter_text").mkdir()
    (tmp_path / "filter_text" / "torn.tsv").write_bytes(b"\xff\xfe")
    (tmp_path / "make_pairs.tsv").write_text("")
    assert costs.seconds_per_job(tmp_path) == {"make_seeds": 4.0, "sample_questions": 15.0}
    assert costs.seconds_per_job(tmp_path / "nowhere") == {}


@pytest.mark.parametrize(
    ("job", "number", "cost"),
    [
        (Job("sample_questions", 2), 3, Cost("sample_questions", 3, 1080.0, 0.6)),
        (Job("filter_text", 0), 2, Cost("filter_text", 2, 7200.0, 0.0)),
        (Job("new_on_gpu", 1), 1, Cost("new_on_gpu", 1, None, None)),
        (Job("new_on_cpu", 0), 1, Cost("new_on_cpu", 1, None, 0.0)),
        (Job("write_config", 0, measured=False), 1, Cost("write_config", 1, 0.0, 0.0)),
    ],
    ids=lambda value: value.rule if isinstance(value, Job) else "",
)
def test_a_cost_is_jobs_by_seconds_by_gpus(job, number, cost):
    assert costs.estimate([job] * number, {"sample_questions": 360.0, "filter_text": 3600.0}) == [cost]


@pytest.mark.parametrize(
    ("hours", "limit", "part"),
    [
        (2.0, None, None),
        (2.0, 2.0, None),
        (2.0, 1.5, "about 2 GPU-hours, more than operation.confirm_above_gpu_hours (1.5)"),
        (None, 1.5, "never ran here (rule)"),
        (None, None, None),
    ],
)
def test_what_is_too_dear(hours, limit, part):
    found = costs.too_dear([Cost("rule", 1, None, hours)], limit)
    assert found is None if part is None else found is not None and part in found


@pytest.mark.parametrize(("answer", "status"), [("yes\n", 0), ("y\n", 0), ("\n", 1), ("no\n", 1)])
def test_on_a_terminal_it_asks(answer, status, tmp_path):
    code = "from scalequest.costs import Job, confirm\nconfirm([Job('sample_questions', 1)], 1.0)"
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
    result = subprocess.run(  # noqa: S603 - our own program
        [
            *(sys.executable, str(checkout / "scripts" / "explain.py"), "--snakefile", str(checkout / "Snakefile")),
            *("--profile", str(checkout / "profiles" / "local"), "--configfile", str(path), *arguments),
        ],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
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
    assert said["sample_responses"].splitlines()[1:] == ["    follows from apply_filters"]
    assert said["sample_responses"].split()[1] == "2"
    assert "judge_questions" not in said
    assert "0.00 GPU-hours" in said["all"] and "unknown" not in said["all"]
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
    helper = checkout / "scripts" / "scalequest" / "contamination.py"
    helper.write_text(helper.read_text() + "\nADDED = 1\n")
    prompt = checkout / "resources" / "prompts" / "verify.txt"
    prompt.write_text(prompt.read_text() + "\n")
    said = explain(run, config, checkout=checkout)
    assert "its code has changed: scripts/filter_text.py, or what it imports" in said["filter_text"]
    assert "a file of resources/ has changed" in said["score_responses"]
    assert "code" not in said["score_responses"] and "resources" not in said["filter_text"]


def test_deleted_files_are_named(run, config, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    (folder / "results/dataset/manifest.json").unlink()
    assert "gone: results/dataset/manifest.json" in explain(folder, config)["build_dataset"]


def test_what_never_ran_here_has_no_cost_yet(config, tmp_path):
    said = explain(tmp_path, merged(config, {"device": "gpu", "operation": {"confirm_above_gpu_hours": 1.0}}))
    assert said["sample_questions"].split()[:4] == ["sample_questions", "2", "unknown", "unknown"]
    assert "Not counted, as they never ran here: " in said["all"]
    assert "It will have to be confirmed" in said["all"]


# ---------------------------------------------------------------- a dear run


def test_a_dear_run_is_refused_before_any_job(run, config):
    dear = merged(config, {"device": "gpu", "operation": {"confirm_above_gpu_hours": 0.0}})
    before = {path: file_sha256(path) for path in (run / "results").rglob("*") if path.is_file()}
    result = snakemake(run, dear)
    text = result.stdout + result.stderr
    assert result.returncode != 0
    assert "GPU-hours, more than operation.confirm_above_gpu_hours (0)" in text
    assert "SCALEQUEST_CONFIRM=yes" in text
    assert "Traceback" not in text
    assert {path: file_sha256(path) for path in (run / "results").rglob("*") if path.is_file()} == before
    assert "SCALEQUEST_CONFIRM" not in succeeded(snakemake(run, dear, "-n"))
    # The refused run left no lock.
    succeeded(snakemake(run, config))


def test_a_confirmed_run_goes_on(run, config, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    dear = merged(config, {"selection": {"rule": "majority"}, "operation": {"confirm_above_gpu_hours": 0.0}})
    on_a_gpu = ("--set-resources", "select_responses:gpu=1")
    assert "SCALEQUEST_CONFIRM=yes" in snakemake(folder, dear, *on_a_gpu).stderr
    succeeded(snakemake(folder, dear, *on_a_gpu, SCALEQUEST_CONFIRM="yes"))
    assert explain(folder, dear)["all"].startswith("Nothing would run")
