"""What runs again when a key or a file changes, as data: tests compare it with Snakemake's plan, the page shows it.

`python tests/support/rerun_table.py` (part of `make docs`) writes the tables of docs/reference/reruns.md anew.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

DATA = Path(__file__).with_name("reruns.yaml")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "reruns.md"


class Row(NamedTuple):
    """What is changed, when the row holds, the rules and groups that take the change, and those that follow."""

    key: str
    condition: tuple[str, str] | None
    takes: tuple[str, ...]
    then: tuple[str, ...]
    note: str


@cache
def data() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(DATA.read_text(encoding="utf-8"))
    return found


@cache
def rows(table: str) -> tuple[Row, ...]:
    """The rows of the table of `keys` or of `files`."""
    result = []
    for row in data()[table]:
        condition = next(((name, str(value)) for name, value in row.get("when", {}).items()), None)
        result.append(Row(row["key"], condition, tuple(row["takes"]), tuple(row["then"]), row.get("note", "")))
    return tuple(result)


@cache
def rules_of(names: tuple[str, ...]) -> frozenset[str]:
    """The rules of these names, each a rule or a group, those of the groups that a group names included."""
    groups = data()["groups"]
    return frozenset().union(*(rules_of(tuple(groups[name])) if name in groups else {name} for name in names))


def cell(names: tuple[str, ...]) -> str:
    return ", ".join(name if name in data()["groups"] else f"`{name}`" for name in names)


def table(name: str) -> list[str]:
    """The lines of a table of the page."""
    if name == "groups":
        lines = [f"| {group} | {cell(tuple(names))} |" for group, names in data()["groups"].items()]
        return ["| Group | Rules |", "|---|---|", *lines]
    lines = []
    for row in rows(name):
        condition = f" with `{': '.join(row.condition)}`" if row.condition else ""
        takes = (cell(row.takes) or "nothing") + (f" ({row.note})" if row.note else "")
        lines.append(f"| `{row.key}`{condition} | {takes} | {cell(row.then)} |")
    return ["| Changed | Rules that take it | What follows |", "|---|---|---|", *lines]


def page(text: str) -> str:
    """The page with its tables as the data has them."""

    def fresh(found: re.Match[str]) -> str:
        return "\n".join([f"<!-- table: {found[1]} -->", *table(found[1]), "<!-- end of table -->"])

    return re.sub(r"<!-- table: (\w+) -->\n.*?<!-- end of table -->", fresh, text, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
