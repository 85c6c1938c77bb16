"""tests/support/reruns.yaml is true: every key is changed, and what Snakemake would run is what the table says.

The table is data; docs/reference/reruns.md is written from it.

The plans are made on a finished run. Two further configs (pairs by a rewriter, a model for each role) are given the
records that a run of theirs would leave, and mutated rules likewise: that is what `Planner.record` is for.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from conftest import ROOT
from planner import Planner
from rerun_table import Row, rows, rules_of
from scalequest.config.defaults import fill_defaults
from scalequest.config.schema import resolved, schema
from scalequest.config.selectors import datasets_in_use, model_in_use
from scalequest.hashing import file_sha256
from scalequest.rows.tables import ATTEMPTS, read_rows
from workflow import SHORT, can_be_alone, checkout_copy, merged, overlay, planned, snakemake, succeeded

STAGES = schema()["properties"]["engine"]["properties"]["stage_windows"]["properties"]

# ---------------------------------------------------------------- the table


def group(name: str) -> frozenset[str]:
    """All rules of a group."""
    return rules_of((name,))


def valid(row: Row, config: Mapping[str, Any]) -> bool:
    """Whether the row holds with this config."""
    return row.condition is None or str(dict(leaves(config)).get(row.condition[0])) == row.condition[1]


def row_of(key: str, config: Mapping[str, Any]) -> Row | None:
    """The most precise row that fits the key and holds with this config."""
    fitting = [row for row in rows("keys") if re.fullmatch(re.escape(row.key).replace(r"\*", ".+"), key)]
    assert fitting, f"tests/support/reruns.yaml has no row for {key}"
    precise = [row for row in fitting if len(row.key) == max(len(row.key) for row in fitting)]
    return next((row for row in precise if valid(row, config)), None)


# ---------------------------------------------------------------- configs and changes


def leaves(config: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of the config that has no keys below it; the windows of all rules, set or not."""
    for key, value in config.items():
        if key == "stage_windows":
            yield from ((f"{path}{key}.{stage}", value.get(stage)) for stage in STAGES)
        elif isinstance(value, Mapping) and value:
            yield from leaves(value, f"{path}{key}.")
        else:
            yield path + key, value


@cache
def full(model: Path, variant: str) -> dict[str, Any]:
    """The whole config of a variant, defaults and the repository's config.yaml included."""
    return fill_defaults(merged(yaml.safe_load((ROOT / "config.yaml").read_text()), variants(model)[variant]))


SOLVERS = {name: {"model": "tiny", "samples": 2, "sampling": SHORT} for name in ("one", "two")}


def variants(model: Path) -> dict[str, dict[str, Any]]:
    """The configs on which keys are changed: as it ran; rewritten pairs, strict filters, rewards by step and topics; a
    model for each role; difficulty by solvers."""
    # Something that nobody uses yet, for changes to name.
    spare: dict[str, Any] = {"source": "path:resources/domains/math/seed_problems.jsonl"}
    spare["fields"] = {"question": "problem", "answer": "answer"}
    spare["where"] = {"split": "spare"}
    ran = merged(overlay(model), {"datasets": {"spare": spare}})
    ran = merged(ran, {"preference_tuning": {"rewrite": {"sampling": {"max_tokens": 48}}}})
    dropping = {name: {"action": "drop"} for name in ("language", "length", "contamination", "duplicates")}
    roles = ("asks", "ranks", "judges", "solves", "scores", "answers", "rewards")
    return {
        "ran": ran,
        "rewriter": merged(
            ran,
            {
                "preference_tuning": {"pairs": "rewrite"},
                "filters": {
                    **dropping,
                    "difficulty": {"generators": ["tiny"], "below_quantile": 0.2},
                    "solvability": {"reasoning_tokens": 16},
                },
                "reward": {"kind": "process"},
                "topics": {"enabled": True, "max_questions": 24},
                "verification": {"solvers": SOLVERS},
            },
        ),
        "roles": merged(
            ran,
            {
                "models": {name: {"source": f"path:{model}"} for name in roles},
                "generators": {"tiny": {"model": "asks"}},
                "preference_tuning": {"rank": {"model": "ranks"}},
                "filters": {"solvability": {"model": "judges"}},
                "difficulty": {"solver": "solves", "base": "scores"},
                "responses": {"model": "answers"},
                "reward": {"model": "rewards"},
            },
        ),
        "solvers": merged(
            ran,
            {
                "filters": {
                    "order": ["language", "length", "duplicates", "contamination", "solvability", "difficulty"],
                    "difficulty": {"by": "pass_rate", "generators": ["tiny"], "below": 0.2},
                },
                "verification": {"solvers": SOLVERS},
            },
        ),
    }


