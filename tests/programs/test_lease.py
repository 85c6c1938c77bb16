"""Leases: of several jobs at one piece of work, one goes on, and the hours of all are counted. Real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from programs import operating
from scalequest.runtime import lease, stopping
from scalequest.runtime.files import RUN, read_json, write_json
from scalequest.runtime.lease import Lease, attempts
from scalequest.runtime.operation import OPERATION

# A job of windows of 0.2 s, which says when it begins and what it has done.
HOLDER = """
import sys, time
from pathlib import Path
from scalequest.runtime import job
from scalequest.runtime.lease import Lease
def main():
    with Lease(Path(sys.argv[1]), "shard", gpus=2) as lease:
        print("begun", flush=True)
        for window in range(int(sys.argv[2])):
            lease.check()
            time.sleep(0.2)
            lease.count(10)
job.run(main)
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RUN, raising=False)
    monkeypatch.setenv(OPERATION, json.dumps({"lease_seconds": 3.0}))


def holder(folder: Path, windows: int = 100, cwd: Path | None = None, **operation: Any) -> subprocess.Popen[str]:
    """Start a job on the work; returns when it has begun or waits."""
    line = [sys.executable, "-c", HOLDER, str(folder), str(windows)]
    environment = operating(**{"lease_seconds": 3.0, **operation})
    return subprocess.Popen(  # noqa: S603 - our own program
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=cwd
    )


def begun(child: subprocess.Popen[str]) -> subprocess.Popen[str]:
    assert child.stdout is not None
    assert child.stdout.readline() == "begun\n", child.stderr and child.stderr.read()
    return child


def states(folder: Path) -> list[str]:
    return [read_json(path)["state"] for path in sorted(folder.glob("shard.*.json"))]


