"""The trainers through real accelerate, TRL and transformers: what batches hold, what a run leaves, what stops it."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from programs import COMMON, ONE_CPU, QUESTION_TEXTS, finished, laid_down, operating, training_of, training_tables
from scalequest import hashing
from scalequest.errors import ScaleQuestError
from scalequest.llm.chat import load_tokenizer, question_format
from scalequest.llm.models import open_model, write_manifest
from scalequest.runtime.files import SEAL, read_json, write_json
from scalequest.runtime.operation import OPERATION
from scalequest.settings import read_settings
from scalequest.training import launch as training
from scalequest.training import process, saving, scorer_text, trainers
from tiny import make_tiny_model

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
QFT = {**COMMON, "loss": "all", "max_questions": None, "warmup_ratio": 0.03}
DPO = {**COMMON, "loss": "sigmoid", "beta": 0.1, "warmup_steps": 1, "rows_per_step": 4, "rows_per_device": 2}
SCORER = {**COMMON, "held_out": 0.25, "warmup_ratio": 0.03, "rows_per_step": 6, "rows_per_device": 6}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with seeds.parquet, pairs.parquet and fail_rates.parquet."""
    return training_tables(tmp_path_factory.mktemp("tables"))


def command(script: str, settings: dict[str, Any], **files: Any) -> list[str]:
    """The command line of a stage script."""
    options = [text for name, path in files.items() for text in (f"--{name.replace('_', '-')}", str(path))]
    return [sys.executable, str(SCRIPTS / f"{script}.py"), "--settings", json.dumps(settings), *options]