# Another value, where the next number, the other truth or the schema's next choice would be refused.
CHANGES: dict[str, Any] = {
    "use.seeds": ["embedded", "spare"],
    "use.generators": ["tiny", "smollm2"],
    "use.benchmarks": ["embedded_test", "spare"],
    "use.students": ["tiny_student", "smollm2_student"],
    "evaluation.models": ["tiny", "smollm2"],
    "evaluation.samples": 2,
    "topics.options": ["Algebra", "Geometry"],
    "dataset.licence_link": "https://example.org/licence",
    "publish.repo": "someone/demo",
    "evaluation.k": [1],
    "evaluation.prompt": "Another: {question}",
    "student_tuning.prompt": "Another: {question}",
    "verification.pass_rate.solver": "two",
    "verification.types": ["integer"],
    "seeds.max_rows": 50,
    "training.launch_arguments": ["--mixed_precision=no"],
    "training.processes": 2,
    "training.nodes": 2,
    "engine.determinism": "none",
    "engine.window": 4,
    "engine.max_model_len": 500,
    "preference_tuning.rewrite.server_model": "other",
    "question_tuning.rows_per_step": 8,
    "question_tuning.rows_per_device": 2,
    "preference_tuning.dpo.rows_per_step": 8,
    "preference_tuning.dpo.rows_per_device": 2,
    "difficulty.rows_per_step": 16,
    "difficulty.rows_per_device": 4,
    "questions.seeds": [0, 1],
    "questions.questions_per_shard": 24,
    "filters.duplicates.permutations": 64,
    "filters.duplicates.bands": 16,
    "filters.order": ["length", "language", "duplicates", "contamination", "difficulty", "solvability"],
    "dataset.language": "de",
    "dataset.licence": "MIT",
    "operation.server.base_url": "http://127.0.0.1:1/v1",
    "operation.server.api_key_env": "OTHER_KEY",
    "operation.resume_after_steps": 3,
    "operation.deadline_minutes": 60,
    "operation.quota_gb": 500,
    "operation.verify_against": "elsewhere",
    "operation.confirm_above_gpu_hours": 8,
}
STUDENT = {"data": "embedded", "rows": 5, "generators": ["tiny"], "seeds": [0]}
# What must change with a key, for the config to be one at all.
TOGETHER: dict[str, dict[str, Any]] = {
    "evaluation.samples": {"evaluation": {"sampling": {"temperature": 0.5}}},
    "use.generators": {"filters": {"difficulty": {"generators": []}}},
    "filters.difficulty.by": {"verification": {"solvers": SOLVERS}},
    "filters.difficulty.generators": {"filters": {"difficulty": {"below": 0.5, "below_quantile": None}}},
    "filters.difficulty.below": {"filters": {"difficulty": {"generators": ["tiny"], "below_quantile": None}}},
    "filters.difficulty.below_quantile": {"filters": {"difficulty": {"generators": ["tiny"], "below": None}}},
    "preference_tuning.rewrite.backend": {
        "preference_tuning": {"rewrite": {"server_model": "other"}},
        "operation": {"server": {"base_url": "http://127.0.0.1:1/v1"}},
    },
    "filters.solvability.verdict": {"filters": {"solvability": {"reasoning_tokens": 16}}},
    "training.nodes": {
        "training": {"processes": 2},
        **{"preference_tuning": {"dpo": {"rows_per_device": 2}}, "difficulty": {"rows_per_device": 4}},
    },
    "student_tuning.rows_per_step": {"student_tuning": {"rows_per_device": 1}},
    "training.processes": {"preference_tuning": {"dpo": {"rows_per_device": 2}}, "difficulty": {"rows_per_device": 4}},
    "training.sharding": {
        "training": {"processes": 2},
        **{"preference_tuning": {"dpo": {"rows_per_device": 2}}, "difficulty": {"rows_per_device": 4}},
    },
}


def node_of(key: str) -> dict[str, Any]:
    """The schema of a key."""
    node = resolved(schema())
    for part in key.split("."):
        below = node.get("properties", {})
        node = resolved(below[part] if part in below else node.get("additionalProperties") or {})
    return node


