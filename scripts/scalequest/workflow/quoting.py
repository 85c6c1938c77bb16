"""Values as Snakemake takes them: in params and shell commands it would fill in what stands between braces."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from scalequest.config.selectors import model_roles
from scalequest.hashing import canonical_json
from scalequest.runtime.operation import OPERATION


def param(value: Any) -> str:
    """A value as canonical JSON in which Snakemake finds no wildcard.

    A brace within a text (`{question}`) is written by its number. Before anything but a quote or another brace it is
    none of JSON's own.
    """
    return re.sub(r'\{(?=[^"}])', r"\\u007b", canonical_json(value))


def word(text: object) -> str:
    """A text as one word of a shell command."""
    return quote(str(text)).replace("{", "{{").replace("}", "}}")


def shell_prefix(config: Mapping[str, Any], scripts: Path, *, own_interpreter: bool) -> str:
    """What every rule's command begins with: the folders that it uses, what is asked of each model, `operation`,
    and on request the interpreter of this process as `python`."""
    storage = config["storage"]
    # Here and in no param: staging checks models by them, and what is staged does not depend on them.
    roles = canonical_json(model_roles(config))
    return (
        f"set -euo pipefail; scripts={word(scripts)}; "
        f"models={word(storage['models'])}; progress={word(storage['progress'])}; roles={word(roles)}; "
        f"export {OPERATION}={word(canonical_json(config['operation']))}; "
        + (f"export PATH={word(Path(sys.executable).parent)}:$PATH; " if own_interpreter else "")
    )
