"""Settings as programs read them: frozen data classes, made from the JSON text that a rule passes (`--settings`).

A section that several programs read has its class here; a program declares the class of its own settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from scalequest.errors import ScaleQuestError

T = TypeVar("T")
Device = Literal["cpu", "gpu"]
# A number that is written or digested as the config has it: as a float, 1 would become 1.0, which is another text.
Number = int | float


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn: `temperature` (0 takes the likeliest), `top_p` in (0, 1], `max_tokens` of a text."""

    temperature: float
    top_p: float
    max_tokens: int


@dataclass(frozen=True)
class Thinking:
    """How a model that thinks before it answers is asked: `open` and `close` mark its trace (None: as the chat template
    says), `budget` tokens are the most of one; one that has not ended then is cut, or ended for an answer."""

    open: str | None
    close: str | None
    budget: int
    at_budget: Literal["cut", "answer"]


@dataclass(frozen=True)
class EngineSettings:
    """The config's `engine` for one model and stage, and the config's `device`. `window` counts rows."""

    device: Device
    determinism: Literal["windows", "batch_invariant", "none"]
    window: int
    dtype: Literal["bfloat16", "float16", "float32"]
    threads: int
    max_sequences: int
    max_model_len: int
    max_batched_tokens: int
    tensor_parallel: int
    enforce_eager: bool

    @property
    def gpus(self) -> int:
        """GPUs that the engine occupies."""
        return self.tensor_parallel if self.device == "gpu" else 0


@dataclass(frozen=True)
class TrainingSettings:
    """The config's `training`. `processes` counts those of all `nodes`."""

    processes: int
    nodes: int
    dtype: Literal["bfloat16", "float32"]
    threads: int
    gradient_checkpointing: bool
    sharding: Literal["none", "fsdp"]
    launch_arguments: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What the config's sections of trainings have in common.

    A section's class has the keys that shape the weights and no others: all of them are in the weights' name.
    """

    epochs: Number
    learning_rate: Number
    scheduler: Literal["constant", "constant_with_warmup", "cosine", "linear"]
    weight_decay: Number
    max_length: int
    rows_per_step: int
    rows_per_device: int
    optimizer: Literal["adamw_torch", "adamw_torch_fused", "paged_adamw_32bit", "paged_adamw_8bit"]
    seed: int


@dataclass(frozen=True)
class Grading:
    """The config's `grading`. `time_limit`: seconds of the processor that a pair of answers has."""

    time_limit: float


def read_settings(kind: type[T], settings: Mapping[str, Any]) -> T:
    """Settings as an object of their data class. Keys that the class does not know are ignored.

    Raises ScaleQuestError naming the key that is missing or has a value of another type.
    """
    try:
        return TypeAdapter(kind).validate_python(settings)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(["--settings", *map(str, first["loc"])])
        raise ScaleQuestError(f"{place}: {first['msg']}.") from None
