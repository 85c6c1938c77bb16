"""What a plan costs, before any of it runs: rows, time, GPU-hours, disk; and the question before a dear run.

A job's time is its rows over a throughput: what earlier jobs of this folder took (by the records of their attempts)
where the stage ran with the same model, else that of resources/throughputs.yaml, which says where each number is from.
Rows that the job will find stored (`found`) are not counted, nor is their time.
"""

from __future__ import annotations

import heapq
import json
import math
import os
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml

from scalequest.config import OURS, student_settings
from scalequest.errors import ScaleQuestError
from scalequest.files import CHECKOUT, read_json
from scalequest.found import SCRIPTS, Stores, born
from scalequest.lease import attempts

CONFIRM = "SCALEQUEST_CONFIRM"
KEY = "operation.confirm_above_gpu_hours"
THROUGHPUTS = CHECKOUT / "resources" / "throughputs.yaml"
_TRAININGS = {
    "tune_questions": "question_tuning",
    "tune_preferences": "preference_tuning",
    "train_scorer": "difficulty",
    "tune_student": "students",
}
# What these make is another thing once they have run, as far as can be known before.
_RENEWING = {*_TRAININGS, "stage_model", "stage_data", "make_seeds"}
# Inputs whose rows, or whose decisions on rows, a stored row rests on. Not the verdicts of the filters of texts: they
# are of all generators and shards, and say nothing new of older questions.
_RESTS_ON = ("model", "questions", "attempts", "scores", "judgements", "seeds", "problems")
# What these make chooses among questions, which stay what they are.
_CHOOSING = {"judge_questions", "score_difficulty"}
_TUNED = re.compile(r"results/(question_tuning|preference_tuning|students)/([^/]+)/model\.json")
# Columns of the filtered questions whose numbers a threshold is compared with.
_SCORES = {"difficulty": "difficulty", "solvability": "solvable"}
_BILLIONS = re.compile(r"(\d+(?:\.\d+)?)\s*([bm])(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class Job:
    """A planned job. `rows`: to be made, read or trained on; None where its time does not depend on any. `found`: rows
    that it finds stored beside those. `seconds` are of the clock; `source` says by which throughput they are reckoned,
    in words. `room`: bytes that it leaves in the folders results, progress and models, and that it needs there for
    checkpoints while it runs. `limit`: seconds that its first attempt has. `after`: numbers of the jobs that it waits
    for."""

    rule: str
    rows: float | None
    seconds: float
    source: str
    room: Mapping[str, float] = field(default_factory=dict)
    gpus: int = 0
    threads: int = 1
    local: bool = False
    limit: float | None = None
    after: tuple[int, ...] = ()
    found: float = 0.0


@dataclass(frozen=True)
class Cost:
    """The jobs of one rule: how many, their rows (as a Job's), seconds one after another, GPU-hours, sources of the
    throughputs."""

    rule: str
    jobs: int
    rows: float | None
    seconds: float
    gpu_hours: float
    sources: tuple[str, ...]
    found: float = 0.0


class Estimator:
    """Reckons rows and time of jobs under one config (every default filled in), for runs in `folder`.

    Raises ScaleQuestError where resources/throughputs.yaml misses a rule that uses a model.
    """

    def __init__(self, config: Mapping[str, Any], folder: Path = Path()):
        self.config, self.folder = config, folder
        self.shares, self.shares_source = kept_shares(config, folder)
        self.seeds, self.seeds_source = seed_problems(config, folder)
        storage = config["storage"]
        self.stores = Stores(folder / storage["progress"])
        self._attempts = [
            {**record, "place": place}
            for root in (folder / storage["progress"], folder / storage["models"])
            for place, record in attempts(root)
        ]

    def job(
        self,
        rule: str,
        wildcards: Mapping[str, str],
        *,
        model: str | None = None,
        gpus: int = 0,
        settings: Mapping[str, Any] | None = None,
        since: float = math.inf,
        **facts: Any,
    ) -> Job:
        """A job as a plan has it. `model` is the path of the manifest of the model that it loads, if it loads one, and
        `settings` are then those of its params; `facts` are further fields of a Job. Of what is stored, rows count that
        were written at `since` (seconds of the epoch) or later."""
        rows = self.rows(rule, wildcards, settings["engine"]["window"] if settings else 1)
        if rows is None:
            return Job(rule, None, 0.0, "", self._room(rule, 0.0, 0.0, wildcards, model), gpus, **facts)
        found = self._found(rule, rows, wildcards, settings, model, since) if settings and model else 0.0
        left = rows - found
        # A job that finds all its rows loads no model.
        seconds, source = (0.0, "") if found and not left else self._seconds(rule, left, wildcards, model, gpus)
        room = self._room(rule, rows, left, wildcards, model)
        return Job(rule, left, seconds, source, room, gpus, found=found, **facts)

    def store(self, rule: str, settings: Mapping[str, Any], model: str) -> Path | None:
        """The folder of the rows that a job makes, as `Stores.of`."""
        return self.stores.of(rule, settings, self.folder / model)

    def _found(
        self,
        rule: str,
        rows: float,
        wildcards: Mapping[str, str],
        settings: Mapping[str, Any],
        model: str,
        since: float,
    ) -> float:
        """How many of its rows a job finds stored. Windows of which nothing is stored are made whole; of the others no
        more than is missing, were each of them to have its share of the rows."""
        store = self.store(rule, settings, model)
        if store is None:
            return 0.0
        window = settings["engine"]["window"]
        span = self._span(rule, wildcards, window)
        stored, untouched = self.stores.count(store, self._group(rule, wildcards), window, span, since)
        # Shares of whole rows may be off by a hair.
        return max(0.0, rows - max(round(rows) - stored, rows * untouched, 0.0))

    def _group(self, rule: str, wildcards: Mapping[str, str]) -> str:
        """Name of the index space of a job's windows, as its script calls it."""
        if rule in ("measure_fail_rates", "sample_answers"):
            return wildcards.get("dataset", "seeds")
        return f"{wildcards['generator']}-s{wildcards.get('seed', self.config['preference_tuning']['seed'])}"

    def _span(self, rule: str, wildcards: Mapping[str, str], window: int) -> range | None:
        """The indices of a job's rows; None where they are drawn from anywhere in their index space."""
        if rule == "measure_fail_rates":
            return None
        if rule == "sample_answers":
            problems, shards = self._staged_rows(wildcards["dataset"], "benchmark"), self.config["evaluation"]["shards"]
            return import_module("sample_answers").span(problems, int(wildcards["part"]), shards, window)
        if "gpu" not in wildcards:
            return range(self.config["preference_tuning"]["questions"])
        size = self.config["questions"]["questions_per_shard"]
        return range(int(wildcards["gpu"]) * size, (int(wildcards["gpu"]) + 1) * size)

    def rows(self, rule: str, wildcards: Mapping[str, str], window: int = 1) -> float | None:
        """Rows that a job of a rule makes, reads or trains on, stored ones included; None for one whose time they do
        not decide. `window`: rows of its windows, of which the shards of a benchmark are made."""
        from scalequest.graders import GRADERS

        questions, pairs, difficulty = (self.config[key] for key in ("questions", "preference_tuning", "difficulty"))
        shard, generator = questions["questions_per_shard"], wildcards.get("generator")
        place = "{generator}/seed{seed}/gpu{gpu}".format_map(wildcards) if "gpu" in wildcards else None
        everywhere = questions["shards"] * len(self.config["use"]["generators"])
        samples, answers = self.config["responses"]["samples"], self.config["evaluation"]["samples"]
        grouped = pairs["rank"]["group"] if pairs["pairs"] == "rank" else 1
        if rule in ("judge_questions", "score_difficulty"):
            before = {"judge_questions": "solvability", "score_difficulty": "difficulty"}[rule]
            return shard * self.kept(generator, before, place)
        found = {
            "tune_questions": lambda: self.seeds * self.config["question_tuning"]["epochs"],
            "tune_preferences": lambda: pairs["questions"] / grouped * pairs["dpo"]["epochs"],
            "measure_fail_rates": lambda: min(difficulty["problems"], self._answered_seeds()) * difficulty["samples"],
            "train_scorer": lambda: difficulty["problems"] * (1 - difficulty["held_out"]) * difficulty["epochs"],
            "filter_duplicates": lambda: shard * everywhere,
            "build_dataset": lambda: self.dataset_rows(),
            "tune_student": lambda: self.student_rows(wildcards["student"]),
            "sample_answers": lambda: len(self._span(rule, wildcards, window) or ()) * answers,
            "grade_answers": lambda: self._staged_rows(wildcards["dataset"], "benchmark") * answers * len(GRADERS),
            **dict.fromkeys(("sample_pair_questions", "judge_pair_questions"), lambda: pairs["questions"]),
            "rewrite_questions": lambda: pairs["questions"] * self._whole_pair_questions(wildcards["generator"]),
            **dict.fromkeys(("sample_questions", "filter_text", "apply_filters"), lambda: shard),
            **dict.fromkeys(
                ("sample_responses", "score_responses"), lambda: shard * samples * self.kept(generator, None, place)
            ),
            "select_responses": lambda: shard * self.kept(generator, None, place),
        }
        return float(found[rule]()) if rule in found else None

    def kept(self, generator: str | None, before: str | None = None, shard: str | None = None) -> float:
        """Share of a generator's questions (None: of all) that the filters before one of them, or all, let through; of
        a shard's, where that one was filtered here."""
        filters = self.config["filters"]
        order = filters["order"][: filters["order"].index(before)] if before else filters["order"]
        shares = next(self.shares[name] for name in (shard, generator, None) if name in self.shares)
        share = 1.0
        for name in order:
            concerned = filters[name].get("generators") or [generator]
            if filters[name]["enabled"] and filters[name]["action"] == "drop" and generator in concerned:
                share *= shares.get(name, 1.0)
        return share

    def dataset_rows(self) -> float:
        """Rows of our dataset, were every kept question to have a response."""
        questions, generators = self.config["questions"], self.config["use"]["generators"]
        each = questions["shards"] * questions["questions_per_shard"] * len(questions["seeds"])
        return each * len(generators) * self.kept(None)

    def student_rows(self, name: str) -> float:
        """Rows that a student is trained on, over all epochs."""
        student = self.config["students"][name]
        rows = self.dataset_rows() if student["data"] == OURS else self._staged_rows(student["data"], "training_set")
        if student["data"] == OURS:
            generators, seeds = self.config["use"]["generators"], self.config["questions"]["seeds"]
            rows *= len(student["generators"] or generators) / len(generators)
            rows *= len(student["seeds"] or seeds) / len(seeds)
        rows = min(rows, student["rows"] or rows)
        return rows * student_settings(self.config, name)["epochs"]

    def _answered_seeds(self) -> float:
        """Seed problems that have an answer; before there are any, more than are asked for."""
        path = self.folder / "results/seeds/seeds.parquet"
        if not path.is_file():
            return math.inf
        import pyarrow.parquet as pq

        answers = pq.read_table(path, columns=["answer"])["answer"]
        return len(answers) - answers.null_count

    def _whole_pair_questions(self, generator: str) -> float:
        """Share of the questions for pairs that are neither empty nor cut off: the rewriter is asked about no other."""
        path = self.folder / f"results/preference_tuning/{generator}/questions.parquet"
        if not path.is_file():
            return 1.0
        import pyarrow.parquet as pq

        rows = pq.read_table(path, columns=["question", "finish_reason"]).to_pylist()
        whole = [row for row in rows if row["question"] and row["finish_reason"] == "stop"]
        return len(whole) / max(len(rows), 1)

    def _staged_rows(self, dataset: str, assumed: str) -> int:
        """Rows of a dataset; before it is staged, as many as throughputs.yaml says of one of its kind."""
        path = self.folder / f"results/datasets/{dataset}.parquet"
        if not path.is_file():
            return throughputs()["rows"][assumed]
        import pyarrow.parquet as pq

        return pq.read_metadata(path).num_rows

    def parameters(self, manifest: str | None) -> float | None:
        """Parameters of a model: of its staged weights, or by its name; None where neither tells."""
        if manifest is None:
            return None
        if found := _TUNED.fullmatch(manifest):
            catalogue = "students" if found[1] == "students" else "generators"
            name = self.config[catalogue][found[2]]["model"]
        elif manifest == "results/difficulty/model.json":
            name = self.config["difficulty"]["base"]
        else:
            name = Path(manifest).stem
        staged = self.folder / "results" / "models" / f"{name}.json"
        if staged.is_file():
            weights = [entry["bytes"] for file, entry in read_json(staged)["files"].items() if _is_weights(file)]
            # Weights are staged in two bytes a number.
            return sum(weights) / 2
        told = _BILLIONS.search(self.config["models"][name]["source"])
        return None if told is None else float(told[1]) * {"b": 1e9, "m": 1e6}[told[2].lower()]

    def _seconds(
        self, rule: str, rows: float, wildcards: Mapping[str, str], model: str | None, gpus: int
    ) -> tuple[float, str]:
        seen = self._seen(rule, wildcards, model, gpus)
        made, took = sum(record["rows"] for record in seen), sum(record["seconds"] for record in seen)
        if made and took:
            spread = took * max(seen[0]["gpus"], 1) / max(gpus, 1)
            return rows * spread / made, f"{_rate(made / took)}, measured here: {made:,.0f} rows in {took:,.0f} s"
        table = throughputs()["tables" if model is None else self.config["device"]]
        if rule not in table["rows_per_hour"]:
            if model is not None:
                raise ScaleQuestError(f"{THROUGHPUTS} says nothing of {rule} on a {self.config['device']}; add a line.")
            return float(table["start_seconds"]), "no time worth telling"
        hourly, why = table["rows_per_hour"][rule]
        parameters = self.parameters(model)
        times = 1.0 if model is None or parameters is None else parameters / table["parameters"]
        size = "" if model is None else f" with {_count(table['parameters'])} parameters"
        if times != 1.0 and parameters is not None:
            size += f", here {_count(parameters)}"
        elif model is not None and parameters is None:
            size += f", which {Path(model).stem} is taken to have"
        source = f"{_rate(hourly / 3600)} on {table['device']}{size}, assumed: {why}"
        return table["start_seconds"] + rows / hourly * 3600 * times / max(gpus, 1), source

    def _room(
        self, rule: str, rows: float, left: float, wildcards: Mapping[str, str], model: str | None
    ) -> dict[str, float]:
        known = throughputs()["disk"]
        if rule in _TRAININGS or rule == "stage_model":
            manifest = model or f"results/models/{wildcards.get('model')}.json"
            parameters = self.parameters(manifest) or throughputs()[self.config["device"]]["parameters"]
            room = {"models": parameters * known["weights_bytes_per_parameter"]}
            if rule in _TRAININGS:
                room["checkpoints"] = parameters * known["checkpoints_bytes_per_parameter"]
            return room
        size = known["bytes_per_row"].get(rule, 0)
        again = size if model is not None or rule == "rewrite_questions" else 0
        return {"results": rows * size, "progress": left * known["progress_bytes_per_row"].get(rule, again)}

    def _seen(self, rule: str, wildcards: Mapping[str, str], model: str | None, gpus: int) -> list[dict[str, Any]]:
        """Records of the attempts that tell how fast such a job is."""
        if rule in _TRAININGS:
            name = wildcards.get("generator") or wildcards.get("student")
            where = "/".join(filter(None, (_TRAININGS[rule], name)))
            found = [record for record in self._attempts if record["place"].as_posix().endswith(f"/{where}")]
        else:
            stage = SCRIPTS.get(rule, rule)
            found = [record for record in self._attempts if record["place"].parent.name == stage]
            if model is not None:
                digest = _digest(self.folder / model)
                found = [record for record in found if digest and _made_with(record["place"]) == digest]
        return [record for record in found if bool(record["gpus"]) == bool(gpus)]


@cache
def throughputs() -> dict[str, Any]:
    """resources/throughputs.yaml. Shared by all callers: not to be changed."""
    return yaml.safe_load(THROUGHPUTS.read_text(encoding="utf-8"))


def kept_shares(config: Mapping[str, Any], folder: Path = Path()) -> tuple[dict[str | None, dict[str, float]], str]:
    """For each filter, the share that it keeps of what reaches it, and where the shares are from; by generator and by
    shard (GENERATOR/seedN/gpuN), None standing for all others.

    Of this folder's filtered questions where there are any, their scores compared with the thresholds of now; else as
    the paper has them, and all where it is silent.
    """
    order = config["filters"]["order"]
    paths = sorted((folder / "results" / "filtered").glob("*/seed*/gpu*.parquet"))
    if paths:
        import pyarrow.parquet as pq

        tallies: defaultdict[str | None, Counter[tuple[str, str]]] = defaultdict(Counter)
        for _, shards in groupby(paths, lambda path: path.parent):
            tables = {path: pq.read_table(path, columns=["dropped_by", *_SCORES.values()]) for path in shards}
            thresholds = _thresholds(config["filters"], list(tables.values()))
            for path, table in tables.items():
                tally = _tally(table, thresholds)
                for name in (None, path.parts[-3], "/".join(path.with_suffix("").parts[-3:])):
                    tallies[name].update(tally)
        count = sum(number for (kind, _), number in tallies[None].items() if kind == "dropped by")
        known = {name: _shares(order, tally) for name, tally in tallies.items()}
        return known, f"as of {count:,} questions that were filtered here"
    assumed = throughputs()["kept"]
    shares = {name: assumed["shares"].get(name, 1.0) for name in order}
    quantile = config["filters"]["difficulty"]["below_quantile"]
    if quantile is not None:
        shares["difficulty"] = 1 - quantile
    elif config["filters"]["difficulty"]["below"] is None:
        shares["difficulty"] = 1.0
    return {None: shares}, assumed["source"]


def _thresholds(filters: Mapping[str, Any], tables: Sequence[Any]) -> dict[str, float]:
    """The scores below which questions are dropped, by filter, where that is what decides; `tables` (FILTERED) are all
    shards of a generator and seed."""
    import numpy as np

    found = {"difficulty": filters["difficulty"]["below"]}
    if (quantile := filters["difficulty"]["below_quantile"]) is not None:
        scores = np.concatenate([table[_SCORES["difficulty"]].drop_null().to_numpy() for table in tables])
        found["difficulty"] = float(np.quantile(scores, quantile)) if len(scores) else None
    if filters["solvability"]["verdict"] == "choice":
        found["solvability"] = filters["solvability"]["min_probability"]
    return {name: threshold for name, threshold in found.items() if threshold is not None}


def _tally(table: Any, thresholds: Mapping[str, float]) -> Counter[tuple[str, str]]:
    """How many questions of a table (FILTERED) each filter dropped, and of those that have its score how many pass."""
    dropped = table["dropped_by"].value_counts().to_pylist()
    tally = Counter({("dropped by", found["values"]): found["counts"] for found in dropped})
    for name, threshold in thresholds.items():
        scores = table[_SCORES[name]].drop_null().to_numpy()
        tally["scored by", name] += len(scores)
        tally["passed by", name] += int((scores >= threshold).sum())
    return tally


def _shares(order: Sequence[str], tally: Counter[tuple[str, str]]) -> dict[str, float]:
    """Share of what reaches each filter that it keeps."""
    shares: dict[str, float] = {}
    left = sum(number for (kind, _), number in tally.items() if kind == "dropped by")
    for name in order:
        dropped, scored = tally["dropped by", name], tally["scored by", name]
        shares[name] = tally["passed by", name] / scored if scored else 1 - dropped / left if left else 1.0
        left -= dropped
    return shares


def seed_problems(config: Mapping[str, Any], folder: Path = Path()) -> tuple[int, str]:
    """How many seed problems a generator is tuned on, and how that is known: before they are staged it is assumed."""
    paths = [folder / f"results/datasets/{name}.parquet" for name in config["use"]["seeds"]]
    limits = [n for n in (config["seeds"]["max_rows"], config["question_tuning"]["max_questions"]) if n is not None]
    if all(path.is_file() for path in paths):
        import pyarrow.parquet as pq

        return min([sum(pq.read_metadata(path).num_rows for path in paths), *limits]), "staged here"
    assumed = throughputs()["seeds"]
    return min([assumed["rows"], *limits]), f"assumed: {assumed['source']}; `stage` fetches them"


def per_rule(jobs: Sequence[Job]) -> list[Cost]:
    """The cost of each rule, in the order in which the rules first appear."""
    costs = []
    for rule in dict.fromkeys(job.rule for job in jobs):
        own = [job for job in jobs if job.rule == rule]
        rows = [job.rows for job in own if job.rows is not None]
        costs.append(
            Cost(
                rule,
                len(own),
                sum(rows) if rows else None,
                sum(job.seconds for job in own),
                gpu_hours(own),
                tuple(dict.fromkeys(job.source for job in own if job.source)),
                sum(job.found for job in own),
            )
        )
    return costs


def gpu_hours(jobs: Iterable[Job]) -> float:
    return sum(job.seconds * job.gpus for job in jobs) / 3600


def schedule(
    jobs: Sequence[Job], *, at_once: int | None = None, cores: int | None = None, gpus: int | None = None
) -> list[tuple[float, float]]:
    """When each job begins and ends, in seconds, if nobody else waits: each starts once what it follows is there and
    `at_once` jobs, `cores` and `gpus` (None: any number) allow it, first planned, first served.

    `jobs` are in an order in which `after` names earlier ones alone.
    """
    times: list[tuple[float, float]] = [(0.0, 0.0)] * len(jobs)
    missing = [len(job.after) for job in jobs]
    followers: dict[int, list[int]] = {}
    for number, job in enumerate(jobs):
        for above in job.after:
            followers.setdefault(above, []).append(number)
    limits = {name: whole for name, whole in (("at_once", at_once), ("cores", cores), ("gpus", gpus)) if whole}
    # A job that asks for more than there is gets all there is, as Snakemake does with cores.
    takes = [{name: min(n, limits[name]) for name, n in _takes(job).items() if name in limits and n} for job in jobs]
    free = dict(limits)
    ready = [number for number, count in enumerate(missing) if not count]
    running: list[tuple[float, int]] = []
    now = 0.0
    while ready or running:
        waiting = []
        for number in ready:
            if all(free[name] >= n for name, n in takes[number].items()):
                for name, n in takes[number].items():
                    free[name] -= n
                times[number] = (now, now + jobs[number].seconds)
                heapq.heappush(running, (times[number][1], number))
            else:
                waiting.append(number)
        now, number = heapq.heappop(running)
        for name, n in takes[number].items():
            free[name] += n
        for follower in followers.get(number, ()):
            missing[follower] -= 1
            if not missing[follower]:
                waiting.append(follower)
        ready = sorted(waiting)
    return times


def _takes(job: Job) -> dict[str, int]:
    return {"at_once": 0 if job.local else 1, "cores": job.threads, "gpus": job.gpus}


# ---------------------------------------------------------------- from Snakemake


def planned(dag: Any, estimator: Estimator) -> list[Job]:
    """The jobs that Snakemake's plan would run; those that make nothing (targets) are left out.

    A stored row counts if it is not older than the stores of the texts that it rests on. Where a job above trains or
    stages, or has none of its rows yet, what it makes will be another thing: no row that rests on it counts.
    """
    order = [job for level in dag.toposorted() for job in level]
    numbers = {job: number for number, job in enumerate(job for job in order if dag.needrun(job) and job.output)}
    # Since when a job's output is what it is, in seconds of the epoch; infinite where that is still to come.
    ages: dict[Any, float] = {}
    result = []
    for job in order:
        rule = job.rule.name
        # Of what is an input, `model` is what a job loads.
        model = str(model) if (model := job.input.get("model")) else None
        settings = json.loads(job.params.settings) if model and rule in SCRIPTS else None
        store = estimator.store(rule, settings, model) if settings and model else None
        rests_on = {path for name in _RESTS_ON for path in _paths(job.input.get(name))}
        since = max((ages[above] for above, files in dag.dependencies[job].items() if rests_on & files), default=0.0)
        ages[job] = max(since, born(store)) if store and rule not in _CHOOSING else since
        if rule in _RENEWING:
            ages[job] = math.inf if job in numbers else 0.0
        if job not in numbers:
            continue
        found = estimator.job(
            rule,
            dict(job.wildcards_dict),
            model=model,
            gpus=int(job.resources.get("gpu", 0) or 0),
            settings=settings,
            since=since,
            threads=job.threads,
            local=job.is_local,
            limit=60 * minutes if isinstance(minutes := job.resources.get("runtime"), int) else None,
            after=tuple(numbers[above] for above in dag.dependencies[job] if above in numbers),
        )
        if settings and found.rows and not found.found:
            ages[job] = math.inf
        result.append(found)
    return result


def _paths(given: Any) -> list[str]:
    return [given] if isinstance(given, str) else list(given or ())


def not_known(jobs: Sequence[Job], estimator: Estimator) -> list[str]:
    """What of a plan's rows and hours cannot be known before it runs, each as a sentence."""
    rules = {job.rule for job in jobs}
    found = []
    if rules & set(_TRAININGS):
        found.append("Trainings count in full, with all rows that follow, though their weights may be found again.")
    if rules & {"filter_text", "filter_duplicates"} and any(job.found for job in jobs):
        found.append("The filters of texts are taken to keep as many questions as they did: a looser one keeps more.")
    if any(job.rule == "rewrite_questions" and not job.gpus and job.local for job in jobs):
        found.append("Answers that a rewriting server has given already are counted as if it were to be asked.")
    if estimator.stores.trouble:
        found.append(f"Stored rows could not be looked up, so all count as to be made: {estimator.stores.trouble}")
    return found


# ---------------------------------------------------------------- the question


def too_dear(jobs: Sequence[Job], limit: float | None) -> str | None:
    """Why a run has to be confirmed, in a sentence; None where it has not."""
    hours = gpu_hours(jobs)
    if limit is None or hours <= limit:
        return None
    return f"this run would take about {hours:.2g} GPU-hours, more than {KEY} ({limit:g})."


def confirm(jobs: Sequence[Job], limit: float | None) -> None:
    """Ask before a run that is too dear: on a terminal, or by the environment variable SCALEQUEST_CONFIRM=yes.

    Raises ScaleQuestError where the answer is no, or where there is nobody to ask.
    """
    why = too_dear(jobs, limit)
    if why is None or os.environ.get(CONFIRM) == "yes":
        return
    if not sys.stdin or not sys.stdin.isatty():
        raise ScaleQuestError(
            f"{why} If that is meant, start it with {CONFIRM}=yes; `make plan` and `make explain` say what it is for."
        )
    try:
        answer = input(f"{why[0].upper()}{why[1:]} Go on? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise ScaleQuestError(f"not confirmed: {why} Nothing was started.")


# ---------------------------------------------------------------- small things


def duration(seconds: float) -> str:
    """Seconds in the unit that fits."""
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= (2 if unit == "d" else 1) * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _is_weights(file: str) -> bool:
    return file.endswith((".safetensors", ".bin", ".gguf", ".pt"))


def _digest(manifest: Path) -> str | None:
    return read_json(manifest)["digest"] if manifest.is_file() else None


@cache
def _made_with(store: Path) -> str | None:
    """Digest of the model of a store's rows."""
    return read_json(store / "key.json").get("model") if (store / "key.json").is_file() else None


def _rate(rows_per_second: float) -> str:
    return f"{rows_per_second * 3600:,.0f} rows an hour"


def _count(number: float) -> str:
    return f"{number / 1e9:.3g}B" if number >= 1e9 else f"{number / 1e6:.3g}M"
