"""One training process: `accelerate launch` starts as many as there are devices.

It trains one job, saves checkpoints by the clock and before an early end, and leaves the weights with the result in the
work folder. The names below are those of the files that it and `launch` leave for each other there.
"""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scalequest.environment import go_offline
from scalequest.errors import ScaleQuestError
from scalequest.llm.throughput import memory
from scalequest.runtime import measured, stopping
from scalequest.runtime.files import read_json, replaced, write_json, write_text
from scalequest.runtime.lease import is_here, process_start
from scalequest.runtime.operation import operation
from scalequest.runtime.printable import log_handler, printable
from scalequest.settings import read_settings
from scalequest.training.checkpoints import keep_newest, last_checkpoint, seal_checkpoint
from scalequest.training.saving import save
from scalequest.training.trainers import KINDS, Job, save_memory

log = logging.getLogger(__name__)
JOB, ERROR = "job.json", "error.txt"
# `launch` writes the first to ask for an early end after a checkpoint; the process writes the reason to the second.
STOP, STOPPED = "stop", "stopped.txt"
# Words of a reason by which `launch` knows it.
LIMIT, REHEARSED = "time limit", "to rehearse that it goes on"
# In a rehearsal: what was measured.
MEASURED = "measured.json"
# Environment variable with the identity of the launching process, as JSON. Once that is gone, training ends, so that
# no two trainings write to one folder.
SUPERVISOR = "SCALEQUEST_SUPERVISOR"
# Measures that a restart changes: times, and the count of tokens, which TRL starts again.
_PASSING = ("_runtime", "_per_second", "num_tokens")


def run(job: Job) -> None:
    """Train one job and leave the whole model with its result in the work folder.

    Raises ScaleQuestError where the number of processes is not the config's, and where a loss, a weight or a prediction
    is not finite. Exits with status 1 after an early end.
    """
    from accelerate import PartialState
    from transformers import PrinterCallback

    processes = PartialState(cpu=job.device == "cpu").num_processes
    if processes != job.training.processes:
        raise ScaleQuestError(
            f"accelerate started {processes} processes, but training.processes is {job.training.processes}: "
            "make training.launch_arguments agree with it."
        )
    trainer = KINDS[job.kind](job)
    save_memory(trainer)
    trainer.remove_callback(PrinterCallback)
    watch = _watch(job)
    trainer.add_callback(watch)
    checkpoint = last_checkpoint(job.work / "checkpoints", job.section)
    stopwatch = _stopwatch()
    if measured.seconds():
        # Behind the other, which ends a checkpoint.
        trainer.add_callback(stopwatch)
    trainer.train(resume_from_checkpoint=checkpoint)
    if measured.seconds() and PartialState().is_main_process:
        _note(job, stopwatch, resumed=checkpoint is not None)
    if watch.why:
        write_text(job.work / STOPPED, watch.why)
        sys.exit(1)
    _end_orphan()
    result = {
        "steps": trainer.state.global_step,
        "history": [_lasting(row) for row in trainer.state.log_history if "loss" in row],
        "held_out": _lasting(trainer.evaluate()) if job.kind == "preferences" and trainer.eval_dataset else {},
        "predictions": _predictions(trainer) if job.kind == "scorer" and trainer.eval_dataset else [],
    }
    save(trainer, job, result)


def _stopwatch() -> Any:
    """A callback that measures: seconds of each step (`steps`), seconds and bytes of the last checkpoint."""
    from transformers import TrainerCallback

    class Stopwatch(TrainerCallback):
        def __init__(self) -> None:
            self.steps: list[float] = []
            self.saving, self.size = 0.0, 0
            self.since = time.monotonic()

        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.since = time.monotonic()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.steps.append(time.monotonic() - self.since)
            self.since = time.monotonic()

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.saving = time.monotonic() - self.since
            files = Path(args.output_dir, f"checkpoint-{state.global_step}").rglob("*")
            self.size = sum(file.stat().st_size for file in files if file.is_file())

    return Stopwatch()


def _note(job: Job, stopwatch: Any, *, resumed: bool) -> None:
    """Add to what was measured of the training: by this process, the first one."""
    path = job.work / MEASURED
    before = (
        read_json(path) if path.exists() else {"step_seconds": [], "checkpoint_seconds": 0.0, "checkpoint_bytes": 0}
    )
    found = {
        **{"step_seconds": before["step_seconds"] + stopwatch.steps, "resumed": resumed},
        "checkpoint_seconds": max(before["checkpoint_seconds"], stopwatch.saving),
        "checkpoint_bytes": max(before["checkpoint_bytes"], stopwatch.size),
        **memory(job.device),
    }
    write_json(path, found)


def _predictions(trainer: Any) -> list[float]:
    """A scorer's predictions for the held-out rows, one for each."""
    found = [float(value) for value in trainer.predict(trainer.eval_dataset).predictions.reshape(-1)]
    if not all(math.isfinite(value) for value in found):
        raise ScaleQuestError(
            "the trained scorer predicts a number that is not finite; lower difficulty.learning_rate."
        )
    return found


