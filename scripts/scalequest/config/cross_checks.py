"""Checks of settings against each other, which a schema cannot do; each problem is a sentence.

A check takes a config that the schema accepts, with every default filled in.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from scalequest.config.selectors import (
    OURS,
    difficulty_by,
    engine_settings,
    measured,
    model_references,
    published_table,
    student_settings,
    topic_options,
    tuned_by_preference,
)
from scalequest.config.sentences import close, not_in
from scalequest.config.shared_rows import YES, shared_rows
from scalequest.llm.sources import is_gguf
from scalequest.runtime.files import CHECKOUT
from scalequest.stages import BY_RULE
from scalequest.tasks.topics import LETTERS

PINNED = re.compile(r"hf:[^@]+@[0-9a-f]{40}(:.*)?")
# Bytes of file names; the rest of the command needs some room too.
_LONGEST_COMMAND = 120_000
MODULES = CHECKOUT / "scripts" / "scalequest" / "domains"
DOMAINS = CHECKOUT / "resources" / "domains"


def _domain(config: Mapping[str, Any]) -> Iterator[str]:
    """A domain of which the module or the prompts are not there."""
    name = config["domain"]
    known = sorted(path.name for path in DOMAINS.iterdir() if (MODULES / f"{path.name}.py").is_file())
    if name not in known:
        yield (
            f"domain is '{name}', of which there is no module scripts/scalequest/domains/{name}.py or no folder "
            f"resources/domains/{name}{close(name, known)}. The domains are: {', '.join(known)}."
        )


def _references(config: Mapping[str, Any]) -> Iterator[str]:
    """Names that are in no catalogue, and seeds that cannot be graded."""
    catalogues = {"seeds": "datasets", "generators": "generators", "benchmarks": "datasets", "students": "students"}
    for key, catalogue in catalogues.items():
        for name in config["use"][key]:
            if name not in config[catalogue]:
                yield not_in(f"use.{key}", name, catalogue, config)
    for path, name, used in model_references(config):
        # With a server or ranked pairs the rewriter is not used, and not every kind of reward has a model.
        if name not in config["models"] and (used or path not in ("preference_tuning.rewrite.model", "reward.model")):
            yield not_in(path, name, "models", config)
    for name in config["filters"]["difficulty"]["generators"]:
        if name not in config["generators"]:
            yield not_in("filters.difficulty.generators", name, "generators", config)
    for name in config["use"]["seeds"]:
        if difficulty_by(config) == "scorer" and _lacks(config, name, "answer", "solution"):
            yield (
                f"datasets.{name}.fields names neither answer nor solution, so the difficulty solver cannot be graded: "
                "name one, set filters.difficulty.enabled to false, or let solvers say how hard a question is "
                "(filters.difficulty.by: pass_rate)."
            )


def _lacks(config: Mapping[str, Any], name: str, *columns: str) -> bool:
    """Whether a dataset has a field for the question (else it is reported elsewhere), but for none of these columns."""
    fields = config["datasets"].get(name, {}).get("fields", {})
    return "question" in fields and not set(columns) & set(fields)


def _trained_benchmarks(config: Mapping[str, Any]) -> Iterator[str]:
    """Datasets that are trained on and measured on."""
    for setting, name, benchmark, certainty in shared_rows(config):
        if certainty != YES:
            continue
        if name == benchmark and setting == "use.seeds":
            yield f"'{name}' is in use.seeds and in use.benchmarks: a benchmark cannot be trained on."
        else:
            verb = "names" if setting == "use.seeds" else "is"
            which = name if name == benchmark else f"{name}, which has the rows of {benchmark}"
            yield (
                f"{setting} {verb} {which}, which is in use.benchmarks: a benchmark cannot be trained on. Name other "
                "rows, by where or by the files of the source."
            )


def _sources(config: Mapping[str, Any]) -> Iterator[str]:
    for name, model in config["models"].items():
        source = model.get("source", "")
        if model["trust_remote_code"] and not PINNED.fullmatch(source):
            yield (
                f"models.{name}.trust_remote_code is true, but its source {source} is not pinned: only at "
                "hf:ORG/NAME@COMMIT, with the commit's 40 hexadecimal digits, may a model bring code."
            )
        if is_gguf(source) and model["sha256"] is None:
            yield f"models.{name} is a GGUF file ({source}) and has no sha256: write the SHA-256 of the file."


def _storage(config: Mapping[str, Any]) -> Iterator[str]:
    for key, folder in config["storage"].items():
        if "$" in folder:
            yield (
                f"storage.{key} is '{folder}': variables are not filled in. Write the whole path, or one from "
                "your home on (~/...)."
            )
        elif os.path.expanduser(folder).startswith("~"):  # noqa: PTH111 - Path's would raise
            yield f"storage.{key} is '{folder}', but there is no such home. Write the whole path, or ./ before the ~."


def _windows(config: Mapping[str, Any]) -> Iterator[str]:
    rows, engine = config["questions"]["questions_per_shard"], config["engine"]
    windows = {"engine.window": engine["window"]}
    windows |= {
        f"engine.stage_windows.{stage}": size
        for stage, size in engine["stage_windows"].items()
        if BY_RULE[stage].by_shard
    }
    for path, size in windows.items():
        if rows % size:
            below = rows // size * size
            near = f"{below} or {below + size}" if below else str(size)
            yield f"questions.questions_per_shard is {rows}, not a multiple of {path} ({size}): take {near}."


def _shards(config: Mapping[str, Any]) -> Iterator[str]:
    """Runs of so many shards that a command with three files of each is longer than the system allows (128 KiB)."""
    questions, generators = config["questions"], config["use"]["generators"]
    longest = len(str(questions["shards"])) + max((len(str(seed)) for seed in questions["seeds"]), default=0)
    names = sum(3 * (len("results/candidates//seed/gpu.parquet ") + len(name) + longest) for name in generators)
    length = names * questions["shards"] * len(questions["seeds"])
    if length > _LONGEST_COMMAND:
        yield (
            f"questions.shards ({questions['shards']}), seeds and generators make "
            f"{questions['shards'] * len(questions['seeds']) * len(generators)} shards, whose files no command can "
            "name any more: take fewer and larger ones (questions.questions_per_shard). A shard that is stopped loses "
            "a window, however large it is."
        )


def _engine(config: Mapping[str, Any]) -> Iterator[str]:
    if config["device"] == "cpu" and config["engine"]["determinism"] == "batch_invariant":
        yield "engine.determinism is batch_invariant, which needs a GPU, but device is cpu: take windows or none."
    for name in [None, *config["models"]]:
        place = "engine" if name is None else f"models.{name}.engine"
        if name is not None and not config["models"][name]["engine"]:
            continue
        engine = engine_settings(config, name or "")
        tokens = engine["max_batched_tokens"]
        if tokens < engine["max_sequences"]:
            yield f"{place}: max_batched_tokens ({tokens}) is below max_sequences ({engine['max_sequences']})."
        if config["device"] == "cpu" and tokens < engine["max_model_len"]:
            yield (
                f"{place}: max_batched_tokens ({tokens}) is below max_model_len ({engine['max_model_len']}): "
                "on a CPU a prompt must fit one step."
            )


def _asked(path: str, section: Mapping[str, Any]) -> tuple[str, int]:
    """The settings of a section by which a text's length is limited, and that length in tokens."""
    most, thinking = section["sampling"]["max_tokens"], section.get("thinking")
    if not thinking:
        return f"{path}.sampling.max_tokens", most
    return f"{path}.thinking.budget + sampling.max_tokens", most + thinking.get("budget", 0)


