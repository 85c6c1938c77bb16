"""Ways to score a response, by the name that `reward.kind` gives them.

A new kind is one class here, one line in KINDS, and its name in the schema (there in `x-with-model` too if it has a
model). Source: ScaleQuest (arXiv 2410.18693), section 3.4, where the reward model is internlm2-7b-reward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from scalequest.hashing import row_seed
from scalequest.llm.chat import encode_chat
from scalequest.llm.engine import Runner
from scalequest.llm.prompts import Prompts, fill
from scalequest.runtime.files import read_json
from scalequest.tasks.judging import Judge, judge

if TYPE_CHECKING:
    # The Snakefile imports this module, and the tables of a stage need pandas.
    from scalequest.tasks.engine_stage import EngineStage

Row = dict[str, Any]


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
        # InternLM2's reward models read the score at a token of their own, which its code appends to the conversation.
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


KINDS: Mapping[str, Any] = {"verifier": Verifier, "model": RewardModel}
