"""A job that must end early does so soon, says why, and with the right status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from programs import operating
from scalequest.runtime import stopping
from scalequest.runtime.operation import OPERATION
from scalequest.runtime.stopping import parse_time_left

# Windows of 0.3 s; with "hang", a library that keeps SIGTERM's exception from getting anywhere; with "native", one that
# waits in C for a lock that nobody gives back, where Python runs no handler.
JOB = """
import ctypes, sys, time
from scalequest.runtime import job, stopping
def main():
    print("begun", flush=True)
    for window in range(200):
        stopping.check(0.3)
        try:
            time.sleep(0.3)
        except SystemExit:
            if "hang" not in sys.argv:
                raise
            time.sleep(60)
        print("window", flush=True)
        if "native" in sys.argv:
            lock = ctypes.create_string_buffer(64)
            for _ in range(2):
                ctypes.CDLL(None).pthread_mutex_lock(lock)
if sys.argv[1:]:
    stopping._GRACE_SECONDS = 1.0
job.run(main)
"""


def started(*words: str, **operation: Any) -> subprocess.Popen[str]:
    environment = operating(**operation)
    line = [sys.executable, "-c", JOB, *words]
    child = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)  # noqa: S603
    assert child.stdout is not None
    assert child.stdout.readline() == "begun\n"
    return child


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_job_at_once(number):
    child = started()
    child.send_signal(number)
    start = time.monotonic()
    _, said = child.communicate(timeout=20)
    assert time.monotonic() - start < 5
    assert child.returncode == 128 + number
    assert f"stopped: told by {number.name}. What is finished is kept" in said
    assert "Traceback" not in said


DROPPED = """
import os, signal
from scalequest.runtime import job, stopping
class Dropping:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
def main():
    stopping.check(0.3)
    Dropping()
    print("goes on", flush=True)
    stopping.check(0.3)
    print("another window", flush=True)
job.run(main)
"""


def test_a_signal_whose_exception_is_dropped_ends_the_job_before_its_next_window():
    done = subprocess.run([sys.executable, "-c", DROPPED], capture_output=True, text=True, env=operating(), check=False)  # noqa: S603
    assert done.stdout == "goes on\n"
    assert done.returncode == 128 + signal.SIGTERM
    assert "stopped: told by SIGTERM" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("where", ["hang", "native"])
def test_a_job_that_hangs_is_ended_all_the_same(where, number):
    child = started(where)
    assert child.stdout is not None
    if where == "native":
        assert child.stdout.readline() == "window\n"
    time.sleep(0.15)
    child.send_signal(signal.SIGUSR1)
    child.send_signal(number)
    start = time.monotonic()
    # A second signal is none.
    time.sleep(0.3)
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=20)
    assert child.returncode == 128 + number
    assert 1 <= time.monotonic() - start < 10


# A child of a fork whose signals, were they ours, would end the job 1 s later.
FORKED = """
import os, signal, time
from scalequest.runtime import job, stopping
def main():
    child = os.fork()
    if not child:
        time.sleep(60)
    time.sleep(0.3)
    os.kill(child, signal.SIGTERM)
    os.waitpid(child, 0)
    time.sleep(2)
    print("goes on", flush=True)
stopping._GRACE_SECONDS = 1.0
job.run(main)
"""


def test_the_signal_of_a_forked_child_is_its_own():
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, env=operating(), check=False)  # noqa: S603
    assert (done.stdout, done.returncode) == ("goes on\n", 0)


def test_usr1_ends_a_job_after_the_window_in_hand():
    child = started()
    assert child.stdout is not None
    assert child.stdout.readline() == "window\n"
    time.sleep(0.1)
    child.send_signal(signal.SIGUSR1)
    out, said = child.communicate(timeout=20)
    assert child.returncode == 128 + signal.SIGUSR1
    assert out.count("window") == 1
    assert "told by SIGUSR1" in said


def test_before_the_deadline_no_window_is_begun_that_would_pass_it():
    child = started(deadline_minutes=3 / 60)
    out, said = child.communicate(timeout=20)
    assert child.returncode == 75
    assert 1 <= out.count("window") <= 10
    assert "before the time limit" in said


@pytest.mark.parametrize(
    ("minutes", "slurm", "seconds"), [(10, "5:00", 300), (5, "10:00", 300), (None, "5:00", 300), (5, "UNLIMITED", 300)]
)
def test_the_deadline_and_slurms_limit_both_hold(minutes, slurm, seconds, monkeypatch, tmp_path):
    (tmp_path / "squeue").write_text(f"#!/bin/sh\necho {slurm}\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv(OPERATION, json.dumps({"deadline_minutes": minutes}))
    monkeypatch.setattr(stopping, "_known_end", [])
    monkeypatch.delenv("SCALEQUEST_BEGAN", raising=False)
    left = stopping.seconds_left()
    assert left is not None
    assert seconds - 5 < left <= seconds


@pytest.mark.parametrize("inherited", ["5.0", f"{stopping.boot()} 5.0", "another-machine 99999999.0"])
def test_the_deadline_counts_from_the_jobs_own_beginning(inherited, monkeypatch):
    """Snakemake's process, on this machine or another one, may have left its own in the environment."""
    monkeypatch.setenv("SCALEQUEST_BEGAN", inherited)
    child = started(deadline_minutes=3 / 60)
    out, _ = child.communicate(timeout=20)
    assert child.returncode == 75
    assert 1 <= out.count("window") <= 10


def test_a_jobs_process_on_another_node_counts_from_its_own_start(monkeypatch):
    monkeypatch.setenv("SCALEQUEST_BEGAN", "another-machine 99999999.0")
    monkeypatch.setenv(OPERATION, '{"deadline_minutes": 1}')
    first = stopping.seconds_left()
    assert first is not None
    assert 55 < first <= 60
    time.sleep(0.2)
    second = stopping.seconds_left()
    assert second is not None
    assert second < first


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1-02:03:04", 93784.0),
        ("02:03:04", 7384.0),
        ("3:04", 184.0),
        ("0:00", 0.0),
        ("10-00:00:00", 864000.0),
        *((text, None) for text in ("UNLIMITED", "INVALID", "NOT_SET", "", "12", "1-", "a:b", "1:2:3:4")),
    ],
)
def test_the_time_that_slurm_leaves(text, seconds):
    assert parse_time_left(text) == seconds
