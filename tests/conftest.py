"""Fixtures that the tests share: the tiny model and its manifest, made once a session."""

from __future__ import annotations

import atexit
import json
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests"), str(ROOT / "tests" / "support")]
os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:3])

import forks  # noqa: E402 - it lies in one of these folders

# Two noisy cores: one thread a process is faster than two, and the number of threads changes a bf16 text.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Tiny models need little; an engine takes seconds to allocate the default.
SMALL_CACHE = {"cpu_cache_gib": 0.0625}
os.environ.setdefault("SCALEQUEST_OPERATION", json.dumps(SMALL_CACHE))
for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
    os.environ[name] = "1"

# A busy machine is no defect of the function under test.
settings.register_profile("noisy", deadline=None)
settings.load_profile("noisy")
# Drawn before test processes start, so that all have the same, and shown at the end. The sample of the fault table that
# the first one draws kills the training of a student.
SEEDS = {"SCALEQUEST_FAULT_SEED": "1685", "SCALEQUEST_KILL_SEED": str(random.SystemRandom().randrange(10**6))}
for name, seed in SEEDS.items():
    os.environ.setdefault(name, seed)


# The processes that fork programs lie here, for all test processes.
if forks.FOLDER not in os.environ:
    os.environ[forks.FOLDER] = tempfile.mkdtemp(suffix=f"-{os.getpid()}")
    atexit.register(shutil.rmtree, os.environ[forks.FOLDER], ignore_errors=True)
    forks.write_stand_in()


_begun: list[str] = []


def pytest_runtest_setup(item: pytest.Item) -> None:
    """One of the test processes begins with tests/cluster, the longest chain: the others give way to it."""
    if not _begun and "PYTEST_XDIST_WORKER" in os.environ and item.path.parent.name != "cluster":
        os.nice(5)
    _begun.append(item.nodeid)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(", ".join(f"{name}={os.environ[name]}" for name in SEEDS))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny model, the same one for all test processes."""
    from programs import made_once
    from tiny import make_tiny_model

    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    return made_once(root / "tiny", lambda folder: make_tiny_model(folder / "model")) / "model"


@pytest.fixture(scope="module")
def config(tiny_model: Path) -> dict[str, Any]:
    """The overlay that the finished run was made with."""
    from workflow import overlay

    return overlay(tiny_model)


@pytest.fixture(scope="module")
def run(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished run of the whole workflow, a copy for each test file."""
    from workflow import finished_run

    return finished_run(tiny_model, tmp_path_factory.mktemp("finished") / "run")


@pytest.fixture(scope="session")
def tiny_manifest(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifest of the tiny model."""
    from scalequest.llm.models import write_manifest

    path = tmp_path_factory.mktemp("manifest") / "tiny.json"
    write_manifest(path, tiny_model, name="tiny", source="test")
    return path
