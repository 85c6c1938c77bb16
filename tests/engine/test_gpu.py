"""What a GPU alone can show: texts that repeat themselves in each way of batching, trainings that resume, in bfloat16.

`make test` has the CPU builds and skips all of it. With the CUDA builds (the pins of envs/vllm.yaml and envs/train.yaml
in one environment, and pytest and hypothesis), on a machine with a GPU that nothing else uses:

    python -m pytest tests/engine/test_gpu.py -rP
"""

from __future__ import annotations

import json
import socket
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest

from programs import COMMON, ENGINE, ONE_CPU, QUESTION_TEXTS, SAMPLING, command, operating, training_tables
from scalequest.llm.chat import load_tokenizer
from scalequest.llm.models import open_model, write_manifest
from scalequest.rows.tables import QUESTIONS, SCORES, read_rows, write_table
from scalequest.runtime.files import SEAL, read_json
from scalequest.training import scorer_text
from tiny import make_tiny_model


def lacking() -> str:
    """What these tests lack here, or nothing."""
    if not list(Path("/dev").glob("nvidia[0-9]*")):
        return "no NVIDIA GPU"
    try:
        cuda = "+cpu" not in version("vllm")
    except PackageNotFoundError:
        cuda = False
    return "" if cuda else "vLLM's CPU build has no CUDA"


pytestmark = pytest.mark.skipif(bool(lacking()), reason=lacking() or "a GPU is here")

DEVICE = "gpu"
ON_GPU = {**ENGINE, "device": DEVICE, "window": 64, "max_sequences": 64}
SHARED = {**COMMON, "rows_per_step": 4, "rows_per_device": 2, "optimizer": "paged_adamw_32bit"}
BF16 = {**ONE_CPU, "dtype": "bfloat16", "gradient_checkpointing": True}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model large enough that the order of sums is felt in bfloat16."""
    folder = tmp_path_factory.mktemp("model")
    make_tiny_model(folder / "weights", layers=4, hidden=256, end_std=0.6)
    write_manifest(folder / "model.json", folder / "weights", name="tiny", source="test")
    return folder / "model.json"


def environment(**changes: Any) -> dict[str, str]:
    """The environment of a script with these `operation` keys."""
    return operating(gpu_memory_utilization=0.3, **changes)


def group_of_one() -> dict[str, str]:
    """What makes a lone process take part in a group of one, as FSDP wants it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    names = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
    return {**names, "MASTER_PORT": str(port)}


def run(line: list[str], environment: dict[str, str]) -> str:
    """What a script said on stderr, after checking that it ended well."""
    done = subprocess.run(line, capture_output=True, text=True, env=environment, check=False)  # noqa: S603 - our own program
    assert done.returncode == 0, done.stderr[-6000:]
    return done.stderr


def sampled(manifest: Path, folder: Path, shards: list[tuple[int, int]], **engine: Any) -> dict[str, str]:
    """Question by id, of shards (start, count) made one after the other by a process each."""
    found: dict[str, str] = {}
    settings = {"purpose": "questions", "sampling": SAMPLING, "engine": {**ON_GPU, **engine}}
    for start, count in shards:
        place = {"model": manifest, "generator": "tiny", "seed": 0, "start": start, "count": count}
        out = folder / f"{start}.parquet"
        run(command("sample_questions", settings, **place, progress=folder / "progress", out=out), environment())
        found |= {row["id"]: row["question"] for row in read_rows(out, QUESTIONS)}
    return found


