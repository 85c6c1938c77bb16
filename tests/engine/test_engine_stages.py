"""Each stage that loads an engine, alone, on the tiny model through the real vLLM."""

from __future__ import annotations

from pathlib import Path

import pytest

from programs import ENGINE, SAMPLING, refused, script, succeeded
from scalequest.llm.models import write_manifest
from scalequest.rows.tables import (
    ATTEMPTS,
    FILTERED,
    JUDGEMENTS,
    QUESTIONS,
    REWARDS,
    read_rows,
    write_table,
)
from tiny import make_tiny_model, make_tiny_scorer

ASKING = {"purpose": "questions", "sampling": SAMPLING, "engine": ENGINE}


def sample(model: Path, folder: Path, start: int, count: int, settings=ASKING, progress: str = "progress"):
    place = {"model": model, "generator": "tiny", "seed": 0, "start": start, "count": count}
    return script("sample_questions", settings, **place, progress=folder / progress, out=folder / f"{start}.parquet")


@pytest.fixture(scope="module")
def questions(tiny_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One shard of 208 questions."""
    folder = tmp_path_factory.mktemp("questions")
    succeeded(sample(tiny_manifest, folder, 0, 208))
    return folder / "0.parquet"


def test_resharding_changes_no_question(questions, tiny_manifest, tmp_path):
    whole = {row["id"]: row["question"] for row in read_rows(questions, QUESTIONS)}
    assert len([text for text in set(whole.values()) if text]) >= 200
    halves: dict[str, str] = {}
    for start in (104, 0):
        succeeded(sample(tiny_manifest, tmp_path, start, 104, progress=f"progress{start}"))
        halves |= {row["id"]: row["question"] for row in read_rows(tmp_path / f"{start}.parquet", QUESTIONS)}
    assert halves == whole


def test_stored_windows_load_no_engine(questions, tiny_manifest):
    before = questions.read_bytes()
    log = succeeded(sample(tiny_manifest, questions.parent, 0, 208))
    assert "loading" not in log
    assert questions.read_bytes() == before
    # Other shards of the same windows find them too.
    assert "loading" not in succeeded(sample(tiny_manifest, questions.parent, 52, 52))


def test_a_system_prompt_makes_questions_of_its_own(questions, tiny_manifest):
    before = {row["id"]: row["question"] for row in read_rows(questions, QUESTIONS)}
    told = {**ASKING, "system_prompt": "You help with 'sums' and {maths}: $x$ \"y\"."}
    folder = questions.parent / "told"
    succeeded(sample(tiny_manifest, folder, 0, 26, told, "../progress"))
    after = {row["id"]: row for row in read_rows(folder / "0.parquet", QUESTIONS)}
    assert len(after) == 26
    assert sum(row["question"] != before[name] for name, row in after.items()) > 20
    # As without one before there were any: nothing is asked anew.
    none = sample(tiny_manifest, folder, 0, 26, {**ASKING, "system_prompt": None}, "../progress")
    assert "loading" not in succeeded(none)


def manifest_of(model: Path) -> Path:
    path = model.with_suffix(".json")
    write_manifest(path, model, name=model.name, source="test")
    return path


def test_a_generator_that_never_stops_is_an_error_that_says_what_to_do(tmp_path):
    model = manifest_of(make_tiny_model(tmp_path / "endless", end_std=0.0))
    message = refused(sample(model, tmp_path, 0, 26))
    assert "generator 'tiny' never stops: all 26 questions" in message
    assert "max_tokens" in message


def test_a_generator_that_says_nothing_is_an_error(tmp_path):
    model = manifest_of(make_tiny_model(tmp_path / "mute", mute=True))
    assert "asked nothing: all 26 questions" in refused(sample(model, tmp_path, 0, 26))


def test_a_missing_tokenizer_is_named(tiny_model, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        (bare / name).symlink_to(tiny_model / name)
    assert "has no tokenizer that can be loaded" in refused(sample(manifest_of(bare), tmp_path, 0, 26))


@pytest.fixture(scope="module")
def filtered(questions: Path) -> Path:
    """The first 30 questions as if all filters had let them through."""
    path = questions.parent / "filtered.parquet"
    keys = ("id", "generator", "seed", "index", "question")
    more = {"kept": True, "dropped_by": "", "marks": "", "reason": "", "difficulty": None, "solvable": None}
    write_table(path, [{k: row[k] for k in keys} | more for row in read_rows(questions, QUESTIONS)[:30]], FILTERED)
    return path


def judge(model: Path, questions: Path, folder: Path, most: float = 0.05, **settings):
    place = {"model": model, "questions": questions, "progress": folder / "progress", "out": folder / "j.parquet"}
    return script("judge_questions", {"engine": ENGINE, "judge": settings, "max_unparsed": most}, **place)


@pytest.mark.parametrize("reasoning", [0, 24])
def test_the_judges_choice_has_a_probability(questions, tmp_path, reasoning):
    # A model that never ends spends all of its reasoning tokens.
    model = manifest_of(make_tiny_model(tmp_path / "talker", end_std=0.0))
    few = tmp_path / "few.parquet"
    write_table(few, read_rows(questions, QUESTIONS)[:30], QUESTIONS)
    succeeded(judge(model, few, tmp_path, verdict="choice", reasoning_tokens=reasoning))
    rows = read_rows(tmp_path / "j.parquet", JUDGEMENTS)
    assert len(rows) == 30
    assert all(0 < row["probability"] < 1 and row["verdict"] is None for row in rows)
    assert len({row["probability"] for row in rows}) > 20
    assert {row["tokens"] for row in rows} == {reasoning + 1}


def test_no_parsable_verdict_at_all_is_an_error(questions, tiny_manifest, tmp_path):
    few = tmp_path / "few.parquet"
    write_table(few, read_rows(questions, QUESTIONS)[:30], QUESTIONS)
    message = refused(judge(tiny_manifest, few, tmp_path, verdict="text", reasoning_tokens=24))
    # The judgements are stored: with another limit they are found.
    told = succeeded(judge(tiny_manifest, few, tmp_path, most=1, verdict="text", reasoning_tokens=24))
    assert "loading" not in told
    assert "30 of 30 verdicts end in neither Yes nor No, more than filters.solvability.max_unparsed (0.05)" in message
    assert "verdict: choice" in message


@pytest.fixture(scope="module")
def attempts(filtered: Path, tiny_manifest: Path) -> Path:
    settings = {"responses": {"samples": 2, "sampling": SAMPLING}, "engine": ENGINE}
    place = {"model": tiny_manifest, "questions": filtered, "progress": filtered.parent / "progress"}
    succeeded(script("sample_responses", settings, **place, out=filtered.parent / "attempts.parquet"))
    return filtered.parent / "attempts.parquet"


def test_a_larger_k_keeps_the_samples_that_are_there(filtered, attempts, tiny_manifest, tmp_path):
    settings = {"responses": {"samples": 3, "sampling": SAMPLING}, "engine": ENGINE}
    place = {"model": tiny_manifest, "questions": filtered, "progress": filtered.parent / "progress"}
    succeeded(script("sample_responses", settings, **place, out=tmp_path / "three.parquet"))
    two, three = read_rows(attempts, ATTEMPTS), read_rows(tmp_path / "three.parquet", ATTEMPTS)
    assert len(two) == 60
    assert [row for row in three if row["sample"] < 2] == two
    assert len({row["sampling_seed"] for row in three}) == len(three) == 90


def reward(model: Path, filtered: Path, attempts: Path, folder: Path, kind: str):
    place = {"model": model, "questions": filtered, "attempts": attempts, "progress": folder / "progress"}
    settings = {"reward": {"kind": kind}, "engine": {**ENGINE, "dtype": "float32"}}
    return script("score_responses", settings, **place, out=folder / "r.parquet")


def test_every_response_has_a_reward_of_its_own(filtered, attempts, tiny_manifest, tmp_path):
    succeeded(reward(tiny_manifest, filtered, attempts, tmp_path, "verifier"))
    rows = read_rows(tmp_path / "r.parquet", REWARDS)
    assert [(row["id"], row["sample"]) for row in rows] == [
        (row["id"], row["sample"]) for row in read_rows(attempts, ATTEMPTS)
    ]
    assert len({row["reward"] for row in rows}) > 40


def test_a_reward_that_is_nan_names_the_response(filtered, attempts, tmp_path):
    model = manifest_of(make_tiny_scorer(tmp_path / "broken", broken=True))
    message = refused(reward(model, filtered, attempts, tmp_path, "model"))
    assert "the reward of response 0 to tiny/s0/000000000 is nan" in message
