"""Chat formats as token ids, read from a model's own tokenizer and template; nothing is typed in twice.

The bare prefix of a user's turn, from which questions are sampled, is what the template puts before the user's words.
Source: ScaleQuest (arXiv 2410.18693), section 3; Magpie (arXiv 2406.08464).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalequest.errors import ScaleQuestError

# Words that no template treats specially, to find where a template puts the user's own.
_MARK = "QUESTIONGOESHERE"


@dataclass(frozen=True)
class QuestionFormat:
    """A model's user turn: prefix, token ids before the question; `glue`, white space that belongs to the question's
    first token rather than to the prefix; `end`, the token id that ends the turn; `stops`, the ids that stop sampling."""

    prefix_text: str
    prefix: tuple[int, ...]
    glue: str
    end: int
    stops: tuple[int, ...]

    def encode(self, tokenizer: Any, question: str) -> list[int]:
        """Token ids of prefix + question + end of turn. Special tokens spelled out in the question stay plain text."""
        body = tokenizer(self.glue + question, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return [*self.prefix, *body, self.end]


def load_tokenizer(folder: str | Path, *, trust_remote_code: bool = False) -> Any:
    """A model's tokenizer. Raises ScaleQuestError where the folder has none, or one without a chat template."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ScaleQuestError(f"{folder} has no tokenizer that can be loaded ({error}).") from None
    if not tokenizer.chat_template:
        raise ScaleQuestError(
            f"the tokenizer in {folder} has no chat template, and the method reads the user's turn from it. "
            "Choose an instruction-tuned model, or add chat_template.jinja to the folder."
        )
    return tokenizer


def question_format(tokenizer: Any) -> QuestionFormat:
    """Split the template's user turn around the user's words.

    Raises ScaleQuestError for a template that does not show the user's words, or a turn that nothing ends.
    """
    text = tokenizer.apply_chat_template([{"role": "user", "content": _MARK}], tokenize=False)
    if text.count(_MARK) != 1:
        raise ScaleQuestError("the chat template does not show the user's words exactly once; it cannot be used.")
    before, after = text.split(_MARK)
    # A space before the question is part of its first token in byte-pair vocabularies: a prefix that
    # ends with one would force a token that training never saw.
    prefix_text = before.rstrip(" ")
    prefix = tokenizer(prefix_text, add_special_tokens=False)["input_ids"]
    tail = tokenizer(after, add_special_tokens=False)["input_ids"] if after else []
    special = set(tokenizer.all_special_ids)
    end = tail[0] if tail and tail[0] in special else tokenizer.eos_token_id
    if end is None:
        raise ScaleQuestError("neither the chat template nor the tokenizer names a token that ends the user's turn.")
    stops = tuple(dict.fromkeys(t for t in (end, tokenizer.eos_token_id) if t is not None))
    return QuestionFormat(prefix_text, tuple(prefix), before[len(prefix_text) :], end, stops)


def encode_chat(tokenizer: Any, messages: Sequence[Mapping[str, str]]) -> list[int]:
    """Token ids of a conversation up to where the assistant speaks, by the model's own template."""
    plain = [{**m, "content": defuse(tokenizer, m["content"])} for m in messages]
    text = tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=True)
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def defuse(tokenizer: Any, text: str) -> str:
    """Text in which no control token is spelled out: a question that says `<|im_end|>` must not end its turn."""
    for token in tokenizer.all_special_tokens:
        if token in text:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text
