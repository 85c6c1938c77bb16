"""What the trainers are given, and what they do with it, held against a record: training may not change while
TRAINING_VERSION stays.

Weights are found again by base, rows, settings, libraries' releases and TRAINING_VERSION. Whatever else decides what is
trained (arguments that no setting names, packing, masks, the loss, the precision) and kept (rounding) is recorded here:
digests of the arguments that differ from the library's own, of the first batch and of what is kept of fixed weights,
and each step's loss. A digest of trained weights would be that of one kind of CPU.

    python tests/engine/test_golden_training.py --record        after TRAINING_VERSION was raised
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests"), str(ROOT / "tests" / "support")]

from programs import laid_down, training_of  # noqa: E402 - the path above is for the imports below
from scalequest.hashing import digest  # noqa: E402
from scalequest.llm.models import open_model, write_manifest  # noqa: E402
from scalequest.runtime.files import read_json, write_json  # noqa: E402
from scalequest.training import launch as training  # noqa: E402
from scalequest.training import process, saving, trainers  # noqa: E402

GOLDEN = ROOT / "tests" / "golden" / "trained.json"
RECORD = "python tests/engine/test_golden_training.py --record"
COMMON = {
    **{"epochs": 1, "learning_rate": 0.001, "scheduler": "linear", "warmup_ratio": 0.5, "weight_decay": 0.01},
    **{"optimizer": "adamw_torch", "seed": 7, "rows_per_step": 4, "rows_per_device": 2, "max_length": 24},
}
SETTINGS = {"preferences": {**COMMON, "loss": "sigmoid", "beta": 0.2}}
ASPECTS = ("arguments", "batch", "losses", "kept")
# Paths and places, which shape no weights.
PLACES = {"output_dir", "logging_dir", "run_name", "hub_token", "push_to_hub_token"}


def rows(kind: str) -> list[dict[str, Any]]:
    """Eight short rows of token ids as the kind's trainer wants them."""
    ids = [[3 + (i * 7 + j) % 90 for j in range(5 + i)] for i in range(8)]
    if kind == "preferences":
        return [{"prompt_ids": one[:2], "chosen_ids": one[2:], "rejected_ids": one[:1:-1]} for one in ids]
    if kind == "scorer":
        return [{"input_ids": one, "labels": i / 8} for i, one in enumerate(ids)]
    return [{"input_ids": one, "labels": [-100, -100, *one[2:]]} for one in ids]


def given(kind: str, manifest: Path, work: Path) -> dict[str, Any]:
    """What a trainer of that kind is given and makes of it, by aspect."""
    job = laid_down(training_of(kind, SETTINGS.get(kind, COMMON), open_model(manifest), rows(kind)), work)
    process.run(job)
    history = read_json(work / saving.MODEL / training.RESULT)["result"]["history"]
    trainer = trainers.KINDS[kind](job)
    batch = next(iter(trainer.get_train_dataloader()))
    weights = kept(trainer, job)
    # Last of all: new arguments take the trainer's state away.
    own = type(trainer.args)(output_dir="x", use_cpu=True).to_dict()
    told = {name: value for name, value in trainer.args.to_dict().items() if value != own[name] and name not in PLACES}
    # The base model's log probabilities are the machine's in their last bits; the first loss shows them.
    exact = {name: values for name, values in batch.items() if not name.startswith("ref_")}
    lists = {name: values.tolist() if hasattr(values, "tolist") else values for name, values in exact.items()}
    return {
        "arguments": digest({name: str(value) for name, value in told.items()})[:16],
        "batch": digest(lists)[:16],
        "losses": [row[name] for row in history for name in ("loss", "grad_norm")],
        "kept": weights,
    }


def kept(trainer: Any, job: trainers.Job) -> str:
    """Digest of what is kept of weights that any machine makes alike, and that bfloat16 cannot hold."""
    with torch.no_grad():
        for weight in trainer.model.parameters():
            weight.copy_(((torch.arange(weight.numel()) % 4099 - 2000) / 4096).reshape(weight.shape))
    folder = job.work / saving.MODEL
    saving.save(trainer, job, {})
    weights = {
        name: [str(weight.dtype), hashlib.sha256(weight.view(torch.uint8).numpy().tobytes()).hexdigest()]
        for name, weight in load_file(folder / "model.safetensors").items()
    }
    config = read_json(folder / "config.json")
    return digest(weights, config["dtype"], config["use_cache"])[:16]


def changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The aspects in which two records differ; losses of two CPUs differ by less than a hundred thousandth."""
    near = pytest.approx(then.get("losses"), rel=1e-4)
    return [aspect for aspect in ASPECTS if now.get(aspect) != (near if aspect == "losses" else then.get(aspect))]


def complaint(golden: Mapping[str, Any], version: int, found: Mapping[str, Any]) -> str:
    """What is wrong with a record, and what to do; empty where nothing is."""
    if golden["version"] != version:
        then = golden["version"]
        return f"TRAINING_VERSION is {version}, and {GOLDEN.name} is of version {then}: record it anew with `{RECORD}`."
    differ = [
        f"{kind} ({', '.join(aspects)})"
        for kind in sorted({*found, *golden["given"]})
        if (aspects := changed(golden["given"].get(kind, {}), found.get(kind, {})))
    ]
    if not differ:
        return ""
    return (
        f"what the trainers are given or make of it changed: {'; '.join(differ)}. Weights that are kept were trained "
        "the old way and would be taken for new ones. If you did not mean it, undo it. If you did, raise "
        f"TRAINING_VERSION in scripts/scalequest/training/trainers.py and record anew with `{RECORD}`."
    )


def all_given(manifest: Path, folder: Path) -> dict[str, Any]:
    return {kind: given(kind, manifest, folder / kind) for kind in trainers.KINDS}


def test_nothing_else_is_given_or_made_than_was_recorded(tiny_manifest: Path, tmp_path: Path) -> None:
    found = all_given(tiny_manifest, tmp_path)
    assert complaint(read_json(GOLDEN), trainers.TRAINING_VERSION, found) == ""


def another_clip(patch: pytest.MonkeyPatch) -> None:
    old = trainers._arguments
    patch.setattr(trainers, "_arguments", lambda *given, **more: old(*given, **more, max_grad_norm=0.5))


def another_loss(patch: pytest.MonkeyPatch) -> None:
    old = trainers._squared_error
    patch.setattr(trainers, "_squared_error", lambda outputs, labels, num_items_in_batch: old(outputs, labels))


def another_precision(patch: pytest.MonkeyPatch) -> None:
    old = trainers._load
    patch.setattr(trainers, "_load", lambda *given, **options: old(*given, **options).bfloat16())


def another_rounding(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(saving, "rounded", lambda weight, seed: weight.bfloat16())


@pytest.mark.parametrize(
    ("mutate", "aspects"),
    [
        (another_clip, ["arguments"]),
        (another_loss, ["losses"]),
        (another_precision, ["losses", "kept"]),
        (another_rounding, ["kept"]),
    ],
)
def test_a_change_is_seen_and_named(
    tiny_manifest: Path, tmp_path: Path, mutate: Callable[[Any], None], aspects: list[str], monkeypatch: Any
) -> None:
    mutate(monkeypatch)
    found = {"scorer": given("scorer", tiny_manifest, tmp_path)}
    golden = {"version": 1, "given": {"scorer": read_json(GOLDEN)["given"]["scorer"]}}
    assert f"changed: scorer ({', '.join(aspects)})." in complaint(golden, 1, found)
    assert "record it anew" in complaint(golden, 2, found)


def test_a_new_version_finds_no_older_weights(tiny_manifest: Path, monkeypatch: Any) -> None:
    run = training_of("scorer", COMMON, open_model(tiny_manifest), rows("scorer"))
    first = training._key(run)
    monkeypatch.setattr(training, "TRAINING_VERSION", 2)
    assert training._key(run) != first


def record() -> None:
    """Write the golden file anew, of this checkout's code."""
    from tiny import make_tiny_model

    with tempfile.TemporaryDirectory() as name:
        manifest = Path(name) / "tiny.json"
        write_manifest(manifest, make_tiny_model(Path(name) / "model"), name="tiny", source="test")
        found = all_given(manifest, Path(name))
    write_json(GOLDEN, {"version": trainers.TRAINING_VERSION, "given": found})


if __name__ == "__main__":
    if sys.argv[1:] != ["--record"]:
        sys.exit(f"usage: {RECORD}")
    record()
