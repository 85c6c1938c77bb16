"""The same config gives the same bytes: in another folder, after kills, with other shards; through the real Snakemake.

Small runs with only the stages that draw (a training, questions, responses), in bfloat16 and windows, the default.
SCALEQUEST_KILL_SEED in the environment repeats the kills of an earlier run.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from workflow import SHORT, finished_run, merged, overlay, snakemake, succeeded

# Scripts that are killed, and what each stores.
KILLED = {
    "tune_questions": "models/question_tuning/*/*.safetensors",
    "sample_questions": "progress/sample_questions/*/*.parquet",
    "sample_responses": "progress/sample_responses/*/*.parquet",
}


def small(model: Path, shards: int = 1) -> dict[str, Any]:
    """A config of 16 questions in two windows, with no stage that only judges questions, and no student."""
    off = {"enabled": False}
    return merged(
        overlay(model),
        {
            "use": {"students": []},
            "evaluation": {"models": []},
            "generators": {"tiny": {"tuning": "question"}},
            "question_tuning": {"max_questions": 8},
            "questions": {"shards": shards, "questions_per_shard": 16 // shards, "sampling": SHORT},
            "filters": {"solvability": off, "difficulty": off, "contamination": off},
            "reward": {"kind": "none"},
            "selection": {"rule": "majority"},
        },
    )


def checksums(folder: Path) -> str:
    return (folder / "results" / "checksums.txt").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def first(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first")
    succeeded(snakemake(folder, small(tiny_model), "all", "checksums"))
    return folder


def against(folder: Path) -> dict[str, Any]:
    return {"operation": {"verify_against": str(folder)}}


def seconds(run: Path, script: str) -> float:
    """How long a stage took in a finished run on this machine."""
    record = next((run / "benchmarks" / script).glob("*.tsv")).read_text(encoding="utf-8").splitlines()[1]
    return float(record.split("\t")[0])


class Killer(threading.Thread):
    """Kills one stage's script, once: after a share of the time that it took before, or once it stored anything."""

    def __init__(self, folder: Path, script: str, before: float, chance: random.Random):
        super().__init__(daemon=True)
        self.folder, self.script = folder, script
        self.delay = before * chance.uniform(0.0, 1.0)
        self.killed = self.over = False

    def run(self) -> None:
        end = None
        while not self.over and not self.killed:
            time.sleep(0.02)
            if (process := self._process()) is None:
                continue
            end = end or time.monotonic() + self.delay
            # A process may have ended since it was found: the next look finds the one that runs the script.
            with contextlib.suppress(ProcessLookupError):
                if self._due(end):
                    os.kill(process, signal.SIGKILL)
                    self.killed = True

    def _due(self, end: float) -> bool:
        # Without the second an end that comes sooner than in the first run would be missed.
        return time.monotonic() > end or any(self.folder.glob(KILLED[self.script]))

    def _process(self) -> int | None:
        for path in Path("/proc").glob("[0-9]*"):
            try:
                words = (path / "cmdline").read_bytes().decode(errors="replace").split("\0")
                mine = (path / "cwd").readlink() == self.folder
            except OSError:
                continue
            if mine and any(word.endswith(f"/{self.script}.py") for word in words[:4]):
                return int(path.name)
        return None


def test_another_folder_and_kills_at_random_points_leave_no_trace(first, tiny_model, tmp_path):
    seed = int(os.environ["SCALEQUEST_KILL_SEED"])
    chance = random.Random(seed)  # noqa: S311 - no secret
    config = small(tiny_model)
    for script in KILLED:
        killer = Killer(tmp_path, script, seconds(first, script), chance)
        killer.start()
        result = snakemake(tmp_path, config)
        killer.over = True
        killer.join()
        assert killer.killed, f"{script} was never killed"
        assert result.returncode != 0
    told = succeeded(snakemake(tmp_path, merged(config, against(first)), "all", "verify"))
    assert f"equal to {first}/results/checksums.txt" in told
    assert checksums(tmp_path) == checksums(first)


def test_other_shards_hold_the_same_rows(first, tiny_model, tmp_path):
    """Weights are found where the first run trained them, under a path that is another one seen from here."""
    storage = {"storage": {"models": str(first / "models")}}
    config = merged(small(tiny_model, shards=2), {**storage, **against(first)})
    told = succeeded(snakemake(tmp_path, config, "all", "verify"))
    assert "the shards are others: rows are compared" in told
    assert len(list((tmp_path / "results" / "questions" / "tiny" / "seed0").iterdir())) == 2
    for name in ("train.parquet", "train.jsonl", "chat.jsonl", "chat.parquet", "preference.parquet", "rl.parquet"):
        path = Path("results") / "dataset" / name
        assert (tmp_path / path).read_bytes() == (first / path).read_bytes()


def test_verify_runs_whenever_it_is_asked_for_and_sees_an_edit(first, tiny_model):
    config = merged(small(tiny_model), against(first))
    for _ in range(2):
        assert "equal to" in succeeded(snakemake(first, config, "verify"))
    path = first / "other.txt"
    path.write_text(re.sub("^[0-9a-f]{64}", "0" * 64, checksums(first), flags=re.MULTILINE), encoding="utf-8")
    result = snakemake(first, merged(config, against(path)), "verify")
    assert result.returncode != 0
    assert "only the card, manifests or the encoding of files differ" in result.stdout + result.stderr


def test_every_data_file_of_a_whole_run_has_its_line(tiny_model, tmp_path):
    run = finished_run(tiny_model, tmp_path / "run")
    succeeded(snakemake(run, overlay(tiny_model), "checksums"))
    named = set(re.findall(r"  (results/\S+)", checksums(run)))
    there = {str(path.relative_to(run)) for path in (run / "results").rglob("*") if path.is_file()}
    # Summary and report show seconds. Figures are drawn of what has a line, and browser.json has the browser's digests.
    drawn = {path for path in there if path.startswith(("results/report/", "results/browser/"))}
    assert there - named - drawn == {
        f"results/{name}" for name in ("checksums.txt", "summary.json", "summary.txt", "report.html")
    }
    assert "results/browser.json" in named
    assert {path for path in named - there if "*" not in path} == set()
