"""Presets of today, run to their end on tiny random models of the families that they name, with their tokenizers.

`make test` runs one, `make test-presets` all.
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import yaml

from conftest import ROOT, SMALL_CACHE
from families import make
from reward_models import make_reward_model
from scalequest.llm.chat import load_tokenizer
from scalequest.llm.thinking import written
from scalequest.rows.published import CHAT, DATASET, RL
from scalequest.rows.tables import FILTERED, QUESTIONS, VERIFIED, read_rows
from scalequest.runtime.files import read_json
from scalequest.training.samples import Samples
from workflow import merged, snakemake, succeeded

PROBLEMS = {"source": "path:resources/domains/math/seed_problems.jsonl", "licence": "MIT"}
FIELDS = {"question": "problem", "answer": "answer", "solution": "solution"}


def preset(*names: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in names:
        found = merged(found, yaml.safe_load((ROOT / "presets" / f"{name}.yaml").read_text()))
    return found


def small(config: dict[str, Any], models: dict[str, Path]) -> dict[str, Any]:
    """A preset with small models, few rows and short texts. What it says of the method stays."""
    seeds = {name: {**PROBLEMS, "fields": FIELDS, "where": {"split": "train"}} for name in config["use"]["seeds"]}
    # A few problems for each benchmark, all the same ones.
    tests = {
        name: {**PROBLEMS, "fields": FIELDS, "facts": {}, "where": {"split": "test"}, "max_rows": 4}
        for name in config["use"]["benchmarks"]
    }
    solvers = config.get("verification", {}).get("solvers", {})
    thinks = config.get("responses", {}).get("thinking") is not None
    short = {"sampling": {"max_tokens": 24}, **({"thinking": {"budget": 16}} if thinks else {})}
    return merged(
        config,
        {
            "device": "cpu",
            "operation": SMALL_CACHE,
            "models": {
                **{name: {"source": f"path:{path}", "engine": {"max_model_len": 512}} for name, path in models.items()},
                # Of presets/paper.yaml, and not used.
                "llama31_70b_instruct": {"engine": {"tensor_parallel": 1, "max_model_len": 512}},
            },
            "datasets": {**seeds, **tests},
            "engine": {
                **{"window": 8, "dtype": "float32", "max_sequences": 8, "max_model_len": 512},
                **{"max_batched_tokens": 512, "enforce_eager": True, "stage_windows": dict.fromkeys(WINDOWS, 8)},
            },
            "training": {"dtype": "float32", "gradient_checkpointing": False},
            "seeds": {"max_rows": 40},
            "question_tuning": {"max_questions": 8, "rows_per_step": 4, "optimizer": "adamw_torch", "max_length": 128},
            "preference_tuning": {
                **{"questions": 16, "min_pairs": 2, "sampling": {"max_tokens": 24}},
                "dpo": {
                    **{"held_out": 1, "rows_per_step": 2, "warmup_steps": 0, "max_length": 128},
                    "optimizer": "adamw_torch",
                },
            },
            "questions": {"shards": 1, "questions_per_shard": 8, "sampling": {"max_tokens": 24}},
            # A random model writes no English.
            "filters": {
                **{name: {"action": "mark"} for name in ("language", "length")},
                "solvability": {"action": "mark", "reasoning_tokens": 8, "max_unparsed": 1.0},
            },
            "responses": short,
            "selection": {"require_answer": False},
            "verification": {
                "solvers": {
                    name: short if "thinking" in own else {"sampling": {"max_tokens": 24}}
                    for name, own in solvers.items()
                }
            },
            "student_tuning": {"rows_per_step": 4, "optimizer": "adamw_torch", "max_length": 256},
            "evaluation": short,
        },
    )


WINDOWS = (
    *("sample_questions", "rewrite_questions", "judge_questions", "measure_fail_rates", "score_difficulty"),
    *("sample_responses", "score_responses", "sample_answers"),
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny model for each name of presets/modern.yaml."""
    folder = tmp_path_factory.mktemp("models")
    make_reward_model("Qwen3ForSequenceClassification", make("Qwen3", folder / "qwen3"), folder / "reward")
    return {
        "qwen25_math": make("Qwen2.5", folder / "qwen25", ends=True),
        "qwen25_math_small": make("Qwen2.5", folder / "small", ends=True),
        "skywork_reward": folder / "reward",
        # It ends a trace as often as a turn.
        "qwen3": make("Qwen3", folder / "thinks", ends=True, likely=["</think>"]),
        "qwen3_base": make("Qwen3", folder / "base", ends=True, likely=["</think>"]),
    }


@pytest.mark.parametrize(
    ("names", "target"),
    [
        (("modern", "modern_rl"), "dataset"),
        pytest.param(("modern",), "all", marks=pytest.mark.nightly),
        pytest.param(("modern", "thinking"), "all", marks=pytest.mark.nightly),
    ],
    ids=["modern_rl", "modern", "thinking"],
)
def test_a_preset_of_today_runs_to_its_end(
    names: tuple[str, ...], target: str, models: dict[str, Path], tmp_path: Path
) -> None:
    config = small(preset("paper", *names), models)
    succeeded(snakemake(tmp_path, config, target))
    results = tmp_path / "results"
    asked = {
        name: read_rows(results / f"questions/{name}/seed0/gpu0.parquet", QUESTIONS) for name in ("qwen25", "magpie")
    }
    assert {len(rows) for rows in asked.values()} == {8}
    # Trained, or told by a system prompt: other questions, though random models heed little of what they read.
    first, second = ([row["question"] for row in rows] for rows in asked.values())
    assert first != second
    for name in asked:
        kept = [row for row in read_rows(results / f"filtered/{name}/seed0/gpu0.parquet", FILTERED) if row["kept"]]
        rows = read_rows(results / f"verified/{name}/seed0/gpu0.parquet", VERIFIED)
        solved = {row["id"]: row["pass_rates"] for row in rows}
        if "modern_rl" in names:
            # Solvers go before the filter of difficulty.
            for row in kept:
                assert row["difficulty"] == pytest.approx(1 - fmean(entry["rate"] for entry in solved[row["id"]]))
        else:
            assert list(solved) == [row["id"] for row in kept]
        assert all([entry["solver"] for entry in row["pass_rates"]] == ["large", "small"] for row in rows)
    assert read_rows(results / "dataset/train.parquet", DATASET)
    problems = read_rows(results / "dataset/rl.parquet", RL)
    left_out = read_json(results / "dataset/formats.json")["left_out"]["rl"]
    assert len(problems) + sum(left_out.values()) > 0
    if target == "all":
        assert (results / "evaluation/table1.csv").is_file()
    if "thinking" in names:
        traces_reach_the_student(results)


def traces_reach_the_student(results: Path) -> None:
    """They stand beside the responses, in what trainers take and in what the student was trained on."""
    rows = read_rows(results / "dataset/train.parquet", DATASET)
    traced = [row for row in rows if row["reasoning"]]
    assert traced
    told = {row["id"]: row["messages"][1]["content"] for row in read_rows(results / "dataset/chat.parquet", CHAT)}
    learned, _ = Samples.read(results / "students/qwen3_student/tokens.parquet")
    student = load_tokenizer(results.parent / read_json(results / "students/qwen3_student/model.json")["folder"])
    texts = [student.decode(ids) for block in learned.blocks() for ids in block["input_ids"].to_pylist()]
    assert all(told[row["id"]] == written(row["reasoning"], row["response"]) for row in traced)
    assert len(texts) == len(rows)
    # What a random model writes is not always the same text after its tokens.
    assert sum("<think>\n" in text for text in texts) == len(traced)