def wait(condition: Callable[[], Any], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_an_attempt_leaves_its_record(tmp_path):
    with Lease(tmp_path / "stage" / "key" / "attempts", "shard", gpus=2) as held:
        held.count(7)
        held.count(5)
    ((_, record),) = attempts(tmp_path)
    assert (record["state"], record["rows"], record["gpus"], record["stage"]) == ("done", 12, 2, "stage")


@pytest.mark.parametrize(("error", "state"), [(ValueError("x"), "failed"), (stopping.Stop("x", 143), "stopped")])
def test_an_attempt_says_how_it_ended(tmp_path, error, state):
    with pytest.raises(type(error)), Lease(tmp_path, "shard"):
        raise error
    assert states(tmp_path) == [state]


def test_the_newcomer_takes_over_and_the_older_one_ends_after_its_window(tmp_path):
    older = begun(holder(tmp_path))
    newcomer = holder(tmp_path, windows=1)
    _, said = newcomer.communicate(timeout=30)
    assert newcomer.returncode == 0, said
    assert "waiting for it to store the window in hand" in said
    _, said = older.communicate(timeout=30)
    assert older.returncode == 75
    assert "taken over by process" in said
    assert states(tmp_path) == ["stopped", "done"]


def test_with_wait_the_older_one_finishes(tmp_path):
    older = begun(holder(tmp_path, windows=8))
    newcomer = holder(tmp_path, windows=1, other_writer="wait")
    newcomer.communicate(timeout=30)
    assert older.wait(timeout=1) == 0
    assert newcomer.returncode == 0
    assert states(tmp_path) == ["done", "done"]


def test_another_experiment_that_shares_the_folder_is_waited_for(tmp_path):
    """Were it taken over, its retry would take over in turn, and so on."""
    other = tmp_path / "other"
    other.mkdir()
    older = begun(holder(tmp_path / "work", windows=8, cwd=other))
    newcomer = holder(tmp_path / "work", windows=1)
    newcomer.communicate(timeout=30)
    assert (older.wait(timeout=1), newcomer.returncode) == (0, 0)


@pytest.mark.parametrize("policy", ["take_over", "wait"])
def test_three_experiments_that_share_the_folder_come_one_after_another(tmp_path, policy):
    children = []
    for name in "abc":
        (tmp_path / name).mkdir()
        children.append(holder(tmp_path / "work", windows=6, cwd=tmp_path / name, other_writer=policy))
        wait(lambda: len(list((tmp_path / "work").glob("shard.*.json"))) == len(children))
    said = [child.communicate(timeout=60)[1] for child in children]
    assert [child.returncode for child in children] == [0, 0, 0], said


def test_with_wait_a_third_one_stops_nobody(tmp_path):
    children = []
    for _ in range(3):
        children.append(holder(tmp_path, windows=6, other_writer="wait"))
        wait(lambda: len(list(tmp_path.glob("shard.*.json"))) == len(children))
    said = [child.communicate(timeout=60)[1] for child in children]
    assert [child.returncode for child in children] == [0, 0, 0], said


def test_attempts_at_other_parts_are_not_waited_for(tmp_path):
    with Lease(tmp_path, "shard", span=(0, 3)) as first:
        with Lease(tmp_path, "shard", span=(4, 9)) as second:
            first.check()
            second.check()
        waiting(tmp_path, span=[3, 4])
        with pytest.raises(stopping.Stop) as stopped:
            first.check()
    assert "taken over" in stopped.value.why


def waiting(folder: Path, **changes: Any) -> None:
    """An attempt of this very process and folder that waits for its turn."""
    newest = max(folder.glob("shard.*.json"))
    number = int(newest.name.split(".")[1]) + 1
    write_json(folder / f"shard.{number:06d}.json", {**read_json(newest), "state": "waiting", **changes})


def test_a_newcomer_that_has_gone_again_stops_nobody(tmp_path):
    with Lease(tmp_path, "shard") as held:
        waiting(tmp_path)
        path = max(tmp_path.glob("shard.*.json"))
        write_json(path, {**read_json(path), "state": "stopped"})
        held.check()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_newcomer_that_ends_while_it_waits_stops_nobody(tmp_path, number):
    """Only a moment: the holder looks once a window."""
    with Lease(tmp_path, "shard") as held:
        newcomer = holder(tmp_path)
        wait(lambda: states(tmp_path) == ["running", "waiting"])
        newcomer.send_signal(number)
        newcomer.wait()
        held.check()
        assert states(tmp_path)[1] == ("stopped" if number == signal.SIGTERM else "waiting")


def test_jobs_of_one_run_at_the_same_work_come_one_after_another(tmp_path, monkeypatch):
    """Two models of the same weights, say: were one to take over, its retry would take over in turn."""
    monkeypatch.setenv(RUN, "one")
    older = begun(holder(tmp_path, windows=8))
    newcomer = holder(tmp_path, windows=1)
    third = holder(tmp_path, windows=1)
    assert (newcomer.wait(timeout=30), third.wait(timeout=30), older.wait(timeout=1)) == (0, 0, 0)
    older = begun(holder(tmp_path))
    monkeypatch.setenv(RUN, "another")
    assert (holder(tmp_path, windows=1).wait(timeout=30), older.wait(timeout=5)) == (0, 75)


def test_who_beats_seldom_has_its_own_time(tmp_path):
    with Lease(tmp_path, "shard"):
        pass
    elsewhere(tmp_path / "shard.000001.json", lease_seconds=6.0)
    start = time.monotonic()
    with Lease(tmp_path, "shard"):
        assert time.monotonic() - start > 5.5


def test_who_found_everything_is_on_record_and_in_nobodys_way(tmp_path):
    with Lease(tmp_path, "shard") as held:
        lease.note(tmp_path, "shard")
        held.check()
        assert states(tmp_path) == ["running", "done"]
    read_only = tmp_path / "file"
    read_only.write_text("")
    lease.note(read_only / "attempts", "shard")


def test_a_link_whose_answer_was_lost_is_ones_own(tmp_path, monkeypatch):
    """A network file system makes the link, loses the answer, and finds the file there at the repetition."""
    link = os.link

    def lost(source: Any, target: Any) -> None:
        link(source, target)
        raise FileExistsError(target)

    monkeypatch.setattr(os, "link", lost)
    with Lease(tmp_path, "shard"):
        assert states(tmp_path) == ["running"]


def test_an_attempt_that_is_not_listed_yet_is_waited_for(tmp_path, monkeypatch):
    with Lease(tmp_path, "shard"):
        pass
    elsewhere(tmp_path / "shard.000001.json")
    monkeypatch.setattr(lease, "_numbers", lambda folder, unit: [])
    start = time.monotonic()
    with Lease(tmp_path, "shard"):
        assert time.monotonic() - start > 2.5


def test_silent_jobs_are_given_up_all_at_once(tmp_path):
    for number in range(1, 5):
        with Lease(tmp_path, "shard"):
            pass
        elsewhere(tmp_path / f"shard.{number:06d}.json", state="done")
    for number in range(1, 5):
        elsewhere(tmp_path / f"shard.{number:06d}.json")
    start = time.monotonic()
    with Lease(tmp_path, "shard"):
        assert time.monotonic() - start < 5


def test_a_killed_job_is_known_to_be_dead_at_once(tmp_path):
    older = begun(holder(tmp_path))
    wait(lambda: read_json(tmp_path / "shard.000001.json")["rows"])
    older.kill()
    older.wait()
    start = time.monotonic()
    with Lease(tmp_path, "shard"):
        waited = time.monotonic() - start
    assert waited < 2.5
    # What the killed job took is counted up to its last sign of life.
    killed = next(attempts_of(tmp_path))
    assert killed["state"] == "running"
    assert killed["rows"] > 0
    assert killed["seconds"] > 0


def attempts_of(folder: Path) -> Any:
    return (read_json(path) for path in sorted(folder.glob("shard.*.json")))


def elsewhere(path: Path, **changes: Any) -> None:
    """Rewrite an attempt as if its process were on another machine."""
    write_json(path, {**read_json(path), "boot": "another", "host": "node7", "state": "running", **changes})


def test_a_silent_job_on_another_machine_counts_as_dead_after_the_lease(tmp_path):
    with Lease(tmp_path, "shard"):
        pass
    # Its clock is wrong by years; nobody looks at it.
    elsewhere(tmp_path / "shard.000001.json", started="2999-01-01T00:00:00+00:00")
    start = time.monotonic()
    with Lease(tmp_path, "shard"):
        waited = time.monotonic() - start
    assert 2.5 < waited < 10


def test_a_job_on_another_machine_that_gives_signs_of_life_is_waited_for(tmp_path):
    with Lease(tmp_path, "shard"):
        pass
    path = tmp_path / "shard.000001.json"
    elsewhere(path)
    newcomer = holder(tmp_path, windows=1)
    for beat in range(10, 22):
        elsewhere(path, beats=beat)
        time.sleep(0.5)
    assert newcomer.poll() is None
    assert states(tmp_path)[-1] == "waiting"
    elsewhere(path, state="stopped")
    newcomer.communicate(timeout=30)
    assert newcomer.returncode == 0


def test_a_requeued_job_does_not_wait_for_its_former_self(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "41")
    with Lease(tmp_path, "shard"):
        pass
    elsewhere(tmp_path / "shard.000001.json", slurm_job="41")
    start = time.monotonic()
    with Lease(tmp_path, "shard"):
        assert time.monotonic() - start < 2


def test_a_process_id_that_was_given_again_is_another_process(tmp_path):
    with Lease(tmp_path, "shard"):
        pass
    path = tmp_path / "shard.000001.json"
    write_json(path, {**read_json(path), "state": "running", "process": 1})
    with Lease(tmp_path, "shard"):
        assert states(tmp_path) == ["running", "running"]


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"state": 1}'])
def test_a_damaged_record_stops_nobody(tmp_path, damage):
    with Lease(tmp_path, "shard"):
        pass
    (tmp_path / "shard.000001.json").write_text(damage)
    with Lease(tmp_path, "shard"):
        pass
    assert read_json(tmp_path / "shard.000002.json")["state"] == "done"


def test_two_newcomers_at_once_get_two_numbers_and_one_goes_on(tmp_path):
    children = [holder(tmp_path, windows=5) for _ in range(4)]
    for child in children:
        child.communicate(timeout=60)
    assert sorted(child.returncode for child in children) in ([0, 75, 75, 75], [0, 0, 75, 75], [0, 0, 0, 75])
    records = list(attempts_of(tmp_path))
    assert len(records) == 4
    assert records[-1]["state"] == "done"


def test_many_windows_at_a_time_are_still_one_writer(tmp_path):
    """The signs of life and the counting write the same file from two threads."""
    with Lease(tmp_path, "shard") as held:
        held.beat_seconds = 0.001
        for _ in range(50):
            held.count(1)
    assert read_json(tmp_path / "shard.000001.json")["rows"] == 50


def test_zombies_and_the_dead_have_no_start():
    child = subprocess.Popen([sys.executable, "-c", ""])
    time.sleep(0.5)
    assert lease.process_start(child.pid) is None
    child.wait()
    assert lease.process_start(child.pid) is None
    assert lease.process_start(os.getpid()) is not None
