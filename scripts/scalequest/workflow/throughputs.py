"""The assumed speeds, sizes and shares of resources/throughputs.yaml."""

from __future__ import annotations

from functools import cache
from typing import Any

import yaml

from scalequest.runtime.files import CHECKOUT

THROUGHPUTS = CHECKOUT / "resources" / "throughputs.yaml"


@cache
def throughputs() -> dict[str, Any]:
    """The content of resources/throughputs.yaml. All callers share it, so none may change it."""
    return yaml.safe_load(THROUGHPUTS.read_text(encoding="utf-8"))
