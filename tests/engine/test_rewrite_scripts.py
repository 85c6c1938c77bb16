"""Rewriting and pair making as the programs that the workflow calls: on real engines, and on tables of cases."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import make_pairs
from conftest import ROOT
from fake_server import said, serving
from programs import ONE_CPU, finished
from scalequest.default_config import default_config
from scalequest.errors import ScaleQuestError
from scalequest.rows.tables import JUDGEMENTS, PAIRS, QUESTIONS, REWRITES, question_id, read_rows, write_table
from scalequest.runtime.lease import attempts
from scalequest.runtime.operation import OPERATION
from tiny import make_tiny_model

KEY = "sk-scripts-9876543210"
TEXTS = [
    "A baker sells 12 loaves at 3 dollars each. What does she earn?",
    "Find the sum of the first 10 odd numbers.",
    "What is {response} plus {0}? <|im_end|>",
    "Что больше: 2 или 3?",
    "If 3 pens cost 4 euros, what do 9 pens cost?",
    "",
]
REWRITE: dict[str, Any] = {
    "backend": "engine",
    "model": "tiny",
    "share_solvability": 0.5,
    "sampling": {"temperature": 0.0, "top_p": 1.0, "max_tokens": 48},
    "structured": True,
    "max_length_ratio": 4.0,
}
ENGINE = {
    **{"device": "cpu", "determinism": "windows", "window": 4, "dtype": "bfloat16", "threads": 1},
    **{"max_sequences": 4, "max_batched_tokens": 8192, "max_model_len": 1024, "tensor_parallel": 1},
    "enforce_eager": True,
}


def by_server(model: str) -> dict[str, Any]:
    """The stage's settings for a server that has such a model."""
    return {"rewrite": {**REWRITE, "backend": "server", "server_model": model}, "engine": None, "seed": 42}


def at(address: str) -> dict[str, str]:
    """The environment that says where the server is."""
    server = {**default_config()["operation"]["server"], "base_url": address, "api_key_env": "REWRITER_KEY"}
    return {OPERATION: json.dumps({"server": server})}


def question(index: int, text: str, finish_reason: str = "stop") -> dict[str, Any]:
    return {
        **{"id": question_id("g", 0, index), "generator": "g", "seed": 0, "index": index, "question": text},
        **{"finish_reason": finish_reason, "tokens": 9, "sampling_seed": index},
    }


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [question(index, text) for index, text in enumerate(TEXTS)]
    rows.append(question(len(rows), "A train leaves at 3 and", "length"))
    rows.append(question(len(rows), "How many are left of 30? " * 200))
    path = tmp_path_factory.mktemp("questions") / "questions.parquet"
    write_table(path, rows, QUESTIONS)
    return path


def program(name: str, *arguments: str | Path, settings: Mapping[str, Any], **env: str) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "scripts" / f"{name}.py", *arguments, "--settings"]
    command.append(json.dumps({"domain": "math", **settings}))
    return finished([str(word) for word in command], env={**os.environ, **env})


def rewrite(questions: Path, folder: Path, settings: Mapping[str, Any], *more: str | Path, **env: str) -> Any:
    paths = ("--questions", questions, "--progress", folder / "progress", "--out", folder / "out.parquet")
    return program("rewrite_questions", *paths, *more, settings=settings, **env)


def assert_all_rows_kept_with_reasons(folder: Path) -> list[dict[str, Any]]:
    rows = read_rows(folder / "out.parquet", REWRITES)
    assert [row["id"] for row in rows] == [question_id("g", 0, index) for index in range(8)]
    assert [row["question"] for row in rows[:6]] == TEXTS
    assert {row["direction"] for row in rows} == {"solvability", "difficulty"}
    assert all(row["failure"] for row in rows), "a random model has no good rewrite"
    assert [row["failure"] for row in rows[5:7]] == ["empty question", "question cut off"]
    assert all(row["raw"] and row["tokens"] > 0 for row in rows[:5])
    assert [row["raw"] for row in rows[5:]] == [""] * 3
    return rows


