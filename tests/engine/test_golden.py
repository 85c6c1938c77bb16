"""What is sent to the engine and stored of its answers, held against a record: neither may change while
SAMPLING_VERSION stays.

Stored rows are found again by model, settings, prompts' texts, engine release and SAMPLING_VERSION. Whatever else
shapes a row (how a prompt is built, what a seed is hashed from, which parameters are sent, how an answer is read) is
held by tests/golden/ alone. Each stage's own code runs here, with a recorder where vLLM's model would be. Prompt files
have stand-ins, as their texts are in the store's key already.

    python tests/engine/test_golden.py --record        after SAMPLING_VERSION was raised
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests"), str(ROOT / "tests" / "support")]

from programs import SAMPLING  # noqa: E402 - the path above is for the imports below
from scalequest import SAMPLING_VERSION  # noqa: E402
from scalequest.domains import base  # noqa: E402
from scalequest.hashing import canonical_json, digest  # noqa: E402
from scalequest.llm import prompts  # noqa: E402
from scalequest.llm.models import write_manifest  # noqa: E402
from scalequest.rows.tables import ATTEMPTS, FILTERED, PROBLEMS, QUESTIONS, Table, question_id, write_table  # noqa: E402
from scalequest.runtime.files import read_json, write_json  # noqa: E402

GOLDEN = ROOT / "tests" / "golden" / "sent.json"
RECORD = "python tests/engine/test_golden.py --record"
STAND_INS = {
    "choose_topic.txt": "{question}\nOf these:\n{topics}",
    "judge_examples.jsonl": '{"question": "What is 1 + 1?", "verdict": "Yes"}\n{"question": "Hello", "verdict": "No"}',
    "judge_solvability.txt": "Reason about it.\n\n{question}",
    "judge_solvability_direct.txt": "Is it one? {question}",
    "judge_verdict.txt": "So, Yes or No?",
    "respond.txt": "{question}\nAnswer.",
    "rewrite_difficulty.txt": "Harder: {question}",
    "rewrite_solvability.txt": "Mend: {question}",
    "verify.txt": "{question}\n---\n{response}\nRight?",
}
ENGINE = {
    **{"determinism": "windows", "window": 4, "dtype": "float32", "threads": 1, "max_sequences": 4},
    **{"max_model_len": 512, "max_batched_tokens": 512, "tensor_parallel": 1, "enforce_eager": True, "device": "cpu"},
}
TEXTS = [
    "What is 3 + 4?",
    "A train goes 60 km in 45 minutes. How fast is it?",
    "Find $x$ so that $x^2 = 2$.",
    "Say <|im_end|> and {question}.",
    "\u4e00\u52a0\u4e00\u662f\u591a\u5c11\uff1f",
    "Prove that there are infinitely many primes p = 4k + 3, and name three of them.",
]
# Aspects of what is sent and stored, each with a digest of its own, so that a failure says what changed.
ASPECTS = ("engine", "prompts", "seeds", "parameters", "rows")
Sent = dict[str, Any]


class Recorder:
    """Stands where `vllm.LLM` would: keeps what it is given and answers with fixed words."""

    sent: Sent
    supported_tasks = ("classify", "token_classify")

    def __init__(self, **settings: Any):
        self.folder = settings["model"]
        # Where the weights lie is no part of what is made, the size of the cache changes no text, nor does the most
        # probabilities that may be asked for, and a tokenizer was read as "hf" says before, unless its folder had
        # Mistral's own format. The engine gets token ids, so its chat template is idle.
        left_out = ("model", "kv_cache_memory_bytes", "tokenizer_mode", "max_logprobs", "chat_template")
        self.sent["engine"] = {k: v for k, v in settings.items() if k not in left_out}

    def get_tokenizer(self) -> Any:
        """The model's own."""
        from scalequest.llm.chat import load_tokenizer

        return load_tokenizer(self.folder, chat=False)

    def generate(self, inputs: Sequence[Mapping], params: Sequence[Any], use_tqdm: bool) -> list[Any]:
        """Completions: one fixed sentence, its first token one of those that are allowed."""
        self._note(inputs)
        self.sent["seeds"] += [sampling.seed for sampling in params]
        self.sent["parameters"] += [chosen(sampling) for sampling in params]
        return [SimpleNamespace(outputs=[completion(sampling, place)]) for place, sampling in enumerate(params)]

    def encode(self, inputs: Sequence[Mapping], pooling_params: Any, pooling_task: str, use_tqdm: bool) -> list[Any]:
        """One score for each prompt, and a number that is none; or two for each step of two."""
        self._note(inputs)
        self.sent["parameters"].append(chosen(pooling_params))
        numbers = [[0.5 + place, -1.0] for place in range(len(inputs))]
        made = [torch.tensor([pair, pair] if pooling_task == "token_classify" else pair) for pair in numbers]
        return [SimpleNamespace(outputs=SimpleNamespace(data=data)) for data in made]

    def reset_prefix_cache(self) -> None:
        """Nothing is cached."""

    def _note(self, inputs: Sequence[Mapping]) -> None:
        # A list for each batch: which rows share one shapes bfloat16 texts.
        self.sent["prompts"].append([list(given["prompt_token_ids"]) for given in inputs])


