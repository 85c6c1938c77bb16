"""What `make gc` lists and removes: only what no result rests on, and nothing while anyone is at work."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from programs import SCRIPTS, finished, refused
from scalequest.errors import ScaleQuestError
from scalequest.rows.store import RowStore
from scalequest.rows.tables import CANDIDATES, SCORES, write_table
from scalequest.runtime.files import write_json
from scalequest.runtime.lease import Lease, note
from tools import collect_garbage
from workflow import finished_run, overlay, planned, snakemake, succeeded

DAY = 86400
KEY16 = "0123456789abcdef"


def gc(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program as `make gc` does."""
    command = [sys.executable, str(SCRIPTS / "tools" / "collect_garbage.py"), *arguments]
    return finished(command, cwd=folder)


def listed(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 0, result.stderr
    return result.stdout


def age(path: Path, days: float) -> None:
    """Make everything at `path` look as old as that; below zero it lies in the future."""
    when = time.time() - days * DAY
    for place in [path, *path.rglob("*")]:
        os.utime(place, (when, when), follow_symlinks=False)


def stored(folder: Path, name: str, worker: Path | None = None) -> str:
    """Make a store with one window, worked at from `worker`; returns its name."""
    store = RowStore(folder / "progress", "score_difficulty", {"name": name}, SCORES)
    here = Path.cwd()
    os.chdir(worker or folder)
    try:
        with Lease(store.folder / "attempts", "g-s0-8-00000000"):
            store.write("g-s0-8-00000000", [{"id": "g/s0/000000000", "score": 1.0}], {("g/s0/000000000",): "x"})
    finally:
        os.chdir(here)
    return store.name


def result_on(folder: Path, store: str | None) -> None:
    rows = [{"id": "g/s0/000000000", "score": 1.0}]
    write_table(folder / "results" / "scores.parquet", rows, SCORES, made_in=[store] if store else [])


def parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("progress/*/*/*.parquet"))


# ---------------------------------------------------------------- stored rows


@pytest.mark.parametrize(
    ("named", "days", "goes"),
    [(True, 30, False), (False, 30, True), (False, 6, False), (False, -30, False), (False, 7.01, True)],
    ids=["a result rests on it", "nothing does", "used lately", "time in the future", "just old enough"],
)
def test_stored_rows_go_when_no_result_rests_on_them_and_they_are_old(tmp_path, named, days, goes):
    store = stored(tmp_path, "a")
    result_on(tmp_path, store if named else "score_difficulty/another")
    age(tmp_path / "progress", days)
    said = listed(gc(tmp_path))
    assert ("rows on which no result rests" in said) == goes
    assert len(parts(tmp_path)) == 1, "nothing is removed unless asked for"
    assert ("Nothing was removed" in said) == goes
    listed(gc(tmp_path, "--delete"))
    assert len(parts(tmp_path)) == (0 if goes else 1)
    # What the work took stays on record.
    assert len(list((tmp_path / "progress" / store / "attempts").iterdir())) == 1


def test_what_it_says_is_what_it_frees(tmp_path):
    for name in ("a", "b"):
        stored(tmp_path, name)
    age(tmp_path / "progress", 30)
    size = sum(path.stat().st_size for path in parts(tmp_path))
    said = listed(gc(tmp_path, "--delete"))
    assert int(re.findall(r"([\d,]+) bytes in all", said)[0].replace(",", "")) == size > 0
    assert parts(tmp_path) == []
    assert "       0 bytes in all" in listed(gc(tmp_path))


def test_other_working_folders_that_share_the_store_count(tmp_path):
    mine, other = tmp_path / "mine", tmp_path / "other"
    for folder in (mine, other):
        folder.mkdir()
    store = stored(mine, "a", worker=other)
    result_on(other, store)
    age(mine / "progress", 30)
    assert "       0 bytes in all" in listed(gc(mine))
    moved = other.rename(tmp_path / "moved")
    said = listed(gc(mine, "--delete"))
    assert f"Kept for {other}, which is not visible here" in said
    assert len(parts(mine)) == 1
    assert "rows on which" not in listed(gc(mine, "--forget", str(other), "--folder", str(moved), "--delete"))
    assert "rows on which" in listed(gc(mine, "--forget", str(other)))


