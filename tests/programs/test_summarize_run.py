"""The one-screen summary: its arithmetic, its size, and what it refuses, from small tables made by hand."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import summarize_run
from programs import ATTEMPT
from scalequest.errors import ScaleQuestError
from scalequest.publishing import summary_text
from scalequest.rows.tables import ATTEMPTS, FILTERED, JUDGEMENTS, PROBLEMS, QUESTIONS, read_rows, to_arrow, write_table
from scalequest.runtime.files import read_json, write_json
from test_build_dataset import ORDER, Run, question, two_shards

# What a run has that goes on after the dataset.
WHOLE = {
    "students": ["students/pupil/model.json"],
    "measures": ["evaluation/pupil/bench/measures.json", "evaluation/base/bench/measures.json"],
}
HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
RULES = {
    "question_tuning": ["tune_questions"],
    "questions": ["sample_questions"],
    "language": ["filter_text"],
    "solvability": ["judge_questions"],
    "responses": ["sample_responses"],
    "dataset": ["build_dataset"],
    "students": ["tokenize_student", "tune_student", "count_overlap"],
    "evaluation": ["sample_answers"],
    "grading": ["grade_answers", "build_table"],
}
METRICS = {
    "scorer": {"n": 12, "pearson": 0.25, "spearman": None, "mae": 0.2, "rmse": 0.3},
    "constant_mean": {"n": 12, "pearson": None, "spearman": None, "mae": 0.3, "rmse": 0.4},
}


def benchmark(folder: Path, name: str, *seconds: float, memory: str = "100.5") -> None:
    """A benchmark file as Snakemake writes it."""
    path = folder / f"{name}.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{s}\t0:00:01\t{memory}\t-\t-\t-\t0.0\t0.0\t99.0\t1.0\n" for s in seconds]
    path.write_text(HEADER + "".join(lines))


def asked(rows: list[dict]) -> list[dict]:
    """QUESTIONS rows for FILTERED rows, five tokens each."""
    names = ("id", "generator", "seed", "index", "question")
    extra = {"finish_reason": "stop", "tokens": 5, "sampling_seed": 1}
    return [{name: row[name] for name in names} | extra for row in rows]


def judged(rows: list[dict], tokens: int) -> list[dict]:
    """JUDGEMENTS of these questions."""
    return [{"id": row["id"], "probability": 0.5, "verdict": None, "reasoning": "", "tokens": tokens} for row in rows]


def attempted(tokens: int) -> list[dict]:
    """ATTEMPTS at three problems."""
    row = {"sample": 0, "reasoning": None, "response": "4", "answer": "4", "finish_reason": "stop", "sampling_seed": 1}
    return [{"id": f"s{i}", "tokens": tokens, **row} for i in range(3)]


class Summary:
    """A finished run in a folder, and `make` that summarises it."""

    def __init__(self, folder: Path):
        self.folder, self.run = folder, Run(folder, two_shards())
        self.dataset = self.run.build(folder / "results/dataset") / "train.parquet"
        self.questions = []
        for rows, _ in two_shards():
            shard = f"{rows[0]['generator']}/seed{rows[0]['seed']}/gpu0.parquet"
            self.questions.append(str(folder / "results/questions" / shard))
            write_table(self.questions[-1], asked(rows), QUESTIONS)
            write_table(folder / "judged" / shard, judged(rows, 3), JUDGEMENTS)
        problem = {"source": "s", "question": "1?", "solution": None, "answer": "1", "facts": "{}"}
        write_table(folder / "seeds.parquet", [{"id": f"s{i}", "index": i, **problem} for i in range(7)], PROBLEMS)
        write_json(folder / "tuned.json", {"questions": 6, "too_long": 1})
        write_json(folder / "rank.json", {"method": "rank", "pairs": 2, "dropped": {"question cut off": 3, "other": 1}})
        write_json(folder / "rewrite.json", {"method": "rewrite", "pairs": 5, "dropped": {}})
        write_json(folder / "preferred.json", {"pairs": 5, "held_out": {"pairs": 1}, "too_long": 1})
        write_table(folder / "asked.parquet", asked([question(i) for i in range(9)]), QUESTIONS)
        write_table(folder / "ranked.parquet", judged([question(i) for i in range(9)], 1), JUDGEMENTS)
        write_table(folder / "attempts.parquet", attempted(100), ATTEMPTS)
        write_json(folder / "scorer.json", METRICS)
        write_json(folder / "students/pupil/model.json", {"rows": 6, "too_long": 2})
        counts = {"problems": 10, "samples": 2, "unsent": 1, "tokens": 1000}
        for name in ("pupil", "base"):
            write_json(folder / f"evaluation/{name}/bench/measures.json", counts)
        for name, seconds in (("g.seed0", 10.0), ("h.seed0", 2.0)):
            benchmark(folder / "benchmarks", f"sample_questions/{name}.gpu0", seconds)
        benchmark(folder / "benchmarks", "tune_questions/g", 60.0)
        benchmark(folder / "benchmarks", "filter_text/g.seed10.gpu0", 3.0, memory="NA")
        benchmark(folder / "benchmarks", "judge_questions", 1.5, 2.5)
        benchmark(folder / "benchmarks", "stage_model/m", 8.0)
        self.optional = {
            "seeds": ["seeds.parquet"],
            "tuned": ["tuned.json"],
            "pairs": ["rank.json", "rewrite.json"],
            "texts": ["asked.parquet", "ranked.parquet"],
            "preferred": ["preferred.json"],
            "scorer": ["scorer.json"],
            "attempts": ["attempts.parquet"],
            "judgements": ["judged"],
            **WHOLE,
        }
        self.rules: dict[str, list[str]] = RULES
        filters = self.run.config["filters"]
        keys = ("action", "min_probability")
        self.filters = [
            {"name": name, **{key: filters[name][key] for key in keys if key in filters[name]}}
            for name in filters["order"]
        ]

    def make(self) -> tuple[dict[str, Any], str]:
        out = self.folder / "summary.json"
        words = [
            *("--settings", json.dumps({"filters": self.filters, "rules": self.rules, "parts": 2})),
            *("--questions", *self.questions, "--filtered", *self.run.filtered, "--candidates", *self.run.candidates),
            *("--dataset", str(self.dataset), "--benchmarks", str(self.folder / "benchmarks")),
            *("--progress", str(self.folder / "progress"), "--models", str(self.folder / "models")),
            *("--out", str(out), "--text", str(out.with_suffix(".txt"))),
        ]
        for name, files in self.optional.items():
            words += [f"--{name}", *(str(self.folder / file) for file in files)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["summarize_run.py", *words])
            summarize_run.main()
        return read_json(out), out.with_suffix(".txt").read_text()


@pytest.fixture
def finished(tmp_path: Path) -> Summary:
    return Summary(tmp_path)


def rows_of(summary: dict[str, Any]) -> dict[str, tuple[int | None, ...]]:
    return {row["stage"]: tuple(row[key] for key in ("in", "dropped", "marked", "out")) for row in summary["stages"]}


def test_rows_of_each_stage(finished: Summary) -> None:
    assert rows_of(finished.make()[0]) == {
        "seeds": (None, None, None, 7),
        "question_tuning": (7, 1, None, 6),
        "pairs": (13, 4, None, 9),
        "preference_tuning": (7, 1, None, 6),
        "questions": (None, None, None, 12),
        "language": (12, 0, 0, 12),
        "length": (12, 1, 0, 11),
        "duplicates": (11, 0, 0, 11),
        "contamination": (11, 0, 1, 11),
        "difficulty": (11, 0, 0, 11),
        "solvability": (11, 2, 0, 9),
        "difficulty_scorer": (None, None, None, None),
        "responses": (9, 0, None, 9),
        "reward": (18, 0, None, 18),
        "selection": (9, 1, None, 8),
        "dataset": (None, None, None, 8),
        "students": (8, 2, None, 6),
        "evaluation": (40, 2, None, 38),
        "grading": (40, 0, None, 40),
    }


def test_every_line_adds_up(finished: Summary) -> None:
    summary, text = finished.make()
    for row in summary["stages"]:
        if row["in"] is not None:
            assert row["in"] - row["dropped"] == row["out"], row["stage"]
    # A pair is made of two questions, or of one and its rewriting: 2 * 2 + 5.
    assert next(row for row in summary["stages"] if row["stage"] == "pairs")["pairs"] == 7
    (line,) = [line for line in text.splitlines() if line.startswith("pairs (7) ")]
    assert line.split()[2:5] == ["13", "4", "9"]


def test_without_students_and_evaluation_their_old_jobs_count_for_nothing(finished: Summary) -> None:
    """As after the target `dataset`, in a folder where a whole run was before."""
    finished.optional = {name: files for name, files in finished.optional.items() if name not in WHOLE}
    before = finished.make()[0]
    for name in ("tune_student/pupil", "sample_answers/base.bench.0", "grade_answers/base.bench", "build_table"):
        benchmark(finished.folder / "benchmarks", name, 1000.0)
    assert finished.make()[0] == before
    assert list(rows_of(before))[-1] == "dataset"


def test_jobs_after_the_dataset_are_known_by_their_own_names(finished: Summary) -> None:
    before = finished.make()[0]
    jobs = ("tune_student/pupil", "count_overlap/pupil", "grade_answers/base.bench", "build_table")
    parts = [f"sample_answers/{name}.bench.{part}" for name in ("base", "pupil") for part in (0, 1)]
    for name in (*jobs, *parts):
        benchmark(finished.folder / "benchmarks", name, 10.0)
    # A student that is gone, whose name a generator has; a part, a model, a benchmark that are gone.
    gone = ("sample_answers/base.bench.2", "sample_answers/other.bench.0", "grade_answers/base.other")
    for name in ("tune_student/g", *gone):
        benchmark(finished.folder / "benchmarks", name, 1000.0)
    summary, _ = finished.make()
    seconds = {row["stage"]: row["seconds"] for row in summary["stages"]}
    assert [seconds[name] for name in ("students", "evaluation", "grading")] == [20, 40, 20]
    assert summary["jobs"] == before["jobs"] + 8
    assert summary["total_seconds"] == before["total_seconds"] + 80


def test_time_and_tokens(finished: Summary) -> None:
    summary, _ = finished.make()
    found = {row["stage"]: (row["seconds"], row["tokens"], row["tokens_per_second"]) for row in summary["stages"]}
    assert found["question_tuning"] == (60, None, None)
    assert found["questions"] == (12, 60, 5)
    assert found["language"] == (3, None, None)
    assert found["pairs"] == (None, 9 * 5 + 9, None)
    assert found["difficulty_scorer"] == (None, 300, None)
    assert found["solvability"] == (4, 36, 9)
    assert found["evaluation"] == (None, 2000, None)
    assert found["responses"] == (None, 189, None)
    assert summary["other_seconds"] == 8
    assert summary["total_seconds"] == 60 + 12 + 3 + 4 + 8
    assert summary["total_tokens"] == 54 + 60 + 300 + 36 + 189 + 2000
    assert summary["jobs"] == 6
    assert summary["rules"]["sample_questions"] == {"jobs": 2, "seconds": 12, "max_rss_mib": 100.5}
    assert summary["rules"]["filter_text"]["max_rss_mib"] == 0


def test_jobs_of_other_runs_are_not_counted(finished: Summary) -> None:
    before = finished.make()[0]
    for name in (
        *("sample_questions/g.seed0.gpu1", "sample_questions/h.seed10.gpu0", "sample_questions/old.seed0.gpu0"),
        *("judge_questions/g.seed1.gpu0", "tune_questions/old", "filter_duplicates/seed1", "filter_duplicates/seed100"),
        *("cut_difficulty/old.seed0", "cut_difficulty/h.seed10", "sample_questions/g.seed0/gpu0"),
    ):
        benchmark(finished.folder / "benchmarks", name, 1000.0)
    # Not even read.
    (finished.folder / "benchmarks/tune_questions/old.tsv").write_text("damaged")
    assert finished.make()[0] == before


def test_jobs_of_this_run_are_counted(finished: Summary) -> None:
    before = finished.make()[0]
    names = (
        *("make_seeds", "stage_model/old", "stage_data/train", "tune_questions/h", "filter_duplicates/seed10"),
        *("cut_difficulty/g.seed10", "sample_questions/g.seed10.gpu0"),
    )
    for name in names:
        benchmark(finished.folder / "benchmarks", name, 1.0)
    summary, _ = finished.make()
    assert summary["jobs"] == before["jobs"] + len(names)
    assert summary["total_seconds"] == before["total_seconds"] + len(names)
    assert summary["rules"]["stage_model"]["jobs"] == 2
    assert summary["rules"]["make_seeds"]["jobs"] == 1


def test_the_work_of_all_attempts_adds_up(finished: Summary, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed attempt counts up to its last sign of life; another experiment's, in the same folder, does not."""
    monkeypatch.chdir(finished.folder)
    record = {**ATTEMPT, "directory": str(finished.folder), "gpus": 2, "rows": 30}
    for number, (state, seconds, more) in enumerate(
        [("running", 1800, {}), ("done", 3600, {}), ("done", 7200, {"directory": "/elsewhere"})]
    ):
        path = finished.folder / f"progress/sample_questions/key/attempts/g-s0.{number:06d}.json"
        write_json(path, {**record, "state": state, "seconds": seconds, **more})
    # Staging counts as no engine's work.
    for place in ("question_tuning/g/attempts/key", "staged/attempts/m-1234"):
        path = finished.folder / f"models/{place}.000001.json"
        write_json(path, {**record, "state": "done", "seconds": 360, "gpus": 0})
    summary, text = finished.make()
    one = {"attempts": 2, "cut_short": 1, "rows": 60, "hours": 1.5, "gpu_hours": 3.0}
    assert summary["attempts"]["sample_questions"] == one
    assert summary["attempts"]["question_tuning"]["hours"] == pytest.approx(0.1)
    assert "Engines, trainings, grading, all 3 attempts: 1.60 h, 3.00 GPU-h" in text


