"""Weights in PyTorch's pickle format: what becomes of them in staging, and what is refused and never run."""

from __future__ import annotations

import functools
import io
import json
import os
import pickle
import shutil
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

import stage_model
from programs import ENGINE, SAMPLING, refused, script, succeeded
from scalequest.errors import ScaleQuestError
from scalequest.hashing import file_sha256
from scalequest.llm import pickled
from scalequest.llm.models import open_model
from scalequest.rows.tables import QUESTIONS, read_rows
from scalequest.runtime.files import read_json

HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


def bare(model: Path, folder: Path) -> dict[str, torch.Tensor]:
    """A copy of a model's folder without its weights, and these, with the tied head as the pickle format has it."""
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    tensors = load_file(model / "model.safetensors")
    return {**tensors, HEAD: tensors[EMBEDDING]}


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A model's folder that has `pytorch_model.bin` and no other weights."""
    torch.save(bare(tiny_model, tmp_path / "given"), tmp_path / "given" / pickled.WHOLE)
    return tmp_path / "given"


@pytest.fixture
def parted(tiny_model: Path, tmp_path: Path) -> Path:
    """The same in two shards with their list; the tied head is in another one than the embedding."""
    given = tmp_path / "parted"
    tensors = bare(tiny_model, given)
    places = {name: f"pytorch_model-0000{1 + (name == HEAD)}-of-00002.bin" for name in tensors}
    for file in set(places.values()):
        torch.save({name: tensors[name] for name in tensors if places[name] == file}, given / file)
    (given / pickled.INDEX).write_text(json.dumps({"metadata": {"total_size": 0}, "weight_map": places}))
    return given


def stage(to: Path, given: Path, **changes: Any) -> Any:
    whole = {"source": f"path:{given}", "sha256": None, "trust_remote_code": False, **changes}
    return script("stage_model", whole, name="m", folder=to / "models" / "staged" / "m-1", out=to / "m.json")


def staged(to: Path) -> dict[str, torch.Tensor]:
    """All tensors of the model that was staged."""
    files = open_model(to / "m.json").folder.glob("*.safetensors")
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


def test_the_weights_are_converted_and_all_else_is_taken_along(tiny_model: Path, folder: Path, tmp_path: Path) -> None:
    succeeded(stage(tmp_path, folder))
    model, manifest = open_model(tmp_path / "m.json"), read_json(tmp_path / "m.json")
    assert manifest["converted_from"] == {pickled.WHOLE: file_sha256(folder / pickled.WHOLE)}
    assert (manifest["name"], manifest["source"]) == ("m", f"path:{folder}")
    assert {path.name for path in tiny_model.iterdir()} == {path.name for path in model.folder.glob("[!.]*")}
    tensors, original = staged(tmp_path), load_file(tiny_model / "model.safetensors")
    assert set(tensors) == {*original, HEAD}
    for name, tensor in {**original, HEAD: original[EMBEDDING]}.items():
        assert tensors[name].dtype == tensor.dtype == torch.bfloat16
        assert torch.equal(tensors[name], tensor)
    # A second run finds it, and says the same.
    assert "used as it is" in succeeded(stage(tmp_path, folder))
    assert read_json(tmp_path / "m.json") == manifest
    # An edited source is another model.
    (folder / "config.json").write_text((folder / "config.json").read_text() + "\n")
    succeeded(stage(tmp_path, folder))
    assert open_model(tmp_path / "m.json").folder != model.folder


def test_a_converted_model_loads_and_asks_what_the_original_asks(
    tiny_model: Path, tiny_manifest: Path, parted: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    succeeded(stage(tmp_path, parted))
    converted = open_model(tmp_path / "m.json").folder
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        one, two = (AutoModelForCausalLM.from_pretrained(place)(ids).logits for place in (tiny_model, converted))
    assert torch.equal(one, two)
    asked = []
    for manifest in (tiny_manifest, tmp_path / "m.json"):
        place = {"generator": "tiny", "seed": 0, "start": 0, "count": 8, "progress": tmp_path / "progress"}
        asking = {"purpose": "questions", "sampling": SAMPLING, "engine": {**ENGINE, "window": 8}}
        out = tmp_path / f"{manifest.stem}.parquet"
        succeeded(script("sample_questions", asking, model=manifest, out=out, **place))
        asked.append(read_rows(out, QUESTIONS))
    assert asked[0] == asked[1]


def test_shards_are_converted_one_by_one(tiny_model: Path, parted: Path, tmp_path: Path) -> None:
    succeeded(stage(tmp_path, parted))
    made = open_model(tmp_path / "m.json").folder
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    assert [path.name for path in sorted(made.glob("*.safetensors"))] == names
    index = read_json(made / "model.safetensors.index.json")
    assert index["weight_map"] == {name: names[name == HEAD] for name in staged(tmp_path)}
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in staged(tmp_path).values())
    assert sorted(read_json(tmp_path / "m.json")["converted_from"]) == sorted(p.name for p in parted.glob("*.bin"))
    assert not (made / pickled.INDEX).exists()
    assert torch.equal(staged(tmp_path)[EMBEDDING], load_file(tiny_model / "model.safetensors")[EMBEDDING])