def test_results_below_the_prefix_of_a_module_count(tmp_path):
    store = stored(tmp_path, "a")
    result_on(tmp_path / "study" / "one", store)
    age(tmp_path / "progress", 30)
    assert "rows on which no result rests" in listed(gc(tmp_path))
    (tmp_path / "study" / "one" / "results" / "models").mkdir()
    assert "       0 bytes in all" in listed(gc(tmp_path))
    # Another run below this one is a working folder of its own.
    (tmp_path / "study" / "one" / ".snakemake").mkdir()
    assert "rows on which no result rests" in listed(gc(tmp_path))


def test_a_folder_that_only_read_is_named_by_hand(tmp_path):
    mine, reader = tmp_path / "mine", tmp_path / "reader"
    for folder in (mine, reader):
        folder.mkdir()
    result_on(reader, stored(mine, "a"))
    age(mine / "progress", 30)
    said = listed(gc(mine))
    assert "rows on which" in said
    assert f"the results of {mine} rest on" in said
    said = listed(gc(mine, "--folder", str(reader)))
    assert "rows on which" not in said
    assert f"the results of {reader} rest on" in said


@pytest.mark.parametrize("option", ["progress", "models", "folder"])
def test_a_folder_that_does_not_exist_is_an_error_where_it_was_named(tmp_path, option):
    assert f"--{option} /typo: there is no such folder" in refused(gc(tmp_path, f"--{option}", "/typo"))
    assert f"Looked in {tmp_path}/progress, which is not there" in listed(gc(tmp_path))


def test_what_a_folder_on_another_machine_may_rest_on_is_kept_until_it_is_forgotten(tmp_path):
    store = stored(tmp_path, "a")
    (path,) = (tmp_path / "progress" / store / "attempts").iterdir()
    write_json(path, {**json.loads(path.read_text()), "host": "node7", "directory": "/scratch/of/node7"})
    age(tmp_path / "progress", 30)
    said = listed(gc(tmp_path))
    assert "Kept for /scratch/of/node7, which is not visible here" in said
    assert "rows on which" not in said
    assert "rows on which" in listed(gc(tmp_path, "--forget", "/scratch/of/node7"))


@pytest.mark.parametrize("process", [0, -1, None])
def test_what_a_damaged_record_is_of_is_kept_until_the_record_is_removed(tmp_path, process):
    store = stored(tmp_path, "a")
    (path,) = (tmp_path / "progress" / store / "attempts").iterdir()
    write_json(path, {**json.loads(path.read_text()), "process": process})
    age(tmp_path / "progress", 30)
    said = listed(gc(tmp_path, "--delete"))
    assert f"Kept {store}, as the record {path} is damaged" in said
    assert len(parts(tmp_path)) == 1
    path.unlink()
    listed(gc(tmp_path, "--delete"))
    assert not parts(tmp_path)


def test_a_result_of_an_older_release_stops_it(tmp_path):
    stored(tmp_path, "a")
    result_on(tmp_path, None)
    age(tmp_path / "progress", 30)
    assert "does not say in which store its rows are" in refused(gc(tmp_path, "--delete"))
    assert len(parts(tmp_path)) == 1


def test_a_table_that_no_store_made_says_nothing(tmp_path):
    write_table(tmp_path / "results" / "candidates.parquet", [], CANDIDATES)
    listed(gc(tmp_path))


def test_paid_answers_of_a_server_stay(tmp_path):
    write_json(tmp_path / "progress" / "rewrite_server" / "answers" / "ab" / "ab12.json", {"text": "paid"})
    age(tmp_path / "progress", 300)
    listed(gc(tmp_path, "--delete"))
    assert (tmp_path / "progress/rewrite_server/answers/ab/ab12.json").exists()