@pytest.mark.parametrize("path", ["q0.parquet", "g/seed0.parquet", "g/seed0/gpu.parquet", "g/seedx/gpu0.parquet"])
def test_questions_of_no_shard_are_refused(path: str) -> None:
    with pytest.raises(ScaleQuestError, match=rf"--questions has {path}, which names no shard"):
        summarize_run.benchmark_names([Path(path)])


def test_a_shard_may_be_named_by_a_short_path() -> None:
    assert summarize_run.benchmark_names([Path("g/seed7/gpu0.parquet"), Path("/a/h/seed8/gpu12.parquet")]) == {
        *("g", "seed7", "g.seed7", "g.seed7.gpu0"),
        *("h", "seed8", "h.seed8", "h.seed8.gpu12"),
    }


def test_the_table_fits_one_screen_and_can_be_read(finished: Summary) -> None:
    # As the workflow has it, where each rule is of a stage.
    finished.rules = RULES | {"seeds": ["stage_model"]}
    _, text = finished.make()
    lines = text.splitlines()
    assert len(lines) <= 24
    assert max(map(len, [line for line in lines if str(finished.folder) not in line])) <= 100
    assert lines[0].split() == ["rows", "in", "and", "out", "of", "each", *(name for name, _ in summary_text.COLUMNS)]
    table = {line[:23].strip(): line[23:].split() for line in lines}
    assert table["length"] == ["12", "1", "0", "11"]
    assert table["questions"] == ["12", "12", "60", "5"]
    assert table["responses (18)"] == ["9", "0", "9", "189"]
    # With all that it can show.
    assert {"seeds", "pairs (7)", "students", "grading"} < set(table) and "other rules" not in table
    assert table["evaluation"] == ["40", "2", "38", "2,000"]
    assert table["selection and dataset"] == ["9", "1", "8"]
    assert table["all 6 jobs, summed"] == ["87", "2,639"]
    limit = finished.run.config["filters"]["solvability"]["min_probability"]
    assert f"Judged solvable (P(Yes) >= {limit}): g 100.0% of 8, h 100.0% of 4" in text
    assert "scorer, 12 problems held out: Pearson 0.250, Spearman -, RMSE 0.300 (constant: 0.400)" in text
    assert lines[-1] == f"Dataset: {finished.dataset.parent}. All numbers: {finished.folder / 'summary.json'}"


