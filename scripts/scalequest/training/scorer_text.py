"""The token ids by which a scorer reads a question, the same in training and in scoring."""

from __future__ import annotations

from typing import Any

from scalequest.errors import ScaleQuestError


def scorer_ids(tokenizer: Any, question: str, max_length: int) -> list[int]:
    """Token ids of a question for a scorer: the text, cut so that with the special tokens that the tokenizer adds to a
    text (mostly BOS, for a few EOS) it has at most `max_length` tokens.

    Special tokens that the question spells out are read as plain text. An empty question becomes one EOS, because no
    engine takes an empty prompt.
    """
    ids = tokenizer(question, split_special_tokens=True, truncation=True, max_length=max_length)["input_ids"]
    return ids or [tokenizer.eos_token_id]


def scorer_pad(tokenizer: Any) -> int:
    """A special token for padding that ends no text of `scorer_ids`.

    transformers reads the score at the last token that is not padding, vLLM at the last token. The two are the same
    only if padding cannot be mistaken for text. Raises ScaleQuestError where every special token is in use.
    """
    used = set(tokenizer("")["input_ids"])
    for token in (tokenizer.pad_token_id, tokenizer.eos_token_id, *tokenizer.all_special_ids):
        if token is not None and token not in used:
            return token
    raise ScaleQuestError("the scorer's tokenizer has no special token that is free to pad with; add a pad token.")
