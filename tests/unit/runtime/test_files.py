"""Folders that are sealed: by the SHA-256 of each file, several of which are hashed at a time."""

from __future__ import annotations

import hashlib
from pathlib import Path

from scalequest.runtime.files import SEAL, file_sums, is_whole, read_json, seal


def test_a_sealed_folder_is_whole_until_a_file_changes(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    files = {f"below/{number}.bin" if number % 2 else f"{number}.bin": bytes([number]) * 300_000 for number in range(9)}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    assert not is_whole(tmp_path)
    seal(tmp_path)
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    assert read_json(tmp_path / SEAL) == sums
    assert file_sums([tmp_path / name for name in files]) == list(sums.values())
    assert is_whole(tmp_path)
    (tmp_path / "later.txt").touch()
    assert is_whole(tmp_path)

    (tmp_path / "below/3.bin").write_bytes(files["below/3.bin"][:-1] + b"x")
    assert not is_whole(tmp_path)
    (tmp_path / "below/3.bin").unlink()
    assert not is_whole(tmp_path)