def test_rewriting_by_the_engine_keeps_every_row_and_restarts_from_the_store(
    questions: Path, tiny_manifest: Path, tmp_path: Path
) -> None:
    settings = {"rewrite": REWRITE, "engine": ENGINE, "seed": 42}
    done = rewrite(questions, tmp_path, settings, "--model", tiny_manifest)
    assert done.returncode == 0, done.stderr
    rows = assert_all_rows_kept_with_reasons(tmp_path)
    assert rows[7]["failure"].startswith("question too long: ")
    assert "8 questions:" in done.stderr and "1 question too long" in done.stderr
    written = (tmp_path / "out.parquet").read_bytes()

    (tmp_path / "out.parquet").unlink()
    # The gate is applied to stored answers: another ratio generates nothing.
    settings["rewrite"] = {**REWRITE, "max_length_ratio": 3.0}
    again = rewrite(questions, tmp_path, settings, "--model", tiny_manifest)
    assert again.returncode == 0, again.stderr
    assert "loading tiny" in done.stderr and "loading tiny" not in again.stderr
    assert (tmp_path / "out.parquet").read_bytes() == written

    pairs = ("--method", "rewrite", "--rewrites", tmp_path / "out.parquet")
    outs = ("--out", tmp_path / "pairs.parquet", "--summary", tmp_path / "pairs.json")
    failed = program("make_pairs", *pairs, *outs, settings={"rank": {"group": 4, "min_margin": 0.0}, "min_pairs": 2})
    assert failed.returncode == 1
    assert "error: 0 preference pairs were made by rewrite" in failed.stderr and "Traceback" not in failed.stderr
    assert "1 x empty question" in failed.stderr and "preference_tuning.rewrite.model" in failed.stderr


@pytest.fixture(scope="module")
def chat_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of vLLM's own OpenAI-compatible server with a tiny model that never falls silent."""
    tiny_model = make_tiny_model(tmp_path_factory.mktemp("talker"), end_std=0.0)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["--model", tiny_model, "--served-model-name", "tiny", "--host", "127.0.0.1", "--port", port]
    words += ["--enforce-eager", "--max-model-len", 1024, "--max-num-seqs", 4, "--max-num-batched-tokens", 8192]
    env = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1"}
    said = tmp_path_factory.mktemp("server") / "log"
    with said.open("w") as output:
        process = subprocess.Popen(  # noqa: S603 (the engine's own program)
            [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *map(str, words), "--api-key", KEY],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **env},
        )
        try:
            deadline = time.monotonic() + 300
            while not _healthy(port):
                assert process.poll() is None and time.monotonic() < deadline, said.read_text()[-3000:]
                time.sleep(1)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait(60)


def _healthy(port: int) -> bool:
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).status == 200
    except (urllib.error.URLError, OSError):
        return False


def test_rewriting_by_a_real_server(chat_server: str, questions: Path, tmp_path: Path) -> None:
    settings = by_server("tiny")
    where = at(chat_server)

    refused = rewrite(questions, tmp_path, settings, **where)
    assert refused.returncode == 1 and "environment variable REWRITER_KEY" in refused.stderr
    assert not (tmp_path / "out.parquet").exists()

    done = rewrite(questions, tmp_path, settings, **where, REWRITER_KEY=KEY)
    assert done.returncode == 0, done.stderr
    rows = assert_all_rows_kept_with_reasons(tmp_path)
    assert all(row["raw"].lstrip().startswith("{") for row in rows[:5]), "the schema reached the engine"
    assert rows[7]["failure"].startswith("request refused: HTTP 400")
    assert KEY not in done.stderr
    assert not any(KEY.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())

    written = (tmp_path / "out.parquet").read_bytes()
    again = rewrite(questions, tmp_path, settings, **where, REWRITER_KEY=KEY)
    assert again.returncode == 0 and "5 answers are in the cache, 1 are asked" in again.stderr
    assert (tmp_path / "out.parquet").read_bytes() == written

    plain = {**settings, "rewrite": {**settings["rewrite"], "structured": False}}
    assert rewrite(questions, tmp_path, plain, **where, REWRITER_KEY=KEY).returncode == 0
    rows = assert_all_rows_kept_with_reasons(tmp_path)
    assert not any(row["raw"].lstrip().startswith("{") for row in rows[:5])

    failed = rewrite(questions, tmp_path, by_server("other"), **where, REWRITER_KEY=KEY)
    assert failed.returncode == 1 and "no model 'other'" in failed.stderr and "Traceback" not in failed.stderr


BAD: dict[str, Any] = {
    "a count that is too large": said("Sure.", tokens=10**30),
    "a count that is a truth value": said("Sure.", tokens=True),
    "half a surrogate pair as reason": said("Sure.", finish_reason="\ud800"),
    "half a surrogate pair in an error": (400, {}, '{"error": {"message": "\\ud800"}}'),
    "nested brackets": (200, {}, "[" * 200_000),
    "nested brackets in the text": said('{"solution": ' + "[" * 200_000),
}


