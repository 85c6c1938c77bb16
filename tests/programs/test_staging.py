"""Staging: models and data from their sources, and every way in which a source can be wrong."""

from __future__ import annotations

import csv
import datetime
import json
import math
import os
import re
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from conftest import ROOT
from programs import SCRIPTS, command, finished, operating, refused, script, succeeded
from scalequest.hashing import file_sha256
from scalequest.llm.chat import load_tokenizer
from scalequest.llm.models import open_model
from scalequest.llm.sources import package_file
from scalequest.rows.data_records import read_records
from scalequest.rows.tables import PROBLEMS, read_rows
from scalequest.runtime.files import read_json
from workflow import planned, snakemake

GOOD = [{"q": f"What is {n} + {n}?", "a": f"It is {2 * n}.\n#### {2 * n}"} for n in range(3)]
SETTINGS: dict[str, Any] = {
    "fields": {"question": "q", "solution": "a"},
    **{"facts": {}, "where": {}, "max_rows": None},
    "licence": "none",
    "on_bad_row": "error",
    "domain": "math",
}


def stage_data(folder: Path, source: str, **changes: Any):
    out = {"out": folder / "out.parquet", "manifest": folder / "out.json"}
    return script("stage_data", {**SETTINGS, "source": source, **changes}, name="sums", **out)


def lines(rows: list[Any]) -> str:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