def other(key: str, value: Any, config: Mapping[str, Any]) -> Any:
    """Another value that the schema and the checks between keys accept."""
    node = node_of(key)
    if key in CHANGES:
        return CHANGES[key]
    if key.startswith("engine.stage_windows."):
        return 2
    if key.startswith("students.") and (last := key.rsplit(".")[-1]) in STUDENT:
        return STUDENT[last]
    if key.endswith(".max_rows"):
        return 50
    if key.endswith(".system_prompt"):
        return "Mathematics."
    if key.endswith(".thinking") and value is None:
        return {"budget": 32}
    if isinstance(value, Mapping):
        maps = {"engine": {"max_sequences": 4}, "where": {"split": "other"}, "facts": {"part": "topic"}}
        maps |= {"solvers": SOLVERS}
        maps |= {"tuning": {"epochs": 2}, "columns": {"embedded_test": "math"}, "compare": {"tiny": "GPT-4-0314"}}
        return maps[key.rsplit(".")[-1]]
    if key.startswith("models.") and key.endswith((".sha256", ".source")):
        return "0" * 64 if key.endswith(".sha256") else "path:resources"
    if node.get("type") == "string" and value in config["models"]:
        return next(name for name in ("smollm2", "tiny") if name != value)
    if "enum" in node:
        return next(choice for choice in node["enum"] if choice != value)
    if key.endswith(".source"):
        return "path:resources/dataset_card.md.jinja"
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * 0.9 if value else 0.1
    if isinstance(value, str):
        return value + "x"
    return ["smollm2"] if isinstance(value, list) else 0.1


def nested(key: str, value: Any) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def changed(config: Mapping[str, Any], key: str, whole: Mapping[str, Any]) -> dict[str, Any]:
    """The overlay with one key changed."""
    value = other(key, dict(leaves(whole))[key], whole)
    # Only a pinned model may bring code.
    pinned = nested(key.replace("trust_remote_code", "source"), f"hf:some/model@{'0' * 40}")
    together = pinned if key.endswith(".trust_remote_code") else TOGETHER.get(key, {})
    # Only an untuned generator may have one.
    together = nested(key.replace("system_prompt", "tuning"), "none") if key.endswith(".system_prompt") else together
    return merged(merged(config, together), nested(key, value))


# ---------------------------------------------------------------- comparing


# The rules that take a model without an engine.
WITHOUT_ENGINE = frozenset({"stage_model", "tune_questions", "train_scorer", "tokenize_student", "tune_student"})


class Said(NamedTuple):
    """What the table says of a change: the rules that take it, and all that run."""

    taken: frozenset[str]
    planned: frozenset[str]


NOTHING = Said(frozenset(), frozenset())


def said_by(row: Row | None, in_use: frozenset[str]) -> Said:
    """A row, for the rules that the config uses; nothing where it uses none of those that take the change."""
    if row is None or not rules_of(row.takes) & in_use:
        return NOTHING
    return Said(rules_of(row.takes) & in_use, (rules_of(row.takes) | rules_of(row.then)) & in_use)


def said_of_entry(row: Row, key: str, config: Mapping[str, Any], in_use: frozenset[str]) -> Said:
    """A key of a catalogue: what the keys that name its entry say."""
    catalogue, name = key.split(".")[:2]
    used = {name: config["use"][name] for name in ("generators", "students")} | {"datasets": datasets_in_use(config)}
    if name not in used.get(catalogue, model_in_use(config)):
        return NOTHING
    if catalogue in ("generators", "students"):
        return said_by(row, in_use)
    if catalogue == "datasets":
        naming = [role for role in ("use.seeds", "use.benchmarks") if name in config["use"][role[4:]]]
    else:
        naming = [role for role, value in leaves(config) if value == name and role != key]
    named = [found for role in naming if (found := row_of(role, config))]
    if key.endswith(".engine"):
        # Which rules these are depends on the role; that each is planned is enough.
        planned = frozenset().union(*(rules_of(one.takes) - WITHOUT_ENGINE | rules_of(one.then) for one in named))
        return Said(frozenset(), planned & in_use)
    return Said(rules_of(row.takes), rules_of(row.takes).union(*(said_by(one, in_use).planned for one in named)))


