"""config.yaml: the value of each key that a config does not set. No default stands in the code."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).resolve().parents[2] / "config.yaml"


@functools.cache
def default_config() -> dict[str, Any]:
    """The file as a dict. Shared by all callers: not to be changed."""
    return yaml.safe_load(FILE.read_text(encoding="utf-8")) or {}
