"""Attention of packed rows sample by sample: the numbers of a dense mask, in models, and in a training of TRL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from programs import COMMON, QUESTION_TEXTS, laid_down, training_of
from scalequest.llm.chat import load_tokenizer
from scalequest.llm.models import Model, open_model
from scalequest.training import packed_attention, trainers

LENGTHS = (20, 1, 300, 6, 150)
SHAPE = {
    **{"vocab_size": 200, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "head_dim": 16},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
}
FAMILIES = {
    "Llama": ("LlamaConfig", {}),
    "Mistral": ("MistralConfig", {"sliding_window": 4096}),
    "Qwen2": ("Qwen2Config", {}),
    "Qwen3": ("Qwen3Config", {}),
}


def config(family: str, **changes: Any) -> Any:
    import transformers

    name, own = FAMILIES[family]
    return getattr(transformers, name)(**{**SHAPE, **own, **changes})


def outcome(family: str, attention: str, *, packed: bool = True) -> tuple[Any, list[Any]]:
    """Logits and gradients of a model of a family on a packed row, or on one sample as long."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config(family), attn_implementation=attention).train()
    ids = torch.randint(3, 200, (1, sum(LENGTHS)), generator=torch.Generator().manual_seed(1))
    places = torch.cat([torch.arange(length) for length in LENGTHS])[None]
    made = model(input_ids=ids, labels=ids, use_cache=False, **({"position_ids": places} if packed else {}))
    made.loss.backward()
    assert model.config._attn_implementation == attention
    return made.logits.detach(), [weight.grad for weight in model.parameters()]


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_attention_with_a_dense_mask(family):
    import torch

    logits, gradients = outcome(family, "sdpa")
    ours, of_ours = outcome(family, packed_attention.register())
    torch.testing.assert_close(ours, logits, rtol=1e-5, atol=1e-5)
    for gradient, wanted in zip(of_ours, gradients, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-5)
    # What is compared does depend on where samples begin.
    assert (outcome(family, "sdpa", packed=False)[0] - logits).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("family", "changes", "fits"),
    [
        ("Llama", {}, True),
        ("Mistral", {}, True),
        ("Mistral", {"sliding_window": 100}, False),
        ("Mistral", {"sliding_window": None}, True),
        ("Qwen3", {"model_type": "gemma3_text"}, False),
    ],
)
def test_what_it_is_for(family, changes, fits):
    assert packed_attention.fits(config(family, **changes), 512) == fits


def test_a_row_that_is_not_packed_is_refused():
    import torch

    query = torch.zeros(2, 1, 4, 8)
    with pytest.raises(ValueError, match="for one packed row"):
        packed_attention.attend(None, query, query, query, None, position_ids=torch.arange(4)[None])


def test_gpus_take_it_for_packed_rows_alone(tiny_manifest: Path, tmp_path: Path) -> None:
    import dataclasses

    job = laid_down(
        training_of("questions", TUNING, open_model(tiny_manifest), rows(open_model(tiny_manifest))), tmp_path
    )
    on_gpu = dataclasses.replace(job, device="gpu")
    assert trainers._attention(job, packed=True) == trainers._attention(on_gpu, packed=False) == "sdpa"
    assert trainers._attention(on_gpu, packed=True) == packed_attention.NAME


# ---------------------------------------------------------------- through TRL

TUNING = {**COMMON, "loss": "all", "max_questions": None, "warmup_ratio": 0.0, "rows_per_step": 1}


def rows(model: Model) -> list[dict[str, list[int]]]:
    tokenizer = load_tokenizer(model.folder)
    ids = [tokenizer(text)["input_ids"] for text in QUESTION_TEXTS]
    return [{"input_ids": found, "labels": found} for found in ids]


def test_a_training_learns_the_same(tiny_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = open_model(tiny_manifest)
    losses = {}
    for name in ("sdpa", packed_attention.register()):
        monkeypatch.setattr(trainers, "_attention", lambda job, *, packed, name=name: name)
        job = laid_down(
            training_of("questions", TUNING, model, rows(model), gradient_checkpointing=True), tmp_path / name
        )
        trainer = trainers.texts(job)
        assert trainer.model.config._attn_implementation == name
        trainer.train()
        losses[name] = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    dense, ours = losses.values()
    assert len(dense) > 3
    assert ours == pytest.approx(dense, rel=1e-4)
