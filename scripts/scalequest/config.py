"""The config, checked before any job starts: structure by schemas/config.schema.yaml, then what no schema can say.

The Snakefile imports this in every job, so nothing heavy may be imported here. All problems are reported at once, in
plain sentences; settings reach the rules with every default filled in.
"""

from __future__ import annotations

import copy
import csv
import difflib
import functools
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import jsonschema
import yaml

from scalequest.errors import ScaleQuestError
from scalequest.hashing import digest

SCHEMA = Path(__file__).resolve().parents[2] / "schemas" / "config.schema.yaml"
TABLE1 = Path(__file__).resolve().parents[2] / "resources" / "table1.csv"

# The training set of a student that is this run's dataset.
OURS = "ours"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_PINNED = re.compile(r"hf:[^@]+@[0-9a-f]{40}(:.*)?")
# Rules that work shard by shard; the others have index spaces of their own.
_SHARDED = {"sample_questions", "judge_questions", "score_difficulty", "sample_responses", "score_responses"}
# Bytes of file names, with some room for the rest of the command.
_LONGEST_COMMAND = 120_000
_CATALOGUES = ("models", "datasets", "generators", "students")
_TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a map of settings",
    "null": "null",
}


# ---------------------------------------------------------------- what the Snakefile asks for


def check(config: Mapping[str, Any]) -> None:
    """Raises ScaleQuestError that lists every problem of the config, each as a sentence with key, value and remedy."""
    plain, problems = _plain(config)
    broken, found = _structure(plain)
    problems += found
    # The cross-checks see a config whose faulty values are replaced by defaults, so that one mistake hides no other.
    sound = fill_defaults(_without(plain, broken))
    # Without a catalogue every name would seem to be missing.
    if not any([name] in broken for name in _CATALOGUES):
        for cross_check in _CROSS_CHECKS:
            problems += cross_check(sound)
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in dict.fromkeys(problems))
        count = lines.count("\n  - ") + 1
        raise ScaleQuestError(f"the config has {count} problem{'s' if count > 1 else ''}:\n{lines}")


def fill_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the config with the schema's default for each key that is missing, catalogue entries included.

    Numbers take the schema's type (1 becomes 1.0 where fractions are allowed), so that equal settings are equal text.
    """
    return _filled(config, schema())


def cautions(config: Mapping[str, Any]) -> list[str]:
    """Sentences on what may run but should be decided first: sources in use whose revision can move, windows that are
    drained so often that it costs."""
    full = fill_defaults(config)
    used = [("models", name) for name in model_in_use(full)] + [("datasets", name) for name in datasets_in_use(full)]
    sources = [(f"{kind}.{name}.source", full[kind][name]["source"]) for kind, name in used if name in full[kind]]
    found = [
        f"{path} is {source}, a revision that can move: pin it to the 40 hexadecimal digits of a commit."
        for path, source in sources
        if source.startswith("hf:") and not _PINNED.fullmatch(source)
    ]
    engine, rows = full["engine"], full["questions"]["questions_per_shard"]
    window, at_once = engine["window"], engine["max_sequences"]
    # A shard of few windows has no room for larger ones.
    if engine["determinism"] == "windows" and window < 2 * at_once and rows >= 4 * window:
        found.append(
            f"engine.window is {window} and engine.max_sequences {at_once}: the engine drains after each window, whose "
            f"last rows run alone, which costs up to a fifth of the speed. A window of {5 * at_once} rows or more, of "
            "which a shard is a multiple, costs a twentieth (docs/reliability.md)."
        )
    return found


def model_in_use(config: Mapping[str, Any]) -> list[str]:
    """Names of the models that the active stages need, sorted."""
    names = {path: name for path, name, used in _model_references(fill_defaults(config)) if used}
    return sorted(set(names.values()))


def datasets_in_use(config: Mapping[str, Any]) -> list[str]:
    """Names of the datasets that the active stages need, sorted."""
    full = fill_defaults(config)
    asked = full["filters"]["contamination"]["enabled"] or measured(full)
    learnt = [full["students"][name]["data"] for name in full["use"]["students"] if name in full["students"]]
    benchmarks = full["use"]["benchmarks"] if asked else []
    return sorted({*full["use"]["seeds"], *benchmarks, *learnt} - {OURS})


def measured(config: Mapping[str, Any]) -> list[str]:
    """Names of what is measured on the benchmarks: models as they are, then students."""
    return [*config["evaluation"]["models"], *config["use"]["students"]]


def student_settings(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The settings of a student's training, its own in place of the common ones; `prompt` and `format` among them."""
    return {**config["student_tuning"], **config["students"][name]["tuning"]}


