"""The folder that shows a run: small, of whole files, and with nothing of the machine in it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from scalequest.errors import ScaleQuestError
from test_browser import build
from tools import make_example
from written_run import HOSTILE, PLAIN, write_evaluation, write_run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with a browser, and stand-ins for what is copied as it is."""
    run = tmp_path_factory.mktemp("run")
    shards = write_run(run / "results", {"plain": PLAIN, "hostile": HOSTILE})
    build(run, shards, write_evaluation(run / "results"))
    for name in make_example.FILES:
        (run / "results" / name).parent.mkdir(exist_ok=True)
        (run / "results" / name).write_text(f"{name}\n")
    return run


def test_it_has_a_share_of_the_rows_and_the_reports(finished: Path, tmp_path: Path) -> None:
    size = make_example.make(finished, tmp_path / "example", 20, None, 5)
    files = [path for path in (tmp_path / "example").rglob("*") if path.is_file()]
    assert size == sum(path.stat().st_size for path in files) < 5e6
    whole, part = (make_example.index(folder / "browser") for folder in (finished / "results", tmp_path / "example"))
    assert part["filters"] == whole["filters"]
    assert part["counts"]["questions"]["of"] == whole["counts"]["questions"]["rows"] == len(PLAIN) + len(HOSTILE)
    assert 5 <= part["counts"]["questions"]["rows"] <= 40
    assert {path.name for path in (tmp_path / "example").iterdir()} == {"browser", *make_example.FILES.values()}
    # What was there is replaced, and the same command gives the same bytes.
    before = {path: path.read_bytes() for path in files}
    make_example.make(finished, tmp_path / "example", 20, None, 5)
    assert {path: path.read_bytes() for path in files} == before


def test_answers_of_named_models_alone(finished: Path, tmp_path: Path) -> None:
    make_example.make(finished, tmp_path / "example", 1000, ["nobody"], 5)
    counts = make_example.index(tmp_path / "example" / "browser")["counts"]
    assert (counts["questions"]["rows"], counts["answers"]["rows"]) == (len(PLAIN) + len(HOSTILE), 0)


def test_what_names_the_machine_or_is_too_large_is_refused(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / "results/dataset/README.md").write_text(json.dumps({"folder": "/home/anna/scratch/run"}))
    with pytest.raises(ScaleQuestError, match=r"must not be published: dataset_card\.md has a path"):
        make_example.make(run, tmp_path / "example", 20, None, 5)
    (run / "results/dataset/README.md").write_text("x" * 3_000_000)
    with pytest.raises(ScaleQuestError, match="more than --max-mb 2: take fewer --rows"):
        make_example.make(run, tmp_path / "example", 20, None, 2)
    shutil.rmtree(run / "results/browser")
    with pytest.raises(ScaleQuestError, match="has no browser: finish the run"):
        make_example.make(run, tmp_path / "example", 20, None, 5)