def separated(rows: list[dict[str, Any]], path: Path, **dialect: Any) -> None:
    """Write rows as CSV, or by another dialect."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), **dialect)
        writer.writeheader()
        writer.writerows(rows)


def spark(folder: Path) -> None:
    """What Spark leaves of a table: parts, a mark of success, checksums, and the parts of an attempt that failed."""
    (folder / "_temporary" / "0").mkdir(parents=True)
    for number, row in enumerate(GOOD):
        pq.write_table(pa.Table.from_pylist([row]), folder / f"part-{number:05d}-c000.snappy.parquet")
    for name in ("_SUCCESS", "._SUCCESS.crc", ".part-00000-c000.snappy.parquet.crc", ".hidden.parquet"):
        (folder / name).write_bytes(b"crc")
    pq.write_table(pa.Table.from_pylist(GOOD), folder / "_temporary" / "0" / "part-00000.parquet")


@pytest.mark.parametrize(
    "kind",
    ["jsonl", "json", "parquet", "csv", "tsv", "JSON", "CSV", "folder", "spark", "csv parts", "csv beside others"],
)
def test_every_kind_of_file_gives_the_same_rows(tmp_path, kind):
    path = tmp_path / (f"data.{kind}" if " " not in kind and kind not in ("folder", "spark") else "data")
    if kind == "jsonl":
        path.write_text(lines(GOOD))
    elif kind in ("json", "JSON"):
        path.write_text(json.dumps(GOOD))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(GOOD), path)
    elif kind in ("csv", "CSV"):
        separated(GOOD, path)
    elif kind == "tsv":
        separated(GOOD, path, dialect="excel-tab")
    elif kind == "spark":
        spark(path / "table.parquet")
    elif kind == "csv parts":
        path.mkdir()
        separated(GOOD[:2], path / "part-0.csv")
        separated(GOOD[2:], path / "part-1.csv", delimiter=";")
    elif kind == "csv beside others":
        path.mkdir()
        separated(GOOD[:1], path / "a.csv")
        (path / "b.jsonl").write_text(lines(GOOD))
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


def test_files_of_a_folder_that_are_not_read_are_named(tmp_path):
    spark(tmp_path / "d")
    separated(GOOD, tmp_path / "d" / "more.csv")
    said = succeeded(stage_data(tmp_path, f"path:{tmp_path}/d"))
    assert (
        "3 files of data set 'sums' are not read: .hidden.parquet, _temporary/0/part-00000.parquet, more.csv." in said
    )


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


# JSON has no NaN, but what pandas writes has.
LACKING: list[dict[str, Any]] = [{}, {"a": None}, {"a": math.nan}]


@pytest.mark.parametrize("lacking", [*LACKING, {"a": " "}, {"a": "It is even."}], ids=str)
def test_a_problem_that_lacks_its_answer_is_a_problem(tmp_path, lacking):
    (tmp_path / "d.jsonl").write_text(lines([GOOD[0], {"q": "Why?", **lacking}, GOOD[2]]))
    if lacking in LACKING:
        what = "nothing in its field 'a'" if "a" in lacking else "no field 'a'"
        said = refused(stage_data(tmp_path, f"path:{tmp_path}/d.jsonl"))
        assert f"d.jsonl, row 2 has {what} (fields.solution)" in said
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


# ---------------------------------------------------------------- what a value may be


KEPT = [
    # As they were staged before there were any checks: a row's text is what stored rows are found by.
    (3, "3"),
    (3.0, "3.0"),
    (1e22, "1e+22"),
    (-0.0, "-0.0"),
    (10**30, str(10**30)),
    (["x = 1", 2, 0.5], "x = 1, 2, 0.5"),
    (" 1e5 ", "1e5"),
    ("nan", "nan"),
    ("null", "null"),
    ([], None),
]
NO_TEXT = [
    (math.inf, "inf (float)"),
    (-math.inf, "-inf (float)"),
    (True, "True (bool)"),
    (False, "False (bool)"),
    ({"x": 1}, "{'x': 1} (dict)"),
    (["1", None], "['1', None] (list)"),
    (["1", math.nan], "['1', nan] (list)"),
    ([["1"]], "[['1']] (list)"),
    ([True], "[True] (list)"),
]


@pytest.mark.parametrize(("value", "text"), KEPT, ids=str)
def test_texts_and_numbers_are_read_as_they_always_were(tmp_path, value, text):
    fields = {"question": "q", "answer": "a"}
    (tmp_path / "d.jsonl").write_text(lines([{"q": "Sure?", "a": "yes"}, {"q": "What?", "a": value}]))
    succeeded(stage_data(tmp_path, f"path:{tmp_path}/d.jsonl", fields=fields))
    assert read_rows(tmp_path / "out.parquet", PROBLEMS)[1]["answer"] == text


@pytest.mark.parametrize(("value", "shown"), NO_TEXT, ids=str)
@pytest.mark.parametrize("column", ["question", "solution", "answer"])
def test_what_is_neither_text_nor_number_is_a_bad_row(tmp_path, value, shown, column):
    fields = {name: name for name in ("question", "solution", "answer")}
    good = {"question": "What is 1 + 1?", "solution": "It is 2.", "answer": 2}
    (tmp_path / "d.jsonl").write_text(lines([good, {**good, column: value}, good]))
    said = refused(stage_data(tmp_path, f"path:{tmp_path}/d.jsonl", fields=fields))
    assert f"d.jsonl, row 2, field '{column}' (fields.{column}) holds {shown}, which is no text" in said
    succeeded(stage_data(tmp_path, f"path:{tmp_path}/d.jsonl", fields=fields, on_bad_row="skip"))
    assert [row["index"] for row in read_rows(tmp_path / "out.parquet", PROBLEMS)] == [0, 2]
    assert read_json(tmp_path / "out.json")["left_out"] == {"unusable": 1}


def test_a_question_that_is_missing_is_never_the_word_nan(tmp_path):
    (tmp_path / "d.jsonl").write_text(lines([GOOD[0], {"q": math.nan, "a": "1"}]))
    said = refused(stage_data(tmp_path, f"path:{tmp_path}/d.jsonl"))
    assert "d.jsonl, row 2 has nothing in its field 'q' (fields.question)" in said
    succeeded(stage_data(tmp_path, f"path:{tmp_path}/d.jsonl", on_bad_row="skip"))
    assert [row["question"] for row in read_rows(tmp_path / "out.parquet", PROBLEMS)] == [GOOD[0]["q"]]


def test_a_field_in_which_all_rows_have_nan_is_a_mistake(tmp_path):
    (tmp_path / "d.jsonl").write_text(lines([{**row, "final": math.nan} for row in GOOD]))
    fields = {"question": "q", "solution": "a", "answer": "final"}
    said = refused(stage_data(tmp_path, f"path:{tmp_path}/d.jsonl", fields=fields, on_bad_row="skip"))
    assert "no row of data set 'sums' has a field 'final' (fields.answer)" in said


def not_utf8() -> pa.Array:
    """A column of texts, the second of which is none, as a careless writer leaves it."""
    offsets = b"".join(n.to_bytes(4, "little") for n in (0, 1, 3))
    return pa.Array.from_buffers(pa.string(), 2, [None, pa.py_buffer(offsets), pa.py_buffer(b"x\xff\xfe")])


COLUMNS = {
    # What the second row of a Parquet column is read as; None where it is missing, a text of the error where it is bad.
    "text": (pa.array(["1", "2"]), "2"),
    "dictionary": (pa.array(["1", "2"]).dictionary_encode(), "2"),
    "int8": (pa.array([1, 2], pa.int8()), "2"),
    "float": (pa.array([1.0, 3.0]), "3.0"),
    "decimal": (pa.array([Decimal("1.00"), Decimal("2.50")]), "2.50"),
    "list": (pa.array([["1"], ["1", "2"]]), "1, 2"),
    "null": (pa.array(["1", None]), None),
    "nan": (pa.array([1.0, math.nan]), None),
    "infinity": (pa.array([1.0, math.inf]), "inf (float)"),
    "binary": (pa.array([b"What is 1?", b"1"]), "b'What is 1?' (bytes)"),
    "boolean": (pa.array([True, False]), "True (bool)"),
    "date": (pa.array([datetime.date(2024, 1, 1)] * 2), "datetime.date(2024, 1, 1) (date)"),
    "map": (pa.array([{"x": 1}, {"x": 2}]), "{'x': 1} (dict)"),
    "not UTF-8": (not_utf8(), "codec can't decode byte 0xff"),
    "late": (pa.array([0, 2**62], pa.timestamp("ms")), "row 1, field 'a' (fields.answer) holds datetime"),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_columns_of_parquet(tmp_path, kind):
    column, wanted = COLUMNS[kind]
    pq.write_table(pa.table({"q": ["What?", "Which?"], "a": column}), tmp_path / "d.parquet")
    fields = {"question": "q", "answer": "a"}
    result = stage_data(tmp_path, f"path:{tmp_path}/d.parquet", fields=fields)
    if wanted is not None and (" " in wanted and kind != "list"):
        assert wanted in (said := refused(result))
        assert re.search(r"d\.parquet, row [12], field 'a' \(fields\.answer\) holds ", said)
        return
    if wanted is None:
        assert "d.parquet, row 2 has nothing in its field 'a'" in refused(result)
        result = stage_data(tmp_path, f"path:{tmp_path}/d.parquet", fields=fields, on_bad_row="skip")
    succeeded(result)
    assert read_rows(tmp_path / "out.parquet", PROBLEMS)[1]["answer"] == wanted


FACTS = [
    ("algebra", "algebra"),
    (3, "3"),
    (3.0, "3.0"),
    (True, "true"),
    (["a", 1], '["a",1]'),
    ({"b": 1, "a": None}, '{"a":null,"b":1}'),
    (None, None),
    (math.nan, None),
]


@pytest.mark.parametrize(("value", "text"), FACTS, ids=str)
@pytest.mark.parametrize("on_bad_row", ["error", "skip"])
def test_facts_are_texts_and_what_is_missing_is_left_out(tmp_path, value, text, on_bad_row):
    (tmp_path / "d.jsonl").write_text(lines([{**GOOD[0], "l": value}]))
    succeeded(stage_data(tmp_path, f"path:{tmp_path}/d.jsonl", facts={"level": "l"}, on_bad_row=on_bad_row))
    (row,) = read_rows(tmp_path / "out.parquet", PROBLEMS)
    assert json.loads(row["facts"]) == ({} if text is None else {"level": text})


@pytest.mark.parametrize("value", [math.inf, [1, math.nan], {"x": -math.inf}], ids=str)
def test_a_fact_that_json_cannot_hold_is_a_bad_row(tmp_path, value):
    (tmp_path / "d.jsonl").write_text(lines([GOOD[0], {**GOOD[1], "l": value}]))
    said = refused(stage_data(tmp_path, f"path:{tmp_path}/d.jsonl", facts={"level": "l"}))
    assert "d.jsonl, row 2, field 'l' (facts.level) holds " in said
    succeeded(stage_data(tmp_path, f"path:{tmp_path}/d.jsonl", facts={"level": "l"}, on_bad_row="skip"))
    assert read_json(tmp_path / "out.json")["left_out"] == {"unusable": 1}


@pytest.mark.parametrize("kind", ["decimal", "binary", "date", "not UTF-8", "late", "nan"])
def test_facts_of_parquet_end_in_no_traceback(tmp_path, kind):
    pq.write_table(pa.table({"q": ["What?", "Which?"], "l": COLUMNS[kind][0]}), tmp_path / "d.parquet")
    result = stage_data(tmp_path, f"path:{tmp_path}/d.parquet", fields={"question": "q"}, facts={"level": "l"})
    if kind not in ("decimal", "nan"):
        assert "field 'l' (facts.level) holds " in refused(result)
        return
    succeeded(result)
    facts = [json.loads(row["facts"]) for row in read_rows(tmp_path / "out.parquet", PROBLEMS)]
    assert facts == ([{"level": "1.00"}, {"level": "2.50"}] if kind == "decimal" else [{"level": "1.0"}, {}])


# ---------------------------------------------------------------- CSV and TSV


def staged_table(folder: Path, content: str | bytes, name: str = "d.csv", **changes: Any) -> list[tuple[Any, ...]]:
    """Question, solution and answer of the rows of a file with this content, read by its fields q, s and a."""
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(data)
    fields = {"question": "q", "answer": "a"}
    succeeded(stage_data(folder, f"path:{folder}/{name}", **{"fields": fields, "on_bad_row": "skip", **changes}))
    return [(row["question"], row["answer"]) for row in read_rows(folder / "out.parquet", PROBLEMS)]


TABLES: dict[str, tuple[str | bytes, list[tuple[str, str | None]]]] = {
    "text": (
        "q,a\nWhat?,007\nWhich?,NA\nWho?,1e5\nNone?,\nNaN?,nan\n",
        [
            ("What?", "007"),
            ("Which?", "NA"),
            ("Who?", "1e5"),
            ("None?", None),
            ("NaN?", "nan"),
        ],
    ),
    "byte order mark": ("\ufeffq,a\nWhat?,1\n", [("What?", "1")]),
    "byte order mark and quotes": ('\ufeff"q","a"\n"What?","1"\n', [("What?", "1")]),
    "line breaks": (
        'q,a\r\n"Two\r\nlines, and\nthree?",1\r\nOne?,2\r\n',
        [
            ("Two\r\nlines, and\nthree?", "1"),
            ("One?", "2"),
        ],
    ),
    "quotes": ('q,a\n"Is ""1"" a digit, or not?",yes\n', [('Is "1" a digit, or not?', "yes")]),
    "semicolons": ("q;a\nIs 1,5 > 1?;1,5\n", [("Is 1,5 > 1?", "1,5")]),
    "semicolons and a comma in the header": ('q;a;"x, y"\nWhat?;1;2\n', [("What?", "1")]),
    "a semicolon in the header": ("q,a;b,a\nWhat?,x,1\n", [("What?", "1")]),
    "carriage returns": ("q,a\rWhat?,1\rWho?,2\r", [("What?", "1"), ("Who?", "2")]),
    "blank lines": ("\n\nq,a\n\nWhat?,1\n\n\n", [("What?", "1")]),
    "no last line break": ("q,a\nWhat?,1", [("What?", "1")]),
    "a column without a name": (",q,a\n0,What?,1\n1,Who?,2\n", [("What?", "1"), ("Who?", "2")]),
    "a formula": ('q,a\n"=1+1, what?",\u2212 1\n', [("=1+1, what?", "\u2212 1")]),
    "a long cell": (f"q,a\n{'x' * 300_000}?,1\n", [("x" * 300_000 + "?", "1")]),
}


@pytest.mark.parametrize("name", TABLES)
def test_cells_of_csv_are_texts(tmp_path, name):
    content, rows = TABLES[name]
    assert staged_table(tmp_path, content) == rows


def test_cells_of_tsv_are_texts(tmp_path):
    content = 'q\ta\n"Two\nlines, a tab\t and; more?"\t01\nIt"s?\t\n'
    assert staged_table(tmp_path, content, "d.tsv") == [("Two\nlines, a tab\t and; more?", "01"), ('It"s?', None)]


def test_where_of_a_table_compares_texts(tmp_path):
    content = "q,a,level\nWhat?,1,05\nWho?,2,5\n"
    assert staged_table(tmp_path, content, where={"level": "05"}) == [("What?", "1")]


def test_an_empty_cell_is_a_missing_value(tmp_path):
    (tmp_path / "d.csv").write_text("q,a\nWhat?,1\nWho?,\n")
    said = refused(stage_data(tmp_path, f"path:{tmp_path}/d.csv", fields={"question": "q", "answer": "a"}))
    assert "d.csv, row 3 has nothing in its field 'a' (fields.answer)" in said


BAD_ROWS = {
    "too few cells": (b"Who?\n", "d.csv, row 4 has 1 cells where the header has 2."),
    "too many cells": (b"Who, and why?,2\n", "d.csv, row 4 has 3 cells where the header has 2."),
    "no question": (b",2\n", "d.csv, row 4 has nothing in its field 'q' (fields.question)"),
    "NUL": (b"Wh\0o?,2\n", "d.csv, row 4 has a NUL character"),
    "Latin-1": (b"Caf\xe9?,2\n", "d.csv, row 4 is not UTF-8 text."),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_bad_row_of_a_table_is_named_and_left_out(tmp_path, name):
    row, message = BAD_ROWS[name]
    content = b'q,a\n"Two\nlines?",1\n\n' + row + b"Last?,3\n"
    (tmp_path / "d.csv").write_bytes(content)
    assert message in refused(stage_data(tmp_path, f"path:{tmp_path}/d.csv", fields={"question": "q", "answer": "a"}))
    assert staged_table(tmp_path, content) == [("Two\nlines?", "1"), ("Last?", "3")]
    assert sum(read_json(tmp_path / "out.json")["left_out"].values()) == 1


NO_TABLES = {
    "an open quote": (
        b'q,a\nWhat?,1\n"Who?,2\nLast?,3\n',
        "d.csv, row 3 (to line 4) is not CSV: unexpected end of data",
    ),
    "text after a quote": (b'q,a\nWhat?,1\n"Who" is it?,2\nLast?,3\n', "d.csv, row 3 (to line 3) is not CSV: "),
    "UTF-16": ("q,a\nWhat?,1\n".encode("utf-16"), "d.csv: the header has a NUL character"),
    "UTF-16 without a mark": ("q,a\nWhat?,1\n".encode("utf-16-le"), "d.csv: the header has a NUL character"),
    "Latin-1 header": (b"q,a,caf\xe9\nWhat?,1,2\n", "d.csv: the header is not UTF-8 text"),
    "a name twice": (b"q,a,a\nWhat?,1,2\n", "d.csv: the header names 'a' more than once"),
    "no header": (b"What?,1\nWho?,2\n", "d.csv, row 2 has no field 'q'"),
    "nothing": (b"", "has no rows"),
    "a header alone": (b"q,a\n", "has no rows"),
}


@pytest.mark.parametrize("name", NO_TABLES)
def test_what_is_no_table_is_refused(tmp_path, name):
    content, message = NO_TABLES[name]
    (tmp_path / "d.csv").write_bytes(content)
    fields = {"question": "q", "answer": "a"}
    assert message in refused(stage_data(tmp_path, f"path:{tmp_path}/d.csv", fields=fields))


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("kind", ["json", "jsonl"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_json_with_a_byte_order_mark_is_read(tmp_path, kind, encoding):
    if kind == "jsonl" and encoding == "utf-16":
        pytest.skip("lines of UTF-16 do not end in one byte")
    path = tmp_path / f"d.{kind}"
    path.write_text(json.dumps(GOOD) if kind == "json" else lines(GOOD), encoding=encoding)
    succeeded(stage_data(tmp_path, f"path:{path}"))
    assert [row["question"] for row in read_rows(tmp_path / "out.parquet", PROBLEMS)] == [row["q"] for row in GOOD]


def test_lines_under_the_name_of_json_are_named(tmp_path):
    (tmp_path / "d.json").write_text(lines(GOOD))
    assert "d.json is not JSON: Extra data" in (said := refused(stage_data(tmp_path, f"path:{tmp_path}/d.json")))
    assert "(A file with one record on each line is read by the name of .jsonl.)" in said


def irregular(path: Path, kind: str) -> None:
    """Make a path that no one can read to its end."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link to a pipe":
        os.mkfifo(path.with_suffix(".pipe"))
        path.symlink_to(path.with_suffix(".pipe").name)
    elif kind == "link to a device":
        path.symlink_to("/dev/zero")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    elif kind == "link to nothing":
        path.symlink_to("nowhere")
    elif kind == "link to itself":
        path.symlink_to(path.name)
    else:
        (path.parent / "elsewhere").mkdir()
        path.symlink_to("elsewhere")


