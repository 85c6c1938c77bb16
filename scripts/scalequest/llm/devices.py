"""The GPUs of one machine: which of them a job uses, and where engines that share a node keep apart.

Snakemake counts GPUs and assigns none, so without a scheduler every job would take the first one. A job holds a lock
on each of its GPUs for its life; the lock goes with the process, however that ends. Under SLURM the choice is among
what the job was given, by the names that SLURM gave.
"""

from __future__ import annotations

import fcntl
import logging
import os
import platform
import stat
import subprocess
import sys
import tempfile
import time
from io import TextIOWrapper
from pathlib import Path

from scalequest.errors import ScaleQuestError
from scalequest.runtime import stopping

log = logging.getLogger(__name__)
VISIBLE = "CUDA_VISIBLE_DEVICES"
# Open as long as this process lives: closing gives the GPU back.
_held: list[TextIOWrapper] = []


def node_folder() -> Path:
    """This user's folder on the node's own disk: no quota of a home, no network file system under a cache.

    Raises ScaleQuestError where somebody else made it: compiled code is run from there.
    """
    folder = Path(tempfile.gettempdir()) / f"scalequest-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode):
        raise ScaleQuestError(f"{folder} is not a folder of yours; set TMPDIR to one that is.")
    return folder


def hold(count: int) -> None:
    """Let this process and its children see `count` GPUs that no other job of this user uses, and wait for them.

    The choice is among CUDA_VISIBLE_DEVICES, or else among all of the machine. Raises ScaleQuestError where these are
    too few.
    """
    if _held:
        return
    if count == 0:
        os.environ[VISIBLE] = ""
        return
    given = _given()
    if len(given) < count:
        raise ScaleQuestError(
            f"this job needs {count} GPUs (engine.tensor_parallel, training.processes), and {len(given)} are to be "
            f"seen here ({VISIBLE} is {os.environ.get(VISIBLE, 'not set')})."
        )
    said = False
    while len(held := _free(given, count)) < count:
        if not said:
            log.info("waiting for %d of the GPUs %s", count, ", ".join(given))
            said = True
        stopping.check()
        # Not in step with another job that waits for several as well.
        time.sleep(0.5 + os.getpid() % 100 / 100)
    _held.extend(held.values())
    os.environ[VISIBLE] = ",".join(held)
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    log.info("using GPU %s", os.environ[VISIBLE])


def check_seen() -> None:
    """Raise ScaleQuestError, with torch's own reason, where torch cannot use the GPUs that this process holds.

    A process of its own asks, because one that has begun with CUDA cannot fork the workers of an engine.
    """
    line = [sys.executable, "-c", "import torch; torch.cuda.init()"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise ScaleQuestError(
            f"torch cannot use the GPU of {platform.node()} ({VISIBLE} is {os.environ.get(VISIBLE)}): {reason} "
            "`nvidia-smi` on that node shows its driver; docs/howto/gpu.md says which one the builds need."
        )


def keep_apart() -> None:
    """Give this process's engine ports and caches that no other engine of the node writes to, or shares safely."""
    # vLLM looks upwards from here for a free port; all engines that begin at one number at once may take the same.
    os.environ.setdefault("VLLM_PORT", str(20_000 + os.getpid() % 750 * 16))
    for name, folder in (("VLLM_CACHE_ROOT", "vllm"), ("TRITON_CACHE_DIR", "triton")):
        os.environ.setdefault(name, str(node_folder() / folder))


def _given() -> list[str]:
    given = os.environ.get(VISIBLE)
    if given is not None:
        return [name for name in given.split(",") if name]
    # The driver's own list, in the order of the bus.
    return [str(number) for number, _ in enumerate(Path("/proc/driver/nvidia/gpus").glob("*"))]


def _free(given: list[str], count: int) -> dict[str, TextIOWrapper]:
    """So many locks, or none: who held some and waited for more would keep others waiting."""
    # What SLURM gives each of its jobs may have the same numbers.
    folder = node_folder() / "gpus" / os.environ.get("SLURM_JOB_ID", "no_job")
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, TextIOWrapper] = {}
    for name in given:
        lock = (folder / name.replace("/", "_")).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        found[name] = lock
        if len(found) == count:
            return found
    for lock in found.values():
        lock.close()
    return {}
