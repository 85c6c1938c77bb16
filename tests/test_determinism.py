"""`engine.determinism`: windows that are drained, and windows of which the next begin before one is done."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from programs import ENGINE, SAMPLING, command, operating, refused, script, succeeded
from scalequest.models import write_manifest
from scalequest.tables import JUDGEMENTS, QUESTIONS, read_rows
from tiny import make_tiny_model

FP32 = {**ENGINE, "dtype": "float32", "window": 16, "max_sequences": 16}
# In float32 a text does not depend on its batch, so all ways must agree to the letter.
MODES = {name: {**FP32, "determinism": name} for name in ("windows", "none")}


def asking(engine: dict[str, Any]) -> dict[str, Any]:
    return {"purpose": "questions", "sampling": SAMPLING, "engine": engine}


def shard(model: Path, folder: Path, start: int = 0, count: int = 80) -> dict[str, Any]:
    place = {"model": model, "generator": "tiny", "seed": 0, "start": start, "count": count}
    return {**place, "progress": folder / "progress", "out": folder / "questions.parquet"}


@pytest.fixture(scope="module")
def sampled(tiny_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each mode's folder after the same shard."""
    folders = {name: tmp_path_factory.mktemp(name) for name in MODES}
    for name, engine in MODES.items():
        succeeded(script("sample_questions", asking(engine), **shard(tiny_manifest, folders[name])))
    return folders


def test_without_draining_the_same_questions_come_out(sampled):
    texts = {
        name: [(row["id"], row["question"]) for row in read_rows(folder / "questions.parquet", QUESTIONS)]
        for name, folder in sampled.items()
    }
    assert texts["none"] == texts["windows"]
    assert len({text for _, text in texts["none"] if text}) > 60


def test_a_judge_that_asks_twice_a_window_gives_the_same(sampled, tmp_path):
    """Reasoning first and the verdict after it: two questions to the engine, of several windows side by side."""
    model = make_tiny_model(tmp_path / "talker", end_std=0.0)
    manifest = tmp_path / "talker.json"
    write_manifest(manifest, model, name="talker", source="test")
    found = {}
    for name, engine in MODES.items():
        settings = {"engine": engine, "judge": {"verdict": "choice", "reasoning_tokens": 16}}
        place = {"model": manifest, "questions": sampled["windows"] / "questions.parquet"}
        out = tmp_path / f"{name}.parquet"
        succeeded(script("judge_questions", settings, **place, progress=tmp_path / name, out=out))
        found[name] = [(row["id"], row["reasoning"], row["probability"]) for row in read_rows(out, JUDGEMENTS)]
    assert [row[:2] for row in found["none"]] == [row[:2] for row in found["windows"]]
    assert [row[2] for row in found["none"]] == pytest.approx([row[2] for row in found["windows"]], abs=1e-5)


def test_windows_are_stored_one_by_one_all_the_same(sampled):
    parts = {name: sorted(folder.glob("progress/*/*/tiny-s0-16-*.parquet")) for name, folder in sampled.items()}
    assert len(parts["none"]) == len(parts["windows"]) == 5


def test_a_window_that_fails_ends_the_job_with_its_sentence(tmp_path):
    model = make_tiny_model(tmp_path / "mute", mute=True)
    manifest = tmp_path / "mute.json"
    write_manifest(manifest, model, name="mute", source="test")
    message = refused(script("sample_questions", asking(MODES["none"]), **shard(manifest, tmp_path)))
    assert "asked nothing: all 16 questions" in message


def test_sigterm_ends_it_soon_and_the_next_run_makes_the_rest(sampled, tiny_manifest, tmp_path):
    place = shard(tiny_manifest, tmp_path, count=80)
    line = command("sample_questions", asking(MODES["none"]), **place)
    child = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, env=operating())  # noqa: S603 - our own program
    end = time.monotonic() + 120
    while not list(tmp_path.glob("progress/*/*/*.parquet")):
        assert time.monotonic() < end and child.poll() is None
        time.sleep(0.01)
    child.send_signal(signal.SIGTERM)
    start = time.monotonic()
    _, said = child.communicate(timeout=60)
    assert child.returncode == 128 + signal.SIGTERM, said
    assert time.monotonic() - start < 20
    assert 1 <= len(list(tmp_path.glob("progress/*/*/*.parquet"))) < 5
    succeeded(script("sample_questions", asking(MODES["none"]), **place))
    again = (tmp_path / "questions.parquet").read_bytes()
    assert again == (sampled["none"] / "questions.parquet").read_bytes()
    made = [int(found) for found in re.findall(r'"rows": (\d+)', records(tmp_path))]
    assert sum(made) == 80


def records(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.glob("progress/*/*/attempts/*.json"))
