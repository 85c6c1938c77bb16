"""Topics in numbers: shares, their intervals, and agreement with a data set's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scalequest.publishing import topics
from scalequest.rows.tables import PROBLEMS, TOPICS, write_table

OPTIONS = ["Counting & Probability", "Algebra", "C++", "C#"]


def table(path: Path, chosen: list[str | None]) -> Path:
    """A table of topics; of a question without one, None."""
    rows = [
        {"id": f"s/{i:03d}", "topic": topic, "probability": topic and 0.5, "probabilities": [0.25] * len(OPTIONS)}
        for i, topic in enumerate(chosen)
    ]
    write_table(path, rows, TOPICS)
    return path


def problems(path: Path, facts: list[dict[str, str]]) -> Path:
    rest = {"source": "s", "question": "?", "solution": None, "answer": None}
    rows: list[dict[str, Any]] = [
        {"id": f"s/{i:03d}", "index": i, "facts": json.dumps(own), **rest} for i, own in enumerate(facts)
    ]
    write_table(path, rows, PROBLEMS)
    return path


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    # By R's prop.test(count, total, correct = FALSE).
    [(5, 10, 0.2365931, 0.7634069), (0, 10, 0.0, 0.2775328), (10, 10, 0.7224672, 1.0), (30, 240, 0.0890, 0.1728)],
)
def test_the_interval_is_wilsons(count: int, total: int, low: float, high: float) -> None:
    found = topics.share(count, total)
    assert (found["count"], found["share"]) == (count, round(count / total, 6))
    assert (found["low"], found["high"]) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_shares_are_of_the_questions_that_have_a_topic(tmp_path: Path) -> None:
    found = topics.shares(table(tmp_path / "t.parquet", ["Algebra", "Algebra", "C++", None]), OPTIONS)
    assert (found["questions"], found["without"], found["probability"]) == (3, 1, 0.5)
    assert list(found["topics"]) == OPTIONS
    assert [entry["count"] for entry in found["topics"].values()] == [0, 2, 1, 0]
    assert sum(entry["share"] for entry in found["topics"].values()) == pytest.approx(1)
    nobody = topics.shares(table(tmp_path / "none.parquet", [None]), OPTIONS)
    assert nobody["probability"] is None
    assert nobody["topics"]["Algebra"] == {"count": 0, "share": None, "low": None, "high": None}


def test_topics_of_one_name_are_compared(tmp_path: Path) -> None:
    facts = ["counting_and_probability", "COUNTING probability", "algebra", "geometry", "C++", "c", None]
    own = problems(
        tmp_path / "p.parquet", [{"topic": fact, "level": "1"} if fact else {"level": "1"} for fact in facts]
    )
    chosen = table(tmp_path / "t.parquet", [OPTIONS[0], "Algebra", None, "Algebra", "C++", "C++", "C++"])
    found = topics.agreement(chosen, own, OPTIONS)
    assert found is not None
    # Algebra has no answer, geometry is in no list, and of c it is not known which one it is.
    assert found["agree"]["problems"] == 3
    assert found["agree"]["count"] == 2
    assert found["chosen"]["geometry"] == {"Algebra": 1}
    assert "algebra" not in found["chosen"]


def test_without_facts_there_is_nothing_to_compare(tmp_path: Path) -> None:
    own = problems(tmp_path / "p.parquet", [{}, {}])
    assert topics.agreement(table(tmp_path / "t.parquet", ["Algebra", "C++"]), own, OPTIONS) is None
