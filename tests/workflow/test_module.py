"""Another workflow imports this one with Snakemake's `module`, a prefix and its own config, and runs it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import ROOT
from scalequest.rows.published import DATASET
from scalequest.rows.tables import read_rows
from scalequest.runtime.files import RUN_FILE
from workflow import merged, succeeded

OFF = {"enabled": False}
# The shortest way to a dataset: no training, no filter with a model, no reward.
SHORT = {
    "use": {"students": []},
    "generators": {"tiny": {"tuning": "none"}},
    "questions": {"shards": 1},
    "filters": {"solvability": OFF, "difficulty": OFF},
    "reward": {"kind": "none"},
    "selection": {"rule": "majority"},
    "evaluation": {"models": []},
}
SNAKEFILE = """\
configfile: "config.yaml"


module scalequest:
    snakefile:
        "{checkout}/Snakefile"
    config:
        config["scalequest"]
    prefix:
        "questions"


use rule * from scalequest as scalequest_*


onstart:
    scalequest.onstart()


rule count_rows:
    default_target: True
    input:
        "questions/results/dataset/train.jsonl",
    output:
        "rows.txt",
    shell:
        "wc -l < {{input}} > {{output}}"
"""


@pytest.fixture
def importing(tmp_path: Path, config: Mapping[str, Any]) -> Path:
    """Folder of a workflow that imports ours, with the short config."""
    (tmp_path / "Snakefile").write_text(SNAKEFILE.format(checkout=ROOT))
    return configured(tmp_path, merged(config, SHORT))


def configured(folder: Path, config: Mapping[str, Any]) -> Path:
    (folder / "config.yaml").write_text(yaml.safe_dump({"scalequest": dict(config)}))
    return folder


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Snakemake as the importing workflow's user calls it."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603


@pytest.mark.nightly
def test_it_runs_to_its_dataset_below_the_prefix(importing):
    succeeded(snakemake(importing))
    made = importing / "questions" / "results" / "dataset"
    rows = read_rows(made / "train.parquet", DATASET)
    assert int((importing / "rows.txt").read_text()) == len(rows) > 0
    assert json.loads((made / "manifest.json").read_text())["config"]["use"]["generators"] == ["tiny"]
    assert not any((importing / name).exists() for name in ("results", "logs", "benchmarks"))
    # The importing workflow called our onstart, so that a job of an older run cannot replace a later run's results.
    assert (importing / RUN_FILE).exists()
    assert "Nothing to be done" in succeeded(snakemake(importing))


def test_every_path_of_every_command_is_below_the_prefix(tmp_path, config):
    (tmp_path / "Snakefile").write_text(SNAKEFILE.format(checkout=ROOT))
    targets = [f"questions/results/{name}" for name in ("checksums.txt", "summary.txt", "dataset_summary.txt")]
    text = succeeded(snakemake(configured(tmp_path, config), "-n", "--printshellcmds", *targets))
    commands = re.findall(r"^Shell command: (.*)$", text, re.MULTILINE)
    assert len(commands) > 30
    paths = [
        path for command in commands for path in re.findall(r"[\w/.]*\b(?:results|logs|benchmarks)/[\w/*.]+", command)
    ]
    assert len(paths) > 200
    assert [path for path in paths if not path.startswith("questions/")] == []
    assert all(" --benchmarks questions/benchmarks " in line for line in commands if "summarize_run.py" in line)


def test_a_mistake_in_its_config_is_one_sentence(importing):
    configured(importing, {"responses": {"sampels": 3}})
    result = snakemake(importing, "-n")
    assert result.returncode != 0
    assert "did you mean" in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


def test_rules_that_fetch_stay_on_the_login_node(importing):
    """By directives of their own: `localrules:` would not know them by their new names."""
    with (importing / "Snakefile").open("a") as file:
        for rule, local in (("stage_model", True), ("summarize_dataset", True), ("sample_questions", False)):
            # Snakemake's `is_local` says yes to all rules of a run without a cluster.
            file.write(f'assert ("scalequest_{rule}" in workflow._localrules) == {local}\n')
    succeeded(snakemake(importing, "-n"))


def test_plan_says_that_it_needs_our_own_snakefile(importing):
    program = [sys.executable, str(ROOT / "scripts" / "tools" / "plan.py"), "--cores", "1"]
    result = subprocess.run(program, cwd=importing, capture_output=True, text=True, check=False)  # noqa: S603
    assert result.returncode != 0
    assert "give ScaleQuest's own Snakefile and config" in result.stderr
    assert "Traceback" not in result.stderr
