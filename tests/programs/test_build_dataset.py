"""The published files: rows, card and manifest, built from small tables made by hand and read back as users would."""

from __future__ import annotations

import io
import itertools
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pyarrow as pa
import pyarrow.json as paj
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

import build_dataset
from scalequest.config.defaults import fill_defaults
from scalequest.errors import ScaleQuestError
from scalequest.hashing import file_sha256
from scalequest.publishing import card
from scalequest.rows.published import DATASET
from scalequest.rows.tables import CANDIDATES, FILTERED, question_id, read_rows, write_table
from scalequest.runtime.files import read_json, write_json
from scalequest.visible import visible

ROOT = Path(__file__).resolve().parents[2]
FILES = {name: f"--{name}" for name in ("parquet", "jsonl", "chat", "card", "manifest", "funnel", "pipeline")}
NAMES = {
    "parquet": "train.parquet",
    "jsonl": "train.jsonl",
    "chat": "chat.jsonl",
    "card": "README.md",
    "manifest": "manifest.json",
    "funnel": "funnel.svg",
    "pipeline": "pipeline.svg",
}
ORDER = ["language", "length", "duplicates", "contamination", "difficulty", "solvability"]
HOSTILE = [
    "---\nlicense: mit\n---\n# not a heading",
    "<script>alert(1)</script></details><!-- <img src=x onerror=y>",
    "{{ 7 * 7 }}{% for x in y %}{# gone #}{% endraw %}${7*7}%s%(name)s{0}",
    "```\n# out\n``````\n~~~\n</pre>\n`````````````````````",
    "a | b\n|---|---|\n| [x](javascript:y) | ![i](u) | **b** _i_ ~~s~~ &amp; \\",
    "ends\u2028of\u2029li\x85nes\x0bof\x0call\x1ckinds\rhere\r\nthere\x1b[31m",
    "",
    "مرحبا \u202eכמה 😀 \U0001d4b3 é e\u0301 \x00 \\boxed{4} $$x$$",
    "long `" + "`" * 5000 + "\n" * 50 + "x" * 200_000,
]


def question(index: int, text: str = "What is 2 + 2?", *, generator: str = "g", seed: int = 0, **other: Any) -> dict:
    """A row of FILTERED; kept unless `dropped_by` says otherwise."""
    row = {
        "id": question_id(generator, seed, index),
        "generator": generator,
        "seed": seed,
        "index": index,
        "question": text,
        "dropped_by": "",
        "marks": "",
        "reason": "",
        "difficulty": None,
        "solvable": 0.75,
    } | other
    return {"kept": row["dropped_by"] == "", **row}


def response(asked: dict, sample: int, text: str = "4", *, selected: bool = False, **other: Any) -> dict:
    """A row of CANDIDATES that answers a question."""
    return {
        "id": asked["id"],
        "sample": sample,
        "reasoning": None,
        "response": text,
        "answer": "4",
        "reward": 0.5 + sample / 8,
        "votes": 2,
        "selected": selected,
        "tokens": 10 + sample,
        "finish_reason": "stop",
    } | other


def answered(questions: list[dict], text: str = "4", samples: int = 2) -> list[dict]:
    """Candidates for the kept questions, the last sample of each selected."""
    return [
        response(asked, sample, text, selected=sample == samples - 1)
        for asked in questions
        if asked["kept"]
        for sample in range(samples)
    ]


