"""What the engine's stages share: the key under which their rows are stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scalequest import SAMPLING_VERSION
from scalequest.engine import engine_release
from scalequest.hashing import digest
from scalequest.models import Model
from scalequest.prompts import load
from scalequest.store import RowStore
from scalequest.tables import Table


def open_store(
    progress: Path, stage: str, table: Table, model: Model, settings: Mapping[str, Any], prompts: Sequence[str] = ()
) -> RowStore:
    """The store of a stage's finished rows. `settings` are those that shape its rows, `engine` among them; `prompts`
    are the names of the prompt files that it uses, whose texts are part of the key."""
    key = {
        "model": model.digest,
        "settings": dict(settings),
        "engine": engine_release(),
        "prompts": {name: digest(load(name)) for name in prompts},
        "version": SAMPLING_VERSION,
    }
    return RowStore(progress, stage, key, table, gpus=gpus(settings["engine"]))


def gpus(engine: Mapping[str, Any]) -> int:
    """GPUs that an engine with these settings occupies."""
    return engine["tensor_parallel"] if engine["device"] == "gpu" else 0
