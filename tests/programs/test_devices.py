"""GPUs without a scheduler: each job its own, held for its life. The names stand for GPUs; nothing computes on them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HOLDER = """
import os, sys
from scalequest import errors
from scalequest.llm import devices
try:
    devices.hold(int(sys.argv[1]))
    if sys.argv[2:]:
        devices.check_seen()
except errors.ScaleQuestError as error:
    sys.exit(str(error))
print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
sys.stdin.read()
"""


class Jobs:
    """Processes that hold GPUs until they are killed."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.started: list[subprocess.Popen[str]] = []

    def start(
        self, count: int, visible: str | None = "0,1", job: str | None = None, check: bool = False
    ) -> subprocess.Popen[str]:
        names = {"TMPDIR": str(self.folder), "CUDA_VISIBLE_DEVICES": visible, "SLURM_JOB_ID": job}
        environment = {**os.environ, **{name: value for name, value in names.items() if value is not None}}
        for name, value in names.items():
            if value is None:
                environment.pop(name, None)
        self.started.append(
            subprocess.Popen(  # noqa: S603 - our own words
                [sys.executable, "-c", HOLDER, str(count), *["check"] * check],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return self.started[-1]

    def devices(self, count: int, visible: str | None = "0,1", job: str | None = None) -> str:
        """What a new job is given, once it has it."""
        return said(self.start(count, visible, job))


def said(child: subprocess.Popen[str]) -> str:
    """The devices that a job has, once it has them."""
    assert child.stdout
    return child.stdout.readline().strip()


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    jobs = Jobs(tmp_path)
    yield jobs
    for child in jobs.started:
        child.kill()
        child.communicate()


def test_each_job_has_its_own_and_a_killed_one_gives_it_back(jobs: Jobs) -> None:
    assert [jobs.devices(1), jobs.devices(1)] == ["0", "1"]
    third = jobs.start(1)
    with pytest.raises(subprocess.TimeoutExpired):
        third.wait(2)
    jobs.started[1].kill()
    assert said(third) == "1"


def test_who_needs_two_waits_for_both_and_keeps_none_meanwhile(jobs: Jobs) -> None:
    assert jobs.devices(1) == "0"
    both = jobs.start(2)
    with pytest.raises(subprocess.TimeoutExpired):
        both.wait(2)
    assert jobs.devices(1) == "1"
    for child in (jobs.started[0], jobs.started[2]):
        child.kill()
    assert said(both) == "0,1"


def test_names_are_those_that_were_given(jobs: Jobs) -> None:
    slices = "MIG-11111111-2222-3333-4444-555555555555,MIG-GPU-6666/1/0"
    assert jobs.devices(2, slices) == slices
    # Each allocation counts from 0.
    assert [jobs.devices(1, "0", "17"), jobs.devices(1, "0", "18")] == ["0", "0"]


def test_a_job_without_a_gpu_sees_none(jobs: Jobs) -> None:
    assert jobs.devices(0) == ""


@pytest.mark.parametrize("visible", ["0", ""])
def test_too_few_are_a_sentence(jobs: Jobs, visible: str) -> None:
    _, error = jobs.start(2, visible).communicate()
    assert "this job needs 2 GPUs" in error and f"(CUDA_VISIBLE_DEVICES is {visible})" in error


def test_nobody_elses_folder_is_used(jobs: Jobs, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"scalequest-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    _, error = jobs.start(1).communicate()
    assert "is not a folder of yours; set TMPDIR" in error


def test_gpus_that_torch_cannot_use_are_a_sentence(jobs: Jobs) -> None:
    """What a job on a node with too old a driver says, here with the build of torch for CPUs."""
    _, error = jobs.start(1, "0", check=True).communicate()
    assert re.search(r"torch cannot use the GPU of \S+ \(CUDA_VISIBLE_DEVICES is 0\): \S.*(CUDA|NVIDIA)", error), error
    assert "`nvidia-smi` on that node shows its driver" in error and "Traceback" not in error
