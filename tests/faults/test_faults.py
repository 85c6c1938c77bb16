"""Faults of machines, disks and people: finished work is kept, what is damaged is made again, and a sentence says why.

Five trials of the fault table (tests/support/faults.py, which `make test-faults` runs in full) are drawn by a seed,
which is shown; SCALEQUEST_FAULT_SEED draws others. Three of them are nightly, and so is a sixth of a broken store,
which must be found bad.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import faults
from conftest import SEEDS
from fault_stages import STAGES, Models, Stage, problems
from programs import COMMON, ENGINE, ONE_CPU, SAMPLING, command, operating, refused, script, succeeded, training_of
from scalequest.hashing import digest
from scalequest.llm.models import open_model, write_manifest
from scalequest.rows.store import Row, RowStore, in_windows
from scalequest.rows.tables import PROBLEMS, SCORES, write_table
from scalequest.runtime.files import SEAL, read_json, seal, write_json
from scalequest.training import checkpoints, saving
from scalequest.training import launch as training
from workflow import checkout_copy, snakemake

SEED = int(os.environ["SCALEQUEST_FAULT_SEED"])
KEY = {"model": "m"}


# ---------------------------------------------------------------- a sample of the table
def sample(seed: int) -> list[tuple[str, str]]:
    """Five of the table's (stage, fault): each fault, and four stages, one of them a training."""
    chance = random.Random(seed)  # noqa: S311 - not for secrets
    trainings = [name for name, stage in STAGES.items() if not stage.table]
    stages = [*chance.sample([name for name in STAGES if name not in trainings], 3), chance.choice(trainings)]
    return list(zip([*stages, chance.choice(stages[:3])], chance.sample(faults.FAULTS, 5), strict=True))


def test_the_sample_covers_every_fault_and_four_stages():
    for seed in range(200):
        drawn = sample(seed)
        assert {fault for _, fault in drawn} == set(faults.FAULTS)
        assert len({stage for stage, _ in drawn}) == 4
    assert len({stage for seed in range(200) for stage, _ in sample(seed)}) == len(STAGES)
    # The one that is drawn where no seed is given.
    assert ("tune_student", "sigkill") in sample(int(SEEDS["SCALEQUEST_FAULT_SEED"]))


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], faults.Reference]:
    """A stage's undisturbed run, made when it is first asked for."""
    folder = tmp_path_factory.mktemp("faults")
    made: dict[str, Any] = {}

    def get(name: str) -> faults.Reference:
        made.setdefault("models", None)
        made["models"] = made["models"] or Models.make(folder / "models")
        if name not in made:
            made[name] = faults.undisturbed(STAGES[name], made["models"], folder / name)
        return made[name]

    return get


# The fourth of the sample is the training.
TRIED = [
    pytest.param(*trial, marks=[pytest.mark.nightly] if place in (1, 2, 4) else [])
    for place, trial in enumerate(sample(SEED))
]


@pytest.mark.parametrize(("stage", "fault"), TRIED)
def test_a_fault_loses_nothing_and_repeats_a_window_at_most(stage, fault, reference, tmp_path):
    try:
        found = faults.trial(reference(stage), fault, 0, SEED, tmp_path)
    except faults.Unavailable as reason:
        pytest.skip(str(reason))
    print(f"fault seed {SEED}: {stage}, {faults.SAID[fault]} at {found.parts} of {found.of}: {found}")
    assert 0 < found.parts < found.of
    assert (found.lost, found.twice, found.equal, found.troubles) == (0, 0, True, [])
    assert found.good, f"{found.repeated_windows:.2f} windows were repeated"


@pytest.mark.nightly
def test_a_store_that_finds_nothing_is_seen_by_the_table(reference, tmp_path):
    """All is made again into files of the same names, so that neither the store nor the output shows it."""
    stage = next(stage for stage, _ in sample(SEED) if STAGES[stage].table)
    checkout = checkout_copy(tmp_path / "checkout", "scripts")
    store = checkout / "scripts" / "scalequest" / "rows" / "store.py"
    text = store.read_text()
    assert text.count("        return list(found.values())\n") == 1
    store.write_text(text.replace("return list(found.values())", "return []"))
    found = faults.trial(reference(stage), "sigterm", 0, SEED, tmp_path, checkout)
    assert (found.lost, found.equal, found.troubles) == (0, True, [])
    # The parts that were there before, and the window in hand where it was stored before the end.
    assert found.parts <= found.again <= found.parts + 1
    assert found.twice == found.again * len(reference(stage).rows) / found.of
    assert not found.good


