"""`engine.determinism`: windows that are drained, and windows of which the next begin before one is done."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from programs import ENGINE, SAMPLING, SCRIPTS, command, operating, refused, script, succeeded
from scalequest.errors import ScaleQuestError
from scalequest.llm.engine import Engine
from scalequest.llm.models import Model, write_manifest
from scalequest.rows.store_key import StoreKey
from scalequest.rows.tables import JUDGEMENTS, QUESTIONS, read_rows
from scalequest.settings import EngineSettings, read_settings
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


@pytest.mark.nightly
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


@pytest.mark.nightly
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


# ---------------------------------------------------------------- who runs beside whom, without a model


class Echo:
    """Stands where `vllm.LLM` would, and where its engine would: a step finishes what was added."""

    def __init__(self) -> None:
        self.llm_engine = self
        self.added: list[str] = []

    def generate(self, inputs: list, params: list, use_tqdm: bool) -> list:
        """A whole batch at once."""
        return inputs

    def reset_prefix_cache(self) -> None:
        """Nothing is cached."""

    def has_unfinished_requests(self) -> bool:
        """Whether a step has anything to do."""
        return bool(self.added)

    def add_request(self, name: str, prompt: Any, sampling: Any) -> None:
        """Take in one row."""
        self.added.append(name)

    def step(self) -> list:
        """All of them are finished."""
        done, self.added = self.added, []
        return [SimpleNamespace(request_id=name, finished=True) for name in done]


@pytest.fixture
def echoing(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Engine]:
    def make(determinism: str) -> Engine:
        monkeypatch.setenv("VLLM_BATCH_INVARIANT", "0")
        engine = Engine(
            Model("m", Path("m"), "d", "test", False),
            read_settings(EngineSettings, {**FP32, "determinism": determinism}),
        )
        engine._llm = Echo()
        return engine

    return make


@pytest.mark.parametrize(("determinism", "at_once"), [("windows", 1), ("none", 3), ("batch_invariant", 3)])
def test_how_many_windows_are_under_way(echoing, determinism, at_once):
    engine, under_way, most = echoing(determinism), set(), 0

    def work(batch: list) -> list:
        nonlocal most
        under_way.add(batch[0])
        most = max(most, len(under_way))
        engine._complete(batch, batch)
        under_way.discard(batch[0])
        return batch

    made = dict(engine.each(work, [[number] * 4 for number in range(8)]))
    assert made == {number: [number] * 4 for number in range(8)}
    assert most == at_once


@pytest.mark.parametrize("fault", ["a window fails", "the disk is full"])
def test_a_window_that_asks_after_the_engine_was_given_up_fails(echoing, fault, monkeypatch):
    """One that is still tokenising, as the first of three ends the job."""
    engine, over, errors = echoing("none"), threading.Event(), []
    give_up = engine._give_up

    def given_up() -> None:
        give_up()
        over.set()

    monkeypatch.setattr(engine, "_give_up", given_up)

    def work(batch: list) -> list:
        if batch == [0]:
            if fault == "a window fails":
                raise OSError(fault)
            return batch
        assert over.wait(30)
        try:
            return engine._complete(batch, batch)
        except ScaleQuestError as error:
            errors.append(str(error))
            raise

    def write_all() -> None:
        for _ in engine.each(work, [[0], [1], [2]]):
            raise OSError(fault)

    with pytest.raises(OSError, match=fault):
        write_all()
    assert errors == ["the engine was stopped."] * 2


def test_a_window_that_asks_just_as_the_engine_is_given_up_does_not_wait_for_ever(echoing):
    engine, errors = echoing("none"), []
    put = engine._asked.put

    def late(asked: tuple) -> None:
        # Time enough for the other thread, were there no lock.
        threading.Thread(target=engine._give_up).start()
        time.sleep(0.3)
        put(asked)

    def ask() -> None:
        engine._asked = SimpleNamespace(put=late)
        engine._feeding = True
        try:
            with engine._turn:
                engine._complete([0], [0])
        except ScaleQuestError as error:
            errors.append(str(error))

    window = threading.Thread(target=ask, daemon=True)
    window.start()
    window.join(10)
    assert errors == ["the engine was stopped."]


# Stands where the package would, and says what is in the environment as it is imported.
NO_VLLM = """
import os, sys
sys.exit(f"batch invariance: {os.environ.get('VLLM_BATCH_INVARIANT')}")
"""
ASK = """
import json, sys
from pathlib import Path
from scalequest.llm.engine import Engine
from scalequest.llm.models import Model
from scalequest.settings import EngineSettings
engine = Engine(Model("m", Path("m"), "d", "test", False), EngineSettings(**json.loads(sys.argv[1])))
engine.generate([[1]], [1], temperature=1.0, top_p=1.0, max_tokens=1)
"""


@pytest.mark.parametrize(("determinism", "value"), [("none", None), ("batch_invariant", "1")])
def test_vllm_knows_of_batch_invariance_as_it_is_imported(tmp_path, determinism, value, monkeypatch):
    (tmp_path / "vllm.py").write_text(NO_VLLM)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{SCRIPTS}")
    monkeypatch.delenv("VLLM_BATCH_INVARIANT", raising=False)
    line = [sys.executable, "-c", ASK, json.dumps({**FP32, "determinism": determinism})]
    done = subprocess.run(line, capture_output=True, text=True, check=False)  # noqa: S603 - our own program
    assert done.stderr == f"batch invariance: {value}\n"


def test_rows_of_each_mode_are_stored_apart():
    modes = ("windows", "none", "batch_invariant")
    keys = [StoreKey("stage", QUESTIONS, {"engine": {**FP32, "determinism": name}}) for name in modes]
    assert len({key.name("digest of a model") for key in keys}) == 3