def run(line: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return finished(line)


def tune(
    manifest: Path, tables: Path, to: Path, settings: dict[str, Any], *, name: str = "tiny", **more: Any
) -> list[str]:
    """The command line of tune_questions, writing below `to`."""
    whole = {"question_tuning": settings, "training": {**ONE_CPU, **more}, "device": "cpu"}
    return command(
        "tune_questions",
        whole,
        seeds=tables / "seeds.parquet",
        model=manifest,
        weights=to / "weights",
        name=name,
        out=to / "out.json",
        history=to / "loss.jsonl",
    )


@pytest.fixture
def job(tiny_manifest: Path, tmp_path: Path) -> Callable[..., trainers.Job]:
    """Lays down a job for a trainer that runs in this very process."""

    def make(kind: str, settings: dict[str, Any], rows: list) -> trainers.Job:
        work = tmp_path / f"work{len(list(tmp_path.iterdir()))}"
        return laid_down(training_of(kind, settings, open_model(tiny_manifest), rows), work)

    return make


def question_rows(tokenizer: Any, loss: str = "all") -> list[dict[str, list[int]]]:
    import tune_questions

    problems = [{"id": str(i), "question": text} for i, text in enumerate(QUESTION_TEXTS)]
    tuning = read_settings(tune_questions.QuestionTuning, {**QFT, "loss": loss})
    return tune_questions.samples(question_format(tokenizer), tokenizer, problems, tuning)


def pieces(batch: Any) -> list[tuple[list[int], list[int]]]:
    """Token ids and labels of the samples of a packed batch, split where the positions begin again."""
    starts = [i for i, position in enumerate(batch["position_ids"][0].tolist()) if position == 0]
    ends = [*starts[1:], batch["input_ids"].shape[1]]
    ids, labels = batch["input_ids"][0].tolist(), batch["labels"][0].tolist()
    return [(ids[a:b], labels[a:b]) for a, b in zip(starts, ends, strict=True)]


@pytest.mark.parametrize("loss", ["all", "question"])
def test_every_packed_sample_is_whole_and_ends_with_the_stop_token(tiny_model: Path, job: Any, loss: str) -> None:
    tokenizer = load_tokenizer(tiny_model)
    form = question_format(tokenizer)
    trainer = trainers.texts(job("questions", {**QFT, "rows_per_device": 2}, question_rows(tokenizer, loss)))
    batches = list(trainer.get_train_dataloader())
    found = [piece for batch in batches for piece in pieces(batch)]
    assert max(len(pieces(batch)) for batch in batches) > 2, "nothing was packed"
    start = len(form.prefix)
    for ids, labels in found:
        assert tuple(ids[:start]) == form.prefix
        assert ids[-1] == form.end == labels[-1]
        assert ids.count(tokenizer.bos_token_id) == form.prefix.count(tokenizer.bos_token_id)
        assert ids.count(form.end) == form.prefix.count(form.end) + 1
        # The first token of a sample is never predicted, as nothing precedes it.
        assert labels == ([-100, *ids[1:]] if loss == "all" else [-100] * start + ids[start:])
    assert sorted(tokenizer.decode(ids[start:-1]) for ids, _ in found) == sorted(QUESTION_TEXTS)


def test_packed_samples_do_not_see_each_other(tiny_model: Path, job: Any) -> None:
    import torch

    tokenizer = load_tokenizer(tiny_model)
    trainer = trainers.texts(job("questions", QFT, question_rows(tokenizer)))
    batch = next(b for b in trainer.get_train_dataloader() if len(pieces(b)) > 1)
    model = trainer.model.eval()

    def logits(**inputs: Any) -> Any:
        with torch.no_grad():
            return model(**inputs).logits[0]

    alone = torch.cat([logits(input_ids=torch.tensor([ids]), use_cache=False) for ids, _ in pieces(batch)])
    ids, positions = batch["input_ids"], batch["position_ids"]

    def off(**inputs: Any) -> float:
        return (logits(input_ids=ids, **inputs) - alone).abs().max().item()

    assert off(position_ids=positions, use_cache=False) < 1e-4
    # The check can fail: these two are the ways in which samples would leak.
    assert off(position_ids=positions, use_cache=True) > 1e-2
    assert off(use_cache=False) > 1e-2

    # And the trainer's own loss is that of the separate rows.
    targets = torch.cat([torch.tensor(labels)[1:] for _, labels in pieces(batch)])
    rows = torch.cat([logits(input_ids=torch.tensor([i]), use_cache=False)[:-1] for i, _ in pieces(batch)])
    apart = torch.nn.functional.cross_entropy(rows, targets).item()
    assert trainer.compute_loss(trainer.model, dict(batch)).item() == pytest.approx(apart, abs=1e-5)


def test_pairs_reach_the_trainer_as_they_were_encoded(tiny_model: Path, job: Any) -> None:
    import tune_preferences

    tokenizer = load_tokenizer(tiny_model)
    form = question_format(tokenizer)
    # A trailing space, an end spelled out, and the end of the turn as the last word: none may change the ids.
    texts = ["What is 2+2? ", "Say <|im_end|>", " 7"]
    pairs = [{"id": str(i), "chosen": text, "rejected": text + "!"} for i, text in enumerate(texts)]
    rows = list(tune_preferences.samples(form, tokenizer, pairs, 160).values())
    batch = next(
        iter(trainers.preferences(job("preferences", {**DPO, "rows_per_device": 4}, rows)).get_train_dataloader())
    )
    seen = set()
    for ids, mask, attended in zip(batch["input_ids"], batch["completion_mask"], batch["attention_mask"], strict=True):
        row, start = ids[attended.bool()].tolist(), len(form.prefix)
        assert tuple(row[:start]) == form.prefix
        assert row[-1] == form.end
        assert row.count(form.end) == form.prefix.count(form.end) + 1
        assert mask.tolist() == [0] * start + [1] * (len(row) - start) + [0] * (len(ids) - len(row))
        seen.add(tokenizer.decode(row[start:-1]))
    assert seen == {text + end for text in texts for end in ("", "!")}


@pytest.mark.parametrize("kind", ["questions", "preferences", "scorer"])
def test_micro_batches_do_not_change_the_step(tiny_model: Path, job: Any, kind: str) -> None:
    """A step of one micro batch and the same step of several give the same loss and the same gradient."""
    tokenizer = load_tokenizer(tiny_model)
    ids, others = (
        [row["input_ids"] for row in rows] for rows in (question_rows(tokenizer)[:4], question_rows(tokenizer)[4:8])
    )
    start = len(question_format(tokenizer).prefix)
    rows: dict[str, list[dict[str, Any]]] = {
        "questions": [{"input_ids": i * 2, "labels": i * 2} for i in ids],
        "preferences": [
            {"prompt_ids": a[:start], "chosen_ids": a[start:], "rejected_ids": b[start:]}
            for a, b in zip(ids, others, strict=True)
        ],
        "scorer": [{"input_ids": i, "labels": n / 4} for n, i in enumerate(ids)],
    }
    base = {"questions": QFT, "preferences": DPO, "scorer": SCORER}[kind]
    first = []
    for micro in (1, 2, 4):
        # As long as the longest row, so that packing makes one row of each.
        settings = {
            **base,
            "rows_per_step": 4,
            "rows_per_device": micro,
            "max_length": 2 * max(map(len, [*ids, *others])),
        }
        trainer = trainers.KINDS[kind](job(kind, settings, rows[kind]))
        trainer.train()
        first.append((trainer.state.log_history[0]["loss"], trainer.state.log_history[0]["grad_norm"]))
    assert first[1] == pytest.approx(first[0], rel=1e-4)
    assert first[2] == pytest.approx(first[0], rel=1e-4)


def test_rounding_to_bfloat16_is_right_on_average_and_seeded() -> None:
    import torch

    grid = torch.tensor([0.0, 1.0, -0.15625, 3.0e-5]).to(torch.bfloat16).float()
    assert torch.equal(saving.rounded(grid, 1).float(), grid)
    moved = torch.full((200_000,), 0.1).to(torch.bfloat16).float() + 2e-6
    assert (moved.to(torch.bfloat16).float() - moved).mean().item() == pytest.approx(-2e-6, rel=1e-2)
    found = saving.rounded(moved, 7)
    assert abs((found.float() - moved).mean().item()) < 2e-7
    assert len(found.unique()) == 2
    assert torch.equal(found, saving.rounded(moved, 7))
    assert not torch.equal(found, saving.rounded(moved, 8))
    assert (saving.rounded(-moved, 7).float() + moved).abs().max().item() < 5e-4


LONG = {**QFT, "epochs": 12}


@pytest.fixture(scope="module")
def whole(tiny_manifest: Path, tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a question tuning that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    done = run(tune(tiny_manifest, tables, folder, LONG))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.nightly
def test_a_newcomer_takes_a_training_over_after_a_checkpoint(
    tiny_manifest: Path, tables: Path, whole: Path, tmp_path: Path
) -> None:
    line = tune(tiny_manifest, tables, tmp_path, LONG)
    # A checkpoint every step shows that the first one is under way; it makes one more when it is asked to end.
    often = operating(checkpoint_minutes=0, lease_seconds=3)
    first = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, env=often)  # noqa: S603 (our own script)
    wait(lambda: list(tmp_path.glob(f"weights/.*/checkpoints/checkpoint-*/{SEAL}")) or first.poll())
    assert first.poll() is None, "the run ended before it could be taken over"
    second = run(line)
    _, said = first.communicate(timeout=60)
    assert first.returncode == 75, said
    assert "taken over by process" in said
    assert second.returncode == 0, second.stderr
    assert "resuming from checkpoint-" in second.stderr
    assert read_json(tmp_path / "out.json")["digest"] == read_json(whole / "out.json")["digest"]
    assert (tmp_path / "loss.jsonl").read_bytes() == (whole / "loss.jsonl").read_bytes()


@pytest.mark.nightly
def test_a_training_saves_and_ends_before_its_deadline(
    tiny_manifest: Path, tables: Path, whole: Path, tmp_path: Path
) -> None:
    line = tune(tiny_manifest, tables, tmp_path, LONG)
    # Less than the half minute that is kept for a checkpoint.
    short = operating(deadline_minutes=29 / 60)
    stopped = finished(line, env=short)
    assert stopped.returncode == 75, stopped.stderr
    assert "left before the time limit" in stopped.stderr
    assert not (tmp_path / "out.json").exists()
    again = run(line)
    assert again.returncode == 0, again.stderr
    assert "resuming from checkpoint-" in again.stderr
    assert read_json(tmp_path / "out.json")["digest"] == read_json(whole / "out.json")["digest"]


def test_a_run_that_was_stopped_goes_on_and_ends_with_the_same_bytes(
    tiny_manifest: Path, tables: Path, whole: Path, tmp_path: Path
) -> None:
    stopped = tmp_path / "stopped"
    settings = LONG
    manifest = read_json(whole / "out.json")
    history = [json.loads(line) for line in (whole / "loss.jsonl").read_text().splitlines()]
    assert [row["step"] for row in history] == list(range(1, manifest["steps"] + 1))
    assert history[-1]["loss"] < history[0]["loss"]
    assert manifest["losses"]["last"] == history[-1]["loss"]
    assert manifest["questions"] == len(QUESTION_TEXTS)
    assert manifest["base"]["digest"] == read_json(tiny_manifest)["digest"]
    assert not list((whole / "weights").glob(".*")), "the work folder is still there"
    assert str(tmp_path) not in (Path(manifest["folder"]) / "config.json").read_text()
    written = (Path(manifest["folder"]) / "config.json").stat().st_mtime_ns
    assert run(tune(tiny_manifest, tables, whole, settings)).returncode == 0
    # What was trained once is found again.
    assert (Path(manifest["folder"]) / "config.json").stat().st_mtime_ns == written

    line = tune(tiny_manifest, tables, stopped, settings)
    often = operating(checkpoint_minutes=0)
    child = subprocess.Popen(line, stderr=subprocess.DEVNULL, env=often)  # noqa: S603 (our own script)
    work = stopped / "weights"
    wait(lambda: list(work.glob(f".*/checkpoints/checkpoint-*/{SEAL}")) or child.poll() is not None)
    assert child.poll() is None, "the run ended before it could be stopped"
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=60) == 128 + signal.SIGTERM
    wait(lambda: not processes_with(str(work)))
    assert not (stopped / "out.json").exists()
    # A checkpoint that was being written: later than the whole one, and to be ignored.
    (next(work.glob(".*.training")) / "checkpoints" / "checkpoint-999").mkdir()

    again = run(line)
    assert again.returncode == 0, again.stderr
    assert "resuming from checkpoint-" in again.stderr
    assert "checkpoint-999 is not whole" in again.stderr
    assert read_json(stopped / "out.json")["digest"] == manifest["digest"]
    assert (stopped / "loss.jsonl").read_bytes() == (whole / "loss.jsonl").read_bytes()


