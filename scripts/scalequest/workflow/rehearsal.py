"""A rehearsal: the sizes that make minutes of a run, and what it left for the plan of the run.

A rehearsal runs every stage on the run's own models with a few rows, in a folder of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import Any

from scalequest.config.defaults import merged
from scalequest.config.selectors import datasets_in_use, student_settings, tuned_by_preference
from scalequest.errors import ScaleQuestError
from scalequest.runtime.files import read_json

# The folder of a run's rehearsal, below its own, and what the rehearsal left for `make plan`.
FOLDER, RECORD = "rehearsal", "rehearsal.json"
# Questions of each generator; known problems; rows of a window.
ROWS = 16
# Rows of a training set that students of other data are trained on.
_TRAINING_ROWS = 1000
# What a measurement must have lasted to be used by `make plan`, in seconds.
LONG_ENOUGH = 120


def check_server(config: Mapping[str, Any]) -> None:
    """Raises ScaleQuestError where a server would be asked that nobody has allowed to be asked."""
    tuning, server = config["preference_tuning"], config["operation"]["server"]["base_url"]
    asked = tuned_by_preference(config) and tuning["pairs"] == "rewrite" and tuning["rewrite"]["backend"] == "server"
    if asked and not config["rehearsal"]["ask_server"]:
        raise ScaleQuestError(
            f"preference_tuning.rewrite.backend is server: a rehearsal would send {ROWS} questions of each generator "
            f"to {server}, which may cost money. Set rehearsal.ask_server: true to allow that, or rewrite with a model "
            "(backend: engine)."
        )


def overlay(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What the rehearsal of a run in `folder` has in place of the run's own settings.

    Models, prompts, sampling, rows of a step and all that takes memory stay. Filters mark and drop nothing, so that
    every stage has rows.
    """
    tuning = config["preference_tuning"]
    groups = tuning["rank"]["group"] if tuning["pairs"] == "rank" else 2
    small: dict[str, Any] = {
        "models": {name: _found_from_elsewhere(entry, folder) for name, entry in config["models"].items()},
        "datasets": {
            name: _found_from_elsewhere(entry, folder) | _fewer_rows(config, name)
            for name, entry in config["datasets"].items()
        },
        "students": {
            name: {
                "rows": 2 * student_settings(config, name)["rows_per_step"],
                "tuning": {"epochs": 2},
            }
            for name in config["students"]
        },
        "engine": {"window": ROWS, "stage_windows": dict.fromkeys(config["engine"]["stage_windows"], ROWS)},
        "question_tuning": {"max_questions": 2 * config["question_tuning"]["rows_per_step"], "epochs": 2},
        "preference_tuning": {
            **{"questions": 8 * groups, "min_pairs": 2, "rank": {"min_margin": 0.0}},
            "dpo": {"held_out": 1, "epochs": 2, "rows_per_step": _rows_of_a_step(config, tuning["dpo"])},
        },
        "questions": {"seeds": config["questions"]["seeds"][:1], "shards": 1, "questions_per_shard": ROWS},
        "filters": {name: {"action": "mark"} for name in config["filters"] if name != "order"},
        "difficulty": {
            **{"problems": ROWS, "samples": 1, "held_out": 0.25, "epochs": 2},
            "rows_per_step": _rows_of_a_step(config, config["difficulty"]),
        },
        "responses": {"samples": min(2, config["responses"]["samples"])},
        "selection": {"require_answer": False},
        "evaluation": {"samples": 1, "k": [], "shards": 1},
        "topics": {"max_questions": ROWS},
        "storage": {"models": str((folder / config["storage"]["models"]).absolute()), "progress": "progress"},
        "operation": {
            **{"measure_seconds": config["rehearsal"]["measure_seconds"], "resume_after_steps": 1},
            **{"confirm_above_gpu_hours": None, "verify_against": None},
        },
    }
    # The page says how many verdicts cannot be read.
    small["filters"]["solvability"]["max_unparsed"] = 1.0
    return small


def rehearsed(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The config of the rehearsal."""
    return merged(config, overlay(config, folder))


def _found_from_elsewhere(entry: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The source of a model or data set, if its path is seen from the run's folder alone."""
    kind, _, path = entry["source"].partition(":")
    if kind != "path" or not (folder / Path(path).expanduser()).exists():
        return {}
    return {"source": f"path:{(folder / Path(path).expanduser()).absolute()}"}


def _fewer_rows(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """How many rows of a data set are taken: all of seed problems."""
    if name in config["use"]["seeds"] or name not in datasets_in_use(config):
        return {}
    most = ROWS if name in config["use"]["benchmarks"] else _TRAINING_ROWS
    return {"max_rows": min(most, config["datasets"][name]["max_rows"] or most)}


def _rows_of_a_step(config: Mapping[str, Any], stage: Mapping[str, Any]) -> int:
    """At least as many as there are, so that each of the two epochs is a step."""
    at_once = stage["rows_per_device"] * config["training"]["processes"]
    return max(stage["rows_per_step"], ceil(ROWS / at_once) * at_once)


class Record:
    """What the rehearsal of a run in `folder` measured; nothing where there was none."""

    def __init__(self, folder: Path):
        path = folder / FOLDER / RECORD
        self._found: dict[str, Any] = read_json(path) if path.is_file() else {"models": {}, "measured": []}

    def of(self, what: str, manifest: str, base: str, source: str, engine: Mapping[str, Any]) -> dict[str, Any] | None:
        """What was measured of a program, or a section of trainings, with the model of a manifest: `rows_per_hour` of a
        job, `seconds` and `gpus`. None where that was not measured, too short, with another `source` of the model
        `base` that it is or was trained from, or with other settings of the `engine` than these."""
        if self._found["models"].get(base) != source:
            return None
        known = {(entry["what"], entry["model"]): entry for entry in self._found["measured"]}
        found = known.get((what, manifest))
        if found is None or found["seconds"] < LONG_ENOUGH:
            return None
        # A training has no engine.
        return found if found.get("engine") in (None, loaded(engine)) else None


def loaded(engine: Mapping[str, Any]) -> dict[str, Any]:
    """An engine's settings less its window, which a full engine does not depend on."""
    return {key: value for key, value in engine.items() if key != "window"}
