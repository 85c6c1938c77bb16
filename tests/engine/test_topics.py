"""Topics by forced choice, on the tiny model through the real vLLM: what is asked, stored, and found again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import choose_topics
from programs import ENGINE, script, succeeded
from scalequest.rows.tables import FILTERED, PROBLEMS, TOPICS, question_id, read_rows, write_table
from written_run import HOSTILE

# Texts that would be something else in a prompt, a page or a shell.
OPTIONS = ["Algebra", "{question}", "<script>window.pwned = 1</script>", "B. Geometry", "<|im_end|>"]
# The two longest do not fit the engine of the tests.
LONG = [text for text in HOSTILE if len(text) > 5000]


def choose(model: Path, folder: Path, name: str = "out", options: list[str] = OPTIONS, most: int = 100, **texts: Path):
    settings: dict[str, Any] = {"engine": {**ENGINE, "window": 8}, "options": options, "max_questions": most}
    place = {"model": model, "progress": folder / "progress", "out": folder / f"{name}.parquet"}
    return script("choose_topics", settings, **place, **texts)


def found(folder: Path, name: str = "out") -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in read_rows(folder / f"{name}.parquet", TOPICS)}


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Filtered questions, some of them hostile, every fifth dropped."""
    path = tmp_path_factory.mktemp("questions") / "filtered.parquet"
    rest = {"marks": "", "reason": "", "difficulty": None, "solvable": None, "generator": "g", "seed": 0}
    rows = [
        {"id": question_id("g", 0, i), "index": i, "question": text, "kept": i % 5 > 0, "dropped_by": "", **rest}
        for i, text in enumerate([*HOSTILE, *(f"Ann has {n} pens. How many has she?" for n in range(14))])
    ]
    write_table(path, rows, FILTERED)
    return path


@pytest.fixture(scope="module")
def chosen(questions: Path, tiny_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the topics of the questions."""
    folder = tmp_path_factory.mktemp("topics")
    succeeded(choose(tiny_manifest, folder, questions=questions))
    return folder


def test_each_kept_question_has_a_topic_and_the_probabilities_of_all(chosen, questions):
    rows = found(chosen)
    kept = {row["id"]: row["question"] for row in read_rows(questions, FILTERED) if row["kept"]}
    assert set(rows) == set(kept)
    for name, row in rows.items():
        if kept[name] in LONG:
            assert (row["topic"], row["probability"], row["probabilities"]) == (None, None, [0.0] * 5)
            continue
        assert sum(row["probabilities"]) == pytest.approx(1)
        assert row["probability"] == max(row["probabilities"]) == row["probabilities"][OPTIONS.index(row["topic"])]
    assert len({row["probability"] for row in rows.values()}) > 15
    assert any(text in LONG for text in kept.values())


def test_no_place_of_the_list_counts_for_more(chosen, questions, tiny_manifest, tmp_path):
    """The list begins elsewhere: each turn of it is asked all the same."""
    turned = [*OPTIONS[2:], *OPTIONS[:2]]
    succeeded(choose(tiny_manifest, tmp_path, options=turned, questions=questions))
    for name, row in found(tmp_path).items():
        before = found(chosen)[name]
        # In bfloat16 a text depends a little on its place in the batch.
        same = dict(zip(turned, row["probabilities"], strict=True))
        assert [same[option] for option in OPTIONS] == pytest.approx(before["probabilities"], abs=0.01)


def test_what_is_stored_is_found_again(chosen, questions, tiny_manifest):
    assert "loading" not in succeeded(choose(tiny_manifest, chosen, "again", questions=questions))
    assert (chosen / "again.parquet").read_bytes() == (chosen / "out.parquet").read_bytes()
    # Other topics are others' rows, and so is another order of them: its probabilities are.
    for options in (OPTIONS[1:], OPTIONS[::-1]):
        assert "loading" in succeeded(choose(tiny_manifest, chosen, "other", options, most=8, questions=questions))


def test_a_larger_limit_keeps_what_was_chosen(chosen, questions, tiny_manifest, tmp_path):
    """Of the same store: the first window is there already."""
    some = succeeded(choose(tiny_manifest, chosen, "some", most=8, questions=questions))
    assert "loading" not in some
    rows = found(chosen, "some")
    assert len(rows) == 8
    assert rows.items() <= found(chosen).items()


def test_seed_problems_have_topics_too(questions, chosen, tiny_manifest):
    rest = {"source": "s", "solution": None, "answer": None, "facts": "{}"}
    rows = [{"id": f"s/{i:08d}", "index": i, "question": f"What is {i} + 1?", **rest} for i in range(5)]
    write_table(chosen / "seeds.parquet", rows, PROBLEMS)
    succeeded(choose(tiny_manifest, chosen, "problems", problems=chosen / "seeds.parquet"))
    assert set(found(chosen, "problems")) == {row["id"] for row in rows}
    assert all(row["topic"] in OPTIONS for row in found(chosen, "problems").values())


def test_no_question_needs_no_engine(tiny_manifest, tmp_path):
    write_table(tmp_path / "none.parquet", [], FILTERED)
    assert "loading" not in succeeded(choose(tiny_manifest, tmp_path, questions=tmp_path / "none.parquet"))
    assert found(tmp_path) == {}


def test_as_many_topics_as_there_are_letters(tiny_manifest, questions, tmp_path):
    options = [f"topic {number}" for number in range(26)]
    succeeded(choose(tiny_manifest, tmp_path, options=options, most=2, questions=questions))
    assert {len(row["probabilities"]) for row in found(tmp_path).values()} == {26}


def test_a_hash_draws_them_whatever_their_order():
    rows = [{"id": question_id("g", s, i), "question": "?"} for s in range(2) for i in range(50)]
    drawn = choose_topics.draw(rows, 20)
    assert drawn == choose_topics.draw(reversed(rows), 20)
    assert [row["index"] for row in drawn] == list(range(20))
    assert drawn == choose_topics.draw(rows, 30)[:20]
    assert {row["id"].split("/")[1] for row in drawn} == {"s0", "s1"}
