"""Models whose head fits reward.kind, and what is said of others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scalequest.errors import ScaleQuestError
from scalequest.llm.heads import check_reward_model

ONE = {"id2label": {"0": "LABEL_0"}}
CASES: list[tuple[str, str, dict[str, Any], str]] = [
    # kind, architecture, more of config.json, what is said
    ("verifier", "LlamaForCausalLM", {}, ""),
    ("verifier", "Gemma3ForConditionalGeneration", {}, ""),
    ("verifier", "Qwen2ForRewardModel", {}, "reward.kind verifier needs a chat model .* Set reward.kind to model"),
    ("model", "LlamaForSequenceClassification", ONE, ""),
    ("model", "Qwen3ForSequenceClassification", {"num_labels": 1}, ""),
    ("model", "InternLM2ForRewardModel", {}, ""),
    ("model", "Qwen2ForRewardModel", {}, ""),
    ("model", "LlamaForCausalLM", {}, "is a LlamaForCausalLM, but .* Set reward.kind to verifier, or name another"),
    ("model", "Qwen2ForProcessRewardModel", {}, "Set reward.kind to process"),
    ("model", "LlamaForSequenceClassification", {}, "has 2 labels"),
    ("model", "LlamaForSequenceClassification", {"id2label": {"0": "a", "1": "b", "2": "c"}}, "has 3 labels"),
    ("process", "Qwen2ForProcessRewardModel", {}, ""),
    ("process", "Qwen2ForRewardModel", {}, "needs a process reward model .* Set reward.kind to model"),
    # A kind that somebody adds knows its own models.
    ("mine", "LlamaForCausalLM", {}, ""),
]


@pytest.mark.parametrize(("kind", "architecture", "more", "said"), CASES)
def test_a_head_fits_the_kind_or_a_sentence_says_why_not(
    kind: str, architecture: str, more: dict[str, Any], said: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": [architecture], **more}))
    if not said:
        check_reward_model(tmp_path, "rm", kind)
        return
    with pytest.raises(ScaleQuestError, match=f"^reward.model rm .*{said}"):
        check_reward_model(tmp_path, "rm", kind)


def test_a_config_without_architectures(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(
        ScaleQuestError, match=r"without architectures in its config\.json, but reward\.kind model needs"
    ):
        check_reward_model(tmp_path, "rm", "model")