class Run:
    """A run's inputs in a folder, and `build` that makes the dataset of them."""

    def __init__(self, folder: Path, shards: list[tuple[list[dict], list[dict]]], **changes: Any):
        self.folder = folder
        self.config = fill_defaults(yaml.safe_load((ROOT / "config.yaml").read_text())) | changes
        self.filtered, self.candidates = [], []
        self.reward = ["--reward-model", str(folder / "judge.json")]
        for number, (questions, responses) in enumerate(shards):
            self.filtered.append(str(folder / f"f{number}.parquet"))
            self.candidates.append(str(folder / f"c{number}.parquet"))
            write_table(self.filtered[-1], questions, FILTERED)
            write_table(self.candidates[-1], responses, CANDIDATES)
        self.generators = sorted({row["generator"] for questions, _ in shards for row in questions} or {"g"})
        for name in self.generators:
            self.manifest(name, base={"name": "base", "digest": "0" * 64})
        self.manifest("solver")
        self.manifest("judge")
        write_json(folder / "seeds.json", {"name": "seeds", "source": "path:seeds.jsonl", "digest": "5" * 64})
        self.licences("apache-2.0", "MIT")
        self.formats({"chat": 9, "prompt_completion": 9, "preference": 2, "rl": 3})

    def formats(self, rows: dict[str, int]) -> None:
        """Write what build_formats makes, of so many rows: its counts, and files that nothing reads here."""
        names = [f"{name}.parquet" for name in rows]
        self.made = [self.folder / "formats" / name for name in ("formats.json", *names, "verl_reward.py")]
        self.made[0].parent.mkdir(exist_ok=True)
        left_out = {"preference": {"no other answer": 7}, "rl": {"no answer": 6}}
        write_json(self.made[0], {"rows": rows, "left_out": left_out})
        for path in self.made[1:]:
            path.write_text(path.name)

    def manifest(self, name: str, **facts: Any) -> None:
        entry = {"name": name, "folder": "models/x", "source": f"hf:org/{name}@rev", "files": {}}
        write_json(self.folder / f"{name}.json", {**entry, "digest": name.encode().hex() * 8, **facts})

    def licences(self, models: str, data: str) -> None:
        """Write the config, with every name that the manifests have and these licences."""
        named = {
            "models": {name: {"licence": models} for name in ("base", "solver", "judge")},
            "datasets": {"seeds": {"licence": data}},
            "generators": {name: {"model": "base"} for name in self.generators},
        }
        self.config |= named
        write_json(self.folder / "config.json", self.config)

    def arguments(self, out: Path, **dataset: str) -> list[str]:
        named = {"name": "demo", "licence": "Apache-2.0", "licence_link": None, "language": "en"} | dataset
        asked = [f"{name}={self.folder / name}.json" for name in self.generators]
        return [
            *("--settings", json.dumps({"dataset": named})),
            *("--filtered", *self.filtered, "--candidates", *self.candidates),
            *("--question-models", *asked, "--response-model", str(self.folder / "solver.json")),
            *(*self.reward, "--manifests", str(self.folder / "seeds.json")),
            *("--config-snapshot", str(self.folder / "config.json"), "--formats", *map(str, self.made)),
            *(word for name, option in FILES.items() for word in (option, str(out / NAMES[name]))),
        ]

    def build(self, out: Path | None = None, **dataset: str) -> Path:
        out = out or self.folder / "dataset"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["build_dataset.py", *self.arguments(out, **dataset)])
            build_dataset.main()
        return out


def two_shards() -> list[tuple[list[dict], list[dict]]]:
    """Three shards of four questions, two generators: three dropped, one marked, one without a selected response."""
    first = [question(i, f"{i} + {i}?", dropped_by="length" if i == 1 else "", reason="") for i in range(4)]
    second = [question(i, f"{i} + 1?", seed=10, marks="contamination" if i == 2 else "") for i in range(4)]
    third = [question(i, f"{i} * 2?", generator="h", dropped_by="solvability" if i < 2 else "") for i in range(4)]
    answers = [answered(rows) for rows in (first, second, third)]
    answers[1] = [row | {"selected": row["selected"] and row["id"] != second[3]["id"]} for row in answers[1]]
    return list(zip((first, second, third), answers, strict=True))


# ---------------------------------------------------------------- rows


def test_rows_carry_what_is_known_about_them(tmp_path: Path) -> None:
    rows = read_rows(Run(tmp_path, two_shards()).build() / "train.parquet", DATASET)
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    assert len(rows) == 8
    assert list(rows[0])[:2] == ["query", "response"]
    marked = next(row for row in rows if row["marks"])
    assert marked == {
        "query": "2 + 1?",
        "response": "4",
        "reasoning": None,
        "id": "g/s10/000000002",
        "sample": 1,
        "generator": "g",
        "seed": 10,
        "index": 2,
        "answer": "4",
        "reward": 0.625,
        "votes": 2,
        "samples": 2,
        "difficulty": None,
        "solvable": 0.75,
        "marks": "contamination",
        "question_model": f"g@{('67' * 8)[:12]}",
        "response_model": f"solver@{b'solver'.hex()[:12]}",
        "reward_model": f"judge@{(b'judge'.hex() * 2)[:12]}",
    }


