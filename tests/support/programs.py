"""Running a stage script as a user or Snakemake would, as a process of its own."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from io import TextIOWrapper
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import forks
from conftest import SMALL_CACHE
from scalequest.llm.models import Model
from scalequest.rows.tables import FAIL_RATES, PAIRS, PROBLEMS, write_table
from scalequest.runtime.files import read_json
from scalequest.runtime.operation import OPERATION
from scalequest.settings import TrainingSettings, read_settings
from scalequest.training import launch, process, trainers

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
# How a trainer runs on one core, as the workflow passes it.
ONE_CPU: dict[str, Any] = {
    "processes": 1,
    "nodes": 1,
    "dtype": "float32",
    "threads": 1,
    "gradient_checkpointing": False,
    "launch_arguments": [],
    "sharding": "none",
}
# The engine's settings for the tiny model, as the workflow passes them.
ENGINE = {
    "determinism": "windows",
    "window": 26,
    "dtype": "bfloat16",
    "threads": 1,
    "max_sequences": 26,
    "max_model_len": 512,
    "max_batched_tokens": 512,
    "tensor_parallel": 1,
    "enforce_eager": True,
    "device": "cpu",
}
SAMPLING = {"temperature": 1.0, "top_p": 1.0, "max_tokens": 48}
# The record of an attempt, of a process that is nowhere.
ATTEMPT: dict[str, Any] = {
    **{
        "unit": "shard",
        "host": "h",
        "boot": "b",
        "processes": "p",
        "process": 1,
        "process_start": 9,
        "slurm_job": None,
    },
    **{"directory": "/x", "gpus": 0, "started": "2026", "beats": 1, "seconds": 1.0, "rows": 1, "state": "done"},
}
# What trainings learn from, and the settings that all kinds of them share.
QUESTION_TEXTS = [
    f"Ann has {i} pens and buys {2 * i + 3} more{' every day' * (i % 5)}. How many now?" for i in range(24)
]
COMMON: dict[str, Any] = {
    "epochs": 1,
    "learning_rate": 1e-3,
    "scheduler": "cosine",
    "weight_decay": 0.0,
    "max_length": 160,
    "rows_per_step": 2,
    "rows_per_device": 1,
    "optimizer": "adamw_torch",
    "seed": 42,
}


def command(name: str, settings: dict[str, Any], /, **arguments: Any) -> list[str]:
    """The command line of scripts/{name}.py on problems of mathematics. An argument that is a list gives several words,
    None none at all."""
    words = [sys.executable, str(SCRIPTS / f"{name}.py"), "--settings", json.dumps({"domain": "math", **settings})]
    for option, value in arguments.items():
        if value is not None:
            words += [f"--{option}", *map(str, value if isinstance(value, list) else [value])]
    return words


def training_of(
    kind: str, settings: dict[str, Any], base: Model, rows: Any, held_out: Sequence = (), **training: Any
) -> launch.Training:
    """A training on one core, by settings as a section has them. A scorer's batches are padded with 1."""
    tuning = read_settings(trainers.JobTuning, settings)
    how = read_settings(TrainingSettings, {**ONE_CPU, **training})
    return launch.Training(kind, kind, tuning, how, "cpu", base, rows, held_out, 1 if kind == "scorer" else None)


def laid_down(run: launch.Training, work: Path) -> trainers.Job:
    """The job of a training, as its processes read it."""
    launch.lay_down(run, "key", work)
    return read_settings(trainers.Job, read_json(work / process.JOB))


def operating(**changes: Any) -> dict[str, str]:
    """The environment of a script whose config has these `operation` keys."""
    return {**os.environ, OPERATION: json.dumps({**SMALL_CACHE, **changes})}


def made_once(folder: Path, make: Callable[[Path], object]) -> Path:
    """A folder that all test processes of a session share, made by the one that comes first."""
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            try:
                make(folder)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
    return folder


def script(name: str, settings: dict[str, Any], /, **arguments: Any) -> subprocess.CompletedProcess[str]:
    """Run scripts/{name}.py to its end."""
    return finished(command(name, settings, **arguments))


def finished(
    line: Sequence[str | Path], env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command line of a program of ours, or of Snakemake, to its end."""
    with TemporaryFile() as out, TemporaryFile() as err:
        argv, environment = [str(word) for word in line[1:]], dict(os.environ if env is None else env)
        status = forks.ask(argv, environment, str(cwd or Path.cwd()), out.fileno(), err.fileno())
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(TextIOWrapper(file).read())
    return subprocess.CompletedProcess(list(line), status, *texts)


def succeeded(result: subprocess.CompletedProcess[str]) -> str:
    """The script's log lines, after checking that it ended well."""
    assert result.returncode == 0, result.stderr[-4000:]
    return result.stderr


def refused(result: subprocess.CompletedProcess[str]) -> str:
    """The one sentence that a script ended with, after checking that it is one and no traceback."""
    assert result.returncode == 1, result.stderr[-4000:]
    assert "Traceback" not in result.stderr, result.stderr[-4000:]
    lines = [line for line in result.stderr.splitlines() if "error: " in line]
    assert len(lines) == 1, result.stderr[-4000:]
    return lines[0].split("error: ", 1)[1]


def training_tables(folder: Path) -> Path:
    """Write seeds.parquet, pairs.parquet and fail_rates.parquet of QUESTION_TEXTS into a folder, and return it."""
    rows: list[dict[str, Any]] = [
        {"id": f"s/{i:03d}", "index": i, "question": text} for i, text in enumerate(QUESTION_TEXTS)
    ]
    problems = [{**row, "source": "s", "solution": None, "answer": None, "facts": "{}"} for row in rows]
    write_table(folder / "seeds.parquet", problems, PROBLEMS)
    pairs = [
        {"id": f"g/s0/{i:09d}", "chosen": a, "rejected": b, "direction": "rank", "margin": 0.1}
        for i, (a, b) in enumerate(zip(QUESTION_TEXTS[:10], QUESTION_TEXTS[10:20], strict=True))
    ]
    write_table(folder / "pairs.parquet", pairs, PAIRS)
    rates = [{**row, "fail_rate": (row["index"] % 5) / 4, "samples": 4} for row in rows]
    write_table(folder / "fail_rates.parquet", rates, FAIL_RATES)
    return folder
