"""What a plan costs, before any of it runs: rows, time, GPU-hours, disk; and the question before a dear run.

A job's time is its rows over a throughput: what earlier jobs of this folder took (by the records of their attempts)
where the stage ran with the same model, else that of resources/throughputs.yaml, which says where each number is from.
Rows that are in the progress folder already are counted as if they were to be made.
"""

from __future__ import annotations

import heapq
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from scalequest.config import OURS, student_settings
from scalequest.errors import ScaleQuestError
from scalequest.files import CHECKOUT, read_json
from scalequest.lease import attempts

CONFIRM = "SCALEQUEST_CONFIRM"
KEY = "operation.confirm_above_gpu_hours"
THROUGHPUTS = CHECKOUT / "resources" / "throughputs.yaml"
# Rules whose rows are kept below another name than their own.
_STORES = {"sample_pair_questions": "sample_questions", "judge_pair_questions": "judge_questions"}
_TRAININGS = {
    "tune_questions": "question_tuning",
    "tune_preferences": "preference_tuning",
    "train_scorer": "difficulty",
    "tune_student": "students",
}
_TUNED = re.compile(r"results/(question_tuning|preference_tuning|students)/([^/]+)/model\.json")
_BILLIONS = re.compile(r"(\d+(?:\.\d+)?)\s*([bm])(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class Job:
    """A planned job. `rows`: made, read or trained on; None where its time does not depend on any. `seconds` are of the
    clock; `source` says by which throughput they are reckoned, in words. `room`: bytes that it leaves in the folders
    results, progress and models, and that it needs there for checkpoints while it runs. `limit`: seconds that its first
    attempt has. `after`: numbers of the jobs that it waits for."""

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


@dataclass(frozen=True)
class Cost:
    """The jobs of one rule: how many, their rows, seconds one after another, GPU-hours, sources of the throughputs."""

    rule: str
    jobs: int
    rows: float | None
    seconds: float
    gpu_hours: float
    sources: tuple[str, ...]


class Estimator:
    """Reckons rows and time of jobs under one config (every default filled in), for runs in `folder`.

    Raises ScaleQuestError where resources/throughputs.yaml misses a rule that uses a model.
    """

    def __init__(self, config: Mapping[str, Any], folder: Path = Path()):
        self.config, self.folder = config, folder
        self.shares, self.shares_source = kept_shares(config, folder)
        self.seeds, self.seeds_source = seed_problems(config, folder)
        storage = config["storage"]
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
        **facts: Any,
    ) -> Job:
        """A job as a plan has it. `model` is the path of the manifest of the model that it loads, if it loads one;
        `facts` are further fields of a Job."""
        rows = self.rows(rule, wildcards)
        seconds, source = (0.0, "") if rows is None else self._seconds(rule, rows, wildcards, model, gpus)
        room = self._room(rule, rows or 0.0, wildcards, model)
        return Job(rule, rows, seconds, source, room, gpus, **facts)

    def rows(self, rule: str, wildcards: Mapping[str, str]) -> float | None:
        """Rows that a job of a rule makes, reads or trains on; None for one whose time they do not decide."""
        questions, pairs, difficulty = (self.config[key] for key in ("questions", "preference_tuning", "difficulty"))
        shard, generator = questions["questions_per_shard"], wildcards.get("generator")
        everywhere = questions["shards"] * len(self.config["use"]["generators"])
        samples = self.config["responses"]["samples"]
        grouped = pairs["rank"]["group"] if pairs["pairs"] == "rank" else 1
        if rule in ("judge_questions", "score_difficulty"):
            before = {"judge_questions": "solvability", "score_difficulty": "difficulty"}[rule]
            return shard * self.kept(generator, before)
        found = {
            "tune_questions": lambda: self.seeds * self.config["question_tuning"]["epochs"],
            "tune_preferences": lambda: pairs["questions"] / grouped * pairs["dpo"]["epochs"],
            "measure_fail_rates": lambda: difficulty["problems"] * difficulty["samples"],
            "train_scorer": lambda: difficulty["problems"] * (1 - difficulty["held_out"]) * difficulty["epochs"],
            "filter_duplicates": lambda: shard * everywhere,
            "build_dataset": lambda: self.dataset_rows(),
            "tune_student": lambda: self.student_rows(wildcards["student"]),
            **dict.fromkeys(
                ("sample_answers", "grade_answers"),
                lambda: self.benchmark_rows(wildcards["dataset"]) * self.config["evaluation"]["samples"],
            ),
            **dict.fromkeys(
                ("sample_pair_questions", "judge_pair_questions", "rewrite_questions"), lambda: pairs["questions"]
            ),
            **dict.fromkeys(("sample_questions", "filter_text", "apply_filters"), lambda: shard),
            **dict.fromkeys(
                ("sample_responses", "score_responses", "select_responses"),
                lambda: shard * samples * self.kept(generator),
            ),
        }
        return float(found[rule]()) if rule in found else None

    def kept(self, generator: str | None, before: str | None = None) -> float:
        """Share of a generator's questions (None: of all) that the filters before one of them, or all, let through."""
        filters = self.config["filters"]
        order = filters["order"][: filters["order"].index(before)] if before else filters["order"]
        share = 1.0
        for name in order:
            concerned = filters[name].get("generators") or [generator]
            if filters[name]["enabled"] and filters[name]["action"] == "drop" and generator in concerned:
                share *= self.shares.get(generator, self.shares[None]).get(name, 1.0)
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

    def benchmark_rows(self, name: str) -> float:
        """Problems of a benchmark in one shard."""
        return self._staged_rows(name, "benchmark") / self.config["evaluation"]["shards"]

    def _staged_rows(self, dataset: str, assumed: str) -> float:
        """Rows of a dataset; before it is staged, as many as throughputs.yaml says of one of its kind."""
        path = self.folder / f"results/datasets/{dataset}.parquet"
        if not path.is_file():
            return float(throughputs()["rows"][assumed])
        import pyarrow.parquet as pq

        return float(pq.read_metadata(path).num_rows)

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

    def _room(self, rule: str, rows: float, wildcards: Mapping[str, str], model: str | None) -> dict[str, float]:
        known = throughputs()["disk"]
        if rule in _TRAININGS or rule == "stage_model":
            manifest = model or f"results/models/{wildcards.get('model')}.json"
            parameters = self.parameters(manifest) or throughputs()[self.config["device"]]["parameters"]
            room = {"models": parameters * known["weights_bytes_per_parameter"]}
            if rule in _TRAININGS:
                room["checkpoints"] = parameters * known["checkpoints_bytes_per_parameter"]
            return room
        left = rows * known["bytes_per_row"].get(rule, 0)
        return {"results": left, "progress": left if model is not None or rule == "rewrite_questions" else 0.0}

    def _seen(self, rule: str, wildcards: Mapping[str, str], model: str | None, gpus: int) -> list[dict[str, Any]]:
        """Records of the attempts that tell how fast such a job is."""
        if rule in _TRAININGS:
            name = wildcards.get("generator") or wildcards.get("student")
            where = "/".join(filter(None, (_TRAININGS[rule], name)))
            found = [record for record in self._attempts if record["place"].as_posix().endswith(f"/{where}")]
        else:
            stage = _STORES.get(rule, rule)
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
    """For each filter, the share that it keeps of what reaches it, and where the shares are from; by generator, None
    standing for all others.

    Of this folder's filtered questions where there are any; else as the paper has them, and all where it is silent.
    """
    order = config["filters"]["order"]
    paths = sorted((folder / "results" / "filtered").glob("*/seed*/gpu*.parquet"))
    if paths:
        import pyarrow.parquet as pq

        counts: dict[str | None, Counter[str]] = {None: Counter()}
        for path in paths:
            found = pq.read_table(path, columns=["dropped_by"])["dropped_by"].to_pylist()
            counts.setdefault(path.parts[-3], Counter()).update(found)
            counts[None].update(found)
        known = {generator: _shares(order, dropped) for generator, dropped in counts.items()}
        return known, f"as of {counts[None].total():,} questions that were filtered here"
    assumed = throughputs()["kept"]
    shares = {name: assumed["shares"].get(name, 1.0) for name in order}
    quantile = config["filters"]["difficulty"]["below_quantile"]
    if quantile is not None:
        shares["difficulty"] = 1 - quantile
    elif config["filters"]["difficulty"]["below"] is None:
        shares["difficulty"] = 1.0
    return {None: shares}, assumed["source"]


def _shares(order: Sequence[str], dropped: Counter[str]) -> dict[str, float]:
    """Share of what reaches each filter that it keeps; `dropped` counts questions by the filter that dropped them."""
    left, shares = dropped.total(), {}
    for name in order:
        shares[name] = 1 - dropped[name] / left if left else 1.0
        left -= dropped[name]
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
    """The jobs that Snakemake's plan would run; those that make nothing (targets) are left out."""
    jobs = [job for level in dag.toposorted() for job in level if dag.needrun(job) and job.output]
    numbers = {job: number for number, job in enumerate(jobs)}
    return [
        estimator.job(
            job.rule.name,
            dict(job.wildcards_dict),
            # Of what is an input, `model` is what a job loads.
            model=str(model) if (model := job.input.get("model")) else None,
            gpus=int(job.resources.get("gpu", 0) or 0),
            threads=job.threads,
            local=job.is_local,
            limit=60 * minutes if isinstance(minutes := job.resources.get("runtime"), int) else None,
            after=tuple(numbers[above] for above in dag.dependencies[job] if above in numbers),
        )
        for job in jobs
    ]


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