def _thinking(config: Mapping[str, Any]) -> Iterator[str]:
    sections = {"responses": config["responses"], "evaluation": config["evaluation"]}
    sections |= {f"verification.solvers.{name}": own for name, own in config["verification"]["solvers"].items()}
    for path, section in sections.items():
        thinking = section.get("thinking") or {"open": None, "close": None}
        given = [key for key in ("open", "close") if thinking[key] is not None]
        if len(given) == 1:
            other = "close" if given == ["open"] else "open"
            yield f"{path}.thinking has {given[0]} and no {other}: give both, or neither, which takes the template's."
        elif given and thinking["open"].strip() == thinking["close"].strip():
            yield f"{path}.thinking has the same open and close, {thinking['open']!r}: nothing would tell them apart."


def _lengths(config: Mapping[str, Any]) -> Iterator[str]:
    """Texts so long that the model's engine has no room left for the prompt."""
    preference, solvability = config["preference_tuning"], config["filters"]["solvability"]
    limits = {
        "preference_tuning.rewrite.model": (
            "preference_tuning.rewrite.sampling.max_tokens",
            preference["rewrite"]["sampling"]["max_tokens"],
        ),
        "filters.solvability.model": ("filters.solvability.reasoning_tokens", solvability["reasoning_tokens"]),
        "difficulty.solver": ("difficulty.sampling.max_tokens", config["difficulty"]["sampling"]["max_tokens"]),
        "responses.model": _asked("responses", config["responses"]),
        **{
            f"verification.solvers.{name}.model": _asked(f"verification.solvers.{name}", solver)
            for name, solver in config["verification"]["solvers"].items()
        },
    }
    if config["reward"]["kind"] in ("model", "process"):
        # A reward model reads the question and the whole response.
        limits["reward.model"] = ("responses.sampling.max_tokens", config["responses"]["sampling"]["max_tokens"])
    for path, model, used in model_references(config):
        asked = [limits[path]] if path in limits else []
        if path.startswith(("evaluation.models", "students.")):
            asked = [_asked("evaluation", config["evaluation"])]
        if path.startswith("generators."):
            asked = [
                ("questions.sampling.max_tokens", config["questions"]["sampling"]["max_tokens"]),
                ("preference_tuning.sampling.max_tokens", preference["sampling"]["max_tokens"]),
            ]
        room = engine_settings(config, model)["max_model_len"]
        own = "max_model_len" in config["models"].get(model, {}).get("engine", {})
        limit = f"models.{model}.engine.max_model_len" if own else "engine.max_model_len"
        for setting, tokens in asked:
            if used and tokens >= room:
                yield f"{setting} is {tokens}, which leaves no room for a prompt in {limit} ({room})."
        # The scorer generates nothing, so that a question may fill the engine.
        longest = config["difficulty"]["max_length"]
        if path == "difficulty.base" and used and longest > room:
            yield (
                f"difficulty.max_length is {longest}, above {limit} ({room}), which the scorer's engine can read: "
                "lower it, or raise that."
            )


