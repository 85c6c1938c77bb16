"""The memory of the trainings that a config asks for, as far as the shapes of their models are known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalequest.config.selectors import difficulty_by, student_settings, tuned_by_preference
from scalequest.errors import ScaleQuestError
from scalequest.runtime.files import find_path, read_json
from scalequest.settings import TrainingSettings, Tuning, read_settings
from scalequest.training.memory import GB, Memory, Shape, host, memory, shape_of
from scalequest.workflow import weights

GIB = 2**30
# The rule of each section of a training.
RULES = {
    **{"question_tuning": "tune_questions", "preference_tuning.dpo": "tune_preferences"},
    **{"difficulty": "train_scorer", "student_tuning": "tune_student"},
}
PARTS = ("weights", "gradients", "optimizer", "copies", "activations", "head", "context")


@dataclass(frozen=True)
class Planned:
    """A training of a config: what it is called, the path of its settings, and its memory."""

    name: str
    section: str
    memory: Memory


def trainings(config: Mapping[str, Any], folder: Path = Path()) -> list[Planned]:
    """The trainings in use whose model is staged in `folder`, or is a folder of the config, and has a known shape."""
    how = read_settings(TrainingSettings, config["training"])
    found = []
    for name, section, kind, model, settings in _asked(config):
        shape = shape_of_model(config["models"][model]["source"], model, folder)
        if shape is not None:
            tuning = read_settings(Tuning, settings)
            found.append(Planned(name, section, memory(shape, kind, how, tuning, config["device"])))
    return found


def _asked(config: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str, Mapping[str, Any]]]:
    """Name, section, kind, model and settings of each training in use."""
    for name in config["use"]["generators"]:
        generator = config["generators"][name]
        if generator["tuning"] != "none":
            yield name, "question_tuning", "questions", generator["model"], config["question_tuning"]
        if generator["tuning"] == "preference" and tuned_by_preference(config):
            dpo = {**config["preference_tuning"]["dpo"], "seed": config["preference_tuning"]["seed"]}
            yield name, "preference_tuning.dpo", "preferences", generator["model"], dpo
    if difficulty_by(config) == "scorer":
        yield "scorer", "difficulty", "scorer", config["difficulty"]["base"], config["difficulty"]
    for name in config["use"]["students"]:
        yield name, "student_tuning", "students", config["students"][name]["model"], student_settings(config, name)


def shape_of_model(source: str, name: str, folder: Path) -> Shape | None:
    """Shape of a model by its `config.json`: staged for runs in `folder`, or of a `path:`; None before it is staged."""
    manifest = folder / "results" / "models" / f"{name}.json"
    try:
        if manifest.is_file():
            return shape_of(read_json(folder / read_json(manifest)["folder"] / "config.json"))
        if source.startswith("path:"):
            return shape_of(read_json(find_path(source.removeprefix("path:")) / "config.json"))
    except (ScaleQuestError, OSError, KeyError, TypeError):
        # One file (GGUF) has no config.json. A damaged one has its own message where it is read to be used.
        pass
    return None


def host_mb(config: Mapping[str, Any], folder: Path = Path()) -> dict[str, int]:
    """Host memory (MB) on one node of the largest training of each rule that trains; 0 where the size of no model is
    known, staged or not."""
    how = read_settings(TrainingSettings, config["training"])
    known = dict.fromkeys(RULES.values(), 0.0)
    for training in trainings(config, folder):
        known[RULES[training.section]] = max(known[RULES[training.section]], training.memory.host)
    for _, section, kind, model, settings in _asked(config) if config["device"] == "gpu" else ():
        if parameters := weights.of_model(config["models"][model]["source"], model, folder):
            moments = 8 * parameters if settings["optimizer"].startswith("paged_") else 0.0
            known[RULES[section]] = max(known[RULES[section]], host(parameters, kind, how, moments))
    return {rule: round(size / 1e6) for rule, size in known.items()}


def table(found: Sequence[Planned]) -> list[str]:
    """A line for each training, GB on each device by part; trainings with equal memory share a line."""
    names: dict[tuple[str, Memory], list[str]] = {}
    for training in found:
        names.setdefault((training.section, training.memory), []).append(training.name)
    lines = [f"{'memory of trainings, GB a device':36}" + "".join(f"{part:>12}" for part in (*PARTS, "in all", "host"))]
    for (section, needed), own in names.items():
        sizes = [*(getattr(needed, part) for part in PARTS), needed.device, needed.host]
        label = f"{section}: {', '.join(own)}"
        lines.append(f"{label:36}" + "".join(f"{size / GB:12.1f}" for size in sizes))
    return lines


def cautions(config: Mapping[str, Any], folder: Path = Path()) -> list[str]:
    """A sentence for each training that needs more than `operation.gpu_memory_gib`."""
    there = config["operation"]["gpu_memory_gib"]
    if there is None or config["device"] == "cpu":
        return []
    return [
        f"{training.section} ({training.name}) needs {training.memory.least / GIB:.0f} GiB on each GPU by its model's "
        f"size, but operation.gpu_memory_gib is {there:g}: lower {training.section}.rows_per_device, set "
        "training.gradient_checkpointing, or shard it over more processes (training.sharding: fsdp)."
        for training in trainings(config, folder)
        if training.memory.least > there * GIB
    ]
