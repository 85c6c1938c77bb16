"""What the engine's stages share: the key under which their rows are stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scalequest import SAMPLING_VERSION
from scalequest.hashing import digest
from scalequest.llm.engine import engine_release
from scalequest.llm.models import Model
from scalequest.rows.store import RowStore, store_name
from scalequest.rows.tables import Table


@dataclass(frozen=True)
class StoreKey:
    """What makes a stage's rows, all but the model. `settings` are those that shape its rows, `engine` among them;
    `prompts` are the texts of the prompts that it uses, by name.

    The script of each engine stage has a function `store_key` from its settings to this: a plan calls it too.
    """

    stage: str
    table: Table
    settings: Mapping[str, Any]
    prompts: Mapping[str, str] = field(default_factory=dict)

    def of(self, model: str) -> dict[str, Any]:
        """The key of rows of the model with that digest."""
        return {
            "model": model,
            "settings": dict(self.settings),
            "engine": engine_release(),
            "prompts": {name: digest(text) for name, text in self.prompts.items()},
            "version": SAMPLING_VERSION,
        }

    def name(self, model: str) -> str:
        """Name of the store, below the progress folder."""
        return store_name(self.stage, self.of(model), self.table)


def open_store(progress: Path, key: StoreKey, model: Model, gpus: int = 0) -> RowStore:
    """The store of a stage's finished rows. `gpus` is what a job of the stage occupies."""
    return RowStore(progress, key.stage, key.of(model.digest), key.table, gpus=gpus)
