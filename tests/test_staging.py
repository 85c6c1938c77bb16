"""Staging: models and data from their sources, and every way in which a source can be wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from conftest import ROOT
from programs import SCRIPTS, command, operating, refused, script, succeeded
from scalequest.files import read_json
from scalequest.models import open_model
from scalequest.sources import read_records
from scalequest.tables import PROBLEMS, read_rows

GOOD = [{"q": f"What is {n} + {n}?", "a": f"It is {2 * n}.\n#### {2 * n}"} for n in range(3)]
SETTINGS: dict[str, Any] = {
    "fields": {"question": "q", "solution": "a"},
    "where": {},
    "licence": "none",
    "on_bad_row": "error",
}


def stage_data(folder: Path, source: str, **changes: Any):
    out = {"out": folder / "out.parquet", "manifest": folder / "out.json"}
    return script("stage_data", {**SETTINGS, "source": source, **changes}, name="sums", **out)


def lines(rows: list[Any]) -> str:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet", "folder"])
def test_every_kind_of_file_gives_the_same_rows(tmp_path, kind):
    path = tmp_path / ("data" if kind == "folder" else f"data.{kind}")
    if kind == "jsonl":
        path.write_text(lines(GOOD))
    elif kind == "json":
        path.write_text(json.dumps(GOOD))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(GOOD), path)
    else:
        path.mkdir()
        (path / "a.jsonl").write_text(lines(GOOD[:2]))
        (path / "b.json").write_text(json.dumps(GOOD[2:]))
    succeeded(stage_data(tmp_path, f"path:{path}"))
    rows = read_rows(tmp_path / "out.parquet", PROBLEMS)
    assert [row["question"] for row in rows] == [row["q"] for row in GOOD]
    # The final answer is read out of the solution where the data set has no field for it.
    assert [row["answer"] for row in rows] == ["0", "2", "4"]
    manifest = read_json(tmp_path / "out.json")
    assert manifest["rows"] == 3
    assert all(len(digest) == 64 for digest in manifest["files"].values())


def test_rows_of_a_long_parquet_file_are_numbered_through(tmp_path):
    # More rows than one batch of the reader holds (65,536).
    pq.write_table(pa.table({"n": range(1, 70_002)}), tmp_path / "d.parquet")
    numbered = [(number, row["n"]) for number, row in read_records(tmp_path / "d.parquet", "error") if row]
    assert numbered == [(n, n) for n in range(1, 70_002)]


def test_where_chooses_rows_and_counts_the_others(tmp_path):
    (tmp_path / "d.jsonl").write_text(lines([{**row, "split": n % 2} for n, row in enumerate(GOOD)]))
    succeeded(stage_data(tmp_path, f"path:{tmp_path}/d.jsonl", where={"split": 0}))
    assert len(read_rows(tmp_path / "out.parquet", PROBLEMS)) == 2
    assert read_json(tmp_path / "out.json")["left_out"] == {"where": 1}


BAD = [
    ('{"q": "half', "d.jsonl, row 7001 is not JSON"),
    ("[" * 100_000, "d.jsonl, row 7001 is not JSON"),
    ("[1, 2]", "d.jsonl, row 7001 is not an object"),
    ({"question": "x"}, "d.jsonl, row 7001 has no field 'q'"),
    ({"q": "  ", "a": "1"}, "d.jsonl, row 7001 has an empty question"),
    ('{"q": "What is \\ud800?", "a": "1"}', "d.jsonl, row 7001 has '\\ud800' in its question"),
    ('{"q": "What?", "a": "1 \\udc00"}', "d.jsonl, row 7001 has '\\udc00' in its solution"),
    ('{"q": "What?", "a": "1", "l": "\\ud800"}', "d.jsonl, row 7001 has '\\ud800' in its facts"),
]


@pytest.mark.parametrize(("row", "message"), BAD)
def test_one_bad_line_in_ten_thousand_is_named(tmp_path, row, message):
    rows: list[Any] = [GOOD[0]] * 10_000
    rows[7000] = row
    (tmp_path / "d.jsonl").write_text(lines(rows))
    facts = {"level": "l"}
    assert message in refused(stage_data(tmp_path, f"path:{tmp_path}/d.jsonl", facts=facts))
    assert not (tmp_path / "out.parquet").exists()
    succeeded(stage_data(tmp_path, f"path:{tmp_path}/d.jsonl", facts=facts, on_bad_row="skip"))
    manifest = read_json(tmp_path / "out.json")
    assert manifest["rows"] == 9999
    assert sum(manifest["left_out"].values()) == 1
    # Those behind it are named as if it were there.
    numbers = [*range(7000), *range(7001, 10_000)]
    staged = read_rows(tmp_path / "out.parquet", PROBLEMS)
    assert [(row["id"], row["index"]) for row in staged] == [(f"sums/{n:08d}", n) for n in numbers]


def test_a_bad_row_has_a_number_among_those_that_where_chooses(tmp_path):
    rows = [{**row, "split": split} for row in GOOD for split in (0, 1)]
    for bad in ("{", {"split": 0}):
        (tmp_path / "d.jsonl").write_text(lines([*rows[:2], bad, *rows[2:]]))
        succeeded(stage_data(tmp_path, f"path:{tmp_path}/d.jsonl", where={"split": 0}, on_bad_row="skip"))
        staged = read_rows(tmp_path / "out.parquet", PROBLEMS)
        assert [(row["index"], row["question"]) for row in staged] == [
            (index, row["q"]) for index, row in zip((0, 2, 3), GOOD, strict=True)
        ]
        assert read_json(tmp_path / "out.json")["left_out"]["where"] == 3


@pytest.mark.parametrize("lacking", [{}, {"a": None}, {"a": " "}, {"a": "It is even."}], ids=str)
def test_a_problem_that_lacks_its_answer_is_a_problem(tmp_path, lacking):
    (tmp_path / "d.jsonl").write_text(lines([GOOD[0], {"q": "Why?", **lacking}, GOOD[2]]))
    if lacking.get("a") is None:
        assert "d.jsonl, row 2 has no field 'a'" in refused(stage_data(tmp_path, f"path:{tmp_path}/d.jsonl"))
    succeeded(stage_data(tmp_path, f"path:{tmp_path}/d.jsonl", on_bad_row="skip"))
    rows = read_rows(tmp_path / "out.parquet", PROBLEMS)
    assert [row["answer"] for row in rows] == ["0", None, "4"]
    assert read_json(tmp_path / "out.json")["left_out"] == {}


def test_an_answer_that_its_field_lacks_is_read_out_of_the_solution(tmp_path):
    fields = {"question": "q", "solution": "a", "answer": "final"}
    (tmp_path / "d.jsonl").write_text(lines([{**GOOD[0], "final": "zero"}, GOOD[1]]))
    succeeded(stage_data(tmp_path, f"path:{tmp_path}/d.jsonl", fields=fields, on_bad_row="skip"))
    assert [row["answer"] for row in read_rows(tmp_path / "out.parquet", PROBLEMS)] == ["zero", "2"]


def test_a_field_that_no_row_has_is_a_mistake_even_where_bad_rows_are_skipped(tmp_path):
    fields = {"question": "q", "solution": "a", "answer": "final"}
    (tmp_path / "d.jsonl").write_text(lines(GOOD))
    said = refused(stage_data(tmp_path, f"path:{tmp_path}/d.jsonl", fields=fields, on_bad_row="skip"))
    assert "no row of data set 'sums' has a field 'final' (fields.answer)" in said
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("path:nowhere.jsonl", "nowhere.jsonl does not exist"),
        ("path:empty.jsonl", "has no rows"),
        ("path:folder", "has no file that ends in"),
        ("path:torn.parquet", "torn.parquet cannot be read as Parquet"),
        ("path:one.json", "one.json holds a dict"),
        ("package:no_such_module/x.jsonl", "package 'no_such_module' is not installed"),
        ("hf:nobody/nothing@main", "source hf:nobody/nothing@main: cannot be fetched"),
    ],
)
def test_a_source_that_gives_nothing_says_so(tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    Path("empty.jsonl").touch()
    Path("folder").mkdir()
    Path("torn.parquet").write_bytes(b"PAR1torn")
    Path("one.json").write_text("{}")
    assert message in refused(stage_data(tmp_path, source))


# Staging that is killed in the middle of a download.
KILLED = """
import os, signal
import stage_data
from scalequest import job, sources
def fetch(source, commit, folder, **more):
    (folder / "x.parquet").write_text("torn")
    os.kill(os.getpid(), signal.SIGKILL)
