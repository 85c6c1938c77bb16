"""How a run is run and not what it makes: the config's `operation`.

It reaches the scripts through the environment and never through a rule's params, so that changing it reruns nothing.
"""

from __future__ import annotations

import json
import os
from typing import Any

from scalequest.default_config import default_config

OPERATION = "SCALEQUEST_OPERATION"


def operation() -> dict[str, Any]:
    """The run's `operation`; in a script that is run by hand, the values of config.yaml."""
    return {**default_config()["operation"], **json.loads(os.environ.get(OPERATION) or "{}")}