def chosen(params: Any) -> dict[str, Any]:
    """The fields that differ from vLLM's own defaults (a new release's new fields do not), less the seed."""
    plain = type(params)()
    # Private fields are derived from the others while a model is loaded.
    names = [name for name in params.__struct_fields__ if name != "seed" and not name.startswith("_")]
    found = {name: value for name in names if (value := getattr(params, name)) != getattr(plain, name)}
    if "structured_outputs" in found:
        asked = found["structured_outputs"]
        found["structured_outputs"] = {"json": asked.json, "tight": asked.disable_any_whitespace}
    return {name: value if isinstance(value, dict) else repr(value) for name, value in found.items()}


def completion(sampling: Any, place: int) -> Any:
    """An answer that shows what is made of it: room around the text, unequal chances that do not add up to 1."""
    chances = {token: 1 / (2 + i) for i, token in enumerate(sampling.allowed_token_ids or [])}
    first = {token: SimpleNamespace(logprob=math.log(chance)) for token, chance in chances.items()}
    ended = "length" if place == 1 else "stop"
    return SimpleNamespace(
        text=" It is 7. Yes\n",
        token_ids=[1] * (2 + place),
        finish_reason=ended,
        logprobs=[first, first],
        stop_reason=None,
    )


def stored(progress: Path) -> list[dict[str, Any]]:
    """The rows of all parts, without the digest of what each was made from; the last bits of numbers are the machine's.

    A new column needs a new record and no new version, as the table's shape is part of the store's key.
    """
    parts = [pq.read_table(path).drop_columns(["input"]) for path in progress.rglob("*.parquet")]
    rows = [
        {name: float(f"{value:.9g}") if isinstance(value, float) else value for name, value in row.items()}
        for part in parts
        for row in part.to_pylist()
    ]
    return sorted(rows, key=canonical_json)


# ---------------------------------------------------------------- the stages and their inputs


def questions() -> list[dict]:
    origin = {"generator": "g", "seed": 3, "finish_reason": "stop", "tokens": 9, "sampling_seed": 1}
    return [{"id": question_id("g", 3, i), "index": i, "question": text, **origin} for i, text in enumerate(TEXTS)]


def filtered() -> list[dict]:
    verdict = {"kept": True, "dropped_by": "", "marks": "", "reason": "", "difficulty": None, "solvable": None}
    return [{**{k: row[k] for k in ("id", "generator", "seed", "index", "question")}, **verdict} for row in questions()]


def responses() -> list[dict]:
    made = {"answer": "7", "finish_reason": "stop", "tokens": 9, "sampling_seed": 1}
    return [
        {"id": row["id"], "sample": s, "reasoning": None, "response": f"Try {s}: 7", **made}
        for row in questions()
        for s in range(2)
    ]


def steps() -> list[dict]:
    return [{**row, "response": f"Try.\n\n{row['response']}"} for row in responses()]


def problems() -> list[dict]:
    rest = {"source": "seeds", "solution": None, "answer": "7", "facts": "{}"}
    return [{"id": f"p/{i}", "index": i, "question": text, **rest} for i, text in enumerate(TEXTS)]


