"""The computed memory of a training: parameters of known models, parts that add up, and what the config check says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import ROOT
from scalequest.config.check import check
from scalequest.config.defaults import fill_defaults
from scalequest.config.selectors import student_settings
from scalequest.runtime.files import write_json
from scalequest.settings import TrainingSettings, Tuning, read_settings
from scalequest.training.memory import GB, Memory, Shape, memory, shape_of
from scalequest.workflow.estimate import Job
from scalequest.workflow.schedule import too_long
from scalequest.workflow.training_memory import PARTS, cautions, host_mb, table, trainings
from workflow import merged

# What the models of presets/table1.yaml say of themselves in config.json, and their published sizes.
LLAMA = {"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096}
MODELS: dict[str, tuple[dict[str, Any], float]] = {
    "mistral_7b": ({**LLAMA, "intermediate_size": 14336, "vocab_size": 32000}, 7.24e9),
    "llama3_8b": ({**LLAMA, "intermediate_size": 14336, "vocab_size": 128256}, 8.03e9),
    "deepseek_math_base": (
        {**LLAMA, "num_hidden_layers": 30, "num_key_value_heads": 32, "intermediate_size": 11008, "vocab_size": 102400},
        6.91e9,
    ),
    "qwen2_math_base": (
        {
            **{"num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "hidden_size": 3584},
            **{"intermediate_size": 18944, "vocab_size": 152064},
        },
        7.62e9,
    ),
}


def shape(name: str) -> Shape:
    found = shape_of({**MODELS[name][0], "tie_word_embeddings": False})
    assert found is not None
    return found


@pytest.mark.parametrize("name", MODELS)
def test_parameters_are_those_of_the_model(name: str) -> None:
    assert shape(name).parameters == pytest.approx(MODELS[name][1], rel=2e-3)


@pytest.mark.parametrize("config", [{}, {"hidden_size": 8}, {**MODELS["mistral_7b"][0], "num_local_experts": 8}])
def test_a_model_of_another_layout_has_no_shape(config: dict[str, Any]) -> None:
    assert shape_of(config) is None


HOW = {"nodes": 1, "dtype": "bfloat16", "threads": 1, "launch_arguments": []}


def of(name: str, device: str = "gpu", /, **changes: Any) -> Any:
    """Memory of a student's training; `changes` are of `training` and of `student_tuning`."""
    config = fill_defaults(yaml.safe_load((ROOT / "config.yaml").read_text()))
    given = {"processes": 1, "gradient_checkpointing": True, "sharding": "none", **HOW, **changes}
    tuning = read_settings(Tuning, {**config["student_tuning"], "max_length": 4096, **changes})
    return memory(shape(name), "students", read_settings(TrainingSettings, given), tuning, device)  # type: ignore[arg-type]


def test_parts_by_hand() -> None:
    one = of("qwen2_math_base", optimizer="paged_adamw_32bit")
    assert one.weights / GB == one.gradients / GB == pytest.approx(4 * 7.616, abs=0.01)
    assert one.optimizer / GB == pytest.approx(8 * 7.616, abs=0.01)
    assert one.least == one.device - one.optimizer
    eight = of("qwen2_math_base", processes=8, sharding="fsdp", optimizer="adamw_torch_fused")
    assert (eight.weights, eight.optimizer) == (one.weights / 8, one.optimizer / 8)
    # Only the first process reads the weights.
    assert eight.host < one.host + 8 * 4 * GB
    assert of("qwen2_math_base", optimizer="paged_adamw_8bit").optimizer == one.optimizer / 4
    # Twice the positions take twice the activations; gradient checkpointing takes a fraction.
    assert of("qwen2_math_base", rows_per_device=2).activations == 2 * of("qwen2_math_base").activations
    assert of("qwen2_math_base", gradient_checkpointing=False).activations > 8 * one.activations


OVERLAYS = {"students_8x40gb": 39, "students_8x80gb": 79, "students_1x80gb": 79}


