"""What CONTRIBUTING.md promises to those who extend the project: a filter of texts, a kind of reward and a domain are
added to a copy of the checkout by the files that it names and by no others, and one run uses them all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from scalequest.rows.tables import (
    ATTEMPTS,
    CANDIDATES,
    FAIL_RATES,
    FILTERED,
    GRADES,
    PROBLEMS,
    REWARDS,
    TOPICS,
    VERIFIED,
    read_rows,
)
from scalequest.runtime.files import read_json
from workflow import SHORT, checkout_copy, merged, overlay, snakemake, succeeded

# A domain: a module, and a folder of prompts and seed problems.
DOMAIN = '''
"""Words that are to be reversed; an answer is right if it is the same text."""

from scalequest.domains.base import Domain
from scalequest.grading.graders import Grader


def extract(text: str) -> str | None:
    _, found, answer = text.rpartition("Answer:")
    return answer.strip() or None if found else None


def same(gold: str, answer: str) -> tuple[bool | None, str]:
    return gold == answer, "string"


DOMAIN = Domain("words", (Grader("reversed-words", 1, extract, same),))
'''
PARTS = ["words_train", "words_test"]
ASKED = "{question}\nWrite the reversed word after 'Answer:'."
PROMPTS = {
    "respond.txt": ASKED,
    "verify.txt": "{question}\n{response}\nIs the word reversed? Answer with one word, Yes or No.",
    "judge_solvability_direct.txt": "{question}\nIs this a word to reverse? Answer with one word, Yes or No.",
    "choose_topic.txt": "{question}\nWhat is the word for?\n{topics}",
    "judge_examples.jsonl": json.dumps({"question": "Reverse the word 'moon'.", "verdict": "Yes"}),
}
# A filter of texts: a module, and its section of the schema.
FILTER = '''
"""Keeps questions whose length can be divided."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scalequest.filters.base import Verdict


@dataclass(frozen=True)
class Settings:
    divisor: int


def verdict(question: Mapping[str, Any], settings: Settings) -> Verdict:
    rest = len(question["question"]) % settings.divisor
    return Verdict(not rest, f"rest {rest}" if rest else "", float(rest))
'''
SECTION = {
    "type": "object",
    "additionalProperties": False,
    "description": "Drops questions whose length cannot be divided.",
    "properties": {
        "enabled": {"$ref": "#/$defs/enabled"},
        "action": {"$ref": "#/$defs/action"},
        "divisor": {"type": "integer", "minimum": 1, "description": "What must divide the length."},
    },
}
# A kind of reward: a class and a line in a map, and its name in the schema.
REWARD = '''

class Brevity:
    """Short responses are better."""

    runner: ClassVar[Runner | None] = None
    prompts: ClassVar[Sequence[str]] = ()

    def __init__(self, stage: EngineStage | None, prompts: Prompts):
        pass

    def score(self, rows: Sequence[Row]) -> list[float]:
        return [-float(len(row["response"])) for row in rows]


