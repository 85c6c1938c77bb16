"""Where models and data come from: `package:MODULE/FILE`, `path:FILE_OR_FOLDER`, `hf:ORG/NAME@REVISION[:FILES]`.

Only the staging scripts fetch, on a node that may reach a hub; every other job reads what they staged. Nothing heavy is
imported here, as the Snakefile asks which files a source has.
"""

from __future__ import annotations

import importlib.util
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from scalequest.errors import ScaleQuestError
from scalequest.runtime.files import find_path

_TABLES_OF_TEXT = (".csv", ".tsv")
DATA_FILES = (".json", ".jsonl", ".parquet", *_TABLES_OF_TEXT)
_NOT_REGULAR = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a link to a folder",
}


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


def is_gguf(source: str) -> bool:
    """Whether a model's source is one GGUF file, which is converted, and not a folder, which is read where it lies."""
    return source.startswith("package:") or (source.startswith("path:") and source.lower().endswith(".gguf"))


def local_path(source: str) -> Path:
    """The file or folder that `path:...` names. Raises ScaleQuestError where there is none."""
    path = find_path(source.removeprefix("path:"))
    if not path.exists():
        raise ScaleQuestError(f"source {source}: {path.absolute()} does not exist.")
    return path


def source_files(path: Path) -> list[Path]:
    """The data files of a path: itself, or those of a folder and of the folders in it, in the order of their names.

    Of a folder, names that begin with a dot or an underscore are no data, as Spark and Arrow have it, and CSV and TSV
    files are read only where it has no other data files. Raises ScaleQuestError where a folder has no data file, and
    for what is no regular file, links followed: reading a device may never end, and reading a pipe never begin.
    """
    if not path.is_dir():
        _refuse_all_but_files(path)
        return [path]
    found = [
        file
        for file in sorted(path.rglob("*"))
        if file.suffix.lower() in DATA_FILES
        and (file.is_symlink() or not file.is_dir())
        and not any(part.startswith((".", "_")) for part in file.relative_to(path).parts)
    ]
    files = [file for file in found if file.suffix.lower() not in _TABLES_OF_TEXT] or found
    if not files:
        raise ScaleQuestError(f"{path} has no file that ends in {', '.join(DATA_FILES)}.")
    for file in files:
        _refuse_all_but_files(file)
    return files


def _refuse_all_but_files(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ScaleQuestError(f"{path} cannot be read: {error.strerror}.") from None
    if not stat.S_ISREG(mode):
        kind = _NOT_REGULAR.get(stat.S_IFMT(mode), "something else")
        raise ScaleQuestError(f"{path} is {kind}, not a regular file: data is read from files and folders of files.")


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
