"""Bring a model to disk and write its manifest: the one place, with stage_data, that may use the network.

A GGUF file is turned into safetensors (bf16) once, so that vLLM, transformers and TRL read the same weights; so are
weights in PyTorch's pickle format, where there are no others (scalequest.pickled).
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from scalequest.errors import ScaleQuestError
from scalequest.hashing import digest, file_sha256
from scalequest.llm import gguf, pickled, sources, tokenizers
from scalequest.llm.chat import encode_chat, load_tokenizer, question_format
from scalequest.llm.heads import check_reward_model
from scalequest.llm.models import write_manifest
from scalequest.runtime import job
from scalequest.runtime.files import SEAL, is_whole, read_json, seal
from scalequest.runtime.lease import Lease
from scalequest.settings import read_settings

log = logging.getLogger("scalequest")

# What a model's folder needs; weights in other formats would double the download.
MODEL_FILES = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"]


@dataclass(frozen=True)
class Settings:
    """One of the config's `models`. `sha256` is that of the GGUF file, for a source that is one."""

    source: str
    sha256: str | None
    trust_remote_code: bool


@dataclass(frozen=True)
class Role:
    """What the config's stages ask of a model (`config.selectors.model_roles`)."""

    chat: bool = False
    context: int = 0
    reward: str = ""
    system_prompts: tuple[str, ...] = ()


def model_files(settings: Settings) -> list[str]:
    """Patterns of the files that are taken, the weights of other formats aside."""
    return MODEL_FILES + (["*.py"] if settings.trust_remote_code else [])


def gguf_file(source: str) -> Path | None:
    """The GGUF file that a source names, None for other sources. Raises ScaleQuestError where it is no file."""
    if not sources.is_gguf(source):
        return None
    file = sources.package_file(source) if source.startswith("package:") else sources.local_path(source)
    if not file.is_file():
        raise ScaleQuestError(f"source {source}: {file.absolute()} is no file. Name the GGUF file itself.")
    return file


def pinned(settings: Settings) -> dict[str, Any]:
    """What the source stands for now, for the folder's name and the manifest: a commit, the SHA-256 of a file, or one
    of all files that are taken from a folder."""
    source = settings.source
    if gguf_file(source):
        return {"source_sha256": settings.sha256}
    if source.startswith("path:"):
        folder = sources.local_path(source)
        files = [*pickled.shards(folder), *companions(folder, model_files(settings))]
        return {"source_sha256": digest({name: file_sha256(folder / name) for name in files})}
    return {"commit": sources.commit_of(source, kind="model")}


def companions(folder: Path, patterns: list[str]) -> list[str]:
    """The files of a model's folder that go with its weights, by their names within it."""
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    shown = [str(name) for name in names if not any(part.startswith(".") for part in name.parts)]
    return [name for name in shown if name != pickled.INDEX and any(fnmatch(name, pattern) for pattern in patterns)]


def make(settings: Settings, facts: dict[str, Any], folder: Path) -> None:
    """Make the model's folder, whole or not at all. Raises ScaleQuestError where the source gives no weights."""
    source = settings.source
    fresh = emptied(folder)
    if file := gguf_file(source):
        check_sha256(source, file, facts["source_sha256"])
        gguf.convert(file, fresh, source)
    elif source.startswith("path:"):
        given = sources.local_path(source)
        for name in companions(given, model_files(settings)):
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(given / name, fresh / name)
        pickled.convert(given, fresh)
    else:
        fetch(source, facts["commit"], fresh, model_files(settings))
    check_weights(source, fresh)
    publish_folder(fresh, folder)


def fetch(source: str, commit: str, folder: Path, patterns: list[str]) -> None:
    """Fetch a repository's model; its weights in the pickle format only where it has no safetensors."""
    sources.fetch_from_hub(source, commit, folder, kind="model", patterns=patterns)
    if not list(folder.glob("*.safetensors")):
        sources.fetch_from_hub(source, commit, folder, kind="model", patterns=[pickled.PATTERN])
        files = pickled.shards(folder)
        if files:
            pickled.convert(folder, folder)
        for name in (*files, pickled.INDEX):
            (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / ".cache", ignore_errors=True)