@pytest.mark.parametrize("reply", BAD.values(), ids=BAD)
def test_a_bad_reply_costs_its_own_row_and_no_rerun(questions: Path, tmp_path: Path, reply: Any) -> None:
    good = said('{"final_question": "Find the sum of the first 10 even numbers."}')

    def script(body: dict[str, Any], tries: int) -> Any:
        return good if TEXTS[1] in body["messages"][0]["content"] else reply

    with serving(script) as fake:
        for _ in range(2):
            done = rewrite(questions, tmp_path, by_server("m"), **at(fake.url), REWRITER_KEY=KEY)
            assert done.returncode == 0, done.stderr
            rows = read_rows(tmp_path / "out.parquet", REWRITES)
            usable = [row["question"] for row in rows if not row["failure"]]
            assert usable == [TEXTS[1]] and len(rows) == 8


def test_a_killed_job_has_counted_the_answers_that_are_stored(questions: Path, tmp_path: Path) -> None:
    def script(body: dict[str, Any], tries: int) -> Any:
        if TEXTS[4] in body["messages"][0]["content"]:
            time.sleep(60)
        return said("fine")

    def rows_of_attempts() -> list[int]:
        return [record["rows"] for _, record in attempts(tmp_path / "progress")]

    with serving(script) as fake:
        operation = {**json.loads(at(fake.url)[OPERATION]), "lease_seconds": 1.0}
        words = ["--questions", questions, "--progress", tmp_path / "progress", "--out", tmp_path / "out.parquet"]
        line = [
            sys.executable,
            ROOT / "scripts" / "rewrite_questions.py",
            *words,
            "--settings",
            json.dumps({"domain": "math", **by_server("m")}),
        ]
        child = subprocess.Popen(  # noqa: S603 (our own script)
            list(map(str, line)), env={**os.environ, OPERATION: json.dumps(operation), "REWRITER_KEY": KEY}
        )
        try:
            deadline = time.monotonic() + 60
            while rows_of_attempts() != [5]:
                assert child.poll() is None and time.monotonic() < deadline, rows_of_attempts()
                time.sleep(0.1)
        finally:
            child.kill()
            child.wait()
    ((_, record),) = attempts(tmp_path / "progress")
    assert (record["state"], record["rows"]) == ("running", 5)


def test_rewritten_pairs_reach_a_trained_model(tiny_manifest: Path, tmp_path: Path) -> None:
    """From sampled questions over a server's rewrites and their gate to pairs, and by DPO to a model's manifest."""
    texts = [f"A shop has {n} red and {n + 3} blue pens. How many has it?" for n in range(2, 14)]
    write_table(tmp_path / "q.parquet", [question(index, text) for index, text in enumerate(texts)], QUESTIONS)

    def script(body: dict[str, Any], tries: int) -> Any:
        original = next(text for text in texts if text in body["messages"][0]["content"])
        fields = body["response_format"]["json_schema"]["schema"]["required"]
        better = original.replace("How many has it?", "How many pens does the shop have in all?")
        return said(json.dumps(dict.fromkeys(fields[:-1], "thought") | {fields[-1]: better}))

    with serving(script) as fake:
        done = rewrite(tmp_path / "q.parquet", tmp_path, by_server("m"), **at(fake.url), REWRITER_KEY=KEY)
    assert done.returncode == 0, done.stderr

    outs = ("--out", tmp_path / "pairs.parquet", "--summary", tmp_path / "pairs.json")
    made = program(
        *("make_pairs", "--method", "rewrite", "--rewrites", tmp_path / "out.parquet", *outs), settings={"min_pairs": 8}
    )
    assert made.returncode == 0, made.stderr
    pairs = read_rows(tmp_path / "pairs.parquet", PAIRS)
    assert [pair["rejected"] for pair in pairs] == texts
    assert all("in all" in pair["chosen"] for pair in pairs)

    dpo = {
        **{"beta": 0.1, "loss": "sigmoid", "learning_rate": 1e-3, "rows_per_step": 4, "rows_per_device": 2},
        **{"epochs": 1, "scheduler": "cosine", "warmup_steps": 1, "weight_decay": 0.0, "max_length": 160},
        **{"optimizer": "adamw_torch", "held_out": 2},
    }
    files = (
        "--pairs",
        tmp_path / "pairs.parquet",
        "--model",
        tiny_manifest,
        "--weights",
        tmp_path / "weights",
        "--name",
        "tiny",
    )
    trained = program(
        *("tune_preferences", *files, "--out", tmp_path / "model.json", "--history", tmp_path / "loss.jsonl"),
        settings={"preference_tuning": {"dpo": dpo, "seed": 42}, "training": ONE_CPU, "device": "cpu"},
    )
    assert trained.returncode == 0, trained.stderr
    manifest = json.loads((tmp_path / "model.json").read_text())
    assert manifest["pairs"] == 10
    assert manifest["digest"] != json.loads(tiny_manifest.read_text())["digest"]


