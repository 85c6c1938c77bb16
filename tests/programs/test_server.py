"""The client for chat servers against a real HTTP server that misbehaves in every way that a server can."""

from __future__ import annotations

import gzip
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fake_server import Fake, Reply, said, serving
from scalequest.errors import ScaleQuestError
from scalequest.hashing import digest
from scalequest.llm.server import UNKNOWN, Answer, Request, Server, ServerSettings
from scalequest.runtime.lease import Lease, attempts
from scalequest.runtime.operation import OPERATION

KEY = "sk-very-secret-0123456789"
SAMPLING: dict[str, Any] = {"temperature": 0.0, "top_p": 1.0, "max_tokens": 64}
SCHEMA = {"type": "object", "properties": {"final_question": {"type": "string"}}, "required": ["final_question"]}


@pytest.fixture
def fake() -> Iterator[Fake]:
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWRITER_KEY", KEY)


def settings(fake: Fake, **changes: Any) -> ServerSettings:
    usual = ServerSettings(fake.url, "REWRITER_KEY", concurrency=4, timeout_seconds=5, retries=2)
    return replace(usual, **changes)


def asked(*texts: str, schema: dict[str, Any] | None = None) -> list[Request]:
    return [Request(({"role": "user", "content": text},), schema) for text in texts]


def content(body: dict[str, Any]) -> str:
    return body["messages"][0]["content"]


def test_answers_come_in_order_and_all_sampling_is_sent(fake: Fake, tmp_path: Path) -> None:
    fake.script = lambda body, tries: said(content(body).upper())
    answers = Server("m", settings(fake), tmp_path).answers(asked("a", "b", "a", "c"), **SAMPLING)
    assert answers == [Answer(text, 7, "stop") for text in "ABAC"]
    assert len(fake.bodies) == 3, "equal requests are sent once"
    assert {name: fake.bodies[0][name] for name in ("model", *SAMPLING)} == {"model": "m", **SAMPLING}
    assert fake.headers[0]["authorization"] == f"Bearer {KEY}"


def test_no_more_requests_are_open_than_concurrency(fake: Fake, tmp_path: Path) -> None:
    def slow(body: dict[str, Any], tries: int) -> Reply:
        time.sleep(0.05)
        return said("fine")

    fake.script = slow
    seen: list[tuple[int, int]] = []
    Server("m", settings(fake, concurrency=3), tmp_path).answers(
        asked(*map(str, range(20))), **SAMPLING, progress=lambda done, total: seen.append((done, total))
    )
    assert fake.most_open == 3
    assert seen == [(n, 20) for n in range(1, 21)]


def test_429_is_asked_again_after_the_time_that_the_server_names(fake: Fake, tmp_path: Path) -> None:
    fake.script = lambda body, tries: (429, {"Retry-After": "1.5"}, "{}") if tries == 1 else said("fine")
    assert Server("m", settings(fake), tmp_path).answers(asked("a"), **SAMPLING)[0].text == "fine"
    assert fake.times[1] - fake.times[0] >= 1.5


@pytest.mark.parametrize("status", [500, 503])
def test_500_is_asked_again(fake: Fake, tmp_path: Path, status: int) -> None:
    fake.script = lambda body, tries: (status, {}, "oops") if tries == 1 else said("fine")
    assert Server("m", settings(fake), tmp_path).answers(asked("a"), **SAMPLING)[0].text == "fine"
    assert len(fake.bodies) == 2


def test_a_row_that_never_succeeds_is_a_failure_and_not_cached(fake: Fake, tmp_path: Path) -> None:
    fake.script = lambda body, tries: (500, {}, "oops") if content(body) == "bad" else said("fine")
    server = Server("m", settings(fake, retries=1), tmp_path)
    good, bad = server.answers(asked("good", "bad"), **SAMPLING)
    assert (good.text, good.failure) == ("fine", "")
    assert (bad.text, bad.failure) == ("", "server error: HTTP 500, 2 tries")
    fake.script = lambda body, tries: said("better now")
    assert [a.text for a in server.answers(asked("good", "bad"), **SAMPLING)] == ["fine", "better now"]


