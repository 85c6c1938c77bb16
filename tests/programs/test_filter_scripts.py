"""The scripts filter_text and filter_duplicates as a user runs them, on blocks of two seeds."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from programs import finished
from scalequest.filters.duplicates import text_digest
from scalequest.rows.tables import PROBLEMS, QUESTIONS, SIGNATURES, VERDICTS, question_id, read_rows, write_table

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
ITEM = "A farmer has 17 sheep, 4 goats and 9 cows; he sells 5 sheep and buys 3 goats. How many animals has he now?"
TRAIN = (
    "A train leaves the station at 3 in the afternoon and travels at 60 miles an hour for 4 hours. How far does it go?"
)
FARM = "The sum of two consecutive even numbers is 94, and their product is asked for. What is the product of the two?"
BREAD = "A bakery bakes 120 loaves on Monday and twice as many on Tuesday. How many loaves are there after both days?"
SPANISH = "Un tren sale de la estacion a las 3 y viaja a 60 km por hora. Cuantos kilometros recorre en 2 horas?"
SETTINGS: dict[str, Any] = {
    "wanted": "en",
    "texts": {
        "language": {"enabled": True, "rule": "detect", "min_probability": 0.5},
        "length": {"enabled": True, "min_characters": 20, "max_characters": 2000, "require_end": True},
    },
    "contamination": {"enabled": True, "ngram": 13, "min_overlap": 0.5},
    "duplicates": {"enabled": True, "threshold": 0.7, "shingle": 3, "permutations": 128, "bands": 16},
}
OFF: dict[str, Any] = {
    **{"wanted": "en", "texts": {name: {"enabled": False} for name in SETTINGS["texts"]}},
    **{name: {**SETTINGS[name], "enabled": False} for name in ("contamination", "duplicates")},
}
COMPARE = {"duplicates": SETTINGS["duplicates"], "dropping": ["language", "length", "contamination"]}
# (generator, seed) -> questions with their finish reasons.
BLOCKS: dict[tuple[str, int], list[tuple[str, str]]] = {
    ("alpha", 0): [(TRAIN, "stop"), (SPANISH, "stop"), (TRAIN.replace("60", "70"), "stop"), (FARM, "length")],
    ("beta", 0): [(TRAIN.upper(), "stop"), (f"Now solve this. {ITEM}", "stop"), (FARM, "stop"), ("", "stop")],
    ("alpha", 1): [(BREAD, "stop"), (FARM + " Say why.", "stop"), (BREAD, "stop")],
}


def run(script: str, settings: dict[str, Any], **arguments: Any) -> subprocess.CompletedProcess:
    command = [sys.executable, str(SCRIPTS / f"{script}.py"), "--settings", json.dumps(settings)]
    for name, value in arguments.items():
        command += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return finished(command)


def write_questions(path: Path, generator: str, seed: int) -> None:
    rows = [
        {
            "id": question_id(generator, seed, index),
            "generator": generator,
            "seed": seed,
            "index": index,
            "question": question,
            "finish_reason": finish_reason,
            "tokens": 1,
            "sampling_seed": index,
        }
        for index, (question, finish_reason) in enumerate(BLOCKS[generator, seed])
    ]
    write_table(path, rows, QUESTIONS)


def filter_text(folder: Path, block: str, settings: dict[str, Any]) -> None:
    done = run(
        "filter_text",
        settings,
        questions=folder / f"{block}.questions",
        benchmarks=[folder / "bench.problems"],
        out=folder / f"{block}.verdicts",
        signatures=folder / f"{block}.signatures",
        matches=folder / f"{block}.matches",
    )
    assert done.returncode == 0, done.stderr


def filter_duplicates(
    folder: Path, blocks: list[str], earlier: list[str], name: str, settings: dict[str, Any] = COMPARE
) -> subprocess.CompletedProcess:
    return run(
        "filter_duplicates",
        settings,
        text=[folder / f"{block}.verdicts" for block in blocks],
        signatures=[folder / f"{block}.signatures" for block in blocks],
        earlier=[folder / f"{one}.kept" for one in earlier],
        out=folder / f"{name}.duplicates",
        kept=folder / f"{name}.kept",
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three blocks through filter_text, and both seeds through filter_duplicates."""
    folder = tmp_path_factory.mktemp("filters")
    item = {
        "id": "bench/0",
        "index": 0,
        "source": "bench",
        "question": ITEM,
        "solution": None,
        "answer": "23",
        "facts": "{}",
    }
    write_table(folder / "bench.problems", [item], PROBLEMS)
    for generator, seed in BLOCKS:
        write_questions(folder / f"{generator}{seed}.questions", generator, seed)
        filter_text(folder, f"{generator}{seed}", SETTINGS)
    # Blocks in an order that is not theirs: what comes first is a matter of ids.
    for blocks, earlier, name in ((["beta0", "alpha0"], [], "s0"), (["alpha1"], ["s0"], "s1")):
        done = filter_duplicates(folder, blocks, earlier, name)
        assert done.returncode == 0, done.stderr
    return folder


def verdicts(path: Path, name: str) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in read_rows(path, VERDICTS) if row["filter"] == name}