def test_damaged_weights_are_not_found_again_but_trained_again(
    tiny_manifest: Path, tables: Path, tmp_path: Path
) -> None:
    first = run(tune(tiny_manifest, tables, tmp_path, QFT))
    assert first.returncode == 0, first.stderr
    digest = read_json(tmp_path / "out.json")["digest"]
    (weights,) = tmp_path.glob("weights/*/model.safetensors")
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    again = run(tune(tiny_manifest, tables, tmp_path, QFT))
    assert again.returncode == 0, again.stderr
    assert f"{weights.parent.name} is damaged" in again.stderr
    assert weights.read_bytes() == content
    assert read_json(tmp_path / "out.json")["digest"] == digest


def test_checkpoints_take_a_twentieth_of_the_time_at_most(
    tiny_model: Path, job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import TrainerControl, TrainerState

    laid = job("questions", QFT, question_rows(load_tokenizer(tiny_model)))
    folder = laid.work / "checkpoints" / "checkpoint-1"
    folder.mkdir(parents=True)
    (folder / "weights").write_bytes(b"1")
    args, state = SimpleNamespace(output_dir=str(folder.parent)), TrainerState(global_step=1, max_steps=9)

    def due(minutes: float, since: float) -> bool:
        """Whether a checkpoint is made `since` seconds after one of 10 s."""
        monkeypatch.setenv(OPERATION, json.dumps({"checkpoint_minutes": minutes}))
        watch, control = process._watch(laid), TrainerControl()
        watch.saved -= 10
        watch.on_save(args, state, control)
        watch.saved -= since
        watch.on_step_end(args, state, control)
        return control.should_save

    assert [due(1, since) for since in (59, 180, 200)] == [False, False, True]
    # As long as the config asks for, where that is longer, and after each step for 0.
    assert [due(10, since) for since in (200, 599, 601)] == [False, False, True]
    assert due(0, 0)
    assert (folder / SEAL).exists()


def wait(condition: Callable[[], Any], seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def processes_with(text: str) -> list[int]:
    """Ids of the processes whose command line holds the text."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if text.encode() in line:
                found.append(int(entry.name))
    return found


def test_two_processes_train_as_one(tiny_manifest: Path, tables: Path, tmp_path: Path) -> None:
    histories = []
    for processes in (1, 2):
        to = tmp_path / str(processes)
        done = run(tune(tiny_manifest, tables, to, {**QFT, "loss": "question"}, processes=processes))
        assert done.returncode == 0, done.stderr
        histories.append([json.loads(line)["loss"] for line in (to / "loss.jsonl").read_text().splitlines()])
    assert histories[1] == pytest.approx(histories[0], rel=1e-4)


SHARDED: dict[str, Any] = {"processes": 2, "sharding": "fsdp"}


@pytest.mark.nightly
def test_a_sharded_training_that_was_stopped_ends_with_the_same_bytes(
    tiny_manifest: Path, tables: Path, tmp_path: Path
) -> None:
    more = {**SHARDED, "dtype": "bfloat16", "gradient_checkpointing": True}
    lines = [
        tune(tiny_manifest, tables, tmp_path / name, {**QFT, "epochs": 6}, **more) for name in ("whole", "stopped")
    ]
    done = run(lines[0])
    assert done.returncode == 0, done.stderr

    child = subprocess.Popen(lines[1], stderr=subprocess.DEVNULL, env=operating(checkpoint_minutes=0))  # noqa: S603
    work = tmp_path / "stopped" / "weights"
    wait(lambda: list(work.glob(f".*/checkpoints/checkpoint-*/{SEAL}")) or child.poll() is not None)
    assert child.poll() is None, "the run ended before it could be stopped"
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=60) == 128 + signal.SIGTERM
    wait(lambda: not processes_with(str(work)))
    # Each of the two processes wrote its share.
    checkpoint = max(work.glob(".*.training/checkpoints/checkpoint-*"))
    assert len(list(checkpoint.glob("pytorch_model_fsdp_0/*.distcp"))) == 2
    assert len(list(checkpoint.glob("optimizer_0/*.distcp"))) == 2
    again = run(lines[1])
    assert again.returncode == 0, again.stderr
    assert "resuming from checkpoint-" in again.stderr
    for name in ("stopped", "whole"):
        assert not list((tmp_path / name / "weights").glob(".*")), "the work folder is still there"
    assert read_json(tmp_path / "stopped/out.json")["digest"] == read_json(tmp_path / "whole/out.json")["digest"]
    assert (tmp_path / "stopped/loss.jsonl").read_bytes() == (tmp_path / "whole/loss.jsonl").read_bytes()


def test_of_a_sharded_model_only_the_first_process_has_the_weights_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from accelerate import PartialState

    folder = make_tiny_model(tmp_path / "model", layers=2, hidden=1024)
    write_manifest(tmp_path / "model.json", folder, name="wide", source="test")
    run = training_of("questions", QFT, open_model(tmp_path / "model.json"), [{"input_ids": [1]}], **SHARDED)
    laid = laid_down(replace(run, settings=replace(run.settings, rows_per_step=2)), tmp_path / "work")
    taken, models = [], []
    for first in (True, False):
        monkeypatch.setattr(PartialState, "is_main_process", first)
        before = resident()
        models.append(trainers._language_model(laid))
        taken.append(resident() - before)
    weights = 4 * sum(weight.numel() for weight in models[0].parameters())
    assert weights > 200e6
    # Memory that earlier tests gave back may be used again.
    assert taken[0] > 0.5 * weights
    assert taken[1] < 0.1 * weights
    # All else is the same: names, shapes, tied weights, and the numbers that are in no file.
    full, empty = ({name: weight.shape for name, weight in model.named_parameters()} for model in models)
    assert full == empty
    buffers = [dict(model.named_buffers()) for model in models]
    assert buffers[0].keys() == buffers[1].keys() != set()
    assert all(torch.equal(buffer, buffers[1][name]) for name, buffer in buffers[0].items())
    assert models[1].get_output_embeddings().weight is models[1].get_input_embeddings().weight


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.nightly
def test_a_sharded_training_is_the_one_that_is_not(tiny_manifest: Path, tables: Path, tmp_path: Path) -> None:
    """In float32 all kinds of training have the losses of one process, in bfloat16 nearly so."""
    dpo = {"preference_tuning": {"seed": 42, "dpo": {**DPO, "held_out": 2, "rows_per_device": 1}}}
    scorer = {"difficulty": {**SCORER, "rows_per_device": 3}}
    cases: list[tuple[str, dict[str, Any], str, str, float]] = [
        ("tune_preferences", dpo, "pairs", "float32", 1e-4),
        ("train_scorer", scorer, "fail_rates", "float32", 1e-4),
        ("tune_questions", {"question_tuning": QFT}, "seeds", "bfloat16", 1e-2),
    ]
    for script, section, data, dtype, tolerance in cases:
        losses = []
        for name, how in (("one", {}), ("sharded", SHARDED)):
            to = tmp_path / script / name
            settings = {**section, "training": {**ONE_CPU, "dtype": dtype, **how}, "device": "cpu"}
            report = {"history": to / "loss.jsonl"} | ({"metrics": to / "metrics"} if script == "train_scorer" else {})
            made: dict[str, Any] = {"weights": to / "weights", "name": "tiny", "out": to / "out.json", **report}
            files = {data: tables / f"{data}.parquet", **made}
            done = run(command(script, settings, model=tiny_manifest, **files))
            assert done.returncode == 0, done.stderr
            losses.append(read_json(to / "out.json")["losses"])
            open_model(to / "out.json")
        assert losses[1] == pytest.approx(losses[0], rel=tolerance), script


@pytest.mark.nightly
def test_the_computed_memory_is_that_of_a_small_model() -> None:
    """Within 20%, by the benchmark that a user runs: two steps of a model of 38 million parameters on one core."""
    program = SCRIPTS.parent / "tests/benchmarks/training_memory.py"
    done = subprocess.run(  # noqa: S603 - our own
        [sys.executable, str(program), "--max-length", "256"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    computed, measured = map(float, done.stdout.splitlines()[-1].split()[-2:])
    assert computed == pytest.approx(measured, rel=0.2)


def test_a_loss_that_is_not_finite_ends_the_run(tiny_manifest: Path, tables: Path, tmp_path: Path) -> None:
    done = run(tune(tiny_manifest, tables, tmp_path, {**QFT, "learning_rate": 1e30, "epochs": 3}))
    assert done.returncode == 1
    assert "error: question_tuning: " in done.stderr
    assert "at step" in done.stderr
    assert "Lower question_tuning.learning_rate (now 1e+30)" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out.json").exists()
    assert [path.name for path in (tmp_path / "weights").glob("[!.]*")] == ["attempts"]


def test_a_training_that_crashes_says_why_in_the_log(tiny_model: Path, tables: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_model, tmp_path / "strange")
    write_json(folder / "config.json", {**read_json(folder / "config.json"), "model_type": "\x1b[31m"})
    write_manifest(tmp_path / "strange.json", folder, name="strange", source="test")
    done = run(tune(tmp_path / "strange.json", tables, tmp_path, QFT))
    assert done.returncode == 1
    (crash,) = [line for line in done.stderr.splitlines() if "crashed: " in line]
    assert "crashed: ValueError: The checkpoint you are trying to load has model type `\\u001b[31m`" in crash
    assert "    Traceback (most recent call last):" in done.stderr
    assert "error: question_tuning: the training processes ended with status 1" in done.stderr
    assert "\x1b" not in done.stderr


def test_preferences_from_table_to_manifest(tiny_manifest: Path, tables: Path, tmp_path: Path) -> None:
    stage = {"seed": 42, "dpo": {**DPO, "held_out": 2, "epochs": 2}}
    settings = {"preference_tuning": stage, "training": {**ONE_CPU, "dtype": "bfloat16"}, "device": "cpu"}
    files: dict[str, Any] = {"weights": tmp_path / "weights", "name": "tiny"}
    files |= {"out": tmp_path / "out.json", "history": tmp_path / "loss.jsonl"}
    line = command("tune_preferences", settings, pairs=tables / "pairs.parquet", model=tiny_manifest, **files)
    done = run(line)
    assert done.returncode == 0, done.stderr
    manifest = read_json(tmp_path / "out.json")
    assert (manifest["pairs"], manifest["too_long"], manifest["held_out"]["pairs"]) == (8, 0, 2)
    assert math.isfinite(manifest["held_out"]["eval_loss"])
    history = [json.loads(row) for row in (tmp_path / "loss.jsonl").read_text().splitlines()]
    # Before the first step policy and reference are the same model.
    assert history[0]["loss"] == pytest.approx(math.log(2), abs=1e-3)
    assert history[-1]["loss"] < history[0]["loss"]
    trained = open_model(tmp_path / "out.json")
    assert question_format(load_tokenizer(trained.folder)).stops
    assert read_json(trained.folder / "config.json")["dtype"] == "bfloat16"


def test_scorer_scores_alike_in_training_and_in_the_engine(tiny_manifest: Path, tables: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification

    from scalequest.llm.engine import Engine
    from scalequest.settings import EngineSettings

    settings = {"difficulty": SCORER, "training": ONE_CPU, "device": "cpu"}
    files: dict[str, Any] = {"weights": tmp_path / "weights", "name": "difficulty"}
    files |= {"out": tmp_path / "out.json", "metrics": tmp_path / "metrics.json", "history": tmp_path / "loss.jsonl"}
    done = run(
        command("train_scorer", settings, fail_rates=tables / "fail_rates.parquet", model=tiny_manifest, **files)
    )
    assert done.returncode == 0, done.stderr
    found = read_json(tmp_path / "metrics.json")
    assert (found["trained_on"], found["held_out"], found["scorer"]["n"]) == (18, 6, 6)
    assert len(found["predictions"]) == 6
    assert all(measured in (0, 0.25, 0.5, 0.75, 1) for _, measured in found["predictions"])
    assert len((tmp_path / "loss.jsonl").read_text().splitlines()) == read_json(tmp_path / "out.json")["steps"]
    assert all(math.isfinite(found["scorer"][name]) for name in ("pearson", "spearman", "mae", "rmse"))
    assert found["constant_mean"]["pearson"] is None
    assert "predictions are all" in found["constant_mean"]["undefined"]

    model = open_model(tmp_path / "out.json")
    tokenizer = load_tokenizer(model.folder, chat=False)
    texts = [*QUESTION_TEXTS[:6], "ends like padding <|im_end|>", "long " * 300, ""]
    prompts = [scorer_text.scorer_ids(tokenizer, text, 160) for text in texts]
    network = AutoModelForSequenceClassification.from_pretrained(model.folder, dtype=torch.float32).eval()
    padded = tokenizer.pad({"input_ids": prompts[:-1]}, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = [*network(**padded).logits[:, 0].tolist(), network(torch.tensor([prompts[-1]])).logits.item()]
    engine = Engine(
        model,
        EngineSettings(
            device="cpu",
            dtype="float32",
            threads=1,
            window=16,
            max_sequences=16,
            max_model_len=512,
            max_batched_tokens=4096,
            tensor_parallel=1,
            enforce_eager=True,
            determinism="windows",
        ),
        runner="pooling",
    )
    scores = engine.score(prompts)
    assert scores == pytest.approx(expected, abs=1e-4)
    assert np.ptp(scores) > 1e-3, "the scores do not differ, so nothing was compared"


def test_scorer_ids(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(tiny_model)
    special = set(tokenizer.all_special_ids)
    assert not special & set(scorer_text.scorer_ids(tokenizer, "a <|im_end|> b <|im_start|>", 64))
    assert len(scorer_text.scorer_ids(tokenizer, "word " * 500, 64)) == 64
    assert scorer_text.scorer_ids(tokenizer, "word " * 3, 64) == tokenizer("word " * 3)["input_ids"]
    assert scorer_text.scorer_ids(tokenizer, "", 64) == [tokenizer.eos_token_id]
    assert scorer_text.scorer_pad(tokenizer) == tokenizer.pad_token_id


def test_a_tokenizer_that_ends_texts_itself_is_padded_with_another_token(tiny_model: Path) -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = load_tokenizer(tiny_model)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A <|im_end|>", pair=None, special_tokens=[("<|im_end|>", tokenizer.eos_token_id)]
    )
    ids = scorer_text.scorer_ids(tokenizer, "word " * 500, 64)
    assert (len(ids), ids[-1]) == (64, tokenizer.eos_token_id)
    assert scorer_text.scorer_pad(tokenizer) not in ids


@pytest.mark.parametrize(
    ("rows", "micro", "processes", "expected"),
    [(4, 1, 1, 4), (4, 4, 1, 1), (32, 2, 8, 2), (128, 2, 8, 8), (4, 3, 1, None), (4, 1, 8, None), (6, 4, 1, None)],
)
def test_accumulation(tiny_manifest: Path, rows: int, micro: int, processes: int, expected: int | None) -> None:
    settings = {**QFT, "rows_per_step": rows, "rows_per_device": micro}
    base = open_model(tiny_manifest, check=False)
    run = training_of("questions", settings, base, [], processes=processes)
    if expected is None:
        with pytest.raises(ScaleQuestError, match=f"questions.rows_per_step {rows} is not a multiple"):
            training.accumulation(run)
    else:
        assert training.accumulation(run) == expected


def test_drawn_is_seeded_and_stable() -> None:
    ids = [f"s/{i}" for i in range(50)]
    some = hashing.drawn(ids, 10, 1, "x")
    assert len(some) == 10
    assert some == hashing.drawn(ids[::-1], 10, 1, "x")
    assert some != hashing.drawn(ids, 10, 2, "x")
    assert some != hashing.drawn(ids, 10, 1, "y")
    assert len(some & hashing.drawn([*ids, "s/50"], 10, 1, "x")) >= 9


def test_seed_sets_that_cannot_be_trained_on(tiny_model: Path) -> None:
    import tune_questions

    tokenizer = load_tokenizer(tiny_model)
    form, tuning = question_format(tokenizer), read_settings(tune_questions.QuestionTuning, QFT)
    with pytest.raises(ScaleQuestError, match="the seed set has no problem"):
        tune_questions.samples(form, tokenizer, [], tuning)
    long = [{"id": "a", "question": "word " * 500}]
    with pytest.raises(ScaleQuestError, match=r"none of the 1 seed problems fits question_tuning.max_length 160"):
        tune_questions.samples(form, tokenizer, long, tuning)
    assert len(tune_questions.samples(form, tokenizer, [*long, {"id": "b", "question": "Two?"}], tuning)) == 1


def test_max_questions_are_drawn_by_hash() -> None:
    import tune_questions

    rows = [{"id": f"s/{i}"} for i in range(20)]
    assert tune_questions.chosen(rows, None, 1) == rows
    some = tune_questions.chosen(rows, 5, 1)
    assert len(some) == 5
    assert some == [row for row in rows if row in some]
    assert some != tune_questions.chosen(rows, 5, 2)


def test_pairs_too_long_or_too_few(tiny_model: Path) -> None:
    import tune_preferences

    tokenizer = load_tokenizer(tiny_model)
    pairs = [
        {"id": "a", "chosen": "One?", "rejected": "word " * 500},
        {"id": "b", "chosen": "word " * 500, "rejected": "One?"},
        {"id": "c", "chosen": "One?", "rejected": "Two?"},
    ]
    made = tune_preferences.samples(question_format(tokenizer), tokenizer, pairs, 160)
    assert list(made) == ["c"]
    with pytest.raises(ScaleQuestError, match="1 pairs fit"):
        tune_preferences.split(made, 1, 42)
    assert tune_preferences.split({"a": 1, "b": 2, "c": 3}, 0, 42) == ([1, 2, 3], [])


@pytest.mark.parametrize(
    ("predicted", "observed", "expected"),
    [
        ([0.0, 0.5, 1.0], [0.0, 0.5, 1.0], {"pearson": 1.0, "spearman": 1.0, "mae": 0.0, "rmse": 0.0}),
        ([0.0, 0.5, 1.0], [1.0, 0.5, 0.0], {"pearson": -1.0, "spearman": -1.0, "mae": 2 / 3, "rmse": (2 / 3) ** 0.5}),
        ([1.0, 2.0, 3.0, 40.0], [0.0, 0.1, 0.2, 0.3], {"spearman": 1.0}),
        ([0.1, 0.2, 0.2, 0.3], [0.0, 0.5, 0.5, 1.0], {"pearson": 1.0, "spearman": 1.0}),
        ([0.5, 0.5], [0.0, 1.0], {"pearson": None, "spearman": None, "mae": 0.5}),
        ([0.2, 0.4], [1.0, 1.0], {"pearson": None, "mae": 0.7}),
        ([0.2], [1.0], {"pearson": None, "mae": 0.8}),
        ([], [], {"pearson": None, "mae": None, "n": 0}),
    ],
)
def test_agreement(predicted: list[float], observed: list[float], expected: dict[str, Any]) -> None:
    import train_scorer

    found = train_scorer.agreement(predicted, observed)
    for name, value in expected.items():
        assert found[name] == (value if value is None else pytest.approx(value)), name
    assert ("undefined" in found) == (found["pearson"] is None)


def test_length_alone_is_a_straight_line() -> None:
    import train_scorer

    assert train_scorer.by_length([10, 20, 30], [0.1, 0.2, 0.3], [40, 5]) == pytest.approx([0.4, 0.05])
    assert train_scorer.by_length([10, 10], [0.0, 1.0], [99]) == [0.5]


def test_scorer_split() -> None:
    import train_scorer

    rows = [{"id": str(i)} for i in range(8)]
    learnt, apart = train_scorer.split(rows, 0.25, 42)
    assert (len(learnt), len(apart)) == (6, 2)
    assert sorted([*learnt, *apart], key=lambda row: row["id"]) == rows
    with pytest.raises(ScaleQuestError, match="1 problems have a fail rate"):
        train_scorer.split(rows[:1], 0.9, 42)