def test_numbers_of_a_paper_sized_run_fit_their_columns() -> None:
    entry = dict.fromkeys(("in", "dropped", "marked", "out", "seconds", "tokens_per_second"), 2000000)
    stages = [{"stage": name, "tokens": 3_000_000_000, **entry} for name in (*summarize_run.BEFORE, *ORDER)]
    shares = {f"generator-{i}": {"judged": 10**6, "solvable_share": 0.5} for i in range(9)}
    more: dict[str, Any] = {
        "other_seconds": None,
        "total_seconds": 1e7,
        "jobs": 1000,
        "total_tokens": 10**10,
        "scorer": None,
        "verdicts": None,
        "attempts": {},
    }
    text = summary_text.text(
        {"stages": stages, "generators": shares, "solvable_from": 0.5, "dataset": "d", "summary": "s", **more}
    )
    assert max(map(len, text.splitlines())) <= 100
    for line in text.splitlines()[1:12]:
        assert line[23:].split() == ["2,000,000"] * 5 + ["3,000,000,000", "2,000,000"]


def test_only_what_the_run_had(finished: Summary) -> None:
    finished.optional = {}
    finished.filters = [rule for rule in finished.filters if rule["name"] != "duplicates"]
    summary, text = finished.make()
    assert list(rows_of(summary)) == [
        "questions",
        *(name for name in ORDER if name != "duplicates"),
        *("responses", "reward", "selection", "dataset"),
    ]
    assert "scorer" not in text


