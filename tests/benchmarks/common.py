"""What the benchmarks share: the library on the path, the checkout's config, a Markdown table, a measured process.

Imported before `scalequest`, it lets a benchmark be started as a plain program from any folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Process:
    """What a finished process took: wall-clock seconds, peak memory in GB (10^9 bytes), and what it printed."""

    seconds: float
    peak: float
    output: str


def run(*command: object) -> Process:
    """Run a program to its end. The caller must be small: Linux counts its memory in the child's peak."""
    started = time.perf_counter()
    with subprocess.Popen([sys.executable, *map(str, command)], stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - ours
        assert process.stdout
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command[0]} ended with status {process.returncode}")
    return Process(time.perf_counter() - started, usage.ru_maxrss * 1024 / 1e9, output)