def test_the_engine_needs_a_manifest(questions: Path, tmp_path: Path) -> None:
    failed = rewrite(questions, tmp_path, {"rewrite": REWRITE, "engine": ENGINE, "seed": 42})
    assert failed.returncode == 1 and "needs --model" in failed.stderr


# ---------------------------------------------------------------- pairs
RANK: dict[str, Any] = {"group": 4, "min_margin": 0.0}


def ranking(**changes: Any) -> make_pairs.Rank:
    return make_pairs.Rank(**{**RANK, **changes})


def judgement(index: int, probability: float | None) -> dict[str, Any]:
    return {
        **{"id": question_id("g", 0, index), "probability": probability, "verdict": None},
        **{"reasoning": "", "tokens": 1},
    }


def ranked(
    cases: list[tuple[str, str, float | None]], **changes: Any
) -> tuple[list[tuple[str, str, float]], dict[str, int]]:
    """(chosen, rejected, margin) and counts of what was dropped, for (text, finish_reason, probability) by index."""
    asked = [question(index, text, reason) for index, (text, reason, _) in enumerate(cases)]
    judged = [judgement(index, probability) for index, (_, _, probability) in enumerate(cases)]
    pairs, dropped = make_pairs.ranked_pairs(asked[::-1], judged, ranking(**changes))
    summary = make_pairs.summarise("rank", pairs, dropped)
    assert len(asked) == 2 * len(pairs) + sum(summary["dropped"].values()), "every question is accounted for"
    return [(row["chosen"], row["rejected"], round(row["margin"], 9)) for row in pairs], summary["dropped"]


def test_the_best_of_a_group_is_chosen_and_the_worst_rejected() -> None:
    cases = [(f"q{n}", "stop", p) for n, p in enumerate([0.2, 0.9, 0.5, 0.4, 0.1, 0.1, 0.3, 0.0])]
    pairs, dropped = ranked([*cases])
    assert pairs == [("q1", "q0", 0.7), ("q6", "q7", 0.3)]
    assert dropped == {"neither best nor worst of its group": 4}
    assert [p[:2] for p in ranked([*cases], group=2)[0]] == [("q1", "q0"), ("q2", "q3"), ("q6", "q7")]
    assert [p[:2] for p in ranked([*cases], min_margin=0.3)[0]] == [("q1", "q0")]


DROPPED = [
    ("empty", [("", "stop", 0.9), ("a", "stop", 0.8), ("b", "stop", 0.1)], [("a", "b", 0.7)], "empty question"),
    ("cut", [("x", "length", 0.9), ("a", "stop", 0.8), ("b", "stop", 0.1)], [("a", "b", 0.7)], "question cut off"),
    (
        "same text",
        [("a", "stop", 0.8), ("b", "stop", 0.1), ("a", "stop", 0.0)],
        [("a", "b", 0.7)],
        "same text as an earlier question",
    ),
    ("no margin", [("a", "stop", 0.5), ("b", "stop", 0.5)], [], "group within min_margin"),
    ("alone", [("a", "stop", 0.5)], [], "alone in its group"),
    (
        "null",
        [("x", "stop", None), ("a", "stop", 0.8), ("b", "stop", 0.1)],
        [("a", "b", 0.7)],
        "judged without a probability",
    ),
    (
        "nan",
        [("x", "stop", float("nan")), ("a", "stop", 0.8), ("b", "stop", 0.1)],
        [("a", "b", 0.7)],
        "judged without a probability",
    ),
]


@pytest.mark.parametrize(("cases", "pairs", "reason"), [pytest.param(*case[1:], id=case[0]) for case in DROPPED])
def test_ranking_counts_what_it_drops(cases: list, pairs: list, reason: str) -> None:
    made, dropped = ranked(cases)
    assert made == pairs
    assert set(dropped) == {reason}


