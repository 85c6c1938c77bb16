"""How a script deals with the disk under it: a log that cannot be made, a disk that is full, a file in the way."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from programs import refused, succeeded
from scalequest.errors import ScaleQuestError
from scalequest.llm.models import open_model, write_manifest
from scalequest.runtime.files import write_json

PROGRAM = """
import errno, os, sys
from pathlib import Path
from scalequest.runtime import job
def main():
    job.parser("").parse_args()
    BODY
job.run(main)
"""


def ran(body: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM.replace("BODY", body), "--settings", "{}", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own program


def test_a_log_that_cannot_be_made_ends_no_job(tmp_path):
    (tmp_path / "logs").touch()
    log = tmp_path / "logs" / "stage" / "a.log"
    result = ran("job.log.info('working'); print('printed')", "--log", str(log))
    said = succeeded(result)
    assert f"there is no log file, as {tmp_path}/logs/stage/attempts/a.log cannot be written" in said
    assert "working" in said
    assert result.stdout == "printed\n"


@pytest.mark.parametrize("number", ["ENOSPC", "EDQUOT"])
def test_a_full_disk_says_to_leave_a_link(number):
    message = refused(ran(f"raise OSError(errno.{number}, os.strerror(errno.{number}), '/data/x')"))
    assert "/data/x: " in message
    assert "leave a link in each old place" in message


@pytest.mark.parametrize("folder", ["", "/below"], ids=["where a folder is needed", "above one"])
def test_a_plain_file_in_the_way_is_named(tmp_path, folder):
    (tmp_path / "models").touch()
    message = refused(ran(f"Path('{tmp_path}/models{folder}').mkdir(parents=True, exist_ok=True)"))
    assert f"{tmp_path}/models" in message
    assert "A plain file lies where a folder is needed" in message


# ---------------------------------------------------------------- manifests


def staged(tmp_path: Path) -> tuple[Path, Path]:
    """A model's folder and its manifest."""
    folder = tmp_path / "models" / "staged" / "m"
    write_json(folder / "config.json", {})
    write_manifest(tmp_path / "m.json", folder, name="m", source="test")
    return folder, tmp_path / "m.json"


def test_models_that_were_moved_are_found_by_a_link(tmp_path):
    _, manifest = staged(tmp_path)
    moved = (tmp_path / "models").rename(tmp_path / "elsewhere")
    with pytest.raises(ScaleQuestError, match="leave a link in its old place"):
        open_model(manifest)
    (tmp_path / "models").symlink_to(moved)
    open_model(manifest)


@pytest.mark.parametrize("text", ["{}", "[]", "null", '{"folder": null}', '"x"'])
def test_a_json_file_that_is_no_manifest_is_named(tmp_path, text):
    _, manifest = staged(tmp_path)
    manifest.write_text(text)
    with pytest.raises(ScaleQuestError, match=r"m\.json is no manifest of a model: its name, .*files cannot be read"):
        open_model(manifest)


@pytest.mark.parametrize("files", [[], None, {"config.json": 1}, {"config.json": {}}])
def test_what_is_wrong_with_a_manifest_is_named(tmp_path, files):
    _, manifest = staged(tmp_path)
    write_json(manifest, {**json.loads(manifest.read_text()), "files": files})
    with pytest.raises(ScaleQuestError, match="its files cannot be read"):
        open_model(manifest)
