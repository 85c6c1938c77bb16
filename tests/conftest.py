"""Fixtures that the tests share: the tiny model and its manifest, made once a session."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]
os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:2])
# Two noisy cores: one thread a process is faster than two, and the number of threads changes a bf16 text.
os.environ.setdefault("OMP_NUM_THREADS", "1")
for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
    os.environ[name] = "1"

# A busy machine is no defect of the function under test.
settings.register_profile("noisy", deadline=None)
settings.load_profile("noisy")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny model."""
    from tiny import make_tiny_model

    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def tiny_manifest(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifest of the tiny model."""
    from scalequest.models import write_manifest

    path = tmp_path_factory.mktemp("manifest") / "tiny.json"
    write_manifest(path, tiny_model, name="tiny", source="test", licence="none")
    return path
