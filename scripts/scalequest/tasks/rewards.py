"""Ways to score a response, by the name that `reward.kind` gives them (docs/reference/reward_models.md).

A new kind is one class here, one line in KINDS, and its name in the schema (there in `x-with-model` too if it has a
model). Source: ScaleQuest (arXiv 2410.18693), section 3.4, where the reward model is internlm2-7b-reward.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from scalequest.errors import ScaleQuestError
from scalequest.hashing import row_seed
from scalequest.llm.chat import defuse, encode_chat
from scalequest.llm.engine import Runner
from scalequest.llm.prompts import Prompts, fill
from scalequest.runtime.files import read_json
from scalequest.tasks.judging import Judge, judge

if TYPE_CHECKING:
    # The Snakefile imports this module, and the tables of a stage need pandas.
    from scalequest.tasks.engine_stage import EngineStage

Row = dict[str, Any]
# The token behind each step, where a process reward model reads the step's score.
SEPARATOR = "<extra_0>"


class Reward(Protocol):
    """A way to score responses. `runner` is how its model runs, None where it needs no model; `prompts` are the names
    of the prompt files that it uses."""

    runner: ClassVar[Runner | None]
    prompts: ClassVar[Sequence[str]]

    def __init__(self, stage: EngineStage | None, prompts: Prompts) -> None: ...

    def score(self, rows: Sequence[Row]) -> list[float]:
        """A reward for each row (`id`, `sample`, `question`, `response`); a larger one is better."""
        ...


class Verifier:
    """The probability that a model says Yes to "is the answer correct?"."""

    runner: ClassVar[Runner | None] = "generate"
    prompts: ClassVar[Sequence[str]] = ("verify",)

    def __init__(self, stage: EngineStage, prompts: Prompts):
        self.stage, self.texts = stage, prompts

    def score(self, rows: Sequence[Row]) -> list[float]:
        """Probabilities, from 0 to 1."""
        asked = self.texts.load("verify")
        conversations = [
            [{"role": "user", "content": fill(asked, question=row["question"], response=row["response"])}]
            for row in rows
        ]
        seeds = [row_seed("verify", row["id"], row["sample"]) for row in rows]
        made = judge(self.stage, conversations, seeds, Judge(verdict="choice", reasoning_tokens=0), self.texts)
        return [judgement["probability"] for judgement in made]


class RewardModel:
    """The head of a reward model over the conversation in the model's own chat format."""

    runner: ClassVar[Runner | None] = "pooling"
    prompts: ClassVar[Sequence[str]] = ()

    def __init__(self, stage: EngineStage, prompts: Prompts):
        self.stage = stage
        # InternLM2's reward models read the score at a token of their own, which their code appends.
        last = read_json(stage.model.folder / "config.json").get("reward_token_id")
        self.last = [] if last is None else [last]

    def score(self, rows: Sequence[Row]) -> list[float]:
        """The head's raw outputs, without bounds."""
        prompts = [
            encode_chat(
                self.stage.tokenizer,
                [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["response"]}],
                reply=False,
            )
            + self.last
            for row in rows
        ]
        return self.stage.engine.score(prompts)


class ProcessRewardModel:
    """The probability that each step of a response is good; steps are separated by blank lines.

    Source: Zhang et al. 2025 (arXiv 2501.07301) and the model card of Qwen2.5-Math-PRM-7B.
    """

    runner: ClassVar[Runner | None] = "pooling"
    prompts: ClassVar[Sequence[str]] = ()

    def __init__(self, stage: EngineStage, prompts: Prompts):
        self.stage = stage

    def score(self, rows: Sequence[Row]) -> list[list[float]]:
        """Probabilities, from 0 to 1, one for each step; 0 for a step that engine.max_model_len leaves no room for."""
        separator = _separator(self.stage)
        steps = [steps_of(row["response"]) for row in rows]
        prompts = [self._prompt(row["question"], own, separator) for row, own in zip(rows, steps, strict=True)]
        made = self.stage.engine.score_steps(prompts, separator)
        return [
            [*(probability(*numbers) for numbers in read), *[0.0] * (len(own) - len(read))]
            for own, read in zip(steps, made, strict=True)
        ]

    def _prompt(self, question: str, steps: Sequence[str], separator: int) -> list[int]:
        """Token ids of the question and of each step with the separator behind it. What the template puts behind the
        last one changes no score."""
        tokenizer = self.stage.tokenizer
        ids = encode_chat(tokenizer, [{"role": "user", "content": _without_separator(question)}])
        for step in steps:
            plain = defuse(tokenizer, _without_separator(step))
            ids += [*tokenizer(plain, add_special_tokens=False)["input_ids"], separator]
        return ids


def steps_of(response: str) -> list[str]:
    """The steps of a response, which blank lines separate; none of a response without text."""
    return [step.strip() for step in re.split(r"\n\s*\n", response) if step.strip()]


def probability(bad: float, good: float) -> float:
    """P(good), by the softmax of the two logits."""
    top = max(bad, good)
    return math.exp(good - top) / (math.exp(bad - top) + math.exp(good - top))


def _separator(stage: EngineStage) -> int:
    """The separator's token id. Raises ScaleQuestError where the tokenizer has no such token."""
    token: int | None = stage.tokenizer.get_vocab().get(SEPARATOR)
    if token is None:
        raise ScaleQuestError(
            f"the tokenizer of reward.model {stage.model.name} has no token {SEPARATOR}, which ends a step for "
            "reward.kind process. Take the tokenizer that comes with the model, or name another model in reward.model."
        )
    return token


def _without_separator(text: str) -> str:
    """Text in which the separator is not spelled out, as it would end a step. Not every tokenizer has it as a control
    token, which `defuse` would find."""
    return text.replace(SEPARATOR, f"{SEPARATOR[0]} {SEPARATOR[1:]}")


KINDS: Mapping[str, Any] = {"verifier": Verifier, "model": RewardModel, "process": ProcessRewardModel}
