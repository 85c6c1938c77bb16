"""Readers' marks: what a person thinks of a row, saved by the sample browser as JSON lines."""

from __future__ import annotations

import json
from pathlib import Path

from scalequest.errors import ScaleQuestError
from scalequest.runtime.files import read_text

# A mark is one of these.
MARKS = ("good", "bad")


def read_marks(folder: Path) -> list[dict[str, str]]:
    """Marks (`id`, `mark`, `note`) of all *.jsonl of a folder, a later one of a row in place of an earlier; those of
    blind reading, which say how a kind is seen, are left out. Raises ScaleQuestError for a line that is no mark."""
    found = {}
    for path in sorted(folder.glob("*.jsonl")):
        for number, line in enumerate(read_text(path, "the file of marks").splitlines(), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                mark = {"id": row["id"], "mark": row["mark"], "note": row.get("note") or ""}
                if mark["mark"] not in MARKS or not all(isinstance(text, str) for text in mark.values()):
                    raise ValueError(f"a mark is one of {', '.join(MARKS)}, id and note are texts")
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise ScaleQuestError(f"{path}, line {number} is no mark ({error!r}): mend it or remove it.") from None
            if "blind" not in row:
                found[mark["id"]] = mark
    return list(found.values())
