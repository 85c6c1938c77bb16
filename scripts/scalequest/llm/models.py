"""Models as files: a small manifest of hashes is what rules exchange; the weights stay in their folder."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalequest.errors import ScaleQuestError
from scalequest.hashing import digest
from scalequest.runtime.files import file_sums, read_json, write_json

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Model:
    """A checked model on disk. `digest` names its content: equal digests are equal bytes in every file, code that comes
    with them run by both or by neither."""

    name: str
    folder: Path
    digest: str
    source: str
    trust_remote_code: bool

    @property
    def label(self) -> str:
        """Name and the first twelve digits of the digest, as tables show it."""
        return f"{self.name}@{self.digest[:12]}"


def write_manifest(
    path: str | Path,
    folder: Path,
    *,
    name: str,
    source: str,
    trust_remote_code: bool = False,
    **facts: Any,
) -> None:
    """Hash every file of a model's folder and write the manifest that stands for it.

    `facts` (base model's digest, settings, training loss ...) are kept beside, outside the digest.
    """
    found = [file for file in sorted(folder.rglob("*")) if file.is_file() and not file.name.startswith(".")]
    files = {
        str(file.relative_to(folder)): {"sha256": sha256, "bytes": file.stat().st_size}
        for file, sha256 in zip(found, file_sums(found), strict=True)
    }
    if "config.json" not in files:
        raise ScaleQuestError(
            f"{folder}, the model '{name}' from {source}, has no config.json: is it a model's folder?"
        )
    # The same files make other rows where the code that comes with them is run.
    code = ["trust_remote_code"] if trust_remote_code else []
    write_json(
        path,
        {
            "name": name,
            "folder": str(folder),
            "source": source,
            "trust_remote_code": trust_remote_code,
            "digest": digest({file: entry["sha256"] for file, entry in files.items()}, *code),
            "files": files,
            **facts,
        },
    )


def open_model(manifest: str | Path, *, check: bool = True) -> Model:
    """Read a manifest and check the weights against it, every byte.

    Raises ScaleQuestError naming the file that is missing or differs, or the manifest that is none.
    """
    entry = read_json(manifest)
    if wrong := _unreadable(entry):
        raise ScaleQuestError(
            f"{manifest} is no manifest of a model: its {', '.join(wrong)} cannot be read. Remove it and run again: "
            "the rule that makes the model will write it anew."
        )
    folder = Path(entry["folder"])
    if check:
        remedy = f"Remove {manifest} and run again: the rule that makes the model will make it anew."
        for name in entry["files"]:
            file = folder / name
            if not file.is_file():
                moved = "" if folder.is_dir() else " If its folder was moved, leave a link in its old place instead."
                raise ScaleQuestError(f"model '{entry['name']}': {file} is missing. {remedy}{moved}")
        found = [folder / name for name in entry["files"]]
        for file, sha256, wanted in zip(found, file_sums(found), entry["files"].values(), strict=True):
            if sha256 != wanted["sha256"]:
                raise ScaleQuestError(
                    f"model '{entry['name']}': {file} is not the file that {manifest} names. {remedy}"
                )
    return Model(entry["name"], folder, entry["digest"], entry["source"], entry.get("trust_remote_code", False))


def _unreadable(entry: Any) -> list[str]:
    """The keys that every manifest has and this one has not, or not of their kind."""
    entry = entry if isinstance(entry, dict) else {}
    wrong = [key for key in ("name", "folder", "source", "digest") if not isinstance(entry.get(key), str)]
    files = entry.get("files")
    files = files.values() if isinstance(files, dict) else [None]
    known = all(isinstance(file, dict) and {"bytes", "sha256"} <= set(file) for file in files)
    return wrong if known else [*wrong, "files"]
