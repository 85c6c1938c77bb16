"""The row store: what is finished is found again, and only if it was made from the same thing."""

from __future__ import annotations

import errno
import itertools
import os
import time
from pathlib import Path

import pytest

from scalequest.rows.store import RowStore, in_windows, one_by_one
from scalequest.rows.tables import REWARDS, SCORES
from scalequest.runtime.lease import Lease

KEY = {"model": "m", "settings": {"a": 1}}


def questions(indices):
    return [{"id": f"g/s0/{index:09d}", "index": index, "question": f"text {index}"} for index in indices]


class Scorer:
    """Counts what it is asked for; the score depends on the text."""

    def __init__(self):
        self.batches: list[list[str]] = []

    def __call__(self, rows):
        self.batches.append([row["id"] for row in rows])
        return [{"id": row["id"], "score": float(len(row["question"]))} for row in rows]


def run(tmp_path, rows, work, key=KEY, window=4):
    return in_windows(rows, RowStore(tmp_path, "score", key, SCORES), window, work, group="g-s0")


def test_windows_are_fixed_blocks_of_indices(tmp_path):
    work = Scorer()
    rows = run(tmp_path, questions([9, 3, 2, 8, 4]), work)
    assert [[int(i[-9:]) for i in batch] for batch in work.batches] == [[2, 3], [4], [8, 9]]
    assert len(rows) == 5


def test_finished_rows_are_not_made_again(tmp_path):
    run(tmp_path, questions(range(10)), Scorer())
    again = Scorer()
    assert len(run(tmp_path, questions(range(10)), again)) == 10
    assert again.batches == []


def test_only_what_is_missing_is_made(tmp_path):
    run(tmp_path, questions([0, 1, 5]), Scorer())
    more = Scorer()
    run(tmp_path, questions([0, 1, 2, 5, 6]), more)
    assert [[int(i[-9:]) for i in batch] for batch in more.batches] == [[2], [6]]


def test_a_crash_keeps_the_finished_windows(tmp_path):
    class Dies(Scorer):
        def __call__(self, rows):
            if rows[0]["index"] >= 8:
                raise RuntimeError("power cut")
            return super().__call__(rows)

    with pytest.raises(RuntimeError):
        run(tmp_path, questions(range(12)), Dies())
    rest = Scorer()
    assert len(run(tmp_path, questions(range(12)), rest)) == 12
    assert len(rest.batches) == 1


def test_another_text_under_the_same_id_is_another_row(tmp_path):
    run(tmp_path, questions(range(4)), Scorer())
    changed = [{**row, "question": row["question"] + "!"} if row["index"] == 2 else row for row in questions(range(4))]
    work = Scorer()
    rows = {row["id"]: row["score"] for row in run(tmp_path, changed, work)}
    assert work.batches == [["g/s0/000000002"]]
    assert rows["g/s0/000000002"] == 7.0


@pytest.mark.parametrize("key", [{**KEY, "model": "n"}, {**KEY, "settings": {"a": 2}}])
def test_another_model_or_setting_finds_nothing(tmp_path, key):
    run(tmp_path, questions(range(4)), Scorer())
    work = Scorer()
    run(tmp_path, questions(range(4)), work, key=key)
    assert len(work.batches) == 1


@pytest.mark.parametrize("damage", [lambda b: b[:-7], lambda b: b"", lambda b: b[:50] + b"\x00" + b[51:]])
def test_a_damaged_part_is_made_again_and_is_never_fatal(tmp_path, damage):
    run(tmp_path, questions(range(8)), Scorer())
    part = sorted(tmp_path.rglob("*.parquet"))[0]
    part.write_bytes(damage(part.read_bytes()))
    work = Scorer()
    assert len(run(tmp_path, questions(range(8)), work)) == 8
    assert len(work.batches) == 1
    assert len(list(tmp_path.rglob("*.corrupt"))) == 1


def test_a_part_that_another_job_has_just_set_aside_is_made_again(tmp_path, monkeypatch):
    run(tmp_path, questions(range(4)), Scorer())

    def gone(path: Path) -> bytes:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_bytes", gone)
    work = Scorer()
    assert len(run(tmp_path, questions(range(4)), work)) == 4
    assert len(work.batches) == 1


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ESTALE])
def test_a_part_that_cannot_be_read_is_made_again_and_is_never_fatal(tmp_path, number, monkeypatch, caplog):
    run(tmp_path, questions(range(8)), Scorer())
    bad = sorted(tmp_path.rglob("*.parquet"))[0]
    read = Path.read_bytes

    def unread(path: Path) -> bytes:
        if path == bad:
            raise OSError(number, os.strerror(number), str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", unread)
    work = Scorer()
    assert len(run(tmp_path, questions(range(8)), work)) == 8
    assert len(work.batches) == 1
    assert f"stored part {bad} cannot be read ({os.strerror(number)})" in caplog.text
    assert bad.exists()


def three_at_once(work, batches):
    """Three windows are begun before the first is done, as by `Engine.each`."""
    numbered, running = enumerate(batches), list[tuple]()
    while True:
        running += itertools.islice(numbered, 3 - len(running))
        if not running:
            return
        number, batch = running.pop(0)
        yield number, work(batch)


@pytest.mark.parametrize(("each", "loading"), [(one_by_one, 1), (three_at_once, 3)])
def test_the_engines_loading_counts_for_the_time_limit_until_windows_without_it_are_known(
    tmp_path, each, loading, monkeypatch
):
    """A window takes 0.05 s, and loading 1 s."""
    needed: list[float] = []
    monkeypatch.setattr(Lease, "check", lambda lease, seconds: needed.append(seconds))
    scorer = Scorer()

    def work(rows):
        time.sleep(0.05 if scorer.batches else 1.05)
        return scorer(rows)

    in_windows(questions(range(40)), RowStore(tmp_path, "score", KEY, SCORES), 4, work, each=each)
    assert needed[:loading] == [0.0] * loading
    # Nothing else is known as those that come until then are begun.
    assert all(1 < seconds < 3 for seconds in needed[loading : 2 * loading])
    assert len(needed) == 10
    assert all(0 < seconds < 1 for seconds in needed[2 * loading :])


def test_several_rows_a_question_grow_one_by_one(tmp_path):
    def work(rows):
        made.extend((row["id"], row["sample"]) for row in rows)
        return [{"id": row["id"], "sample": row["sample"], "reward": 0.5} for row in rows]

    store = RowStore(tmp_path, "reward", KEY, REWARDS)
    made: list = []
    four = [{**row, "sample": sample} for row in questions(range(3)) for sample in range(4)]
    in_windows(four, store, 4, work)
    made.clear()
    five = [{**row, "sample": sample} for row in questions(range(3)) for sample in range(5)]
    assert len(in_windows(five, store, 4, work)) == 15
    assert made == [(row["id"], 4) for row in questions(range(3))]