def _watch(job: Job) -> Any:
    """A callback that ends a run whose loss is not finite, logs progress, and saves by the clock and before an early
    end, whose reason is `why`."""
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list
    from transformers import TrainerCallback

    class Watch(TrainerCallback):
        def __init__(self) -> None:
            self.saved = self.shown = self.stepped = time.monotonic()
            self.why = ""
            # Seconds of the slowest checkpoint, of the slowest step, and of the last checkpoint.
            self.saving = self.step = self.last = 0.0

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            _check_finite(job, state.global_step, logs or {})
            now = time.monotonic()
            last = state.global_step == state.max_steps
            if "loss" in (logs or {}) and state.is_world_process_zero and (last or now - self.shown > 10):
                self.shown = now
                log.info("%s: step %d of %d, loss %.4f", job.section, state.global_step, state.max_steps, logs["loss"])

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            now = time.monotonic()
            self.step, self.stepped = max(self.step, now - self.stepped), now
            over = state.global_step >= state.max_steps
            left = stopping.seconds_left()
            why = "" if over else _told(job)
            # Once: a process that goes on begins behind that step.
            if not over and state.global_step == operation()["resume_after_steps"]:
                why = REHEARSED
            if not over and left is not None and left < 30 + 2 * (self.saving + self.step):
                why = f"{left:.0f} s are left before the {LIMIT}"
            due = not over and now - self.saved >= _interval(self.last)
            # All processes save and stop together, so one of them decides.
            self.why, due = broadcast_object_list([why, due])
            control.should_save = bool(due or self.why)
            control.should_training_stop = control.should_training_stop or bool(self.why)
            if control.should_save:
                self.saved = now
                if state.is_world_process_zero:
                    # There are never more than two checkpoints on the disk.
                    keep_newest(Path(args.output_dir), 1)

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            PartialState().wait_for_everyone()
            if state.is_world_process_zero:
                seal_checkpoint(Path(args.output_dir), f"checkpoint-{state.global_step}")
            # Those of the first process count, which decides for all: it alone seals.
            now = time.monotonic()
            self.last = now - self.saved
            self.saving = max(self.saving, self.last)
            self.saved = self.stepped = now
            if state.is_world_process_zero:
                log.info("%s: checkpoint-%d took %.1f s", job.section, state.global_step, self.last)

    return Watch()


def _interval(last: float) -> float:
    """Seconds from one checkpoint to the next, of which the last one took `last`: checkpoints take at most a twentieth
    of the time, but for `checkpoint_minutes: 0`, which asks for one after each step."""
    asked = 60 * operation()["checkpoint_minutes"]
    return max(asked, 19 * last) if asked else 0.0


_signals: list[int] = []


def _told(job: Job) -> str:
    """Why the run has been told to end early; empty where it has not."""
    return "told by SIGTERM" if _signals else "told to" if (job.work / STOP).exists() else ""


def _end_with_supervisor() -> None:
    """Check every second that the supervisor is there, also during a long step or checkpoint."""
    while True:
        _end_orphan()
        time.sleep(1)


def _end_orphan() -> None:
    """End at once if the supervisor is gone, because a new training may use the same folder.

    On other nodes than the supervisor's this cannot be checked; there srun ends all processes with the first that ends.
    """
    supervisor = json.loads(os.environ.get(SUPERVISOR, "null"))
    if supervisor and is_here(supervisor) and process_start(supervisor["process"]) != supervisor["process_start"]:
        log.error("the process that started this training is gone: ending without a checkpoint")
        os._exit(1)


def _check_finite(job: Job, step: int, logs: Mapping[str, Any]) -> None:
    """Raise ScaleQuestError where a loss or a gradient is not finite."""
    for name in ("loss", "grad_norm", "eval_loss"):
        if name in logs and not math.isfinite(logs[name]):
            section, settings = job.section, job.settings
            raise ScaleQuestError(
                f"{section}: {name} is {logs[name]} at step {step}. Lower {section}.learning_rate (now "
                f"{settings.learning_rate}), lengthen the warm-up, or train in float32 (training.dtype, now "
                f"{job.training.dtype}). No model was written."
            )


def _lasting(row: Mapping[str, Any]) -> dict[str, Any]:
    """The measures of a step that a restart does not change."""
    return {name: value for name, value in row.items() if not name.endswith(_PASSING)}


def _sentence(error: BaseException, job: Job) -> str | None:
    """The message for the user, or None where a traceback says more."""
    import torch

    section = job.section
    if isinstance(error, ScaleQuestError):
        return str(error)
    if isinstance(error, torch.OutOfMemoryError):
        return (
            f"{section}: the device's memory does not suffice ({error}). Lower {section}.rows_per_device, set "
            "training.gradient_checkpointing, or shard the model over more processes (training.sharding: fsdp)."
        )
    if isinstance(error, ImportError):
        return f"{section}: {error}. Install it; if {section}.optimizer asks for it, another optimizer may not."
    return None


def disk_trouble(folder: Path) -> OSError | None:
    """The error of writing 16 MiB to a folder, or None. The libraries that save weights hide that a disk is full."""
    try:
        with replaced(folder / "room") as part:
            part.write_bytes(bytes(16 << 20))
        (folder / "room").unlink()
    except OSError as error:
        error.filename = str(folder)
        return error
    return None


def main() -> None:
    """Run the job whose file is the only argument. A message for the user is written to a file beside it."""
    logging.basicConfig(level=logging.INFO, handlers=[log_handler(sys.stderr)])
    go_offline()
    # A scheduler signals every process of a job; the callback saves a checkpoint before the end.
    signal.signal(signal.SIGTERM, lambda number, frame: _signals.append(number))
    threading.Thread(target=_end_with_supervisor, name="supervisor", daemon=True).start()
    job = read_settings(Job, read_json(sys.argv[1]))
    work = job.work
    try:
        run(job)
    except Exception as error:
        sentence, trouble = _sentence(error, job), disk_trouble(work)
        if trouble is not None:
            # No file can be written for the supervisor, which finds the same and reports it.
            log.error("ended by %s (%s)", type(error).__name__, trouble)
        elif sentence is not None:
            # A message may quote characters that a file cannot hold.
            write_text(work / ERROR, printable(sentence))
        else:
            log.exception("crashed: %s: %s", type(error).__name__, error)
        sys.exit(1)


if __name__ == "__main__":
    main()