def test_without_the_judge_nothing_is_said_of_solvable(finished: Summary) -> None:
    for path, (rows, _) in zip(finished.run.filtered, two_shards(), strict=True):
        other = {"dropped_by": "length", "kept": False}
        rows = [row | {"solvable": None} | (other if row["dropped_by"] == "solvability" else {}) for row in rows]
        write_table(path, rows, FILTERED)
    finished.filters = [rule for rule in finished.filters if rule["name"] != "solvability"]
    finished.rules = {stage: names for stage, names in RULES.items() if stage != "solvability"}
    summary, text = finished.make()
    assert "solvability" not in rows_of(summary)
    assert summary["solvable_from"] is None
    assert summary["generators"]["g"] == {"questions": 8, "kept": 7, "judged": 0}
    assert "solvable" not in text


def test_verdicts_that_could_not_be_read_are_counted(finished: Summary) -> None:
    summary, text = finished.make()
    assert summary["verdicts"] is None and "could not be read" not in text
    for path in (finished.folder / "judged").rglob("*.parquet"):
        rows = read_rows(path, JUDGEMENTS)
        new = [
            {**row, "probability": None, "verdict": "unparsed" if number == 0 else "yes"}
            for number, row in enumerate(rows)
        ]
        write_table(path, new, JUDGEMENTS)
    summary, text = finished.make()
    assert summary["verdicts"] == {"verdicts": 12, "unparsed": 3}
    assert "Verdicts that could not be read: 3 of 12 (25.0%)" in text


