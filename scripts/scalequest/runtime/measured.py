"""What jobs measure of themselves in a rehearsal: small files below results/measured.

They are no results: no rule has them as its output, and nothing that a run makes depends on them.
"""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

from scalequest.runtime.files import write_json
from scalequest.runtime.operation import operation

FOLDER = Path("results/measured")


def seconds() -> float | None:
    """How long an engine's throughput is measured (`operation.measure_seconds`); None where nothing is measured."""
    found: float | None = operation()["measure_seconds"]
    return found


def file_of(what: str, name: str | Path) -> Path:
    """The file for what a program did with the model of a manifest, by its path, or for a training of a section of the
    config, by the name of its weights."""
    return FOLDER / what / (str(name).strip("/").replace("/", ":") + ".json")


def manifest_of(file: Path) -> str:
    """The path of the manifest that a file is about."""
    return file.name.removesuffix(".json").replace(":", "/")


def note(what: str, name: str | Path, **facts: Any) -> None:
    """Write what was measured."""
    write_json(file_of(what, name), facts)


def peak_of_process() -> int:
    """The most bytes of memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def memory_of_host() -> int:
    """Bytes of this machine's memory."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("MemTotal:"))) * 1024