def test_a_row_that_times_out_is_a_failure(fake: Fake, tmp_path: Path) -> None:
    def script(body: dict[str, Any], tries: int) -> Reply:
        if content(body) == "bad":
            time.sleep(2)
        return said("fine")

    fake.script = script
    good, bad = Server("m", settings(fake, timeout_seconds=0.3, retries=1), tmp_path).answers(
        asked("good", "bad"), **SAMPLING
    )
    assert good.text == "fine"
    assert bad.failure == "server timeout: no answer in 0.3 s, 2 tries"


FINE = str(said("fine")[2])
JUNK: dict[str, Reply] = {
    "html": (200, {"Content-Type": "text/html"}, "<html>gateway</html>"),
    "not json": (200, {}, "{{{"),
    "cut json": (200, {}, FINE[:40]),
    "not text": (200, {}, b"\xff\xfe\x00"),
    "nested brackets": (200, {}, "[" * 200_000),
    "nested brackets of another type": (200, {"Content-Type": "text/plain"}, "[" * 200_000),
    "unknown charset": (200, {"Content-Type": "text/plain; charset=idna"}, b"\xff.\xff"),
    "compressed though not asked to": (200, {"Content-Encoding": "gzip"}, gzip.compress(FINE.encode())),
    "longer than any answer": (200, {}, FINE + " " * (17 << 20)),
    "a number": (200, {}, "12"),
    "no choices": (200, {}, '{"id": "x", "choices": []}'),
    "choices of another kind": (200, {}, '{"id": "x", "choices": "none"}'),
    "error inside": (200, {}, '{"error": {"message": "no"}}'),
    "no text": said("", message={"role": "assistant", "content": None}),
    "text of parts": said([{"type": "text", "text": "fine"}], finish_reason="\ud800"),
}


@pytest.mark.parametrize("reply", JUNK.values(), ids=JUNK)
def test_junk_is_a_failure_with_its_reason(fake: Fake, tmp_path: Path, reply: Reply) -> None:
    fake.script = lambda body, tries: reply
    answers = Server("m", settings(fake), tmp_path).answers(asked("a", "b"), **SAMPLING)
    assert [a.failure.split(":")[0] for a in answers] == ["server junk"] * 2
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize("tokens", [10**30, 2**31, -1, True, 1.5, "7", None, [[]]], ids=repr)
def test_a_count_that_is_none_is_not_taken(fake: Fake, tmp_path: Path, tokens: Any) -> None:
    fake.script = lambda body, tries: said("fine", tokens=tokens)
    for _ in range(2):
        (answer,) = Server("m", settings(fake), tmp_path).answers(asked("a"), **SAMPLING)
        assert answer == Answer("fine", 0, "stop") and answer.tokens is not False
    assert len(fake.bodies) == 1


@pytest.mark.parametrize("reason", [None, "\ud800", "eos", "x" * 1000, 1, ["length"], {"a": {}}], ids=repr)
def test_a_reason_that_is_none_of_the_protocol_is_unknown(fake: Fake, tmp_path: Path, reason: Any) -> None:
    fake.script = lambda body, tries: said("fine", finish_reason=reason)
    for _ in range(2):
        assert Server("m", settings(fake), tmp_path).answers(asked("a"), **SAMPLING) == [Answer("fine", 7, UNKNOWN)]
    assert len(fake.bodies) == 1


@pytest.mark.parametrize(
    "reply",
    [
        (400, {}, '{"error": {"message": "half a pair: \\ud800"}}'),
        (400, {}, "[" * 200_000),
        (400, {"Content-Type": "text/plain; charset=idna"}, b"\xff.\xff"),
        (400, {}, " " * (17 << 20)),
        (302, {"Location": "gopher://\x80"}, ""),
        (101, {}, "{"),
        (600, {}, ""),
    ],
    ids=["half a surrogate pair", "brackets", "charset", "long", "redirect", "101", "600"],
)
def test_an_error_of_any_kind_costs_its_own_row(fake: Fake, tmp_path: Path, reply: Reply) -> None:
    fake.script = lambda body, tries: reply if content(body) == "bad" else said("fine")
    good, bad = Server("m", settings(fake, retries=0), tmp_path).answers(asked("good", "bad"), **SAMPLING)
    assert good.text == "fine"
    assert bad.failure and not bad.text
    bad.failure.encode()


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "-1"},
        {"Retry-After": "nan"},
        {"Retry-After": "1e999"},
        {"Retry-After": "Mon, 01 Jan 99999999999999 00:00:00 GMT"},
        {"Retry-After": "\xff"},
        {"retry-after-ms": "9" * 400},
    ],
    ids=repr,
)
def test_a_retry_after_that_is_no_time_costs_its_own_row(fake: Fake, tmp_path: Path, headers: dict[str, str]) -> None:
    fake.script = lambda body, tries: (503, headers, "") if content(body) == "bad" else said("fine")
    good, bad = Server("m", settings(fake, retries=1), tmp_path).answers(asked("good", "bad"), **SAMPLING)
    assert good.text == "fine" and bad.failure