sources.commit_of = lambda source, kind: "c1"
sources.fetch_from_hub = fetch
job.run(stage_data.main, offline=False)
"""


def test_what_a_killed_staging_leaves_is_named_as_half_written(tmp_path):
    out = tmp_path / "results" / "datasets"
    out.mkdir(parents=True)
    settings = {**SETTINGS, "source": "hf:org/sums@main"}
    options = command("stage_data", settings, name="sums", out=out / "sums.parquet", manifest=out / "sums.json")
    assert subprocess.run([options[0], "-c", KILLED, *options[2:]], check=False).returncode == -9  # noqa: S603 - our own program
    (left,) = out.iterdir()
    assert re.fullmatch(r"\.sums\..+\.part", left.name)
    # It stops nobody who reads the results.
    command_gc = [sys.executable, str(SCRIPTS / "collect_garbage.py")]
    succeeded(subprocess.run(command_gc, cwd=tmp_path, capture_output=True, text=True, check=False))  # noqa: S603 - our own program


def stage_model(folder: Path, source: str, **changes: Any):
    settings = {"source": source, "sha256": None, "licence": "none", "trust_remote_code": False, **changes}
    return script("stage_model", settings, name="m", folder=folder / "weights", out=folder / "m.json")


def test_the_embedded_model_is_converted_once_and_checked(tmp_path):
    default = yaml.safe_load((ROOT / "config.yaml").read_text())["models"]["smollm2"]
    message = refused(stage_model(tmp_path, default["source"], sha256="0" * 64))
    assert default["sha256"] in message
    assert not (tmp_path / "m.json").exists()
    succeeded(stage_model(tmp_path, default["source"], sha256=default["sha256"]))
    model = open_model(tmp_path / "m.json")
    assert {"model.safetensors", "tokenizer.json", "config.json"} <= {p.name for p in model.folder.iterdir()}
    weights = model.folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[1000] ^= 1
    weights.write_bytes(data)
    with pytest.raises(Exception, match=r"model\.safetensors is not the file"):
        open_model(tmp_path / "m.json")
    weights.unlink()
    with pytest.raises(Exception, match=r"model\.safetensors is missing"):
        open_model(tmp_path / "m.json")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("path:nowhere", "nowhere does not exist"),
        ("path:folder", "has no config.json"),
        ("hf:nobody/nothing@main", "cannot be fetched"),
    ],
)
def test_a_model_that_is_not_there_says_so(tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    assert message in refused(stage_model(tmp_path, source))


def test_a_model_in_a_folder_is_used_where_it_is(tmp_path, tiny_model):
    succeeded(stage_model(tmp_path, f"path:{tiny_model}"))
    assert open_model(tmp_path / "m.json").folder == tiny_model


def test_a_model_whose_code_is_run_is_another_one_to_stored_rows(tmp_path, tiny_model):
    digests = set()
    for trusted in (False, True, False):
        succeeded(stage_model(tmp_path, f"path:{tiny_model}", trust_remote_code=trusted))
        digests.add((trusted, open_model(tmp_path / "m.json").digest))
    assert len(digests) == len({digest for _, digest in digests}) == 2


# Staging in another working folder, with a hub and a conversion that are quick and say when they begin.
STAGING = """
import json, sys, time
import stage_model
from scalequest import job, sources
def write(folder, text):
    print("begun", flush=True)
    time.sleep(1)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_text(text)
