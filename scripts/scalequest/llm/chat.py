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
from scalequest.llm.models import Model
from scalequest.llm.prompts import fill

# Words that no template treats specially, to find where a template puts the user's own.
MARK = "QUESTIONGOESHERE"


@dataclass(frozen=True)
class QuestionFormat:
    """A model's user turn: `prefix`, the token ids before the question; `glue`, white space that belongs to the
    question's first token, not to the prefix; `end`, the token id that ends the turn; `stops`, ids that stop sampling.
    """

    prefix_text: str
    prefix: tuple[int, ...]
    glue: str
    end: int
    stops: tuple[int, ...]

    def encode(self, tokenizer: Any, question: str) -> list[int]:
        """Token ids of prefix + question + end of turn. Special tokens spelled out in the question stay plain text."""
        body = tokenizer(self.glue + question, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return [*self.prefix, *body, self.end]


def load_tokenizer(folder: str | Path, *, trust_remote_code: bool = False, chat: bool = True) -> Any:
    """A model's tokenizer. Raises ScaleQuestError where the folder has none, or (with `chat`) no chat template."""
    from transformers import AutoTokenizer

    try:
        # Mistral's own format would be taken before the one that all others read.
        tokenizer = AutoTokenizer.from_pretrained(
            str(folder), trust_remote_code=trust_remote_code, mistral_format=False
        )
    # The Rust side raises bare Exception for a damaged file.
    except Exception as error:
        raise ScaleQuestError(
            f"{folder} has no tokenizer that can be loaded ({' '.join(str(error).split())}). Put the tokenizer's "
            "files, such as tokenizer.json and tokenizer_config.json, into the model's folder."
        ) from None
    if chat and not tokenizer.chat_template:
        raise ScaleQuestError(
            f"the tokenizer in {folder} has no chat template, and the method reads the user's turn from it. "
            "Choose an instruction-tuned model, or add chat_template.jinja to the folder."
        )
    return tokenizer


def question_format(tokenizer: Any, system: str | None = None) -> QuestionFormat:
    """Split the template's user turn around the user's words. A `system` prompt is part of the prefix.

    Raises ScaleQuestError for a template that does not show the user's words or the system prompt, or a turn that
    nothing ends.
    """
    before_it = [{"role": "system", "content": system}] if system else []
    text = render(tokenizer, [*before_it, {"role": "user", "content": MARK}])
    if system and " ".join(system.split()) not in " ".join(text.split()):
        raise ScaleQuestError(
            "the chat template does not show a system prompt; choose a model whose template does, or put one into "
            "chat_template.jinja."
        )
    if text.count(MARK) != 1:
        raise ScaleQuestError(
            f"the chat template shows the user's words {text.count(MARK)} times where it should once; choose a model "
            "with another template, or put one into chat_template.jinja."
        )
    before, after = text.split(MARK)
    # A space before the question is part of its first token in byte-pair vocabularies: a prefix that
    # ends with one would force a token that training never saw.
    prefix_text = before.rstrip(" ")
    glue = before[len(prefix_text) :]
    end = _ends_turn(tokenizer, after)
    if end is None:
        raise ScaleQuestError("neither the chat template nor the tokenizer names a token that ends the user's turn.")
    stops = tuple(dict.fromkeys(t for t in (end, tokenizer.eos_token_id) if t is not None))
    return QuestionFormat(prefix_text, tuple(_prefix_ids(tokenizer, prefix_text, glue)), glue, end, stops)


def _prefix_ids(tokenizer: Any, prefix_text: str, glue: str) -> list[int]:
    """The prefix as it is tokenised before a question: line ends at the end of a text may join to other tokens."""
    whole = tokenizer(prefix_text + glue + MARK, add_special_tokens=False)["input_ids"]
    body = tokenizer(glue + MARK, add_special_tokens=False)["input_ids"]
    if whole[-len(body) :] == body:
        return whole[: -len(body)]
    return tokenizer(prefix_text, add_special_tokens=False)["input_ids"]


def encode_chat(tokenizer: Any, messages: Sequence[Mapping[str, str]], *, reply: bool = True) -> list[int]:
    """Token ids of a conversation by the model's own template: up to where the assistant speaks next, or, without
    `reply`, to the conversation's end.

    Raises ScaleQuestError where the template cannot show the conversation.
    """
    plain = [{**m, "content": defuse(tokenizer, m["content"])} for m in messages]
    text = render(tokenizer, plain, add_generation_prompt=reply)
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def control_tokens(tokenizer: Any) -> dict[int, str]:
    """Every control token of the vocabulary, id to text: the named ones (BOS, EOS ...) and those marked as such."""
    marked = {i: token.content for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return marked | dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))


def defuse(tokenizer: Any, text: str) -> str:
    """Text in which no control token is spelled out: a question that says `<|im_end|>` must not end its turn."""
    for token in control_tokens(tokenizer).values():
        if token in text:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


@dataclass(frozen=True)
class AnswerFormat:
    """How a problem is put to a model and where its response ends, the same in training and in use.

    `template` has one place, `{question}`. With `chat` its text is a user's turn by the model's own chat template;
    without, plain text behind the special tokens that the tokenizer itself sets before one. `end` is the token id that
    ends a response, `stops` are the ids that stop sampling.
    """

    tokenizer: Any
    template: str
    chat: bool
    end: int
    stops: tuple[int, ...]

    def prompt(self, question: str) -> list[int]:
        """Token ids up to where the response begins. Special tokens that the question spells out stay plain text."""
        text = fill(self.template, question=question)
        if self.chat:
            return encode_chat(self.tokenizer, [{"role": "user", "content": text}])
        return self.tokenizer(text, split_special_tokens=True)["input_ids"]

    def response(self, text: str) -> list[int]:
        """Token ids of a response and its end."""
        body = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return [*body, self.end]


def answer_format(model: Model, template: str, *, chat: bool = True) -> AnswerFormat:
    """The format of a model's answers. Raises ScaleQuestError where the tokenizer has no chat template (with `chat`) or
    no token that ends a text, and for a template with other places than `{question}`."""
    tokenizer = load_tokenizer(model.folder, trust_remote_code=model.trust_remote_code, chat=chat)
    fill(template, question="")
    end = tokenizer.eos_token_id
    if chat:
        turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": MARK}]
        after = render(tokenizer, turns).rpartition(MARK)[2]
        end = _ends_turn(tokenizer, after)
    if end is None:
        raise ScaleQuestError(f"the tokenizer in {model.folder} names no token that ends a text (eos_token).")
    stops = tuple(dict.fromkeys(t for t in (end, tokenizer.eos_token_id) if t is not None))
    return AnswerFormat(tokenizer, template, chat, end, stops)


def _ends_turn(tokenizer: Any, after: str) -> int | None:
    """The token that ends a turn behind whose words the template has `after`: a control token there, or else EOS."""
    tail = tokenizer(after, add_special_tokens=False)["input_ids"] if after else []
    return tail[0] if tail and tail[0] in control_tokens(tokenizer) else tokenizer.eos_token_id


def render(tokenizer: Any, messages: Sequence[Mapping[str, str]], **options: Any) -> str:
    """A conversation as the template writes it. Raises ScaleQuestError where it cannot show it."""
    from jinja2 import TemplateError

    try:
        return tokenizer.apply_chat_template(messages, tokenize=False, **options)
    except (TemplateError, TypeError, ValueError) as error:
        roles = ", ".join(m["role"] for m in messages)
        raise ScaleQuestError(f"the chat template cannot show a conversation of ({roles}): {error}") from None
