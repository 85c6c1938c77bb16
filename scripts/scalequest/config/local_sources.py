"""Sources on this machine (`path:`, `package:`) that do not exist, reported before any job starts.

A model or data set that was fetched already does not need its source again, for example in a folder of results that was
moved to another machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scalequest.config.selectors import datasets_in_use, model_in_use
from scalequest.errors import ScaleQuestError
from scalequest.llm.sources import is_gguf
from scalequest.runtime.files import find_path, read_json

_CAUTIONS = {
    "models": "It was staged, but weights of a path: are read where they lie: a job that loads them will fail.",
    "datasets": "The rows that were staged are used as they are: other settings of this data set would change nothing.",
}


def check_sources(config: Mapping[str, Any], folder: Path = Path(), *, packages: bool = True) -> list[str]:
    """Warnings on sources that were fetched and no longer exist, each a sentence.

    Raises ScaleQuestError that lists each `path:` or `package:` source in use that does not exist and was not fetched
    into `folder`. `packages` is false where fetching runs in another environment, whose packages are not known here.
    """
    problems, cautions = [], []
    for kind, name, source in _in_use(config):
        if missing := _missing(source, packages):
            sentence = f"{kind}.{name}.source is {source}, but {missing}."
            if not _staged(folder, kind, name, source):
                problems.append(sentence)
            elif kind == "datasets" or (source.startswith("path:") and not is_gguf(source)):
                # The weights of a GGUF file were converted into storage.models.
                cautions.append(f"{sentence} {_CAUTIONS[kind]}")
    if problems:
        raise ScaleQuestError("\n".join(problems))
    return cautions


def _in_use(config: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for kind, names in (("models", model_in_use(config)), ("datasets", datasets_in_use(config))):
        for name in names:
            yield kind, name, config[kind][name]["source"]


def _missing(source: str, packages: bool) -> str | None:
    """What of a source is missing, in words; None where nothing is, or where it cannot be told here."""
    if source.startswith("path:"):
        try:
            path = find_path(source.removeprefix("path:"))
            return None if path.exists() else f"{path.absolute()} does not exist"
        except (OSError, RuntimeError) as error:
            return f"that path cannot be looked up ({error})"
    if source.startswith("package:") and packages:
        from scalequest.llm.sources import package_file

        try:
            package_file(source)
        except ScaleQuestError as error:
            return str(error).removeprefix(f"source {source}: ").removesuffix(".")
    return None


def _staged(folder: Path, kind: str, name: str, source: str) -> bool:
    """Whether this source was fetched into the folder."""
    manifest = folder / "results" / kind / f"{name}.json"
    if kind == "datasets" and not manifest.with_suffix(".parquet").is_file():
        return False
    try:
        return bool(read_json(manifest)["source"] == source)
    except (ScaleQuestError, KeyError, TypeError):
        return False