def said_of(key: str, config: Mapping[str, Any], in_use: frozenset[str]) -> Said:
    """What the table says of a key, for the rules that the changed config uses."""
    row = row_of(key, config)
    if row and row.takes + row.then == ():
        return NOTHING
    if key.startswith(("browser.", "report.")):
        # No part of what is written down of the run.
        return said_by(row, in_use)
    # What names an entry takes all of it but its licence, which the card alone shows.
    catalogued = key.startswith(("models.", "datasets.", "generators.", "students.")) and not key.endswith(".licence")
    said = said_of_entry(row, key, config, in_use) if row and catalogued else said_by(row, in_use)
    return Said(said.taken, said.planned | group("the end") | {"write_config"})


def difference(what: str, answer: Mapping[str, Any], said: Said) -> list[str]:
    """A line where the table says something else than what Snakemake found."""
    if "error" in answer:
        return [f"{what}: {answer['error']}"]
    planned, taken = set(answer["planned"]), set(answer["taken"])
    lines = []
    if planned != said.planned:
        lines.append(
            f"{what}: would not run {sorted(said.planned - planned)}, would too {sorted(planned - said.planned)}"
        )
    # The end runs with every key; whether it takes one itself makes no difference.
    more = taken - said.taken - group("the end") - {"write_config"}
    if said.taken - taken or (more and not what.endswith(".engine")):
        lines.append(f"{what}: is not taken by {sorted(said.taken - taken)}, is by {sorted(more)}")
    return lines


def mismatches(
    planner: Planner, checkout: Path, run: Path, config: Mapping[str, Any], whole: Mapping[str, Any], keys: list[str]
) -> list[str]:
    """A line for each key of which the table says something else than what Snakemake finds."""
    lines = []
    for key in keys:
        answer = planner.ask(checkout, run, changed(config, key, whole))
        lines += difference(key, answer, said_of(key, whole, frozenset(answer.get("all", ()))))
    return lines


# ---------------------------------------------------------------- fixtures


@pytest.fixture(scope="module")
def planner() -> Iterator[Planner]:
    with Planner() as planner:
        yield planner


def records(run: Path, folder: Path) -> Path:
    """A copy of what planning needs of a run: no weights, no rows in progress."""
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("progress", "logs", "overlay.yaml"))
    return folder


# ---------------------------------------------------------------- every key


KEYS = {
    # The finished run itself answers for every key; the others for what is idle in it.
    "ran": "",
    "rewriter": "preference_tuning filters engine.stage_windows reward seeds.max_rows dataset.language topics verif",
    "roles": "models",
    "solvers": "filters.difficulty verif",
}


@pytest.mark.parametrize(
    "variant", [pytest.param(name, marks=[pytest.mark.nightly] if name != "ran" else []) for name in KEYS]
)
def test_every_key_reruns_what_the_table_says(variant, planner, run, tiny_model, tmp_path):
    config, whole = variants(tiny_model)[variant], full(tiny_model, variant)
    folder = records(run, tmp_path / "run")
    if variant == "ran":
        # What the run's config had not and nobody uses: it is quoted, no more.
        assert set(planner.plan(ROOT, folder, config)) == group("the end") | {"write_config"}
    if variant == "rewriter":
        # A run of its own would not have it.
        (folder / "results/preference_tuning/tiny/judgements.parquet").unlink()
    planner.record(ROOT, folder, config)
    assert planner.plan(ROOT, folder, config) == {}
    keys = [key for key, _ in leaves(whole) if key.startswith(tuple(KEYS[variant].split()) or "") and key != "domain"]
    assert len(keys) > 10
    assert "\n".join(mismatches(planner, ROOT, folder, config, whole, keys)) == ""


def test_another_domain_reruns_what_the_table_says(run, tiny_model, tmp_path):
    checkout = checkout_copy(tmp_path / "checkout", "scripts", "resources")
    shutil.copytree(checkout / "resources/domains/math", checkout / "resources/domains/sums")
    (checkout / "scripts/scalequest/domains/sums.py").write_text("from scalequest.domains.math import DOMAIN\n")
    folder, config = records(run, tmp_path / "run"), variants(tiny_model)["ran"]
    # A planner has imported the first checkout's package of domains.
    with Planner() as fresh:
        fresh.record(checkout, folder, config)
        answer = fresh.ask(checkout, folder, merged(config, {"domain": "sums"}))
    assert "error" not in answer, answer["error"]
    assert difference("domain", answer, said_of("domain", full(tiny_model, "ran"), frozenset(answer["all"]))) == []


def test_every_row_of_the_table_is_used(tiny_model):
    wholes = [full(tiny_model, variant) for variant in KEYS]
    used = {row_of(key, whole) for whole in wholes for key, _ in leaves(whole)}
    assert {row.key for row in rows("keys")} == {row.key for row in used if row}
    assert all(isinstance(rules_of(row.takes) | rules_of(row.then), frozenset) for row in rows("keys") + rows("files"))