IRREGULAR = {
    "pipe": "x.jsonl is a named pipe, not a regular file",
    "link to a pipe": "x.jsonl is a named pipe, not a regular file",
    "link to a device": "x.jsonl is a device, not a regular file",
    "socket": "x.jsonl is a socket, not a regular file",
    "link to nothing": "x.jsonl cannot be read: No such file or directory",
    "link to itself": "x.jsonl cannot be read: Too many levels of symbolic links",
    "link to a folder": "x.jsonl is a link to a folder, not a regular file",
}


@pytest.mark.parametrize("kind", IRREGULAR)
def test_only_regular_files_are_read(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    Path("d").mkdir()
    Path("d/good.jsonl").write_text(lines(GOOD))
    irregular(Path("d/x.jsonl"), kind)
    # In a folder, and by its own name.
    assert IRREGULAR[kind] in refused(stage_data(tmp_path, "path:d"))
    alone = refused(stage_data(tmp_path, "path:d/x.jsonl"))
    assert IRREGULAR[kind] in alone or "does not exist" in alone or "has no file that ends in" in alone


def test_a_link_to_a_file_is_read(tmp_path):
    (tmp_path / "blob").write_text(lines(GOOD))
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x.jsonl").symlink_to("../blob")
    succeeded(stage_data(tmp_path, f"path:{tmp_path}/d"))
    assert len(read_rows(tmp_path / "out.parquet", PROBLEMS)) == 3


@pytest.mark.parametrize("kind", ["link to a device", "pipe"])
@pytest.mark.parametrize("source", ["path:{}/d", "path:{}/d/x.jsonl"])
def test_a_plan_reads_only_regular_files(tmp_path, kind, source):
    # Files with a brace in their path are known by their content, which the plan reads.
    folder = tmp_path / "{}"
    (folder / "d").mkdir(parents=True)
    irregular(folder / "d" / "x.jsonl", kind)
    source = source.format(folder)
    mine = {"source": source, "fields": {"question": "q", "answer": "a"}}
    result = snakemake(tmp_path, {"datasets": {"mine": mine}, "use": {"seeds": ["mine"]}}, "-n")
    assert result.returncode == 1
    said = result.stdout + result.stderr
    assert re.search(rf"datasets\.mine\.source: .*{IRREGULAR[kind]}", said), said
    assert "Traceback" not in said


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
from scalequest.runtime import job
from scalequest.llm import sources
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
    command_gc = [sys.executable, str(SCRIPTS / "tools" / "collect_garbage.py")]
    succeeded(finished(command_gc, cwd=tmp_path))


def stage_model(folder: Path, source: str, role: dict[str, Any] | None = None, **changes: Any):
    settings = {"source": source, "sha256": None, "licence": "none", "trust_remote_code": False, **changes}
    return script(
        "stage_model",
        settings,
        name="m",
        folder=folder / "weights",
        out=folder / "m.json",
        roles=json.dumps({"m": role or {}}),
    )


def test_a_gguf_file_of_a_path_is_the_same_model_as_that_of_a_package(tmp_path):
    default = yaml.safe_load((ROOT / "config.yaml").read_text())["models"]["smollm2"]
    given = package_file(default["source"])
    (tmp_path / "m.gguf").symlink_to(given)
    source = f"path:{tmp_path / 'm.gguf'}"
    assert "the config says sha256: None" in refused(stage_model(tmp_path, source))
    cut = tmp_path / "cut.gguf"
    with given.open("rb") as handle:
        cut.write_bytes(handle.read(1_000_000))
    assert "the file's SHA-256 is" in refused(stage_model(tmp_path, f"path:{cut}", sha256=default["sha256"]))
    (tmp_path / "folder.gguf").mkdir()
    assert "is no file" in refused(stage_model(tmp_path, f"path:{tmp_path / 'folder.gguf'}", sha256="0" * 64))
    succeeded(stage_model(tmp_path, source, sha256=default["sha256"]))
    manifest = read_json(tmp_path / "m.json")
    assert manifest["source_sha256"] == default["sha256"]
    assert manifest["tokenizer"]["mended"]
    assert open_model(tmp_path / "m.json").folder.is_relative_to(tmp_path.resolve())


@pytest.mark.parametrize("content", ["an unknown architecture", "no model at all"])
def test_a_gguf_file_that_cannot_be_read_is_refused_in_a_sentence(tmp_path, content):
    from gguf import GGUFWriter

    file = tmp_path / "m.gguf"
    file.write_text(content)
    if content == "an unknown architecture":
        writer = GGUFWriter(file, "no_such_architecture")
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()
    found = refused(stage_model(tmp_path, f"path:{file}", sha256=file_sha256(file)))
    assert f"source path:{file}: m.gguf cannot be dequantised" in found
    assert "Take the model as safetensors" in found
    assert not (tmp_path / "m.json").exists()


def test_the_embedded_model_is_converted_once_and_checked(tmp_path):
    default = yaml.safe_load((ROOT / "config.yaml").read_text())["models"]["smollm2"]
    message = refused(stage_model(tmp_path, default["source"], sha256="0" * 64))
    assert default["sha256"] in message
    assert not (tmp_path / "m.json").exists()
    succeeded(stage_model(tmp_path, default["source"], sha256=default["sha256"]))
    model = open_model(tmp_path / "m.json")
    assert {"model.safetensors", "tokenizer.json", "config.json"} <= {p.name for p in model.folder.iterdir()}
    # As the umask says, for a group that shares the folder.
    (tmp_path / "other").touch()
    assert {p.stat().st_mode for p in model.folder.iterdir()} == {(tmp_path / "other").stat().st_mode}
    # transformers splits " \u00bd" by GPT-2's rule; SmolLM2 learned with every digit alone.
    facts = read_json(tmp_path / "m.json")["tokenizer"]
    assert facts["against"].endswith(".gguf")
    assert "is read as the tokens" in facts["mended"]
    tokenizer = load_tokenizer(model.folder)
    space = tokenizer.convert_tokens_to_ids("\u0120")
    assert tokenizer(" \u00bd")["input_ids"][0] == tokenizer(" 7")["input_ids"][0] == space
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


def test_a_model_without_a_head_is_refused_as_reward_model(tmp_path, tiny_model):
    source = f"path:{tiny_model}"
    message = refused(stage_model(tmp_path, source, role={"reward": "model"}))
    assert "reward.model m is a LlamaForCausalLM, but reward.kind model needs" in message
    assert not (tmp_path / "m.json").exists()
    # In another role it is a model like any.
    succeeded(stage_model(tmp_path, source))


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
import tiny_tokenizers
from scalequest.runtime import job
from scalequest.llm import sources
def write(folder, text):
    print("begun", flush=True)
    time.sleep(1)
    tiny_tokenizers.byte_level(folder, tokenizer_class="PreTrainedTokenizerFast")
    (folder / "model.safetensors").write_text(text)
sources.commit_of = lambda source, kind: REVISION
sources.fetch_from_hub = lambda source, commit, folder, **more: write(folder, commit)
job.run(stage_model.main, offline=False)
"""


def staged(folder: Path, models: Path, revision: str) -> tuple[str, str]:
    """Stage org/m@main, which stands for that commit, from a working folder; what it printed, and its log."""
    folder.mkdir(exist_ok=True)
    settings = {"source": "hf:org/m@main", "sha256": None, "trust_remote_code": False}
    options = command("stage_model", settings, name="m", folder=models / "staged" / "m-1234", out=folder / "m.json")
    program = folder / "stage_quickly.py"
    program.write_text(STAGING.replace("REVISION", repr(revision)), encoding="utf-8")
    done = finished([options[0], program, *options[2:]], operating(lease_seconds=3.0), folder)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_of_two_runs_that_stage_a_model_at_once_one_does_it_and_the_other_finds_it(tmp_path):
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(lambda name: staged(tmp_path / name, tmp_path / "models", "c1"), ("one", "two")))
    assert sorted(out for out, _ in results) == ["", "begun\n"]
    assert any("is there and whole" in said for _, said in results)
    folders = {open_model(tmp_path / name / "m.json").folder for name in ("one", "two")}
    assert len(folders) == 1
    # Both working folders are on record, by which `make gc` knows of them.
    records = [read_json(path) for path in (tmp_path / "models" / "staged" / "attempts").iterdir()]
    assert sorted(record["directory"] for record in records) == [str(tmp_path / "one"), str(tmp_path / "two")]


def test_a_branch_that_moved_on_leaves_the_folder_of_the_earlier_commit_to_who_reads_it(tmp_path):
    staged(tmp_path / "one", tmp_path / "models", "c1")
    staged(tmp_path / "two", tmp_path / "models", "c2")
    one, two = (open_model(tmp_path / name / "m.json") for name in ("one", "two"))
    assert [(model.folder / "model.safetensors").read_text() for model in (one, two)] == ["c1", "c2"]


def test_a_staged_model_that_was_damaged_is_staged_again(tmp_path):
    staged(tmp_path / "one", tmp_path / "models", "c1")
    (open_model(tmp_path / "one" / "m.json").folder / "model.safetensors").write_text("c?")
    assert staged(tmp_path / "one", tmp_path / "models", "c1")[0] == "begun\n"
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


def test_equal_questions_of_seeds_and_benchmarks_are_counted_once_both_are_staged(tmp_path):
    copied = [{"q": "What  is 0 + 0?\n", "a": "0"}, GOOD[1], {"q": "New?", "a": "1"}]
    for name, rows in {"mine": GOOD, "others": [GOOD[2]], "held": copied, "clean": [{"q": "Old?", "a": "2"}]}.items():
        (tmp_path / f"{name}.jsonl").write_text(lines(rows))
    fields = {"question": "q", "solution": "a", "answer": "a"}
    names = ("mine", "others", "held", "clean")
    config = {
        "datasets": {name: {"source": f"path:{tmp_path}/{name}.jsonl", "fields": fields} for name in names},
        "use": {"seeds": ["mine", "others"], "benchmarks": ["held", "clean"]},
    }
    # As `snakemake stage` ends, before anything is trained.
    assert planned(snakemake(tmp_path, config, "-n", "stage"))["compare_seeds"] == 1
    result = snakemake(tmp_path, config, "results/seeds/overlap.json")
    assert result.returncode == 0, result.stderr
    assert read_json(tmp_path / "results/seeds/overlap.json") == {
        "held": {"problems": 3, "equal": {"mine": 2, "others": 0}},
        "clean": {"problems": 1, "equal": {"mine": 0, "others": 0}},
    }
    said = re.findall(r"compare_seeds|scalequest: (\d.* seed problems of .*)", result.stdout + result.stderr)
    (warning,) = filter(None, said)
    assert warning.startswith("2 of the 3 problems of benchmark 'held' are seed problems of 'mine' too, so generators")


def test_benchmarks_that_nothing_reads_are_not_compared(tmp_path):
    off = {"use": {"students": []}, "evaluation": {"models": []}, "filters": {"contamination": {"enabled": False}}}
    assert "compare_seeds" not in planned(snakemake(tmp_path, off, "-n", "stage"))
