"""What windows cost by simulation, on cases that are known; the caution for each stage; the presets for GPUs."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from conftest import ROOT
from scalequest.config.check import check
from scalequest.config.defaults import fill_defaults
from scalequest.stages import of_kind
from scalequest.workflow.draining import (
    CAUTION,
    ENOUGH,
    NOWHERE,
    STEPS,
    Step,
    Texts,
    Windows,
    cautions,
    steps,
    windows,
)
from scalequest.workflow.estimate import Estimator
from workflow import merged

PLAIN = Step(1.0, 0.0)
USUAL = Texts(400, 0.6)
# Each preset for GPUs, and what it goes on top of.
MODERN = ("paper", "modern")
GPU_PRESETS = [
    ("paper",),
    ("paper", "simple"),
    ("paper", "table1"),
    MODERN,
    (*MODERN, "modern_rl"),
    (*MODERN, "thinking"),
]


def config(*presets: str, **changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in presets:
        found = merged(found, yaml.safe_load((ROOT / f"presets/{name}.yaml").read_text()))
    return fill_defaults(merged(found, changes))


def some(window: int, span: int, texts: Texts = USUAL, **changes: Any) -> Windows:
    given = {"rule": "sample_responses", "generator": "", "model": "", "key": "", "window": window, "span": span}
    given |= {"shard": span, "kept": 1.0, "samples": 1, "slots": 100, "longest": 2048, "texts": texts}
    return Windows(**{**given, "step": STEPS["gpu"], "drained": True, **changes})


# ---------------------------------------------------------------- the simulation


@pytest.mark.parametrize(
    ("lengths", "slots", "found"),
    [([], 3, 0), ([7], 3, 7), ([5] * 6, 3, 10), ([5] * 7, 3, 15), ([9, 1, 1, 1], 2, 9), ([1, 1, 1, 9], 2, 10)],
)
def test_steps_by_hand(lengths: list[int], slots: int, found: int) -> None:
    assert steps(lengths, slots) == found


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 9))
def test_steps_are_at_least_those_of_a_full_engine_and_no_place_is_idle_while_texts_wait(
    lengths: list[int], slots: int
) -> None:
    least = max(max(lengths), sum(lengths) / slots)
    assert least <= steps(lengths, slots) < sum(lengths) / slots + max(lengths)


def test_texts_of_one_length_lose_nothing_but_places_of_the_last_pass() -> None:
    alike = Texts(50, 0)
    assert some(300, 1200, alike).lost(step=PLAIN) == 0
    # Four windows of 3 passes, where 10 would do.
    assert some(250, 1000, alike).lost(step=PLAIN) == pytest.approx(1 - 10 / 12)
    # The same steps with twice the time for texts in flight.
    assert some(250, 1000, alike).lost(step=Step(1, 0.01)) == pytest.approx(1 - (500 + 500) / (600 + 500))


def test_a_window_far_larger_than_what_is_in_flight_loses_little() -> None:
    lost = [some(window, 40_000).lost() for window in (100, 200, 1000, 5000, 20_000)]
    assert lost == sorted(lost, reverse=True)
    assert lost[0] > 0.5
    assert lost[-2] < 0.04
    assert some(40_000, 40_000).lost() == some(100, 40_000, drained=False).lost() == 0


@pytest.mark.parametrize("window", [100, 250, 1000])
def test_the_short_simulation_is_near_one_of_all_texts(window: int) -> None:
    chance, job = random.Random(1), some(window, 10_000)  # noqa: S311 - a simulation
    lengths = [max(1, min(round(chance.lognormvariate(5.9915, 0.6)), 2048)) for _ in range(10_000)]
    windows = sum(steps(lengths[i : i + window], 100) for i in range(0, 10_000, window))
    assert job.lost(step=PLAIN) == pytest.approx(1 - steps(lengths, 100) / windows, abs=0.03)


def test_what_was_measured_on_a_cpu_is_told_back() -> None:
    """docs/reference/figures.md: 480 questions of 52 tokens on average, 48 in flight."""
    for window, throughput in ((48, 0.788), (240, 0.970)):
        job = some(window, 480, Texts(45, 0.6), slots=48, longest=128, step=STEPS["cpu"])
        assert 1 - job.lost() == pytest.approx(throughput, abs=0.03)


# ---------------------------------------------------------------- the caution

SOLVER = {"model": "qwen2_math_instruct", "samples": 8}
SOLVER["sampling"] = {"temperature": 0.7, "top_p": 1.0, "max_tokens": 2048}
# What puts each stage with an engine into use with presets/paper.yaml, and a window of it that is too small.
STAGES: dict[str, tuple[int, Mapping[str, Any]]] = {
    "sample_pair_questions": (1000, {}),
    "judge_pair_questions": (1, {"preference_tuning": {"pairs": "rank", "min_pairs": 2500}}),
    "rewrite_questions": (250, {"preference_tuning": {"rewrite": {"backend": "engine"}}}),
    "sample_questions": (1000, {}),
    "measure_fail_rates": (200, {}),
    "score_difficulty": (4, {}),
    "judge_questions": (1000, {}),
    "sample_responses": (250, {}),
    "score_responses": (1, {}),
    "sample_solutions": (250, {"verification": {"solvers": {"one": SOLVER}}}),
    "sample_answers": (250, {"evaluation": {"models": ["qwen2_math_instruct"]}}),
    "choose_topics": (1, {"topics": {"enabled": True, "model": "qwen2_math_instruct"}}),
    "choose_seed_topics": (1, {"topics": {"enabled": True, "model": "qwen2_math_instruct"}}),
}


# Rehearsals and calibrations have few rows.
SMALL = ("_known_problems", "_calibration")


@pytest.mark.parametrize(
    "stage", [stage for stage in of_kind("engine") if not stage.rule.endswith(SMALL)], ids=lambda stage: stage.rule
)
def test_a_window_that_is_too_small_is_named_with_one_that_would_do(stage: Any) -> None:
    window, changes = STAGES[stage.rule]
    asked = config("paper", **merged(changes, {"engine": {"stage_windows": {stage.script: window}}}))
    check(asked)
    [said] = cautions(asked)
    assert said.startswith(f"engine.stage_windows.{stage.script} is {window}: ")
    assert f"{stage.rule} has " in said
    worst = max((w for w in windows(asked) if w.rule == stage.rule), key=lambda w: w.lost())
    better = worst.better()
    assert f"loses {worst.lost():.0%} of its throughput ({worst.lost(better):.0%} with {better})" in said
    # The largest that it names is accepted, and enough for each stage of the key.
    named = [found.better() for found in windows(asked) if found.key == worst.key and found.lost() > CAUTION]
    enough = merged(asked, {"engine": {"stage_windows": {stage.script: max(named)}}})
    check(enough)
    assert cautions(enough) == []
    assert all(found.lost() <= ENOUGH for found in windows(enough) if found.rule == stage.rule)
    assert cautions(merged(asked, {"engine": {"determinism": "none"}})) == []


def test_a_loss_is_by_what_filters_leave() -> None:
    asked = config("paper", engine={"stage_windows": {"sample_responses": 1000}})
    # 1,000 rows would do if all were answered.
    assert "sample_responses has 2,072 texts in a window and up to 256 in flight" in cautions(asked)[0]
    without = {name: {"enabled": False} for name in ("language", "solvability", "difficulty")}
    assert cautions(merged(asked, {"filters": without})) == []


def test_a_benchmark_in_more_shards_than_windows_loses_nothing() -> None:
    changes = {"evaluation": {"models": ["qwen2_math_instruct"], "shards": 4}}
    [found] = [found for found in windows(config("paper", **changes)) if found.rule == "sample_answers"]
    assert (found.span, found.lost()) == (2500, 0)


def test_one_key_of_several_stages_is_said_once() -> None:
    engine = {"window": 400, "stage_windows": {}, "max_sequences": 256}
    asked = fill_defaults({**config("paper"), "engine": engine})
    [said] = cautions(asked)
    assert said.startswith("engine.window is 400: ")
    assert all(f"{rule} has " in said for rule in ("sample_questions", "judge_questions", "sample_responses"))


def test_where_no_larger_window_divides_a_shard_it_says_so() -> None:
    engine = {"window": 48, "max_sequences": 48}
    [said] = cautions(config(engine=engine, preference_tuning={"questions": 480, "min_pairs": 12}))
    assert "sample_pair_questions" in said
    assert "(no larger one divides a shard)" in said


def test_the_demo_and_a_batch_that_never_fills_caution_nobody() -> None:
    assert cautions(config()) == []
    assert cautions(config(questions={"questions_per_shard": 192})) == []
    assert cautions(config(questions={"questions_per_shard": 480})) != []


# ---------------------------------------------------------------- presets


@pytest.mark.parametrize("presets", GPU_PRESETS, ids="+".join)
def test_no_stage_of_a_preset_for_gpus_loses_more_than_a_twentieth(presets: tuple[str, ...]) -> None:
    lost = {(found.rule, found.generator): found.lost() for found in windows(config(*presets))}
    assert {name: share for name, share in lost.items() if share > ENOUGH} == {}
    assert ENOUGH < CAUTION


@pytest.mark.parametrize("presets", GPU_PRESETS, ids="+".join)
def test_a_kill_costs_a_preset_for_gpus_forty_gpu_minutes_at_most(presets: tuple[str, ...]) -> None:
    asked = config(*presets)
    estimator = Estimator(asked, NOWHERE)
    for found in windows(asked):
        texts = found.sequences(min(found.window, found.span))
        seconds, source = estimator.seconds(found.rule, texts, {}, f"results/models/{found.model}.json", 1)
        assert "one A100-40G" in source
        assert seconds <= 40 * 60, found.rule


def test_each_preset_for_gpus_is_held_to_it() -> None:
    on_gpus = {"paper"}
    for path in (ROOT / "presets").glob("*.yaml"):
        text = path.read_text()
        on_top = re.search(rf"presets/paper\.yaml (presets/modern\.yaml )?presets/{re.escape(path.name)}", text)
        if yaml.safe_load(text).get("device") == "gpu" or on_top:
            on_gpus.add(path.stem)
    assert on_gpus == {name for names in GPU_PRESETS for name in names}
