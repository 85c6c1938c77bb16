"""The names under which finished rows and weights are found again, held against a record, for every stage that makes
them and the settings that the workflow itself passes to it.

A name that changes makes users' rows and weights again. So the record is renewed only after that was decided, and
CHANGELOG.md then says which stages run again:

    python tests/workflow/test_golden_keys.py --record

Left out of the record, as they are no matter of the code: the releases of libraries, the model's digest and the rows of
a training, all of them fixed here. Prompts, SAMPLING_VERSION and TRAINING_VERSION count.
"""

from __future__ import annotations

import dataclasses
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests"), str(ROOT / "tests" / "support")]

from planner import Planner  # noqa: E402 - the path above is for the imports below
from scalequest.llm.models import write_manifest  # noqa: E402
from scalequest.rows import store_key  # noqa: E402
from scalequest.rows.tables import FAIL_RATES, PAIRS, PROBLEMS, write_table  # noqa: E402
from scalequest.runtime.files import read_json, write_json  # noqa: E402
from scalequest.settings import read_settings  # noqa: E402
from scalequest.stages import BY_RULE, of_kind  # noqa: E402
from scalequest.training import launch  # noqa: E402
from scalequest.training.samples import Samples  # noqa: E402
from workflow import merged  # noqa: E402

GOLDEN = Path(__file__).with_name("golden_keys.json")
RECORD = "python tests/workflow/test_golden_keys.py --record"
# Each by the names of its presets, and further settings.
CONFIGS: dict[str, tuple[str | dict[str, Any], ...]] = {
    "default": (),
    # The other rules have the same names with an option that is on.
    "default, with topics": ({"topics": {"enabled": True}},),
    "paper": ("paper.yaml",),
    "paper, rewritten by an engine": ("paper.yaml", "simple.yaml"),
    "table 1": ("paper.yaml", "table1.yaml"),
    "first run": ("first_run.yaml",),
}
MODEL = "0" * 64
# Of each training: the argument that names its rows, and those that name what it writes beside the manifest.
TRAININGS: dict[str, tuple[str, ...]] = {
    "tune_questions": ("--seeds", "--history"),
    "tune_preferences": ("--pairs", "--history"),
    "train_scorer": ("--fail-rates", "--metrics", "--history"),
    "tune_student": ("--tokens", "--history"),
}


class _Reached(BaseException):
    """The training that a program would start."""

    def __init__(self, run: launch.Training):
        self.run = run


def found(folder: Path, tiny_manifest: Path) -> dict[str, dict[str, list[str]]]:
    """The names by config and rule. Planning wants the files of `path:` sources there; it does not read them."""
    tables = _tables(folder)
    names: dict[str, dict[str, list[str]]] = {}
    with Planner() as planner:
        for title, presets in CONFIGS.items():
            overlay: dict[str, Any] = {}
            for preset in presets:
                if isinstance(preset, str):
                    preset = yaml.safe_load((ROOT / "presets" / preset).read_text(encoding="utf-8"))
                overlay = merged(overlay, preset)
            _make_sources(folder, overlay)
            # All shards have the same names.
            overlay = merged(overlay, {"questions": {"shards": 1}})
            rules = names[title] = {}
            for rule, settings in planner.settings(ROOT, folder, overlay):
                if BY_RULE[rule].kind == "engine":
                    rules.setdefault(rule, []).append(store(rule, settings))
                elif BY_RULE[rule].kind == "training":
                    rules.setdefault(rule, []).append(weights(rule, settings, tiny_manifest, tables))
    return {title: {rule: sorted(set(of)) for rule, of in sorted(rules.items())} for title, rules in names.items()}


def store(rule: str, settings: dict[str, Any]) -> str:
    """Name of the store of an engine stage's rows."""
    with patch.object(store_key, "engine_release", lambda: "vllm 0"):
        program = import_module(BY_RULE[rule].script)
        return program.store_key(read_settings(program.Settings, settings)).name(MODEL)


