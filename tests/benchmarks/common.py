"""What the benchmarks share: the library on the path, the checkout's config, a Markdown table.

Imported before `scalequest`, it lets a benchmark be started as a plain program from any folder.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPTS = CHECKOUT / "scripts"
sys.path.insert(0, str(SCRIPTS))

from scalequest.config import fill_defaults  # noqa: E402 - found through the path above


def default_config() -> dict[str, Any]:
    """The checkout's config.yaml, every default filled in."""
    return fill_defaults(yaml.safe_load((CHECKOUT / "config.yaml").read_text(encoding="utf-8")))


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A Markdown table on stdout, with an empty line after it."""
    for cells in (header, ["---"] * len(header), *rows):
        print("|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|")
    print(flush=True)
