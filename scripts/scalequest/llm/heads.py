"""Which kind of reward a model gives, by its config.json: known before its weights are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scalequest.errors import ScaleQuestError
from scalequest.runtime.files import read_json

# How the names of architectures end, as vLLM has them, and the reward.kind for each. All others answer in words.
_ENDINGS = {"ForProcessRewardModel": "process", "ForRewardModel": "model", "ForSequenceClassification": "model"}
_NEEDS = {
    "verifier": "a chat model (*ForCausalLM)",
    "model": "a model with a reward head (*ForRewardModel, or *ForSequenceClassification with one label)",
    "process": "a process reward model (*ForProcessRewardModel)",
}


def check_reward_model(folder: Path, name: str, kind: str) -> None:
    """Check by config.json that the model in `folder` can score responses as `reward.kind` says.

    Raises ScaleQuestError where the architecture is of another kind, or gives more than one number.
    """
    config = read_json(folder / "config.json")
    architecture = " ".join(config.get("architectures") or ["model without architectures in its config.json"])
    fits = next((fit for ending, fit in _ENDINGS.items() if architecture.endswith(ending)), "verifier")
    if kind in _NEEDS and kind != fits:
        raise ScaleQuestError(
            f"reward.model {name} is a {architecture}, but reward.kind {kind} needs {_NEEDS[kind]}. "
            f"Set reward.kind to {fits}, or name another model in reward.model."
        )
    if kind == "model" and architecture.endswith("ForSequenceClassification") and (labels := _labels(config)) != 1:
        raise ScaleQuestError(
            f"reward.model {name} has {labels} labels (num_labels or id2label in its config.json), but a reward is one "
            "number. Name in reward.model a classifier with one label."
        )


def _labels(config: Mapping[str, Any]) -> int:
    """The number of a classifier's labels, as transformers reads it: 2 where nothing says so."""
    named = config.get("id2label")
    return len(named) if named else config.get("num_labels") or 2
