"""Tiny random models of the families that the presets name and that users bring, with the families' real tokenizers."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fetch_tokenizers import TOKENIZERS
from tiny_tokenizers import USER_ASSISTANT, configured, mistral_pieces, pieces

HARMONY = (
    "{% for m in messages %}{{ '<|start|>' + m['role'] + '<|message|>' + m['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"
)
INSTRUCT = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{{ m['content'] + eos_token }}{% endif %}{% endfor %}"
)
LLAMA = {"tokenizer_class": "LlamaTokenizer", "legacy": True, "add_bos_token": True, "add_eos_token": False}


def packaged(name: str, **changes: Any) -> Callable[[Path], object]:
    """Writes the tokenizer of a package, with changes to its configuration."""

    def write(folder: Path) -> None:
        for file in (TOKENIZERS / name).iterdir():
            shutil.copyfile(file, folder / file.name)
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        # The packages write special tokens as objects of their own.
        plain = {k: v["content"] if isinstance(v, dict) and "__type" in v else v for k, v in config.items()}
        configured(folder, **{**plain, **changes})

    return write


def harmony(folder: Path) -> None:
    """GPT-4o's vocabulary with gpt-oss's control tokens."""
    from tokenizers import AddedToken, Tokenizer

    tokenizer = Tokenizer.from_file(str(TOKENIZERS / "gpt4o" / "tokenizer.json"))
    names = ("<|return|>", "<|start|>", "<|end|>", "<|message|>", "<|channel|>")
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in names])
    tokenizer.save(str(folder / "tokenizer.json"))
    more = {"eos_token": "<|return|>", "pad_token": "<|endoftext|>", "chat_template": HARMONY}
    configured(folder, tokenizer_class="PreTrainedTokenizerFast", **more)


def mistral(folder: Path) -> None:
    """The pieces of Mistral-7B v0.1 without a tokenizer.json."""
    more = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "chat_template": INSTRUCT}
    pieces(folder, mistral_pieces(), **LLAMA, **more)


@dataclass(frozen=True)
class Family:
    """A family: its classes in transformers, its tokenizer, and what is expected of it. `package` is fetched."""

    config: str
    model: str
    tokenizer: Callable[[Path], object]
    prefix: str
    end: str
    package: str = ""
    mended: bool = False
    # The text of the prefix's tokens, where it is not the prefix.
    decoded: str = ""
    more: dict[str, Any] = field(default_factory=dict)


DEEPSEEK = {**LLAMA, "tokenizer_class": "LlamaTokenizerFast", "chat_template": USER_ASSISTANT}
FAMILIES = {
    "Qwen2.5": Family(
        *("Qwen2Config", "Qwen2ForCausalLM", packaged("qwen2_5")),
        "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n",
        *("<|im_end|>", "qwen2_5"),
    ),
    "Qwen3": Family(
        *("Qwen3Config", "Qwen3ForCausalLM", packaged("qwen3")),
        *("<|im_start|>user\n", "<|im_end|>", "qwen3"),
    ),
    "DeepSeekMath": Family(
        *("LlamaConfig", "LlamaForCausalLM", packaged("deepseek_v3", **DEEPSEEK)),
        *("<\uff5cbegin\u2581of\u2581sentence\uff5c>User:", "<\uff5cend\u2581of\u2581sentence\uff5c>", "deepseek_v3"),
        mended=True,
    ),
    "Mistral v0.1": Family(
        *("MistralConfig", "MistralForCausalLM", mistral, "<s>[INST]", "</s>"),
        mended=True,
        # A space is set before a text, and after a control token too.
        decoded="<s> [INST]",
    ),
    "Llama 3": Family(
        *("LlamaConfig", "LlamaForCausalLM", packaged("llama3")),
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n",
        *("<|eot_id|>", "llama3"),
    ),
    "Gemma 3": Family(
        *("Gemma3TextConfig", "Gemma3ForCausalLM", packaged("gemma3")),
        *("<bos><start_of_turn>user\n", "<end_of_turn>", "gemma3"),
        more={"sliding_window": 64},
    ),
    "gpt-oss": Family(
        *("GptOssConfig", "GptOssForCausalLM", harmony),
        *("<|start|>user<|message|>", "<|end|>", "gpt4o"),
        more={"sliding_window": 64, "num_local_experts": 4, "num_experts_per_tok": 2, "tie_word_embeddings": False},
    ),
}


def make(name: str, folder: Path, *, ends: bool = False, likely: Sequence[str] = ()) -> Path:
    """Write a tiny random model of a family; skips where its tokenizer was not fetched, in CI never. With `ends` a
    turn ends after some tokens, as it hardly ever does of random weights (of a family whose embeddings are tied), and
    `likely` are further tokens that are as likely."""
    import torch
    import transformers
    from tokenizers import Tokenizer

    family = FAMILIES[name]
    if family.package and not (TOKENIZERS / family.package).is_dir():
        why = "the tokenizers of real models are not here: python tests/support/fetch_tokenizers.py"
        assert "SCALEQUEST_CI" not in os.environ, why
        pytest.skip(why)
    folder.mkdir(parents=True)
    file = TOKENIZERS / family.package / "tokenizer.json"
    size = Tokenizer.from_file(str(file)).get_vocab_size() if family.package else 32000
    config = getattr(transformers, family.config)(
        **{
            # A multiple of 64, as vocabularies are; with room for control tokens that are added.
            **{"vocab_size": -(-(size + 8) // 64) * 64, "hidden_size": 64, "intermediate_size": 128},
            **{"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32},
            **{"max_position_embeddings": 1024, "tie_word_embeddings": True},
            # A token whose embedding is that likely would be followed by itself.
            **({"tie_word_embeddings": False} if likely else {}),
            **family.more,
        }
    )
    torch.manual_seed(0)
    model = getattr(transformers, family.model)(config)
    family.tokenizer(folder)
    if ends:
        vocabulary = Tokenizer.from_file(str(folder / "tokenizer.json"))
        with torch.no_grad():
            state = model.model(torch.arange(300).reshape(1, -1)).last_hidden_state[0].mean(0)
            # About one token in ten is the end: a vocabulary of other ones has a sum of e to the 12.
            for token in (family.end, *likely):
                aimed = 10 * state / state.dot(state) + torch.randn_like(state) * 0.2
                model.get_output_embeddings().weight[vocabulary.token_to_id(token)] = aimed
    model.bfloat16().save_pretrained(folder)
    return folder
