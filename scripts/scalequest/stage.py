"""What the engine's stages share: the key under which their rows are stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalequest import SAMPLING_VERSION
from scalequest.engine import engine_release
from scalequest.hashing import digest
from scalequest.models import Model
from scalequest.prompts import load
from scalequest.store import RowStore, store_name
from scalequest.tables import Table


@dataclass(frozen=True)
class StoreKey:
    """What makes a stage's rows, all but the model. `settings` are those that shape its rows, `engine` among them;
    `prompts` are the names of the prompt files that it uses, whose texts are part of the key.

    The script of each engine stage has a function `store_key` from its settings to this: a plan calls it too.
    """

    stage: str
    table: Table
    settings: Mapping[str, Any]
    prompts: Sequence[str] = ()

    def of(self, model: str) -> dict[str, Any]:
        """The key of rows of the model with that digest."""
        return {
            "model": model,
            "settings": dict(self.settings),
            "engine": engine_release(),
            "prompts": {name: digest(load(name)) for name in self.prompts},
            "version": SAMPLING_VERSION,
        }

    def name(self, model: str) -> str:
        """Name of the store, below the progress folder."""
        return store_name(self.stage, self.of(model), self.table)


def open_store(progress: Path, key: StoreKey, model: Model) -> RowStore:
    """The store of a stage's finished rows."""
    return RowStore(progress, key.stage, key.of(model.digest), key.table, gpus=gpus(key.settings["engine"]))


def gpus(engine: Mapping[str, Any]) -> int:
    """GPUs that an engine with these settings occupies."""
    return engine["tensor_parallel"] if engine["device"] == "gpu" else 0
