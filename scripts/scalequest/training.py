"""Training in processes of its own, started by `accelerate launch` and resumed from its last whole checkpoint.

A stage script makes token ids of its rows, once; `train` lays them down in a work folder beside the weights, launches
`scalequest.trainers` there, and moves the finished weights into place. Both folders are named after all that shapes the
weights: no checkpoint of other data, settings or releases is ever resumed, weights are never overwritten by others, and
what was trained once is found again.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from scalequest import devices, node, stopping, trainers
from scalequest.errors import ScaleQuestError
from scalequest.files import is_whole, read_json, seal, write_json, write_text
from scalequest.hashing import canonical_json, digest
from scalequest.lease import Lease, identity, note
from scalequest.models import Model, write_manifest
from scalequest.stopping import Stop

log = logging.getLogger(__name__)
Row = dict[str, Any]
# Says by what the weights beside it were made; a dot file, so no manifest lists it.
RESULT = ".training.json"
# Statuses of jobs that were told to end at once.
_AT_ONCE = (128 + signal.SIGTERM, 128 + signal.SIGINT)


@dataclass(frozen=True)
class Training:
    """One training run. `kind` is a key of `trainers.KINDS`; `section` the config section that errors name.

    `settings` is that section, `training` the config's section of that name; `train` and `held_out` are rows of token
    ids, as the kind's trainer wants them (`Samples`, where they are many); `pad_token_id` pads a scorer's batches.
    """

    kind: str
    section: str
    settings: Mapping[str, Any]
    training: Mapping[str, Any]
    device: str
    base: Model
    train: Sequence[Row] | Samples
    held_out: Sequence[Row] = ()
    pad_token_id: int | None = None


class Samples:
    """Rows of `input_ids` and `labels` by the million, in four bytes a token: lists would take forty.

    `add` takes the ids of a prompt, which bear no loss (their label is -100), and those of a response.
    """

    def __init__(self) -> None:
        self._tokens, self._lengths, self._masked = array("i"), array("q"), array("q")

    def add(self, prompt: Sequence[int], response: Sequence[int]) -> None:
        self._tokens.extend(prompt)
        self._tokens.extend(response)
        self._lengths.append(len(prompt) + len(response))
        self._masked.append(len(prompt))

    def __len__(self) -> int:
        return len(self._lengths)

    @property
    def tokens(self) -> int:
        return len(self._tokens)

    def digest(self) -> str:
        """SHA-256 (64 hex digits) of all rows."""
        result = hashlib.sha256()
        for numbers in (self._tokens, self._lengths, self._masked):
            result.update(hashlib.sha256(memoryview(numbers)).digest())
        return result.hexdigest()

    def blocks(self, rows: int = 50_000) -> Iterator[Any]:
        """The rows as Arrow tables, so many rows each."""
        import numpy as np
        import pyarrow as pa

        tokens, lengths, masked = (np.frombuffer(a, a.typecode) for a in (self._tokens, self._lengths, self._masked))
        ends = np.cumsum(lengths)
        for first in range(0, len(self), rows):
            part = slice(first, first + rows)
            begin = ends[first] - lengths[first]
            offsets = np.concatenate([[0], ends[part] - begin])
            ids = tokens[begin : begin + offsets[-1]]
            # Position of each token within its row.
            place = np.arange(len(ids)) - np.repeat(offsets[:-1], lengths[part])
            labels = np.where(place < np.repeat(masked[part], lengths[part]), -100, ids)
            columns = (pa.array(values.astype(np.int64)) for values in (ids, labels))
            lists = [pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values) for values in columns]
            yield pa.table(lists, names=["input_ids", "labels"])


@dataclass(frozen=True)
class Result:
    """What a training run reports: the folder of its weights, a row a step (step, epoch, loss, learning_rate, grad_norm
    ...), the measures of the held-out rows, and a scorer's prediction for each of these."""

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


def train(run: Training, weights: Path) -> Result:
    """Train and leave the whole model, in bfloat16 and with its tokenizer, in a folder of its own below `weights`.

    Raises ScaleQuestError for settings that do not fit together, a loss that is not finite, memory that does not
    suffice, and any other end of the training processes; Stop where it must end early, after a checkpoint.
    """
    accumulation(run)
    key = _key(run)
    folder = weights / key[:16]
    work = weights / f".{key[:16]}.training"
    if _made_by(key, folder):
        note(weights / "attempts", key[:16])
    else:
        gpus = run.training["processes"] if run.device == "gpu" else 0
        with Lease(weights / "attempts", key[:16], gpus) as lease:
            # Another job may have made them while this one waited.
            if not _made_by(key, folder):
                if not _made_by(key, work / trainers.MODEL):
                    lay_down(run, key, work)
                    _launch(run, work, lease)
                    lease.count(round(len(run.train) * run.settings["epochs"]))
                _replace_folder(work / trainers.MODEL, folder)
            shutil.rmtree(work, ignore_errors=True)
    return Result(folder, **read_json(folder / RESULT)["result"])