# ---------------------------------------------------------------- the store
def rows(count: int = 16) -> list[Row]:
    return [{"id": f"g/s0/{index:09d}", "index": index, "question": f"text {index}"} for index in range(count)]


class Scorer:
    """Notes the windows that it is asked for."""

    def __init__(self) -> None:
        self.windows: list[int] = []

    def __call__(self, window: list[Row]) -> list[Row]:
        self.windows.append(window[0]["index"] // 4)
        return [{"id": row["id"], "score": float(len(row["question"]))} for row in window]


def stored(folder: Path, some: list[Row]) -> tuple[list[int], str]:
    """Windows that were made, and a digest of the rows, after a stage in windows of four."""
    work = Scorer()
    found = in_windows(some, RowStore(folder, "score", KEY, SCORES), 4, work, group="g-s0")
    return work.windows, digest(sorted(found, key=lambda row: row["id"]))


@pytest.mark.parametrize("year", [1975, 2100])
def test_a_clock_that_was_wrong_changes_nothing(tmp_path, year):
    """Parts, records of attempts and folders that seem to be of the future, or of long ago."""
    _, before = stored(tmp_path, rows(8))
    moment = (year - 1970) * 31556952
    for path in [*tmp_path.rglob("*"), tmp_path]:
        if path.parent.name == "attempts":
            write_json(path, {**read_json(path), "started": f"{year}-01-01T00:00:00+00:00"})
        os.utime(path, (moment, moment))
    assert stored(tmp_path, rows(8)) == ([], before)
    assert stored(tmp_path, rows(16))[0] == [2, 3]


def test_a_machine_that_stopped_in_the_middle_of_writing(tmp_path):
    """What was being written lies about, and a part has its name but, as after a crash, half its bytes or none."""
    _, before = stored(tmp_path, rows())
    parts = sorted(tmp_path.rglob("*.parquet"))
    attempt = next(tmp_path.rglob("attempts/*.json"))
    for path in (parts[0], attempt):
        path.with_name(f".{path.name}.4711.part").write_bytes(path.read_bytes()[:100])
    (attempt.parent / f".{attempt.name}.node.4711.new").write_text("{")
    for part, left in ((parts[1], 0.5), (parts[2], 0.0)):
        data = part.read_bytes()
        part.write_bytes(data[: int(len(data) * left)])
    attempt.write_text("")
    assert stored(tmp_path, rows()) == ([1, 2], before)
    assert stored(tmp_path, rows()) == ([], before)


@contextmanager
def mounted(folder: Path, *words: str) -> Iterator[Path]:
    """A file system on a folder; skips the test where mounting is not allowed."""
    folder.mkdir(exist_ok=True)
    try:
        faults.mount(*words, str(folder))
    except faults.Unavailable as reason:
        pytest.skip(str(reason))
    try:
        yield folder
    finally:
        faults.unmount(folder)


@contextmanager
def read_only(folder: Path) -> Iterator[Path]:
    with mounted(folder, "--bind", str(folder)):
        faults.mount("-o", "remount,bind,ro", str(folder))
        yield folder


def shard(model: Path, folder: Path, **more: Any) -> subprocess.CompletedProcess[str]:
    """Sample questions; nothing here gets as far as an engine."""
    place = {"model": model, "generator": "tiny", "seed": 0, "start": 0, "count": 16}
    settings = {"purpose": "questions", "sampling": SAMPLING, "engine": ENGINE}
    return script("sample_questions", settings, **place, progress=folder / "progress", out=folder / "q.parquet", **more)


def test_a_read_only_store_is_a_sentence(tiny_manifest, tmp_path):
    (tmp_path / "progress").mkdir()
    with read_only(tmp_path / "progress"):
        message = refused(shard(tiny_manifest, tmp_path))
    assert f"{tmp_path}/progress/sample_questions" in message
    assert "Read-only file system" in message
    assert "storage.progress" in message


def test_of_a_read_only_store_everything_can_be_read(tmp_path):
    folder = tmp_path / "progress"
    _, before = stored(folder, rows(8))
    with read_only(folder):
        assert stored(folder, rows(8)) == ([], before)
        with pytest.raises(OSError, match="Read-only"):
            stored(folder, rows(9))


def test_a_damaged_part_of_a_read_only_store_is_not_trusted(tmp_path):
    folder = tmp_path / "progress"
    stored(folder, rows(8))
    part = sorted(folder.rglob("*.parquet"))[0]
    part.write_bytes(part.read_bytes()[:-9])
    with read_only(folder), pytest.raises(OSError, match="Read-only"):
        stored(folder, rows(8))


def test_a_full_disk_for_the_log_alone_stops_no_job(tmp_path):
    write_table(tmp_path / "problems.parquet", problems(64), PROBLEMS)
    outs = {"out": tmp_path / "seeds.parquet", "counts": tmp_path / "counts.json"}
    with mounted(tmp_path / "small", "-t", "tmpfs", "-o", "size=64k", "tmpfs") as small:
        (small / "log.txt").touch()
        faults.fill(small / "ballast")
        done = script(
            "make_seeds", {"max_rows": None}, problems=tmp_path / "problems.parquet", **outs, log=small / "log.txt"
        )
    assert "Traceback" not in succeeded(done)
    assert outs["out"].exists()


def test_a_vanished_model_is_named_with_what_to_do(tiny_model, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    manifest = tmp_path / "tiny.json"
    write_manifest(manifest, model, name="tiny", source="test")
    shutil.rmtree(model)
    message = refused(shard(manifest, tmp_path))
    assert f"model 'tiny': {model}/" in message
    assert "is missing" in message
    assert f"Remove {manifest} and run again" in message


# ---------------------------------------------------------------- trainings
def checkpoint(folder: Path, step: int) -> Path:
    """A checkpoint as a trainer leaves it, sealed."""
    made = folder / "checkpoints" / f"checkpoint-{step}"
    (made / "parts").mkdir(parents=True)
    for name in ("model.safetensors", "optimizer.pt", "parts/one.bin"):
        (made / name).write_bytes(f"{step} {name}".encode() * 100)
    checkpoints.seal_checkpoint(made.parent, made.name)
    return made


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "cut short": lambda path: (path / "optimizer.pt").write_bytes(b"4 optim"),
    "a byte changed": lambda path: (path / "model.safetensors").write_bytes(b"5 model.safetensors" * 100),
    "a file gone": lambda path: (path / "parts/one.bin").unlink(),
    "never sealed": lambda path: (path / SEAL).unlink(),
    "seal emptied": lambda path: (path / SEAL).write_bytes(b""),
    "seal of bytes": lambda path: (path / SEAL).write_bytes(b"\xff\x00"),
    "seal of another shape": lambda path: (path / SEAL).write_text("[]"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_of_a_damaged_checkpoint_the_one_before_is_taken(tmp_path, damage):
    folder = tmp_path / "checkpoints"
    assert checkpoints.last_checkpoint(folder, "x") is None
    for step in (2, 3, 4):
        checkpoint(tmp_path, step)
    newest = folder / "checkpoint-4"
    assert sorted(path.name for path in newest.parent.iterdir()) == ["checkpoint-3", "checkpoint-4"]
    assert checkpoints.last_checkpoint(folder, "x") == str(newest)
    DAMAGES[damage](newest)
    assert checkpoints.last_checkpoint(folder, "x") == str(newest.with_name("checkpoint-3"))


def test_a_checkpoint_that_is_written_again_in_its_place_is_whole(tmp_path):
    """After a fall back to the one before, the trainer writes into the damaged one's folder."""
    newest = checkpoint(tmp_path, 4)
    (newest / "optimizer.pt").write_bytes(b"other")
    checkpoints.seal_checkpoint(newest.parent, newest.name)
    assert checkpoints.last_checkpoint(newest.parent, "x") == str(newest)


def tune(folder: Path, manifest: Path) -> list[str]:
    """A training of some seconds, with a checkpoint a step."""
    write_table(folder / "seeds.parquet", problems(64), PROBLEMS)
    stage = {
        **{"loss": "all", "max_questions": None, "epochs": 3, "learning_rate": 1e-4, "scheduler": "cosine"},
        **{"warmup_ratio": 0.0, "weight_decay": 0.0, "max_length": 128, "rows_per_step": 2, "rows_per_device": 2},
        **{"optimizer": "adamw_torch", "seed": 1},
    }
    settings = {"question_tuning": stage, "training": ONE_CPU, "device": "cpu"}
    files = {
        "weights": folder / "weights",
        "name": "tiny",
        "out": folder / "out.json",
        "history": folder / "loss.jsonl",
    }
    return command("tune_questions", settings, seeds=folder / "seeds.parquet", model=manifest, **files)


def test_a_damaged_data_set_of_a_training_is_laid_down_again(tiny_manifest, tmp_path):
    rows = [{"input_ids": [number] * 9, "labels": [number] * 9} for number in range(40)]
    run = training_of("questions", COMMON, open_model(tiny_manifest, check=False), rows)
    training.lay_down(run, "key", tmp_path)
    (data,) = (tmp_path / "train").glob("*.arrow")
    written, content = data.stat().st_ino, data.read_bytes()
    # What is derived from it is kept beside it.
    derived = tmp_path / "train" / "cache-1.arrow"
    derived.write_bytes(b"x")
    training.lay_down(run, "key", tmp_path)
    assert (data.stat().st_ino, derived.exists()) == (written, True)
    data.write_bytes(content.replace((7).to_bytes(8, "little"), (8).to_bytes(8, "little"), 1))
    training.lay_down(run, "key", tmp_path)
    assert (data.read_bytes(), derived.exists()) == (content, False)


def test_a_training_that_is_killed_for_its_memory_says_so(tiny_manifest, tmp_path):
    """The kernel kills the process that takes the memory, which is the trainer, not the script that started it."""
    line, often = tune(tmp_path, tiny_manifest), operating(checkpoint_minutes=0)
    child = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, env=often, start_new_session=True)  # noqa: S603
    with faults.ended_at_last([child]):
        wait(lambda: list(tmp_path.glob("weights/.*/checkpoints/*/.whole.json")) or child.poll() is not None)
        trainer = faults.family(child.pid)[-1]
        assert "scalequest.training.process" in Path(f"/proc/{trainer}/cmdline").read_text()
        faults.send(trainer, signal.SIGKILL)
        _, said = child.communicate(timeout=120)
    message = refused(subprocess.CompletedProcess(line, child.returncode, "", said))
    assert "memory" in message
    assert "The next run goes on from the last checkpoint" in message


def test_weights_that_were_finished_but_not_yet_in_place_are_taken(tiny_manifest, tmp_path):
    """The machine stopped between the end of the training and the rename of its folder."""
    base = open_model(tiny_manifest, check=False)
    run = training_of("questions", COMMON, base, [])
    key = training._key(run)
    made = tmp_path / f".{key[:16]}.training" / saving.MODEL
    result = {"steps": 7, "history": [], "held_out": {}, "predictions": []}
    write_json(made / training.RESULT, {"key": key, "result": result})
    seal(made)
    (made.parent / f".{saving.MODEL}.part").mkdir()
    found = training.train(run, tmp_path)
    assert (found.folder, found.steps) == (tmp_path / key[:16], 7)
    assert not made.parent.exists()


def wait(condition: Callable[[], Any], seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


# ---------------------------------------------------------------- Snakemake
def test_of_two_runs_in_one_folder_the_second_refuses_and_a_stale_lock_has_a_command(tiny_model, tmp_path):
    light = Stage("write_config", ("config.json",), lambda *_: None)
    (tmp_path / "results").mkdir()
    place = faults.prepared(light, Models(tiny_model, tiny_model), tmp_path)
    with faults.ended_at_last([]) as children:

        def ended(line: list[str], log: str) -> tuple[int, str]:
            children.append(place.start(line, log))
            return children[-1].wait(timeout=240), (tmp_path / log).read_text()

        first = place.start(place.snakemake(), "first.txt")
        children.append(first)
        wait(lambda: list(tmp_path.glob(".snakemake/locks/*")) or first.poll() is not None)
        faults.send(first.pid, signal.SIGSTOP)
        assert first.poll() is None, (tmp_path / "first.txt").read_text()
        for name in ("alive.txt", "stale.txt"):
            status, said = ended(place.snakemake(), name)
            assert status == 1
            assert "Directory cannot be locked" in said
            assert "no other Snakemake process is trying to create the same files" in said
            assert "--unlock" in said
            assert "Traceback" not in said
            first.kill()
        assert ended(place.snakemake("--unlock"), "unlock.txt")[0] == 0
        status, said = ended(place.snakemake(), "again.txt")
    assert status == 0, said
    assert (tmp_path / "results/config.json").exists()


def test_a_job_that_meets_an_edited_config_refuses(tiny_model, tmp_path):
    """As a cluster's job starts: Snakemake again, which parses the config anew."""
    faults.prepared(Stage("write_config", (), lambda *_: None), Models(tiny_model, tiny_model), tmp_path)
    job = ("--mode", "remote", "--allowed-rules", "write_config", "--", "results/config.json")
    config = faults.config(Models(tiny_model, tiny_model))
    done = snakemake(tmp_path, config, *job, SCALEQUEST_FROZEN='{"the config was": "other"}')
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert "the config was edited while this run was going on" in said
    assert "Traceback" not in said
    assert not (tmp_path / "results/config.json").exists()
