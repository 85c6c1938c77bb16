"""Where a model that thinks before it answers begins and ends its trace, read from its own chat template."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from scalequest.errors import ScaleQuestError
from scalequest.llm.chat import MARK, AnswerFormat, render

# What most models write where their template does not say it.
OPEN, CLOSE = "<think>", "</think>"
# How a template is given a trace: Qwen3 and others, gpt-oss, later ones.
_FIELDS = ("reasoning_content", "thinking", "reasoning")
_TRACE = "TRACEGOESHERE"


@dataclass(frozen=True)
class Trace:
    """The form of a trace: `before` it and `after` it, with the white space that belongs there. `opened`: the template
    itself writes what begins one, so that a response does not. `form` is that of the model's answers."""

    form: AnswerFormat
    before: str
    after: str
    opened: bool
    # What the template writes before a response; empty where the model's prompt is no chat.
    header: str = ""

    @property
    def open(self) -> str:
        """What begins a trace; empty where the template writes it."""
        return self.before.strip()

    @property
    def close(self) -> str:
        """What ends a trace."""
        return self.after.strip()

    @cached_property
    def closing(self) -> list[int]:
        """Token ids of `close`."""
        return self.ids(self.close)

    @property
    def is_token(self) -> bool:
        """Whether what ends a trace begins with a token of its own, which no text of a trace can spell out."""
        return self.closing[0] in self.form.tokenizer.added_tokens_decoder

    @cached_property
    def answer_header(self) -> str:
        """What begins a response without a trace, where a trace is a turn of its own: a trace's end is then that of its
        turn, the header of the next one, and this (`<|channel|>final<|message|>` of gpt-oss). Else empty."""
        shared = next((n for n in range(len(self.close), 0, -1) if self.header.endswith(self.close[:n])), 0)
        return self.close[shared:] if shared else ""

    def is_answer(self, text: str) -> bool:
        """Whether a text says of itself that it is a response without a trace."""
        return bool(self.answer_header) and text.startswith(self.answer_header)

    def ids(self, text: str) -> list[int]:
        """Token ids of a marker, control tokens among them."""
        found: list[int] = self.form.tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    def begins(self, text: str) -> bool:
        """Whether a response begins with a trace."""
        return self.opened or text.lstrip().startswith(self.open)

    def content(self, text: str) -> str:
        """A trace without what begins it."""
        return text.strip().removeprefix(self.open).strip()

    def response(self, reasoning: str, text: str) -> list[int]:
        """Token ids of a response with its trace, and their end, as a model is trained on them. By no chat template:
        those of models that think leave a trace out of an earlier turn, and some out of any."""
        body = self.form.tokenizer(_split(reasoning, self.close), add_special_tokens=False, split_special_tokens=True)[
            "input_ids"
        ]
        return [*self.ids(self.before), *body, *self.ids(self.after), *self.form.response(text)]


def written(reasoning: str | None, text: str) -> str:
    """A response with its trace as plain text, between OPEN and CLOSE; the response alone where there is none."""
    # Templates take what follows the last end for the response.
    return text if reasoning is None else f"{OPEN}\n{_split(reasoning, CLOSE)}\n{CLOSE}\n\n{_split(text, CLOSE)}"


def _split(text: str, close: str) -> str:
    # A text that spells it out would be parted there.
    return text.replace(close, f"{close[0]} {close[1:]}")


def trace_form(form: AnswerFormat, begin: str | None = None, end: str | None = None) -> Trace:
    """The form of a model's traces: by `begin` and `end` where they are given, or as its chat template shows one, or
    else between OPEN and CLOSE."""
    header = render(form.tokenizer, [{"role": "user", "content": "?"}], add_generation_prompt=True) if form.chat else ""
    if begin is None and form.chat and (shown := _shown(form.tokenizer, header)):
        before, after = shown
        return Trace(form, before, after, not before.strip(), header)
    begin, end = begin or OPEN, end or CLOSE
    opened = header.rstrip().endswith(begin)
    return Trace(form, "" if opened else f"{begin}\n", f"\n{end}\n\n", opened, header)


def _shown(tokenizer: Any, header: str) -> tuple[str, str] | None:
    """What the template sets before and after the trace of an assistant's last turn; None where it shows none."""
    for field in _FIELDS:
        turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": MARK, field: _TRACE}]
        try:
            text = render(tokenizer, turns)
        except ScaleQuestError:
            continue
        before, found, rest = text.removeprefix(header).partition(_TRACE)
        after, answered, _ = rest.partition(MARK)
        if text.startswith(header) and found and answered and after.strip():
            return before, after
    return None
