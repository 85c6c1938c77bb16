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

# Room for the cache changes when rows are computed, not what: these two leave stored rows valid.
_SHAPELESS = {"gpu_memory_utilization", "cpu_cache_gib"}


def open_store(
    progress: Path, stage: str, table: Table, model: Model, settings: Mapping[str, Any], prompts: Sequence[str] = ()
) -> RowStore:
    """The store of a stage's finished rows. `settings` are those that shape its rows, `engine` among them; `prompts`
    are the names of the prompt files that it uses, whose texts are part of the key."""
    engine = {k: v for k, v in settings["engine"].items() if k not in _SHAPELESS}
    key = {
        "model": model.digest,
        "settings": {**settings, "engine": engine},
        "engine": engine_release(),
        "prompts": {name: digest(load(name)) for name in prompts},
        "version": SAMPLING_VERSION,
    }
    return RowStore(progress, stage, key, table)
