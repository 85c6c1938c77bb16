"""Files that are either whole or absent: write beside the target, flush to disk, rename."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scalequest.errors import ScaleQuestError
from scalequest.hashing import file_sha256
from scalequest.runtime.stopping import Stop

# Written last into a folder: the SHA-256 of each of its files. A dot file, so no model's manifest lists it.
SEAL = ".whole.json"
CHECKOUT = Path(__file__).resolve().parents[3]
# The run that a job belongs to, and the file of a working folder that names the last one that began there.
RUN, RUN_FILE = "SCALEQUEST_RUN", ".snakemake/scalequest_run"


@contextmanager
def replaced(path: str | Path) -> Iterator[Path]:
    """Give a temporary path in the same folder; when the block ends well it becomes `path`, durably.

    Raises Stop in place of putting a result where a later run may have put its own.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Jobs of several machines, or containers, may have one process id.
    part = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.part")
    try:
        yield part
        with part.open("rb") as handle:
            os.fsync(handle.fileno())
        # A workflow that imports this one as a module may put a folder before `results`.
        if not path.is_absolute() and "results" in path.parts and newer_run():
            raise Stop(f"another run has begun in this folder, and {path} is its own", 75)
        part.replace(path)
        _sync(path.parent)
    except OSError as error:
        # Opening says which file it was; writing, to a full disk say, does not.
        error.filename = error.filename or str(path)
        raise
    finally:
        part.unlink(missing_ok=True)


def newer_run() -> bool:
    """Whether another run has begun in the working folder since the one that this job belongs to."""
    mine = os.environ.get(RUN)
    try:
        return mine is not None and Path(RUN_FILE).read_text(encoding="utf-8") != mine
    except FileNotFoundError:
        return False


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    with replaced(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write indented JSON with sorted keys (small files that people read too), whole or not at all."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file of ours. Raises ScaleQuestError naming the file if it is missing or is not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ScaleQuestError(f"{path} does not exist.") from None
    except ValueError as error:
        raise ScaleQuestError(f"{path} is not JSON ({error}). Remove it; the rule that makes it runs again.") from None


def read_text(path: str | Path, what: str, remedy: str = "") -> str:
    """Read a UTF-8 text. Raises ScaleQuestError that names the file as `what` if it is missing or is no such text."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ScaleQuestError(f"{what} {path} does not exist.{remedy}") from None
    except UnicodeDecodeError as error:
        raise ScaleQuestError(f"{what} {path} is not UTF-8 text ({error}).") from None


def seal(folder: Path) -> None:
    """Mark a folder of files as whole, once all of them are on the disk."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name != SEAL)
    for path in [*files, *(path for path in folder.rglob("*") if path.is_dir()), folder]:
        _sync(path)
    sums = dict(zip(files, file_sums(files), strict=True))
    write_json(folder / SEAL, {str(file.relative_to(folder)): found for file, found in sums.items()})
    # safetensors makes its files readable for their owner alone; a group may share a folder of models.
    for file in files:
        file.chmod((folder / SEAL).stat().st_mode)


def is_whole(folder: Path) -> bool:
    """Whether a folder was sealed and every file of then is as it was; there may be others since."""
    try:
        sums = read_json(folder / SEAL)
        return (
            isinstance(sums, dict) and bool(sums) and file_sums([folder / name for name in sums]) == list(sums.values())
        )
    except (ScaleQuestError, OSError):
        return False


def file_sums(files: Sequence[Path]) -> list[str]:
    """SHA-256 (64 hex digits) of each file, in their order; as many files at a time as this process has cores.

    Raises OSError for a file that cannot be read.
    """
    # Threads suffice: hashlib lets others run while it hashes.
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(file_sha256, files))


def find_path(path: str | Path) -> Path:
    """A path of the config: as it is seen from the working directory, or else from the checkout (its own resources)."""
    path = Path(path).expanduser()
    in_checkout = CHECKOUT / path
    return in_checkout if not path.exists() and in_checkout.exists() else path


def _sync(path: Path) -> None:
    """Bring a file, or a folder's list of names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