def publish(manifest: Path, run: Training, result: Result, **facts: Any) -> None:
    """Write the manifest of trained weights: where they come from, settings, steps, losses and further `facts`."""
    write_manifest(
        manifest,
        result.folder,
        name=result.folder.parent.name,
        source=f"{run.section} of {run.base.label}",
        trust_remote_code=run.base.trust_remote_code,
        base={"name": run.base.name, "digest": run.base.digest},
        settings={run.section: dict(run.settings), "training": dict(run.training), "device": run.device},
        steps=result.steps,
        losses=result.losses,
        **facts,
    )


def write_history(path: Path, result: Result) -> None:
    """Write the loss history, one JSON object a line and step."""
    write_text(path, "".join(canonical_json(row) + "\n" for row in result.history))


def accumulation(run: Training) -> int:
    """Micro batches that each process adds up to one step of `rows_per_step` rows over all processes.

    Raises ScaleQuestError where the three numbers do not divide.
    """
    rows, micro, processes = run.settings["rows_per_step"], run.settings["rows_per_device"], run.training["processes"]
    if rows % (micro * processes):
        raise ScaleQuestError(
            f"{run.section}.rows_per_step {rows} is not a multiple of rows_per_device {micro} x training.processes "
            f"{processes} = {micro * processes}. Change one of the three."
        )
    return rows // (micro * processes)


def scorer_ids(tokenizer: Any, question: str, max_length: int) -> list[int]:
    """Token ids by which a scorer reads a question, in training and in scoring: the text alone, with the special tokens
    that the tokenizer itself sets around a text (BOS for most, EOS for few), cut to `max_length` within these.

    Special tokens that the question spells out stay plain text. An empty question is one EOS, as no engine takes none.
    """
    ids = tokenizer(question, split_special_tokens=True, truncation=True, max_length=max_length)["input_ids"]
    return ids or [tokenizer.eos_token_id]


def scorer_pad(tokenizer: Any) -> int:
    """A special token that ends no text of `scorer_ids`, to pad with.

    transformers reads the score at the last token that is not padding, vLLM at the last token: both are the same
    only where padding cannot be mistaken for text. Raises ScaleQuestError where every special token is in use.
    """
    used = set(tokenizer("")["input_ids"])
    for token in (tokenizer.pad_token_id, tokenizer.eos_token_id, *tokenizer.all_special_ids):
        if token is not None and token not in used:
            return token
    raise ScaleQuestError("the scorer's tokenizer has no special token that is free to pad with; add a pad token.")


def _key(run: Training) -> str:
    releases = {name: version(name).split("+")[0] for name in ("torch", "transformers", "trl", "accelerate")}
    # Without sharding as before there was a choice, so that older weights are found.
    training = {name: value for name, value in run.training.items() if (name, value) != ("sharding", "none")}
    settings = [run.kind, dict(run.settings), training, run.device, run.pad_token_id]
    rows = run.train.digest() if isinstance(run.train, Samples) else list(run.train)
    # Left out at first: the weights of older releases are of the first version.
    changed = [trainers.TRAINING_VERSION] if trainers.TRAINING_VERSION > 1 else []
    return digest(settings, run.base.digest, rows, list(run.held_out), releases, *changed)


def _made_by(key: str, folder: Path) -> bool:
    """Whether a folder has the whole weights of that key."""
    if not folder.exists():
        return False
    if not is_whole(folder):
        log.warning("%s is damaged: its weights are trained again", folder)
        return False
    return read_json(folder / RESULT)["key"] == key


def lay_down(run: Training, key: str, work: Path) -> None:
    """Write a work folder: the rows as data sets, and the job that says how to train on them."""
    from datasets import Dataset, concatenate_datasets, disable_progress_bars

    disable_progress_bars()
    for name, rows in (("train", run.train), ("held_out", run.held_out)):
        # Kept where it is whole: what TRL derives from it is cached beside it.
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
        "settings": dict(run.settings),
        "training": dict(run.training),
        "accumulation": accumulation(run),
        "device": run.device,
        "base": str(run.base.folder),
        "trust_remote_code": run.base.trust_remote_code,
        "pad_token_id": run.pad_token_id,
        "work": str(work),
        "result": RESULT,
        "key": key,
    }
    write_json(work / trainers.JOB, job)
    for name in (trainers.ERROR, trainers.STOP, trainers.STOPPED):
        (work / name).unlink(missing_ok=True)


def _launch(run: Training, work: Path, lease: Lease) -> None:
    # A process that sees several GPUs would spread each micro batch over them: rows_per_step times their number.
    devices.hold(run.training["processes"] // run.training["nodes"] if run.device == "gpu" else 0)
    environment = dict(os.environ)
    scripts = str(Path(__file__).resolve().parent.parent)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (scripts, environment.get("PYTHONPATH"))))
    environment["OMP_NUM_THREADS"] = str(run.training["threads"])
    environment["TQDM_DISABLE"] = "1"
    environment[trainers.SUPERVISOR] = canonical_json(identity())
    status = _supervise(_command(run, work), environment, lease, work / trainers.STOP)
    if status == 0 and (work / trainers.MODEL / RESULT).exists():
        return
    if (work / trainers.STOPPED).exists():
        raise Stop((work / trainers.STOPPED).read_text(encoding="utf-8") + ", after a checkpoint", 75)
    if (work / trainers.ERROR).exists():
        raise ScaleQuestError((work / trainers.ERROR).read_text(encoding="utf-8"))
    if (trouble := trainers.disk_trouble(work)) is not None:
        raise trouble
    raise ScaleQuestError(
        f"{run.section}: the training processes ended with status {status} before the model was whole; the reason is "
        "in the log above (none there: the system may have killed them for their memory, so give the job more). The "
        "next run goes on from the last checkpoint."
    )


