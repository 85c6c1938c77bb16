"""A run's jobs are of one config, one code and one run: a job that meets others refuses."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import faults
from conftest import ROOT
from fault_stages import STAGES, Models
from scalequest.errors import ScaleQuestError
from scalequest.grading.verdicts import WINDOW
from scalequest.runtime.files import write_text
from scalequest.runtime.lease import process_start
from scalequest.runtime.stopping import Stop
from scalequest.workflow.codehash import checkout_hash
from scalequest.workflow.freeze import begin_run, freeze
from workflow import merged

FOUND = {"the config was": "a", "a script or a file of resources/ was": "b"}


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("SCALEQUEST_FROZEN", "")
    monkeypatch.setenv("SCALEQUEST_RUN", "")
    monkeypatch.chdir(tmp_path)
    freeze(FOUND, main_process=True)
    begin_run()
    yield


def test_a_job_of_the_same_run_goes_on():
    freeze(FOUND, main_process=False)
    write_text("results/x.txt", "x")


@pytest.mark.parametrize("what", FOUND)
def test_a_job_that_meets_something_edited_refuses_and_says_what(what):
    with pytest.raises(ScaleQuestError, match=f"^{what} edited while this run was going on"):
        freeze({**FOUND, what: "edited"}, main_process=False)


def test_a_new_run_takes_what_it_finds():
    freeze({**FOUND, "the config was": "edited"}, main_process=True)
    freeze({**FOUND, "the config was": "edited"}, main_process=False)


def test_after_another_run_has_begun_an_older_job_neither_starts_nor_replaces_its_results(monkeypatch):
    with monkeypatch.context() as later:
        begin_run()
        write_text("results/x.txt", "the later run's")
        later.undo()
    monkeypatch.setenv("SCALEQUEST_RUN", "that of the older job")
    with pytest.raises(ScaleQuestError, match="another run has begun in this folder since this job was submitted"):
        freeze(FOUND, main_process=False)
    with pytest.raises(Stop, match="75"):
        write_text("results/x.txt", "the older run's")
    assert Path("results/x.txt").read_text() == "the later run's"
    assert not list(Path("results").glob(".*"))
    # Its rows are kept all the same.
    write_text("progress/stage/key/part", "rows")


def test_a_script_that_is_run_by_hand_is_of_no_run(monkeypatch):
    monkeypatch.delenv("SCALEQUEST_RUN")
    write_text("results/x.txt", "x")


def test_the_checkout_is_known_by_its_code_and_its_resources(tmp_path):
    for name in ("scripts", "resources"):
        shutil.copytree(ROOT / name, tmp_path / name)
    found = checkout_hash(tmp_path)
    assert found == checkout_hash(ROOT)
    script = tmp_path / "scripts" / "sample_questions.py"
    prompt = tmp_path / "resources" / "domains" / "math" / "prompts" / "respond.txt"
    script.write_text(script.read_text() + "\n# a comment\n")
    checkout = tmp_path / "again"
    shutil.copytree(tmp_path / "scripts", checkout / "scripts")
    shutil.copytree(tmp_path / "resources", checkout / "resources")
    # No job runs a tool.
    (checkout / "scripts" / "tools" / "plan.py").write_text("print()\n")
    assert checkout_hash(checkout) == found
    (checkout / "resources" / "domains" / "math" / "prompts" / "respond.txt").write_text(prompt.read_text() + " ")
    assert checkout_hash(checkout) != found


def test_a_job_that_outlives_its_run_replaces_no_result_of_a_later_one(tiny_model, tmp_path):
    """Of other settings it has another lease, so that the later run knows nothing of it."""
    whole = STAGES["grade_answers"]
    stage = replace(whole, prepare=lambda results, models, rows: whole.prepare(results, models, 4 * WINDOW))
    models = Models(tiny_model, tiny_model)
    place = faults.prepared(stage, models, tmp_path)
    with faults.ended_at_last([]) as children:
        children.append(place.start(place.snakemake(), "first.txt"))
        script = faults.script_of(children[0].pid, stage.name)
        faults.watch(place, children[0], script, until=1)
        held = faults.hold(script)
        children[0].kill()
        children[0].wait()
        config = merged(faults.config(models), {"operation": faults.OPERATING, "grading": {"time_limit": 6.0}})
        (tmp_path / "overlay.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        for arguments in (["--unlock"], []):
            children.append(place.start(place.snakemake(*arguments), "later.txt"))
            assert children[-1].wait(timeout=180) == 0, faults.tail(tmp_path / "later.txt")
        later = place.hashes()
        assert len(later) == len(stage.outputs)
        for pid in held:
            faults.send(pid, signal.SIGCONT)
        end = time.monotonic() + 60
        while process_start(script) == held[script]:
            assert time.monotonic() < end, "the older job does not end"
            time.sleep(0.1)
    assert place.hashes() == later
    said = "".join(path.read_text(encoding="utf-8") for path in tmp_path.glob("logs/grade_answers/attempts/*"))
    assert "stopped: another run has begun in this folder, and results/evaluation/tiny/embedded_test/" in said
