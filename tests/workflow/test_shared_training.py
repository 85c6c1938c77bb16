"""One training for all who ask for the same: two generators of one tuning, two students of one training set, two jobs
at once; and weights that an older release left in a folder named by generator or student."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from programs import COMMON, ONE_CPU, command, finished, operating, succeeded, training_tables
from scalequest.rows.tables import PROBLEMS, read_rows, write_table
from scalequest.runtime.files import SEAL, read_json
from scalequest.training.launch import RESULT
from workflow import merged, overlay, snakemake
from workflow import succeeded as ended_well

QFT = {**COMMON, "loss": "all", "max_questions": None, "warmup_ratio": 0.03}
LONG = {**QFT, "epochs": 12}
ATTEMPT = "*.json"


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training_tables(tmp_path_factory.mktemp("tables"))


def tune(folder: Path, name: str, manifest: Path, tables: Path, tuning: dict[str, Any] = QFT) -> list[str]:
    """The command line that tunes the questions of the generator of that name."""
    settings = {"question_tuning": tuning, "training": ONE_CPU, "device": "cpu"}
    files = {"seeds": tables / "seeds.parquet", "model": manifest, "weights": folder / "weights"}
    made = {"out": folder / f"{name}.json", "history": folder / f"{name}.jsonl"}
    return command("tune_questions", settings, **files, name=name, **made)


def execute(line: list[str]) -> str:
    return succeeded(finished(line))


def trained(folder: Path) -> list[Path]:
    """All weights below a folder."""
    return sorted(path.parent for path in folder.glob(f"**/{RESULT}"))


def rows(folder: Path) -> list[int]:
    """Rows that each attempt below a folder trained on, those that found all done with 0."""
    return sorted(read_json(path)["rows"] for path in folder.glob(f"**/attempts/{ATTEMPT}"))


def test_two_generators_of_one_tuning_train_once(tiny_manifest: Path, tables: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        execute(tune(tmp_path, name, tiny_manifest, tables))
    one, two = (read_json(tmp_path / f"{name}.json") for name in ("one", "two"))
    (weights,) = trained(tmp_path)
    assert Path(one["folder"]) == Path(two["folder"]) == weights
    assert (one.pop("name"), two.pop("name")) == ("one", "two")
    assert one == two
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()
    # The other's record tells `make gc` who rests on them.
    assert rows(tmp_path) == [0, 24]


@pytest.mark.nightly
def test_two_generators_at_once_train_once(tiny_manifest: Path, tables: Path, tmp_path: Path) -> None:
    # As jobs of one run: neither takes the work of the other over.
    environment = {**operating(lease_seconds=3), "SCALEQUEST_RUN": "a"}
    lines = [tune(tmp_path, name, tiny_manifest, tables, LONG) for name in ("one", "two")]
    jobs = [subprocess.Popen(line, stderr=subprocess.PIPE, text=True, env=environment) for line in lines]  # noqa: S603
    said = [job.communicate(timeout=600)[1] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], said
    assert sum("is at this work" in text for text in said) == 1, said
    (weights,) = trained(tmp_path)
    assert {read_json(tmp_path / f"{name}.json")["folder"] for name in ("one", "two")} == {str(weights)}
    assert rows(tmp_path) == [0, 24 * 12]


def test_weights_in_a_folder_of_an_older_release_are_found(tiny_manifest: Path, tables: Path, tmp_path: Path) -> None:
    execute(tune(tmp_path, "one", tiny_manifest, tables))
    (weights,) = trained(tmp_path)
    old = weights.parent / "one"
    old.mkdir()
    weights.rename(old / weights.name)
    (weights.parent / "attempts").rename(old / "attempts")
    for name in ("one", "two"):
        execute(tune(tmp_path, name, tiny_manifest, tables))
        assert read_json(tmp_path / f"{name}.json")["folder"] == str(old / weights.name)
    assert trained(tmp_path) == [old / weights.name]
    assert rows(old) == [0, 0, 24]
    assert rows(tmp_path) == rows(old)


@pytest.mark.nightly
def test_a_training_that_an_older_release_began_is_gone_on_with(
    tiny_manifest: Path, tables: Path, tmp_path: Path
) -> None:
    line = tune(tmp_path, "one", tiny_manifest, tables, LONG)
    child = subprocess.Popen(line, stderr=subprocess.DEVNULL, env=operating(checkpoint_minutes=0))  # noqa: S603 - ours
    end = time.monotonic() + 240
    while not list(tmp_path.glob(f"weights/.*/checkpoints/checkpoint-*/{SEAL}")):
        assert child.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    child.terminate()
    child.wait(timeout=60)
    (work,) = tmp_path.glob("weights/.*.training")
    old = tmp_path / "weights" / "one"
    old.mkdir()
    work.rename(old / work.name)
    assert "resuming from checkpoint-" in execute(line)
    (weights,) = trained(tmp_path)
    assert weights.parent == old
    assert not list(tmp_path.glob("weights/**/.*.training"))


def test_two_students_of_one_training_set_train_once(tiny_manifest: Path, tables: Path, tmp_path: Path) -> None:
    problems = [{**row, "solution": "It is 7."} for row in read_rows(tables / "seeds.parquet", PROBLEMS)[:6]]
    write_table(tmp_path / "theirs.parquet", problems, PROBLEMS)
    tuning = {**COMMON, "warmup_ratio": 0.03, "prompt": "{question}", "format": "chat"}
    data: dict[str, Any] = {"data": "theirs", "rows": None, "generators": [], "seeds": []}
    settings = {"student_tuning": tuning, "data": data, "training": ONE_CPU, "device": "cpu"}
    tokens = tmp_path / "tokens.parquet"
    theirs = {"problems": tmp_path / "theirs.parquet", "model": tiny_manifest, "out": tokens}
    execute(command("tokenize_student", settings, **theirs))
    for name in ("one", "two"):
        files = {"tokens": tokens, "model": tiny_manifest, "weights": tmp_path / "weights"}
        made = {"out": tmp_path / f"{name}.json", "history": tmp_path / f"{name}.jsonl"}
        execute(command("tune_student", settings, **files, name=name, **made))
        assert read_json(tmp_path / f"{name}.json")["name"] == name
    assert len(trained(tmp_path)) == 1
    assert rows(tmp_path) == [0, 6]


@pytest.mark.nightly
def test_the_workflow_shares_it(tiny_model: Path, tmp_path: Path) -> None:
    """Two generators of the same base model, which has two names."""
    two = {
        "use": {"generators": ["one", "two"]},
        "models": {"again": {"source": f"path:{tiny_model}", "licence": "none"}},
        "generators": {
            "one": {"model": "tiny", "tuning": "question"},
            "two": {"model": "again", "tuning": "question"},
        },
    }
    asked = [f"results/question_tuning/{name}/model.json" for name in ("one", "two")]
    ended_well(snakemake(tmp_path, merged(overlay(tiny_model), two), *asked))
    manifests = [read_json(tmp_path / path) for path in asked]
    (weights,) = trained(tmp_path / "models")
    assert [(tmp_path / found["folder"], found["name"]) for found in manifests] == [(weights, "one"), (weights, "two")]
    assert rows(tmp_path / "models") == [0, 24]
