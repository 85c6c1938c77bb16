"""Measuring: shards, pass@k, intervals, grades of whatever a model says, and the table beside the published one."""

from __future__ import annotations

import csv
import html
import io
import json
import math
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import build_table
from programs import ENGINE, SCRIPTS, script, succeeded
from sample_answers import shard
from scalequest.config.selectors import later_table, published_table
from scalequest.grading.graders import GRADERS
from scalequest.grading.measures import interval, measure, pass_at_k, resampled
from scalequest.llm.chat import load_tokenizer
from scalequest.llm.models import write_manifest
from scalequest.rows.tables import ATTEMPTS, GRADES, PROBLEMS, read_rows, write_table
from scalequest.runtime.files import read_json, write_json

TESTS = Path(__file__).resolve().parents[1]
PROMPT = "{question}\n\nReason step by step, and put your final answer within \\boxed{}."


# ---------------------------------------------------------------- shards
@given(st.integers(0, 200), st.sets(st.integers(0, 20)), st.integers(1, 40), st.integers(1, 9))
def test_shards_are_whole_windows_that_add_up_to_all(count: int, left_out: set[int], window: int, of: int) -> None:
    rows = [{"index": i} for i in range(count) if i not in left_out]
    shards = [shard(rows, number, of, window) for number in range(of)]
    assert [row for part in shards for row in part] == rows
    blocks = [{row["index"] // window for row in part} for part in shards]
    # A window that two jobs shared would be two batches.
    assert sum(map(len, blocks)) == len(set().union(*blocks))


@given(st.integers(0, 200), st.integers(1, 40), st.integers(1, 9))
def test_shards_of_a_whole_benchmark_are_even(count: int, window: int, of: int) -> None:
    sizes = [-(-len(shard([{"index": i} for i in range(count)], n, of, window)) // window) for n in range(of)]
    assert max(sizes) - min(sizes) <= 1


# ---------------------------------------------------------------- measures
@pytest.mark.parametrize(("samples", "right", "k"), [(5, 0, 1), (5, 2, 1), (5, 2, 3), (5, 4, 2), (4, 4, 4), (6, 1, 6)])
def test_pass_at_k_is_the_share_of_all_draws_with_a_right_answer(samples: int, right: int, k: int) -> None:
    answers = [True] * right + [False] * (samples - right)
    draws = list(combinations(answers, k))
    assert pass_at_k(right, samples, k) == pytest.approx(sum(any(draw) for draw in draws) / len(draws))


def test_the_interval_is_that_of_resampling_problems_one_by_one() -> None:
    scores = [0.0] * 60 + [1.0] * 30 + [0.5] * 10
    draw = np.random.default_rng(0)
    slow = np.array([np.mean(draw.choice(scores, len(scores))) * 100 for _ in range(20_000)])
    found = measure(scores, "here")
    assert found.percent == pytest.approx(35.0)
    assert (found.low, found.high) == pytest.approx(np.percentile(slow, (2.5, 97.5)), abs=0.6)
    # Near the normal approximation too, and the same each time.
    spread = 1.96 * 100 * np.std(scores) / math.sqrt(len(scores))
    assert (found.high - found.low) / 2 == pytest.approx(spread, rel=0.05)
    assert measure(scores, "here") == found
    assert interval(resampled([1.0] * 7, "all")) == (100.0, 100.0)


# ---------------------------------------------------------------- grading
RESPONSES = {
    "right": r"So the answer is $\boxed{12}$.",
    "wrong": r"Therefore $\boxed{13}$.",
    "none": "I do not know.",
    "empty": "",
    "long": r"\boxed{" + "9" * 100_000 + "}",
    "tower": r"\boxed{10^{10^{10}}}",
    "deep": r"\boxed{" + "{" * 5000 + "12" + "}" * 5000 + "}",
    "code": r"\boxed{__import__('pathlib').Path('ran').touch()}",
    "shell": "The answer is $(touch ran); `touch ran`",
    "html": r"\boxed{<script>alert(1)</script>}",
    "scripts": "\u0627\u0644\u062c\u0648\u0627\u0628 \\boxed{\u0661\u0662} \u202e21\x00",
}


def problem(number: int, **changes: Any) -> dict[str, Any]:
    row = {"id": f"b/{number:08d}", "index": number, "source": "b", "question": "How many?", "solution": None}
    return {**row, "answer": "12", "facts": json.dumps({"level": f"Level {number % 2}"}), **changes}


def attempt(number: int, response: str, sample: int = 0) -> dict[str, Any]:
    row = {
        "id": f"b/{number:08d}",
        "sample": sample,
        "reasoning": None,
        "response": response,
        "answer": None,
        "finish_reason": "stop",
    }
    return {**row, "tokens": len(response), "sampling_seed": 1}


def graded(
    folder: Path, problems: list[dict], answers: list[dict], name: str = "m", benchmark: str = "b", ks: tuple = ()
) -> Path:
    """Folder of what grade_answers leaves of these answers."""
    out = folder / name / benchmark
    out.mkdir(parents=True)
    write_table(folder / f"{benchmark}.parquet", problems, PROBLEMS)
    # Two shards, which are put together.
    for part in (0, 1):
        write_table(out / f"answers{part}.parquet", answers[part::2], ATTEMPTS)
    done = script(
        *("grade_answers", {"grading": {"time_limit": 2.0}, "k": ks}),
        **{"name": name, "problems": folder / f"{benchmark}.parquet", "progress": folder / "progress"},
        **{"answers": [out / f"answers{part}.parquet" for part in (0, 1)], "grades": out / "grades.parquet"},
        **{"measures": out / "measures.json", "disagreements": out / "disagreements.jsonl"},
    )
    succeeded(done)
    return out


def test_every_answer_has_a_grade_by_every_grader_whatever_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    problems = [problem(i) for i in range(len(RESPONSES))] + [problem(len(RESPONSES), answer=None)]
    answers = [attempt(i, text) for i, text in enumerate([*RESPONSES.values(), r"\boxed{12}"])]
    out = graded(tmp_path, problems, answers)
    rows = read_rows(out / "grades.parquet", GRADES)
    assert len(rows) == len(GRADERS) * len(answers)
    names = [*RESPONSES, "no gold"]
    for grader in GRADERS:
        by = {names[int(row["id"][2:])]: row for row in rows if row["grader"] == grader}
        assert by["right"]["right"] and not by["wrong"]["right"]
        assert by["empty"]["how"] == "none" and not by["empty"]["right"]
        assert (by["no gold"]["how"], by["no gold"]["right"]) == ("no gold", False)
        for name in ("long", "tower", "code", "shell", "html"):
            assert not by[name]["right"], (grader, name)
    assert not (tmp_path / "ran").exists()
    found = read_json(out / "measures.json")
    assert found["problems"] == len(problems)
    assert {part["value"] for part in found["parts"]["paper"]} == {"Level 0", "Level 1"}
    assert sum(part["n"] for part in found["parts"]["paper"]) == len(problems)


def test_what_was_cut_and_what_was_never_sent_are_counted_apart(tmp_path: Path) -> None:
    over = {"finish_reason": "length"}
    answers = [attempt(0, r"\boxed{12}"), attempt(1, r"\boxed{12} and so on") | over, attempt(2, "") | over]
    found = read_json(graded(tmp_path, [problem(i) for i in range(3)], answers) / "measures.json")
    assert (found["cut"], found["unsent"]) == (1, 1)
    # By the framework that `paper` follows, what was cut is no answer.
    assert [round(found["graders"][name]["pass@1"]["percent"]) for name in ("equivalence", "paper")] == [67, 33]


def test_disagreements_are_listed_with_both_verdicts(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (TESTS / "unit/grading/grader_differences.jsonl").read_text().splitlines()]
    rows = [row for row in rows if not row["facts"]][:6]
    assert len(rows) > 3
    problems = [problem(i, answer=row["gold"]) for i, row in enumerate(rows)] + [problem(len(rows))]
    answers = [attempt(i, row["response"]) for i, row in enumerate(rows)] + [attempt(len(rows), r"\boxed{12}")]
    out = graded(tmp_path, problems, answers)
    listed = [json.loads(line) for line in (out / "disagreements.jsonl").read_text().splitlines()]
    assert [row["id"] for row in listed] == [f"b/{i:08d}" for i in range(len(rows))]
    assert all(row["paper"]["right"] != row["equivalence"]["right"] for row in listed)
    assert read_json(out / "measures.json")["disagreements"] == len(rows)


def test_several_answers_give_pass_at_k_and_a_vote(tmp_path: Path) -> None:
    # Right: 2 of 3 (voted), 1 of 3, 0 of 3; and a tie whose first answer is right.
    said = [("12", "12.0", "5"), ("12", "5", "5"), ("1", "2", "3"), ("12", "7", "8")]
    answers = [
        attempt(i, rf"\boxed{{{text}}}", sample) for i, row in enumerate(said) for sample, text in enumerate(row)
    ]
    out = graded(tmp_path, [problem(i) for i in range(4)], answers, ks=(2,))
    found = read_json(out / "measures.json")["graders"]["equivalence"]
    assert found["pass@1"]["percent"] == pytest.approx(100 * (2 + 1 + 0 + 1) / 12)
    # Of two answers one is right with chance 1, 2/3, 0, 2/3.
    assert found["pass@2"]["percent"] == pytest.approx(700 / 12)
    assert found["pass@3"]["percent"] == pytest.approx(75.0)
    assert found["maj@3"]["percent"] == pytest.approx(50.0)
    assert found["pass@1"]["n"] == 4
    tabled(tmp_path, [out], {**SETTINGS, "benchmarks": ["b"], "compare": {}})
    assert "58.3 [" in (tmp_path / "t.md").read_text().split("pass@1 | pass@2 | pass@3 | maj@3")[1]
    assert re.search("<th>pass@2</th>.*<td>58.3<", (tmp_path / "t.html").read_text(), re.DOTALL)


def test_grading_again_gives_the_same_bytes_and_loads_no_engine(tmp_path: Path) -> None:
    answers = [attempt(i, text) for i, text in enumerate(RESPONSES.values())]
    problems = [problem(i) for i in range(len(answers))]
    one, two = (graded(tmp_path / name, problems, answers) for name in ("one", "two"))
    for name in ("grades.parquet", "measures.json", "disagreements.jsonl"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    line = "import sys, grade_answers; sys.exit(bool({'scalequest.llm.engine', 'vllm', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", line], env={**os.environ, "PYTHONPATH": str(SCRIPTS)}, check=False)  # noqa: S603
    assert done.returncode == 0


def test_a_problem_without_an_answer_of_the_model_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"1 problems of .* have no answer, b/00000001 first"):
        graded(tmp_path, [problem(0), problem(1)], [attempt(0, "?")])


# ---------------------------------------------------------------- sampling
def sampled(folder: Path, manifest: Path, problems: Path, number: int = 0, of: int = 1, **changes: Any) -> list[dict]:
    sampling = {**GREEDY, **changes}
    evaluation = {"prompt": PROMPT, "format": "chat", "samples": 1, "sampling": sampling}
    done = script(
        *("sample_answers", {"evaluation": evaluation, "engine": {**ENGINE, "window": 4, "max_sequences": 4}}),
        **{"model": manifest, "problems": problems, "shard": number, "of": of},
        **{"progress": folder / "progress", "out": folder / f"answers{number}of{of}.parquet"},
    )
    said = succeeded(done)
    assert "prompt (chat): '{question}" in said and f"'temperature': {sampling['temperature']}" in said
    return read_rows(folder / f"answers{number}of{of}.parquet", ATTEMPTS)


GREEDY = {"temperature": 0.0, "top_p": 1.0, "max_tokens": 16}


def test_shards_give_the_answers_of_one_job(tiny_manifest: Path, tmp_path: Path) -> None:
    problems = [problem(i, question=f"What is {i} + {i}?") for i in range(10)]
    write_table(tmp_path / "b.parquet", problems, PROBLEMS)
    whole = sampled(tmp_path / "whole", tiny_manifest, tmp_path / "b.parquet")
    parts = [sampled(tmp_path / "parts", tiny_manifest, tmp_path / "b.parquet", n, 2) for n in (0, 1)]
    assert [len(part) for part in parts] == [4, 6]
    assert [row for part in parts for row in part] == whole


def test_what_a_model_says_of_its_sampling_changes_nothing(tiny_model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    (folder / "generation_config.json").unlink()
    write_table(tmp_path / "b.parquet", [problem(i) for i in range(4)], PROBLEMS)
    write_manifest(tmp_path / "plain.json", folder, name="plain", source="test")
    plain = sampled(tmp_path / "plain", tmp_path / "plain.json", tmp_path / "b.parquet", temperature=1.0)
    assert max(row["tokens"] for row in plain) == GREEDY["max_tokens"]
    # Ends: the tokens that were generated.
    texts = load_tokenizer(folder)([row["response"] for row in plain], add_special_tokens=False)["input_ids"]
    own = {"eos_token_id": sorted({token for text in texts for token in text}), "do_sample": True}
    own |= {"temperature": 5.0, "top_k": 3, "repetition_penalty": 9.0, "max_new_tokens": 2}
    for file in ("generation_config.json", "config.json"):
        willed = shutil.copytree(folder, tmp_path / f"with {file}")
        path = willed / file
        path.write_text(json.dumps((read_json(path) if path.exists() else {}) | own))
        write_manifest(tmp_path / "willed.json", willed, name="willed", source="test")
        again = sampled(tmp_path / file, tmp_path / "willed.json", tmp_path / "b.parquet", temperature=1.0)
        assert again == plain, file


# ---------------------------------------------------------------- the table
FOUR = {"gsm8k_test": "gsm8k", "math_test": "math", "college": "college_math", "olympiad": "olympiadbench"}
SETTINGS = {
    "benchmarks": [*FOUR, "extra"],
    "columns": FOUR,
    "compare": {"teacher": "Qwen2-Math-7B-Instruct"},
    "sampling": GREEDY,
}
FILES = {"grades": "grades.parquet", "measures": "measures.json"}
HOSTILE = "<script>document.title = 'ran'</script> | `x` {{ 7*7 }}"
FORMULA = '=HYPERLINK("http://127.0.0.1:1","x")'


def tabled(folder: Path, made: list[Path], settings: dict[str, Any] = SETTINGS, **overlaps: dict[str, Any]) -> None:
    """Build the table of these folders of grades; `overlaps` are what students' training sets hold."""
    files = {name: [path / file for path in made] for name, file in FILES.items()}
    for name in settings["benchmarks"]:
        left_out = {"where": 100, "malformed": 3, "unusable": 4} if name == "extra" else {}
        write_json(folder / "datasets" / f"{name}.json", {"left_out": left_out})
    for name, found in overlaps.items():
        write_json(folder / name / "overlap.json", found)
    files["staged"] = [folder / "datasets" / f"{name}.json" for name in settings["benchmarks"]]
    files["overlaps"] = [folder / name / "overlap.json" for name in overlaps]
    out = {"csv": "t.csv", "parts": "p.csv", "markdown": "t.md", "html": "t.html"}
    succeeded(script("build_table", settings, **files, **{name: folder / file for name, file in out.items()}))


def measured(folder: Path, name: str, right: int, of: int = 8) -> list[Path]:
    """Folders of a model's grades on each benchmark of the settings."""
    made = []
    for benchmark in SETTINGS["benchmarks"]:
        kinds = [HOSTILE] * 3 + [FORMULA, "-1", "plain", "plain", "plain"]
        problems = [problem(i, facts=json.dumps({"kind": kind})) for i, kind in enumerate(kinds)]
        if benchmark == "extra":
            problems[-1]["answer"] = None
        answers = [attempt(i, r"\boxed{12}" if i < right else r"\boxed{1}") for i in range(of)]
        made.append(graded(folder, problems, answers, name, benchmark))
    return made


class Cells(HTMLParser):
    """Rows of cells of each table, and every tag."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_data(self, data: str) -> None:
        if self.tables and self.tables[-1] and self.tables[-1][-1]:
            self.tables[-1][-1][-1] += data + " "


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a table of a teacher that is compared with a published row and a student that is not."""
    folder = tmp_path_factory.mktemp("table")
    made = [*measured(folder, "teacher", 6), *measured(folder, "student", 2)]
    counts = {name: {"problems": 8, "held": 5, "rows": 77} for name in SETTINGS["benchmarks"]}
    overlap = {"rows": 100, "contamination": {"ngram": 13, "min_overlap": 0.5}, "benchmarks": counts}
    tabled(folder, made, student=overlap)
    return folder


def test_the_published_table_is_whole() -> None:
    rows = published_table()
    assert len(rows) == 28
    for row in rows:
        numbers = [row[name] for name in build_table.BENCHMARKS]
        # One published average is not that of its row (50.25).
        if all(numbers) and row["average"] and (row["model"], row["average"]) != ("DeepSeekMath-7B-RL", "49.3"):
            assert float(row["average"]) == pytest.approx(np.mean([float(n) for n in numbers]), abs=0.051), row["model"]


def test_a_table_of_nothing_is_refused(tmp_path: Path) -> None:
    out = {name: tmp_path / name for name in ("csv", "parts", "markdown", "html")}
    done = script("build_table", SETTINGS, grades=[], measures=[], staged=[], overlaps=[], **out)
    assert done.returncode == 1
    assert "nothing is measured, so there is no table" in done.stderr
    assert not any(path.exists() for path in out.values())


def test_what_could_not_be_compared_is_in_the_table(tmp_path: Path) -> None:
    made = measured(tmp_path, "student", 2)
    path = made[0] / "measures.json"
    found = read_json(path)
    found["graders"]["paper"]["how"] |= {"timeout": 1234, "error": 5678}
    path.write_text(json.dumps(found))
    tabled(tmp_path, made)
    for page in ("t.md", "t.html"):
        text = (tmp_path / page).read_text()
        assert "1234" in text and "5678" in text and "not comparable" in text


def test_the_figures_stand_beside_the_published_ones(table: Path) -> None:
    rows = list(csv.DictReader((table / "t.csv").open()))
    published = [row for row in rows if row["kind"] == "published"]
    assert len(published) == sum(bool(r[n]) for r in published_table() for n in (*build_table.BENCHMARKS, "average"))
    found = {(r["model"], r["grader"], r["benchmark"]): r for r in rows if r["kind"] == "measured"}
    assert len(found) == 2 * len(GRADERS) * 6
    math_row = found["teacher", "paper", "math"]
    assert (math_row["percent"], math_row["n"], math_row["compared_with"]) == ("75.00", "8", "Qwen2-Math-7B-Instruct")
    assert (math_row["published"], math_row["difference"]) == ("73.10", "1.90")
    assert float(math_row["low"]) < 75 < float(math_row["high"])
    average = found["teacher", "paper", "average"]
    assert (average["percent"], average["published"], average["difference"]) == ("75.00", "62.70", "12.30")
    # Four benchmarks are surer than one.
    assert float(average["high"]) - float(average["low"]) < float(math_row["high"]) - float(math_row["low"])
    assert found["student", "equivalence", "extra"]["percent"] == "25.00"
    assert found["student", "equivalence", "math"]["published"] == ""


def test_own_rows_come_first_then_what_they_are_compared_with_then_the_rest(table: Path) -> None:
    ours = [*["teacher"] * len(GRADERS), *["student"] * len(GRADERS), "Qwen2-Math-7B-Instruct"]
    page = Cells()
    page.feed((table / "t.html").read_text())
    models = [row[0] for row in page.tables[0][1:] if len(row) > 1]
    assert [name.split(" compared with ")[0].strip() for name in models][: len(ours)] == ours
    assert "compared with Qwen2-Math-7B-Instruct" in models[0] and "compared" not in models[len(GRADERS)]
    assert all(len(row) in (1, len(page.tables[0][0])) for row in page.tables[0])
    heads = [row[0].strip() for row in page.tables[0] if len(row) == 1]
    text = (table / "t.md").read_text()
    assert re.findall("^## (.*)$", text, re.MULTILINE)[: len(heads)] == heads
    assert heads[:2] == ["Measured here", "Published, compared with what was measured"]
    in_markdown = re.findall(r"^\| ([^|]+?)(?: \(.*?\))? \| (?:paper|equivalence|published) \|", text, re.MULTILINE)
    in_csv = [row["model"] for row in csv.DictReader((table / "t.csv").open())]
    assert in_markdown[: len(ours)] == ours
    assert list(dict.fromkeys(in_csv))[:3] == list(dict.fromkeys(ours))
    for names in (models[len(ours) :], in_markdown[len(ours) :], in_csv):
        assert {name.strip() for name in names} - set(ours) == {row["model"] for row in published_table()} - set(ours)


def test_a_table_without_comparison_names_no_row_for_one(tmp_path: Path) -> None:
    tabled(tmp_path, measured(tmp_path, "student", 2), {**SETTINGS, "compare": {}})
    heads = re.findall("^## (.*)$", (tmp_path / "t.md").read_text(), re.MULTILINE)
    assert heads[:2] == ["Measured here", "Published: teachers"]


def test_later_work_stands_below_where_a_benchmark_is_one_that_it_has(table: Path, tmp_path: Path) -> None:
    rows = later_table()
    assert {name for row in rows for name, figure in row.items() if name in build_table.LATER and figure} == {
        *build_table.LATER
    }
    assert all(row["source"] for row in rows)
    named = {**SETTINGS, "columns": {**FOUR, "extra": "aime_2024"}}
    tabled(tmp_path, measured(tmp_path, "student", 2), named)
    text = (tmp_path / "t.md").read_text()
    heads = re.findall("^## (.*)$", text, re.MULTILINE)
    assert heads[heads.index("What was measured") - 1] == build_table.LATER_WORK
    assert re.search(r"^\| PrismMath-7B .*arXiv 2505.20161.*\| published \| 54\.2 \|", text, re.MULTILINE)
    assert re.search(
        r"^\| ScaleDiff-7B .*arXiv 2509.21070, 65.9 on average over AIME 2024, .*\| published \| +\|", text, re.M
    )
    assert "AIME 2024 (n" in text
    found = [row for row in csv.DictReader((tmp_path / "t.csv").open()) if row["benchmark"] == "aime_2024"]
    assert {row["model"] for row in found} == {"student", *(row["model"] for row in rows if row["aime_2024"])}
    # Not where it is another one.
    assert "PrismMath" not in (table / "t.md").read_text()


def test_what_a_benchmark_says_is_shown_and_not_run(table: Path) -> None:
    page = Cells()
    page.feed((table / "t.html").read_text())
    assert "script" not in page.tags
    assert any(HOSTILE in cell for rows in page.tables for row in rows for cell in row)
    text = (table / "t.md").read_text()
    assert not re.search(r"(?<!\\)<script>", text) and "7*7" not in text and r"7\*7" in text
    parts = list(csv.DictReader((table / "p.csv").open()))
    # A spreadsheet would run what looks like a formula.
    assert {row["value"] for row in parts} == {HOSTILE, f"'{FORMULA}", "'-1", "plain"}


def test_no_reader_of_the_parts_finds_a_formula_or_a_control_character(tmp_path: Path) -> None:
    facts = ["a\r=1+1", "\uff1d1+1", " \t@x", "\x1b[31mred\x07", "a\u202eb\u2028c", "-1", "plain", "plain"]
    made = []
    for benchmark in SETTINGS["benchmarks"]:
        problems = [problem(i, facts=json.dumps({"kind": kind})) for i, kind in enumerate(facts)]
        made.append(graded(tmp_path, problems, [attempt(i, r"\boxed{12}") for i in range(8)], "student", benchmark))
    tabled(tmp_path, made)
    raw = (tmp_path / "p.csv").read_bytes().decode()
    lines = raw.split("\n")[:-1]
    assert lines == raw.splitlines() and len(lines) == 1 + 7 * len(SETTINGS["benchmarks"]) * len(GRADERS)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e]", raw)
    rows = list(csv.DictReader(io.StringIO(raw)))
    assert {row["value"] for row in rows} >= {r"a\u000d'=1+1", "'\uff1d1+1", r" \u0009'@x", "'-1"}
    assert {row["percent"] for row in rows} == {"100.00"}
    for page in ("t.md", "t.html"):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e]", (tmp_path / page).read_text())
        assert "u202eb" in (tmp_path / page).read_text()


def test_what_was_left_out_and_what_was_learnt_from_stand_beside_the_measures(table: Path) -> None:
    page = Cells()
    page.feed((table / "t.html").read_text())
    marked = re.findall(r"(?:^\|.*\|\n)+", (table / "t.md").read_text(), re.MULTILINE)
    (block,) = [block.splitlines() for block in marked if "answers to each" in block]
    in_markdown = [[cell.strip() for cell in line.strip("|").split("|")] for line in (block[0], *block[2:])]
    in_html = [[" ".join(cell.split()) for cell in row] for row in page.tables[1]]
    for rows in (in_html, in_markdown):
        head = rows[0]
        found = {(row[0], row[1].replace("\\", "")): dict(zip(head, row, strict=True)) for row in rows[1:]}
        names = ("rows left out in staging", "without a gold answer")
        assert [found["teacher", "extra"][name] for name in names] == ["7", "1"]
        assert [found["teacher", "college"][name] for name in names] == ["0", "0"]
        names = ("problems in the training set", "training rows that hold one")
        assert [found["student", "college"][name] for name in names] == ["5", "77"]
        assert [found["teacher", "college"][name] for name in names] == ["", ""]
    assert all(
        "has at least 50% of the problem's 13-grams" in (table / f"t.{kind}").read_text() for kind in ("md", "html")
    )


def test_the_number_of_problems_stands_above_the_figures(table: Path) -> None:
    page = Cells()
    page.feed((table / "t.html").read_text())
    assert "MATH (n = 8)" in [" ".join(cell.split()) for cell in page.tables[0][0]]
    heads = [line for line in (table / "t.md").read_text().splitlines() if line.startswith("| model | by |")]
    # Not above figures of which none was measured here; wherever in its group the measured row stands.
    rows = build_table.published_lines()
    rows.insert(1, build_table.Line("here", "teacher", {"math": build_table.Cell(50.0, n=8)}, "paper"))
    assert build_table.headings(rows, [])["math"].split() == ["MATH", "(n", "=", "8)"]
    assert ["MATH (n = 8)" in line.replace("\\", "") for line in heads] == [True, *[False] * 4]


# So that it asks for nothing from outside, and needs no sandbox of its own.
CHROMIUM = (
    *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--window-size=1000,800"),
)


def test_a_browser_shows_the_table_and_runs_nothing_of_it(table: Path, tmp_path: Path) -> None:
    if shutil.which("chromium") is None:
        assert "SCALEQUEST_CI" not in os.environ, "no chromium"
        pytest.skip("not installed: chromium (apt-get install chromium)")
    # Says how wide the page became and what is seen of it.
    probe = (
        "<script>const page = document.documentElement, pre = document.createElement('pre'); pre.id = 'seen';"
        "pre.textContent = page.scrollWidth + '\\n' + document.body.innerText; document.body.append(pre)</script>"
    )
    page = tmp_path / "page.html"
    page.write_text((table / "t.html").read_text().replace("</body>", probe + "</body>"))
    browser = [*CHROMIUM, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()]
    done = subprocess.run(browser, capture_output=True, text=True, timeout=120, check=False)  # noqa: S603 (our own page)
    assert done.returncode == 0, done.stderr
    seen = html.unescape(re.findall(r'<pre id="seen">(.*)</pre>', done.stdout, re.DOTALL)[0])
    width, _, text = seen.partition("\n")
    assert int(width) <= 1000
    assert HOSTILE in text
    assert "ran" not in re.findall("<title>(.*)</title>", done.stdout)[0]
    lines = [line.split("\t") for line in text.splitlines()]
    (qwen,) = [line for line in lines if line[0] == "Qwen2-Math-7B-Instruct"]
    assert [cell.strip() for cell in qwen[2:8]] == ["published", "89.5", "73.1", "50.5", "37.8", "62.7"]
    assert sum(line[0] == "teacher" for line in lines) > len(GRADERS)


def test_markdown_tables_have_as_many_cells_in_every_row(table: Path) -> None:
    blocks = [block.splitlines() for block in (table / "t.md").read_text().split("\n\n") if block.startswith("|")]
    assert len(blocks) >= 5
    for block in blocks:
        counts = {len(line.replace("\\|", "").split("|")) for line in block}
        assert len(counts) == 1, block
