"""Where models and data come from: `package:MODULE/FILE`, `path:FILE_OR_FOLDER`, `hf:ORG/NAME@REVISION[:FILES]`.

Only the staging scripts use this, on a node that may reach a hub; every other job reads what they staged.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scalequest.errors import ScaleQuestError
from scalequest.files import find_path

# The second is for brackets that are nested too deep.
_NO_JSON = (ValueError, RecursionError)


@dataclass(frozen=True)
class HubSource:
    """A repository on a hub at a revision; `files` is a glob pattern within it, empty for all."""

    repository: str
    revision: str
    files: str


def package_file(source: str) -> Path:
    """The file that `package:MODULE/FILE` names. Raises ScaleQuestError where the package or the file is missing."""
    module, _, name = source.removeprefix("package:").partition("/")
    # Found, not imported: what the package would import need not be installed.
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ScaleQuestError(f"source {source}: the Python package '{module}' is not installed; run `make env`.")
    path = Path(spec.origin).parent / name
    if not path.is_file():
        raise ScaleQuestError(f"source {source}: the package '{module}' carries no file '{name}'.")
    return path


def local_path(source: str) -> Path:
    """The file or folder that `path:...` names. Raises ScaleQuestError where there is none."""
    path = find_path(source.removeprefix("path:"))
    if not path.exists():
        raise ScaleQuestError(f"source {source}: {path.absolute()} does not exist.")
    return path


def hub_source(source: str) -> HubSource:
    """Split `hf:ORG/NAME@REVISION[:FILES]`."""
    place, _, files = source.removeprefix("hf:").partition(":")
    repository, _, revision = place.partition("@")
    if repository.count("/") != 1 or not revision:
        raise ScaleQuestError(f"source {source}: write hf:ORG/NAME@REVISION, the revision a branch, tag or commit.")
    return HubSource(repository, revision, files)


def commit_of(source: str, *, kind: str) -> str:
    """The commit that a hub source's revision names now; a revision that is a commit is not asked for.

    `kind` is "model" or "dataset". Raises ScaleQuestError where the hub cannot be reached or refuses.
    """
    from huggingface_hub import HfApi

    wanted = hub_source(source)
    if re.fullmatch("[0-9a-f]{40}", wanted.revision):
        return wanted.revision
    try:
        return str(HfApi().repo_info(wanted.repository, revision=wanted.revision, repo_type=kind).sha)
    # The hub client raises errors of several libraries (its own, the HTTP client's, OSError): each means "not fetched".
    except Exception as error:
        raise _not_fetched(source, error) from None


def fetch_from_hub(source: str, commit: str, folder: Path, *, kind: str, patterns: list[str]) -> None:
    """Fetch a repository's files that match the patterns, as of a commit, into `folder`.

    Raises ScaleQuestError naming the source where the hub cannot be reached, refuses, or has no such files.
    """
    from huggingface_hub import snapshot_download

    try:
        snapshot_download(
            hub_source(source).repository, revision=commit, repo_type=kind, local_dir=folder, allow_patterns=patterns
        )
    except Exception as error:
        raise _not_fetched(source, error) from None
    if not any(path.is_file() for path in folder.rglob("*") if ".cache" not in path.parts):
        raise ScaleQuestError(f"source {source}: the repository has no file that matches {patterns}.")


def _not_fetched(source: str, error: Exception) -> ScaleQuestError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return ScaleQuestError(
        f"source {source}: cannot be fetched ({type(error).__name__}: {reason}). Staging needs the internet: run "
        "`snakemake stage` on a node that has it (unset HF_HUB_OFFLINE; set HF_TOKEN for gated repositories), "
        "or download it elsewhere and write path:FOLDER as the source."
    )


def read_records(path: Path, on_bad_row: str) -> Iterator[tuple[int, Mapping[str, Any] | None]]:
    """Records of a JSONL, JSON (one list) or Parquet file with their line or row number, counted from 1.

    A malformed row raises ScaleQuestError with file and number (`on_bad_row` "error") or yields None ("skip").
    """
    if path.suffix == ".parquet":
        try:
            batches = pq.ParquetFile(path).iter_batches()
            yield from enumerate((row for batch in batches for row in batch.to_pylist()), 1)
        except (OSError, pa.ArrowException) as error:
            raise ScaleQuestError(f"{path} cannot be read as Parquet: {error}") from None
        return
    if path.suffix == ".json":
        try:
            records = json.loads(path.read_text(encoding="utf-8"))
        except _NO_JSON as error:
            raise ScaleQuestError(f"{path} is not JSON: {error}") from None
        if not isinstance(records, list):
            raise ScaleQuestError(f"{path} holds a {type(records).__name__}; a list of records is needed.")
        for number, record in enumerate(records, 1):
            yield number, _checked(record, path, number, on_bad_row, "is not an object")
        return
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except _NO_JSON as error:
                yield number, _checked(None, path, number, on_bad_row, f"is not JSON: {error}")
                continue
            yield number, _checked(record, path, number, on_bad_row, "is not an object")


def _checked(record: Any, path: Path, number: int, on_bad_row: str, what: str) -> Mapping[str, Any] | None:
    if isinstance(record, dict):
        return record
    if on_bad_row == "error":
        raise ScaleQuestError(
            f"{path}, row {number} {what}. Mend the row, or leave such rows out: on_bad_row: skip for this dataset."
        )
    return None