def engine_settings(config: Mapping[str, Any], model: str, stage: str | None = None) -> dict[str, Any]:
    """The engine's settings for one model in one rule (a name of engine.stage_windows), `device` included."""
    return _engine_of(fill_defaults(config), model, stage)


def config_digest(config: Mapping[str, Any]) -> str:
    """SHA-256 of all settings that shape a result: what a run is frozen to, and what its jobs compare."""
    return digest(shaping(config))


def shaping(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config, defaults included, less what says where and how to run."""
    return {key: value for key, value in fill_defaults(config).items() if key not in ("storage", "operation")}


@functools.cache
def schema() -> dict[str, Any]:
    """The schema as a dict. Shared by all callers: not to be changed."""
    return yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))


def resolved(node: Mapping[str, Any]) -> dict[str, Any]:
    """A schema node with its `$ref` put in; what stands beside the reference wins."""
    if "$ref" not in node:
        return dict(node)
    return {
        **schema()["$defs"][node["$ref"].removeprefix("#/$defs/")],
        **{k: v for k, v in node.items() if k != "$ref"},
    }


# ---------------------------------------------------------------- defaults


def _filled(value: Any, node: Mapping[str, Any]) -> Any:
    node = resolved(node)
    types = node.get("type", [])
    if isinstance(value, Mapping) and types == "object":
        result = {}
        properties = node.get("properties", {})
        for key, below in properties.items():
            below = resolved(below)
            if key in value:
                result[key] = _filled(value[key], below)
            elif "default" in below:
                result[key] = _filled(copy.deepcopy(below["default"]), below)
            elif below.get("type") == "object":
                result[key] = _filled({}, below)
        entry = node.get("additionalProperties")
        for key in value:
            if key not in properties:
                result[key] = _filled(value[key], entry) if isinstance(entry, Mapping) else copy.deepcopy(value[key])
        return result
    if isinstance(value, list) and "items" in node:
        return [_filled(item, node["items"]) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and _takes(types, "number"):
        return float(value)
    if isinstance(value, float) and value.is_integer() and _takes(types, "integer"):
        return int(value)
    return copy.deepcopy(value)


def _takes(types: str | list[str], name: str) -> bool:
    # Where a whole number and text are equally welcome (`where`), the value stays as it was written.
    return name in ([types] if isinstance(types, str) else types) and "string" not in types


# ---------------------------------------------------------------- structure


def _plain(config: Mapping[str, Any], path: str = "") -> tuple[dict[str, Any], list[str]]:
    """A deep copy without what JSON cannot hold (keys that are not text, infinities), and a sentence for each."""
    plain: dict[str, Any] = {}
    problems: list[str] = []
    for key, value in config.items():
        place = f"{path}{key}"
        if not isinstance(key, str):
            problems.append(f"the key {place} is not text: YAML reads it as {_shown(key)}; write it in quotes.")
        elif isinstance(value, Mapping):
            plain[key], below = _plain(value, f"{place}.")
            problems += below
        elif isinstance(value, float) and not math.isfinite(value):
            problems.append(f"{place} is {value}; it must be a finite number.")
        else:
            plain[key] = copy.deepcopy(value)
    return plain, problems


def _structure(config: Mapping[str, Any]) -> tuple[list[list[str | int]], list[str]]:
    """Paths of the values that the schema rejects, and a sentence for each."""
    paths: list[list[str | int]] = []
    problems: list[str] = []
    errors = jsonschema.Draft202012Validator(schema()).iter_errors(config)
    for error in sorted(errors, key=lambda error: [str(part) for part in error.absolute_path]):
        path: list[str | int] = list(error.absolute_path)
        node = cast("Mapping[str, Any]", error.schema)
        value: Any = error.instance
        if error.validator == "additionalProperties":
            known = list(node.get("properties", {}))
            for key in [key for key in value if key not in known]:
                paths.append([*path, key])
                hint = _close(key, known) or _right_place(key)
                problems.append(f"unknown key {_dotted([*path, key])}{hint}.")
        elif error.validator == "required":
            for key in [key for key in node["required"] if key not in value]:
                meaning = resolved(node["properties"][key])["description"]
                problems.append(f"{_dotted(path)} has no key '{key}'. {meaning}")
        elif "propertyNames" in error.absolute_schema_path:
            paths.append([*path, value])
            problems.append(f"the name {value!r} in {_dotted(path)} must be {node['x-expected']}.")
        elif path not in paths:
            paths.append(path)
            problems.append(_rejected(_dotted(path), value, node, str(error.validator)))
    return paths, list(dict.fromkeys(problems))


def _rejected(place: str, value: Any, node: Mapping[str, Any], keyword: str) -> str:
    """One sentence on a value that is there but that its schema node rejects, by which keyword."""
    if keyword == "uniqueItems":
        twice = [str(item) for number, item in enumerate(value) if item in value[:number]]
        return f"{place} names {', '.join(twice)} more than once."
    if isinstance(value, str) and _NUMBER.fullmatch(value) and {"integer", "number"} & set(_types(node)):
        return f"{place} is '{value}', which YAML reads as text, not as a number: write {_as_yaml(value)}."
    hint = _close(value, node["enum"]) if isinstance(value, str) and "enum" in node else ""
    # A text where a password or a key may have been put by mistake is not repeated: messages end up in logs.
    shown = "a text that is not shown here" if node.get("x-hidden") and isinstance(value, str) else _shown(value)
    return f"{place} is {shown}; it must be {_expected(node)}{hint}."


def _types(node: Mapping[str, Any]) -> list[str]:
    types = node.get("type", [])
    return [types] if isinstance(types, str) else list(types)


def _expected(node: Mapping[str, Any]) -> str:
    """What a schema node accepts, in words: `a whole number, at least 1, or null`."""
    if "enum" in node:
        return "one of " + ", ".join(str(choice) for choice in node["enum"])
    types = _types(node)
    bounds = [
        f"{words} {node[key]}"
        for key, words in (
            ("minimum", "at least"),
            ("exclusiveMinimum", "above"),
            ("maximum", "at most"),
            ("exclusiveMaximum", "below"),
        )
        if key in node
    ]
    if "x-expected" in node:
        words = [node["x-expected"]]
    else:
        words = [" or ".join(_TYPES[name] for name in types if name != "null"), *bounds]
    if node.get("minItems") or node.get("minLength"):
        words.append("not empty")
    return ", ".join(words) + (", or null" if "null" in types else "")


def _shown(value: Any) -> str:
    """A value as a sentence shows it: `'five' (text)`, `true (true or false)`; long ones are cut."""
    if value is None:
        return "null (empty)"
    if isinstance(value, Mapping):
        return "a map of settings"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value!r:.80}" + (" (text)" if isinstance(value, str) else "")


def _as_yaml(number: str) -> str:
    """A number as YAML 1.1 reads one: with a dot in the mantissa and a sign in the exponent."""
    mantissa, _, exponent = number.lower().partition("e")
    mantissa = mantissa if "." in mantissa or not exponent else f"{mantissa}.0"
    if mantissa.endswith("."):
        mantissa += "0"
    if not exponent:
        return mantissa + " without quotes"
    return f"{mantissa}e{exponent if exponent[0] in '+-' else '+' + exponent}"


def _close(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]}?)" if close else ""


def _right_place(key: str) -> str:
    places = [path for path in _all_keys() if path.rsplit(".", 1)[-1] == key]
    return f" (a key of that name belongs at {' or '.join(places)})" if places else ""


@functools.cache
def _all_keys() -> tuple[str, ...]:
    """Dotted paths of all settings outside the catalogues."""

    def walk(node: Mapping[str, Any], path: str) -> Iterator[str]:
        for key, below in resolved(node).get("properties", {}).items():
            yield path + key
            yield from walk(below, f"{path}{key}.")

    return tuple(walk(schema(), ""))


def _dotted(path: Iterable[str | int]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "the config"


def _without(config: dict[str, Any], paths: Iterable[list[str | int]]) -> dict[str, Any]:
    """The config less the values at the paths (a faulty item takes its whole list with it; of a faulty entry of a
    catalogue the name stays, as what refers to it is right)."""
    result = copy.deepcopy(config)
    for path in paths:
        at: Any = result
        for part in path[:-1]:
            if not isinstance(at.get(part), dict):
                at.pop(part, None)
                break
            at = at[part]
        else:
            if len(path) == 2 and path[0] in _CATALOGUES:
                at[path[1]] = {}
            elif path:
                at.pop(path[-1], None)
    return result


# ---------------------------------------------------------------- what no schema can say


def _engine_of(full: Mapping[str, Any], model: str, stage: str | None = None) -> dict[str, Any]:
    settings = {"device": full["device"], **full["engine"], **full["models"].get(model, {}).get("engine", {})}
    windows = settings.pop("stage_windows")
    return {**settings, "window": windows.get(stage, settings["window"])}


def _tuned_by_preference(config: Mapping[str, Any]) -> bool:
    """Whether a generator in use goes through preference tuning, so that pairs are made at all."""
    active = [config["generators"].get(name, {}) for name in config["use"]["generators"]]
    return any(generator.get("tuning") == "preference" for generator in active)


def _model_references(config: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """Every setting that names a model: its path, the name, and whether an active stage uses it."""
    preference, filters = config["preference_tuning"], config["filters"]
    tuned = _tuned_by_preference(config)
    ranks, rewrites = preference["pairs"] == "rank", preference["pairs"] == "rewrite"
    scorer = filters["difficulty"]["enabled"]
    references = [
        (f"generators.{name}.model", entry.get("model"), name in config["use"]["generators"])
        for name, entry in config["generators"].items()
    ] + [
        ("preference_tuning.rank.model", preference["rank"]["model"], tuned and ranks),
        (
            "preference_tuning.rewrite.model",
            preference["rewrite"]["model"],
            tuned and rewrites and preference["rewrite"]["backend"] == "engine",
        ),
        ("filters.solvability.model", filters["solvability"]["model"], filters["solvability"]["enabled"]),
        ("difficulty.solver", config["difficulty"]["solver"], scorer),
        ("difficulty.base", config["difficulty"]["base"], scorer),
        ("responses.model", config["responses"]["model"], True),
        ("reward.model", config["reward"]["model"], config["reward"]["kind"] != "none"),
        *((f"evaluation.models[{place}]", name, True) for place, name in enumerate(config["evaluation"]["models"])),
        *(
            (f"students.{name}.model", entry.get("model"), name in config["use"]["students"])
            for name, entry in config["students"].items()
        ),
    ]
    return [reference for reference in references if reference[1] is not None]


def _references(config: Mapping[str, Any]) -> Iterator[str]:
    """Names that are in no catalogue, and datasets that are on both sides of the test."""
    catalogues = {"seeds": "datasets", "generators": "generators", "benchmarks": "datasets", "students": "students"}
    for key, catalogue in catalogues.items():
        for name in config["use"][key]:
            if name not in config[catalogue]:
                yield _not_in(f"use.{key}", name, catalogue, config)
    for path, name, used in _model_references(config):
        # The rewriter's name stands idle beside a server or ranked pairs.
        if name not in config["models"] and (used or path != "preference_tuning.rewrite.model"):
            yield _not_in(path, name, "models", config)
    for name in config["filters"]["difficulty"]["generators"]:
        if name not in config["generators"]:
            yield _not_in("filters.difficulty.generators", name, "generators", config)
    for name in config["use"]["seeds"]:
        if config["filters"]["difficulty"]["enabled"] and _lacks(config, name, "answer", "solution"):
            yield (
                f"datasets.{name}.fields names neither answer nor solution, so the difficulty solver cannot be graded: "
                "name one, or set filters.difficulty.enabled to false."
            )
    for name in sorted(set(config["use"]["seeds"]) & set(config["use"]["benchmarks"])):
        yield f"'{name}' is in use.seeds and in use.benchmarks: a benchmark cannot be trained on."


def _lacks(config: Mapping[str, Any], name: str, *columns: str) -> bool:
    """Whether a dataset is well described (or else that was said already), but has none of these columns."""
    fields = config["datasets"].get(name, {}).get("fields", {})
    return "question" in fields and not set(columns) & set(fields)


def _same_rows(config: Mapping[str, Any], name: str, other: str) -> bool:
    """Whether two datasets are the same part of one source, or one is a part of the other."""
    one, two = (config["datasets"].get(which, {}) for which in (name, other))
    if name == other or not one or one.get("source") != two.get("source"):
        return name == other
    wheres = [data.get("where", {}).items() for data in (one, two)]
    return wheres[0] <= wheres[1] or wheres[1] <= wheres[0]


def _not_in(path: str, name: str, catalogue: str, config: Mapping[str, Any]) -> str:
    known = sorted(config[catalogue])
    hint = _close(name, known) or f", which has {', '.join(known) or 'no entry'}"
    return f"{path} names '{name}', which is not in the catalogue {catalogue}{hint}."


def _sources(config: Mapping[str, Any]) -> Iterator[str]:
    for name, model in config["models"].items():
        source = model.get("source", "")
        if model["trust_remote_code"] and not _PINNED.fullmatch(source):
            yield (
                f"models.{name}.trust_remote_code is true, but its source {source} is not pinned: only at "
                "hf:ORG/NAME@COMMIT, with the commit's 40 hexadecimal digits, may a model bring code."
            )
        if source.startswith("package:") and model["sha256"] is None:
            yield f"models.{name} comes from a package and has no sha256: write the SHA-256 of the file."


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
        f"engine.stage_windows.{stage}": size for stage, size in engine["stage_windows"].items() if stage in _SHARDED
    }
    for path, size in windows.items():
        if rows % size:
            below = rows // size * size
            near = f"{below} or {below + size}" if below else str(size)
            yield f"questions.questions_per_shard is {rows}, not a multiple of {path} ({size}): take {near}."


def _shards(config: Mapping[str, Any]) -> Iterator[str]:
    """One command, an argument of the shell, names three files of each shard; the system takes 128 KiB of it."""
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
        engine = _engine_of(config, name or "")
        tokens = engine["max_batched_tokens"]
        if tokens < engine["max_sequences"]:
            yield f"{place}: max_batched_tokens ({tokens}) is below max_sequences ({engine['max_sequences']})."
        if config["device"] == "cpu" and tokens < engine["max_model_len"]:
            yield (
                f"{place}: max_batched_tokens ({tokens}) is below max_model_len ({engine['max_model_len']}): "
                "on a CPU a prompt must fit one step."
            )


def _lengths(config: Mapping[str, Any]) -> Iterator[str]:
    """Texts that leave no room for their prompt in the engine that makes or scores them."""
    preference, solvability = config["preference_tuning"], config["filters"]["solvability"]
    limits = {
        "preference_tuning.rewrite.model": (
            "preference_tuning.rewrite.sampling.max_tokens",
            preference["rewrite"]["sampling"]["max_tokens"],
        ),
        "filters.solvability.model": ("filters.solvability.reasoning_tokens", solvability["reasoning_tokens"]),
        "difficulty.solver": ("difficulty.sampling.max_tokens", config["difficulty"]["sampling"]["max_tokens"]),
        "responses.model": ("responses.sampling.max_tokens", config["responses"]["sampling"]["max_tokens"]),
    }
    if config["reward"]["kind"] == "model":
        # A reward model reads the question and the whole response.
        limits["reward.model"] = limits["responses.model"]
    for path, model, used in _model_references(config):
        asked = [limits[path]] if path in limits else []
        if path.startswith(("evaluation.models", "students.")):
            asked = [("evaluation.sampling.max_tokens", config["evaluation"]["sampling"]["max_tokens"])]
        if path.startswith("generators."):
            asked = [
                ("questions.sampling.max_tokens", config["questions"]["sampling"]["max_tokens"]),
                ("preference_tuning.sampling.max_tokens", preference["sampling"]["max_tokens"]),
            ]
        room = _engine_of(config, model)["max_model_len"]
        own = "max_model_len" in config["models"].get(model, {}).get("engine", {})
        limit = f"models.{model}.engine.max_model_len" if own else "engine.max_model_len"
        for setting, tokens in asked:
            if used and tokens >= room:
                yield f"{setting} is {tokens}, which leaves no room for a prompt in {limit} ({room})."
        # The scorer reads a question and makes nothing: it may fill the engine.
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


def _pairs(config: Mapping[str, Any]) -> Iterator[str]:
    preference, tuned = config["preference_tuning"], _tuned_by_preference(config)
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
    missing = [name for name in filters if name != "order" and name not in order]
    twice = sorted({name for name in order if order.count(name) > 1})
    if missing or twice:
        what = [f"misses {', '.join(missing)}"] * bool(missing) + [f"repeats {', '.join(twice)}"] * bool(twice)
        yield f"filters.order {' and '.join(what)}: it names every filter once; enabled: false switches one off."
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


def _duplicates_place(filters: Mapping[str, Any]) -> Iterator[str]:
    """Filters that would drop an original whose copies are dropped too; `filters.order` is known to be complete."""

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
            yield _not_in(f"students.{name}.data", data, "datasets", config)
        elif _lacks(config, data, "solution"):
            yield f"datasets.{data}.fields names no solution, the response that students.{name} is to be trained on."
        for benchmark in config["use"]["benchmarks"]:
            if _same_rows(config, data, benchmark):
                which = data if data == benchmark else f"{data}, which has the rows of {benchmark}"
                yield f"students.{name}.data is {which}, which is in use.benchmarks: a benchmark cannot be trained on."
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
            yield _not_in("evaluation.columns", name, "datasets", config)
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
                f"{_close(model, published)}."
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


@functools.cache
def published_table() -> list[dict[str, str]]:
    """The paper's Table 1 (resources/table1.csv): group, model, synthesis_model, percent correct by benchmark, average;
    empty where nothing was published. Shared by all callers: not to be changed."""
    with TABLE1.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


_CROSS_CHECKS: tuple[Callable[[Mapping[str, Any]], Iterator[str]], ...] = (
    _references,
    _sources,
    _storage,
    _windows,
    _shards,
    _engine,
    _lengths,
    _training,
    _pairs,
    _filters,
    _selection,
    _students,
    _evaluation,
)