def test_where_there_are_safetensors_the_pickle_is_not_read(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "both")
    (tmp_path / "both" / pickled.WHOLE).write_bytes(attack(tmp_path / "ran"))
    succeeded(stage(tmp_path, tmp_path / "both"))
    assert open_model(tmp_path / "m.json").folder == tmp_path / "both"
    assert "converted_from" not in read_json(tmp_path / "m.json")


class Attack:
    """Unpickled without a check, it makes a file."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.trace}",)


def attack(trace: Path) -> bytes:
    return pickle.dumps({"weight": Attack(trace)}, protocol=2)


def as_zip(file: Path, trace: Path) -> None:
    torch.save({"weight": Attack(trace), "other": torch.ones(3)}, file)


def as_bare_pickle(file: Path, trace: Path) -> None:
    file.write_bytes(attack(trace))


def as_legacy(file: Path, trace: Path) -> None:
    torch.save({"weight": Attack(trace)}, file, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("write", [as_zip, as_bare_pickle, as_legacy])
def test_code_in_a_file_of_weights_is_refused_and_never_run(folder: Path, tmp_path: Path, write: Any) -> None:
    trace, file = tmp_path / "ran", folder / pickled.WHOLE
    write(file, trace)
    result = stage(tmp_path, folder)
    message = refused(result)
    assert f"{file} is refused: it is not weights alone" in message
    assert "safetensors" in message
    # Nobody is told to switch the check off.
    assert "weights_only" not in result.stderr
    assert not trace.exists()
    assert not (tmp_path / "m.json").exists()
    # The attack is a real one.
    if write is as_bare_pickle:
        pickle.loads(file.read_bytes())  # noqa: S301 - our own, to see it run
        assert trace.exists()


def whole_model(file: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), file)


def nested(file: Path) -> None:
    torch.save({"state_dict": {"weight": torch.ones(2)}}, file)


def a_list(file: Path) -> None:
    torch.save([torch.ones(2)], file)


def numbered(file: Path) -> None:
    torch.save({3: torch.ones(2)}, file)


def sparse(file: Path) -> None:
    torch.save({"weight": torch.eye(3).to_sparse()}, file)


def vast(file: Path) -> None:
    torch.save({"weight": torch.ones(1).expand(10**7, 10**7)}, file)


def torn(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def pointer(file: Path) -> None:
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n")


def empty(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (whole_model, "is refused: it is not weights alone (it asks for 'torch.nn.modules.linear.Linear')"),
        (nested, "holds 'state_dict', which is no plain tensor"),
        (a_list, "holds a list and no tensors by name"),
        (numbered, "holds 3, which is no plain tensor"),
        (sparse, "holds 'weight', which is no plain tensor"),
        (vast, "holds 'weight', which is larger than what is stored of it"),
        (torn, "cannot be read as weights (RuntimeError)"),
        (pointer, "is refused: it is not weights alone"),
        (empty, "cannot be read as weights (EOFError)"),
    ],
)
def test_what_is_no_plain_weights_is_a_sentence(folder: Path, tmp_path: Path, write: Any, message: str) -> None:
    write(folder / pickled.WHOLE)
    (tmp_path / "made").mkdir()
    with pytest.raises(ScaleQuestError) as raised:
        pickled.convert(folder, tmp_path / "made")
    assert f"{folder / pickled.WHOLE} {message}" in str(raised.value)


@functools.cache
def sound(zipped: bool) -> bytes:
    """A sound file, made once: the legacy format holds addresses of memory, so a second one may be longer."""
    file = io.BytesIO()
    torch.save({"a": torch.ones(2), "b": torch.zeros(3)}, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


@given(st.data())
@settings(max_examples=200)
def test_a_damaged_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    place = tmp_path_factory.mktemp("damaged")
    file = place / pickled.WHOLE
    content = bytearray(sound(data.draw(st.booleans())))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(content)
    try:
        pickled.convert(place, place)
    except ScaleQuestError as error:
        assert str(file) in str(error)
    else:
        load_file(place / "model.safetensors")


def test_older_files_are_read_and_every_type_is_kept(tmp_path: Path) -> None:
    base = torch.arange(12, dtype=torch.float16).reshape(3, 4)
    tensors = {
        **{
            "half": base,
            "same": base,
            "turned": base.t(),
            "part": base[1:],
            "parameter": torch.nn.Parameter(base.float()),
        },
        **{"long": torch.arange(3), "true": torch.tensor([True]), "none": torch.empty(0), "one": torch.tensor(2.5)},
    }
    torch.save(tensors, tmp_path / pickled.WHOLE, _use_new_zipfile_serialization=False)
    pickled.convert(tmp_path, tmp_path)
    found = load_file(tmp_path / "model.safetensors")
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor.detach()), name


def lost_shard(folder: Path) -> None:
    (folder / "pytorch_model-00002-of-00002.bin").unlink()


def lost_index(folder: Path) -> None:
    (folder / pickled.INDEX).unlink()


def outside(folder: Path) -> None:
    (folder / pickled.INDEX).write_text(json.dumps({"weight_map": {"a": "../given/pytorch_model.bin"}}))


def no_map(folder: Path) -> None:
    (folder / pickled.INDEX).write_text("[]")


def more_in_the_index(folder: Path) -> None:
    index = read_json(folder / pickled.INDEX)
    index["weight_map"]["model.norm.bias"] = "pytorch_model-00001-of-00002.bin"
    (folder / pickled.INDEX).write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lost_shard, "names pytorch_model-00002-of-00002.bin, which is not there"),
        (lost_index, "has pytorch_model-00001-of-00002.bin, a part of a model, but no pytorch_model.bin.index.json"),
        (outside, "has no weight_map of file names"),
        (no_map, "has no weight_map of file names"),
        (more_in_the_index, "lacks 'model.norm.bias', which pytorch_model.bin.index.json says it has"),
    ],
)
def test_shards_that_do_not_fit_their_list(parted: Path, tmp_path: Path, break_it: Any, message: str) -> None:
    break_it(parted)
    assert message in refused(stage(tmp_path, parted))
    assert not (tmp_path / "m.json").exists()


def test_a_folder_without_weights_says_so(folder: Path, tmp_path: Path) -> None:
    (folder / pickled.WHOLE).rename(folder / "model.ckpt")
    assert "has neither *.safetensors nor pytorch_model.bin" in refused(stage(tmp_path, folder))


def hub(repository: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A folder stands for the hub; returns the names of the files that are fetched from it."""
    fetched: list[str] = []

    def fetch(source: str, commit: str, folder: Path, *, kind: str, patterns: list[str]) -> None:
        for file in repository.iterdir():
            if any(fnmatch(file.name, pattern) for pattern in patterns):
                fetched.append(file.name)
                shutil.copyfile(file, folder / file.name)

    monkeypatch.setattr("scalequest.llm.sources.fetch_from_hub", fetch)
    return fetched


