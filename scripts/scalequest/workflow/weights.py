"""How many parameters a model has, by the headers of its files or by its name. No weights are read."""

from __future__ import annotations

import json
import math
import re
import struct
from pathlib import Path

from scalequest.errors import ScaleQuestError
from scalequest.runtime.files import find_path, read_json

_BILLIONS = re.compile(r"(\d+(?:\.\d+)?)\s*([bm])(?![a-z])", re.IGNORECASE)
# Bytes. A file that claims a longer header is damaged or no safetensors file.
_LONGEST = 2**28
_WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt")
# Bytes of a number, by the type that config.json names.
_WIDTHS = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}


def of_model(source: str, name: str, folder: Path = Path()) -> float | None:
    """Parameters of a model of the config, for runs in `folder`: of its staged weights, of those that a `path:` names,
    by its name, of a package's file; None where nothing tells."""
    manifest = folder / "results" / "models" / f"{name}.json"
    if manifest.is_file():
        entry = read_json(manifest)
        if "folder" in entry and (found := parameters(folder / entry["folder"])) is not None:
            return found
        sizes = [known["bytes"] for file, known in entry["files"].items() if file.endswith(_WEIGHTS)]
        # Weights are staged in two bytes a number.
        return sum(sizes) / 2
    if source.startswith("path:") and (found := parameters(find_path(source.removeprefix("path:")))) is not None:
        return found
    if told := _BILLIONS.search(source):
        return float(told[1]) * {"b": 1e9, "m": 1e6}[told[2].lower()]
    if source.startswith("package:"):
        from scalequest.llm.sources import package_file

        try:
            return parameters(package_file(source))
        except ScaleQuestError:
            return None
    return None


def parameters(place: Path) -> int | None:
    """Numbers that a model's weights are made of: of a folder in the layout of transformers (*.safetensors, else
    *.bin), or of a GGUF file. None where that cannot be told."""
    try:
        if place.suffix == ".gguf":
            return _of_gguf(place)
        config = json.loads((place / "config.json").read_text(encoding="utf-8"))
        # Quantised weights may keep several parameters in one number.
        if "quantization_config" in config:
            return None
        if files := sorted(place.glob("*.safetensors")):
            return sum(map(_of_safetensors, files)) or None
        size = sum(file.stat().st_size for file in place.glob("*.bin"))
        return size // _WIDTHS[config.get("dtype") or config.get("torch_dtype") or "float32"] or None
    # A damaged or foreign file tells nothing, whatever is wrong with it.
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, struct.error):
        return None


def _of_safetensors(file: Path) -> int:
    with file.open("rb") as handle:
        (length,) = struct.unpack("<Q", handle.read(8))
        header = json.loads(handle.read(min(length, _LONGEST)))
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")


def _of_gguf(file: Path) -> int:
    from gguf import GGUFReader

    return sum(int(tensor.n_elements) for tensor in GGUFReader(file).tensors)