# ---------------------------------------------------------------- leftovers and weights

# As an older release named it; now nothing stands between the stage and the weights.
STAGES = "models/question_tuning/tiny"
STAGE = "models/question_tuning"
LEFT: list[tuple[str, str, float, bool]] = [
    # path, kind, age in days, whether it goes
    ("progress/s/k/w.abc.corrupt", "damaged parts", 0, True),
    ("progress/s/k/.w.abc.parquet.77.part", "half-written", 2, True),
    ("progress/s/k/.w.abc.parquet.77.part", "half-written", 0.5, False),
    ("progress/s/k/.w.abc.parquet.77.part", "half-written", -2, False),
    ("progress/s/k/attempts/.unit.host.77.new", "half-written", 2, True),
    ("results/questions/.gpu0.parquet.77.part", "half-written", 2, True),
    ("results/questions/gpu0.part", "half-written", 2, False),
    ("results/datasets/.train.ab12cd34.part/train.parquet", "half-written", 2, True),
    ("results/datasets/.train.ab12cd34.part/train.parquet", "half-written", 0.5, False),
    ("models/staged/tiny-1234.part/model.safetensors", "half-written", 2, True),
    (f"{STAGES}/.{KEY16}.old/model.safetensors", "half-written", 2, True),
    (f"{STAGES}/{KEY16}/.training.json", "trained weights", 30, True),
    (f"{STAGES}/{KEY16}/.training.json", "trained weights", 5, False),
    (f"{STAGE}/{KEY16}/.training.json", "trained weights", 30, True),
    (f"{STAGE}/{KEY16}/.training.json", "trained weights", 5, False),
    (f"{STAGE}/.{KEY16}.training/checkpoints/1/optimizer.pt", "never ended", 30, True),
    ("models/mine/by/hand/model.safetensors", "trained weights", 30, False),
    ("models/staged/tiny-1234/model.safetensors", "staged models", 30, True),
    ("models/staged/tiny-1234/model.safetensors", "staged models", 1, False),
    (f"{STAGES}/.{KEY16}.training/checkpoints/1/optimizer.pt", "never ended", 30, True),
    (f"{STAGES}/.{KEY16}.training/checkpoints/1/optimizer.pt", "never ended", 3, False),
]


@pytest.mark.parametrize(("path", "kind", "days", "goes"), LEFT)
def test_leftovers_and_weights(tmp_path, path, kind, days, goes):
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_text("x" * 100)
    for root in ("progress", "models", "results"):
        if (tmp_path / root).exists():
            age(tmp_path / root, days)
    said = listed(gc(tmp_path, "--delete"))
    assert (kind in said) == goes
    assert file.exists() != goes


@pytest.mark.parametrize("place", [STAGES, STAGE])
def test_weights_that_a_manifest_names_stay_and_their_work_folder_goes(tmp_path, place):
    for name in (KEY16, f".{KEY16}.training"):
        (tmp_path / place / name).mkdir(parents=True)
        (tmp_path / place / name / ".training.json").write_text("{}")
    manifest = {"folder": f"{place}/{KEY16}", "files": {}, "name": "tiny"}
    write_json(tmp_path / "results/question_tuning/tiny/model.json", manifest)
    age(tmp_path / "models", 30)
    assert "work folders of finished trainings" in listed(gc(tmp_path, "--delete"))
    assert [path.name for path in (tmp_path / place).iterdir()] == [KEY16]


