"""How many rows a planned job may find stored, by the names and footers of the parts. No row is read.

This is an upper bound: a job takes a stored row only if it was made from the same text, which is not compared here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from scalequest.errors import ScaleQuestError
from scalequest.runtime.files import read_json
from scalequest.settings import read_settings
from scalequest.stages import of_kind

# The rules whose rows are stored, and the script that makes each: it knows by its `store_key` where they are.
SCRIPTS = {stage.rule: stage.script for stage in of_kind("engine")}
# As `store.in_windows` names a window.
_PART = re.compile(r"(.+)-(\d{8,})\.[0-9a-f]+\.parquet")


class Stores:
    """The stores below one progress folder. `trouble` says why none of them could be looked up, if so."""

    def __init__(self, progress: Path):
        self.progress, self.trouble = progress, ""
        self._found: dict[Path, dict[str, dict[int, list[Path]]]] = {}

    def of(self, rule: str, settings: Mapping[str, Any], manifest: Path) -> Path | None:
        """The folder of the rows that a job with these settings makes with this model; None where it is not known."""
        if not manifest.is_file():
            return None
        # Here, as the Snakefile imports this module in every job.
        program = import_module(SCRIPTS[rule])
        key = program.store_key(read_settings(program.Settings, settings))
        try:
            return self.progress / key.name(read_json(manifest)["digest"])
        except ScaleQuestError as error:
            self.trouble = str(error)
            return None

    def count(self, store: Path, group: str, window: int, span: range | None) -> tuple[int, float]:
        """Rows of a group's windows within `span` (None: all), and the share of its indices in windows without rows."""
        parts = self._parts(store).get(f"{group}-{window}", {})
        if span is None:
            return sum(_rows(path) for paths in parts.values() for path in paths), 0.0
        total = missing = 0
        for number in range(span.start // window, -(-span.stop // window)):
            rows = sum(_rows(path) for path in parts.get(number, ()))
            total += rows
            if not rows:
                missing += min(span.stop, (number + 1) * window) - max(span.start, number * window)
        return total, missing / max(len(span), 1)

    def _parts(self, store: Path) -> dict[str, dict[int, list[Path]]]:
        """A store's parts by group and window."""
        if store not in self._found:
            found = self._found[store] = {}
            for path in store.glob("[!.]*.parquet"):
                if name := _PART.fullmatch(path.name):
                    found.setdefault(name[1], {}).setdefault(int(name[2]), []).append(path)
        return self._found[store]


def _rows(part: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_metadata(part).num_rows
    except (OSError, pa.ArrowException):
        # The job sets it aside.
        return 0
