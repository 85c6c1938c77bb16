"""Bring a model to disk and write its manifest: the one place, with stage_data, that may use the network.

A GGUF file is turned into safetensors (bf16) once, so that vLLM, transformers and TRL read the same weights.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

from scalequest import job, sources
from scalequest.errors import ScaleQuestError
from scalequest.files import is_whole, seal
from scalequest.hashing import digest, file_sha256
from scalequest.lease import Lease
from scalequest.models import write_manifest

log = logging.getLogger("scalequest")

# What a model's folder needs; weights in other formats would double the download.
MODEL_FILES = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"]


def pinned(settings: dict[str, Any]) -> dict[str, Any]:
    """What the source stands for now, for the folder's name and the manifest: a commit, or a file's SHA-256."""
    source = settings["source"]
    if source.startswith("package:"):
        return {"source_sha256": settings["sha256"]}
    return {"commit": sources.commit_of(source, kind="model")}


def make(settings: dict[str, Any], facts: dict[str, Any], folder: Path) -> None:
    """Make the model's folder, whole or not at all. Raises ScaleQuestError where the source gives no weights."""
    source = settings["source"]
    fresh = folder.with_name(folder.name + ".part")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    if source.startswith("package:"):
        file = sources.package_file(source)
        check_sha256(source, file, facts["source_sha256"])
        convert_gguf(file, fresh)
    else:
        patterns = MODEL_FILES + (["*.py"] if settings["trust_remote_code"] else [])
        sources.fetch_from_hub(source, facts["commit"], fresh, kind="model", patterns=patterns)
        shutil.rmtree(fresh / ".cache", ignore_errors=True)
    if not list(fresh.glob("*.safetensors")):
        found = sorted(path.name for path in fresh.iterdir())
        raise ScaleQuestError(f"source {source} has no *.safetensors, the only weights that are read; it has {found}.")
    seal(fresh)
    # There is one only where it is not whole: no manifest fits it any more.
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def check_sha256(source: str, file: Path, wanted: str | None) -> None:
    """Raises ScaleQuestError where the file is not the pinned one, or nothing is pinned."""
    found = file_sha256(file)
    if found != wanted:
        raise ScaleQuestError(f"source {source}: the file's SHA-256 is {found}, the config says sha256: {wanted}.")


def convert_gguf(file: Path, folder: Path) -> None:
    """Dequantise a GGUF model and save weights (bf16), tokenizer and chat template in the safetensors layout."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    quantised = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    settings = quantised.config.to_dict()
    settings.pop("quantization_config", None)
    # A model read from GGUF refuses to be saved, so its weights move into one made from the plain config.
    model = AutoModelForCausalLM.from_config(type(quantised.config).from_dict(settings))
    model.load_state_dict(quantised.state_dict())
    model.to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(folder)


def main() -> None:
    parser = job.parser(__doc__ or "")
    parser.add_argument("--name", required=True, help="the model's name in the config")
    parser.add_argument("--folder", required=True, type=Path, help="where the weights go")
    parser.add_argument("--out", required=True, type=Path, help="manifest to write")
    args = parser.parse_args()
    settings = args.settings

    def publish(folder: Path, **facts: Any) -> None:
        trust = settings["trust_remote_code"]
        write_manifest(args.out, folder, name=args.name, source=settings["source"], trust_remote_code=trust, **facts)

    if settings["source"].startswith("path:"):
        publish(sources.local_path(settings["source"]))
        return
    facts = pinned(settings)
    # Other files, another folder: an experiment that staged an earlier commit of the branch goes on reading its own.
    folder = args.folder.with_name(f"{args.folder.name}-{digest(facts, settings['trust_remote_code'])[:8]}")
    # Taken even where nothing is to be made: its record tells `make gc` which working folder rests on the model.
    with Lease(folder.parent / "attempts", folder.name):
        if is_whole(folder):
            log.info("%s is there and whole: it is used as it is", folder)
        else:
            make(settings, facts, folder)
        publish(folder, **facts)


if __name__ == "__main__":
    job.run(main, offline=False)
