"""How a run is run and not what it makes: the config's `operation`.

It reaches the scripts through the environment and never through a rule's params, so that changing it reruns nothing.
"""

from __future__ import annotations

import json
import os
from typing import Any

OPERATION = "SCALEQUEST_OPERATION"

# For a script that is run by hand: the defaults of config.yaml.
DEFAULTS: dict[str, Any] = {
    "gpu_memory_utilization": 0.9,
    "cpu_cache_gib": 1,
    "grading_workers": 1,
    "checkpoint_minutes": 10.0,
    "server": {
        **{"base_url": None, "api_key_env": "OPENAI_API_KEY"},
        **{"concurrency": 16, "timeout_seconds": 120.0, "retries": 6},
    },
    "other_writer": "take_over",
    "lease_seconds": 60.0,
    "deadline_minutes": None,
    "confirm_above_gpu_hours": None,
    "quota_gb": None,
    "verify_against": None,
}


def operation() -> dict[str, Any]:
    """The run's `operation`, defaults where nothing is passed."""
    return {**DEFAULTS, **json.loads(os.environ.get(OPERATION) or "{}")}