KINDS: Mapping[str, Any] = {"brevity": Brevity, '''


def extended(folder: Path) -> Path:
    """A copy of the checkout with all three."""
    checkout = checkout_copy(folder, "scripts", "schemas", "resources")
    package, domain = checkout / "scripts" / "scalequest", checkout / "resources" / "domains" / "words"
    (package / "domains" / "words.py").write_text(DOMAIN)
    (domain / "prompts").mkdir(parents=True)
    for name, text in PROMPTS.items():
        (domain / "prompts" / name).write_text(text)
    words = ("stone", "river", "table", "paper", "light", "cloud", "grape", "horse", "ocean", "plant", "brick", "sugar")
    rows = [
        {
            "question": f"Reverse the word '{word}'.",
            "solution": f"Backwards. Answer: {word[::-1]}",
            "part": "test" if number % 4 == 3 else "train",
        }
        for number, word in enumerate(words)
    ]
    (domain / "seed_problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (domain / "topics.txt").write_text("things\nplaces\nanimals\n")
    (package / "filters" / "divided.py").write_text(FILTER)
    rewards = package / "tasks" / "rewards.py"
    text = rewards.read_text()
    assert text.count("\n\nKINDS: Mapping[str, Any] = {") == 1
    rewards.write_text(text.replace("\n\nKINDS: Mapping[str, Any] = {", REWARD))
    path = checkout / "schemas" / "config.schema.yaml"
    schema = yaml.safe_load(path.read_text())
    filters = schema["properties"]["filters"]["properties"]
    filters["divided"] = SECTION
    filters["order"]["items"]["enum"].append("divided")
    schema["properties"]["reward"]["properties"]["kind"]["enum"].append("brevity")
    path.write_text(yaml.safe_dump(schema, sort_keys=False))
    return checkout


# The first has the sampling of the responses.
SOLVERS = {
    "same": {"model": "tiny", "samples": 3, "sampling": SHORT},
    "cool": {"model": "tiny", "samples": 2, "sampling": {**SHORT, "temperature": 0.5}},
}


def config(model: Path) -> dict[str, Any]:
    """The overlay with which a user runs them."""
    words = {"source": "path:resources/domains/words/seed_problems.jsonl", "licence": "none"}
    dataset = {**words, "fields": {"question": "question", "solution": "solution"}}
    return merged(
        overlay(model),
        {
            "domain": "words",
            "use": {"seeds": PARTS[:1], "benchmarks": PARTS[1:], "students": []},
            "datasets": {part: {**dataset, "where": {"part": part.removeprefix("words_")}} for part in PARTS},
            "generators": {"tiny": {"tuning": "question"}},
            "questions": {"shards": 1},
            "filters": {
                "order": ["divided", "duplicates", "difficulty", "solvability"],
                "divided": {"enabled": True, "action": "drop", "divisor": 2},
            },
            "difficulty": {"problems": 9, "held_out": 0.25},
            "reward": {"kind": "brevity", "model": "no such model"},
            "evaluation": {"prompt": ASKED},
            "topics": {"enabled": True},
            "responses": {"samples": 2, "sampling": SHORT},
            "verification": {"solvers": SOLVERS, "min_agreement": 0.3},
        },
    )


@pytest.fixture(scope="module")
def run(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("contracts")
    checkout = extended(folder / "checkout")
    succeeded(snakemake(folder, config(tiny_model), "all", "checksums", checkout=checkout))
    return folder / "results"


def test_the_domain_finds_the_answers_and_grades_them(run: Path) -> None:
    problems = {row["question"]: row["answer"] for row in read_rows(run / "datasets" / "words_train.parquet", PROBLEMS)}
    assert problems["Reverse the word 'stone'."] == "enots"
    rates = read_rows(run / "difficulty" / "fail_rates.parquet", FAIL_RATES)
    assert len(rates) == 9
    [grades] = run.glob("evaluation/tiny/words_test/grades.parquet")
    assert {row["grader"] for row in read_rows(grades, GRADES)} == {"reversed-words"}


def test_the_filter_decides_and_those_that_the_order_omits_are_off(run: Path) -> None:
    rows = [row for path in run.glob("filtered/*/*/*.parquet") for row in read_rows(path, FILTERED)]
    odd = [row for row in rows if len(row["question"]) % 2]
    assert odd and all(row["dropped_by"] == "divided" and row["reason"] == "divided: rest 1" for row in odd)
    assert not {row["dropped_by"] for row in rows} & {"language", "length", "contamination"}


def test_the_domain_has_topics_of_its_own(run: Path) -> None:
    options = ["things", "places", "animals"]
    kept = [
        row["id"] for path in run.glob("filtered/*/*/*.parquet") for row in read_rows(path, FILTERED) if row["kept"]
    ]
    topics = {row["id"]: row["topic"] for row in read_rows(run / "topics/questions/tiny.parquet", TOPICS)}
    assert sorted(topics) == sorted(kept)
    assert set(topics.values()) <= set(options)
    found = read_json(run / "profile.json")["topics"]
    assert found["options"] == options
    assert {name: entry["questions"] for name, entry in found["kinds"].items()} == {
        "tiny": len(kept),
        "seed problems": 9,
    }
    for place in ("topics/questions/tiny.parquet", "topics/seeds.parquet"):
        assert f"  results/{place}\n" in (run / "checksums.txt").read_text(), place
    # Nine topics of a kind are too few for a figure.
    assert (run / "report/topics.csv").read_text() == ""
    [stage] = [one for one in read_json(run / "summary.json")["stages"] if one["stage"] == "topics"]
    assert (stage["in"], stage["out"]) == (len(kept) + 9, len(kept) + 9)
    assert stage["seconds"] > 0


def test_solvers_answer_and_find_the_runs_own_responses(run: Path) -> None:
    kept = [row for path in run.glob("filtered/*/*/*.parquet") for row in read_rows(path, FILTERED) if row["kept"]]
    own = read_rows(run / "responses/tiny/seed0/gpu0.parquet", ATTEMPTS)
    first = read_rows(run / "solutions/same/tiny/seed0/gpu0.parquet", ATTEMPTS)
    assert (len(own), len(first)) == (2 * len(kept), 3 * len(kept))
    assert [row for row in first if row["sample"] < 2] == own
    rows = read_rows(run / "verified/tiny/seed0/gpu0.parquet", VERIFIED)
    assert [row["id"] for row in rows] == sorted(row["id"] for row in kept)
    for row in rows:
        rates = {entry["solver"]: entry["rate"] for entry in row["pass_rates"]}
        assert list(rates) == ["cool", "same"]
        assert round(3 * rates["same"] + 2 * rates["cool"], 6) == round(5 * row["agreement"], 6)
    # The reward of `rl` reads mathematics alone.
    assert {row["reason"] for row in rows} == {"answers of this domain are no mathematics"}
    left_out = read_json(run / "dataset/formats.json")["left_out"]["rl"]
    assert sum(left_out.values()) == len(rows)
    assert "Verified answers" in (run / "report.html").read_text()
    assert "on which most samples of 2 solver(s) agree" in (run / "dataset/README.md").read_text()
    [stage] = [one for one in read_json(run / "summary.json")["stages"] if one["stage"] == "verification"]
    assert (stage["in"], stage["out"]) == (len(rows), sum(row["answer"] is not None for row in rows))
    checksums = (run / "checksums.txt").read_text()
    for place in ("solutions/same", "solutions/cool", "verified"):
        assert f"  results/{place}/tiny/seed0/gpu0.parquet\n" in checksums, place


def test_the_reward_needs_no_model(run: Path) -> None:
    responses = {
        (row["id"], row["sample"]): row["response"]
        for path in run.glob("candidates/*/*/*.parquet")
        for row in read_rows(path, CANDIDATES)
    }
    rewards = [row for path in run.glob("rewards/*/*/*.parquet") for row in read_rows(path, REWARDS)]
    assert rewards and all(row["reward"] == -len(responses[row["id"], row["sample"]]) for row in rewards)
    row = json.loads((run / "dataset" / "train.jsonl").read_text().splitlines()[0])
    assert row["reward"] == -len(row["response"]) and row["reward_model"] is None
