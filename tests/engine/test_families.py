"""Each family of models through staging, question tuning, sampling, answering and scoring, with its real tokenizer."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from families import FAMILIES, make
from programs import COMMON, ENGINE, ONE_CPU, SAMPLING, script, succeeded, training_tables
from scalequest.llm.chat import control_tokens, load_tokenizer, question_format
from scalequest.llm.models import open_model
from scalequest.llm.tokenizers import content
from scalequest.rows.tables import ATTEMPTS, FILTERED, REWARDS, read_rows, write_table
from scalequest.runtime.files import read_json

SMALL = {**ENGINE, "window": 8, "max_sequences": 8, "max_model_len": 256, "max_batched_tokens": 256, "dtype": "float32"}
TUNING = {**COMMON, "loss": "all", "max_questions": 4, "warmup_ratio": 0.03}
# What byte-level and SentencePiece vocabularies write for a space.
MARKS = ("\u0120", "\u2581")


def spelled(texts: list[str]) -> bool:
    """Whether texts are spelled as in the vocabulary: most tokens then have a mark. A few are letters of some word."""
    return sum(text.count(mark) for text in texts for mark in MARKS) > len(texts)


# The paper's generators: one whose tokenizer is mended, and one whose is not. The others are nightly.
PAPERS = ("Qwen2.5", "DeepSeekMath")


@pytest.mark.parametrize("answers", [False, pytest.param(True, marks=pytest.mark.nightly)], ids=["", "with answers"])
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in PAPERS else [pytest.mark.nightly]) for name in FAMILIES]
)
def test_a_family_goes_through_the_method(name: str, answers: bool, tmp_path: Path) -> None:
    family, given = FAMILIES[name], make(name, tmp_path / "given")
    model = tmp_path / "staged.json"
    source = {"source": f"path:{given}", "sha256": None, "trust_remote_code": False}
    succeeded(script("stage_model", source, name="m", folder=tmp_path / "models" / "m", out=model))
    assert bool(read_json(model)["tokenizer"]["mended"]) == family.mended
    staged = open_model(model)

    # The bare prefix, and what ends a question.
    tokenizer = load_tokenizer(staged.folder)
    form = question_format(tokenizer)
    assert form.prefix_text == family.prefix
    assert tokenizer.decode(form.prefix) == (family.decoded or family.prefix)
    assert control_tokens(tokenizer)[form.end] == family.end

    # Two steps of question tuning. The tokenizer stays the staged copy's, byte for byte.
    tuned = tmp_path / "tuned.json"
    how = {"question_tuning": TUNING, "training": ONE_CPU, "device": "cpu"}
    seeds = training_tables(tmp_path) / "seeds.parquet"
    files = {"seeds": seeds, "model": model, "weights": tmp_path / "weights", "name": "m", "out": tuned}
    succeeded(script("tune_questions", how, **files, history=tmp_path / "loss.jsonl"))
    assert content(open_model(tuned).folder) == content(staged.folder)

    # Questions of the tuned model: text, not the vocabulary's spelling of it.
    place = {"model": tuned, "generator": "m", "seed": 0, "start": 0, "count": 8, "progress": tmp_path / "progress"}
    asking = {"purpose": "questions", "sampling": {**SAMPLING, "max_tokens": 24}, "engine": SMALL}
    # A random model may never stop, which is an error of its own.
    result = script("sample_questions", asking, **place, out=tmp_path / "questions.parquet")
    assert result.returncode == 0 or "never stops" in result.stderr, result.stderr[-4000:]
    stored = [row for path in (tmp_path / "progress").rglob("*.parquet") for row in pq.read_table(path).to_pylist()]
    texts = [row["question"] for row in stored]
    assert len(texts) == 8
    assert not spelled(texts), texts

    # Scores of responses, asked for in the chat template.
    questions, attempts, scores = (tmp_path / f"{kind}.parquet" for kind in ("filtered", "attempts", "rewards"))
    kept = {"kept": True, "dropped_by": "", "marks": "", "reason": "", "difficulty": None, "solvable": None}
    columns = ("id", "generator", "seed", "index", "question")
    write_table(questions, [{key: row[key] for key in columns} | kept for row in stored[:4]], FILTERED)
    on = {"model": model, "questions": questions, "progress": tmp_path / "progress"}
    if answers:
        # The staged model's own.
        sampling = {"samples": 2, "sampling": {**SAMPLING, "max_tokens": 16}}
        succeeded(script("sample_responses", {"responses": sampling, "engine": SMALL}, **on, out=attempts))
        answered = read_rows(attempts, ATTEMPTS)
        assert len(answered) == 8
        assert not spelled([row["response"] for row in answered])
    else:
        answer = {
            "reasoning": None,
            "response": "It is $5$.",
            "answer": "5",
            "finish_reason": "stop",
            "tokens": 4,
            "sampling_seed": 1,
        }
        write_table(attempts, [{"id": row["id"], "sample": 0, **answer} for row in stored[:4]], ATTEMPTS)
    rewards = {"reward": {"kind": "verifier"}, "engine": SMALL}
    succeeded(script("score_responses", rewards, **on, attempts=attempts, out=scores))
    assert all(0 < row["reward"] < 1 for row in read_rows(scores, REWARDS))