POISON: list[dict[str, Any]] = [
    {"tokens": 10**30},
    {"tokens": True},
    {"tokens": -1},
    {"text": None},
    {"text": 7},
    {"text": {"a": []}},
    {"finish_reason": ["\ud800"], "text": "\ud800"},
]


@pytest.mark.parametrize("poison", POISON, ids=repr)
def test_what_an_older_release_cached_of_a_bad_reply_is_asked_again(
    fake: Fake, tmp_path: Path, poison: dict[str, Any]
) -> None:
    Server("m", settings(fake), tmp_path).answers(asked("a"), **SAMPLING)
    (entry,) = tmp_path.rglob("*.json")
    said_then = {**json.loads(entry.read_text())["answer"], **poison}
    try:
        seal = digest(said_then)
    except ValueError:
        seal = "0" * 64
    entry.write_text(json.dumps({"answer": said_then, "digest": seal}))
    for _ in range(2):
        assert Server("m", settings(fake), tmp_path).answers(asked("a"), **SAMPLING) == [Answer("fine", 7, "stop")]
    assert len(fake.bodies) == 2


def test_a_sound_answer_that_an_older_release_cached_is_found(fake: Fake, tmp_path: Path) -> None:
    Server("m", settings(fake), tmp_path).answers(asked("a"), **SAMPLING)
    (entry,) = tmp_path.rglob("*.json")
    # A reply without a reason was noted so.
    said_then = {**json.loads(entry.read_text())["answer"], "finish_reason": "None"}
    entry.write_text(json.dumps({"answer": said_then, "digest": digest(said_then)}))
    assert Server("m", settings(fake), tmp_path).answers(asked("a"), **SAMPLING) == [Answer("fine", 7, UNKNOWN)]
    assert len(fake.bodies) == 1


