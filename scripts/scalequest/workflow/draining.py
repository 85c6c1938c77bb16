"""What draining the engine between windows costs each stage, by a simulation of continuous batching.

The engine has up to `max_sequences` texts in flight and begins the next one when one ends. At the end of a window
nothing is left to begin, and its last texts run nearly alone. A step of the engine takes a fixed time (the weights are
read) and a time for each text in flight (arithmetic), so texts take

    fixed x steps + each x tokens of all texts

Lost is what the windows of a job take more than the same texts in one go. The lengths of texts are assumed, not
measured: lognormal, as those of questions and worked solutions roughly are, and cut at `max_tokens`. Prompts are taken
to cost nothing and the cache to hold `max_sequences` texts, so that the losses are rather too high than too low.
"""

from __future__ import annotations

import heapq
import math
import os
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from statistics import NormalDist
from typing import Any

from scalequest.config.selectors import (
    LENGTH_OF_THINKING,
    difficulty_by,
    engine_settings,
    measured,
    needs_model,
    thinking_of,
    topic_options,
)
from scalequest.stages import BY_RULE
from scalequest.workflow.estimate import Estimator

# A window of a preset loses at most this share of a stage's throughput; where one loses more than `CAUTION`, a config
# is warned of.
ENOUGH, CAUTION = 0.05, 0.10
# A job whose texts are fewer than so many times those in flight is at its own end before the engine is full for long.
_SHORT_JOB = 5
# Simulated are the first so many times `max_sequences` texts, in so many orders. After them the engine stays full.
_FULL, _ORDERS = 4, 16
# A run of which nothing is there yet.
NOWHERE = Path(os.devnull)


@dataclass(frozen=True)
class Texts:
    """Assumed lengths of a stage's texts, in tokens: `median`, and `sigma` of their logarithms. A stage that reads each
    text in one pass and says one token at most has a median of 1, a sigma of 0, and `read`, the length of the text."""

    median: float
    sigma: float
    read: float = 0


@dataclass(frozen=True)
class Step:
    """Milliseconds of one step of the engine: `fixed`, and for `each` text in flight or token that a pass reads."""

    fixed: float
    each: float


# Near the solutions of GSM8K and MATH, whose logarithms (of characters) have a sigma of 0.5 and 0.8, and their
# questions, with 0.4 and 0.8.
TEXTS = {
    "sample_questions": Texts(70, 0.6),
    "rewrite_questions": Texts(400, 0.5),
    "judge_questions": Texts(300, 0.6),
    "measure_fail_rates": Texts(400, 0.6),
    "score_difficulty": Texts(1, 0, 80),
    "sample_responses": Texts(400, 0.6),
    "score_responses": Texts(1, 0, 600),
    "sample_answers": Texts(400, 0.6),
    "choose_topics": Texts(1, 0, 200),
}
# A judge that does not reason.
_DIRECT_JUDGE = Texts(1, 0, 200)
# gpu: a model of 7.6B parameters in bfloat16 on an A100-40G by its data sheet: 15.2 GB of weights at 1,555 GB/s are
# 9.8 ms, and 2 ms for all else; two operations a parameter and token at 312 TFLOP/s are 0.05 ms.
# cpu: SmolLM2-135M on one core, so that windows of 48 rows lose what was measured (docs/reference/figures.md).
STEPS = {"gpu": Step(12.0, 0.05), "cpu": Step(16.0, 1.3)}


@dataclass(frozen=True)
class Windows:
    """The windows of one stage's jobs.

    `key` of the config says how many rows they have; the windows must divide `shard` rows, if that is not 0. A job has
    `span` rows, of which the filters before it leave `kept` (a share), and asks the engine for `samples` texts of each.
    The engine makes `slots` texts at once, of at most `longest` tokens. `drained`: whether it ends a window before it
    begins the next one.
    """

    rule: str
    generator: str
    model: str
    key: str
    window: int
    shard: int
    span: int
    kept: float
    samples: int
    slots: int
    longest: int
    texts: Texts
    step: Step
    drained: bool

    def sequences(self, rows: int) -> int:
        """Texts that so many rows ask for."""
        return round(rows * self.kept * self.samples)

    def lost(self, window: int | None = None, step: Step | None = None) -> float:
        """Share of the throughput that draining loses, in [0, 1); with another `window` or `step` if they are given."""
        window, step = window or self.window, step or self.step
        whole, rest = divmod(self.span, window)
        if not self.drained or whole + bool(rest) < 2:
            return 0.0
        alone = self._milliseconds(self.span, step)
        windows = whole * self._milliseconds(window, step) + self._milliseconds(rest, step)
        return max(0.0, 1 - alone / windows) if windows else 0.0

    def better(self) -> int:
        """The smallest larger window that loses at most ENOUGH, or the one that loses least; the present one where no
        larger one divides a shard."""
        if self.shard:
            sizes = [size for size in range(self.window, self.shard + 1) if self.shard % size == 0]
        else:
            sizes = [self.window * 2**n for n in range(max(2, math.ceil(math.log2(self.span / self.window)) + 1))]
        return next((size for size in sizes if self.lost(size) <= ENOUGH), min(sizes, key=self.lost))

    def _milliseconds(self, rows: int, step: Step) -> float:
        texts = rows * self.kept * self.samples
        tokens = texts * (self.texts.read or mean_length(self.texts, self.longest))
        return step.fixed * _steps(math.ceil(texts), self.slots, self.texts, self.longest) + step.each * tokens


