"""Rows, time, GPU-hours and disk space of the jobs of a plan, before any of them runs.

A job's time is its rows over a throughput. The throughput is that of earlier jobs of this folder (by the records of
their attempts) where the stage ran with the same model, else that of resources/throughputs.yaml, which names the source
of each number. Rows that the job may find stored (`found`) are not counted, and neither is their time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from scalequest.config.selectors import (
    LENGTH_OF_THINKING,
    OURS,
    difficulty_by,
    engine_settings,
    student_settings,
    thinking_of,
)
from scalequest.errors import ScaleQuestError
from scalequest.rows.spans import span
from scalequest.runtime.files import read_json
from scalequest.runtime.lease import attempts
from scalequest.stages import of_kind
from scalequest.workflow import weights
from scalequest.workflow.filter_shares import kept_shares
from scalequest.workflow.rehearsal import ROWS, Record
from scalequest.workflow.row_counts import RowCounts
from scalequest.workflow.stored_rows import SCRIPTS, Stores
from scalequest.workflow.throughputs import THROUGHPUTS, throughputs

# The folder of results of each training.
TRAININGS = {stage.rule: stage.section for stage in of_kind("training")}
# Index spaces of what is made of problems whose answers are known.
_KNOWN = {
    **{"answer_known_problems": "problems", "score_known_problems": "known-s0"},
    **{"judge_calibration": "known-s0", "score_calibration": "answered-s0"},
}
# The rules that choose topics: of a generator's questions, and of the seed problems.
TOPICS = ("choose_topics", "choose_seed_topics")
_TUNED = re.compile(r"results/(question_tuning|preference_tuning|students)/([^/]+)/model\.json")


@dataclass(frozen=True)
class Job:
    """A planned job.

    `rows`: to be made, read or trained on; None where its time does not depend on any. `found`: rows that it finds
    stored beside those. `seconds` are of the clock; `source` names the throughput from which they are estimated.
    `room`: bytes that it leaves in the folders results, progress and models, and that it needs there for checkpoints
    while it runs. `limits`: seconds of each attempt that it may have, where they are limited. `after`: numbers of the
    jobs that it waits for.
    """

    rule: str
    rows: float | None
    seconds: float
    source: str
    room: Mapping[str, float] = field(default_factory=dict)
    gpus: int = 0
    threads: int = 1
    local: bool = False
    limits: tuple[float, ...] = ()
    after: tuple[int, ...] = ()
    found: float = 0.0


class Estimator:
    """Estimates rows and time of jobs under one config (every default filled in), for runs in `folder`.

    Raises ScaleQuestError where resources/throughputs.yaml lacks a rule that uses a model.
    """

    def __init__(self, config: Mapping[str, Any], folder: Path = Path()):
        self.config, self.folder = config, folder
        self.shares, self.shares_source = kept_shares(config, folder)
        self.row_counts = RowCounts(config, folder)
        self._sizes: dict[str, float | None] = {}
        self.stores = Stores(folder / config["storage"]["progress"])
        self.rehearsal = Record(folder)

    @property
    def seeds(self) -> int:
        """Seed problems that a generator is tuned on."""
        return seed_problems(self.row_counts)[0]

    @property
    def seeds_source(self) -> str:
        """How their number is known."""
        return seed_problems(self.row_counts)[1]

    @cached_property
    def _attempts(self) -> list[dict[str, Any]]:
        """Records of the attempts of earlier jobs, each with its `place`."""
        roots = (self.folder / self.config["storage"][name] for name in ("progress", "models"))
        return [{**record, "place": place} for root in roots for place, record in attempts(root)]

    def job(
        self,
        rule: str,
        wildcards: Mapping[str, str],
        *,
        model: str | None = None,
        gpus: int = 0,
        settings: Mapping[str, Any] | None = None,
        renewed: bool = False,
        **facts: Any,
    ) -> Job:
        """A job as a plan has it. `model` is the path of the manifest of the model that it loads, if it loads one, and
        `settings` are then those of its params; `facts` are further fields of a Job. Of a job whose input is `renewed`
        by the plan, no stored row counts."""
        rows = self.rows(rule, wildcards, settings["engine"]["window"] if settings else 1)
        if rows is None:
            return Job(rule, None, 0.0, "", self._room(rule, 0.0, 0.0, wildcards, model), gpus, **facts)
        found = self._found(rule, rows, wildcards, settings, model) if settings and model and not renewed else 0.0
        left = rows - found
        # A job that finds all its rows stored loads no model.
        seconds, source = (0.0, "") if found and not left else self.seconds(rule, left, wildcards, model, gpus)
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
    ) -> float:
        """How many of its rows a job may find stored: an upper bound.

        Windows without stored rows are made whole. The others are taken to have their share of all rows.
        """
        store = self.store(rule, settings, model)
        if store is None:
            return 0.0
        window = settings["engine"]["window"]
        span = self.span(rule, wildcards, window)
        stored, untouched = self.stores.count(store, self._group(rule, wildcards), window, span)
        # A share times a number of rows may have a rounding error.
        return max(0.0, rows - max(round(rows) - stored, rows * untouched, 0.0))

    def _group(self, rule: str, wildcards: Mapping[str, str]) -> str:
        """Name of the index space of a job's windows, as in its program."""
        if rule in ("measure_fail_rates", "sample_answers"):
            return wildcards.get("dataset", "seeds")
        if rule in _KNOWN:
            return _KNOWN[rule]
        if rule in TOPICS:
            return f"of-{wildcards['generator']}" if "generator" in wildcards else "seeds"
        return f"{wildcards['generator']}-s{wildcards.get('seed', self.config['preference_tuning']['seed'])}"

    def span(self, rule: str, wildcards: Mapping[str, str], window: int) -> range | None:
        """The indices of a job's rows; None where they are drawn from anywhere in their index space."""
        if rule in ("measure_fail_rates", *_KNOWN, *TOPICS):
            return None
        if rule == "sample_answers":
            problems = self._dataset_rows(wildcards["dataset"], "benchmark")
            shards = self.config["evaluation"]["shards"]
            return span(problems, int(wildcards["part"]), shards, window)
        if "gpu" not in wildcards:
            return range(self.config["preference_tuning"]["questions"])
        size = self.config["questions"]["questions_per_shard"]
        return range(int(wildcards["gpu"]) * size, (int(wildcards["gpu"]) + 1) * size)

    def rows(self, rule: str, wildcards: Mapping[str, str], window: int = 1) -> float | None:
        """Rows that a job of a rule makes, reads or trains on, with stored ones; None where its time does not depend
        on rows. `window`: rows of its windows, of which the shards of a benchmark are made."""
        questions, pairs, difficulty = (self.config[key] for key in ("questions", "preference_tuning", "difficulty"))
        shard, generator = questions["questions_per_shard"], wildcards.get("generator")
        place = "{generator}/seed{seed}/gpu{gpu}".format_map(wildcards) if "gpu" in wildcards else None
        everywhere = questions["shards"] * len(self.config["use"]["generators"])
        samples, answers = self.config["responses"]["samples"], self.config["evaluation"]["samples"]
        grouped = pairs["rank"]["group"] if pairs["pairs"] == "rank" else 1
        # Solvers see what the filters left, or, where the filter of difficulty goes by them, what those before it left.
        solved = "difficulty" if difficulty_by(self.config) == "pass_rate" else None
        if rule in ("judge_questions", "score_difficulty"):
            before = {"judge_questions": "solvability", "score_difficulty": "difficulty"}[rule]
            return shard * self.kept(generator, before, place)
        found = {
            "tune_questions": lambda: self.seeds * self.config["question_tuning"]["epochs"],
            "tune_preferences": lambda: pairs["questions"] / grouped * pairs["dpo"]["epochs"],
            "measure_fail_rates": lambda: self._solved_problems() * difficulty["samples"],
            "train_scorer": lambda: self._solved_problems() * (1 - difficulty["held_out"]) * difficulty["epochs"],
            "filter_duplicates": lambda: shard * everywhere,
            "build_dataset": lambda: self.dataset_rows(),
            "tokenize_student": lambda: self.student_rows(wildcards["student"]),
            "tune_student": lambda: self.student_rows(wildcards["student"], passes=True),
            "sample_answers": lambda: len(self.span(rule, wildcards, window) or ()) * answers,
            "answer_known_problems": lambda: ROWS * answers,
            "score_known_problems": lambda: 2 * ROWS,
            # Whole, shuffled and cut.
            "judge_calibration": lambda: 3 * self.config["calibration"]["problems"],
            "score_calibration": lambda: self.config["calibration"]["problems"] * difficulty["samples"],
            "grade_answers": lambda: self._dataset_rows(wildcards["dataset"], "benchmark") * answers * _graders(),
            **dict.fromkeys(("sample_pair_questions", "judge_pair_questions"), lambda: pairs["questions"]),
            "rewrite_questions": lambda: pairs["questions"] * self._whole_pair_questions(wildcards["generator"]),
            **dict.fromkeys(("sample_questions", "filter_text", "apply_filters", "filter_for_solvers"), lambda: shard),
            **dict.fromkeys(
                ("sample_responses", "score_responses"), lambda: shard * samples * self.kept(generator, None, place)
            ),
            "sample_solutions": lambda: shard * self._solver_samples(wildcards) * self.kept(generator, solved, place),
            **dict.fromkeys(("select_responses", "check_answers"), lambda: shard * self.kept(generator, None, place)),
            **dict.fromkeys(
                ("verify_answers", "score_pass_rates"), lambda: shard * self.kept(generator, solved, place)
            ),
            **dict.fromkeys(TOPICS, lambda: self._asked_about(generator)),
        }
        return float(found[rule]()) if rule in found else None

    def _solver_samples(self, wildcards: Mapping[str, str]) -> int:
        return int(self.config["verification"]["solvers"][wildcards["solver"]]["samples"])

    def kept(self, generator: str | None, before: str | None = None, shard: str | None = None) -> float:
        """Share of a generator's questions (None: of all) that pass the filters before one of them, or all filters; the
        share of a shard if that was filtered here."""
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
        """Rows of our dataset, if every kept question has a response."""
        questions, generators = self.config["questions"], self.config["use"]["generators"]
        each = questions["shards"] * questions["questions_per_shard"] * len(questions["seeds"])
        return each * len(generators) * self.kept(None)

    def student_rows(self, name: str, *, passes: bool = False) -> float:
        """Rows of a student's training set; with `passes`, over all epochs."""
        student = self.config["students"][name]
        rows = self.dataset_rows() if student["data"] == OURS else self._dataset_rows(student["data"], "training_set")
        if student["data"] == OURS:
            generators, seeds = self.config["use"]["generators"], self.config["questions"]["seeds"]
            rows *= len(student["generators"] or generators) / len(generators)
            rows *= len(student["seeds"] or seeds) / len(seeds)
        rows = min(rows, student["rows"] or rows)
        return rows * student_settings(self.config, name)["epochs"] if passes else rows

    def _solved_problems(self) -> float:
        """Seed problems that are solved to measure their difficulty: as many as the config asks for of those with an
        answer. Before they are merged, all are taken to have one."""
        asked = self.config["difficulty"]["problems"]
        path = self.folder / "results/seeds/seeds.parquet"
        if not path.is_file():
            known = self.row_counts.seeds()
            return asked if known is None else min(asked, known[0])
        import pyarrow.parquet as pq

        answers = pq.read_table(path, columns=["answer"])["answer"]
        return min(asked, len(answers) - answers.null_count)

    def _asked_about(self, generator: str | None) -> float:
        """Questions of a generator, or (None) seed problems, whose topic is chosen."""
        questions, most = self.config["questions"], self.config["topics"]["max_questions"]
        if generator is not None:
            each = questions["shards"] * questions["questions_per_shard"] * len(questions["seeds"])
            return min(most, each * self.kept(generator))
        known = self.row_counts.seeds()
        return most if known is None else min(most, known[0])

    def _whole_pair_questions(self, generator: str) -> float:
        """Share of the questions for pairs that are neither empty nor cut off, which are all that is rewritten."""
        path = self.folder / f"results/preference_tuning/{generator}/questions.parquet"
        if not path.is_file():
            return 1.0
        import pyarrow.parquet as pq

        rows = pq.read_table(path, columns=["question", "finish_reason"]).to_pylist()
        whole = [row for row in rows if row["question"] and row["finish_reason"] == "stop"]
        return len(whole) / max(len(rows), 1)

    def _dataset_rows(self, dataset: str, assumed: str) -> int:
        """Rows of a dataset; until it is staged, those that throughputs.yaml assumes for its kind."""
        found = self.row_counts.of(dataset)
        return throughputs()["rows"][assumed] if found is None else found[0]

    def _base(self, manifest: str) -> str:
        """Name of the model of a manifest, or of the one that it was trained from."""
        if found := _TUNED.fullmatch(manifest):
            name: str = self.config["students" if found[1] == "students" else "generators"][found[2]]["model"]
            return name
        if manifest == "results/difficulty/model.json":
            return str(self.config["difficulty"]["base"])
        return Path(manifest).stem

    def parameters(self, manifest: str | None) -> float | None:
        """Parameters of a model, by its files if they are here, or by its name; None where neither says."""
        if manifest is None:
            return None
        name = self._base(manifest)
        if name not in self._sizes:
            self._sizes[name] = weights.of_model(self.config["models"][name]["source"], name, self.folder)
        return self._sizes[name]

    def seconds(
        self, rule: str, rows: float, wildcards: Mapping[str, str], model: str | None, gpus: int
    ) -> tuple[float, str]:
        """Seconds that a job takes to make so many rows, the start of its engine included, and the source of its
        throughput."""
        seen = self._seen(rule, wildcards, model, gpus)
        made, took = sum(record["rows"] for record in seen), sum(record["seconds"] for record in seen)
        if made and took:
            spread = took * max(seen[0]["gpus"], 1) / max(gpus, 1)
            return rows * spread / made, f"{_rate(made / took)}, measured here: {made:,.0f} rows in {took:,.0f} s"
        if model is not None and (known := self._rehearsed(rule, model, gpus)):
            return known[0] * rows, known[1]
        table = throughputs()["tables" if model is None else self.config["device"]]
        if rule not in table["rows_per_hour"]:
            if model is not None:
                raise ScaleQuestError(
                    f"{THROUGHPUTS} has no speed for {rule} on a {self.config['device']}; add a line."
                )
            return float(table["start_seconds"]), "negligible"
        hourly, why = table["rows_per_hour"][rule]
        parameters = self.parameters(model)
        times = 1.0 if model is None or parameters is None else parameters / table["parameters"]
        long = thinking_of(self.config, rule, wildcards) is not None
        times *= LENGTH_OF_THINKING if long else 1
        why += f"; {LENGTH_OF_THINKING} times as long with a trace" if long else ""
        size = "" if model is None else f" with {_count(table['parameters'])} parameters"
        if model is not None and parameters not in (None, table["parameters"]):
            size += f", here {_count(parameters)}"
        elif model is not None and parameters is None:
            size += f", which {Path(model).stem} is taken to have"
        source = f"{_rate(hourly / 3600)} on {table['device']}{size}, assumed: {why}"
        return table["start_seconds"] + rows / hourly * 3600 * times / max(gpus, 1), source

    def _rehearsed(self, rule: str, model: str, gpus: int) -> tuple[float, str] | None:
        """Seconds of a row by the rehearsal of this folder's run, and that source."""
        base = self._base(model)
        source, engine = self.config["models"][base]["source"], engine_settings(self.config, base)
        found = self.rehearsal.of(SCRIPTS.get(rule, rule), model, base, source, engine)
        if found is None:
            return None
        each = 3600 / found["rows_per_hour"] * max(found["gpus"], 1) / max(gpus, 1)
        return each, f"{_rate(1 / each)}, by the rehearsal: {found['seconds']:,.0f} s with the engine full"

    def _room(
        self, rule: str, rows: float, left: float, wildcards: Mapping[str, str], model: str | None
    ) -> dict[str, float]:
        known = throughputs()["disk"]
        if rule in TRAININGS or rule == "stage_model":
            manifest = model or f"results/models/{wildcards.get('model')}.json"
            parameters = self.parameters(manifest) or throughputs()[self.config["device"]]["parameters"]
            room = {"models": parameters * known["weights_bytes_per_parameter"]}
            if rule in TRAININGS:
                room["checkpoints"] = parameters * known["checkpoints_bytes_per_parameter"]
            return room
        size = known["bytes_per_row"].get(rule, 0)
        again = size if model is not None or rule == "rewrite_questions" else 0
        return {"results": rows * size, "progress": left * known["progress_bytes_per_row"].get(rule, again)}

    def _seen(self, rule: str, wildcards: Mapping[str, str], model: str | None, gpus: int) -> list[dict[str, Any]]:
        """Records of the attempts of such jobs."""
        if rule in TRAININGS:
            name = wildcards.get("generator") or wildcards.get("student") or ""
            weights = _weights(self.folder, self.folder / "results" / TRAININGS[rule] / name / "model.json")
            found = [record for record in self._attempts if record["place"] / str(record.get("unit")) == weights]
        else:
            stage = SCRIPTS.get(rule, rule)
            found = [record for record in self._attempts if record["place"].parent.name == stage]
            if model is not None:
                digest = _digest(self.folder / model)
                found = [record for record in found if digest and _made_with(record["place"]) == digest]
        return [record for record in found if bool(record["gpus"]) == bool(gpus)]


