"""The topic of a question: a model chooses one of a list by its letter, and no place of the list counts for more.

A model prefers some letters, whatever stands behind them. So it is asked once for each topic, with the list turned on
by one place each time, and the probabilities of a topic are averaged: each topic has each letter once.
"""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase
from typing import TYPE_CHECKING

from scalequest.llm.prompts import Prompts, fill
from scalequest.tasks.judging import Messages, choose

if TYPE_CHECKING:
    from scalequest.tasks.engine_stage import EngineStage

# The most topics that a list may have.
LETTERS = ascii_uppercase


def ask_topic(question: str, options: Sequence[str], prompts: Prompts) -> Messages:
    """The conversation that asks which topic a question has, by its letter."""
    listed = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))
    return [{"role": "user", "content": fill(prompts.load("choose_topic"), question=question, topics=listed)}]


def choose_topics(
    stage: EngineStage, questions: Sequence[str], seeds: Sequence[int], options: Sequence[str], prompts: Prompts
) -> list[list[float]]:
    """The probability of each topic, in the order of `options`, for each question: they add up to 1, and are all 0 for
    a question that is too long for the model."""
    count = len(options)
    turned = [[*options[turn:], *options[:turn]] for turn in range(count)]
    asked = [ask_topic(question, listed, prompts) for question in questions for listed in turned]
    found = choose(stage, asked, [seed for seed in seeds for _ in turned], LETTERS[:count])
    return [averaged(found[start : start + count]) for start in range(0, len(found), count)]


def averaged(turns: Sequence[Sequence[float]]) -> list[float]:
    """Mean probability of each topic over all turns of the list: at turn t the topic k has place k - t. All 0 where the
    question did not fit at some turn."""
    count = len(turns)
    if not all(any(turn) for turn in turns):
        return [0.0] * count
    return [sum(turn[(place - number) % count] for number, turn in enumerate(turns)) / count for place in range(count)]
