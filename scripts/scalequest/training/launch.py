"""Training in processes of its own, started by `accelerate launch` and resumed from the last whole checkpoint.

A stage's program makes token ids of its rows. `train` writes them to a work folder beside the weights, launches
`process` there, and moves the finished weights into place. Both folders are named after everything that shapes the
weights. So no checkpoint of other data, settings or releases is resumed, no weights are overwritten by others, and
weights that exist already are found again.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from scalequest.errors import ScaleQuestError
from scalequest.hashing import canonical_json, digest
from scalequest.llm import devices
from scalequest.llm.models import Model, write_manifest
from scalequest.runtime import measured, stopping
from scalequest.runtime.files import is_whole, read_json, seal, write_json, write_text
from scalequest.runtime.lease import Lease, identity, note
from scalequest.runtime.stopping import Stop
from scalequest.settings import Device, TrainingSettings, Tuning
from scalequest.training import node, process, saving
from scalequest.training.samples import Samples
from scalequest.training.trainers import TRAINING_VERSION

log = logging.getLogger(__name__)
Row = dict[str, Any]
# The key and the result of the weights beside it; a dot file, so that no manifest lists it.
RESULT = ".training.json"
# Exit statuses of a job that was told to end at once.
_AT_ONCE = (128 + signal.SIGTERM, 128 + signal.SIGINT)


@dataclass(frozen=True)
class Training:
    """One training run. `kind` is a key of `trainers.KINDS`; `section` is the config section that errors name.

    `settings` is what that section says of the training: all of it, and no more, is in the weights' name. `train` and
    `held_out` are rows of token ids as the kind's trainer takes them (`Samples`, where they are many); `pad_token_id`
    pads a scorer's batches.
    """

    kind: str
    section: str
    settings: Tuning
    training: TrainingSettings
    device: Device
    base: Model
    train: Sequence[Row] | Samples
    held_out: Sequence[Row] = ()
    pad_token_id: int | None = None


@dataclass(frozen=True)
class Result:
    """The result of a training run: the folder of its weights, a row for each step (step, epoch, loss, learning_rate,
    grad_norm ...), the measures of the held-out rows, and a scorer's prediction for each of them."""

    folder: Path
    steps: int
    history: list[Row]
    held_out: dict[str, float] = field(default_factory=dict)
    predictions: list[float] = field(default_factory=list)

    @property
    def losses(self) -> dict[str, float]:
        """Training loss of the first step, of the last, and the mean."""
        losses = [row["loss"] for row in self.history]
        return {"first": losses[0], "last": losses[-1], "mean": sum(losses) / len(losses)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of every training program: --model, --name, --weights and --out."""
    parser.add_argument("--model", required=True, type=Path, help="manifest of the model to start from")
    parser.add_argument("--name", required=True, help="name of the trained model, for its manifest")
    parser.add_argument("--weights", required=True, type=Path, help="folder below which the trained model goes")
    parser.add_argument("--out", required=True, type=Path, help="manifest of the trained model")


def train(run: Training, weights: Path) -> Result:
    """Train, and leave the whole model in bfloat16 with its tokenizer in a folder of its own below `weights`.

    Raises ScaleQuestError for settings that do not fit together, a loss that is not finite, too little memory, and any
    other failure of the training processes; Stop where it must end early, after a checkpoint.
    """
    accumulation(run)
    key = _key(run)
    places = _places(weights, key[:16])
    whole = next((place for place in places if _made_by(key, place)), None)
    folder = whole or places[0]
    work = _work(folder)
    if whole:
        note(folder.parent / "attempts", folder.name)
    else:
        gpus = run.training.processes if run.device == "gpu" else 0
        with Lease(folder.parent / "attempts", folder.name, gpus) as lease:
            # Another job may have made the weights while this one waited.
            if not _made_by(key, folder):
                if not _made_by(key, work / saving.MODEL):
                    lay_down(run, key, work)
                    _launch(run, work, lease)
                    _note(run, folder.name, work / process.MEASURED)
                    lease.count(round(len(run.train) * run.settings.epochs))
                _replace_folder(work / saving.MODEL, folder)
            shutil.rmtree(work, ignore_errors=True)
    return Result(folder, **read_json(folder / RESULT)["result"])


def publish(manifest: Path, run: Training, result: Result, *, name: str, **facts: Any) -> None:
    """Write the manifest of trained weights under a name, with their source, settings, steps, losses and further
    `facts`."""
    write_manifest(
        manifest,
        result.folder,
        name=name,
        source=f"{run.section} of {run.base.label}",
        trust_remote_code=run.base.trust_remote_code,
        base={"name": run.base.name, "digest": run.base.digest},
        settings={run.section: asdict(run.settings), "training": asdict(run.training), "device": run.device},
        steps=result.steps,
        losses=result.losses,
        **facts,
    )


def write_history(path: Path, result: Result) -> None:
    """Write the loss history as JSON lines, one for each step."""
    write_text(path, "".join(canonical_json(row) + "\n" for row in result.history))


def accumulation(run: Training) -> int:
    """How many micro batches each process accumulates for one step of `rows_per_step` rows over all processes.

    Raises ScaleQuestError where the three numbers do not divide.
    """
    rows, micro, processes = run.settings.rows_per_step, run.settings.rows_per_device, run.training.processes
    if rows % (micro * processes):
        raise ScaleQuestError(
            f"{run.section}.rows_per_step {rows} is not a multiple of rows_per_device {micro} x training.processes "
            f"{processes} = {micro * processes}. Change one of the three."
        )
    return rows // (micro * processes)


def _key(run: Training) -> str:
    releases = {name: version(name).split("+")[0] for name in ("torch", "transformers", "trl", "accelerate")}
    # `sharding: none` is left out, so that weights from before that setting are found.
    training = {name: value for name, value in asdict(run.training).items() if (name, value) != ("sharding", "none")}
    settings = [run.kind, asdict(run.settings), training, run.device, run.pad_token_id]
    rows = run.train.digest() if isinstance(run.train, Samples) else list(run.train)
    # Version 1 is left out, because older releases had no version.
    changed = [TRAINING_VERSION] if TRAINING_VERSION > 1 else []
    return digest(settings, run.base.digest, rows, list(run.held_out), releases, *changed)


def _places(weights: Path, name: str) -> list[Path]:
    """Folders in which weights of that name are or were begun, and last the folder for new ones.

    The name has no generator or student in it, so that two with the same training share their weights. Older releases
    had a folder for each generator and student below `weights`.
    """
    folders = [weights, *sorted(path for path in weights.glob("[!.]*") if path.is_dir())]
    places = [folder / name for folder in folders]
    return [*(place for place in places if place.exists() or _work(place).exists()), weights / name]


def _work(folder: Path) -> Path:
    """The folder in which the weights of a folder are trained."""
    return folder.with_name(f".{folder.name}.training")


def _made_by(key: str, folder: Path) -> bool:
    """Whether a folder has the whole weights of a key."""
    if not folder.exists():
        return False
    if not is_whole(folder):
        log.warning("%s is damaged: its weights are trained again", folder)
        return False
    return read_json(folder / RESULT)["key"] == key


def lay_down(run: Training, key: str, work: Path) -> None:
    """Write a work folder: the rows as data sets, and the job file with everything that `process` needs."""
    from datasets import Dataset, concatenate_datasets, disable_progress_bars

    disable_progress_bars()
    for name, rows in (("train", run.train), ("held_out", run.held_out)):
        # A whole data set is kept, because TRL caches what it derives from it beside it.
        if rows and not is_whole(work / name):
            part = work / f".{name}.part"
            for old in (part, work / name):
                shutil.rmtree(old, ignore_errors=True)
            if isinstance(rows, Samples):
                data = concatenate_datasets([Dataset(block) for block in rows.blocks()])
            else:
                data = Dataset.from_list(list(rows))
            data.save_to_disk(str(part))
            seal(part)
            part.rename(work / name)
    job = {
        "kind": run.kind,
        "section": run.section,
        "settings": asdict(run.settings),
        "training": asdict(run.training),
        "accumulation": accumulation(run),
        "device": run.device,
        "base": str(run.base.folder),
        "trust_remote_code": run.base.trust_remote_code,
        "pad_token_id": run.pad_token_id,
        "work": str(work),
        "result": RESULT,
        "key": key,
    }
    write_json(work / process.JOB, job)
    for name in (process.ERROR, process.STOP, process.STOPPED):
        (work / name).unlink(missing_ok=True)


def _launch(run: Training, work: Path, lease: Lease) -> None:
    """Train in a work folder until the model is whole there. Raises as `train`."""
    # A process that sees several GPUs would take a micro batch for each of them, which changes rows_per_step.
    devices.hold(run.training.processes // run.training.nodes if run.device == "gpu" else 0)
    if run.device == "gpu":
        devices.check_seen()
    environment = dict(os.environ)
    scripts = str(Path(__file__).resolve().parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (scripts, environment.get("PYTHONPATH"))))
    environment["OMP_NUM_THREADS"] = str(run.training.threads)
    environment["TQDM_DISABLE"] = "1"
    environment[process.SUPERVISOR] = canonical_json(identity())
    status = _supervise(_command(run, work), environment, lease, work / process.STOP)
    stopped = work / process.STOPPED
    if stopped.exists() and stopped.read_text(encoding="utf-8") == process.REHEARSED:
        stopped.unlink()
        log.info("%s: stopped after a checkpoint %s", run.section, process.REHEARSED)
        status = _supervise(_command(run, work), environment, lease, work / process.STOP)
    if status == 0 and (work / saving.MODEL / RESULT).exists():
        return
    if stopped.exists():
        why = stopped.read_text(encoding="utf-8")
        # Requeued and not retried, because a long training needs more attempts than the retries of a failed job. Each
        # makes a step at least, so that it ends.
        if process.LIMIT in why:
            stopping.requeue()
        raise Stop(f"{why}, after a checkpoint", 75)
    if (work / process.ERROR).exists():
        raise ScaleQuestError((work / process.ERROR).read_text(encoding="utf-8"))
    if (trouble := process.disk_trouble(work)) is not None:
        raise trouble
    raise ScaleQuestError(
        f"{run.section}: the training processes ended with status {status} before the model was whole; the reason is "
        "in the log above (none there: the system may have killed them for their memory, so give the job more). The "
        "next run goes on from the last checkpoint."
    )


def _note(run: Training, name: str, path: Path) -> None:
    """In a rehearsal, keep what the processes measured, by the name of the weights."""
    if not path.exists():
        return
    found = read_json(path)
    took = sum(found["step_seconds"])
    rows = len(run.train) * run.settings.epochs
    gpus = run.training.processes if run.device == "gpu" else 0
    measured.note(run.section, name, rows_per_hour=3600 * rows / took, seconds=took, gpus=gpus, **found)


def _command(run: Training, work: Path) -> list[str]:
    """The `accelerate launch` command line. `training.launch_arguments` come last, so that they override the others.

    On several nodes, `srun` starts it once on each (`node`), and all connect to a port of this node.
    Raises ScaleQuestError for several nodes outside a SLURM job.
    """
    processes, nodes = run.training.processes, run.training.nodes
    # Without this file, accelerate would take the defaults that a user has saved in the home folder.
    defaults = {
        "compute_environment": "LOCAL_MACHINE",
        # Also on CPUs: it starts torchrun, and the trainers choose gloo.
        "distributed_type": "MULTI_GPU" if processes > 1 else "NO",
        "mixed_precision": "bf16" if run.training.dtype == "bfloat16" else "no",
        "num_machines": nodes,
        "num_processes": processes,
        "debug": False,
    }
    write_json(work / "accelerate.json", defaults)
    launch = ["--quiet", "--config_file", str(work / "accelerate.json"), "--num_processes", str(processes)]
    launch += ["--num_cpu_threads_per_process", str(run.training.threads), "--main_process_port", str(_free_port())]
    if run.device == "cpu" and processes == 1:
        launch.append("--cpu")
    if nodes > 1:
        launch += ["--num_machines", str(nodes), "--main_process_ip", socket.gethostname()]
        launch += ["--rdzv_backend", "static"]
    command = [*_on_each_node(nodes), sys.executable, "-m"]
    command.append(node.__name__ if nodes > 1 else "accelerate.commands.launch")
    job = ["--module", process.__name__, str(work / process.JOB)]
    return [*command, *launch, *run.training.launch_arguments, *job]


def _on_each_node(nodes: int) -> list[str]:
    """The `srun` that starts a command once on each node of this SLURM job, of which this is the first."""
    if nodes == 1:
        return []
    number = os.environ.get("SLURM_JOB_ID")
    if number is None or shutil.which("srun") is None:
        raise ScaleQuestError(
            f"training.nodes is {nodes}, and this is no SLURM job: several nodes are started by srun alone. Set "
            "training.nodes to 1, or run with --profile slurm."
        )
    # If one fails, all end.
    command = ["srun", f"--ntasks={nodes}", "--kill-on-bad-exit=1", "--cpu-bind=none"]
    if size := stopping.slurm_size(number):
        # Named here, because the executor removes SLURM's variables, and srun would take one core for a task.
        command += [f"--nodes={size[0]}", f"--cpus-per-task={max(1, size[1] // nodes)}"]
    return command


def _supervise(command: Sequence[str], environment: Mapping[str, str], lease: Lease, stop: Path) -> int:
    """Run a command to its end and return its status. If this process ends, so does the command's process group.

    Where the job must end early, the file `stop` asks the command for a last checkpoint.
    """
    # No shell, and no model's output in the list: only numbers, our paths and the config's own arguments.
    child = subprocess.Popen(command, env=dict(environment), start_new_session=True)  # noqa: S603
    try:
        while True:
            try:
                return child.wait(timeout=lease.beat_seconds)
            except subprocess.TimeoutExpired:
                lease.check()
    except Stop as reason:
        stop.touch()
        # After SIGTERM the scheduler kills soon; otherwise there is time for a checkpoint.
        _group_ended(child, seconds=15 if reason.code in _AT_ONCE else 600)
        raise
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not _group_ended(child, seconds=0):
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, number)
                _group_ended(child, seconds=2)


def _group_ended(child: subprocess.Popen, seconds: float) -> bool:
    """Wait up to `seconds` until every process of the child's group has ended, and return whether it has."""
    end = time.monotonic() + seconds
    while True:
        # Reaped first, because a zombie still counts as a member of its group.
        child.poll()
        try:
            os.killpg(child.pid, 0)
        except ProcessLookupError:
            return True
        if time.monotonic() >= end:
            return False
        time.sleep(0.1)


def _free_port() -> int:
    """A TCP port that is free on this node."""
    with socket.socket() as listener:
        listener.bind(("", 0))
        return listener.getsockname()[1]


def _replace_folder(new: Path, old: Path) -> None:
    """Rename the folder `new` to `old`, and remove a folder that was there, whose manifest then fits no weights."""
    aside = old.with_name(f".{old.name}.old")
    shutil.rmtree(aside, ignore_errors=True)
    if old.exists():
        old.rename(aside)
    new.rename(old)
    shutil.rmtree(aside, ignore_errors=True)
