"""Fail rates: which problems are drawn, how they are numbered, and which windows they fill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import measure_fail_rates
from fault_stages import problems
from programs import ENGINE, script, succeeded
from scalequest.errors import ScaleQuestError
from scalequest.llm.models import open_model
from scalequest.rows.store import in_windows
from scalequest.rows.store_key import open_store
from scalequest.rows.tables import ATTEMPTS, FAIL_RATES, PROBLEMS, read_rows, write_table
from scalequest.settings import Sampling, read_settings
from scalequest.tasks.solving import attempts

SAMPLING: dict[str, Any] = {"temperature": 0.7, "top_p": 1.0, "max_tokens": 16}
WINDOW = 8


def measure(folder: Path, manifest: Path, count: int) -> str:
    """Run the script for so many problems of seeds.parquet, and return its log."""
    place = {"model": manifest, "seeds": folder / "seeds.parquet", "progress": folder / "progress"}
    made = {"out": folder / "attempts.parquet", "rates": folder / "fail_rates.parquet"}
    return succeeded(script("measure_fail_rates", settings(count), **place, **made))


def settings(count: int) -> dict[str, Any]:
    solving = {"problems": count, "samples": 2, "sampling": SAMPLING}
    return {
        "difficulty": solving,
        "grading": {"time_limit": 5},
        "engine": {**ENGINE, "window": WINDOW},
        "domain": "math",
    }


def parts(folder: Path) -> list[str]:
    """Numbers of the windows of which there are stored attempts."""
    found = folder.glob("progress/measure_fail_rates/*/[!.]*.parquet")
    return sorted(path.name.split(".")[0].rpartition("-")[2].lstrip("0") or "0" for path in found)


@given(st.sets(st.integers(0, 10**6), min_size=1, max_size=60), st.integers(1, 60), st.integers(1, 60))
def test_the_drawn_are_numbered_in_the_order_of_the_draw(numbers: set[int], one: int, other: int) -> None:
    rows = [{"id": f"s/{number}", "index": number, "answer": "7" if number % 5 else None} for number in sorted(numbers)]
    if not any(row["answer"] for row in rows):
        with pytest.raises(ScaleQuestError, match="has an answer"):
            measure_fail_rates.draw(rows, one)
        return
    fewer, more = ({row["id"]: row["index"] for row in measure_fail_rates.draw(rows, n)} for n in sorted((one, other)))
    assert sorted(more.values()) == list(range(len(more)))
    assert fewer.items() <= more.items()
    # As before the problems come in the order of their ids, in which the scorer learns from them.
    assert list(more) == sorted(more)


def test_drawn_problems_fill_their_windows_and_more_of_them_add_windows(tiny_manifest: Path, tmp_path: Path) -> None:
    seeds = problems(400)
    write_table(tmp_path / "seeds.parquet", seeds, PROBLEMS)
    measure(tmp_path, tiny_manifest, 16)
    assert parts(tmp_path) == ["0", "1"]
    first = {(row["id"], row["sample"]): row for row in read_rows(tmp_path / "attempts.parquet", ATTEMPTS)}
    assert len(first) == 32
    measure(tmp_path, tiny_manifest, 24)
    assert parts(tmp_path) == ["0", "1", "2"]
    more = {(row["id"], row["sample"]): row for row in read_rows(tmp_path / "attempts.parquet", ATTEMPTS)}
    assert len(more) == 48
    assert first.items() <= more.items()
    rates = read_rows(tmp_path / "fail_rates.parquet", FAIL_RATES)
    assert sorted(row["index"] for row in rates) == list(range(24))


def test_attempts_of_an_older_release_are_found(tiny_manifest: Path, tmp_path: Path) -> None:
    """They lie in windows of the index of all seed problems."""
    seeds = problems(400)
    write_table(tmp_path / "seeds.parquet", seeds, PROBLEMS)
    drawn = {row["id"] for row in measure_fail_rates.draw(seeds, 16)}
    key = measure_fail_rates.store_key(read_settings(measure_fail_rates.Settings, settings(16)))
    store = open_store(tmp_path / "progress", key, open_model(tiny_manifest))
    columns = ("id", "sample", "sampling_seed")

    def work(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        made = {"response": "So it is 7.", "answer": None, "finish_reason": "stop", "tokens": 5}
        return [{**{name: row[name] for name in columns}, **made} for row in rows]

    older = attempts([row for row in seeds if row["id"] in drawn], 2, "fail rates", Sampling(**SAMPLING))
    in_windows(older, store, WINDOW, work, group="seeds")
    scattered = parts(tmp_path)
    assert len(scattered) > 8
    assert "loading" not in measure(tmp_path, tiny_manifest, 16)
    assert parts(tmp_path) == scattered
    responses = {row["response"] for row in read_rows(tmp_path / "attempts.parquet", ATTEMPTS)}
    assert responses == {"So it is 7."}
    # The rest is made in whole windows.
    measure(tmp_path, tiny_manifest, 24)
    assert [name for name in parts(tmp_path) if parts(tmp_path).count(name) > scattered.count(name)] == ["2"]
