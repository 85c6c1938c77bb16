"""Yes or No from a generative judge: free reasoning first if wanted, then a forced choice whose probability is kept.

A verdict written in free text is read from its last line alone: `"yes" in text` would pass "Bayes" and "eyes".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from scalequest.chat import encode_chat, question_format
from scalequest.engine import Engine
from scalequest.prompts import fill, load

Messages = list[dict[str, str]]

_WORD = re.compile(r"\b(yes|no)\b", re.IGNORECASE)
_AROUND = re.compile(r"[\s\W_]+")


def parse_verdict(text: str) -> str:
    """`yes`, `no` or `unparsed`: the last line that is not empty must hold one of the words, first or last in it,
    and not the other one. A label before it ("Verdict: Yes") and emphasis around it do not matter."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return "unparsed"
    line = lines[-1][-500:]
    words = {word.lower() for word in _WORD.findall(line)}
    if len(words) != 1:
        return "unparsed"
    tokens = [token.lower() for token in _AROUND.split(line) if token]
    word = words.pop()
    return word if word in (tokens[0], tokens[-1]) else "unparsed"


def solvability_prompts(reasoning_tokens: int) -> list[str]:
    """Names of the prompt files that a judge of questions uses."""
    return (
        ["judge_solvability", "judge_verdict"] if reasoning_tokens else ["judge_solvability_direct", "judge_examples"]
    )


def ask_solvable(question: str, reasoning_tokens: int) -> Messages:
    """The conversation that asks whether a text is a mathematics problem that can be solved.

    Without reasoning, examples go before as turns of the conversation: told only what to judge, a model of 135M cannot
    tell real problems from shuffled words (docs/benchmarks.md); shown eight verdicts, it can.
    """
    if reasoning_tokens:
        return [{"role": "user", "content": fill(load("judge_solvability"), question=question)}]
    prompt = load("judge_solvability_direct")
    shown: Messages = []
    for line in load("judge_examples").splitlines():
        example = json.loads(line)
        shown.append({"role": "user", "content": fill(prompt, question=example["question"])})
        shown.append({"role": "assistant", "content": example["verdict"]})
    return [*shown, {"role": "user", "content": fill(prompt, question=question)}]


def choice_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """First token ids of Yes and of No, with and without a space before (templates differ in which comes)."""

    def first(word: str) -> list[int]:
        texts = (word, " " + word)
        return list(dict.fromkeys(tokenizer(t, add_special_tokens=False)["input_ids"][0] for t in texts))

    yes, no = first("Yes"), first("No")
    # A vocabulary that spells both words with the same first piece (a lone space, say) is told apart by the rest.
    return [t for t in yes if t not in no], [t for t in no if t not in yes]


def judge(
    engine: Engine, tokenizer: Any, conversations: Sequence[Messages], seeds: Sequence[int], settings: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Judge each conversation; returns `probability`, `reasoning` and `tokens` for each.

    `settings`: `verdict` (`choice` or `text`) and `reasoning_tokens` (0: the choice at once). For `text`, which needs
    reasoning, the probability is None. A conversation too long for the model gets probability 0, or no reasoning.
    """
    stops = question_format(tokenizer).stops
    reasoning, tokens = [""] * len(conversations), [0] * len(conversations)
    if settings["reasoning_tokens"]:
        prompts = [encode_chat(tokenizer, messages) for messages in conversations]
        made = engine.generate(
            prompts, seeds, temperature=0.0, top_p=1.0, max_tokens=settings["reasoning_tokens"], stops=stops
        )
        reasoning, tokens = [c.text.strip() for c in made], [c.tokens for c in made]
    if settings["verdict"] == "text":
        return [
            {"probability": None, "reasoning": text, "tokens": count}
            for text, count in zip(reasoning, tokens, strict=True)
        ]
    probabilities = _choose(engine, tokenizer, conversations, reasoning, seeds)
    return [
        {"probability": p, "reasoning": text, "tokens": count + 1}
        for p, text, count in zip(probabilities, reasoning, tokens, strict=True)
    ]


def _choose(
    engine: Engine, tokenizer: Any, conversations: Sequence[Messages], reasoning: Sequence[str], seeds: Sequence[int]
) -> list[float]:
    yes, no = choice_tokens(tokenizer)
    question = load("judge_verdict")
    prompts = []
    for messages, text in zip(conversations, reasoning, strict=True):
        if text:
            messages = [*messages, {"role": "assistant", "content": text}, {"role": "user", "content": question}]
        prompts.append(encode_chat(tokenizer, messages))
    made = engine.generate(prompts, seeds, temperature=1.0, top_p=1.0, max_tokens=1, allowed=[*yes, *no])
    result = []
    for completion in made:
        positive = sum(completion.first.get(t, 0.0) for t in yes)
        total = positive + sum(completion.first.get(t, 0.0) for t in no)
        result.append(positive / total if total else 0.0)
    return result
