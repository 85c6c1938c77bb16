"""Environment variables of every stage's process. Libraries that make rows read them, so code hashes count them."""

from __future__ import annotations

import os


def go_offline() -> None:
    """Forbid the hub libraries every network access; they read this when they are imported."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # vLLM and its usage statistics would otherwise try to reach the internet.
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("DO_NOT_TRACK", "1")
