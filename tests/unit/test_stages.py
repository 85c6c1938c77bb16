"""What lists stages and cannot read scripts/scalequest/stages.py (YAML, the rules) says the same as it does."""

from __future__ import annotations

import re

import pytest
import yaml

from conftest import ROOT
from scalequest.config.defaults import fill_defaults
from scalequest.stages import BY_RULE, FILTERS, STAGES, of_kind
from scalequest.workflow.estimate import Estimator
from scalequest.workflow.throughputs import throughputs

# Rules that make no rows and no weights: targets, notes of the run, what is said of it.
NO_STAGES = {
    *("all", "dataset", "stage", "filtered", "rehearsed", "write_config", "summarize_run", "summarize_dataset"),
    *("compare_seeds", "write_checksums", "checksums", "verify", "browser", "build_browser"),
    *("profile_data", "build_report", "publish"),
}


def schema(*keys: str):
    found = yaml.safe_load((ROOT / "schemas" / "config.schema.yaml").read_text())
    for key in keys:
        found = found[key]
    return found


def test_every_rule_is_a_stage_or_makes_neither_rows_nor_weights():
    files = [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")]
    rules = [
        n for file in files for n in re.findall(r"^(?:use )?rule (?:\w+ as )?(\w+)\b", file.read_text(), re.MULTILINE)
    ]
    assert sorted(rules) == sorted({*BY_RULE, *NO_STAGES})
    assert len(STAGES) == len(BY_RULE)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.rule)
def test_a_stage_has_its_program(stage):
    program = (ROOT / "scripts" / f"{stage.script}.py").read_text()
    assert ("def store_key(" in program) == (stage.kind == "engine")
    assert ("train(" in program) == (stage.kind == "training")


def test_the_schema_has_a_window_for_each_program_with_an_engine():
    windows = schema("properties", "engine", "properties", "stage_windows", "properties")
    assert set(windows) == {stage.script for stage in of_kind("engine")}


def test_the_schema_knows_the_filters():
    sections = set(schema("properties", "filters", "properties")) - {"order"}
    assert sections == set(FILTERS)
    order = schema("properties", "filters", "properties", "order")
    assert sorted(order["items"]["enum"]) == sorted(FILTERS)


def test_the_profile_gives_gpus_to_each_rule_that_loads_a_model():
    profile = (ROOT / "profiles" / "slurm" / "config.yaml").read_text()
    listed = re.search(r"^  rules_with_models:\n((?:    - \w+\n)+)", profile, re.MULTILINE)
    assert listed is not None
    assert sorted(listed[1].split()[1::2]) == sorted(stage.rule for stage in of_kind("engine", "training"))


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_a_plan_knows_rows_and_speed_of_each_rule_that_loads_a_model(device, tmp_path):
    config = fill_defaults({**yaml.safe_load((ROOT / "config.yaml").read_text()), "device": device})
    sampling = {"temperature": 1.0, "top_p": 1.0, "max_tokens": 64}
    config["verification"]["solvers"] = {"one": {"model": "smollm2", "samples": 4, "sampling": sampling}}
    estimator = Estimator(config, tmp_path)
    wildcards = {"generator": "smollm2", "seed": "0", "gpu": "0", "student": "smollm2_student"}
    wildcards |= {"dataset": "embedded_test", "measured": "smollm2", "part": "0", "solver": "one"}
    for stage in of_kind("engine", "training"):
        assert estimator.rows(stage.rule, wildcards), stage.rule
        assert stage.rule in throughputs()[device]["rows_per_hour"], stage.rule