def weights(rule: str, settings: dict[str, Any], manifest: Path, tables: Mapping[str, Path]) -> str:
    """Name of the folder of a training's weights: its own program is run up to the training."""
    program = import_module(BY_RULE[rule].script)
    rows, *reports = TRAININGS[rule]
    out = manifest.parent / "none"
    words = [rule, "--settings", f"@{_written(manifest.parent / 'settings.json', settings)}", "--model", str(manifest)]
    words += [rows, str(tables[rule]), "--name", "n", "--weights", str(out), "--out", str(out)]
    words += [word for report in reports for word in (report, str(out))]

    def stop(run: launch.Training, _: Path) -> None:
        raise _Reached(run)

    with patch.object(program, "train", stop), patch.object(sys, "argv", words), pytest.raises(_Reached) as reached:
        program.main()
    base = dataclasses.replace(reached.value.run.base, digest=MODEL)
    run = dataclasses.replace(reached.value.run, base=base, train=[], held_out=[])
    with patch.object(launch, "version", lambda name: "0"):
        return launch._key(run)[:16]


def _written(path: Path, settings: dict[str, Any]) -> Path:
    write_json(path, settings)
    return path


def _tables(folder: Path) -> dict[str, Path]:
    """What the trainings learn from, enough for each preset's held-out part."""
    rows: list[dict[str, Any]] = [{"id": f"s/{i:03d}", "index": i, "question": f"What is {i} + 1?"} for i in range(120)]
    answered = {"source": "s", "solution": "One more.", "answer": None, "facts": "{}"}
    pair = {"rejected": "No question.", "direction": "rank", "margin": 0.1}
    write_table(folder / "problems.parquet", [{**row, **answered} for row in rows], PROBLEMS)
    pairs = [{"id": f"g/s0/{row['index']:09d}", "chosen": row["question"], **pair} for row in rows]
    write_table(folder / "pairs.parquet", pairs, PAIRS)
    write_table(folder / "rates.parquet", [{**row, "fail_rate": 0.5, "samples": 4} for row in rows], FAIL_RATES)
    samples = Samples()
    samples.add([1], [2, 3])
    samples.write(folder / "tokens.parquet", {"rows": 1})
    files = {"tune_preferences": "pairs.parquet", "train_scorer": "rates.parquet", "tune_student": "tokens.parquet"}
    return {rule: folder / files.get(rule, "problems.parquet") for rule in TRAININGS}


def _make_sources(folder: Path, config: Mapping[str, Any]) -> None:
    for dataset in config.get("datasets", {}).values():
        if dataset["source"].startswith("path:"):
            path = folder / dataset["source"].removeprefix("path:")
            path.parent.mkdir(exist_ok=True)
            path.touch()


def _cases() -> Iterator[tuple[str, str]]:
    for title, rules in read_json(GOLDEN).items():
        yield from ((title, rule) for rule in rules)


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory, tiny_manifest: Path) -> dict[str, dict[str, list[str]]]:
    return found(tmp_path_factory.mktemp("keys"), tiny_manifest)


@pytest.mark.parametrize(("title", "rule"), list(_cases()) if GOLDEN.exists() else [])
def test_rows_and_weights_are_found_again(names, title, rule):
    assert names[title].get(rule) == read_json(GOLDEN)[title][rule], (
        f"finished rows or weights of {rule} would be made again. If meant, say so in CHANGELOG.md and run {RECORD}"
    )


def test_the_record_has_every_stage_that_keeps_rows_or_weights(names):
    recorded = {title: set(rules) for title, rules in read_json(GOLDEN).items()}
    assert recorded == {title: set(rules) for title, rules in names.items()}
    # Those of a rehearsal, of a calibration and of solvers are of the programs that they share with the run.
    shared = re.compile("_known_|_calibration$|^sample_solutions$")
    wanted = {stage.rule for stage in of_kind("engine", "training") if not shared.search(stage.rule)}
    assert set().union(*recorded.values()) == wanted


def _record() -> None:
    from tiny import make_tiny_model

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_tiny_model(folder / "tiny")
        write_manifest(folder / "tiny.json", folder / "tiny", name="tiny", source="test")
        write_json(GOLDEN, found(folder, folder / "tiny.json"))


if __name__ == "__main__":
    if sys.argv[1:] != ["--record"]:
        sys.exit(f"To renew the record: {RECORD}")
    _record()