INPUTS: dict[str, tuple[Table, Callable[[], list[dict]]]] = {
    "questions": (QUESTIONS, questions),
    "filtered": (FILTERED, filtered),
    "responses": (ATTEMPTS, responses),
    "steps": (ATTEMPTS, steps),
    "problems": (PROBLEMS, problems),
}
REWRITE = {"backend": "engine", "share_solvability": 0.5, "sampling": SAMPLING, "structured": True}
REWRITE |= {"max_length_ratio": 4.0}
RESPONSES = {"samples": 2, "sampling": {**SAMPLING, "temperature": 0.7, "top_p": 0.95}}
# The recorder's sentence begins as a trace, which is then ended.
THINKING = {"open": "It", "close": "</think>", "budget": 8, "at_budget": "answer"}
ASKED = {"prompt": "Solve: {question}", "format": "chat", "samples": 1, "sampling": {**SAMPLING, "temperature": 0.0}}
TOPICS = {"options": ["Algebra", "Number Theory", "Geometry"], "max_questions": 5}
ANSWERS = {"problems": "problems", "shard": "0", "of": "1"}
# The cases whose model has a head.
HEADS = {
    "score_responses, model": "LlamaForSequenceClassification",
    "score_responses, process": "Qwen2ForProcessRewardModel",
}
# Case -> (script, settings, arguments); an argument that names an input becomes its table.
CASES: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    "sample_questions": (
        "sample_questions",
        {"purpose": "questions", "sampling": SAMPLING},
        {"generator": "g", "seed": "3", "start": "4", "count": "8"},
    ),
    "judge_questions, choice": (
        "judge_questions",
        {"judge": {"verdict": "choice", "reasoning_tokens": 0}},
        {"questions": "questions"},
    ),
    "judge_questions, reasoning": (
        "judge_questions",
        {"judge": {"verdict": "choice", "reasoning_tokens": 32}},
        {"questions": "questions"},
    ),
    "rewrite_questions": ("rewrite_questions", {"rewrite": REWRITE, "seed": 42}, {"questions": "questions"}),
    "sample_responses": ("sample_responses", {"responses": RESPONSES}, {"questions": "filtered"}),
    "sample_responses, thinking": (
        "sample_responses",
        {"responses": {**RESPONSES, "thinking": THINKING}},
        {"questions": "filtered"},
    ),
    "measure_fail_rates": (
        "measure_fail_rates",
        {"difficulty": {**RESPONSES, "problems": 4}, "grading": {"time_limit": 5.0}},
        {"seeds": "problems", "rates": "rates.parquet"},
    ),
    "score_responses, verifier": (
        "score_responses",
        {"reward": {"kind": "verifier"}},
        {"questions": "filtered", "attempts": "responses"},
    ),
    "score_responses, model": (
        "score_responses",
        {"reward": {"kind": "model"}},
        {"questions": "filtered", "attempts": "responses"},
    ),
    "score_responses, process": (
        "score_responses",
        {"reward": {"kind": "process"}},
        {"questions": "filtered", "attempts": "steps"},
    ),
    "sample_answers, chat": ("sample_answers", {"evaluation": ASKED}, ANSWERS),
    "sample_answers, plain": ("sample_answers", {"evaluation": {**ASKED, "format": "plain"}}, ANSWERS),
    "score_difficulty": ("score_difficulty", {"max_length": 32}, {"questions": "questions"}),
    "choose_topics, questions": ("choose_topics", TOPICS, {"questions": "filtered"}),
    "choose_topics, problems": ("choose_topics", TOPICS, {"problems": "problems"}),
}


def sent(case: str, model: Path, folder: Path) -> Sent:
    """What a stage sends to the engine and stores, by aspect. `model` is a manifest, `folder` an empty folder."""
    name, settings, arguments = CASES[case]
    script = importlib.import_module(name)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if case in HEADS:
        model = with_head(model, HEADS[case], folder)
    line = [name, "--settings", json.dumps({**settings, "engine": ENGINE, "domain": "math"}), "--model", str(model)]
    for option, value in {**arguments, "progress": "progress", "out": "out.parquet"}.items():
        path = folder / value
        if value in INPUTS:
            table, rows = INPUTS[value]
            write_table(path, rows(), table)
        is_path = value in INPUTS or value == "progress" or value.endswith(".parquet")
        line += [f"--{option}", str(path) if is_path else value]

    class Here(Recorder):
        sent: Sent = {"engine": {}, "prompts": [], "seeds": [], "parameters": []}  # noqa: RUF012 - one class a case

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vllm.LLM", Here)
        patch.setattr(sys, "argv", line)
        script.main()
    return {**Here.sent, "rows": stored(folder / "progress")}


