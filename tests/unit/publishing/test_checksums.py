"""Digests of a run: what they must see, and what they must not."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from programs import command, finished, operating, refused, script
from scalequest.errors import ScaleQuestError
from scalequest.publishing import checksums
from scalequest.rows.tables import QUESTIONS, question_id, write_table
from scalequest.runtime.files import read_json, write_json

TABLE = "results/questions/g/seed0/gpu*.parquet"
LINES = "results/filters/matches/g/seed0/gpu*.jsonl"
ALONE = "results/seeds/seeds.parquet"
PAPERS = ["results/config.json", "results/models/m.json", "results/dataset/manifest.json", "results/dataset/README.md"]
PATTERNS = [TABLE, LINES, ALONE, *PAPERS]
ROWS = 24


def question(index: int, text: str | None = None) -> dict[str, Any]:
    origin = {"generator": "g", "seed": 0, "index": index, "finish_reason": "stop", "tokens": 3, "sampling_seed": index}
    return {"id": question_id("g", 0, index), "question": text or f"What is {index}? \u00e9\u4e00", **origin}


def run(folder: Path, shards: int = 2, at: str = "/one", clock: str = "now", changed: int | None = None) -> Path:
    """A run's files as the stages would leave them; `changed` is the index of a question that is another."""
    size = ROWS // shards
    rows = [question(i, "Another?" if i == changed else None) for i in range(ROWS)]
    for gpu in range(shards):
        write_table(folder / TABLE.replace("*", str(gpu)), rows[gpu * size : (gpu + 1) * size], QUESTIONS)
        lines = folder / LINES.replace("*", str(gpu))
        lines.parent.mkdir(parents=True, exist_ok=True)
        lines.write_text("".join(f'{{"id": {i}}}\n' for i in range(gpu * size, (gpu + 1) * size)))
    write_table(folder / ALONE, rows[:3], QUESTIONS)
    config = {"questions": {"shards": shards, "questions_per_shard": size, "seeds": [0]}, "device": "cpu"}
    write_json(folder / PAPERS[0], config)
    write_json(folder / PAPERS[1], {"name": "m", "folder": f"{at}/m", "files": {"a": 1}, "digest": "d"})
    manifest = {
        "config": config,
        "run": {"finished": clock},
        "inputs": {str(shards): "x"},
        "config_sha256": str(shards),
    }
    write_json(folder / PAPERS[2], {**manifest, "outputs": {"README.md": str(shards)}, "rows": 3})
    (folder / PAPERS[3]).write_text(f"questions_per_shard: {size}\n")
    return folder


def written(folder: Path, monkeypatch: pytest.MonkeyPatch, shards: int = 2) -> dict[checksums.Key, str]:
    monkeypatch.chdir(folder)
    path = folder / "results" / "checksums.txt"
    path.write_text(checksums.write(PATTERNS, shards), encoding="utf-8")
    return checksums.read(path)


def test_another_folder_and_another_clock_are_the_same_run(tmp_path, monkeypatch):
    one = written(run(tmp_path / "a"), monkeypatch)
    two = written(run(tmp_path / "b", at="/two", clock="later"), monkeypatch)
    assert one == two
    assert checksums.compare(one, two).equal


@pytest.mark.parametrize("shards", [1, 3, 4, 24])
def test_other_shards_hold_the_same_rows(tmp_path, monkeypatch, shards):
    one = written(run(tmp_path / "a"), monkeypatch)
    found = checksums.compare(written(run(tmp_path / "b", shards), monkeypatch, shards), one)
    assert found.resharded
    assert found.equal, found


def test_a_changed_row_shows_with_the_same_shards_and_with_others(tmp_path, monkeypatch):
    one = written(run(tmp_path / "a"), monkeypatch)
    two = written(run(tmp_path / "b", changed=17), monkeypatch)
    assert checksums.compare(two, one).differing == [TABLE.replace("*", "1")]
    four = written(run(tmp_path / "c", 4, changed=17), monkeypatch, 4)
    assert checksums.compare(four, one).differing == [TABLE]


def test_rows_are_digested_apart_from_how_parquet_is_written(tmp_path, monkeypatch):
    one = written(run(tmp_path / "a"), monkeypatch)
    path = run(tmp_path / "b") / TABLE.replace("*", "0")
    pq.write_table(pq.read_table(path), path, compression="snappy", row_group_size=5)
    found = checksums.compare(written(tmp_path / "b", monkeypatch), one)
    assert found.differing == [TABLE.replace("*", "0")]
    assert found.same_rows


