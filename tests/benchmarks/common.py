"""What the benchmarks share: the library on the path, the checkout's config, a Markdown table, a measured process.

Imported before `scalequest`, it lets a benchmark be started as a plain program from any folder.
"""

from __future__ import annotations

import argparse
import atexit
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPTS = CHECKOUT / "scripts"
sys.path.insert(0, str(SCRIPTS))

# ruff: noqa: E402 - found through the path above
from scalequest.config.check import check
from scalequest.config.defaults import fill_defaults
from scalequest.config.selectors import engine_settings
from scalequest.rows.store_key import StoreKey
from scalequest.rows.tables import ATTEMPTS
from scalequest.runtime.files import read_json
from scalequest.settings import EngineSettings, read_settings
from scalequest.tasks.engine_stage import EngineStage


def default_config() -> dict[str, Any]:
    """The checkout's config.yaml, every default filled in."""
    return fill_defaults(yaml.safe_load((CHECKOUT / "config.yaml").read_text(encoding="utf-8")))


def merged_config(overlays: Iterable[Path]) -> dict[str, Any]:
    """The checkout's config.yaml below overlays in the order of `--configfile`, checked, every default filled in."""
    from snakemake.common.configfile import load_configfile
    from snakemake.utils import update_config

    config = default_config()
    for path in overlays:
        update_config(config, load_configfile(str(path)))
    config = fill_defaults(config)
    check(config)
    return config


def engine_stage(manifest: Path, rule: str) -> EngineStage:
    """A stage that asks a model as a rule does by the checkout's config; its store is removed with the process."""
    named = engine_settings(default_config(), read_json(manifest)["name"], rule)
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    args = argparse.Namespace(model=manifest, progress=Path(folder), out=None)
    key = StoreKey(rule, ATTEMPTS, {"engine": named})
    return EngineStage(args, key, read_settings(EngineSettings, named), rule)


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A Markdown table on stdout, with an empty line after it."""
    for cells in (header, ["---"] * len(header), *rows):
        print("|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|")
    print(flush=True)


@dataclass(frozen=True)
class Process:
    """What a finished process took: seconds of the clock and of the processor, peak memory in GB (10^9 bytes), and what
    it printed."""

    seconds: float
    processor: float
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
    processor = usage.ru_utime + usage.ru_stime
    return Process(time.perf_counter() - started, processor, usage.ru_maxrss * 1024 / 1e9, output)