def test_a_question_without_a_judgement_is_dropped() -> None:
    pairs, dropped = make_pairs.ranked_pairs([question(0, "a"), question(1, "b")], [judgement(0, 0.5)], ranking())
    assert not pairs
    assert {row["reason"] for row in dropped} == {"not judged", "alone in its group"}


def rewritten(index: int, after: str | None, failure: str = "", direction: str = "solvability") -> dict[str, Any]:
    return {
        **{"id": question_id("g", 0, index), "question": f"before {index}", "direction": direction},
        **{"rewritten": after, "failure": failure, "raw": f"said {index}", "tokens": 3},
    }


def test_rewritten_pairs_and_their_summary(tmp_path: Path) -> None:
    rows = [
        rewritten(0, "after 0"),
        rewritten(1, "after 1", direction="difficulty"),
        rewritten(2, None, "JSON cut off"),
        rewritten(3, "x" * 5000, "too long: 5000 characters, the original has 8"),
        rewritten(4, "y" * 5001, "too long: 5001 characters, the original has 8"),
        rewritten(5, "after 0"),
        *(rewritten(n, "", "empty answer") for n in range(6, 12)),
    ]
    write_table(tmp_path / "rewrites.parquet", rows, REWRITES)
    paths = ("--out", tmp_path / "pairs.parquet", "--summary", tmp_path / "pairs.json")
    words = ("--method", "rewrite", "--rewrites", tmp_path / "rewrites.parquet", *paths)
    done = program("make_pairs", *words, settings={"rank": RANK, "min_pairs": 2})
    assert done.returncode == 0, done.stderr
    pairs = read_rows(tmp_path / "pairs.parquet", PAIRS)
    assert [(p["chosen"], p["rejected"], p["direction"], p["margin"]) for p in pairs] == [
        ("after 0", "before 0", "solvability", None),
        ("after 1", "before 1", "difficulty", None),
    ]
    summary = json.loads((tmp_path / "pairs.json").read_text())
    assert summary["pairs"] == 2 and summary["directions"] == {"solvability": 1, "difficulty": 1}
    assert summary["dropped"] == {
        **{"empty answer": 6, "too long": 2, "JSON cut off": 1, "same text as an earlier pair": 1}
    }
    assert len(summary["examples"]["empty answer"]) == 3
    assert summary["examples"]["JSON cut off"] == [{"id": question_id("g", 0, 2), "text": "said 2"}]

    failed = program("make_pairs", *words, settings={"rank": RANK, "min_pairs": 3})
    assert failed.returncode == 1
    for part in ("2 preference pairs", "asks for 3", "6 x empty answer, 2 x too long", "'said 6'", "min_pairs"):
        assert part in failed.stderr


def test_ranking_as_a_program(tmp_path: Path) -> None:
    write_table(tmp_path / "q.parquet", [question(n, f"q{n}") for n in range(8)], QUESTIONS)
    write_table(tmp_path / "j.parquet", [judgement(n, n / 10) for n in range(8)], JUDGEMENTS)
    paths = ("--out", tmp_path / "pairs.parquet", "--summary", tmp_path / "pairs.json")
    words = ("--method", "rank", "--questions", tmp_path / "q.parquet", "--judgements", tmp_path / "j.parquet", *paths)
    done = program("make_pairs", *words, settings={"rank": RANK, "min_pairs": 2})
    assert done.returncode == 0, done.stderr
    pairs = read_rows(tmp_path / "pairs.parquet", PAIRS)
    assert [(p["id"][-1], p["chosen"], p["rejected"], p["direction"]) for p in pairs] == [
        ("3", "q3", "q0", "rank"),
        ("7", "q7", "q4", "rank"),
    ]
    summary = json.loads((tmp_path / "pairs.json").read_text())
    assert summary["margin_mean"] == pytest.approx(0.3) and summary["margin_median"] == pytest.approx(0.3)


def test_too_few_ranked_pairs_say_why_and_what_to_change() -> None:
    pairs, dropped = make_pairs.ranked_pairs([question(n, "") for n in range(9)], [], ranking())
    words = make_pairs.too_few(make_pairs.summarise("rank", pairs, dropped), 16, "q.parquet")
    assert "0 preference pairs" in words and "9 x empty question" in words
    assert "preference_tuning.rank.group" in words and "q.parquet" in words


def test_a_method_needs_its_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = json.dumps({"rank": RANK, "min_pairs": 1})
    words = ["make_pairs", "--method", "rank", "--out", "a", "--summary", "b", "--settings", settings]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(ScaleQuestError, match="--questions and --judgements"):
        make_pairs.main()