def test_every_filter_judges_every_question(folder: Path) -> None:
    table = read_rows(folder / "beta0.verdicts", VERDICTS)
    assert len(table) == 4 * 3
    reasons = {(row["id"][-1], row["filter"]): row["reason"] for row in table if not row["keep"]}
    assert reasons == {
        ("1", "contamination"): "overlaps bench: bench/0 by 1.00, at least 0.5",
        ("3", "length"): "empty",
    }
    reasons = {(row["id"][-1], row["filter"]): row["reason"] for row in read_rows(folder / "alpha0.verdicts", VERDICTS)}
    assert re.fullmatch(r"reads as [a-z]+: probability of en 0\.\d+, below 0\.5", reasons["1", "language"])
    assert reasons["3", "length"] == "cut"


def test_contamination_leaves_evidence(folder: Path) -> None:
    (match,) = [json.loads(line) for line in (folder / "beta0.matches").read_text().splitlines()]
    assert match == {
        "question_id": "beta/s0/000000001",
        "question": f"Now solve this. {ITEM}",
        "benchmark": "bench",
        "item_id": "bench/0",
        "item": ITEM,
        "overlap": 1.0,
        "span": match["span"],
    }
    assert match["span"].startswith("a farmer has 17 sheep") and match["span"].endswith("has he now ?")
    assert (folder / "alpha0.matches").read_text() == ""
    row = verdicts(folder / "beta0.verdicts", "contamination")["beta/s0/000000001"]
    assert (row["score"], row["evidence"]) == (1.0, "bench/0")


def test_every_question_is_signed(folder: Path) -> None:
    rows = read_rows(folder / "alpha0.signatures", SIGNATURES)
    assert [row["question"] for row in rows] == [question for question, _ in BLOCKS["alpha", 0]]
    assert all(row["digest"] == text_digest(row["question"]) and len(row["signature"]) == 128 for row in rows)


def test_duplicates_fall_to_the_first_by_seed_index_and_generator(folder: Path) -> None:
    found = verdicts(folder / "s0.duplicates", "duplicates")
    # Dropped by text filters, and so absent: alpha 1 and 3, beta 1 and 3.
    assert set(found) == {
        "alpha/s0/000000000",
        "alpha/s0/000000002",
        "beta/s0/000000000",
        "beta/s0/000000002",
    }
    assert found["alpha/s0/000000000"]["keep"]
    shouted = found["beta/s0/000000000"]
    assert (shouted["reason"], shouted["evidence"]) == (
        "exact duplicate of alpha/s0/000000000",
        "alpha/s0/000000000",
    )
    near = found["alpha/s0/000000002"]
    assert near["evidence"] == "alpha/s0/000000000"
    assert 0.7 <= near["score"] < 1
    similar = f"similarity {near['score']:.2f}, at least 0.7"
    assert near["reason"] == f"near-duplicate of alpha/s0/000000000: {similar}"
    # The same words were cut in alpha 3, which takes no other row with it.
    assert found["beta/s0/000000002"]["keep"]
    kept = read_rows(folder / "s0.kept", SIGNATURES)
    assert [row["id"] for row in kept] == [key for key, row in sorted(found.items()) if row["keep"]]


def test_a_later_seed_is_held_against_what_was_kept(folder: Path) -> None:
    found = verdicts(folder / "s1.duplicates", "duplicates")
    assert [row["evidence"] for _, row in sorted(found.items())] == [None, "beta/s0/000000002", "alpha/s1/000000000"]
    assert [row["id"] for row in read_rows(folder / "s1.kept", SIGNATURES)] == ["alpha/s1/000000000"]


def test_the_same_again_gives_the_same_bytes(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.name.startswith(("beta0.", "s0."))}
    filter_text(folder, "beta0", SETTINGS)
    assert filter_duplicates(folder, ["alpha0", "beta0"], [], "s0").returncode == 0
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_filters_that_are_off_leave_no_rows(folder: Path, tmp_path: Path) -> None:
    for name in ("bench.problems", "beta0.questions"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    filter_text(tmp_path, "beta0", OFF)
    assert read_rows(tmp_path / "beta0.verdicts", VERDICTS) == []
    assert read_rows(tmp_path / "beta0.signatures", SIGNATURES) == []
    assert (tmp_path / "beta0.matches").read_text() == ""
    done = filter_duplicates(tmp_path, ["beta0"], [], "s0")
    assert done.returncode == 0, done.stderr
    assert read_rows(tmp_path / "s0.duplicates", VERDICTS) == []


def test_mistakes_are_named(folder: Path, tmp_path: Path) -> None:
    done = run(
        "filter_duplicates",
        COMPARE,
        text=[folder / "alpha0.verdicts"],
        signatures=[folder / "alpha0.signatures", folder / "beta0.signatures"],
        out=tmp_path / "out",
        kept=tmp_path / "kept",
    )
    assert done.returncode == 1
    assert "error: --text names 1 tables and --signatures 2" in done.stderr
    rows = read_rows(folder / "s0.kept", SIGNATURES)
    write_table(tmp_path / "short.kept", [row | {"signature": row["signature"][:64]} for row in rows], SIGNATURES)
    done = filter_duplicates(folder, ["alpha1"], [str(tmp_path / "short")], "broken")
    assert done.returncode == 1
    assert "signatures of [64, 128] permutations" in done.stderr
    write_table(tmp_path / "odd.kept", [row | {"id": "nameless" + row["id"][-1]} for row in rows], SIGNATURES)
    done = filter_duplicates(folder, ["alpha1"], [str(tmp_path / "odd")], "broken")
    assert "is no question id" in done.stderr
    assert not (folder / "broken.kept").exists()