def seed_problems(counts: RowCounts) -> tuple[int, str]:
    """How many seed problems a generator is tuned on, and the source of the number, which is assumed until they are
    staged."""
    assumed = throughputs()["seeds"]
    rows, source = counts.seeds() or (assumed["rows"], f"assumed: {assumed['source']}; `stage` fetches them")
    limits = counts.config["seeds"]["max_rows"], counts.config["question_tuning"]["max_questions"]
    return min([rows, *(limit for limit in limits if limit is not None)]), source


def _weights(folder: Path, manifest: Path) -> Path | None:
    """Folder of the weights that a manifest in a working folder names; None without a manifest."""
    return folder / read_json(manifest)["folder"] if manifest.is_file() else None


def _digest(manifest: Path) -> str | None:
    return read_json(manifest)["digest"] if manifest.is_file() else None


@cache
def _made_with(store: Path) -> str | None:
    """Digest of the model that made a store's rows."""
    return read_json(store / "key.json").get("model") if (store / "key.json").is_file() else None


def _graders() -> int:
    """How many graders there are. Imported here, as the Snakefile asks for other stages' rows."""
    from scalequest.grading.graders import GRADERS

    return len(GRADERS)


def _rate(rows_per_second: float) -> str:
    return f"{rows_per_second * 3600:,.0f} rows an hour"


def _count(number: float) -> str:
    return f"{number / 1e9:.3g}B" if number >= 1e9 else f"{number / 1e6:.3g}M"