def check_weights(source: str, folder: Path) -> None:
    """Raises ScaleQuestError where a model's folder has no configuration, or no weights that all stages read."""
    if not (folder / "config.json").is_file():
        raise ScaleQuestError(f"source {source}: {folder} has no config.json: is it a model's folder?")
    if not list(folder.glob("*.safetensors")):
        found = sorted(path.name for path in folder.iterdir())
        raise ScaleQuestError(
            f"source {source} has neither *.safetensors nor {pickled.WHOLE}, the weights that are read; it has {found}."
        )


def check_code(source: str, folder: Path, *, trusted: bool) -> None:
    """Raises ScaleQuestError where a model's configuration needs code from its repository that may not be run, or
    cannot be read at all."""
    from transformers import AutoConfig

    try:
        AutoConfig.from_pretrained(str(folder), trust_remote_code=trusted)
    # What is wrong with a configuration ends in errors of many kinds, and code that is run in any.
    except Exception as error:
        if not trusted and "auto_map" in read_json(folder / "config.json"):
            raise ScaleQuestError(
                f"source {source} needs Python code of its own (auto_map in its config.json), and trust_remote_code is "
                "false. Read its *.py files, write the commit that you read as the revision, and set "
                "trust_remote_code: true in models."
            ) from None
        reason = " ".join(str(error).split())
        raise ScaleQuestError(f"source {source}: {folder / 'config.json'} cannot be read ({reason}).") from None


def check_context(folder: Path, name: str, wanted: int) -> None:
    """Raises ScaleQuestError where an engine would be told to hold longer texts than the model can read."""
    config = read_json(folder / "config.json")
    limit = config.get("max_position_embeddings")
    scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
    if isinstance(limit, int) and limit * max(1, scaling.get("factor") or 1) < wanted:
        raise ScaleQuestError(
            f"models.{name} reads at most {limit} tokens (max_position_embeddings in its config.json), and "
            f"engine.max_model_len is {wanted} for it. Set models.{name}.engine.max_model_len to {limit} or less, and "
            "max_tokens of its stages so that prompts have room."
        )


def check_chat(folder: Path, name: str, role: Role, *, trusted: bool) -> None:
    """Raises ScaleQuestError where a model that is asked in its chat template has none, or one that does not show a
    question once or a system prompt, that nothing ends, or whose turn leaves no room for text."""
    if not role.chat:
        return
    try:
        tokenizer = load_tokenizer(folder, trust_remote_code=trusted)
        used = max(len(question_format(tokenizer, system).prefix) for system in (None, *role.system_prompts))
        encode_chat(tokenizer, [{"role": "user", "content": "?"}, {"role": "assistant", "content": "?"}], reply=False)
    except ScaleQuestError as error:
        raise ScaleQuestError(f"models.{name}: {error}") from None
    if 0 < role.context <= used:
        raise ScaleQuestError(
            f"models.{name}: a user's turn begins with {used} tokens, and engine.max_model_len is {role.context}: no "
            "question has room. Raise engine.max_model_len."
        )


def check_sha256(source: str, file: Path, wanted: str | None) -> None:
    """Raises ScaleQuestError where the file is not the pinned one, or nothing is pinned."""
    found = file_sha256(file)
    if found != wanted:
        raise ScaleQuestError(f"source {source}: the file's SHA-256 is {found}, the config says sha256: {wanted}.")


