"""What a process reward model reads, and what is made of its head's outputs."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scalequest.errors import ScaleQuestError
from scalequest.llm.chat import load_tokenizer
from scalequest.llm.prompts import Prompts
from scalequest.tasks.rewards import SEPARATOR, ProcessRewardModel, probability, steps_of


@pytest.mark.parametrize(
    ("response", "steps"),
    [
        ("One step.", ["One step."]),
        ("One\nline each.\n\nTwo.", ["One\nline each.", "Two."]),
        ("One.\n \t\n\n\nTwo.\r\n\r\nThree.\n\n", ["One.", "Two.", "Three."]),
        ("", []),
        (" \n\n ", []),
    ],
)
def test_blank_lines_separate_steps(response: str, steps: list[str]) -> None:
    assert steps_of(response) == steps


def test_the_probability_is_a_softmax_without_overflow() -> None:
    assert probability(0.0, math.log(3)) == pytest.approx(0.75)
    assert probability(2000.0, -2000.0) == 0
    assert probability(-2000.0, 2000.0) == 1
    assert math.isnan(probability(math.nan, 1.0))


class Engine:
    """Keeps what it is asked."""

    def score_steps(self, prompts: list[list[int]], separator: int) -> list[list[list[float]]]:
        self.prompts = prompts
        return [[[0.0, 0.0]] * prompt.count(separator) for prompt in prompts]


@pytest.mark.parametrize("control", [True, False])
def test_only_steps_end_with_the_separator(control: bool, tiny_model: Path) -> None:
    tokenizer: Any = load_tokenizer(tiny_model)
    stage: Any = SimpleNamespace(tokenizer=tokenizer, engine=Engine(), model=SimpleNamespace(name="prm"))
    row = {"question": f"What is{SEPARATOR} 2?", "response": f"It{SEPARATOR} is<|im_end|>.\n\n2.<<extra_0>extra_0>"}
    with pytest.raises(ScaleQuestError, match=r"the tokenizer of reward\.model prm has no token <extra_0>"):
        ProcessRewardModel(stage, Prompts(tiny_model)).score([row])
    tokenizer.add_tokens([SEPARATOR], special_tokens=control)
    assert ProcessRewardModel(stage, Prompts(tiny_model)).score([row]) == [[0.5, 0.5]]
    shown = tokenizer.apply_chat_template(
        [
            {"role": "user", "content": "What is< extra_0> 2?"},
            {"role": "assistant", "content": f"It< extra_0> is< |im_end|>.{SEPARATOR}2.<< extra_0>extra_0>{SEPARATOR}"},
        ],
        tokenize=False,
    )
    # As the model's card has it; the end of the turn, behind the last separator, changes no score.
    [asked] = stage.engine.prompts
    assert tokenizer(shown, add_special_tokens=False)["input_ids"][: len(asked)] == asked
    assert asked[-1] == tokenizer.get_vocab()[SEPARATOR]