def test_several_selected_responses_of_a_question_are_rows_of_their_own(tmp_path: Path) -> None:
    run = Run(tmp_path, [(good(), [row | {"selected": True} for row in answered(good())])])
    rows = read_rows(run.build() / "train.parquet", DATASET)
    assert [(row["id"], row["sample"]) for row in rows] == [
        (asked["id"], sample) for asked in good() for sample in range(2)
    ]
    # The funnel counts questions.
    assert json.loads((tmp_path / "dataset" / "manifest.json").read_text())["funnel"][-1]["rows_out"] == len(good())


def test_the_card_of_several_responses_and_of_solvers_says_so(tmp_path: Path) -> None:
    chosen = [row | {"selected": True} for row in answered(good())]
    solvers = {"large": {"model": "qwen_large", "samples": 4, "sampling": {}}}
    selection = {"rule": "majority", "keep": 2, "require_answer": True}
    one = Run(tmp_path, [(good(), chosen)])
    plain = " ".join((one.build() / "README.md").read_text().split())
    assert "one row a question" in plain and "selects one among" in plain and "No answer was verified" in plain
    one.config |= {"selection": selection, "verification": {"solvers": solvers}}
    write_json(tmp_path / "config.json", one.config)
    words = " ".join((one.build() / "README.md").read_text().split())
    assert f"{len(chosen)} worked answers to {len(good())} mathematics questions. Language models wrote" in words
    assert "The funnel, in questions." in words and "The funnel, in rows." in plain
    assert "one row for each selected response" in words and "selects up to 2 of different texts among" in words
    assert "answered again, for `rl` (solver large) | qwen\\_large" in words
    assert "No answer was verified" not in words and "No person verified an answer" in words
    assert '"qwen_large"' in words


def test_a_conversation_has_the_trace_as_its_configuration_has(tmp_path: Path) -> None:
    run = Run(tmp_path, [(good(), [row | {"reasoning": "Two and two."} for row in answered(good())])])
    line = (run.build() / "chat.jsonl").read_text(encoding="utf-8").splitlines()[0]
    assert json.loads(line)["messages"][1]["content"] == "<think>\nTwo and two.\n</think>\n\n4"


def test_datasets_reads_the_same_rows_from_all_three(tmp_path: Path) -> None:
    from datasets import load_dataset

    rows = [question(i, text, marks="length") for i, text in enumerate(HOSTILE)]
    answers = [response(asked, 0, text, selected=True) for asked, text in zip(rows, reversed(HOSTILE), strict=True)]
    folder = Run(tmp_path, [(rows, answers)]).build()
    cache = str(tmp_path / "cache")

    def load(kind: str, **how: Any) -> list[dict]:
        return load_dataset(kind, split="train", cache_dir=cache, **how).to_list()

    whole = load(str(folder))
    assert [row["query"] for row in whole] == HOSTILE
    assert [row["response"] for row in whole] == HOSTILE[::-1]
    assert load("parquet", data_files=str(folder / "train.parquet")) == whole
    lines = load("json", data_files=str(folder / "train.jsonl"))
    assert lines == whole
    assert list(lines[0]) == list(DATASET.schema.names)
    talks = load("json", data_files=str(folder / "chat.jsonl"))
    assert [talk["id"] for talk in talks] == [row["id"] for row in whole]
    assert [[turn["content"] for turn in talk["messages"]] for talk in talks] == [
        [row["query"], row["response"]] for row in whole
    ]
    assert [turn["role"] for turn in talks[0]["messages"]] == ["user", "assistant"]