def with_right_tokenizer(source: Path, settings: Settings, place: Path) -> tuple[Path, dict[str, Any]]:
    """The folder whose tokenizer reads and writes text as its files say, and the manifest's facts about it.

    It is `source`, or a copy that shares the weights, named after `place`. Facts: `against`, the file that it was held
    against, and `mended`, what was wrong. Raises ScaleQuestError where it is wrong and cannot be mended.
    """
    file = gguf_file(settings.source)
    reference = gguf.reference(file) if file else tokenizers.reference_of(source)
    wrong = tokenizers.prove(source, reference, trust_remote_code=settings.trust_remote_code)
    facts = {"tokenizer": {"against": reference.name if reference else None, "mended": wrong}}
    if wrong is None or reference is None:
        return source, facts
    made_of = (str(source.resolve()), settings.trust_remote_code, tokenizers.content(source))
    mended = place.with_name(f"{place.name}-{digest(*made_of)[:8]}")
    log.warning("the tokenizer differs from %s, and is mended in a copy, %s: %s", reference.name, mended, wrong)
    with Lease(mended.parent / "attempts", mended.name):
        if not is_whole(mended):
            fresh = emptied(mended)
            for file in sorted(path for path in source.rglob("*") if path.is_file() and path.name != SEAL):
                share(file, fresh / file.relative_to(source), copy=file.parent == source and tokenizers.is_part(file))
            tokenizers.mend(fresh, reference)
            publish_folder(fresh, mended)
    return mended, facts


def emptied(folder: Path) -> Path:
    """An empty folder beside one that is to be made."""
    fresh = folder.with_name(folder.name + ".part")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    return fresh


def publish_folder(fresh: Path, folder: Path) -> None:
    """Give a folder that is whole its name."""
    seal(fresh)
    # There is one only where it is not whole: no manifest fits it any more.
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def share(file: Path, target: Path, *, copy: bool) -> None:
    """Put a file into another folder: as a second name of it, as a link where that cannot be, or as a `copy`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if copy:
        shutil.copyfile(file, target)
        return
    try:
        os.link(file, target)
    except OSError:
        target.symlink_to(file.resolve())


def main() -> None:
    parser = job.parser(__doc__ or "")
    parser.add_argument("--name", required=True, help="the model's name in the config")
    parser.add_argument("--folder", required=True, type=Path, help="where the weights go")
    parser.add_argument("--roles", default={}, type=json.loads, help="what is asked of each model (model_roles), JSON")
    parser.add_argument("--out", required=True, type=Path, help="manifest to write")
    args = parser.parse_args()
    settings = read_settings(Settings, args.settings)

    def publish(folder: Path, **facts: Any) -> None:
        check_code(settings.source, folder, trusted=settings.trust_remote_code)
        role = read_settings(Role, args.roles.get(args.name, {}))
        if role.reward:
            check_reward_model(folder, args.name, role.reward)
        check_context(folder, args.name, role.context)
        folder, about = with_right_tokenizer(folder, settings, args.folder)
        check_chat(folder, args.name, role, trusted=settings.trust_remote_code)
        trust = settings.trust_remote_code
        write_manifest(
            args.out, folder, name=args.name, source=settings.source, trust_remote_code=trust, **facts, **about
        )

    if settings.source.startswith("path:") and not sources.is_gguf(settings.source):
        given = sources.local_path(settings.source)
        if not pickled.shards(given):
            check_weights(settings.source, given)
            publish(given)
            return
    facts = pinned(settings)
    # Other files, another folder: an experiment that staged an earlier commit of the branch goes on reading its own.
    folder = args.folder.with_name(f"{args.folder.name}-{digest(facts, settings.trust_remote_code)[:8]}")
    # Taken even where nothing is to be made: its record tells `make gc` which working folder rests on the model.
    with Lease(folder.parent / "attempts", folder.name):
        if is_whole(folder):
            log.info("%s is there and whole: it is used as it is", folder)
        else:
            make(settings, facts, folder)
        publish(folder, **facts, **pickled.converted_from(folder))


if __name__ == "__main__":
    job.run(main, offline=False)