def test_answers_are_counted_as_they_are_stored(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal requests are as many rows; failures are none."""
    monkeypatch.setenv(OPERATION, json.dumps({"lease_seconds": 0.6}))
    counts: list[int] = []

    def script(body: dict[str, Any], tries: int) -> Reply:
        time.sleep(0.5)
        counts.extend(record["rows"] for _, record in attempts(tmp_path))
        return (400, {}, "{}") if content(body) == "bad" else said("fine")

    fake.script = script
    cache = tmp_path / "stage" / "answers"
    server = Server("m", settings(fake, concurrency=1), cache)
    server.answers(asked("a", "b", "a", "bad", "c"), **SAMPLING, lease=Lease(cache / "attempts", "unit"))
    assert counts == [0, 2, 3, 3]
    ((_, record),) = attempts(tmp_path)
    assert (record["state"], record["rows"]) == ("done", 4)
    server.answers(asked("a", "b"), **SAMPLING, lease=Lease(cache / "attempts", "unit"))
    assert len(list(attempts(tmp_path))) == 1, "nothing was asked"


def test_odd_texts_are_answers(fake: Fake, tmp_path: Path) -> None:
    fake.script = lambda body, tries: said(
        content(body) and "half \ud800 and {braces} and \x00", finish_reason="length"
    )
    (answer,) = Server("m", settings(fake), tmp_path).answers(asked("a"), **SAMPLING)
    assert answer == Answer("half ? and {braces} and \x00", 7, "length")
    assert Server("m", settings(fake), tmp_path).answers(asked("a"), **SAMPLING) == [answer]


def test_a_restart_pays_nothing_twice(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = asked(*map(str, range(10)), schema=SCHEMA)
    fake.script = lambda body, tries: said(f"answer {content(body)}")
    first = Server("m", settings(fake), tmp_path).answers(texts, **SAMPLING)
    monkeypatch.delenv("REWRITER_KEY")
    elsewhere = settings(fake, base_url="http://127.0.0.1:9/v1")
    assert Server("m", elsewhere, tmp_path).answers(texts, **SAMPLING) == first
    assert len(fake.bodies) == 10
    for other in ({**SAMPLING, "temperature": 1.0}, {**SAMPLING, "max_tokens": 65}):
        Server("m", settings(fake), tmp_path).answers(texts, **other)
    Server("n", settings(fake), tmp_path).answers(texts, **SAMPLING)
    Server("m", settings(fake), tmp_path).answers(asked(*map(str, range(10))), **SAMPLING)
    assert len(fake.bodies) == 50


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"null", b'{"answer": {"text": "forged"}, "digest": "0"}', b"\xff", b"[" * 200_000, b'{"answer": [7]}'],
    ids=range(7),
)
def test_a_damaged_cache_entry_is_asked_again(fake: Fake, tmp_path: Path, damage: bytes) -> None:
    Server("m", settings(fake), tmp_path).answers(asked("a", "b"), **SAMPLING)
    entry = sorted(tmp_path.rglob("*.json"))[0]
    whole = entry.read_bytes()
    entry.write_bytes(damage)
    assert [a.text for a in Server("m", settings(fake), tmp_path).answers(asked("a", "b"), **SAMPLING)] == ["fine"] * 2
    assert len(fake.bodies) == 3
    assert entry.read_bytes() == whole


def test_a_changed_letter_in_the_cache_is_noticed(fake: Fake, tmp_path: Path) -> None:
    Server("m", settings(fake), tmp_path).answers(asked("a"), **SAMPLING)
    (entry,) = tmp_path.rglob("*.json")
    entry.write_text(entry.read_text().replace("fine", "find"))
    assert Server("m", settings(fake), tmp_path).answers(asked("a"), **SAMPLING)[0].text == "fine"


def test_schema_is_sent_and_dropped_for_a_server_without_it(
    fake: Fake, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def script(body: dict[str, Any], tries: int) -> Reply:
        return (400, {}, '{"error": {"message": "no response_format"}}') if "response_format" in body else said("plain")

    fake.script = script
    requests = asked(*"abcdefgh", schema=SCHEMA)
    with caplog.at_level(logging.WARNING):
        answers = Server("m", settings(fake, concurrency=2), tmp_path).answers(requests, **SAMPLING)
    assert {a.text for a in answers} == {"plain"}
    assert fake.bodies[0]["response_format"]["json_schema"]["schema"] == SCHEMA
    assert sum("response_format" in body for body in fake.bodies) <= 2, "the server is not asked again and again"
    assert sum("labelled text" in record.message for record in caplog.records) == 1
    count = len(fake.bodies)
    assert Server("m", settings(fake), tmp_path).answers(requests, **SAMPLING) == answers
    assert len(fake.bodies) == count, "the answer stands for the request with the schema, too"


def test_a_refused_row_is_a_failure_and_keeps_the_schema_for_the_others(fake: Fake, tmp_path: Path) -> None:
    def script(body: dict[str, Any], tries: int) -> Reply:
        too_long = json.dumps({"error": {"message": f"too long, by {KEY}"}})
        return (400, {}, too_long) if content(body) == "long" else said("fine")

    fake.script = script
    first, second = Server("m", settings(fake, concurrency=1), tmp_path).answers(
        asked("long", "b", schema=SCHEMA), **SAMPLING
    )
    assert first.failure.startswith("request refused: HTTP 400") and "too long, by [key]" in first.failure
    assert second.text == "fine" and "response_format" in fake.bodies[-1]


@pytest.mark.parametrize(("status", "words"), [(401, "is set, but its key is not accepted"), (403, "REWRITER_KEY")])
def test_a_refused_key_ends_the_run_at_once(fake: Fake, tmp_path: Path, status: int, words: str) -> None:
    fake.script = lambda body, tries: (status, {}, json.dumps({"error": {"message": f"bad key {KEY}"}}))
    with pytest.raises(ScaleQuestError, match=words) as caught:
        Server("m", settings(fake), tmp_path).answers(asked(*map(str, range(50))), **SAMPLING)
    assert fake.url in str(caught.value) and KEY not in str(caught.value)
    assert len(fake.bodies) <= 8


def test_an_unset_key_is_named(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REWRITER_KEY")
    fake.script = lambda body, tries: said("ok") if tries > 1 else (401, {}, "{}")
    with pytest.raises(ScaleQuestError, match=r"environment variable REWRITER_KEY .* is not set"):
        Server("m", settings(fake), tmp_path).answers(asked("a"), **SAMPLING)
    assert fake.headers[0]["authorization"] == "Bearer EMPTY"


def test_a_missing_model_ends_the_run_at_once(fake: Fake, tmp_path: Path) -> None:
    fake.script = lambda body, tries: (404, {}, "{}")
    with pytest.raises(ScaleQuestError, match=r"no model 'm' \(server_model\)"):
        Server("m", settings(fake), tmp_path).answers(asked("a", "b"), **SAMPLING)


def test_a_server_that_dies_ends_the_run_and_keeps_what_it_said(fake: Fake, tmp_path: Path) -> None:
    answered = {str(number) for number in range(5)}
    fake.script = lambda body, tries: said("fine") if body["messages"][0]["content"] in answered else (500, {}, "")
    requests = asked(*map(str, range(100)))
    with pytest.raises(ScaleQuestError, match="5 requests failed one after another; the last: server error: HTTP 500"):
        Server("m", settings(fake, concurrency=2, retries=0), tmp_path).answers(requests, **SAMPLING)
    assert len(list(tmp_path.rglob("*.json"))) == 5
    assert len(fake.bodies) <= 12
    fake.script = lambda body, tries: said("fine")
    before = len(fake.bodies)
    assert len(Server("m", settings(fake), tmp_path).answers(requests, **SAMPLING)) == 100
    # By content, not by number: a request that the first run gave up may arrive late.
    asked_again = {body["messages"][0]["content"] for body in fake.bodies[before:]}
    assert asked_again == {str(number) for number in range(5, 100)}


def test_a_server_that_is_not_there_is_named(tmp_path: Path, fake: Fake) -> None:
    nowhere = settings(fake, base_url="http://user:secret@127.0.0.1:9/v1", retries=0)
    with pytest.raises(
        ScaleQuestError, match=r"http://127\.0\.0\.1:9/v1: no request was answered.*unreachable"
    ) as caught:
        Server("m", nowhere, tmp_path).answers(asked("a"), **SAMPLING)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"base_url": None}, "server.base_url None: name the"),
        ({"base_url": "localhost:8000"}, "must begin with http"),
        ({"api_key_env": KEY}, "must be the name of an environment variable"),
    ],
)
def test_wrong_settings_are_named(fake: Fake, tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ScaleQuestError, match=words) as caught:
        Server("m", settings(fake, **changes), tmp_path).answers(asked("a"), **SAMPLING)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("value", [f"{KEY}\nX: y", f"{KEY}é"])
def test_a_key_that_cannot_be_sent_is_not_shown(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("REWRITER_KEY", value)
    with pytest.raises(ScaleQuestError, match="environment variable REWRITER_KEY has characters") as caught:
        Server("m", settings(fake), tmp_path).answers(asked("a"), **SAMPLING)
    assert KEY not in str(caught.value)


def test_the_key_reaches_no_file_and_no_log(fake: Fake, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def script(body: dict[str, Any], tries: int) -> Reply:
        broken: Reply = (400, {}, json.dumps({"error": {"message": f"key {KEY}"}}))
        return {"a": said("fine"), "b": broken, "c": (500, {}, KEY)}[content(body)]

    fake.script = script
    with caplog.at_level(logging.DEBUG):
        answers = Server("m", settings(fake, retries=1), tmp_path).answers(asked(*"abc"), **SAMPLING)
    assert KEY not in caplog.text and KEY not in repr(answers)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files and not any(KEY.encode() in path.read_bytes() for path in files)
