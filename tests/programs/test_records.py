"""Records of attempts that others wrote or a crash damaged: they stop nobody, signal nobody and count nowhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import summarize_run
from programs import ATTEMPT, operating
from scalequest.runtime import lease, records
from scalequest.runtime.files import RUN, read_json
from scalequest.runtime.lease import Lease, attempts
from scalequest.runtime.operation import OPERATION
from tools import collect_garbage

HOLDER = """
import sys
from pathlib import Path
from scalequest.runtime import job
from scalequest.runtime.lease import Lease
def main():
    with Lease(Path(sys.argv[1]), "shard") as lease:
        lease.check()
        lease.count(1)
job.run(main)
"""
GONE: Any = object()
# Values of a record that is sound but for one of them.
DAMAGES: dict[str, list[Any]] = {
    "process": [-1, 0, -(10**6), 2**22 + 1, 10**30, "1", 1.0, True, None, [1], GONE],
    "process_start": [None, -1, "1", 2**63, True, GONE],
    "state": ["alive", None, 1, ["running"], {}, GONE],
    "beats": [-1, 0.5, "1", None, 2**63, GONE],
    "slurm_job": [41, "-1", "41;reboot", "--me", "", "\u0664", True, GONE],
    "directory": ["here", "/x\0y", "/" + "x" * 5000, "/\ud800", 1, None, GONE],
    "host": [None, 7, "\ud800", "x" * 5000, GONE],
    "seconds": [-1.0, float("nan"), float("inf"), 1e300, "1", None, True, GONE],
    "rows": [-1, 1.5, 2**63, "1", None, True, GONE],
    "gpus": [-1, 1.5, 2**40, "1", None, GONE],
    "lease_seconds": [0, -1, 86401, 1e300, float("inf"), float("nan"), "1", None],
    "span": [[], [1], [1, 2, 3], [2, 1], [-1, 2], ["1", 2], [0.5, 1], 7, {"0": 1}],
    "takes_over": [0, "no", None],
    "run": [1, [], "\ud800"],
    **{key: [GONE] for key in ("boot", "processes", "unit", "started")},
}
DAMAGE: list[tuple[str, Any]] = [(key, value) for key, values in DAMAGES.items() for value in values]


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What lies in the folder of the tests is nobody's work.
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(RUN, raising=False)
    monkeypatch.setenv(OPERATION, json.dumps({"lease_seconds": 60.0}))


def sound(folder: Path, **changes: Any) -> dict[str, Any]:
    """What a lease of this process and folder writes while it works, with changes."""
    with Lease(folder / "other", "shard"):
        record = read_json(folder / "other" / "shard.000001.json")
    return {key: value for key, value in (record | changes).items() if value is not GONE}


def leave(path: Path, record: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))
    return path


def test_what_a_lease_writes_is_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "41")
    monkeypatch.setenv(RUN, "one")
    with Lease(tmp_path, "shard", gpus=2, span=(0, 3)) as held:
        held.count(3)
        assert records.read(tmp_path / "shard.000001.json") == read_json(tmp_path / "shard.000001.json")
    # Older releases wrote fewer keys.
    old = sound(tmp_path, **dict.fromkeys(("run", "lease_seconds", "takes_over", "span", "devices"), GONE))
    assert records.read(leave(tmp_path / "old.json", old)) == old


@pytest.mark.parametrize("number", ["", "41_2", "x"])
def test_what_slurm_says_of_a_job_is_noted_where_it_is_a_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", number)
    assert sound(tmp_path)["slurm_job"] is None


@pytest.mark.parametrize(("key", "value"), DAMAGE, ids=[f"{k}: {'gone' if v is GONE else v!r:.20}" for k, v in DAMAGE])
def test_a_value_that_no_lease_writes_is_damage(tmp_path: Path, key: str, value: Any) -> None:
    path = leave(tmp_path / "stage" / "key" / "attempts" / "shard.000001.json", sound(tmp_path, **{key: value}))
    assert records.read(path) is None
    assert not list(attempts(tmp_path))
    assert collect_garbage.find_uses([tmp_path], [], []).damaged == {path: "key/shard"}
    start = time.monotonic()
    # It stops neither a newcomer nor, as a newer one, the holder.
    with Lease(path.parent, "shard") as held:
        leave(path.parent / "shard.000003.json", sound(tmp_path, **{key: value}))
        held.check()
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    "content", [b"[" * 60_000, b"9" * 60_000, b'"\xff"', b"[]", b"null", b" " * 70_000, b'{"a": 1}']
)
def test_a_file_that_is_no_record_is_damage(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "shard.000001.json").write_bytes(content)
    with Lease(tmp_path, "shard"):
        assert records.read(tmp_path / "shard.000001.json") is None


def test_names_and_kinds_of_files_that_no_lease_makes_stop_nobody(tmp_path: Path) -> None:
    for name in (
        "shard.x.json",
        "shard.json",
        "shard.-1.json",
        "shard.9.json",
        f"shard.{'9' * 200}.json",
        "shard..json",
    ):
        leave(tmp_path / name, sound(tmp_path))
    os.mkfifo(tmp_path / "shard.000003.json")
    (tmp_path / "shard.000004.json").mkdir()
    with Lease(tmp_path, "shard") as held:
        held.check()
    assert read_json(tmp_path / "shard.000005.json")["state"] == "done"


@pytest.mark.parametrize("policy", ["take_over", "wait", "cancel"])
@pytest.mark.parametrize("start", [None, 1])
def test_no_process_is_signalled_by_what_a_record_says(tmp_path: Path, policy: str, start: int | None) -> None:
    """`cancel` is what a script that is run by hand may still be told; a negative number is a group of processes."""
    bystander = subprocess.Popen(["sleep", "60"], start_new_session=True)  # noqa: S607 - our own child
    try:
        for number, process in enumerate([-bystander.pid, bystander.pid], 1):
            changes: dict[str, Any] = {"process": process, "process_start": start, "state": "running"}
            leave(tmp_path / "work" / f"shard.{number:06d}.json", sound(tmp_path, **changes))
        done = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-c", HOLDER, str(tmp_path / "work")],
            env=operating(lease_seconds=3.0, other_writer=policy),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_living_job_is_not_signalled_either(tmp_path: Path) -> None:
    """One of an earlier run of this folder, by all that its record says."""
    bystander = subprocess.Popen(["sleep", "2"])  # noqa: S607 - our own child
    record = sound(tmp_path, process=bystander.pid, process_start=lease.process_start(bystander.pid), state="running")
    leave(tmp_path / "work" / "shard.000001.json", record)
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", HOLDER, str(tmp_path / "work")],
        env=operating(lease_seconds=3.0, other_writer="cancel"),
        check=False,
    )
    assert (done.returncode, bystander.wait()) == (0, 0)


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=9),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=3), below, max_size=2),
    max_leaves=4,
)


@settings(max_examples=150)
@given(changes=st.dictionaries(st.sampled_from([*records._FIELDS, *records._LATER]), VALUES, max_size=4))
def test_any_record_is_read_or_damage(changes: dict[str, Any]) -> None:
    with TemporaryDirectory() as folder:
        record = {**ATTEMPT, "state": "running", **changes}
        path = leave(Path(folder) / "stage" / "key" / "attempts" / "shard.000001.json", record)
        summarize_run.work_of_attempts([Path(folder)], Path.cwd())
        for _, found in attempts(Path(folder)):
            lease.known_alive(found)
            lease._Watch(path)()
            lease._who(found).encode()
            collect_garbage._may_live(path, found)