def test_the_table_names_rules_that_exist(planner, run, tiny_model):
    known = {
        rule
        for variant in variants(tiny_model).values()
        for rule in planner.ask(ROOT, run, merged(variant, {"questions": {"seeds": [7]}}))["all"]
    }
    named = frozenset().union(*(rules_of(row.takes) | rules_of(row.then) for row in rows("keys") + rows("files")))
    assert named <= known
    assert known == named


def test_of_two_rewriters_only_the_one_in_use_is_looked_at(planner, run, tiny_model, tmp_path):
    server = {
        "preference_tuning": {"rewrite": {"backend": "server", "server_model": "m"}},
        "operation": {"server": {"base_url": "http://127.0.0.1:1/v1"}},
    }
    config = merged(variants(tiny_model)["rewriter"], server)
    folder = records(run, tmp_path / "run")
    planner.record(ROOT, folder, config)
    keys = [f"preference_tuning.rewrite.{name}" for name in ("model", "server_model", "structured")]
    whole = merged(full(tiny_model, "rewriter"), server)
    assert mismatches(planner, ROOT, folder, config, whole, keys) == []


# ---------------------------------------------------------------- a rule that forgets a param


MUTATIONS = {
    # name: (file, what is removed or changed, by what, keys that must show it)
    "grading in select_responses": (
        "responses.smk",
        'selection=SELECTION,\n            grading=CONFIG["grading"],',
        "selection=SELECTION,",
        ["grading.time_limit"],
    ),
    "selection in select_responses": (
        "responses.smk",
        'selection=SELECTION,\n            grading=CONFIG["grading"],',
        'grading=CONFIG["grading"],',
        ["selection.rule"],
    ),
    "one key of a pick": (
        "responses.smk",
        'pick(CONFIG["responses"], "samples", "sampling")',
        'pick(CONFIG["responses"], "samples")',
        ["responses.sampling.temperature"],
    ),
    "settings of a trainer": (
        "question_tuning.smk",
        'settings(question_tuning=CONFIG["question_tuning"], **training())',
        'settings(question_tuning=CONFIG["question_tuning"])',
        ["training.dtype"],
    ),
    "a number in a text": (
        "helpers/preference_tuning.smk",
        "--count {tuning['questions']}",
        "--count 32",
        ["preference_tuning.questions"],
    ),
    "a threshold": (
        "helpers/filters.smk",
        '["action", "min_probability"]',
        '["action"]',
        ["filters.solvability.min_probability"],
    ),
    "an input of another key": (
        "filters.smk",
        'model=model_manifest(CONFIG["filters"]["solvability"]["model"])',
        'model=model_manifest(CONFIG["responses"]["model"])',
        ["filters.solvability.model"],
    ),
    "a param too many": (
        "questions.smk",
        "        size=QUESTIONS_PER_SHARD,\n",
        '        size=QUESTIONS_PER_SHARD,\n        more=CONFIG["selection"]["rule"],\n',
        ["selection.rule"],
    ),
}


def mutated(folder: Path, file: str, old: str, new: str = "") -> Path:
    """A checkout in which rules/{file} has `new` in place of `old`."""
    checkout = checkout_copy(folder, "Snakefile", "rules")
    path = checkout / "rules" / file
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"rules/{file} has changed, so has the mutation to: {old!r}"
    path.write_text(text.replace(old, new), encoding="utf-8")
    return checkout


# Two show that the test can fail; the others are nightly.
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.nightly] if place > 1 else []) for place, name in enumerate(MUTATIONS)],
)
def test_a_rule_that_forgets_a_param_is_found(name, planner, run, tiny_model, tmp_path):
    file, old, new, keys = MUTATIONS[name]
    checkout = mutated(tmp_path / "checkout", file, old, new)
    folder = records(run, tmp_path / "run")
    config, whole = variants(tiny_model)["ran"], full(tiny_model, "ran")
    planner.record(checkout, folder, config)
    assert planner.plan(checkout, folder, config) == {}
    found = mismatches(planner, checkout, folder, config, whole, keys)
    assert found
    assert "WorkflowError" not in "".join(found)


# ---------------------------------------------------------------- files