def test_sharding_changes_no_byte_of_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_dataset, "BLOCK_ROWS", 3)
    questions = [question(i, f"{i}?") for i in range(11)]
    one = Run(tmp_path / "one", [(questions, answered(questions))]).build()
    cuts = [(6, 11), (0, 1), (1, 6)]
    parts = [(questions[a:b], answered(questions[a:b])) for a, b in cuts]
    many = Run(tmp_path / "many", [*parts, ([], [])]).build()
    for name in ("train.parquet", "train.jsonl", "chat.jsonl", "README.md"):
        assert (one / name).read_bytes() == (many / name).read_bytes()
    assert pq.ParquetFile(one / "train.parquet").metadata.num_row_groups == 4


@given(st.lists(st.integers(0, 9), max_size=8), st.integers(1, 7))
def test_blocks_are_the_same_rows(sizes: list[int], wanted: int) -> None:
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    tables = [
        pa.table({"n": list(range(a, a + size))}, pa.schema([("n", pa.int64())]))
        for a, size in zip(starts, sizes, strict=True)
    ]
    blocks = list(build_dataset.in_blocks(iter(tables), wanted))
    assert [n for block in blocks for n in block["n"].to_pylist()] == list(range(sum(sizes)))
    assert all(len(block) == wanted for block in blocks[:-1])
    assert all(0 < len(block) <= wanted for block in blocks)


def test_without_a_reward_model(tmp_path: Path) -> None:
    rows = [question(i) for i in range(2)]
    run = Run(tmp_path, [(rows, [row | {"reward": float("nan")} for row in answered(rows)])])
    run.reward = []
    folder = run.build()
    built = read_rows(folder / "train.parquet", DATASET)
    assert [(row["reward"], row["reward_model"]) for row in built] == [(None, None)] * 2
    assert [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()] == built
    assert "No model scores the responses" in (folder / "README.md").read_text()


# ---------------------------------------------------------------- lines of JSON


@settings(max_examples=300)
@given(st.text(st.characters()), st.text(st.sampled_from('\x85\u2028\u2029\r\n\x0b\x0c\x1c\x1d\x1e\ud800\udfff"\\a😀')))
def test_json_line_is_one_line_for_every_reader(one: str, two: str) -> None:
    line = build_dataset.json_line({"query": one, "response": two})
    assert line.endswith("\n")
    assert len(line.splitlines()) == 1
    wanted = {key: re.sub("[\ud800-\udfff]", "\ufffd", text) for key, text in (("query", one), ("response", two))}
    assert json.loads(line) == wanted
    assert paj.read_json(io.BytesIO(line.encode())).to_pylist() == [wanted]


@given(st.text())
def test_json_line_round_trip(text: str) -> None:
    row = {"query": text, "reward": -1.5e-300, "votes": 2**53 + 1, "answer": None}
    assert json.loads(build_dataset.json_line(row)) == row


# ---------------------------------------------------------------- the funnel


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["g", "h"]),
            st.sampled_from(["", *ORDER]),
            st.sets(st.sampled_from(ORDER)),
            st.integers(1, 9),
        ),
        max_size=12,
    )
)
def test_funnel_adds_up(fates: list[tuple[str, str, set[str], int]]) -> None:
    counts: Counter[card.Verdict] = Counter()
    for generator, dropped_by, marks, count in fates:
        counts[card.Verdict(generator, dropped_by, tuple(sorted(marks - {dropped_by})))] += count
    steps = card.funnel(counts, ORDER)
    assert [step.name for step in steps] == ORDER
    assert all(step.rows_in - step.dropped == step.rows_out for step in steps)
    assert all(before.rows_out == after.rows_in for before, after in itertools.pairwise(steps))
    assert steps[0].rows_in == counts.total()
    assert steps[-1].rows_out == sum(n for verdict, n in counts.items() if not verdict.dropped_by)
    assert all(0 <= step.marked <= step.rows_in for step in steps)


def test_a_row_is_marked_only_by_filters_that_it_reached() -> None:
    counts = {card.Verdict("g", "length", ("language", "solvability")): 3, card.Verdict("g", "", ("language",)): 2}
    steps = {step.name: step for step in card.funnel(counts, ["language", "length", "solvability"])}
    assert [steps[name].marked for name in ("language", "length", "solvability")] == [5, 0, 0]
    assert steps["length"].dropped == 3


