"""Whatever a rewriting server replies costs at most its own row: arbitrary replies over real HTTP, and a rerun."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rewrite_questions
from fake_server import Fake, Reply, said, serving
from scalequest.default_config import default_config
from scalequest.domains.base import open_domain
from scalequest.rows.tables import REWRITES, question_id, read_rows, write_table
from scalequest.runtime.operation import OPERATION
from scalequest.settings import read_settings
from scalequest.tasks.rewriting import request

TEXTS = st.text(st.characters(), max_size=20)
NUMBERS = st.integers() | st.sampled_from([10**30, 2**31, 2**63, -1]) | st.floats()
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(TEXTS, below, max_size=3),
    max_leaves=6,
)
NESTED = st.builds(
    lambda opened, depth: opened * depth, st.sampled_from(["[", '{"a":', '{"choices":[']), st.just(20_000)
)
# What a model may have written in the place of the JSON that it was asked for.
WRITTEN = (
    TEXTS
    | NESTED
    | VALUES.map(json.dumps)
    | VALUES.map(lambda value: json.dumps({"solution": "", "check": "", "final_question": value}))
    | st.just('{"final_question": "' + "\\ud800" * 30 + 'What?"}')
    | st.just('{"final_question": ' + "9" * 5000 + "}")
)


def completions() -> st.SearchStrategy[str]:
    """Bodies in the form of a chat completion, any value in each place."""
    message = st.fixed_dictionaries({"content": WRITTEN | VALUES}) | VALUES
    choice = st.fixed_dictionaries({"message": message}, optional={"finish_reason": VALUES}) | VALUES
    usage = st.fixed_dictionaries({"completion_tokens": VALUES}) | VALUES
    choices = st.lists(choice, max_size=2) | VALUES
    return st.fixed_dictionaries({"choices": choices}, optional={"usage": usage}).map(json.dumps)


BODIES: st.SearchStrategy[str | bytes] = completions() | NESTED | VALUES.map(json.dumps) | st.binary(max_size=40)
ERRORS = TEXTS.map(lambda text: json.dumps({"error": {"message": text}}))
VISIBLE = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=20)
HEADERS = st.dictionaries(
    st.sampled_from(["Content-Type", "Retry-After", "Content-Encoding", "Location", "x-should-retry", "Date"]),
    VISIBLE | st.sampled_from(["gzip", "application/json; charset=idna", "text/html; charset=utf-16", "/v1", "true"]),
    max_size=2,
)
# A refused key, address or model ends the run, as it is meant to.
STATUSES = st.just(200) | st.integers(101, 999).filter(lambda status: status not in (401, 403, 404))
REPLIES: st.SearchStrategy[Reply] = st.one_of(
    st.tuples(st.just(200), HEADERS, BODIES),
    st.tuples(st.just(200), st.just({}), completions()),
    st.tuples(STATUSES, HEADERS, BODIES | ERRORS),
)
REWRITE: dict[str, Any] = {
    **{"backend": "server", "server_model": "m", "share_solvability": 0.5, "structured": True, "max_length_ratio": 4.0},
    "sampling": {"temperature": 0.0, "top_p": 1.0, "max_tokens": 48},
}
PROMPTS = open_domain("math").prompts
SETTINGS = read_settings(rewrite_questions.Settings, {"rewrite": REWRITE, "engine": None, "seed": 42, "domain": "math"})
QUESTIONS: list[dict[str, Any]] = [
    {
        "id": question_id("g", 0, n),
        "index": n,
        "question": f"Ann has {n} pens. How many are left?",
        "finish_reason": "stop",
    }
    for n in range(13)
]
GOOD = said('{"final_question": "Ann has 0 pens and buys 4 more. How many pens has she now?"}')


@pytest.fixture(scope="module")
def fake() -> Iterator[Fake]:
    with serving() as server:
        yield server


def rewritten(progress: Path) -> list[dict[str, Any]]:
    """What the script makes of the questions, through the table that it writes."""
    rows = [rewrite_questions.begun(row, SETTINGS) for row in QUESTIONS]
    answered, _ = rewrite_questions.by_server(rows, SETTINGS, progress)
    done = [rewrite_questions.examined(row, SETTINGS) for row in answered]
    table = progress / "out.parquet"
    write_table(table, [{c.name: row[c.name] for c in REWRITES.columns} for row in done], REWRITES)
    return read_rows(table, REWRITES)


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(replies=st.lists(REPLIES, min_size=12, max_size=12))
def test_any_reply_costs_at_most_its_own_row(fake: Fake, monkeypatch: pytest.MonkeyPatch, replies: list[Reply]) -> None:
    server = {**default_config()["operation"]["server"], "base_url": fake.url, "retries": 0, "timeout_seconds": 20.0}
    monkeypatch.setenv(OPERATION, json.dumps({"server": server}))
    prompts = {
        request(row["question"], which, PROMPTS): row["index"]
        for row in QUESTIONS
        for which in rewrite_questions.rewriting.FIELDS
    }

    def script(body: dict[str, Any], tries: int) -> Reply:
        number = prompts[body["messages"][0]["content"]]
        return replies[number - 1] if number else GOOD

    with TemporaryDirectory() as folder:
        fake.script = script
        rows = rewritten(Path(folder))
        assert [row["id"] for row in rows] == [row["id"] for row in QUESTIONS]
        assert (rows[0]["failure"], rows[0]["tokens"]) == ("", 7)
        # What was cached is read again, and only the rest is asked.
        fake.script = lambda body, tries: GOOD
        again = rewritten(Path(folder))
        unanswered = ("server ", "request refused")
        for before, after in zip(rows, again, strict=True):
            expected = rows[0] if before["failure"].startswith(unanswered) else before
            assert (after["raw"], after["tokens"]) == (expected["raw"], expected["tokens"])