def _command(run: Training, work: Path) -> list[str]:
    """The `accelerate launch` command line. `training.launch_arguments` come last, so that they have the last word.

    On several nodes `srun` starts it once on each (`scalequest.node`), and all meet at a port of this one.
    Raises ScaleQuestError where there are several nodes and no SLURM job that could have them.
    """
    processes, threads, nodes = (run.training[name] for name in ("processes", "threads", "nodes"))
    # Without a file of its own, accelerate would take the defaults that a user once saved in the home folder.
    defaults = {
        "compute_environment": "LOCAL_MACHINE",
        # On CPUs too: it starts torchrun, and the trainers choose gloo.
        "distributed_type": "MULTI_GPU" if processes > 1 else "NO",
        "mixed_precision": "bf16" if run.training["dtype"] == "bfloat16" else "no",
        "num_machines": nodes,
        "num_processes": processes,
        "debug": False,
    }
    write_json(work / "accelerate.json", defaults)
    launch = ["--quiet", "--config_file", str(work / "accelerate.json"), "--num_processes", str(processes)]
    launch += ["--num_cpu_threads_per_process", str(threads), "--main_process_port", str(_free_port())]
    if run.device == "cpu" and processes == 1:
        launch.append("--cpu")
    if nodes > 1:
        launch += ["--num_machines", str(nodes), "--main_process_ip", socket.gethostname()]
        launch += ["--rdzv_backend", "static"]
    command = [*_on_each_node(nodes), sys.executable, "-m"]
    command.append(node.__name__ if nodes > 1 else "accelerate.commands.launch")
    job = ["--module", "scalequest.trainers", str(work / trainers.JOB)]
    return [*command, *launch, *run.training["launch_arguments"], *job]


def _on_each_node(nodes: int) -> list[str]:
    """The `srun` that starts a command once on each node of this SLURM job, this one being the first."""
    if nodes == 1:
        return []
    number = os.environ.get("SLURM_JOB_ID")
    if number is None or shutil.which("srun") is None:
        raise ScaleQuestError(
            f"training.nodes is {nodes}, and this is no SLURM job: several nodes are started by srun alone. Set "
            "training.nodes to 1, or run with --profile slurm."
        )
    # One that ends badly ends all.
    command = ["srun", f"--ntasks={nodes}", "--kill-on-bad-exit=1", "--cpu-bind=none"]
    if size := stopping.slurm_size(number):
        # Told, as the executor takes SLURM's variables away and srun would take one core for a task.
        command += [f"--nodes={size[0]}", f"--cpus-per-task={max(1, size[1] // nodes)}"]
    return command


def _supervise(command: Sequence[str], environment: Mapping[str, str], lease: Lease, stop: Path) -> int:
    """Run a command to its end and return its status; whatever ends this process ends the command's whole group.

    Where the job must end early, the file `stop` asks the command for a last checkpoint.
    """
    # No shell, and nothing in the list is a model's output: numbers, paths of ours and the config's own arguments.
    child = subprocess.Popen(command, env=dict(environment), start_new_session=True)  # noqa: S603
    try:
        while True:
            try:
                return child.wait(timeout=lease.beat_seconds)
            except subprocess.TimeoutExpired:
                lease.check()
    except Stop as reason:
        stop.touch()
        # After SIGTERM the scheduler kills soon; whoever takes the work over can wait for a checkpoint.
        _group_ended(child, seconds=15 if reason.code in _AT_ONCE else 600)
        raise
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not _group_ended(child, seconds=0):
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, number)
                _group_ended(child, seconds=2)


def _group_ended(child: subprocess.Popen, seconds: float) -> bool:
    """Wait until every process of the child's group has ended, and say whether that is so."""
    end = time.monotonic() + seconds
    while True:
        # Reaped first: a zombie still counts as a member of its group.
        child.poll()
        try:
            os.killpg(child.pid, 0)
        except ProcessLookupError:
            return True
        if time.monotonic() >= end:
            return False
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("", 0))
        return listener.getsockname()[1]


def _replace_folder(new: Path, old: Path) -> None:
    """Rename `new` to `old`; a folder that was there is removed. A manifest of the old weights then fits nothing."""
    aside = old.with_name(f".{old.name}.old")
    shutil.rmtree(aside, ignore_errors=True)
    if old.exists():
        old.rename(aside)
    new.rename(old)
    shutil.rmtree(aside, ignore_errors=True)