@pytest.fixture(scope="module")
def drained(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The texts of drained windows of 64 rows, made by one process."""
    return sampled(manifest, tmp_path_factory.mktemp("drained"), [(0, 256)])


def test_drained_windows_are_the_same_in_any_process_and_order(manifest, drained, tmp_path):
    assert len(set(drained.values())) > 200
    assert sampled(manifest, tmp_path, [(128, 128), (0, 128)]) == drained


NARROW = {"window": 24, "max_sequences": 24}


def test_batch_invariant_kernels_give_the_same_texts_in_any_batch(manifest, drained, tmp_path):
    mode = {"determinism": "batch_invariant"}
    wide = sampled(manifest, tmp_path / "wide", [(0, 256)], **mode)
    assert len(set(wide.values())) > 200
    assert sampled(manifest, tmp_path / "narrow", [(0, 256)], **mode, **NARROW) == wide
    if sampled(manifest, tmp_path / "others", [(0, 256)], **NARROW) == drained:
        pytest.skip("the other kernels' texts do not depend on the batch here either: this shows nothing")


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """A folder with seeds.parquet, pairs.parquet and fail_rates.parquet."""
    return training_tables(tmp_path)


@pytest.mark.parametrize(("optimizer", "sharding"), [("paged_adamw_32bit", "none"), ("adamw_torch", "fsdp")])
def test_a_training_that_was_killed_goes_on(manifest, tables, tmp_path, optimizer, sharding):
    settings = {
        "question_tuning": {
            **{**SHARED, "epochs": 12, "optimizer": optimizer},
            **{"loss": "all", "max_questions": None, "warmup_ratio": 0.03},
        },
        "training": {**BF16, "sharding": sharding},
        "device": DEVICE,
    }
    around = {**environment(), **(group_of_one() if sharding == "fsdp" else {})}
    often = {**around, **environment(checkpoint_minutes=0)}

    def line(to: Path) -> list[str]:
        files = {"weights": to / "weights", "name": "tiny", "out": to / "out.json", "history": to / "loss.jsonl"}
        return command("tune_questions", settings, seeds=tables / "seeds.parquet", model=manifest, **files)

    def history(to: Path) -> list[float]:
        return [json.loads(row)["loss"] for row in (to / "loss.jsonl").read_text().splitlines()]

    whole, again, killed = (tmp_path / name for name in ("whole", "again", "killed"))
    run(line(whole), around)
    run(line(again), around)
    with subprocess.Popen(line(killed), stderr=subprocess.DEVNULL, env=often) as child:  # noqa: S603 - our own program
        try:
            end = time.monotonic() + 300
            while not list(killed.glob(f"weights/.*/checkpoints/checkpoint-*/{SEAL}")):
                assert time.monotonic() < end and child.poll() is None
                time.sleep(0.01)
        finally:
            child.kill()
    assert not (killed / "out.json").exists()
    shares = list(killed.glob("weights/.*/checkpoints/*/pytorch_model_fsdp_0/*.distcp"))
    assert bool(shares) is (sharding == "fsdp")
    said = run(line(killed), around)
    assert "resuming from checkpoint-" in said
    digests = {folder.name: read_json(folder / "out.json")["digest"] for folder in (whole, again, killed)}
    print(f"{optimizer}, {sharding}: same bytes in a second run {digests['again'] == digests['whole']},")
    print(f"  after a kill {digests['killed'] == digests['whole']}; losses {history(whole)[-1]} {history(killed)[-1]}")
    assert history(whole)[-1] < history(whole)[0]
    # Gradients may add up in no fixed order: what is promised is the same course.
    assert history(killed) == pytest.approx(history(whole), rel=0.02, abs=0.02)


def test_preferences_are_trained(manifest, tables, tmp_path):
    dpo = {**SHARED, "loss": "sigmoid", "beta": 0.1, "warmup_steps": 1, "held_out": 2, "epochs": 4}
    settings = {"preference_tuning": {"seed": 42, "dpo": dpo}, "training": BF16, "device": DEVICE}
    files = {
        "weights": tmp_path / "weights",
        "name": "tiny",
        "out": tmp_path / "out.json",
        "history": tmp_path / "loss.jsonl",
    }
    line = command("tune_preferences", settings, pairs=tables / "pairs.parquet", model=manifest, **files)
    run(line, environment())
    losses = read_json(tmp_path / "out.json")["losses"]
    assert losses["last"] < losses["first"] == pytest.approx(0.693, abs=0.01)


def test_the_scorer_scores_alike_in_training_and_in_the_engine(manifest, tables, tmp_path):
    import torch
    from transformers import AutoModelForSequenceClassification

    scorer = {**SHARED, "held_out": 0.25, "warmup_ratio": 0.03, "rows_per_step": 6, "rows_per_device": 6}
    settings = {"difficulty": scorer, "training": BF16, "device": DEVICE}
    files = {
        "weights": tmp_path / "weights",
        "name": "tiny",
        "out": tmp_path / "out.json",
        "metrics": tmp_path / "metrics.json",
        "history": tmp_path / "loss.jsonl",
    }
    files["fail-rates"] = tables / "fail_rates.parquet"
    run(command("train_scorer", settings, model=manifest, **files), environment())

    texts = [*QUESTION_TEXTS, "long " * 300, "?"]
    rows = [
        {"id": f"g/s0/{i:09d}", "generator": "g", "seed": 0, "index": i, "question": t} for i, t in enumerate(texts)
    ]
    write_table(
        tmp_path / "questions.parquet",
        [{**r, "sampling_seed": 1, "finish_reason": "stop", "tokens": 1} for r in rows],
        QUESTIONS,
    )
    place = {"questions": tmp_path / "questions.parquet", "progress": tmp_path / "progress", "out": tmp_path / "scores"}
    asked = {"max_length": 160, "engine": {**ON_GPU, "max_batched_tokens": 4096}}
    run(command("score_difficulty", asked, model=tmp_path / "out.json", **place), environment())
    scores = [row["score"] for row in read_rows(tmp_path / "scores", SCORES)]

    model = open_model(tmp_path / "out.json")
    tokenizer = load_tokenizer(model.folder, chat=False)
    network = AutoModelForSequenceClassification.from_pretrained(model.folder, dtype=torch.float32).eval()
    with torch.no_grad():
        inputs = [torch.tensor([scorer_text.scorer_ids(tokenizer, text, 160)]) for text in texts]
        expected = [network(ids).logits.item() for ids in inputs]
    off = max(abs(a - b) for a, b in zip(scores, expected, strict=True))
    spread = max(expected) - min(expected)
    print(f"scores of {min(expected):.3f} to {max(expected):.3f}, off by {off:.4f} at most")
    assert off < spread / 50