@pytest.mark.parametrize("place", [STAGES, STAGE])
def test_shared_weights_stay_while_one_of_their_generators_is_left(tmp_path, place, monkeypatch):
    weights = tmp_path / place / KEY16
    write_json(weights / ".training.json", {})
    manifests = [tmp_path / f"results/question_tuning/{name}/model.json" for name in ("one", "two")]
    for path in manifests:
        write_json(path, {"folder": f"{place}/{KEY16}", "files": {}, "name": path.parent.name})
    age(tmp_path / "models", 30)
    manifests[0].unlink()
    listed(gc(tmp_path, "--delete"))
    assert weights.exists()
    manifests[1].unlink()
    # The other generator is one of a folder that cannot be seen from here.
    monkeypatch.chdir(tmp_path)
    note(weights.parent / "attempts", KEY16)
    (record,) = (weights.parent / "attempts").iterdir()
    write_json(record, {**json.loads(record.read_text()), "host": "node7", "directory": "/scratch/of/node7"})
    listed(gc(tmp_path, "--delete"))
    assert weights.exists()
    listed(gc(tmp_path, "--forget", "/scratch/of/node7", "--delete"))
    assert not weights.exists()


def test_a_model_of_a_folder_that_only_staged_stays(tmp_path, monkeypatch):
    mine, other, models = tmp_path / "mine", tmp_path / "other", tmp_path / "models"
    for folder in (mine, other):
        folder.mkdir()
    # The lease's record as staging leaves it.
    weights = models / "staged" / "m-1234-5678"
    weights.mkdir(parents=True)
    (weights / "model.safetensors").touch()
    monkeypatch.chdir(other)
    with Lease(weights.parent / "attempts", weights.name):
        pass
    write_json(other / "results/models/m.json", {"folder": str(weights), "files": {}, "name": "m"})
    age(models, 30)
    assert "staged models" not in listed(gc(mine, "--models", str(models), "--delete"))
    assert weights.exists()
    (other / "results/models/m.json").unlink()
    listed(gc(mine, "--models", str(models), "--delete"))
    assert not weights.exists()
    assert (models / "staged" / "attempts").is_dir()


def test_storage_that_was_moved_and_linked_is_used_as_before(tmp_path):
    result_on(tmp_path, stored(tmp_path, "a"))
    weights = tmp_path / STAGES / KEY16
    write_json(weights / ".training.json", {})
    write_json(tmp_path / "results/question_tuning/tiny/model.json", {"folder": str(weights), "files": {}})
    for name in ("progress", "models"):
        age(tmp_path / name, 30)
        (tmp_path / name).symlink_to((tmp_path / name).rename(tmp_path / f"moved-{name}"))
    listed(gc(tmp_path, "--delete"))
    assert len(list(tmp_path.glob("moved-progress/*/*/*.parquet"))) == 1
    assert (weights / ".training.json").exists()


def test_no_link_leads_it_outside(tmp_path):
    outside, folder = tmp_path / "outside", tmp_path / "run"
    outside.mkdir()
    stored(outside, "a")
    (folder / "progress").mkdir(parents=True)
    (folder / STAGES).mkdir(parents=True)
    weights = outside / "weights"
    weights.mkdir()
    (weights / ".training.json").write_text("{}")
    (folder / STAGES / KEY16).symlink_to(weights)
    (folder / "progress" / "score_difficulty").symlink_to(outside / "progress" / "score_difficulty")
    (folder / "progress" / ".x.part").symlink_to(outside)
    age(outside, 30)
    age(folder, 30)
    before = sorted(outside.rglob("*"))
    listed(gc(folder, "--delete"))
    assert sorted(outside.rglob("*")) == before
    assert (folder / STAGES / KEY16).is_symlink()


def test_storage_elsewhere_is_given_by_hand(tmp_path):
    shared, folder = tmp_path / "shared", tmp_path / "run"
    folder.mkdir()
    shared.mkdir()
    stored(shared, "a", worker=folder)
    age(shared, 30)
    assert "rows on which" not in listed(gc(folder))
    assert "rows on which" in listed(gc(folder, "--progress", str(shared / "progress")))


# ---------------------------------------------------------------- never while anyone is at work


@contextmanager
def living(folder: Path) -> Iterator[None]:
    store = RowStore(folder / "progress", "score_difficulty", {"name": "b"}, SCORES)
    with Lease(store.folder / "attempts", "unit"):
        yield


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    (folder / ".snakemake" / "locks").mkdir(parents=True)
    (folder / ".snakemake" / "locks" / "0.output.lock").write_text("results/x\n")
    yield