sources.commit_of = lambda source, kind: REVISION
sources.fetch_from_hub = lambda source, commit, folder, **more: write(folder, commit)
job.run(stage_model.main, offline=False)
"""


def staging(folder: Path, models: Path, revision: str) -> subprocess.Popen[str]:
    """Start staging org/m@main, which stands for that commit, from a working folder."""
    folder.mkdir(exist_ok=True)
    settings = {"source": "hf:org/m@main", "sha256": None, "trust_remote_code": False}
    options = command("stage_model", settings, name="m", folder=models / "staged" / "m-1234", out=folder / "m.json")
    program = STAGING.replace("REVISION", repr(revision))
    return subprocess.Popen(  # noqa: S603 - our own program
        [options[0], "-c", program, *options[2:]],
        cwd=folder,
        env=operating(lease_seconds=3.0),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(child: subprocess.Popen[str]) -> tuple[str, str]:
    """What a process printed, and its log, after checking that it ended well."""
    out, said = child.communicate(timeout=60)
    assert child.returncode == 0, said
    return out, said


def test_of_two_runs_that_stage_a_model_at_once_one_does_it_and_the_other_finds_it(tmp_path):
    pair = [staging(tmp_path / name, tmp_path / "models", "c1") for name in ("one", "two")]
    results = [ended(child) for child in pair]
    assert sorted(out for out, _ in results) == ["", "begun\n"]
    assert any("is there and whole" in said for _, said in results)
    folders = {open_model(tmp_path / name / "m.json").folder for name in ("one", "two")}
    assert len(folders) == 1
    # Both working folders are on record, by which `make gc` knows of them.
    records = [read_json(path) for path in (tmp_path / "models" / "staged" / "attempts").iterdir()]
    assert sorted(record["directory"] for record in records) == [str(tmp_path / "one"), str(tmp_path / "two")]


def test_a_branch_that_moved_on_leaves_the_folder_of_the_earlier_commit_to_who_reads_it(tmp_path):
    ended(staging(tmp_path / "one", tmp_path / "models", "c1"))
    ended(staging(tmp_path / "two", tmp_path / "models", "c2"))
    one, two = (open_model(tmp_path / name / "m.json") for name in ("one", "two"))
    assert [(model.folder / "model.safetensors").read_text() for model in (one, two)] == ["c1", "c2"]


def test_a_staged_model_that_was_damaged_is_staged_again(tmp_path):
    ended(staging(tmp_path / "one", tmp_path / "models", "c1"))
    (open_model(tmp_path / "one" / "m.json").folder / "model.safetensors").write_text("c?")
    assert ended(staging(tmp_path / "one", tmp_path / "models", "c1"))[0] == "begun\n"
    open_model(tmp_path / "one" / "m.json")


def merge(tmp_path, tables, **settings):
    out = {"out": tmp_path / "seeds.parquet", "counts": tmp_path / "counts.json"}
    return script("make_seeds", {"max_rows": None, **settings}, problems=tables, **out)


def test_seeds_merge_exact_duplicates_across_sources(tmp_path):
    tables = []
    for name, rows in (("one", GOOD), ("two", [{**GOOD[0], "q": "What  is 0 + 0? "}, {"q": "New?", "a": "1"}])):
        (tmp_path / f"{name}.jsonl").write_text(lines(rows))
        out = {"out": tmp_path / f"{name}.parquet", "manifest": tmp_path / f"{name}.json"}
        succeeded(script("stage_data", {**SETTINGS, "source": f"path:{tmp_path}/{name}.jsonl"}, name=name, **out))
        tables.append(out["out"])
    succeeded(merge(tmp_path, tables))
    rows = read_rows(tmp_path / "seeds.parquet", PROBLEMS)
    assert [row["index"] for row in rows] == [0, 1, 2, 3]
    counts = read_json(tmp_path / "counts.json")
    assert counts["two"] == {"read": 2, "duplicate": 1, "kept": 1}
    drawn: set[str] = set()
    for size in (1, 2, 3):
        succeeded(merge(tmp_path, tables, max_rows=size))
        ids = {row["id"] for row in read_rows(tmp_path / "seeds.parquet", PROBLEMS)}
        assert len(ids) == size
        assert drawn <= ids
        drawn = ids
