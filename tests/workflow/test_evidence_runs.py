"""`make evidence` on the tiny model: some arms, to their tables. Stopped on its way, it goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from conftest import ROOT, SMALL_CACHE
from tools import evidence
from workflow import SHORT

pytestmark = pytest.mark.nightly
# Questions of an untuned, a tuned and a preferred generator, responses, students of both training seeds.
ARMS = ("known", "main", "again", "cool", "rank")
SEEDS: dict[str, Any] = {"source": "path:resources/domains/math/seed_problems.jsonl", "licence": "MIT"}
SEEDS["fields"] = {"question": "problem", "answer": "answer", "solution": "solution"}


def small(model: Path) -> dict[str, Any]:
    """What the tiny model needs of the preset: its own path, short texts, few problems."""
    tiny = {"source": f"path:{model}", "sha256": None, "licence": "none"}
    train, test = ({**SEEDS, "where": {"split": part}} for part in ("train", "test"))
    return {
        "models": {"coder": tiny, "smollm2": tiny},
        "datasets": {"gsm8k_train": train, "gsm8k_test": {**test, "max_rows": 16}},
        "operation": SMALL_CACHE,
        "engine": {"dtype": "float32", "window": 8, "max_sequences": 8, "max_model_len": 512, "stage_windows": {}},
        "question_tuning": {"max_questions": 16, "max_length": 128},
        "preference_tuning": {
            **{"questions": 32, "min_pairs": 2, "sampling": SHORT},
            "dpo": {"held_out": 1, "max_length": 128},
        },
        "questions": {"shards": 2, "questions_per_shard": 8, "sampling": SHORT},
        "filters": {"solvability": {"min_probability": 0.0}},
        "difficulty": {"problems": 16, "samples": 2, "sampling": SHORT, "max_length": 128},
        "responses": {"samples": 2, "sampling": SHORT},
        "selection": {"require_answer": False},
        "students": {"on_ours": {"rows": 16}, "on_gsm8k": {"rows": 16}},
        "calibration": {"problems": 16},
        "evaluation": {"sampling": {"max_tokens": 16}},
    }


def test_from_the_questions_to_the_tables(tiny_model: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "small.yaml"
    overlay.write_text(yaml.safe_dump(small(tiny_model)), encoding="utf-8")
    line = [sys.executable, str(ROOT / "scripts/tools/evidence.py"), "--cores", "2", "--anew", "--only", *ARMS]
    line += ["--runs", str(tmp_path / "runs"), "--to", str(tmp_path / "tables"), "--configfile", str(overlay)]
    with (tmp_path / "log.txt").open("wb") as log:
        child = subprocess.Popen(line, cwd=ROOT, stdout=log, stderr=log, env=os.environ)  # noqa: S603 - our own words
        stored = tmp_path / "runs" / "shared" / "progress"
        while not list(stored.glob("sample_questions/*/*.parquet")) and child.poll() is None:
            time.sleep(0.1)
        child.send_signal(signal.SIGTERM)
        assert child.wait() != 0
        before = {path: path.stat().st_mtime_ns for path in stored.rglob("*.parquet")}
        assert before
        again = subprocess.run(line, cwd=ROOT, stdout=log, stderr=log, env=os.environ, check=False)  # noqa: S603
    assert again.returncode == 0, (tmp_path / "log.txt").read_text(encoding="utf-8")[-6000:]
    # Nothing is made twice.
    assert {path: path.stat().st_mtime_ns for path in before} == before
    arms = pd.read_csv(tmp_path / "tables" / "arms.csv")
    for name in ("main", "cool", "rank"):
        assert set(arms[arms.arm == name].generator) == set(evidence.generators(evidence.arms()[name]))
    for name in ("filters_agreement", "scorer", "pairs", "students", "calibration_selection"):
        assert not pd.read_csv(tmp_path / "tables" / f"{name}.csv").empty, name
    assert set(pd.read_csv(tmp_path / "tables" / "students.csv").run) == {"main", "again"}