@contextmanager
def elsewhere(folder: Path) -> Iterator[None]:
    store = stored(folder, "b")
    (path,) = (folder / "progress" / store / "attempts").iterdir()
    write_json(path, {**json.loads(path.read_text()), "state": "running", "boot": "another"})
    yield


@pytest.mark.parametrize(
    ("at_work", "said"),
    [(living, "may be at work"), (locked, "snakemake --unlock"), (elsewhere, "may be at work")],
)
def test_a_run_under_way_stops_it(tmp_path, monkeypatch, at_work, said):
    monkeypatch.chdir(tmp_path)
    stored(tmp_path, "a")
    age(tmp_path / "progress", 30)
    with at_work(tmp_path):
        assert said in refused(gc(tmp_path, "--delete"))
    assert parts(tmp_path)


def test_a_job_that_died_elsewhere_stops_it_for_an_hour(tmp_path):
    with elsewhere(tmp_path):
        age(tmp_path / "progress", 2 / 24)
        listed(gc(tmp_path))
        age(tmp_path / "progress", -1)
        assert "may be at work" in refused(gc(tmp_path))


def two_stores(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Two stores that can go, and a function that removes them and lets something happen after the first."""
    monkeypatch.chdir(folder)
    for name in ("a", "b"):
        stored(folder, name)
    age(folder / "progress", 30)
    progress, models = folder / "progress", folder / "models"

    def look() -> list[collect_garbage.Item]:
        return collect_garbage.garbage(progress, models, collect_garbage.find_uses([progress], [], []), 7.0)

    def clean(then: Callable[[], object]) -> None:
        def and_then(item: collect_garbage.Item, remove: Callable = collect_garbage.remove) -> None:
            remove(item)
            then()

        monkeypatch.setattr(collect_garbage, "remove", and_then)
        collect_garbage.clean(look(), look)

    return clean


def test_what_a_result_rests_on_since_it_was_listed_stays(tmp_path, monkeypatch, capsys):
    clean = two_stores(tmp_path, monkeypatch)
    last = parts(tmp_path)[1]
    clean(lambda: result_on(tmp_path, f"score_difficulty/{last.parent.name}"))
    assert parts(tmp_path) == [last]
    assert "bytes removed" in capsys.readouterr().out


def test_a_run_that_starts_while_it_removes_stops_it(tmp_path, monkeypatch):
    clean = two_stores(tmp_path, monkeypatch)
    last = parts(tmp_path)[1]
    with ExitStack() as at_work, pytest.raises(ScaleQuestError, match="may be at work"):
        clean(lambda: at_work.enter_context(living(tmp_path)))
    assert last in parts(tmp_path)


# ---------------------------------------------------------------- a finished run


def test_after_it_a_finished_run_is_still_finished(tiny_model, tmp_path):
    run = finished_run(tiny_model, tmp_path / "run")
    config = overlay(tiny_model)
    stale = stored(run, "stale")
    for folder in ("progress", "models"):
        age(run / folder, 30)
    before = {path.relative_to(run) for path in [*parts(run), *run.glob("models/**/*.safetensors")]}
    said = listed(gc(run, "--delete"))
    after = {path.relative_to(run) for path in [*parts(run), *run.glob("models/**/*.safetensors")]}
    assert {path.parts[1:3] for path in before - after} == {tuple(stale.split("/"))}, said
    assert planned(snakemake(run, config, "-n")) == {}
    log = run / "logs" / "sample_responses" / "tiny.seed0.gpu0.log"
    length = len(log.read_text())
    answers = run / "results" / "responses" / "tiny" / "seed0" / "gpu0.parquet"
    rows = answers.read_bytes()
    succeeded(snakemake(run, config, "--forcerun", "sample_responses", "--until", "sample_responses"))
    assert "loading" not in log.read_text()[length:]
    assert answers.read_bytes() == rows