def steps(lengths: Iterable[int], slots: int) -> int:
    """Steps until texts of so many tokens are done, `slots` of them at once, in this order."""
    ends: list[int] = []
    for length in lengths:
        if len(ends) < slots:
            heapq.heappush(ends, length)
        else:
            heapq.heapreplace(ends, ends[0] + length)
    return max(ends, default=0)


def mean_length(texts: Texts, longest: int) -> float:
    """Mean tokens of texts that are cut at `longest`."""
    mu, sigma = math.log(texts.median), texts.sigma
    if not sigma:
        return min(texts.median, longest)
    normal, end = NormalDist(), (math.log(longest) - mu) / sigma
    return math.exp(mu + sigma**2 / 2) * normal.cdf(end - sigma) + longest * (1 - normal.cdf(end))


@lru_cache(maxsize=1024)
def _steps(count: int, slots: int, texts: Texts, longest: int) -> float:
    """Mean steps until `count` texts are done, over random orders of lengths that have the whole distribution."""
    if not texts.sigma:
        return math.ceil(count / slots) * min(texts.median, longest)
    few, chance = min(count, _FULL * slots), random.Random(0)  # noqa: S311 - a simulation
    lengths = [max(1, min(round(length), longest)) for length in _quantiles(texts, few)]
    # `sample` of all of them is a random order.
    total = sum(steps(chance.sample(lengths, few), slots) for _ in range(_ORDERS))
    return total / _ORDERS + (count - few) / slots * mean_length(texts, longest)


@lru_cache(maxsize=64)
def _quantiles(texts: Texts, count: int) -> list[float]:
    """Lengths that divide the distribution into so many parts, before they are cut."""
    normal, mu = NormalDist(), math.log(texts.median)
    return [math.exp(mu + texts.sigma * normal.inv_cdf((n + 0.5) / count)) for n in range(count)]


def windows(config: Mapping[str, Any]) -> list[Windows]:
    """The windows of each stage in use that has an engine, by generator where the filters keep different shares.

    Rows and shares are those of a plan before anything ran: of data sets that only staging can count, and of filters,
    the numbers of resources/throughputs.yaml.
    """
    estimator = Estimator(config, NOWHERE)
    found = [_windows(estimator, *asked) for asked in _stages(config)]
    # Models and benchmarks with the same numbers are one.
    alike = {(w.rule, w.generator, w.window, w.span, w.kept, w.slots, w.drained): w for w in found}
    return list(alike.values())


def cautions(config: Mapping[str, Any]) -> list[str]:
    """A sentence for each key whose windows lose more than CAUTION of a stage's throughput."""
    losing: dict[str, dict[str, Windows]] = {}
    for found in windows(config):
        if found.sequences(found.span) < _SHORT_JOB * found.slots or found.lost() <= CAUTION:
            continue
        stages = losing.setdefault(found.key, {})
        if found.rule not in stages or stages[found.rule].lost() < found.lost():
            stages[found.rule] = found
    return [_sentence(key, list(stages.values())) for key, stages in losing.items()]


def _sentence(key: str, stages: list[Windows]) -> str:
    told = []
    for found in stages:
        better = found.better()
        than = f"{found.lost(better):.0%} with {better}" if better > found.window else "no larger one divides a shard"
        told.append(
            f"{found.rule} has {found.sequences(found.window):,} texts in a window and up to {found.slots} in flight, "
            f"and loses {found.lost():.0%} of its throughput ({than})"
        )
    return (
        f"{key} is {stages[0].window}: the engine drains after each window, whose last texts run alone. By the rows "
        f"that filters are expected to leave, {'; '.join(told)}. Take a larger window, or engine.determinism: none, "
        "where texts may differ from run to run (docs/reference/figures.md, The cost of windows)."
    )