def from_hub(folder: Path) -> None:
    stage_model.make(stage_model.Settings("hf:org/name@main", None, False), {"commit": "c1"}, folder)


def test_a_repository_that_has_nothing_else_is_converted_too(parted: Path, tmp_path: Path, monkeypatch: Any) -> None:
    (parted / "training_args.bin").write_bytes(attack(tmp_path / "ran"))
    fetched = hub(parted, monkeypatch)
    from_hub(tmp_path / "made")
    made = {path.name for path in (tmp_path / "made").iterdir()}
    assert {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "tokenizer.json"} <= made
    assert not [name for name in made if name.endswith(".bin") or name == pickled.INDEX]
    assert "training_args.bin" not in fetched
    noted = pickled.converted_from(tmp_path / "made")["converted_from"]
    assert noted == {path.name: file_sha256(path) for path in parted.glob("pytorch_model-*.bin")}


def test_of_a_repository_with_safetensors_nothing_else_is_fetched(
    tiny_model: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    shutil.copytree(tiny_model, tmp_path / "both")
    (tmp_path / "both" / pickled.WHOLE).write_bytes(attack(tmp_path / "ran"))
    fetched = hub(tmp_path / "both", monkeypatch)
    from_hub(tmp_path / "made")
    assert pickled.WHOLE not in fetched
    assert pickled.converted_from(tmp_path / "made") == {}
