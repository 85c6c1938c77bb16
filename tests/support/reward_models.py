"""Tiny random reward models of every architecture, each with what its head gives computed apart from the engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scalequest.llm.models import write_manifest
from scalequest.runtime.files import write_json
from scalequest.tasks.rewards import SEPARATOR

if TYPE_CHECKING:
    from torch import Tensor

# From token ids to the head's outputs, one row for each token, or one in all.
Head = Callable[[list[int]], "Tensor"]
# What a folder of InternLM2 needs beside weights: transformers has no class for its config. The layers are vLLM's own.
INTERNLM2 = """\
from transformers import PretrainedConfig


class InternLM2Config(PretrainedConfig):
    model_type = "internlm2"
"""
# Names of a layer's weights, as Llama and InternLM2 have them.
LAYER = {
    "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.up_proj": "feed_forward.w3",
    "mlp.down_proj": "feed_forward.w2",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
}


def make_reward_model(architecture: str, tiny: Path, folder: Path) -> tuple[Path, Head]:
    """Write a random float32 model of the tiny model's shape into `folder`: its manifest beside it, and its head."""
    made = {
        "LlamaForSequenceClassification": _classifier,
        "Qwen3ForSequenceClassification": _classifier,
        "Qwen2ForRewardModel": _qwen2,
        "Qwen2ForProcessRewardModel": _qwen2,
        "InternLM2ForRewardModel": _internlm2,
    }
    head = made[architecture](architecture, tiny, folder)
    manifest = folder.with_suffix(".json")
    code = architecture.startswith("InternLM2")
    write_manifest(manifest, folder, name=folder.name, source="test", trust_remote_code=code)
    return manifest, head


def _config(kind: str, tiny: Path, folder: Path) -> Any:
    """A config of the tiny model's shape. The tokenizer has the separator, as a token that is no control token."""
    import torch
    import transformers

    torch.manual_seed(0)
    shape = transformers.AutoConfig.from_pretrained(tiny).to_dict()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny)
    tokenizer.add_tokens([SEPARATOR])
    tokenizer.save_pretrained(folder)
    for name in ("model_type", "architectures", "transformers_version", "dtype"):
        shape.pop(name, None)
    return getattr(transformers, f"{kind}Config")(**{**shape, "vocab_size": len(tokenizer)})


def _classifier(architecture: str, tiny: Path, folder: Path) -> Head:
    import torch
    import transformers

    config = _config(architecture.removesuffix("ForSequenceClassification"), tiny, folder)
    config.num_labels = 1
    model = getattr(transformers, architecture)(config).float().eval()
    torch.nn.init.normal_(model.score.weight)
    model.save_pretrained(folder)

    @torch.no_grad()
    def head(ids: list[int]) -> Tensor:
        return model(torch.tensor([ids])).logits

    return head


def _qwen2(architecture: str, tiny: Path, folder: Path) -> Head:
    """Qwen2's layers and a head of two."""
    import torch
    from safetensors.torch import save_file
    from transformers import Qwen2Model

    body = Qwen2Model(_config("Qwen2", tiny, folder)).float().eval()
    size, outputs = body.config.hidden_size, 2 if "Process" in architecture else 1
    for name, weight in body.named_parameters():
        if name.endswith("bias"):
            # Zero as they are made, so that a reader who forgets them would not be noticed.
            torch.nn.init.normal_(weight, std=0.1)
    last = torch.nn.Linear(size, outputs)
    torch.nn.init.normal_(last.weight, std=0.5)
    score = torch.nn.Sequential(torch.nn.Linear(size, size), torch.nn.ReLU(), last)
    weights = {f"model.{name}": weight for name, weight in body.state_dict().items()}
    weights |= {f"score.{name}": weight for name, weight in score.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    body.config.architectures = [architecture]
    body.config.save_pretrained(folder)

    @torch.no_grad()
    def head(ids: list[int]) -> Tensor:
        return score(body(torch.tensor([ids])).last_hidden_state[0])

    return head


def _internlm2(architecture: str, tiny: Path, folder: Path) -> Head:
    """Llama's layers under InternLM2's names: for each key-value head `wqkv` has its queries, its key and its value."""
    import torch
    from safetensors.torch import save_file
    from transformers import LlamaModel

    config = _config("Llama", tiny, folder)
    config.rope_parameters = {"rope_type": "default", "rope_theta": 1e6}
    body = LlamaModel(config).float().eval()
    given, size = body.state_dict(), config.hidden_size
    weights = {"model.tok_embeddings.weight": given["embed_tokens.weight"], "model.norm.weight": given["norm.weight"]}
    for layer in (f"layers.{i}" for i in range(config.num_hidden_layers)):
        parts = [given[f"{layer}.self_attn.{name}_proj.weight"] for name in "qkv"]
        grouped = [part.view(config.num_key_value_heads, -1, config.head_dim, size) for part in parts]
        weights[f"model.{layer}.attention.wqkv.weight"] = torch.cat(grouped, dim=1).reshape(-1, size)
        for name, theirs in LAYER.items():
            weights[f"model.{layer}.{theirs}.weight"] = given[f"{layer}.{name}.weight"]
    reward = torch.randn(1, size)
    save_file({**weights, "v_head.weight": reward}, folder / "model.safetensors", metadata={"format": "pt"})
    keys = "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads"
    more = {name: getattr(config, name) for name in [*keys.split(), "hidden_act", "max_position_embeddings"]}
    # The scaling begins behind max_position_embeddings, so that short texts know none.
    more |= {"rope_theta": 1000000, "rope_scaling": {"type": "dynamic", "factor": 2.0}}
    more |= {"rms_norm_eps": config.rms_norm_eps, "tie_word_embeddings": False}
    more |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2, "reward_token_id": 9}
    code = {"AutoConfig": "configuration_internlm2.InternLM2Config"}
    known = {"architectures": [architecture], "model_type": "internlm2", "auto_map": code}
    write_json(folder / "config.json", {**known, **more})
    (folder / "configuration_internlm2.py").write_text(INTERNLM2)

    @torch.no_grad()
    def head(ids: list[int]) -> Tensor:
        return body(torch.tensor([ids])).last_hidden_state[0] @ reward.T

    return head