def _windows(estimator: Estimator, rule: str, model: str, wildcards: Mapping[str, str], longest: int) -> Windows:
    config, script = estimator.config, BY_RULE[rule].script
    engine = engine_settings(config, model, script)
    window, slots = engine["window"], engine["max_sequences"]
    texts = _DIRECT_JUDGE if script == "judge_questions" and longest == 1 else TEXTS[script]
    if thinking_of(config, rule, wildcards):
        texts = replace(texts, median=LENGTH_OF_THINKING * texts.median)
    if texts.read:
        # A pass reads whole texts.
        slots = min(slots, max(1, int(engine["max_batched_tokens"] / texts.read)))
    samples = _samples(config, rule, wildcards)
    # The estimate counts a question's responses, and a question whose topic is chosen once.
    counted = 1 if script == "choose_topics" else samples
    asked, rows = (estimator.rows(rule, wildcards, window) or 0.0) / counted, estimator.span(rule, wildcards, window)
    span = round(asked) if rows is None else len(rows)
    own = script in config["engine"]["stage_windows"]
    # engine.window divides a shard, whatever stage it is for.
    divides = BY_RULE[script].by_shard or not own
    return Windows(
        rule=rule,
        generator=wildcards.get("generator", ""),
        model=model,
        key=f"engine.stage_windows.{script}" if own else "engine.window",
        window=window,
        shard=config["questions"]["questions_per_shard"] if divides else 0,
        span=span,
        kept=asked / max(span, 1),
        samples=samples,
        slots=slots,
        longest=longest,
        texts=texts,
        step=STEPS[config["device"]],
        drained=engine["determinism"] == "windows",
    )


def _samples(config: Mapping[str, Any], rule: str, wildcards: Mapping[str, str]) -> int:
    """Texts that a row asks for."""
    if rule == "sample_solutions":
        return int(config["verification"]["solvers"][wildcards["solver"]]["samples"])
    if BY_RULE[rule].script == "choose_topics":
        return len(topic_options(config))
    sections = {
        **{"measure_fail_rates": "difficulty", "sample_answers": "evaluation"},
        **dict.fromkeys(("sample_responses", "score_responses"), "responses"),
    }
    return config[sections[rule]]["samples"] if rule in sections else 1


def _longest(section: Mapping[str, Any]) -> int:
    """Most tokens of a response, its trace included."""
    return int(section["sampling"]["max_tokens"] + (section.get("thinking") or {"budget": 0})["budget"])


def _stages(config: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, str], int]]:
    """Each stage in use that has an engine: rule, model, wildcards of one of its jobs, most tokens of a text."""
    filters, pairs, rewrite = config["filters"], config["preference_tuning"], config["preference_tuning"]["rewrite"]
    judge, difficulty, responses = filters["solvability"], config["difficulty"], config["responses"]
    for name in config["use"]["generators"]:
        of, generator = {"generator": name}, config["generators"][name]
        if generator["tuning"] == "preference":
            yield "sample_pair_questions", generator["model"], of, pairs["sampling"]["max_tokens"]
            if pairs["pairs"] == "rank":
                yield "judge_pair_questions", pairs["rank"]["model"], of, 1
            elif rewrite["backend"] == "engine":
                yield "rewrite_questions", rewrite["model"], of, rewrite["sampling"]["max_tokens"]
        shard = {**of, "seed": "0", "gpu": "0"}
        yield "sample_questions", generator["model"], shard, config["questions"]["sampling"]["max_tokens"]
        if judge["enabled"]:
            yield "judge_questions", judge["model"], shard, max(1, judge["reasoning_tokens"])
        if difficulty_by(config) == "scorer":
            yield "score_difficulty", difficulty["base"], shard, 1
        yield "sample_responses", responses["model"], shard, _longest(responses)
        if needs_model(config["reward"]["kind"]):
            yield "score_responses", config["reward"]["model"], shard, 1
        for solver, own in config["verification"]["solvers"].items():
            yield "sample_solutions", own["model"], {**shard, "solver": solver}, _longest(own)
    if difficulty_by(config) == "scorer":
        yield "measure_fail_rates", difficulty["solver"], {}, difficulty["sampling"]["max_tokens"]
    for name in measured(config):
        model = config["students"][name]["model"] if name in config["students"] else name
        for dataset in config["use"]["benchmarks"]:
            # The last part is never smaller than the others.
            part = {"dataset": dataset, "part": str(config["evaluation"]["shards"] - 1)}
            yield "sample_answers", model, part, _longest(config["evaluation"])
    if config["topics"]["enabled"]:
        for name in config["use"]["generators"]:
            yield "choose_topics", config["topics"]["model"], {"generator": name}, 1
        yield "choose_seed_topics", config["topics"]["model"], {}, 1
