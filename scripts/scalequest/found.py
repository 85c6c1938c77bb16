"""Which rows a planned job will find stored: told by the names, ages and footers of the parts, of which none is read.

A row is found by its id and by the text that it was made from. That text is not looked at here: a part is taken to be
about the texts of now if it is not older than the store that these come from. So what came later about other texts
under the same ids, of another experiment in the same store, is not told apart; nor are two texts of a data set.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from scalequest.errors import ScaleQuestError
from scalequest.files import read_json

# The rules whose rows are stored, and the script that makes each: it knows by its `store_key` where they are.
SCRIPTS = {
    "sample_pair_questions": "sample_questions",
    "judge_pair_questions": "judge_questions",
    "rewrite_questions": "rewrite_questions",
    "measure_fail_rates": "measure_fail_rates",
    "sample_questions": "sample_questions",
    "score_difficulty": "score_difficulty",
    "judge_questions": "judge_questions",
    "sample_responses": "sample_responses",
    "score_responses": "score_responses",
    "sample_answers": "sample_answers",
}
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
        key = import_module(SCRIPTS[rule]).store_key(settings)
        try:
            return self.progress / key.name(read_json(manifest)["digest"])
        except ScaleQuestError as error:
            self.trouble = str(error)
            return None

    def count(self, store: Path, group: str, window: int, span: range | None, since: float) -> tuple[int, float]:
        """Rows of a group of windows, and the share of its indices in windows of which there are none. Only parts that
        were written at `since` (seconds of the epoch) or later count, and windows within `span` (None: all)."""
        parts = self._parts(store).get(f"{group}-{window}", {})
        if span is None:
            return sum(_rows(path) for paths in parts.values() for path in paths if _written(path) >= since), 0.0
        total = missing = 0
        for number in range(span.start // window, -(-span.stop // window)):
            rows = sum(_rows(path) for path in parts.get(number, ()) if _written(path) >= since)
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


def born(store: Path) -> float:
    """When a store's first rows were begun, in seconds of the epoch; 0 where there is none."""
    return _written(store / "key.json")


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _rows(part: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_metadata(part).num_rows
    except (OSError, pa.ArrowException):
        # The job sets it aside.
        return 0
