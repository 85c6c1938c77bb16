"""What profiles/slurm asks SLURM for, by a dry run after a site's lines were edited; tests/cluster submits it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT
from workflow import checkout_copy, edit_profile, succeeded

SITE = {
    **{"cpu_partition": "c1,c2", "gpu_partition": "g1,preempt", "gpu_model": "a100_3g.20gb"},
    **{"cpu_minutes": 200, "gpu_minutes": 220, "cpu_mem_mb_most": 30000, "gpu_mem_mb": 40000},
    **{"gpu_constraint": "a100&nvlink", "gpu_gres": "lscratch:200", "cpu_qos": "normal", "gpu_qos": "qos_gpu-t3"},
    **{"gpu_reservation": "mine", "gpu_exclusive": "true", "sbatch_options": "--exclude=n7"},
}
FOR_ALL_ON_CPUS = {"slurm_partition": "c1,c2", "qos": "normal", "slurm_extra": "--exclude=n7"}
WITHOUT_A_MODEL = {**FOR_ALL_ON_CPUS, "runtime": "60", "mem_mb": "8000"}


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_jobs_without_a_gpu_go_to_their_own_partition(device: str, tmp_path: Path) -> None:
    checkout = checkout_copy(tmp_path / "checkout", "profiles")
    edit_profile(checkout, SITE)
    line = [sys.executable, "-m", "snakemake", "--profile", "profiles/slurm", "-n", "--directory", str(tmp_path)]
    done = subprocess.run(  # noqa: S603 - our own words
        [*line, "--config", f"device={device}"], cwd=checkout, capture_output=True, text=True, check=False
    )
    found = re.findall(r"^rule (\w+):\n(?:    .*\n)*?    resources: (.*)$", succeeded(done), flags=re.MULTILINE)
    asked = {rule: dict(word.split("=", 1) for word in words.split(", ")) for rule, words in found}
    with_a_model = {
        "cpu": {**FOR_ALL_ON_CPUS, "runtime": "200", "mem_mb": "30000", "gpu": "0"},
        "gpu": {
            **{"slurm_partition": "g1,preempt", "runtime": "220", "mem_mb": "40000", "gpu": "1"},
            **{"gpu_model": "a100_3g.20gb", "constraint": "a100&nvlink", "gres": "lscratch:200"},
            **{"qos": "qos_gpu-t3", "slurm_extra": "--reservation=mine --exclusive --exclude=n7"},
        },
    }[device]
    assert {"sample_questions", "judge_questions", "tune_questions", "train_scorer", "filter_text"} <= set(asked)
    for rule, words in asked.items():
        expected = with_a_model if "gpu" in words else WITHOUT_A_MODEL
        names = (*WITHOUT_A_MODEL, "gpu", "gpu_model", "constraint", "gres")
        assert {name: words[name] for name in names if name in words} == expected, rule


def test_a_variable_in_a_folder_of_the_site_is_refused(tmp_path: Path) -> None:
    checkout = checkout_copy(tmp_path / "checkout", "profiles")
    edit_profile(checkout, {"models": '"/scratch/$USER/models"'})
    line = [sys.executable, "-m", "snakemake", "--profile", "profiles/slurm", "-n", "--directory", str(tmp_path)]
    done = subprocess.run(line, cwd=checkout, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    assert done.returncode == 1
    assert "storage.models is '/scratch/$USER/models': variables are not filled in." in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_only_a_warning_names_the_option_that_drops_the_folders_of_the_site() -> None:
    paths = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "scripts").rglob("*.py")]
    named = {path.name: re.findall(r".*--config[ =`].*", path.read_text(encoding="utf-8")) for path in paths}
    [warning] = named.pop("slurm.md")
    assert "takes the place of" in warning
    assert [lines for lines in named.values() if lines] == []