def file_mismatches(planner: Planner, rules: Path, run: Path, config: Mapping[str, Any], files: list[Row]) -> list[str]:
    """A line for each changed file that plans something else than the table says; `rules` is a checkout."""
    lines = []
    for row in files:
        checkout = checkout_copy(run.parent / f"changed_{Path(row.key).stem}", "resources", "scripts")
        (checkout / "rules").unlink()
        (checkout / "rules").symlink_to(rules / "rules")
        # A folder's files are alike.
        path = next(iter(sorted(checkout.glob(row.key))))
        more = "Another topic\n" if path.name == "topics.txt" else "\n"
        path.write_text(path.read_text(encoding="utf-8") + more, encoding="utf-8")
        answer = planner.ask(checkout, run, config)
        lines += difference(row.key, answer, said_by(row, frozenset(answer["all"])))
    return lines


@pytest.mark.parametrize("variant", ["ran", "rewriter"])
def test_every_changed_file_reruns_what_the_table_says(variant, planner, run, tiny_model, tmp_path):
    config, whole = variants(tiny_model)[variant], full(tiny_model, variant)
    folder = records(run, tmp_path / "run")
    planner.record(ROOT, folder, config)
    files = [row for row in rows("files") if valid(row, whole) and (row.condition is None) == (variant == "ran")]
    assert len(files) >= 4
    # The checkout's own data is found beside the code that runs, so these rows need a process of their own.
    data = [f"resources/domains/math/{name}" for name in ("seed_problems.jsonl", "topics.txt")]
    own = [row for row in files if row.key in data]
    assert file_mismatches(planner, ROOT, folder, config, [row for row in files if row not in own]) == []
    with Planner() as fresh:
        assert file_mismatches(fresh, ROOT, folder, config, own) == []


def test_the_table_has_every_file_of_the_resources():
    found = {str(path.relative_to(ROOT)) for path in (ROOT / "resources").rglob("*") if path.is_file()}
    page = "resources/browser/"
    assert {row.key for row in rows("files")} == {f"{page}*" if name.startswith(page) else name for name in found}


def test_a_folder_of_data_in_the_checkout_is_known_by_its_files(config, tmp_path):
    checkout = checkout_copy(tmp_path / "checkout", "scripts", "resources")
    (folder := checkout / "resources" / "problems").mkdir()
    (folder / "a.jsonl").write_text("{}\n")
    spare = {"source": "path:resources/problems", "fields": {"question": "problem", "answer": "answer"}}
    config = merged(config, {"use": {"seeds": ["spare"]}, "datasets": {"spare": spare}})
    (run := tmp_path / "run").mkdir()
    # The checkout's own data is found beside the code that runs, so this needs a process of its own.
    with Planner() as planner:
        planner.record(checkout, run, config)
        assert planner.plan(checkout, run, config) == {}
        for change in (
            lambda: (folder / "a.jsonl").write_text("{ }\n"),
            lambda: (folder / "a.jsonl").rename(folder / "b.jsonl"),
            lambda: (folder / "c.jsonl").write_text("{}\n"),
        ):
            change()
            assert planner.ask(checkout, run, config)["taken"]["stage_data"] == ["results/datasets/spare.parquet"]
            planner.record(checkout, run, config)
            assert planner.plan(checkout, run, config) == {}


@pytest.mark.parametrize("where", ["{a}.jsonl", "{dataset}/a.jsonl", "{dataset}", "{"])
def test_data_with_braces_in_its_name_is_found_and_known(where, planner, config, tmp_path):
    file = tmp_path / "data" / where / ("" if where.endswith(".jsonl") else "a.jsonl")
    file.parent.mkdir(parents=True)
    file.write_text("{}\n")
    source = f"path:{tmp_path}/data/{where}"
    spare = {"source": source, "fields": {"question": "problem", "answer": "answer"}}
    config = merged(config, {"use": {"seeds": ["spare"]}, "datasets": {"spare": spare}})
    (run := tmp_path / "run").mkdir()
    planner.record(ROOT, run, config)
    assert planner.plan(ROOT, run, config) == {}
    file.write_text("{ }\n")
    assert planner.ask(ROOT, run, config)["taken"] == {"stage_data": ["results/datasets/spare.parquet"]}


def test_a_rule_that_forgets_a_prompt_is_found(planner, run, config, tmp_path):
    checkout = mutated(tmp_path / "checkout", "responses.smk", '        prompts=prompt("respond.txt"),\n')
    folder = records(run, tmp_path / "run")
    planner.record(checkout, folder, config)
    files = [row for row in rows("files") if row.key == "resources/domains/math/prompts/respond.txt"]
    assert file_mismatches(planner, checkout, folder, config, files)