def _training(config: Mapping[str, Any]) -> Iterator[str]:
    processes, nodes = config["training"]["processes"], config["training"]["nodes"]
    if processes % nodes:
        yield f"training.processes is {processes}, not a multiple of training.nodes ({nodes}): each node has as many."
    sharded = config["training"]["sharding"] == "fsdp"
    if sharded and processes == 1:
        yield "training.sharding is fsdp, but training.processes is 1: only several processes can share a model."
    stages = {
        "question_tuning": config["question_tuning"],
        "preference_tuning.dpo": config["preference_tuning"]["dpo"],
        "difficulty": config["difficulty"],
        "student_tuning": config["student_tuning"],
        **{
            f"students.{name}.tuning": student_settings(config, name)
            for name, student in config["students"].items()
            if {"rows_per_step", "rows_per_device"} & set(student["tuning"])
        },
    }
    for path, stage in stages.items():
        at_once = stage["rows_per_device"] * processes
        if stage["rows_per_step"] % at_once:
            yield (
                f"{path}.rows_per_step is {stage['rows_per_step']}, not a multiple of rows_per_device x "
                f"training.processes ({stage['rows_per_device']} x {processes} = {at_once})."
            )
        if sharded and stage["optimizer"].startswith("paged_"):
            yield (
                f"{path}.optimizer is {stage['optimizer']}, whose state cannot be sharded (training.sharding: fsdp): "
                "choose adamw_torch or adamw_torch_fused."
            )


def _system_prompts(config: Mapping[str, Any]) -> Iterator[str]:
    for name, generator in config["generators"].items():
        if generator.get("system_prompt") and generator.get("tuning") != "none":
            yield (
                f"generators.{name} has a system_prompt, and its tuning is {generator.get('tuning')}: tuning is done "
                "without one. Set tuning to none, or remove system_prompt."
            )


def _pairs(config: Mapping[str, Any]) -> Iterator[str]:
    preference, tuned = config["preference_tuning"], tuned_by_preference(config)
    group = preference["rank"]["group"]
    groups = preference["questions"] // group
    if preference["dpo"]["held_out"] >= preference["min_pairs"]:
        yield (
            f"preference_tuning.dpo.held_out is {preference['dpo']['held_out']}, not below min_pairs "
            f"({preference['min_pairs']}): no pair might be left to train on."
        )
    if preference["min_pairs"] > preference["questions"]:
        yield (
            f"preference_tuning.min_pairs is {preference['min_pairs']}, more than the questions that pairs are made "
            f"from (preference_tuning.questions, {preference['questions']})."
        )
    elif tuned and preference["pairs"] == "rank" and groups < preference["min_pairs"]:
        yield (
            f"preference_tuning.min_pairs is {preference['min_pairs']}, but preference_tuning.questions "
            f"({preference['questions']}) make only {groups} groups of rank.group ({group}), and a group makes one "
            f"pair: sample at least {preference['min_pairs'] * group} questions, or lower rank.group or min_pairs."
        )
    if tuned and preference["pairs"] == "rewrite" and preference["rewrite"]["backend"] == "server":
        for key, value in (
            ("preference_tuning.rewrite.server_model", preference["rewrite"]["server_model"]),
            ("operation.server.base_url", config["operation"]["server"]["base_url"]),
        ):
            if value is None:
                yield f"preference_tuning.rewrite.backend is server, but {key} is null."


