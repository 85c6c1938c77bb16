"""Tables: declared, checked, sorted, and the same bytes for the same rows."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from scalequest.errors import ScaleQuestError
from scalequest.hashing import file_sha256
from scalequest.rows.published import TABLES
from scalequest.rows.tables import (
    SCORES,
    VERDICTS,
    made_in,
    question_id,
    read_frame,
    read_rows,
    write_blocks,
    write_table,
)

ROWS = [{"id": question_id("qwen", 0, index), "score": index / 10} for index in range(5)]


def test_every_column_of_every_table_says_what_it_means():
    assert len(TABLES) >= 14
    for table in TABLES.values():
        names = [column.name for column in table.columns]
        assert len(set(names)) == len(names)
        assert set(table.key) <= set(names)
        assert all(len(column.meaning) > 5 for column in table.columns)


def test_rows_come_back_sorted_whatever_their_order(tmp_path):
    write_table(tmp_path / "a.parquet", ROWS, SCORES)
    write_table(tmp_path / "b.parquet", ROWS[::-1], SCORES)
    assert read_rows(tmp_path / "b.parquet", SCORES) == ROWS
    assert file_sha256(tmp_path / "a.parquet") == file_sha256(tmp_path / "b.parquet")
    assert read_frame(tmp_path / "a.parquet", SCORES)["score"].tolist() == [0.0, 0.1, 0.2, 0.3, 0.4]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": "x"}], "misses columns \\['score'\\]"),
        ([{"id": "x", "score": 1.0, "skore": 1.0}], "unknown ones \\['skore'\\]"),
        ([{"id": "x", "score": None}], "column score is null"),
        ([{"id": "x", "score": 1.0}, {"id": "x", "score": 2.0}], "\\['x'\\] is there twice"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_and_nothing_is_written(tmp_path, rows, message):
    with pytest.raises(ScaleQuestError, match=message):
        write_table(tmp_path / "t.parquet", rows, SCORES)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet at all"])
def test_a_corrupt_file_is_named(tmp_path, content):
    (tmp_path / "t.parquet").write_bytes(content)
    with pytest.raises(ScaleQuestError, match=r"t\.parquet cannot be read as Parquet"):
        read_rows(tmp_path / "t.parquet", SCORES)


def test_another_table_is_refused(tmp_path):
    write_table(tmp_path / "t.parquet", ROWS, SCORES)
    with pytest.raises(ScaleQuestError, match="is not a 'verdicts' table"):
        read_rows(tmp_path / "t.parquet", VERDICTS)


def test_blocks_are_a_table_of_the_same_rows(tmp_path):
    rows = [{"id": question_id("g", 0, index), "score": index / 7} for index in range(10)]
    write_table(tmp_path / "whole.parquet", rows, SCORES)
    assert write_blocks(tmp_path / "one.parquet", [rows], SCORES) == 10
    assert file_sha256(tmp_path / "one.parquet") == file_sha256(tmp_path / "whole.parquet")
    assert write_blocks(tmp_path / "three.parquet", [rows[:4], [], rows[4:9], rows[9:]], SCORES) == 10
    assert read_rows(tmp_path / "three.parquet", SCORES) == read_rows(tmp_path / "whole.parquet", SCORES)
    assert write_blocks(tmp_path / "none.parquet", [], SCORES) == 0


def test_blocks_out_of_order_are_refused_and_nothing_is_written(tmp_path):
    rows = [{"id": question_id("g", 0, index), "score": 0.5} for index in range(4)]
    with pytest.raises(ScaleQuestError, match="comes after"):
        write_blocks(tmp_path / "t.parquet", [rows[2:], rows[:2]], SCORES)
    assert list(tmp_path.iterdir()) == []


def test_ids_of_a_block_sort_as_their_indices():
    ids = [question_id("g", 3, index) for index in (0, 9, 10, 99, 100, 123_456_789)]
    assert ids == sorted(ids)


def test_names_in_users_files_are_no_names_of_modules(tmp_path):
    """`make gc` and explain read them in tables of any release, wherever the code has moved since."""
    write_table(tmp_path / "scores.parquet", [], SCORES, made_in=["score_difficulty/0123"])
    metadata = pq.read_schema(tmp_path / "scores.parquet").metadata
    assert {b"scalequest.table": b"scores", b"scalequest.store": b"score_difficulty/0123"}.items() <= metadata.items()
    assert made_in(tmp_path / "scores.parquet") == ["score_difficulty/0123"]