def test_funnel_of_the_whole_dataset(tmp_path: Path) -> None:
    manifest = read_json(Run(tmp_path, two_shards()).build() / "manifest.json")
    told = {
        step["name"]: (step["rows_in"], step["dropped"], step["marked"], step["rows_out"])
        for step in manifest["funnel"]
    }
    assert told == {
        "language": (12, 0, 0, 12),
        "length": (12, 1, 0, 11),
        "duplicates": (11, 0, 0, 11),
        "contamination": (11, 0, 1, 11),
        "difficulty": (11, 0, 0, 11),
        "solvability": (11, 2, 0, 9),
        "responses": (9, 0, 0, 9),
        "selection": (9, 1, 0, 8),
    }
    assert manifest["rows"] == 8
    assert manifest["tokens"] == {"responses": 9 * 21, "selected": 8 * 11}


# ---------------------------------------------------------------- the manifest


def test_equal_runs_give_equal_bytes(tmp_path: Path) -> None:
    run = Run(tmp_path, two_shards())
    one, two = run.build(tmp_path / "one"), run.build(tmp_path / "two")
    for name in ("train.parquet", "train.jsonl", "chat.jsonl", "README.md"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    first, second = read_json(one / "manifest.json"), read_json(two / "manifest.json")
    assert set(first.pop("run")) == set(second.pop("run")) == {"finished", "seconds"}
    assert first == second
    assert first["config"] == run.config
    assert first["packages"]["pyarrow"] == pa.__version__
    made = {path.name: path for path in run.made}
    for name, entry in first["outputs"].items():
        path = made.get(name, one / name)
        assert entry == {"sha256": file_sha256(path), "bytes": path.stat().st_size}
    assert set(first["outputs"]) == {*NAMES.values(), *made} - {"manifest.json"}
    assert {str(tmp_path / f"{name}.json") for name in ("config", "g", "h", "solver", "judge", "seeds")} < set(
        first["inputs"]
    )
    assert [entry["name"] for entry in first["models_and_data"]] == ["g", "h", "judge", "seeds", "solver"]


def test_git_facts(tmp_path: Path) -> None:
    git = shutil.which("git")
    if git is None:
        pytest.skip("git is not installed")
    assert build_dataset.git_facts(tmp_path) == {"commit": None, "dirty": None}

    def run(*words: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        subprocess.run([git, "-C", str(tmp_path), *who, *words], check=True, capture_output=True)  # noqa: S603 (own words)

    run("init")
    (tmp_path / "a").write_text("1")
    run("add", "a")
    run("commit", "-m", "one")
    clean = build_dataset.git_facts(tmp_path)
    assert re.fullmatch("[0-9a-f]{40}", clean["commit"])
    assert clean["dirty"] is False
    (tmp_path / "a").write_text("2")
    assert build_dataset.git_facts(tmp_path) == {"commit": clean["commit"], "dirty": True}


# ---------------------------------------------------------------- the card


def parsed(text: str) -> tuple[dict[str, Any], list[Any]]:
    """The YAML of a card as the hub reads it, and the tokens of its Markdown."""
    from huggingface_hub import DatasetCard

    shown = DatasetCard(text)
    return shown.data.to_dict(), MarkdownIt("commonmark").enable("table").parse(shown.text)


def headings(tokens: list[Any]) -> list[str]:
    return [after.content for before, after in itertools.pairwise(tokens) if before.type == "heading_open"]


def html(tokens: list[Any]) -> list[str]:
    """Every piece of HTML that a renderer would pass on."""
    inline = [child for token in tokens for child in token.children or ()]
    return [token.content.strip() for token in (*tokens, *inline) if token.type.startswith("html")]


def test_card_is_valid_and_tells_the_facts(tmp_path: Path) -> None:
    data, tokens = parsed((Run(tmp_path, two_shards()).build() / "README.md").read_text())
    info = data.pop("dataset_info")
    assert info["splits"] == [{"name": "train", "num_examples": 8}]
    assert [feature["name"] for feature in info["features"]] == [column.name for column in DATASET.columns]
    assert {feature["dtype"] for feature in info["features"]} == {"string", "int64", "float64"}
    assert data == {
        "pretty_name": "demo",
        "license": "apache-2.0",
        "language": ["en"],
        "size_categories": ["n<1K"],
        "task_categories": ["text-generation"],
        "tags": ["math", "synthetic", "scalequest"],
        "annotations_creators": "machine-generated",
        "source_datasets": ["original"],
        "configs": [
            {"config_name": "default", "data_files": [{"split": "train", "path": "train.parquet"}], "default": True},
            *(
                {"config_name": name, "data_files": [{"split": "train", "path": f"{name}.parquet"}]}
                for name in ("chat", "preference", "prompt_completion", "rl")
            ),
        ],
    }
    assert headings(tokens)[0] == "demo"
    cells = " ".join(token.content for token in tokens if token.type == "inline")
    for fact in ("8 mathematics questions", "hf:org/solver@rev", "MIT", "No answer was verified", "No other benchmark"):
        assert fact in cells
    assert "storage" not in cells


def test_a_configuration_without_rows_is_not_offered(tmp_path: Path) -> None:
    run = Run(tmp_path, two_shards())
    run.formats({"chat": 8, "prompt_completion": 8, "preference": 0, "rl": 0})
    data, tokens = parsed((run.build() / "README.md").read_text())
    assert [entry["config_name"] for entry in data["configs"]] == ["default", "chat", "prompt_completion"]
    words = " ".join(token.content for token in tokens if token.type == "inline")
    assert "A configuration without rows cannot be loaded" in words
    # What was left out, and why.
    assert "no other answer 7 rl no answer 6" in words.replace("`", "")


def test_a_licence_that_the_hub_does_not_list_has_a_name_and_a_link(tmp_path: Path) -> None:
    link = "https://example.org/licence"
    run = Run(tmp_path, two_shards())
    data, _ = parsed((run.build(licence="Qwen-Research", licence_link=link) / "README.md").read_text())
    assert (data["license"], data["license_name"], data["license_link"]) == ("other", "Qwen-Research", link)


def test_the_card_shows_the_funnel_and_the_stages(tmp_path: Path) -> None:
    folder = Run(tmp_path, two_shards()).build()
    text = (folder / "README.md").read_text()
    for name in ("funnel.svg", "pipeline.svg"):
        assert f"]({name})" in text
        assert ET.parse(folder / name).getroot().tag.endswith("svg")  # noqa: S314 - our own drawing
    drawn = "".join(ET.parse(folder / "funnel.svg").getroot().itertext())  # noqa: S314
    assert "selection" in drawn


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_breaks_the_card(tmp_path: Path, text: str) -> None:
    run = Run(tmp_path, [([question(0, text)], answered([question(0)], text))])
    run.manifest("solver", source=text)
    run.licences(text, text)
    plain = Run(tmp_path / "plain", [([question(0)], answered([question(0)]))])
    name = text[:300] or "demo"
    data, tokens = parsed((run.build(name=name) / "README.md").read_text(encoding="utf-8"))
    plain_data, plain_tokens = parsed((plain.build(name="demo") / "README.md").read_text(encoding="utf-8"))
    assert data.pop("pretty_name") == " ".join(visible(name.replace("\r\n", "\n")).split())
    del plain_data["pretty_name"]
    assert data == plain_data
    assert headings(tokens)[1:] == headings(plain_tokens)[1:]
    assert html(tokens) == html(plain_tokens)
    # The same blocks and cells, so that nothing of the text was taken for Markdown.
    kinds = [[t.type for t in some if t.type != "inline"] for some in (tokens, plain_tokens)]
    assert kinds[0] == kinds[1]
    links = [
        sum(c.type in ("link_open", "image") for t in some for c in t.children or ()) for some in (tokens, plain_tokens)
    ]
    assert links[0] == links[1]
    shown = [token.content for token in tokens if token.type == "fence"][:2]
    if text.isascii() and "\r" not in text and len(text) <= card.EXAMPLE_CHARACTERS:
        assert shown == [f"{text}\n"] * 2
    assert all(len(block) < 2 * card.EXAMPLE_CHARACTERS for block in shown)


def test_the_card_shows_what_nobody_would_see(tmp_path: Path) -> None:
    """Controls of direction reorder what is read; some readers end lines at more characters than others."""
    hidden = "\u202a\u202e\u2066\u2069\u200e\u200f\u061c\u2028\u2029\x85\x1b\x00\x9b"
    text = f"a{'b'.join(hidden)}c"
    rows = [question(0, text)]
    run = Run(tmp_path, [(rows, answered(rows, text))])
    run.manifest("solver", source=text)
    run.licences(text, text)
    out = run.build(name=text)
    shown = (out / "README.md").read_bytes().decode()
    assert not set(shown) & set(hidden)
    for character in hidden:
        assert shown.count(f"\\u{ord(character):04x}") >= 4, hex(ord(character))
    # The rows are as they were.
    (row,) = read_rows(out / "train.parquet", DATASET)
    assert row["query"] == row["response"] == text
    assert json.loads((out / "train.jsonl").read_text(encoding="utf-8"))["query"] == text


@given(st.text(max_size=300))
def test_escaped_text_is_one_paragraph_of_plain_words(text: str) -> None:
    tokens = MarkdownIt("commonmark").enable("table").parse(f"- x{card.escaped(text)}")
    kinds = {child.type for token in tokens for child in token.children or ()}
    assert kinds <= {"text", "text_special"}
    assert [token.type for token in tokens if token.level == 2] == ["paragraph_open", "paragraph_close"]


@given(st.text(st.sampled_from("`~\n\r a\x00<|-#\u2028"), max_size=200))
def test_a_fence_holds_whatever_is_in_it(text: str) -> None:
    tokens = MarkdownIt("commonmark").parse(f"before\n\n{card.fenced(text)}\n\nafter")
    assert [token.type for token in tokens if token.level == 0] == [
        *("paragraph_open", "paragraph_close", "fence", "paragraph_open", "paragraph_close"),
    ]


@given(st.text(st.sampled_from("`\\ \n\r a\x00<*_-#"), max_size=40))
def test_inline_code_holds_whatever_is_in_it(text: str) -> None:
    tokens = MarkdownIt("commonmark").parse(f"- x {card.code(text)} y")
    assert [child.type for token in tokens for child in token.children or ()] == ["text", "code_inline", "text"]


def test_examples_are_the_same_however_many_rows_follow(tmp_path: Path) -> None:
    few, many = ([question(i, f"question {i}") for i in range(n)] for n in (3, 40))
    shown = {
        text
        for rows, name in ((few, "few"), (many, "many"))
        for text in re.findall(
            r"question \d+", (Run(tmp_path / name, [(rows, answered(rows))]).build() / "README.md").read_text()
        )
    }
    assert {"question 0", "question 1", "question 2"} <= shown
    assert 3 <= len(shown) <= 6


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [(1, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10**5, "100K<n<1M"), (10**6, "1M<n<10M"), (10**8, "n>100M")],
)
def test_size_category(rows: int, wanted: str) -> None:
    assert card.size_category(rows) == wanted


def test_filters_that_did_not_run_are_said_to_be_missing(tmp_path: Path) -> None:
    filters = fill_defaults(yaml.safe_load((ROOT / "config.yaml").read_text()))["filters"]
    for name in ("duplicates", "contamination", "solvability"):
        filters[name] = filters[name] | {"enabled": False}
    rows = [question(i) for i in range(2)]
    text = (Run(tmp_path, [(rows, answered(rows))], filters=filters).build() / "README.md").read_text()
    for sentence in ("No duplicates were looked for", "No comparison with any test set was made", "not judged at all"):
        assert sentence in text


def test_server_addresses_stay_out_of_the_card() -> None:
    config = {"preference_tuning": {"seed": 1}, "operation": {"server": {"base_url": "http://x"}}}
    assert json.loads(card.shown_settings(config)) == {"preference_tuning": {"seed": 1}}


# ---------------------------------------------------------------- errors


def good() -> list[dict]:
    return [question(i) for i in range(3)]


def failing() -> dict[str, tuple[list[tuple[list[dict], list[dict]]], str]]:
    """Shards that cannot be published, and a pattern that the error must match."""
    rows = good()
    dropped = [question(i, dropped_by=name) for i, name in enumerate(["length", "length", "solvability"])]
    unselected = [row | {"selected": False, "answer": None, "finish_reason": "length"} for row in answered(rows)]
    nan = [row | {"reward": float("nan")} for row in answered(rows)]
    return {
        "all filtered": (
            [(dropped, [])],
            r"none of 3 questions: length dropped 2 of 3, solvability dropped 1 of 1\. Loosen filters\.length "
            r"\(max_characters: \d+, min_characters: \d+, .*filters\.solvability "
            r"\(max_unparsed: [\d.]+, min_probability: [\d.]+, ",
        ),
        "none selected": (
            [(rows, unselected)],
            r"none of 6 responses to 3 questions was selected.*6 have no final answer and 6 were cut.*require_answer",
        ),
        "nothing at all": ([([], [])], r"every filtered table is empty"),
        "stray response": ([(rows, answered([question(7)]))], r"response to 'g/s0/000000007', which is not among"),
        "dropped question": ([(dropped, answered(rows))], r"'g/s0/000000000', which is not among the questions kept"),
        "NaN reward": ([(rows, nan)], r"f0\.parquet.*'g/s0/000000000' has reward nan"),
        "overlap": ([(rows, answered(rows))] * 2, r"f0\.parquet and .*f1\.parquet overlap at 'g/s0/000000000'"),
        "contradiction": ([([row | {"kept": False} for row in rows], [])], r"kept False and dropped_by ''"),
        "unknown filter": ([([question(0, dropped_by="taste")], [])], r"\['taste'\], and filters\.order has"),
    }


@pytest.mark.parametrize("case", failing())
def test_what_cannot_be_published(tmp_path: Path, case: str) -> None:
    shards, message = failing()[case]
    run = Run(tmp_path, shards)
    out = tmp_path / "dataset"
    out.mkdir()
    for name in NAMES.values():
        (out / name).write_text("older")
    with pytest.raises(ScaleQuestError, match=message):
        run.build()
    assert {path.name: path.read_text() for path in out.iterdir()} == dict.fromkeys(NAMES.values(), "older")


def test_traces_that_did_not_end_are_named_where_nothing_was_selected(tmp_path: Path) -> None:
    shards, _ = failing()["none selected"]
    run = Run(tmp_path, shards)
    run.config["responses"]["thinking"] = {"open": None, "close": None, "budget": 77, "at_budget": "cut"}
    write_json(tmp_path / "config.json", run.config)
    with pytest.raises(ScaleQuestError, match=r"traces that did not end within responses\.thinking\.budget \(77\)"):
        run.build()


def test_arguments_that_do_not_fit(tmp_path: Path) -> None:
    run = Run(tmp_path, [(good(), answered(good()))])
    run.filtered *= 2
    with pytest.raises(ScaleQuestError, match="2 filtered tables and 1 candidates"):
        run.build()
    run.filtered = run.filtered[:1]
    run.generators = ["other"]
    run.manifest("other")
    with pytest.raises(ScaleQuestError, match="no model is given for the generator 'g': pass --question-models g="):
        run.build()
    run.generators = ["g"]
    write_json(tmp_path / "seeds.json", {"name": "others", "source": "x", "digest": "y"})
    with pytest.raises(ScaleQuestError, match=r"seeds\.json is of 'others', which the config does not have"):
        run.build()
    write_json(tmp_path / "seeds.json", {"name": "seeds", "source": "x"})
    with pytest.raises(ScaleQuestError, match=r"seeds\.json has no digest"):
        run.build()


def test_as_a_program(tmp_path: Path) -> None:
    run = Run(tmp_path, [([question(0, dropped_by="length")], [])])
    words = [sys.executable, str(ROOT / "scripts/build_dataset.py"), *run.arguments(tmp_path / "dataset")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603 (own words)
    assert done.returncode == 1
    assert "error: the filters left none of 1 questions" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "dataset/train.parquet").exists()
