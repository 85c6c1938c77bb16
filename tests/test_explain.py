"""`make explain` and the question before a dear run, on the real workflow."""

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
from scalequest.costs import Job
from scalequest.hashing import file_sha256
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
    found = costs.too_dear([Job("rule", 1.0, 3600.0, "", gpus=gpus)], limit)
    assert found is None if part is None else found is not None and part in found


@pytest.mark.parametrize(("answer", "status"), [("yes\n", 0), ("y\n", 0), ("\n", 1), ("no\n", 1)])
def test_on_a_terminal_it_asks(answer, status, tmp_path):
    code = "from scalequest.costs import Job, confirm\nconfirm([Job('rule', 1.0, 7200.0, '', gpus=1)], 1.0)"
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


def test_what_never_ran_here_is_reckoned_too(config, tmp_path):
    said = explain(tmp_path, merged(config, {"device": "gpu", "operation": {"confirm_above_gpu_hours": 0.01}}))
    # Two jobs of which each begins with two minutes.
    assert said["sample_questions"].split()[:5] == ["sample_questions", "2", "4.0", "min", "0.07"]
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
