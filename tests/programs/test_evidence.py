"""The evidence: its tables follow from the rows that are kept beside them, and rows go from one machine to another."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from conftest import ROOT
from tools import evidence, evidence_tables

KEPT = ROOT / "docs" / "data" / "evidence"


def test_the_tables_follow_from_the_rows_that_are_kept(tmp_path: Path) -> None:
    for name in ("blind.txt", "key.json", "marks.txt"):
        shutil.copyfile(KEPT / name, tmp_path / name)
    evidence_tables.write(KEPT / "rows", tmp_path)
    made = {path.name for path in tmp_path.iterdir()}
    assert {"scorer.csv", "calibration_judge.csv", "calibration_selection.csv"} <= made
    assert made == {path.name for path in KEPT.iterdir() if path.is_file()} - {"README.md"}
    for name in made:
        assert (tmp_path / name).read_bytes() == (KEPT / name).read_bytes(), name


def test_rows_are_copied_without_what_says_where_they_were_made(tmp_path: Path) -> None:
    store = tmp_path / "one" / "sample_questions" / "0123"
    (store / "attempts").mkdir(parents=True)
    for name in ("key.json", "a.parquet", "attempts/a.json"):
        (store / name).write_text(name)
    evidence.copy_rows(tmp_path / "one", tmp_path / "two")
    copied = {str(path.relative_to(tmp_path / "two")) for path in (tmp_path / "two").rglob("*") if path.is_file()}
    assert copied == {"sample_questions/0123/key.json", "sample_questions/0123/a.parquet"}
    # What is there stays as it is.
    (tmp_path / "two/sample_questions/0123/a.parquet").write_text("own")
    evidence.copy_rows(tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "two/sample_questions/0123/a.parquet").read_text() == "own"


@pytest.mark.parametrize("folder", ["rows", "progress"])
def test_what_is_kept_names_no_machine(folder: str) -> None:
    """Folders and hosts are in the records of attempts, which are not kept."""
    for path in (KEPT / folder).rglob("*.json"):
        text = path.read_text(encoding="utf-8")
        assert '"host"' not in text and '"/' not in text, path
