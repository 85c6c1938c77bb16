"""TRL's own trainers take each configuration of a finished run as `datasets` loads it; one step changes the weights.

The texts of the tiny model have no answers, so that a run of it has neither pairs nor problems for a reward: these two
are of the same run with answers put in.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scalequest.rows.tables import CANDIDATES, read_rows, write_table
from workflow import overlay, snakemake, succeeded


@pytest.fixture(scope="module")
def answered(run: Path, tiny_model: Path) -> Path:
    """The run's dataset, built again by the workflow after its candidates have got answers."""
    for path in (run / "results" / "candidates").rglob("*.parquet"):
        rows = read_rows(path, CANDIDATES)
        for row in rows:
            row |= {"answer": str(row["sample"]), "votes": 1, "finish_reason": "stop", "reward": 1.0 - row["sample"]}
            row["selected"] = row["sample"] == 0
        write_table(path, rows, CANDIDATES)
    made = ("results/dataset/formats.json", "results/dataset/manifest.json")
    succeeded(
        snakemake(run, overlay(tiny_model), *made, "--allowed-rules", "check_answers", "build_formats", "build_dataset")
    )
    return run / "results" / "dataset"


def loaded(folder: Path, name: str, cache: Path) -> Any:
    from datasets import load_dataset

    return load_dataset(str(folder), name, split="train", cache_dir=str(cache))


def model_of(folder: Path) -> tuple[Any, Any]:
    """The tiny model in the precision that a CPU trains in, and its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), AutoTokenizer.from_pretrained(folder)


def step(trainer: Any) -> bool:
    """Train one step; whether the weights changed."""
    import torch

    before = [one.detach().clone() for one in trainer.model.parameters()]
    trainer.train()
    assert trainer.state.global_step == 1
    after = trainer.model.parameters()
    return any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))


def common(folder: Path) -> dict[str, Any]:
    """What all trainers are told: one step, on a CPU, without writing anything."""
    return {
        **{"output_dir": str(folder), "max_steps": 1, "per_device_train_batch_size": 2, "use_cpu": True},
        **{"learning_rate": 1e-3, "save_strategy": "no", "report_to": "none", "bf16": False},
        **{"gradient_checkpointing": False, "disable_tqdm": True, "seed": 1},
    }


@pytest.mark.parametrize("name", ["chat", "prompt_completion"])
def test_sft_takes_it(answered: Path, tiny_model: Path, tmp_path: Path, name: str) -> None:
    from trl import SFTConfig, SFTTrainer

    rows = loaded(answered, name, tmp_path / "cache")
    model, tokenizer = model_of(tiny_model)
    trainer = SFTTrainer(
        model, SFTConfig(**common(tmp_path), max_length=128), train_dataset=rows, processing_class=tokenizer
    )
    # The chat template frames the texts; only a prompt is left out of the loss.
    first: Any = next(iter(trainer.train_dataset))  # type: ignore[arg-type]
    assert "<|im_start|>" in tokenizer.decode(first["input_ids"])
    assert (-100 in first["labels"]) == (name == "prompt_completion")
    assert step(trainer)


def test_dpo_takes_preference(answered: Path, tiny_model: Path, tmp_path: Path) -> None:
    from trl import DPOConfig, DPOTrainer

    rows = loaded(answered, "preference", tmp_path / "cache")
    assert all(row["margin"] > 0 and row["chosen"] != row["rejected"] for row in rows)
    model, tokenizer = model_of(tiny_model)
    trainer = DPOTrainer(
        model, args=DPOConfig(**common(tmp_path), max_length=128), train_dataset=rows, processing_class=tokenizer
    )
    assert step(trainer)


@pytest.mark.parametrize("reward", ["accuracy", "length"])
def test_grpo_takes_rl(answered: Path, tiny_model: Path, tmp_path: Path, reward: str) -> None:
    """No text of the tiny model is right: then all rewards of TRL's accuracy are 0, no text is better than another, and
    no weight changes. A reward that varies changes them."""
    from trl import GRPOConfig, GRPOTrainer
    from trl.rewards import accuracy_reward

    rows = loaded(answered, "rl", tmp_path / "cache")
    seen: list[float | None] = []

    def length(completions: list[Any], **columns: Any) -> list[float | None]:
        assert {"solution", "reward_model", "extra_info", "agreement"} <= set(columns)
        found: list[float | None] = [float(len(completion[0]["content"])) for completion in completions]
        seen.extend(found)
        return found

    def accuracy(completions: list[Any], **columns: Any) -> list[float | None]:
        found = accuracy_reward(completions, **columns)
        seen.extend(found)
        return found

    model, tokenizer = model_of(tiny_model)
    asked = GRPOConfig(**common(tmp_path), use_vllm=False, num_generations=2, max_completion_length=24, beta=0.0)
    trainer = GRPOTrainer(
        model,
        reward_funcs=accuracy if reward == "accuracy" else length,
        args=asked,
        train_dataset=rows,
        processing_class=tokenizer,
    )
    changed = step(trainer)
    if reward == "accuracy":
        # 0 is a verdict; None would say that the solution cannot be read.
        assert seen == [0.0] * len(seen)
        assert not changed
    else:
        assert len(set(seen)) > 1
        assert changed
    assert len(seen) == 2