# ---------------------------------------------------------------- code

REACHED_BY = {
    "filters/contamination": {"filter_text", "count_overlap"},
    "filters/duplicates": {"filter_text", "filter_duplicates", "count_overlap", "profile_data"},
    "tasks/solving": {"measure_fail_rates", "sample_responses", "sample_answers"},
    "grading/measures": {"grade_answers", "build_table"},
    "tasks/judging": {"judge_questions", "judge_pair_questions", "score_responses"},
    "publishing/topics": {"profile_data"},
    "training/launch": {"tune_questions", "tune_preferences", "train_scorer", "tune_student"},
    "training/scorer_text": {"train_scorer", "score_difficulty"},
    "training/student_data": {"tokenize_student", "count_overlap"},
    # How a program runs, never what it makes.
    "runtime/lease": set(),
    "runtime/job": set(),
}


def with_a_changed(helper: str, folder: Path, rules: Path = ROOT) -> Path:
    """A checkout in which scripts/scalequest/{helper}.py has one statement more."""
    checkout = checkout_copy(folder, "scripts")
    (checkout / "rules").unlink()
    (checkout / "rules").symlink_to(rules / "rules")
    path = checkout / "scripts" / "scalequest" / f"{helper}.py"
    path.write_text(path.read_text(encoding="utf-8") + "\n\nADDED = 1\n", encoding="utf-8")
    return checkout


@pytest.mark.parametrize("helper", REACHED_BY)
def test_changed_code_reruns_the_rules_that_reach_it(helper, planner, run, config, tmp_path):
    answer = planner.ask(with_a_changed(helper, tmp_path / "checkout"), run, config)
    assert set(answer["taken"]) == REACHED_BY[helper]
    assert set(answer["taken"]) <= set(answer["planned"])


def test_a_rule_that_forgets_its_code_is_found(planner, run, config, tmp_path):
    checkout = mutated(tmp_path / "checkout", "filters.smk", '        code=code("filter_duplicates"),\n')
    folder = records(run, tmp_path / "run")
    planner.record(checkout, folder, config)
    answer = planner.ask(with_a_changed("filters/duplicates", tmp_path / "changed", checkout), folder, config)
    assert set(answer["taken"]) != REACHED_BY["filters/duplicates"]


def test_other_words_in_code_rerun_nothing(planner, run, config, tmp_path):
    checkout = checkout_copy(tmp_path / "checkout", "scripts")
    # verl_reward.py is published as it is, comments included.
    for path in {*(checkout / "scripts").rglob("*.py")} - {*(checkout / "scripts").rglob("verl_reward.py")}:
        text = path.read_text(encoding="utf-8")
        path.write_text("# A comment.\n" + text.replace('"""', '"""Other words. ', 1), encoding="utf-8")
    assert planner.plan(checkout, run, config) == {}


def test_a_touched_checkout_in_another_folder_reruns_nothing(run, config, tmp_path):
    parts = ("Snakefile", "config.yaml", "rules", "scripts", "schemas", "resources", "profiles", "envs")
    checkout = checkout_copy(tmp_path / "checkout", *parts)
    for path in checkout.rglob("*"):
        path.touch()
    assert planned(snakemake(run, config, "-n", checkout=checkout)) == {}


@pytest.mark.skipif(not can_be_alone(), reason="name spaces of users are not allowed here")
def test_another_user_reruns_nothing(run, config):
    (run / "home").mkdir()
    found = snakemake(run, config, "-n", somebody=True, HOME=str(run / "home"), USER="somebody", LOGNAME="somebody")
    assert planned(found) == {}


@pytest.mark.skipif(shutil.which("conda") is None, reason="Snakemake refuses --sdm conda, even for -n, without conda")
def test_conda_environments_on_or_off_rerun_nothing(run, config):
    assert planned(snakemake(run, config, "-n", "--sdm", "conda")) == {}


@pytest.mark.parametrize("profile", sorted((ROOT / "profiles").iterdir()), ids=lambda path: path.name)
def test_profiles_leave_the_environment_out_of_the_triggers(profile):
    [settings] = [yaml.safe_load(path.read_text()) for path in profile.glob("*.yaml")]
    assert set(settings["rerun-triggers"]) == {"mtime", "params", "input", "code"}


# ---------------------------------------------------------------- swaps, seeds, k


