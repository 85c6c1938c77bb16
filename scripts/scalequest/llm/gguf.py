"""GGUF files: converted to safetensors once, with a tokenizer that is held against the file's own vocabulary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scalequest.errors import ScaleQuestError
from scalequest.llm.pieces import Pieces, model_of
from scalequest.llm.tokenizers import BackendFile, Reference

_CONTROL, _USER_DEFINED = 3, 4
_GPT4 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# How a text is split before byte pairs are merged, by the name in `tokenizer.ggml.pre`: a regular expression, or "" for
# GPT-2's own. Source: the tokenizers of the models that these names stand for in llama.cpp. transformers splits by
# GPT-2's where it does not know a name, and does not say so.
_SPLITS = {"gpt-2": "", "smollm": r"\p{N}", "qwen2": _GPT4 % "", "llama-bpe": _GPT4 % "{1,3}"}


def convert(file: Path, folder: Path, source: str) -> None:
    """Dequantise a GGUF model and save weights (bf16), tokenizer and chat template in the safetensors layout.

    Raises ScaleQuestError, which names the source, where transformers cannot read the file: an architecture or a
    quantisation that it does not know.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        quantised = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    # The reader raises errors of many kinds for what it does not know.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ScaleQuestError(
            f"source {source}: {file.name} cannot be dequantised ({reason}) Take the model as safetensors."
        ) from error
    settings = quantised.config.to_dict()
    settings.pop("quantization_config", None)
    # A model read from GGUF refuses to be saved, so its weights move into one made from the plain config.
    model = AutoModelForCausalLM.from_config(type(quantised.config).from_dict(settings))
    model.load_state_dict(quantised.state_dict())
    model.to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(folder)


def reference(file: Path) -> Reference:
    """The tokenizer that a GGUF file describes: its vocabulary and merges, with the split that its
    `tokenizer.ggml.pre` names, or its SentencePiece model.

    Raises ScaleQuestError for a kind of tokenizer, or a split, that is not known here.
    """
    from transformers.integrations.gguf import get_gguf_tokenizer

    _, entry, _ = get_gguf_tokenizer(str(file))
    kind, split = entry.get("tokenizer_type"), entry.get("pre_tokenizer_type")
    if kind == "llama":
        columns = (entry["tokens"], entry["scores"], entry["token_type"])
        return Pieces(model_of(*columns, entry.get("add_prefix_space")), [], file.name)
    if kind != "gpt2" or split not in _SPLITS:
        raise ScaleQuestError(
            f"{file.name} has a tokenizer of the kind {kind!r} with tokenizer.ggml.pre {split!r}, which cannot be "
            f"checked here (known: {', '.join(_SPLITS)}). Take the model as safetensors."
        )
    return BackendFile(_byte_level(entry, _SPLITS[split]), file.name)


def _byte_level(entry: dict[str, Any], split: str) -> Any:
    """A `tokenizers.Tokenizer` of byte pairs."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

    tokens, kinds = entry["tokens"], entry.get("token_type") or []
    merges = [tuple(merge.split(" ")) for merge in entry["merges"]]
    made = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    # Digits alone come before GPT-2's own split; the other expressions take its place.
    before = [pre_tokenizers.Split(Regex(split), "isolated")] if split else []
    own = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split in ("", _SPLITS["smollm"]))
    made.pre_tokenizer = pre_tokenizers.Sequence([*before, own])
    made.decoder = decoders.ByteLevel()
    for wanted, add in ((_CONTROL, made.add_special_tokens), (_USER_DEFINED, made.add_tokens)):
        special = wanted == _CONTROL
        add(
            [
                AddedToken(t, normalized=False, special=special)
                for t, k in zip(tokens, kinds, strict=False)
                if k == wanted
            ]
        )
    return made
