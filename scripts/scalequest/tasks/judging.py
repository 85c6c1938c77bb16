"""Yes or No from a generative judge: free reasoning first if wanted, then a forced choice whose probability is kept.

`choose` is the forced choice, among any options.

A verdict written in free text is read from its end alone: `"yes" in text` would pass "Bayes" and "eyes".
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from scalequest.llm.chat import encode_chat
from scalequest.llm.prompts import Prompts, fill
from scalequest.settings import Sampling

if TYPE_CHECKING:
    from scalequest.tasks.engine_stage import EngineStage

Messages = list[dict[str, str]]
VERDICTS = ("Yes", "No")

_WORD = re.compile(r"\b(yes|no)\b", re.IGNORECASE)
_AROUND = re.compile(r"[\s\W_]+")
# Lines without a letter or digit (a closing fence, `\\]`), and those that only begin or end something in LaTeX.
_MARKUP = re.compile(r"(?:\\(?:begin|end)\{[a-z]+\*?\}|[\W_])*", re.IGNORECASE)
_BOXED = re.compile(
    r"\\boxed\s*\{[\s\W_]*(?:(?:text|math)[a-z]{0,2}\s*\{)?[\s\W_]*(yes|no)\b[^{}a-z]*\}", re.IGNORECASE
)
# "Yes, no information is missing": a word before a comma or another stop is a verdict, whatever follows.
_OPENING = re.compile(r"[\s\W_]*(yes|no)[*_}$)\]]*\s*(?:[.,:;!\u2013\u2014-]|$)", re.IGNORECASE)
_NAMED = re.compile(
    r"\b(?:answer|verdict|judge?ment|conclusion|decision)(?:\s+is)?[\s:*_$\\{(]*\b(yes|no)\b", re.IGNORECASE
)
# Lines before the last one in which a boxed verdict is looked for, and characters of a line that are read.
_LINES, _CHARACTERS = 4, 500


@dataclass(frozen=True)
class Judge:
    """How a judge is asked. `verdict`: the probability of a forced `choice`, or what its `text` says. It reasons first
    in `reasoning_tokens` tokens, 0 for none; `text` needs some."""

    verdict: Literal["choice", "text"]
    reasoning_tokens: int


def parse_verdict(text: str) -> str:
    """`yes`, `no` or `unparsed`, from the last line that is more than markup.

    The last boxed word there counts, or else the word that the line states: as its first word before a stop, after a
    label ("Verdict: Yes"), or as its first or last word where the other word is not in it. Where the line states none,
    a boxed word in one of the few lines before it counts ("I hope it is correct." may follow).
    """
    lines = [line[-_CHARACTERS:] for line in text.splitlines() if not _MARKUP.fullmatch(line[-_CHARACTERS:])]
    if not lines:
        return "unparsed"
    for read in (_boxed, _stated):
        if word := read(lines[-1]):
            return word
    return next(filter(None, map(_boxed, reversed(lines[-_LINES:-1]))), "unparsed")


def _boxed(line: str) -> str:
    found = _BOXED.findall(line)
    return str(found[-1]).lower() if found else ""


def _stated(line: str) -> str:
    tokens = [token.lower() for token in _AROUND.split(line) if token]
    words = {word.lower() for word in _WORD.findall(line)}
    last = tokens[-1] if tokens[-1] in words else ""
    if opening := _OPENING.match(line):
        word = opening[1].lower()
        # "Yes, the answer is no" says both.
        return word if last in ("", word) else ""
    if len(words) != 1:
        return ""
    # "No information is missing" is no verdict.
    named = _NAMED.findall(line)
    return last or (named[-1].lower() if named else "") or ("yes" if tokens[0] == "yes" else "")


def solvability_prompts(settings: Judge) -> list[str]:
    """Names of the prompt files that a judge of questions uses."""
    if settings.reasoning_tokens:
        return ["judge_solvability", "judge_verdict"]
    return ["judge_solvability_direct", "judge_examples"]


def ask_solvable(question: str, settings: Judge, prompts: Prompts) -> Messages:
    """The conversation that asks whether a text is a problem of the domain that can be solved.

    Without reasoning, examples go before as turns of the conversation: told only what to judge, a model of 135M cannot
    tell real problems from shuffled words (docs/reference/figures.md); shown eight verdicts, it can.
    """
    if settings.reasoning_tokens:
        return [{"role": "user", "content": fill(prompts.load("judge_solvability"), question=question)}]
    prompt = prompts.load("judge_solvability_direct")
    shown: Messages = []
    for line in prompts.load("judge_examples").splitlines():
        example = json.loads(line)
        shown.append({"role": "user", "content": fill(prompt, question=example["question"])})
        shown.append({"role": "assistant", "content": example["verdict"]})
    return [*shown, {"role": "user", "content": fill(prompt, question=question)}]


def choice_tokens(tokenizer: Any, options: Sequence[str]) -> list[list[int]]:
    """First token ids of each option, with and without a space before (templates differ in which comes). Ids that are
    the first of several options (a lone space, say) are left out, as the rest of the text would have to tell."""

    def first(option: str) -> list[int]:
        texts = (option, " " + option)
        return list(dict.fromkeys(tokenizer(t, add_special_tokens=False)["input_ids"][0] for t in texts))

    found = [first(option) for option in options]
    count = Counter(token for own in found for token in own)
    return [[token for token in own if count[token] == 1] for own in found]


def choose(
    stage: EngineStage, conversations: Sequence[Messages], seeds: Sequence[int], options: Sequence[str]
) -> list[list[float]]:
    """The probability of each option as the beginning of the reply, for each conversation. They add up to 1; they are
    all 0 for a conversation that is too long for the model."""
    tokens = choice_tokens(stage.tokenizer, options)
    asked = [encode_chat(stage.tokenizer, messages) for messages in conversations]
    one = Sampling(temperature=1.0, top_p=1.0, max_tokens=1)
    made = stage.generate(asked, seeds, one, allowed=[token for own in tokens for token in own])
    result = []
    for completion in made:
        shares = [sum(completion.first.get(token, 0.0) for token in own) for own in tokens]
        total = sum(shares)
        result.append([share / total if total else 0.0 for share in shares])
    return result


def judge(
    stage: EngineStage, conversations: Sequence[Messages], seeds: Sequence[int], settings: Judge, prompts: Prompts
) -> list[dict[str, Any]]:
    """Judge each conversation; returns `probability`, `reasoning` and `tokens` for each.

    For `text` the probability is None. A conversation too long for the model gets probability 0, or no reasoning.
    """
    reasoning, tokens = [""] * len(conversations), [0] * len(conversations)
    if settings.reasoning_tokens:
        asked = [encode_chat(stage.tokenizer, messages) for messages in conversations]
        sampling = Sampling(temperature=0.0, top_p=1.0, max_tokens=settings.reasoning_tokens)
        made = stage.generate(asked, seeds, sampling, stops=stage.question_format.stops)
        reasoning, tokens = [c.text.strip() for c in made], [c.tokens for c in made]
    if settings.verdict == "text":
        return [
            {"probability": None, "reasoning": text, "tokens": count}
            for text, count in zip(reasoning, tokens, strict=True)
        ]
    if any(reasoning):
        conversations = [
            _then_asked(messages, text, prompts) if text else messages
            for messages, text in zip(conversations, reasoning, strict=True)
        ]
    chosen = choose(stage, conversations, seeds, VERDICTS)
    return [
        {"probability": yes, "reasoning": text, "tokens": count + 1}
        for (yes, _), text, count in zip(chosen, reasoning, tokens, strict=True)
    ]


def _then_asked(messages: Messages, reasoning: str, prompts: Prompts) -> Messages:
    """A conversation with the judge's reasoning and the question for its verdict."""
    question = prompts.load("judge_verdict")
    return [*messages, {"role": "assistant", "content": reasoning}, {"role": "user", "content": question}]