def with_head(manifest: Path, architecture: str, folder: Path) -> Path:
    """Manifest of a model with another architecture's name and the separator of steps; it has no weights."""
    from scalequest.llm.chat import load_tokenizer
    from scalequest.llm.models import open_model
    from scalequest.tasks.rewards import SEPARATOR

    given = open_model(manifest).folder
    tokenizer = load_tokenizer(given)
    if architecture == "Qwen2ForProcessRewardModel":
        tokenizer.add_tokens([SEPARATOR])
    tokenizer.save_pretrained(folder / "model")
    config = {**read_json(given / "config.json"), "architectures": [architecture], "num_labels": 1}
    write_json(folder / "model" / "config.json", config)
    write_manifest(folder / "model.json", folder / "model", name="tiny", source="test")
    return folder / "model.json"


@contextlib.contextmanager
def stand_ins(folder: Path) -> Iterator[None]:
    """Prompt files of fixed texts in place of those of mathematics in resources/."""
    (folder / "math" / "prompts").mkdir(parents=True)
    for name, text in STAND_INS.items():
        (folder / "math" / "prompts" / name).write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "FOLDER", folder)
        yield


def digests(found: Sent) -> dict[str, str]:
    return {aspect: digest(found[aspect])[:16] for aspect in ASPECTS}


def complaint(golden: Mapping[str, Any], version: int, found: Mapping[str, Mapping[str, str]]) -> str:
    """What is wrong with a record, and what to do; empty where nothing is."""
    if golden["version"] != version:
        then = golden["version"]
        return f"SAMPLING_VERSION is {version}, and {GOLDEN.name} is of version {then}: record it anew with `{RECORD}`."
    changed = [
        f"{case} ({', '.join(aspect for aspect in ASPECTS if then.get(aspect) != now.get(aspect))})"
        for case in sorted({*found, *golden["sent"]})
        if (now := found.get(case, {})) != (then := golden["sent"].get(case, {}))
    ]
    if not changed:
        return ""
    return (
        f"what is sent to the engine or stored of its answers changed: {'; '.join(changed)}. Rows that are stored were "
        "made the old way and would be taken for new ones. If you did not mean it, undo it. If you did, raise "
        f"SAMPLING_VERSION in scripts/scalequest/__init__.py and record anew with `{RECORD}`."
    )


# ---------------------------------------------------------------- tests


@pytest.fixture(scope="module", autouse=True)
def fixed_prompts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with stand_ins(tmp_path_factory.mktemp("domains") / "domains"):
        yield


def test_every_prompt_file_has_a_stand_in_with_its_places():
    folder = ROOT / "resources" / "domains" / "math" / "prompts"
    assert {path.name for path in folder.iterdir()} == set(STAND_INS)
    for name, text in STAND_INS.items():
        if name.endswith(".txt"):
            places = set(prompts._PLACE.findall(text))
            assert places == set(prompts._PLACE.findall((folder / name).read_text(encoding="utf-8"))), name


def test_nothing_else_is_sent_or_stored_than_was_recorded(tiny_manifest, tmp_path):
    found = {case: digests(sent(case, tiny_manifest, tmp_path / "work")) for case in CASES}
    assert complaint(read_json(GOLDEN), SAMPLING_VERSION, found) == ""


def test_every_stage_that_loads_an_engine_is_recorded():
    stages = {
        path.stem for path in (ROOT / "scripts").glob("*.py") if "EngineStage(" in path.read_text(encoding="utf-8")
    }
    assert stages == {script for script, _, _ in CASES.values()}


def another_seed(patch: pytest.MonkeyPatch) -> None:
    import sample_questions

    old = sample_questions.row_seed
    patch.setattr(sample_questions, "row_seed", lambda *parts: old(*parts) + 1)


def another_prompt(patch: pytest.MonkeyPatch) -> None:
    from scalequest.llm import chat

    patch.setattr(chat, "_prefix_ids", lambda tokenizer, *texts: tokenizer("".join(texts))["input_ids"][:-1])


def no_stop(patch: pytest.MonkeyPatch) -> None:
    import dataclasses

    from scalequest.tasks import engine_stage

    old = engine_stage.question_format
    patch.setattr(engine_stage, "question_format", lambda *t: dataclasses.replace(old(*t), stops=old(*t).stops[:-1]))