def test_solvable_share_counts_those_judged_alone(tmp_path: Path) -> None:
    chances = [0.2, 0.5, 0.9, None, None]
    rows = [question(i, solvable=p, dropped_by="length" if p is None else "") for i, p in enumerate(chances)]
    table = to_arrow(rows, FILTERED)
    assert summarize_run.count_generators(table, 0.5) == {"g": {"questions": 5, "kept": 3, "judged": 3, "solvable": 2}}


def test_nobody_judged(finished: Summary) -> None:
    for path, (rows, _) in zip(finished.run.filtered, two_shards(), strict=True):
        write_table(path, [row | {"solvable": None} for row in rows], FILTERED)
    summary, text = finished.make()
    assert summary["generators"]["g"]["solvable_share"] is None
    assert "Judged" not in text


def test_tables_of_two_runs_are_refused(finished: Summary) -> None:
    finished.questions.pop()
    with pytest.raises(ScaleQuestError, match="8 rows in the question tables and 12 in the filtered tables"):
        finished.make()


def test_an_older_dataset_is_refused(finished: Summary) -> None:
    finished.dataset = Run(finished.folder / "old", two_shards()[:1]).build() / "train.parquet"
    with pytest.raises(ScaleQuestError, match=r"8 responses selected .* and 3 rows in .*train\.parquet"):
        finished.make()


def test_a_file_of_another_kind_is_refused(finished: Summary) -> None:
    finished.dataset = Path(finished.questions[0])
    with pytest.raises(ScaleQuestError, match=r"gpu0\.parquet is not a table of the kind 'dataset'"):
        finished.make()
    finished.dataset = finished.folder / "tuned.json"
    with pytest.raises(ScaleQuestError, match=r"tuned\.json cannot be read as Parquet"):
        finished.make()


@pytest.mark.parametrize("content", ["s\th:m:s\nabc\t0\n", "seconds\n1.0\n", "s\th:m:s\n\t\n"])
def test_a_damaged_benchmark_is_named(finished: Summary, content: str) -> None:
    (finished.folder / "benchmarks/tune_questions/g.tsv").write_text(content)
    with pytest.raises(ScaleQuestError, match=r"tune_questions/g\.tsv is not a benchmark file"):
        finished.make()


@pytest.mark.parametrize(
    ("rules", "message"),
    [({"baking": ["a"]}, r"names the stages \['baking'\]"), ({"seeds": ["a"], "pairs": ["a"]}, "has the rule 'a' in")],
)
def test_rules_of_no_stage_or_two(finished: Summary, rules: dict[str, list[str]], message: str) -> None:
    finished.rules = rules
    with pytest.raises(ScaleQuestError, match=message):
        finished.make()
