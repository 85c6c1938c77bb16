"""What the trainers are given, held against a record: training may not change while TRAINING_VERSION stays.

Weights are found again by base, rows, settings, libraries' releases and TRAINING_VERSION. Whatever else decides what is
trained (arguments that no setting names, packing, masks) is recorded here, as digests of the arguments that differ from
the library's own and of the first batch.

    python tests/test_golden_training.py --record        after TRAINING_VERSION was raised
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]

from programs import ONE_CPU  # noqa: E402 - the path above is for the imports below
from scalequest import trainers, training  # noqa: E402
from scalequest.files import read_json, write_json  # noqa: E402
from scalequest.hashing import digest  # noqa: E402
from scalequest.models import open_model, write_manifest  # noqa: E402

GOLDEN = ROOT / "tests" / "golden" / "trained.json"
RECORD = "python tests/test_golden_training.py --record"
COMMON = {
    **{"epochs": 1, "learning_rate": 0.001, "scheduler": "linear", "warmup_ratio": 0.5, "weight_decay": 0.01},
    **{"optimizer": "adamw_torch", "seed": 7, "rows_per_step": 4, "rows_per_device": 2, "max_length": 24},
}
SETTINGS = {"preferences": {**COMMON, "loss": "sigmoid", "beta": 0.2}}
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


def given(kind: str, manifest: Path, work: Path) -> dict[str, str]:
    """Digests of what a trainer of that kind is given, by aspect."""
    settings, pad = SETTINGS.get(kind, COMMON), 1 if kind == "scorer" else None
    run = training.Training(kind, kind, settings, ONE_CPU, "cpu", open_model(manifest), rows(kind), (), pad)
    training.lay_down(run, "key", work)
    trainer = trainers.KINDS[kind](read_json(work / trainers.JOB))
    batch = next(iter(trainer.get_train_dataloader()))
    # After the batch: new arguments take the trainer's state away.
    own = type(trainer.args)(output_dir="x", use_cpu=True).to_dict()
    told = {name: value for name, value in trainer.args.to_dict().items() if value != own[name] and name not in PLACES}
    lists = {name: values.tolist() if hasattr(values, "tolist") else values for name, values in batch.items()}
    return {
        "arguments": digest({name: str(value) for name, value in told.items()})[:16],
        "batch": digest(lists)[:16],
    }


def complaint(golden: Mapping[str, Any], version: int, found: Mapping[str, Any]) -> str:
    """What is wrong with a record, and what to do; empty where nothing is."""
    if golden["version"] != version:
        then = golden["version"]
        return f"TRAINING_VERSION is {version}, and {GOLDEN.name} is of version {then}: record it anew with `{RECORD}`."
    if found == golden["given"]:
        return ""
    changed = sorted(kind for kind in {*found, *golden["given"]} if found.get(kind) != golden["given"].get(kind))
    return (
        f"what the trainers of {', '.join(changed)} are given changed. Weights that are kept were trained the old way "
        "and would be taken for new ones. If you did not mean it, undo it. If you did, raise TRAINING_VERSION in "
        f"scripts/scalequest/trainers.py and record anew with `{RECORD}`."
    )


def all_given(manifest: Path, folder: Path) -> dict[str, Any]:
    return {kind: given(kind, manifest, folder / kind) for kind in trainers.KINDS}


def test_nothing_else_is_given_than_was_recorded(tiny_manifest: Path, tmp_path: Path) -> None:
    found = all_given(tiny_manifest, tmp_path)
    assert complaint(read_json(GOLDEN), trainers.TRAINING_VERSION, found) == ""


def test_a_changed_trainer_is_noticed(tiny_manifest: Path, tmp_path: Path, monkeypatch: Any) -> None:
    arguments = trainers._arguments
    monkeypatch.setattr(trainers, "_arguments", lambda *given, **more: arguments(*given, **more, max_grad_norm=0.5))
    found = {"scorer": given("scorer", tiny_manifest, tmp_path)}
    golden = {"version": 1, "given": {"scorer": read_json(GOLDEN)["given"]["scorer"]}}
    assert "trainers of scorer" in complaint(golden, 1, found)
    assert "record it anew" in complaint(golden, 2, found)


def test_a_new_version_finds_no_older_weights(tiny_manifest: Path, monkeypatch: Any) -> None:
    run = training.Training("scorer", "s", COMMON, ONE_CPU, "cpu", open_model(tiny_manifest), rows("scorer"))
    first = training._key(run)
    monkeypatch.setattr(trainers, "TRAINING_VERSION", 2)
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
