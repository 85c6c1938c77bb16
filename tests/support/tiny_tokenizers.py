"""Tokenizers of a few hundred tokens in the formats that models come with, and the metadata that goes with each."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from scalequest.llm.tokenizers import PROBE

TEXTS = [
    *PROBE,
    *(f"Ann has {i} pens and buys {2 * i + 3} more. How many of the pens are left in the store?" for i in range(40)),
]
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# As DeepSeekMath's: no control token ends the user's turn.
USER_ASSISTANT = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ 'User: ' + m['content'] + '\n\n' }}"
    "{% else %}{{ 'Assistant: ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


def mistral_pieces() -> bytes:
    """The SentencePiece model of Mistral-7B v0.1, which the package mistral-common carries."""
    spec = find_spec("mistral_common")
    assert spec is not None and spec.origin is not None
    return (Path(spec.origin).parent / "data" / "tokenizer.model.v1").read_bytes()


def byte_level(folder: Path, special: Iterable[str] = ("<|im_start|>", "<|im_end|>"), **config: Any) -> Path:
    """Write a byte-level tokenizer.json, trained on TEXTS, and its tokenizer_config.json."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    # DeepSeek's way: parts of a text are split off one after another.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[\r\n]"), "isolated"),
            pre_tokenizers.Split(Regex(r"\s?\p{L}+"), "isolated"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return configured(folder, **config)


def trained_pieces(kind: str = "bpe", **options: Any) -> bytes:
    """A SentencePiece model trained on TEXTS."""
    import sentencepiece

    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([text for text in TEXTS if text.strip()]),
        model_writer=out,
        vocab_size=500,
        hard_vocab_limit=False,
        model_type=kind,
        byte_fallback=True,
        minloglevel=2,
        **{"normalization_rule_name": "identity", "remove_extra_whitespaces": False, **options},
    )
    return out.getvalue()


def pieces(folder: Path, model: bytes, **config: Any) -> Path:
    """Write a tokenizer.model and its tokenizer_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.model").write_bytes(model)
    return configured(folder, **config)


def configured(folder: Path, model_type: str = "llama", **config: Any) -> Path:
    """Write tokenizer_config.json, and a config.json of that model type where there is none."""
    (folder / "tokenizer_config.json").write_text(json.dumps({"clean_up_tokenization_spaces": False, **config}))
    if not (folder / "config.json").exists():
        (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    return folder
