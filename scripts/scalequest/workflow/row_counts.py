"""How many rows a data set has, before any job runs: by its staged table, or counted in a local file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scalequest.errors import ScaleQuestError
from scalequest.llm import sources
from scalequest.rows.data_records import read_records


class RowCounts:
    """Rows of the data sets of a config (every default filled in), for runs in `folder`; each is looked up once."""

    def __init__(self, config: Mapping[str, Any], folder: Path = Path()):
        self.config, self.folder = config, folder
        self._found: dict[str, tuple[int, str] | None] = {}

    def of(self, name: str) -> tuple[int, str] | None:
        """Rows of a data set and how they are known; None where only staging can tell."""
        if name not in self._found:
            self._found[name] = self._staged(name) or self._counted(name)
        return self._found[name]

    def seeds(self) -> tuple[int, str] | None:
        """Rows of all seed problems, before duplicates are merged; None where only staging can tell."""
        found = [self.of(name) for name in self.config["use"]["seeds"]]
        known = [rows for rows in found if rows is not None]
        if len(known) < len(found):
            return None
        limit = self.config["seeds"]["max_rows"]
        rows = sum(rows for rows, _ in known)
        return rows if limit is None else min(rows, limit), ", ".join(dict.fromkeys(source for _, source in known))

    def _staged(self, name: str) -> tuple[int, str] | None:
        path = self.folder / f"results/datasets/{name}.parquet"
        if not path.is_file():
            return None
        import pyarrow.parquet as pq

        return pq.read_metadata(path).num_rows, "staged here"

    def _counted(self, name: str) -> tuple[int, str] | None:
        settings = self.config["datasets"][name]
        if settings["source"].startswith("hf:"):
            return None
        try:
            rows = _count(settings)
        # What staging will say in a sentence.
        except (ScaleQuestError, OSError, ValueError):
            return None
        limit = settings["max_rows"]
        return rows if limit is None else min(rows, limit), f"counted in {settings['source']}"


def _count(settings: Mapping[str, Any]) -> int:
    """Rows of a local source that `where` chooses; those that staging would leave out are among them where they can be
    read."""
    import pyarrow.parquet as pq

    source, where = settings["source"], settings["where"].items()
    path = sources.local_path(source) if source.startswith("path:") else sources.package_file(source)
    rows = 0
    for file in sources.source_files(path):
        if file.suffix == ".parquet" and not where:
            rows += pq.read_metadata(file).num_rows
            continue
        for _, record in read_records(file, "skip"):
            rows += record is not None and all(record.get(key) == value for key, value in where)
    return rows
