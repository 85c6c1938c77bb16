"""Models that think before they answer: the trace is told apart by their own templates and tokens, through vLLM."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from families import make
from programs import ENGINE, script, succeeded
from scalequest.llm.chat import AnswerFormat, answer_format
from scalequest.llm.engine import Completion
from scalequest.llm.models import open_model, write_manifest
from scalequest.llm.thinking import trace_form, written
from scalequest.rows.tables import ATTEMPTS, FILTERED, question_id, read_rows, write_table
from scalequest.settings import Sampling, Thinking
from scalequest.tasks.solving import Response, Thinker
from scalequest.training.samples import Samples
from scalequest.training.student_data import Pair
from tokenize_student import samples

PROMPT = "{question}"
BUDGET, LENGTH = 24, 12
COUNT = 24


def template(name: str) -> str:
    """A model's own template, as TRL has it."""
    return (files("trl") / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")


def model(family: str, folder: Path, own: str = "", **how: Any) -> Path:
    """The manifest of a tiny model of a family, with another template."""
    make(family, folder, **how)
    if own:
        (folder / "chat_template.jinja").write_text(own, encoding="utf-8")
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        config.pop("chat_template", None)
        (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    manifest = folder.with_suffix(".json")
    write_manifest(manifest, folder, name=folder.name, source="test")
    return manifest


def form(manifest: Path) -> AnswerFormat:
    return answer_format(open_model(manifest), PROMPT)


@pytest.fixture(scope="module")
def qwen3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its template shows traces, and the model begins them."""
    return model("Qwen3", tmp_path_factory.mktemp("qwen3") / "qwen3", ends=True, likely=["</think>"])


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its template begins a trace itself, and says nothing of its end."""
    own = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    own += "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
    return model("Qwen3", tmp_path_factory.mktemp("opened") / "opened", own, ends=True, likely=["</think>"])


CHANNELS = ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>")


@pytest.mark.parametrize(
    ("family", "own", "before", "after", "is_token"),
    [
        ("Qwen3", "", "<think>\n", "\n</think>\n\n", True),
        ("Qwen3", "deepseek_r1_distill", "", "\n</think>\n\n", True),
        ("gpt-oss", "gptoss", *CHANNELS, True),
        # It does not think: its tokenizer has no token for it.
        ("Qwen2.5", "", "<think>\n", "\n</think>\n\n", False),
    ],
)
def test_the_template_says_how_a_trace_begins_and_ends(
    family: str, own: str, before: str, after: str, is_token: bool, tmp_path: Path
) -> None:
    found = trace_form(form(model(family, tmp_path / "model", own and template(own))))
    assert (found.before, found.after, found.opened, found.is_token) == (before, after, not before, is_token)
    given = trace_form(found.form, "[THINK]", "[/THINK]")
    assert (given.open, given.close, given.opened, given.is_token) == ("[THINK]", "[/THINK]", False, False)


# ---------------------------------------------------------------- generating


def questions(folder: Path) -> Path:
    more = {"kept": True, "dropped_by": "", "marks": "", "reason": "", "difficulty": None, "solvable": None}
    rows = [
        {"id": question_id("g", 0, i), "generator": "g", "seed": 0, "index": i, "question": f"What is {i} + 2?"} | more
        for i in range(COUNT)
    ]
    write_table(folder / "questions.parquet", rows, FILTERED)
    return folder / "questions.parquet"


def responses(manifest: Path, folder: Path, thinking: dict[str, Any] | None) -> tuple[list[dict[str, Any]], str]:
    """One response to each question, and the log."""
    sampling = {"temperature": 1.0, "top_p": 1.0, "max_tokens": LENGTH}
    engine = {**ENGINE, "dtype": "float32", "window": COUNT, "max_sequences": COUNT}
    how = {"samples": 1, "sampling": sampling, **({"thinking": thinking} if thinking else {})}
    place = {"model": manifest, "questions": questions(folder), "progress": folder / "progress"}
    log = succeeded(
        script("sample_responses", {"responses": how, "engine": engine}, **place, out=folder / "attempts.parquet")
    )
    return read_rows(folder / "attempts.parquet", ATTEMPTS), log


def thinking(**changes: Any) -> dict[str, Any]:
    return {"open": None, "close": None, "budget": BUDGET, "at_budget": "cut", **changes}


def test_a_trace_is_kept_beside_its_response_and_one_that_does_not_end_has_none(opened: Path, tmp_path: Path) -> None:
    rows, log = responses(opened, tmp_path, thinking())
    # The template has begun a trace in each of them.
    assert all(row["reasoning"] is not None for row in rows)
    ended = [row for row in rows if row["response"]]
    endless = [row for row in rows if not row["response"] and row["finish_reason"] == "length"]
    assert len(ended) >= 3 and len(endless) >= 3
    # Of those whose model ended its turn within a trace there are some too.
    assert any(row["tokens"] < BUDGET for row in endless)
    assert all(row["tokens"] <= BUDGET for row in endless)
    assert all(row["tokens"] <= BUDGET + LENGTH for row in ended)
    assert not any("think>" in row["response"] for row in rows)
    assert not any("<|im_end|>" in row[key] for row in rows for key in ("reasoning", "response"))
    cut = sum(row["finish_reason"] == "length" for row in rows)
    assert f"{cut} of {COUNT} responses were cut, or their traces did not end" in log
    again, log = responses(opened, tmp_path, thinking())
    assert again == rows
    assert "loading" not in log

    forced, log = responses(opened, tmp_path, thinking(at_budget="answer"))
    assert "loading" in log
    assert all(after["reasoning"].startswith(row["reasoning"]) for after, row in zip(forced, rows, strict=True))
    before = {row["id"]: row for row in rows}
    answered = [row for row in forced if not before[row["id"]]["response"] and row["response"]]
    assert len(answered) > len(endless) / 2
    assert all(row["tokens"] > before[row["id"]]["tokens"] for row in answered)


def test_what_does_not_begin_with_a_trace_is_a_response(qwen3: Path, tmp_path: Path) -> None:
    rows, _ = responses(qwen3, tmp_path, thinking())
    plain = [row for row in rows if row["reasoning"] is None]
    # It ends some traces that it has not begun: what stands before is one all the same.
    assert plain and len(plain) < COUNT
    assert all(row["tokens"] <= BUDGET for row in plain)
    assert any(row["response"] and row["finish_reason"] == "stop" for row in plain)
    # Another stage of the same kind, asked without a trace, has stored rows of the old form.
    rows, _ = responses(qwen3, tmp_path, None)
    assert all(row["reasoning"] is None for row in rows)


def test_channels_are_told_apart_by_their_control_tokens(tmp_path: Path) -> None:
    rows, _ = responses(model("gpt-oss", tmp_path / "model", template("gptoss"), ends=True), tmp_path, thinking())
    # What ends the channel of a trace also ends what a random model begins without one.
    ended = [row for row in rows if row["reasoning"] is not None and row["response"]]
    assert len(ended) >= 3
    for row in ended:
        assert not row["response"].startswith("final") and "<|" not in row["reasoning"].partition("<|end|>")[0]
        assert row["tokens"] <= BUDGET + LENGTH


class Scripted:
    """In place of an engine, whose random models say none of this: completions that a real model might give."""

    def __init__(self, tokenizer: Any, *texts: str):
        self.tokenizer, self.texts = tokenizer, list(texts)

    def generate(self, prompts: Sequence[Sequence[int]], seeds: Any, sampling: Any, **asked: Any) -> list[Completion]:
        return [self.one(self.texts.pop(0), asked) for _ in prompts]

    def one(self, text: str, asked: Mapping[str, Any]) -> Completion:
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        end = next((n for n, token in enumerate(ids) if token in asked["stops"]), None)
        assert end == len(ids) - 1, "it should end where the engine is told to stop"
        shown = self.tokenizer.decode(ids[:end], skip_special_tokens=not asked.get("control"))
        return Completion(shown, len(ids), "stop", {}, ids, ids[end])


def answer_of(manifest: Path, *texts: str) -> Response:
    asked = form(manifest)
    stage: Any = Scripted(asked.tokenizer, *texts)
    sampling, how = Sampling(temperature=1.0, top_p=1.0, max_tokens=64), Thinking(None, None, 64, "cut")
    [response] = Thinker(stage, asked, sampling, how).responses([[1]], [0])
    assert not stage.texts
    return response


def test_an_answer_may_spell_out_what_ends_a_trace(qwen3: Path) -> None:
    """The model's own token parts them. A tokenizer reads the marker in a text as that token, so pieces make it."""
    asked = form(qwen3)
    spelled = [*asked.tokenizer("The tag is </", add_special_tokens=False)["input_ids"]]
    spelled += asked.tokenizer("think>. So 4.", add_special_tokens=False)["input_ids"]
    end = asked.tokenizer.convert_tokens_to_ids("</think>")
    answer = Completion(asked.tokenizer.decode(spelled), len(spelled), "stop", {}, spelled)
    assert "</think>" in answer.text and end not in spelled
    stage: Any = Scripted(asked.tokenizer)
    thinker = Thinker(stage, asked, Sampling(1.0, 1.0, 64), Thinking(None, None, 64, "cut"))
    assert thinker._parted(answer) == ("", "The tag is </think>. So 4.")
    # An end that the model sets once more is one.
    response = answer_of(qwen3, "<think>\nTwo.</think>", "So.</think>Four.<|im_end|>")
    assert (response.reasoning, response.text) == ("Two.</think>So.", "Four.")


def test_a_final_channel_without_a_trace_is_a_response(tmp_path: Path) -> None:
    own = model("gpt-oss", tmp_path / "model", template("gptoss"))
    analysis, final = "<|channel|>analysis<|message|>", "<|channel|>final<|message|>"
    for end in ("<|return|>", "<|end|>"):
        direct = answer_of(own, f"{final}The answer is 4.{end}")
        assert (direct.text, direct.reasoning, direct.finish_reason) == ("The answer is 4.", None, "stop")
    thought = answer_of(own, f"{analysis}Two and two.<|end|>", "Four.<|return|>")
    assert (thought.text, thought.reasoning) == ("Four.", "Two and two.")


def test_a_marker_that_is_no_token_is_found_in_the_text(tiny_manifest: Path, tmp_path: Path) -> None:
    rows, _ = responses(tiny_manifest, tmp_path, thinking(open="<", close="e"))
    traces = [row for row in rows if row["reasoning"] is not None]
    assert len(traces) > COUNT / 2
    # An answer follows the last end of a trace.
    assert not any("e" in row["response"] for row in traces)
    assert any(row["response"] for row in traces) and any("e" in row["reasoning"] for row in traces)


# ---------------------------------------------------------------- training


def decoded(made: Samples, tokenizer: Any) -> list[str]:
    return [tokenizer.decode(ids) for ids in rows_of(made)]


def rows_of(made: Samples) -> list[list[int]]:
    return [ids for block in made.blocks() for ids in block["input_ids"].to_pylist()]


@pytest.mark.parametrize(
    ("family", "own", "field"),
    [("Qwen3", "", "reasoning_content"), ("gpt-oss", "gptoss_training", "thinking")],
)
def test_a_student_learns_a_trace_as_its_template_writes_one(family: str, own: str, field: str, tmp_path: Path) -> None:
    asked = form(model(family, tmp_path / "model", own and template(own)))
    pair = Pair("a", "What is 2 + 2?", "It is $4$.", "Two and two. Four.")
    kept, dropped = (decoded(samples(asked, [pair], 512, traces=traces), asked.tokenizer) for traces in (True, False))
    turns = [{"role": "user", "content": pair.question}, {"role": "assistant", "content": pair.response}]
    turns[1][field] = str(pair.reasoning)
    shown = asked.tokenizer.apply_chat_template(turns, tokenize=False)
    assert [shown.rstrip()] == kept
    assert "Two and two" not in dropped[0] and dropped[0].endswith(
        asked.tokenizer.decode(asked.response(pair.response))
    )


def test_a_marker_within_a_trace_does_not_end_it(qwen3: Path) -> None:
    asked = form(qwen3)
    pair = Pair("a", "?", "It is $4$.", 'They write "</think>" behind it. Four.')
    [made] = rows_of(samples(asked, [pair], 512, traces=True))
    closing = asked.tokenizer.convert_tokens_to_ids("</think>")
    assert made.count(closing) == 1
    assert "Four." in asked.tokenizer.decode(made).partition("</think>")[0]
    text = written(pair.reasoning, pair.response)
    assert text.count("</think>") == 1 and text.endswith("</think>\n\nIt is $4$.")
    assert written(None, pair.response) == pair.response


def test_a_row_without_a_trace_is_learned_as_it_is(qwen3: Path) -> None:
    asked = form(qwen3)
    pairs = [Pair("a", "?", "It is $4$.")]
    one, other = (samples(asked, pairs, 512, traces=traces) for traces in (True, False))
    assert decoded(one, asked.tokenizer) == decoded(other, asked.tokenizer)


def test_tokenizers_are_the_real_ones(qwen3: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(str(open_model(qwen3).folder))
    assert len(tokenizer("</think>", add_special_tokens=False)["input_ids"]) == 1