def _filters(config: Mapping[str, Any]) -> Iterator[str]:
    filters, order = config["filters"], config["filters"]["order"]
    if twice := sorted({name for name in order if order.count(name) > 1}):
        yield f"filters.order repeats {', '.join(twice)}: name each filter once."
    else:
        yield from _duplicates_place(filters)
    if filters["duplicates"]["permutations"] % filters["duplicates"]["bands"]:
        yield (
            f"filters.duplicates.bands ({filters['duplicates']['bands']}) does not divide permutations "
            f"({filters['duplicates']['permutations']})."
        )
    if filters["length"]["min_characters"] > filters["length"]["max_characters"]:
        yield (
            f"filters.length.min_characters ({filters['length']['min_characters']}) is above max_characters "
            f"({filters['length']['max_characters']}): no question would pass."
        )
    if filters["contamination"]["enabled"] and not config["use"]["benchmarks"]:
        yield "filters.contamination is enabled, but use.benchmarks is empty: name benchmarks, or disable the filter."
    if filters["solvability"]["verdict"] == "text" and filters["solvability"]["reasoning_tokens"] == 0:
        yield "filters.solvability.verdict is text, but reasoning_tokens is 0: the judge could say nothing."
    yield from _difficulty_policy(filters["difficulty"])
    if difficulty_by(config) == "pass_rate" and not config["verification"]["solvers"]:
        yield (
            "filters.difficulty.by is pass_rate, but verification.solvers is empty: name a solver, or set by to scorer."
        )


def _duplicates_place(filters: Mapping[str, Any]) -> Iterator[str]:
    """Filters that drop an original before duplicates are sought, so that its copies are lost as well."""

    def drops(name: str) -> bool:
        return filters[name]["enabled"] and filters[name]["action"] == "drop"

    order = filters["order"]
    before = [name for name in order[: order.index("duplicates")] if name in ("difficulty", "solvability")]
    early = [name for name in before if drops(name)]
    if early and drops("duplicates"):
        yield (
            f"filters.order has {' and '.join(early)} before duplicates, and all of them drop: a question that is "
            "dropped there would still count as the original of a good copy, and both would be lost. Move duplicates "
            f"before {early[0]}, or set filters.duplicates.action to mark."
        )


def _difficulty_policy(policy: Mapping[str, Any]) -> Iterator[str]:
    given = [key for key in ("below", "below_quantile") if policy[key] is not None]
    if len(given) == 2:
        yield "filters.difficulty has both below and below_quantile: set one, and leave the other null."
    if given and not policy["generators"]:
        yield f"filters.difficulty.{given[0]} is set, but generators is empty: name the generators that it holds for."
    if policy["generators"] and not given:
        yield "filters.difficulty names generators, but neither below nor below_quantile: it would drop nothing."


def _selection(config: Mapping[str, Any]) -> Iterator[str]:
    if config["reward"]["kind"] == "none" and config["selection"]["rule"] != "majority":
        yield (
            f"selection.rule is {config['selection']['rule']}, but reward.kind is none: "
            "take the rule majority, or a reward."
        )
    keep, samples = config["selection"]["keep"], config["responses"]["samples"]
    if keep > samples:
        yield f"selection.keep is {keep}, but responses.samples is {samples}: no question has so many responses."


def _verification(config: Mapping[str, Any]) -> Iterator[str]:
    section = config["verification"]
    solvers, band = section["solvers"], section["pass_rate"]
    if band["min"] > band["max"]:
        yield f"verification.pass_rate.min is {band['min']:g}, above max ({band['max']:g}): no question is between."
    if solvers and band["solver"] is not None and band["solver"] not in solvers:
        yield (
            f"verification.pass_rate.solver is '{band['solver']}', which is not in verification.solvers"
            f"{close(band['solver'], list(solvers))}."
        )
    samples, least = sum(solver["samples"] for solver in solvers.values()), section["min_agreement"]
    if solvers and 0 < least * samples <= 1:
        yield (
            f"verification.min_agreement is {least:g}, which one sample reaches of the {samples} that the solvers draw "
            "in all: no two would have to agree. Raise it or their samples; 0 keeps all answers."
        )
    for name, solver in solvers.items():
        if solver["samples"] > 1 and solver["sampling"]["temperature"] == 0:
            yield (
                f"verification.solvers.{name}.samples is {solver['samples']}, but sampling.temperature is 0: all "
                "samples would be the same, and agree. Raise the temperature, or take one."
            )


