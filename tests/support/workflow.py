"""Driving the whole workflow with a tiny random model: its config, Snakemake's command line, one finished run.

The run is made once a session and copied by each test file, as some of their tests go on with it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

import forks
from conftest import ROOT, SMALL_CACHE
from programs import finished, made_once

# Another user to the process itself, who may read and write what this one may.
SOMEBODY = ("unshare", "--user")
# A network of its own in which there is nothing but the loopback interface.
ALONE = ("unshare", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
SHORT = {"temperature": 1.0, "top_p": 1.0, "max_tokens": 48}


def overlay(model: Path) -> dict[str, Any]:
    """The default config with the tiny model in every role, and everything small."""
    lenient = {name: {"action": "mark"} for name in ("language", "length", "contamination", "duplicates")}
    return {
        "use": {"generators": ["tiny"], "students": ["tiny_student"]},
        "models": {"tiny": {"source": f"path:{model}", "licence": "none"}},
        "generators": {"tiny": {"model": "tiny", "tuning": "preference"}},
        "operation": SMALL_CACHE,
        "engine": {"window": 8, "max_sequences": 8, "max_model_len": 512, "max_batched_tokens": 512},
        "training": {"dtype": "float32"},
        "question_tuning": {"max_questions": 24, "max_length": 128, "epochs": 1},
        "preference_tuning": {
            "questions": 32,
            "min_pairs": 4,
            "sampling": SHORT,
            "rank": {"model": "tiny", "group": 4},
            "rewrite": {"model": "tiny"},
            "dpo": {"held_out": 2, "max_length": 128},
        },
        "questions": {"seeds": [0], "shards": 2, "questions_per_shard": 16, "sampling": SHORT},
        "filters": {**lenient, "solvability": {"model": "tiny", "min_probability": 0.0}},
        "difficulty": {"solver": "tiny", "base": "tiny", "problems": 16, "samples": 1, "sampling": SHORT},
        "responses": {"model": "tiny", "samples": 2, "sampling": SHORT},
        "reward": {"model": "tiny"},
        "selection": {"require_answer": False},
        "students": {"tiny_student": {"model": "tiny"}},
        "student_tuning": {"epochs": 1},
        "evaluation": {"models": ["tiny"], "sampling": {"max_tokens": 32}, "shards": 1},
        "topics": {"model": "tiny"},
    }


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """One config over another, key by key, as Snakemake merges them."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


def can_be_alone() -> bool:
    """Whether a process can be cut off from the network here."""
    try:
        return subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode == 0  # noqa: S603
    except OSError:
        return False


def snakemake(
    folder: Path,
    config: Mapping[str, Any],
    *arguments: str,
    checkout: Path = ROOT,
    alone: bool = False,
    somebody: bool = False,
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """Snakemake's own command line, in `folder` with this overlay; `alone`, without a network; as `somebody` else.

    It and the programs of its jobs are forked (forks.py).
    """
    path = folder / "overlay.yaml"
    path.write_text(yaml.safe_dump(dict(config)), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(checkout / "Snakefile"), "--directory"]
    profile = ["--profile", str(checkout / "profiles" / "local"), "--cores", "2"]
    line = [*command, str(folder), *profile, *arguments, "--configfile", str(path)]
    env = {**os.environ, **environment, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    if not alone and not somebody:
        return finished(line, env)
    forks.start()
    return subprocess.run(  # noqa: S603 - our own command line
        [*(ALONE if alone else SOMEBODY), forks.bin_folder() / "python", *line[1:]],
        capture_output=True,
        text=True,
        env=env,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def succeeded(result: subprocess.CompletedProcess[str]) -> str:
    """What Snakemake printed, after checking that it ended well."""
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-6000:]
    return result.stdout + result.stderr


def planned(result: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """Jobs by rule that a dry run announces."""
    text = succeeded(result)
    if "Nothing to be done" in text:
        return {}
    table = text.split("Job stats:")[1].split("total")[0].splitlines()[3:]
    return {line.split()[0]: int(line.split()[1]) for line in table if line.strip() and line.split()[0] != "all"}


def finished_run(model: Path, folder: Path) -> Path:
    """A copy of the session's finished run, times of files included, at `folder`."""

    def make(run: Path) -> None:
        run.mkdir()
        # As on a cluster: what is fetched is fetched first, and all the rest runs on nodes without a network.
        succeeded(snakemake(run, overlay(model), "stage"))
        alone = can_be_alone()
        begun = time.monotonic()
        succeeded(snakemake(run, overlay(model), alone=alone))
        (run / "alone").write_text(str(alone))
        (run / "seconds").write_text(f"{time.monotonic() - begun:.0f}")

    shutil.copytree(made_once(model.parent / "finished_run", make), folder)
    return folder


def checkout_copy(folder: Path, *changed: str) -> Path:
    """The workflow's files as links to this checkout's, except for those named, which are copies that may be edited."""
    folder.mkdir()
    for name in ("Snakefile", "config.yaml", "rules", "scripts", "schemas", "resources", "report", "profiles", "envs"):
        if name not in changed:
            (folder / name).symlink_to(ROOT / name)
        elif (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name)
        else:
            shutil.copy2(ROOT / name, folder / name)
    return folder


def edit_profile(checkout: Path, site: Mapping[str, Any]) -> None:
    """Change the site's lines of the SLURM profile of a checkout's copy, and nothing else."""
    path = checkout / "profiles" / "slurm" / "config.yaml"
    text = path.read_text(encoding="utf-8")
    for name, value in site.items():
        text, found = re.subn(rf"^  {name}: .*$", f"  {name}: {value}", text, flags=re.MULTILINE)
        assert found == 1, name
    path.write_text(text, encoding="utf-8")


def cuda_build(folder: Path, release: str) -> Path:
    """A folder that, on the path of imports, makes the installed vLLM pass for the build for GPUs: its metadata."""
    metadata = folder / f"vllm-{release}.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text(f"Metadata-Version: 2.4\nName: vllm\nVersion: {release}\n", encoding="utf-8")
    return folder
