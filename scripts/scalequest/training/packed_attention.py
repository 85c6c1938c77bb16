"""Attention of packed rows, sample by sample: without a mask of all tokens by all tokens.

transformers tells samples of a packed row apart by a dense mask. With one, PyTorch takes a slower kernel, computes what
the mask then removes, and holds the mask. Here each sample is a call of its own with a causal flag, for which GPUs have
fused kernels. The numbers are the same but for rounding.
"""

from __future__ import annotations

from typing import Any

NAME = "sample_by_sample"
# Architectures whose layers pass position ids on to the attention, and have no other mask than a sliding window.
_KNOWN = ("llama", "mistral", "qwen2", "qwen3")


def fits(config: Any, max_length: int) -> bool:
    """Whether a model's attention within samples of at most `max_length` tokens is plain causal attention."""
    window = getattr(config, "sliding_window", None)
    return config.model_type in _KNOWN and (window is None or window >= max_length)


def register() -> str:
    """Make it known to transformers, and return its name for `attn_implementation`."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, lambda *_, **__: None)
    return NAME


def attend(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, *, position_ids: Any = None, **how: Any
) -> tuple[Any, None]:
    """Causal attention within each sample, which begins where `position_ids` (1, tokens) is 0.

    `query` is (1, heads, tokens, size), `key` and `value` have as many heads or fewer. Returns (1, tokens, heads,
    size). Raises ValueError for a row that is not packed.
    """
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if attention_mask is not None or position_ids is None or query.shape[0] != 1:
        raise ValueError(f"{NAME} attention is for one packed row with position ids and without a mask")
    ends = _ends(position_ids)
    parts = zip(*(tensor.split(ends, dim=2) for tensor in (query, key, value)), strict=True)
    made = [sdpa_attention_forward(module, own, keys, values, None, **how)[0] for own, keys, values in parts]
    return torch.cat(made, dim=1), None


def _ends(position_ids: Any) -> list[int]:
    """Tokens of each sample. They are looked up once for all layers, as that waits for the GPU."""
    known: list[int] | None = getattr(position_ids, "_sample_lengths", None)
    if known is None:
        begins = (position_ids[0] == 0).nonzero()[:, 0].tolist()
        known = [end - begin for begin, end in zip(begins, [*begins[1:], position_ids.shape[1]], strict=True)]
        position_ids._sample_lengths = known
    return known