def _students(config: Mapping[str, Any]) -> Iterator[str]:
    for name, student in config["students"].items():
        data = student["data"]
        if data == OURS:
            for generator in student["generators"]:
                if generator not in config["use"]["generators"]:
                    yield (
                        f"students.{name}.generators names '{generator}', which use.generators does not: its questions "
                        "are not in the dataset."
                    )
            for seed in student["seeds"]:
                if seed not in config["questions"]["seeds"]:
                    yield f"students.{name}.seeds names {seed}, which is not in questions.seeds."
            continue
        if student["generators"] or student["seeds"]:
            yield f"students.{name}.data is {data}, not ours: it has neither generators nor seeds; remove the two keys."
        if data not in config["datasets"]:
            yield not_in(f"students.{name}.data", data, "datasets", config)
        elif _lacks(config, data, "solution"):
            yield f"datasets.{data}.fields names no solution, the response that students.{name} is to be trained on."
    if OURS in config["datasets"]:
        yield f"datasets has an entry '{OURS}', which stands for this run's own dataset: rename it."


def _evaluation(config: Mapping[str, Any]) -> Iterator[str]:
    evaluation, names = config["evaluation"], measured(config)
    if names and not config["use"]["benchmarks"]:
        yield f"{', '.join(names)} would be measured, but use.benchmarks is empty: name a benchmark."
    for name in sorted(set(config["models"]) & set(config["students"])):
        yield f"'{name}' is in models and in students, whose results would share a folder: rename the student."
    for name in config["use"]["benchmarks"] if names else []:
        if _lacks(config, name, "answer", "solution"):
            yield f"datasets.{name}.fields names neither answer nor solution, so nothing can be graded on it: name one."
    for name in evaluation["columns"]:
        if name not in config["datasets"]:
            yield not_in("evaluation.columns", name, "datasets", config)
    columns: dict[str, str] = {}
    for name in config["use"]["benchmarks"] if names else []:
        column = evaluation["columns"].get(name, name)
        if name in config["datasets"] and name not in evaluation["columns"] and name in published_table()[0]:
            yield (
                f"use.benchmarks names '{name}', which is a column of the published table: say by evaluation.columns "
                "which of the published benchmarks it is, or rename the dataset."
            )
        if column in columns:
            yield f"evaluation.columns has {columns[column]} and {name} of use.benchmarks both in '{column}': keep one."
        columns[column] = name
    published = {row["model"] for row in published_table()}
    for name, model in evaluation["compare"].items():
        if name not in config["models"] and name not in config["students"]:
            yield f"evaluation.compare names '{name}', which is neither in models nor in students."
        if model not in published:
            yield (
                f"evaluation.compare.{name} is '{model}', which resources/table1.csv does not have"
                f"{close(model, published)}."
            )
    if evaluation["samples"] > 1 and evaluation["sampling"]["temperature"] == 0:
        yield (
            f"evaluation.samples is {evaluation['samples']}, but sampling.temperature is 0: all answers would be the "
            "same. Raise the temperature, or take one."
        )
    if max(evaluation["k"], default=1) > evaluation["samples"]:
        yield (
            f"evaluation.k names {max(evaluation['k'])}, more than evaluation.samples ({evaluation['samples']}), of "
            "which pass@k draws k: raise samples, or leave it out."
        )


def _topics(config: Mapping[str, Any]) -> Iterator[str]:
    """Topics of one name, and a domain without topics."""
    named: dict[str, str] = {}
    for option in config["topics"]["options"] or ():
        if (other := named.setdefault(" ".join(option.casefold().split()), option)) != option:
            yield f"topics.options has '{other}' and '{option}', which differ in case or spaces alone: keep one."
    found = len(topic_options(config))
    if config["topics"]["enabled"] and not 2 <= found <= len(LETTERS):
        yield (
            f"topics.enabled is true, but the domain '{config['domain']}' has {found} topics "
            f"(resources/domains/{config['domain']}/topics.txt): name 2 to {len(LETTERS)} in topics.options."
        )


CROSS_CHECKS: tuple[Callable[[Mapping[str, Any]], Iterator[str]], ...] = (
    _domain,
    _references,
    _trained_benchmarks,
    _sources,
    _storage,
    _windows,
    _shards,
    _engine,
    _lengths,
    _training,
    _system_prompts,
    _pairs,
    _filters,
    _selection,
    _verification,
    _thinking,
    _students,
    _evaluation,
    _topics,
)
