"""Weights in PyTorch's pickle format (`pytorch_model.bin`, or shards of it), turned into safetensors.

A pickle can name any function to be called as it is read. It is read with `weights_only=True`, by which torch calls
none but those that make tensors; whatever else a file asks for is refused. Everything later reads safetensors alone.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scalequest.errors import ScaleQuestError
from scalequest.hashing import file_sha256
from scalequest.runtime.files import read_json, write_json

if TYPE_CHECKING:
    import torch

WHOLE = "pytorch_model.bin"
INDEX = "pytorch_model.bin.index.json"
# For a hub: all files of weights in this format.
PATTERN = "pytorch_model*.bin"
# Names the files that a folder's weights were converted from; a dot file, so no model's manifest lists it.
_NOTE = ".converted.json"
_ADVICE = "Get the model as *.safetensors, or its files anew."


def shards(folder: Path) -> dict[str, set[str] | None]:
    """The files that hold a folder's weights, each with the names of its tensors (None: all that it has); none where
    the folder has no weights in this format, or has safetensors beside them.

    Raises ScaleQuestError where a shard is missing, or the list of them is.
    """
    if any(folder.glob("*.safetensors")):
        return {}
    if (folder / WHOLE).is_file():
        return {WHOLE: None}
    if not (folder / INDEX).is_file():
        if parts := sorted(path.name for path in folder.glob(PATTERN)):
            raise ScaleQuestError(f"{folder} has {parts[0]}, a part of a model, but no {INDEX}. {_ADVICE}")
        return {}
    entry = read_json(folder / INDEX)
    names = entry.get("weight_map") if isinstance(entry, dict) else None
    if not isinstance(names, dict) or not all(
        isinstance(file, str) and Path(file).name == file for file in names.values()
    ):
        raise ScaleQuestError(f"{folder / INDEX} has no weight_map of file names. {_ADVICE}")
    found: dict[str, set[str] | None] = {
        file: {name for name, other in names.items() if other == file} for file in sorted(set(names.values()))
    }
    if missing := [file for file in found if not (folder / file).is_file()]:
        raise ScaleQuestError(f"{folder / INDEX} names {missing[0]}, which is not there. {_ADVICE}")
    return found


def convert(source: Path, target: Path) -> None:
    """Write a folder's weights into another one as safetensors, shard by shard, each with its type kept.

    Tensors that share memory (tied embeddings) are written under each of their names. Raises ScaleQuestError for what
    is no plain weights, and for shards that do not fit their list.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    files = shards(source)
    weight_map: dict[str, str] = {}
    size = 0
    for number, (name, wanted) in enumerate(files.items(), 1):
        made = "model.safetensors" if wanted is None else f"model-{number:05d}-of-{len(files):05d}.safetensors"
        tensors = _plain(source / name, _read(source / name), wanted)
        try:
            save_file(tensors, target / made, metadata={"format": "pt"})
        except SafetensorError as error:
            raise ScaleQuestError(f"{target / made} cannot be written ({error}).") from None
        weight_map |= dict.fromkeys(tensors, made)
        size += sum(tensor.nbytes for tensor in tensors.values())
    if WHOLE not in files:
        write_json(
            target / "model.safetensors.index.json", {"metadata": {"total_size": size}, "weight_map": weight_map}
        )
    write_json(target / _NOTE, {name: file_sha256(source / name) for name in files})


def converted_from(folder: Path) -> dict[str, Any]:
    """For a manifest: names and SHA-256 of the files that a folder's weights were converted from, if they were."""
    return {"converted_from": read_json(folder / _NOTE)} if (folder / _NOTE).is_file() else {}


def _read(file: Path) -> Any:
    import torch

    try:
        # Files of before torch 1.6 are no zip archives, and cannot be mapped into memory.
        return torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except OSError:
        raise
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f" (it asks for {asked[1][:80]!a})" if asked else ""
        raise ScaleQuestError(
            f"{file} is refused: it is not weights alone{what}, and to read the rest could run code that came with it. "
            f"{_ADVICE}"
        ) from None
    # What a damaged pickle makes its reader raise can be anything.
    except Exception as error:
        raise ScaleQuestError(f"{file} cannot be read as weights ({type(error).__name__}). {_ADVICE}") from None


def _plain(file: Path, content: Any, wanted: set[str] | None) -> dict[str, torch.Tensor]:
    """The tensors of a file under their names, each in memory of its own."""
    if not isinstance(content, Mapping):
        raise ScaleQuestError(f"{file} holds a {type(content).__name__} and no tensors by name. {_ADVICE}")
    if missing := sorted((wanted or set()) - set(content)):
        raise ScaleQuestError(f"{file} lacks {missing[0]!a}, which {INDEX} says it has. {_ADVICE}")
    found: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name in content if wanted is None else sorted(wanted):
        tensor = _checked(file, name, content[name])
        memory = tensor.untyped_storage().data_ptr()
        found[name] = tensor.clone() if memory in seen else tensor
        found[name] = found[name].contiguous()
        seen.add(memory)
    return found


def _checked(file: Path, name: Any, value: Any) -> torch.Tensor:
    import torch

    if not isinstance(name, str) or not isinstance(value, torch.Tensor) or value.layout != torch.strided:
        raise ScaleQuestError(f"{file} holds {name!a}, which is no plain tensor. {_ADVICE}")
    # A few bytes could stand for any number of values.
    if value.nbytes > value.untyped_storage().nbytes():
        raise ScaleQuestError(f"{file} holds {name!a}, which is larger than what is stored of it. {_ADVICE}")
    return value.detach()