def other_batches(patch: pytest.MonkeyPatch) -> None:
    from scalequest.tasks import engine_stage

    old = engine_stage.in_windows
    patch.setattr(
        engine_stage, "in_windows", lambda rows, store, window, *rest, **more: old(rows, store, 2, *rest, **more)
    )


def another_default(patch: pytest.MonkeyPatch) -> None:
    import vllm

    old = vllm.SamplingParams
    patch.setattr(vllm, "SamplingParams", lambda **given: old(**{**given, "min_p": 0.1}))


def another_probability(patch: pytest.MonkeyPatch) -> None:
    from scalequest.settings import Sampling
    from scalequest.tasks import judging

    def unscaled(stage, conversations, seeds, options):
        tokens = judging.choice_tokens(stage.tokenizer, options)
        asked = [judging.encode_chat(stage.tokenizer, messages) for messages in conversations]
        made = stage.generate(asked, seeds, Sampling(1.0, 1.0, 1), allowed=[token for own in tokens for token in own])
        return [[sum(completion.first.get(token, 0.0) for token in own) for own in tokens] for completion in made]

    patch.setattr(judging, "choose", unscaled)


def another_reading(patch: pytest.MonkeyPatch) -> None:
    import dataclasses

    from scalequest.llm import engine

    old = engine._completion
    patch.setattr(engine, "_completion", lambda *given: dataclasses.replace(old(*given), finish_reason="stop"))


def another_score(patch: pytest.MonkeyPatch) -> None:
    from scalequest.llm.engine import Engine

    old = Engine.score
    patch.setattr(Engine, "score", lambda *given: [-score for score in old(*given)])


@pytest.mark.parametrize(
    ("mutate", "aspects", "case"),
    [
        (another_seed, {"seeds", "rows"}, "sample_questions"),
        (another_prompt, {"prompts"}, "sample_questions"),
        (no_stop, {"parameters"}, "sample_questions"),
        (another_default, {"parameters"}, "sample_questions"),
        (other_batches, {"prompts", "rows"}, "sample_questions"),
        (another_probability, {"rows"}, "judge_questions, choice"),
        (another_probability, {"rows"}, "score_responses, verifier"),
        (another_reading, {"rows"}, "sample_answers, plain"),
        (another_score, {"rows"}, "score_responses, model"),
    ],
)
def test_a_change_is_seen_and_named(tiny_manifest, tmp_path, mutate, aspects, case, monkeypatch):
    golden: dict[str, Any] = {
        "version": SAMPLING_VERSION,
        "sent": {case: digests(sent(case, tiny_manifest, tmp_path / "work"))},
    }
    mutate(monkeypatch)
    found = {case: digests(sent(case, tiny_manifest, tmp_path / "work"))}
    assert {a for a in ASPECTS if found[case][a] != golden["sent"][case][a]} == aspects
    assert f"{case} ({', '.join(a for a in ASPECTS if a in aspects)})" in complaint(golden, SAMPLING_VERSION, found)


@pytest.mark.parametrize(
    ("version", "seeds", "said"),
    [
        (1, "a", ""),
        (1, "b", "raise SAMPLING_VERSION"),
        (2, "a", f"record it anew with `{RECORD}`"),
        (2, "b", f"record it anew with `{RECORD}`"),
    ],
)
def test_version_and_record_go_together(version, seeds, said):
    golden = {"version": 1, "sent": {"stage": {"seeds": "a"}}}
    found = complaint(golden, version, {"stage": {"seeds": seeds}})
    assert said in found
    assert bool(said) == bool(found)


def test_a_new_or_vanished_stage_is_a_change():
    golden = {"version": 1, "sent": {"old": {"seeds": "a"}}}
    assert "new (seeds); old (seeds)" in complaint(golden, 1, {"new": {"seeds": "b"}})


def record() -> None:
    """Write the golden file anew, of this checkout's code."""
    from tiny import make_tiny_model

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = folder / "tiny.json"
        write_manifest(manifest, make_tiny_model(folder / "model"), name="tiny", source="test")
        with stand_ins(folder / "domains"):
            found = {case: digests(sent(case, manifest, folder / "work")) for case in CASES}
    write_json(GOLDEN, {"version": SAMPLING_VERSION, "sent": found})


if __name__ == "__main__":
    if sys.argv[1:] != ["--record"]:
        sys.exit(f"usage: {RECORD}")
    record()
