"""Rewards by the real vLLM beside what each head gives by transformers or by hand, in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from programs import ENGINE, refused, script, succeeded
from reward_models import make_reward_model
from scalequest.llm.chat import load_tokenizer
from scalequest.rows.tables import ATTEMPTS, FILTERED, REWARDS, STEP_REWARDS, question_id, read_rows, write_table
from scalequest.tasks.rewards import SEPARATOR

QUESTION = "What is 3 + 4?"
LONG = "\n\n".join(f"Step {i}: {i} and {i + 1} are {2 * i + 1}, which we need later." for i in range(60))
# A response, and the steps that a process reward model reads of it.
RESPONSES: dict[str, list[str]] = {
    "First we add.\n\n3 + 4 = 7.\n \nSo it is\n$7$.": ["First we add.", "3 + 4 = 7.", "So it is\n$7$."],
    "It is 7.": ["It is 7."],
    f"It is{SEPARATOR} 7.{SEPARATOR}\n\nYes.": ["It is< extra_0> 7.< extra_0>", "Yes."],
    "": [],
    LONG: LONG.split("\n\n"),
}
# Tokens that an engine reads, fewer than the last response has.
ROOM = 512


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a question and its responses."""
    folder = tmp_path_factory.mktemp("tables")
    row = {"id": question_id("g", 0, 0), "generator": "g", "seed": 0, "index": 0, "question": QUESTION}
    more = {"kept": True, "dropped_by": "", "marks": "", "reason": "", "difficulty": None, "solvable": None}
    write_table(folder / "filtered.parquet", [row | more], FILTERED)
    ended = {"answer": None, "finish_reason": "stop", "tokens": 9, "sampling_seed": 1}
    attempts = [
        {"id": row["id"], "sample": i, "reasoning": None, "response": text, **ended} for i, text in enumerate(RESPONSES)
    ]
    write_table(folder / "attempts.parquet", attempts, ATTEMPTS)
    return folder


def scored(model: Path, tables: Path, folder: Path, kind: str) -> Any:
    settings = {"reward": {"kind": kind}, "engine": {**ENGINE, "dtype": "float32", "max_model_len": ROOM}}
    inputs = {"questions": tables / "filtered.parquet", "attempts": tables / "attempts.parquet"}
    return script(
        "score_responses", settings, model=model, **inputs, progress=folder / "progress", out=folder / "r.parquet"
    )


def conversation(tokenizer: Any, response: str) -> list[int]:
    """Token ids as the model cards make them."""
    turns = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": response}]
    return tokenizer(tokenizer.apply_chat_template(turns, tokenize=False), add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize(
    "architecture",
    [
        "LlamaForSequenceClassification",
        "Qwen3ForSequenceClassification",
        "Qwen2ForRewardModel",
        "InternLM2ForRewardModel",
    ],
)
def test_the_reward_is_the_heads_raw_output(architecture: str, tiny_model: Path, tables: Path, tmp_path: Path) -> None:
    model, head = make_reward_model(architecture, tiny_model, tmp_path / "rm")
    succeeded(scored(model, tables, tmp_path, "model"))
    tokenizer = load_tokenizer(tmp_path / "rm")
    # InternLM2 reads the score at a token of its own.
    last = [9] if architecture.startswith("InternLM2") else []
    asked = [[*conversation(tokenizer, text), *last] for text in RESPONSES]
    assert len(asked[-1]) > ROOM
    expected = [float(head(ids[-ROOM:])[-1][0]) for ids in asked]
    found = [row["reward"] for row in read_rows(tmp_path / "r.parquet", REWARDS)]
    assert found == pytest.approx(expected, abs=1e-5, rel=0)
    # An activation would keep them between 0 and 1.
    assert not all(0 < reward < 1 for reward in found)


def test_each_step_has_the_probability_that_it_is_good(tiny_model: Path, tables: Path, tmp_path: Path) -> None:
    import torch

    model, head = make_reward_model("Qwen2ForProcessRewardModel", tiny_model, tmp_path / "prm")
    succeeded(scored(model, tables, tmp_path, "process"))
    tokenizer = load_tokenizer(tmp_path / "prm")
    separator = tokenizer.get_vocab()[SEPARATOR]
    found = [row["steps"] for row in read_rows(tmp_path / "r.parquet", STEP_REWARDS)]
    assert [len(own) for own in found] == [len(steps) for steps in RESPONSES.values()] == [3, 1, 2, 0, 60]
    for own, steps in zip(found, RESPONSES.values(), strict=True):
        ids = conversation(tokenizer, "".join(step + SEPARATOR for step in steps))[:ROOM]
        good = torch.softmax(head(ids), dim=-1)[torch.tensor(ids) == separator, 1].tolist()
        # Steps that the context has no room for.
        expected = good + [0.0] * (len(steps) - len(good))
        assert own == pytest.approx(expected, abs=1e-5, rel=0)
    assert 0 < found[-1].count(0.0) < 60
    assert len({round(score, 4) for own in found for score in own}) > 10


def test_a_model_without_a_head_is_refused_before_it_is_loaded(
    tiny_manifest: Path, tables: Path, tmp_path: Path
) -> None:
    result = scored(tiny_manifest, tables, tmp_path, "model")
    assert "reward.model tiny is a LlamaForCausalLM, but reward.kind model needs a model with" in refused(result)
    assert "loading" not in result.stderr