SWAPS = [
    # Snakemake compares the params of a rule as a set: two numbers that change places would be the same set.
    ("preference_tuning.questions", 128, "preference_tuning.seed", 64, "sample_pair_questions"),
    ("difficulty.rows_per_step", 64, "difficulty.seed", 32, "train_scorer"),
    ("question_tuning.max_length", 128, "question_tuning.max_questions", 64, "tune_questions"),
    ("filters.language.min_probability", 0.4, "filters.contamination.min_overlap", 0.6, "filter_text"),
    ("responses.sampling.temperature", 0.9, "responses.sampling.top_p", 0.8, "sample_responses"),
]


@pytest.mark.parametrize(("one", "first", "two", "second", "rule"), SWAPS)
def test_two_swapped_values_are_noticed(one, first, two, second, rule, planner, run, config, tmp_path):
    before = merged(merged(config, nested(one, first)), nested(two, second))
    after = merged(merged(config, nested(one, second)), nested(two, first))
    folder = records(run, tmp_path / "run")
    planner.record(ROOT, folder, before)
    answer = planner.ask(ROOT, folder, after)
    assert rule in answer.get("taken", {}), answer.get("error")


ORDERS = [
    # Of inputs Snakemake compares the set alone, so what reads names in order must have them in its params.
    ("use.seeds", ["embedded", "spare"], {"make_seeds"}),
    ("use.benchmarks", ["embedded_test", "spare"], {"filter_text", "build_table", "build_browser"}),
    ("use.students", ["tiny_student", "smollm2_student"], {"build_table", "build_browser"}),
    ("evaluation.models", ["tiny", "smollm2"], {"build_table", "build_browser"}),
    ("questions.seeds", [0, 1], {"filter_duplicates", "build_browser", "profile_data"}),
    ("use.generators", ["tiny", "smollm2"], {"build_browser"}),
]


def taken_in_another_order(
    planner: Planner, folder: Path, config: Mapping[str, Any], key: str, names: list[Any]
) -> set[str]:
    """The rules that take it when the list at a key is turned round, less those that quote the config."""
    folder.mkdir()
    planner.record(ROOT, folder, merged(config, nested(key, names)))
    answer = planner.ask(ROOT, folder, merged(config, nested(key, names[::-1])))
    assert "error" not in answer, answer["error"]
    return set(answer["taken"]) - group("the end") - {"write_config"}


@pytest.mark.parametrize(("key", "names", "rules"), ORDERS)
def test_a_list_in_another_order_is_noticed(key, names, rules, planner, tiny_model, tmp_path):
    config = variants(tiny_model)["ran"]
    assert taken_in_another_order(planner, tmp_path / "run", config, key, names) == rules


def test_the_order_of_benchmarks_is_nothing_to_a_filter_that_is_off(planner, tiny_model, tmp_path):
    config = merged(variants(tiny_model)["ran"], {"filters": {"contamination": {"enabled": False}}})
    names = ["embedded_test", "spare"]
    assert taken_in_another_order(planner, tmp_path / "run", config, "use.benchmarks", names) == {
        *("build_table", "build_browser")
    }


def test_a_new_seed_keeps_every_older_file(run, config, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    grown = merged(config, {"questions": {"seeds": [0, 1]}})
    with Planner() as planner:
        jobs = planner.plan(ROOT, folder, grown)
    # A student of the whole dataset is one of the new rows too.
    of_the_run = group("from the selection on") | {"write_config"}
    assert all("seed1" in output for rule, outputs in jobs.items() if rule not in of_the_run for output in outputs)
    older = {path: file_sha256(path) for path in (folder / "results").rglob("*.parquet") if "dataset" not in str(path)}
    assert len(older) > 20
    # One shard to its end; all shards of a seed are sought through for duplicates and cut together.
    succeeded(snakemake(folder, grown, "results/candidates/tiny/seed1/gpu0.parquet"))
    assert {path: file_sha256(path) for path in older} == older
    assert (folder / "results/filters/kept/seed1.parquet").exists()


def test_a_larger_k_keeps_the_first_responses(run, config, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    path = "results/responses/tiny/seed0/gpu0.parquet"
    before = read_rows(folder / path, ATTEMPTS)
    succeeded(snakemake(folder, merged(config, {"responses": {"samples": 3}}), path))
    after = read_rows(folder / path, ATTEMPTS)
    assert len(after) == 3 * len(before) // 2 > 0
    assert [row for row in after if row["sample"] < 2] == before