MOVED = [
    # Text, numbers and nulls may not run into each other where one value ends.
    ([{"question": "a,b"}, {"question": "c"}], [{"question": "a"}, {"question": "b,c"}]),
    ([{"tokens": 1}, {"tokens": 11}], [{"tokens": 11}, {"tokens": 1}]),
    ([{"question": 'x","y'}, {"question": "z"}], [{"question": "x"}, {"question": 'y","z'}]),
]


@pytest.mark.parametrize(("one", "two"), MOVED)
def test_values_do_not_run_together(tmp_path, monkeypatch, one, two):
    monkeypatch.chdir(tmp_path)
    found = []
    for name, changes in (("a", one), ("b", two)):
        rows = [{**question(i), **change} for i, change in enumerate(changes)]
        write_table(tmp_path / f"{name}.parquet", rows, QUESTIONS)
        found.append(checksums.write([f"{name}.parquet"], 1).splitlines()[3].split()[2])
    assert found[0] != found[1]


def test_missing_and_extra_files_are_named(tmp_path, monkeypatch):
    one = written(run(tmp_path / "a"), monkeypatch)
    two = dict(one)
    del two[ALONE, checksums.BYTES], two[ALONE, checksums.ROWS]
    assert checksums.compare(two, one).missing == [ALONE]
    assert checksums.compare(one, two).extra == [ALONE]


def test_sha256sum_checks_the_plain_files(tmp_path, monkeypatch):
    written(run(tmp_path / "a"), monkeypatch)
    line = [shutil.which("sha256sum") or "sha256sum", "-c", "--strict", "results/checksums.txt"]
    done = subprocess.run(line, cwd=tmp_path / "a", capture_output=True, text=True, check=False)  # noqa: S603 - our own line
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": OK") == 6
    (tmp_path / "a" / PAPERS[3]).write_text("edited")
    assert subprocess.run(line, cwd=tmp_path / "a", capture_output=True, check=False).returncode != 0  # noqa: S603


def test_what_is_left_out_is_what_the_list_says(tmp_path):
    run(tmp_path)
    kept = checksums.canonical(read_json(tmp_path / PAPERS[2]))
    assert kept == {"config": {"device": "cpu", "questions": {"seeds": [0], "number": ROWS}}, "rows": 3}
    assert set(checksums.canonical(read_json(tmp_path / PAPERS[1]))) == {"name", "files", "digest"}


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "no digest"), ("rubbish\n", "line 1 is 'rubbish'"), ("# only words\n", "no digest"), (b"\xff\xfe", "UTF-8")],
)
def test_what_is_no_checksums_file_is_refused(tmp_path, text, said):
    path = tmp_path / "checksums.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ScaleQuestError, match=said):
        checksums.read(path)


@pytest.mark.parametrize(
    ("against", "said"),
    [
        (
            None,
            "in an overlay (operation: {verify_against: PATH}), and give that with --configfile OVERLAY.",
        ),
        ("nowhere", "nowhere does not exist. Make it with `snakemake checksums`"),
    ],
)
def test_verify_without_another_run_says_what_to_do(tmp_path, monkeypatch, against, said):
    written(run(tmp_path / "a"), monkeypatch)
    assert said in refused(verify(tmp_path / "a", against))


def test_verify_prints_what_differs_and_ends_with_one_sentence(tmp_path, monkeypatch):
    written(run(tmp_path / "a"), monkeypatch)
    written(run(tmp_path / "b", changed=3), monkeypatch)
    done = verify(tmp_path / "b", str(tmp_path / "a"))
    assert "1 differ (listed above)" in refused(done)
    assert f"differs: {TABLE.replace('*', '0')}" in done.stderr
    assert verify(tmp_path / "b", str(tmp_path / "b" / "results" / "checksums.txt")).returncode == 0


def verify(folder: Path, against: str | None) -> subprocess.CompletedProcess[str]:
    line = command("verify_run", {}, checksums="results/checksums.txt")
    environment = operating(verify_against=against)
    return finished(line, env=environment, cwd=folder)


def test_an_unfinished_run_has_no_checksums(tmp_path, monkeypatch):
    monkeypatch.chdir(run(tmp_path))
    Path(ALONE).unlink()
    message = refused(script("write_checksums", {}, files=PATTERNS, shards=2, out="results/checksums.txt"))
    assert "seeds.parquet does not exist: the run is not finished" in message