def with_overlay(name: str) -> dict[str, Any]:
    """The paper's Table 1 with an overlay for students."""
    config: dict[str, Any] = yaml.safe_load((ROOT / "config.yaml").read_text())
    for preset in ("paper", "table1", name):
        config = merged(config, yaml.safe_load((ROOT / "presets" / f"{preset}.yaml").read_text()))
    config = fill_defaults(config)
    check(config)
    return config


def memories(name: str) -> dict[str, Memory]:
    """Memory of a student of each base model under an overlay."""
    config = with_overlay(name)
    how = read_settings(TrainingSettings, config["training"])
    students = {config["students"][student]["model"]: student for student in config["use"]["students"]}
    assert set(students) == set(MODELS)
    return {
        model: memory(
            shape(model), "students", how, read_settings(Tuning, student_settings(config, students[model])), "gpu"
        )
        for model in MODELS
    }


def as_comment(found: dict[str, Memory]) -> str:
    """The table that stands in an overlay's comment."""
    columns = [*PARTS, "in all", "paged" if any(m.paged for m in found.values()) else "", "host"]
    lines = ["#   " + " " * 20 + "".join(f"{column:>12}" for column in columns if column)]
    for name, m in found.items():
        sizes = [*(getattr(m, part) for part in PARTS), m.device, *([m.optimizer] if m.paged else []), m.host]
        lines.append(f"#   {name:20}" + "".join(f"{size / GB:12.1f}" for size in sizes))
    return "\n".join(lines)


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_has_its_memory_in_its_comment_and_fits(name: str) -> None:
    found = memories(name)
    assert as_comment(found) in (ROOT / "presets" / f"{name}.yaml").read_text(encoding="utf-8")
    assert with_overlay(name)["operation"]["gpu_memory_gib"] == OVERLAYS[name]
    # A tenth is left for what the table leaves out: fragments, and buffers of NCCL.
    assert max(m.least for m in found.values()) < 0.9 * OVERLAYS[name] * 2**30


def test_a_model_that_does_not_fit_is_named_before_the_run(tmp_path: Path) -> None:
    config = with_overlay("students_1x80gb")
    assert trainings(config, tmp_path) == cautions(config, tmp_path) == []
    # By the sizes in their names, before anything is staged.
    assert host_mb(config, tmp_path)["tune_student"] == 8 * 8000 + 3000 + 8 * 8000
    sharded = host_mb(with_overlay("students_8x40gb"), tmp_path)
    # Eight processes; the students' weights are read once, those of the reference model by each.
    assert (sharded["tune_student"], sharded["tune_preferences"]) == (8 * 3000 + 8 * 8000, 8 * 3000 + 9 * 4 * 7000)
    for name, (entries, _) in MODELS.items():
        write_json(tmp_path / "weights" / name / "config.json", {**entries, "tie_word_embeddings": False})
        write_json(tmp_path / f"results/models/{name}.json", {"folder": f"weights/{name}", "files": {}})
    assert cautions(config, tmp_path) == []
    lines = table(trainings(config, tmp_path))
    assert any(line.startswith("student_tuning: mistral_scalequest, mistral_metamath") for line in lines)
    config["operation"]["gpu_memory_gib"] = 40
    said = cautions(config, tmp_path)
    assert any("student_tuning (llama3_scalequest) needs 67 GiB on each GPU" in line for line in said)
    assert "operation.gpu_memory_gib is 40" in said[0]


def test_a_training_longer_than_its_attempts_is_said() -> None:
    hours = 3600.0
    limits = (4 * hours, 8 * hours, 12 * hours, 16 * hours)
    jobs = [Job("tune_student", 1.0, hours * h, "", limits=limits) for h in (39, 66, 191)]
    assert too_long(jobs[:1]) == []
    (said,) = too_long(jobs)
    assert said.startswith("tune_student: 2 trainings would take up to 8.0 d, more than the 40.0 h of 4 attempts.")
    # 40 h and ten attempts of 16 h.
    assert "set retries to 13 in the profile" in said
