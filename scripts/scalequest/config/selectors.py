"""What a config asks for: models and data sets in use, the settings of one engine or one student.

Each function takes a config with every default filled in (`defaults.fill_defaults`).
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scalequest.config.schema import schema
from scalequest.runtime.files import CHECKOUT, read_text

TABLE1 = CHECKOUT / "resources" / "table1.csv"
LATER_WORK = CHECKOUT / "resources" / "later_work.csv"
# The training set of a student that is this run's dataset.
OURS = "ours"


def needs_model(kind: str) -> bool:
    """Whether a kind of reward scores with a model (`x-with-model` in the schema)."""
    return kind in schema()["properties"]["reward"]["properties"]["kind"]["x-with-model"]


def model_in_use(config: Mapping[str, Any]) -> list[str]:
    """Names of the models that the active stages need, sorted."""
    names = {path: name for path, name, used in model_references(config) if used}
    return sorted(set(names.values()))


def datasets_in_use(config: Mapping[str, Any]) -> list[str]:
    """Names of the datasets that the active stages need, sorted."""
    use, students = config["use"], config["students"]
    asked = config["filters"]["contamination"]["enabled"] or measured(config)
    learnt = [students[name]["data"] for name in use["students"] if name in students]
    return sorted({*use["seeds"], *(use["benchmarks"] if asked else []), *learnt} - {OURS})


def measured(config: Mapping[str, Any]) -> list[str]:
    """Names of what is measured on the benchmarks: models as they are, then students."""
    return [*config["evaluation"]["models"], *config["use"]["students"]]


def answering(config: Mapping[str, Any]) -> list[str]:
    """Names of the models that answer problems as they are: for the dataset, for fail rates, on benchmarks; sorted."""
    asked = ("responses.model", "difficulty.solver", "evaluation.models")
    return sorted({name for path, name, used in model_references(config) if used and path.startswith(asked)})


def student_settings(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The settings of a student's training, its own in place of the common ones; `prompt` and `format` among them."""
    return {**config["student_tuning"], **config["students"][name]["tuning"]}


# How many times as long a response with a trace is; of reasoning models at competition problems, roughly.
LENGTH_OF_THINKING = 10


def thinking_of(config: Mapping[str, Any], rule: str, wildcards: Mapping[str, str]) -> dict[str, Any] | None:
    """How the model of a rule's job is to think before it answers; None where it is not."""
    sections = {
        "sample_responses": config["responses"],
        "sample_solutions": config["verification"]["solvers"].get(wildcards.get("solver", ""), {}),
        "sample_answers": config["evaluation"],
    }
    found: dict[str, Any] | None = sections.get(rule, {}).get("thinking")
    return found


def engine_settings(config: Mapping[str, Any], model: str, stage: str | None = None) -> dict[str, Any]:
    """The engine's settings for one model in one rule (a name of engine.stage_windows), `device` included."""
    own = config["models"].get(model, {}).get("engine", {})
    settings = {"device": config["device"], **config["engine"], **own}
    windows = settings.pop("stage_windows")
    if settings["dtype"] is None:
        # Many processors have no instructions for bfloat16, and take five times as long with it.
        settings["dtype"] = "float32" if settings["device"] == "cpu" else "bfloat16"
    return {**settings, "window": windows.get(stage, settings["window"])}


def topic_options(config: Mapping[str, Any]) -> list[str]:
    """The topics that a model chooses from: those of the config, or else the domain's; none where it has none."""
    if (options := config["topics"]["options"]) is not None:
        return list(options)
    path = CHECKOUT / "resources" / "domains" / config["domain"] / "topics.txt"
    lines = read_text(path, "the list of topics").splitlines() if path.is_file() else []
    return [line.strip() for line in lines if line.strip()]


def tuned_by_preference(config: Mapping[str, Any]) -> bool:
    """Whether a generator in use goes through preference tuning, so that pairs are made at all."""
    active = [config["generators"].get(name, {}) for name in config["use"]["generators"]]
    return any(generator.get("tuning") == "preference" for generator in active)


def difficulty_by(config: Mapping[str, Any]) -> str:
    """What the filter `difficulty` goes by: `scorer` or `pass_rate`; empty where it is off."""
    policy = config["filters"]["difficulty"]
    return str(policy["by"]) if policy["enabled"] else ""


def model_references(config: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """Every setting that names a model: its path, the name, and whether an active stage uses it."""
    preference, filters = config["preference_tuning"], config["filters"]
    tuned = tuned_by_preference(config)
    ranks, rewrites = preference["pairs"] == "rank", preference["pairs"] == "rewrite"
    scorer = difficulty_by(config) == "scorer"
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
        ("reward.model", config["reward"]["model"], needs_model(config["reward"]["kind"])),
        *(
            (f"verification.solvers.{name}.model", solver.get("model"), True)
            for name, solver in config["verification"]["solvers"].items()
        ),
        ("topics.model", config["topics"]["model"], config["topics"]["enabled"]),
        *((f"evaluation.models[{place}]", name, True) for place, name in enumerate(config["evaluation"]["models"])),
        *(
            (f"students.{name}.model", entry.get("model"), name in config["use"]["students"])
            for name, entry in config["students"].items()
        ),
    ]
    return [reference for reference in references if reference[1] is not None]


def model_roles(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What the stages in use ask of each model in use: `chat`, a chat template; `context`, the longest text in tokens
    that an engine is told to hold, 0 where the model runs in none; `reward`, the kind of reward that it gives, if any;
    `system_prompts`, those of generators that sample from it."""
    roles: dict[str, dict[str, Any]] = {}
    for path, name, active in model_references(config):
        if not active:
            continue
        role = roles.setdefault(name, {"chat": False, "context": 0, "reward": "", "system_prompts": []})
        if path.startswith("students."):
            role["chat"] |= config["student_tuning"]["format"] == "chat"
            continue
        form = config["evaluation"]["format"] if path.startswith("evaluation.") else "chat"
        if path == "difficulty.base":
            continue
        role["chat"] |= form == "chat"
        role["context"] = engine_settings(config, name)["max_model_len"]
        if path.startswith("generators.") and (prompt := config["generators"][path.split(".")[1]].get("system_prompt")):
            role["system_prompts"].append(prompt)
        if path == "reward.model":
            role["reward"] = config["reward"]["kind"]
    return roles


@functools.cache
def published_table() -> list[dict[str, str]]:
    """The paper's Table 1 (resources/table1.csv): group, model, synthesis_model, percent correct by benchmark, average;
    empty where nothing was published. Shared by all callers: not to be changed."""
    return _read(TABLE1)


@functools.cache
def later_table() -> list[dict[str, str]]:
    """Figures of later work (resources/later_work.csv): model, synthesis_model, source, percent correct by benchmark,
    the mean over several answers; empty where none is known, and then `note` may say what is. Shared by all callers:
    not to be changed."""
    return _read(LATER_WORK)


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
