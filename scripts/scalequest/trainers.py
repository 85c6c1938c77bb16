"""The training processes: what `accelerate launch` starts, as many times as there are devices.

Each kind of training is a function from a job (see `training.py`) to a transformers or TRL trainer; the rest is
common: the arguments, what is watched while it runs, checkpoints that are whole or ignored, and how weights are saved.
Weights are held in float32 while they are trained and `training.dtype` is what products are computed in: steps as
small as those of preference tuning would round to nothing on weights of bfloat16.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scalequest import stopping
from scalequest.chat import load_tokenizer
from scalequest.errors import ScaleQuestError
from scalequest.files import SEAL, is_whole, read_json, replaced, seal, write_json, write_text
from scalequest.hashing import row_seed
from scalequest.job import go_offline
from scalequest.lease import is_here, process_start
from scalequest.operation import operation

log = logging.getLogger(__name__)
Job = Mapping[str, Any]
JOB, ERROR, MODEL = "job.json", "error.txt", "model"
# The first is laid down to ask for an early end after a checkpoint; the second says that there was one, and why.
STOP, STOPPED = "stop", "stopped.txt"
# The process that watches over the training (its identity, as JSON): orphans end and never write beside a new training.
SUPERVISOR = "SCALEQUEST_SUPERVISOR"
# What a restart changes: clocks, and a count of tokens that TRL begins anew.
_PASSING = ("_runtime", "_per_second", "num_tokens")


def texts(job: Job) -> Any:
    """Trainer of question fine-tuning and of students: packed rows (best fit, decreasing) whose samples do not see each
    other.

    Rows have `input_ids` and `labels` (-100 where no loss falls).
    Source: ScaleQuest (arXiv 2410.18693), sections 3.1 and 4.1; packing as TRL does it, isolated by position ids that
    restart, which transformers honours with `use_cache=False` alone, as TRL sets it.
    """
    from trl import SFTConfig, SFTTrainer

    arguments = _arguments(
        SFTConfig, job, packing=True, packing_strategy="bfd", max_length=job["settings"]["max_length"]
    )
    # A student may start from a model that knows no chat.
    tokenizer = _tokenizer(job, chat=job["kind"] != "students")
    return SFTTrainer(
        model=_language_model(job), args=arguments, train_dataset=_rows(job, "train"), processing_class=tokenizer
    )


def preferences(job: Job) -> Any:
    """Trainer of preference optimisation (DPO, arXiv 2305.18290). Rows have `prompt_ids`, `chosen_ids`, `rejected_ids`;
    the prompt bears no loss."""
    from trl import DPOConfig, DPOTrainer

    class TokenPairs(DPOTrainer):
        """TRL's trainer takes texts alone and would tokenise, and end, them in its own way; ours are ids already."""

        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

    settings = job["settings"]
    arguments = _arguments(
        DPOConfig,
        job,
        beta=settings["beta"],
        loss_type=[settings["loss"]],
        max_length=settings["max_length"],
        # One pass of the base model beforehand, in place of a second model in memory; under FSDP TRL loads that one for
        # the pass, whole in each process.
        precompute_ref_log_probs=True,
        trust_remote_code=job["trust_remote_code"],
    )
    return TokenPairs(
        model=_language_model(job),
        args=arguments,
        train_dataset=_rows(job, "train"),
        eval_dataset=_rows(job, "held_out"),
        processing_class=_tokenizer(job),
    )


def scorer(job: Job) -> Any:
    """Trainer of a one-number head by squared error. Rows have `input_ids` and `labels` (one number)."""
    from transformers import (
        AutoModelForSequenceClassification,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    tokenizer = _tokenizer(job, chat=False)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(job["pad_token_id"])
    tokenizer.padding_side = "right"
    arguments = _arguments(TrainingArguments, job)
    # The new head's weights are drawn here.
    set_seed(job["settings"]["seed"])
    model = _load(
        AutoModelForSequenceClassification,
        job,
        num_labels=1,
        problem_type="regression",
        pad_token_id=job["pad_token_id"],
    )
    return Trainer(
        model=model,
        args=arguments,
        train_dataset=_rows(job, "train"),
        eval_dataset=_rows(job, "held_out"),
        data_collator=DataCollatorWithPadding(tokenizer),
        processing_class=tokenizer,
        compute_loss_func=_squared_error,
    )


# Raised when training itself changes, so that weights of the older way are not found again.
TRAINING_VERSION = 1
KINDS = {"questions": texts, "students": texts, "preferences": preferences, "scorer": scorer}


def run(job: Job) -> None:
    """Train one job and leave the model with its result in the work folder, whole or not at all."""
    from accelerate import PartialState
    from transformers import PrinterCallback

    processes = PartialState(cpu=job["device"] == "cpu").num_processes
    if processes != job["training"]["processes"]:
        raise ScaleQuestError(
            f"accelerate started {processes} processes, but training.processes is {job['training']['processes']}: "
            "make training.launch_arguments agree with it."
        )
    trainer = KINDS[job["kind"]](job)
    trainer.remove_callback(PrinterCallback)
    watch = _watch(job)
    trainer.add_callback(watch)
    trainer.train(resume_from_checkpoint=_last_checkpoint(job))
    if watch.why:
        write_text(Path(job["work"]) / STOPPED, watch.why)
        sys.exit(1)
    _end_orphan()
    result = {
        "steps": trainer.state.global_step,
        "history": [_lasting(row) for row in trainer.state.log_history if "loss" in row],
        "held_out": _lasting(trainer.evaluate()) if job["kind"] == "preferences" and trainer.eval_dataset else {},
        "predictions": _predictions(trainer) if job["kind"] == "scorer" and trainer.eval_dataset else [],
    }
    _save(trainer, job, result)


def _arguments(wanted: type, job: Job, **further: Any) -> Any:
    """Training arguments of the class `wanted`: those that all kinds share, and further ones."""
    settings, training = job["settings"], job["training"]
    sharded = training["sharding"] == "fsdp"
    arguments = wanted(
        output_dir=str(Path(job["work"]) / "checkpoints"),
        num_train_epochs=settings["epochs"],
        learning_rate=settings["learning_rate"],
        lr_scheduler_type=settings["scheduler"],
        # Below 1, transformers takes it as the ratio.
        warmup_steps=settings["warmup_ratio"] if "warmup_ratio" in settings else settings["warmup_steps"],
        weight_decay=settings["weight_decay"],
        optim=settings["optimizer"],
        seed=settings["seed"],
        data_seed=settings["seed"],
        per_device_train_batch_size=settings["rows_per_device"],
        per_device_eval_batch_size=settings["rows_per_device"],
        gradient_accumulation_steps=job["accumulation"],
        gradient_checkpointing=training["gradient_checkpointing"] and not sharded,
        bf16=training["dtype"] == "bfloat16",
        use_cpu=job["device"] == "cpu",
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=job["device"] != "cpu",
        logging_steps=1,
        # The filter would show the last finite loss in place of a NaN.
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **(_sharding(training) if sharded else {}),
        **further,
    )
    if sharded and arguments.bf16:
        _keep_sums_in_float32(arguments)
    if sharded and job["device"] == "cpu":
        _shard_on_cpus()
    return arguments


def _sharding(training: Mapping[str, Any]) -> dict[str, Any]:
    """How FSDP2 shards: weights, gradients and the optimizer's state, layer by layer, as ZeRO-3 (arXiv 1910.02054).

    Each process writes its own share of a checkpoint. Activations are computed twice by FSDP itself where that is
    asked for: transformers' way would gather the weights once more for it.
    """
    how = {"version": 2, "state_dict_type": "SHARDED_STATE_DICT"}
    return {"fsdp": True, "fsdp_config": {**how, "activation_checkpointing": training["gradient_checkpointing"]}}


def _keep_sums_in_float32(arguments: Any) -> None:
    """Add up gradients and hand on the loss in float32; accelerate's policy would have bfloat16 for them too."""
    import torch
    from torch.distributed.fsdp import MixedPrecisionPolicy

    arguments.fsdp_plugin_args["mixed_precision_policy"] = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16, reduce_dtype=torch.float32
    )


def _shard_on_cpus() -> None:
    """Let accelerate 1.15 take its FSDP plugin on CPUs, where it leaves it unused though torch shards there too."""
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedType

    begin = AcceleratorState.__init__

    def patched(self: Any, *args: Any, fsdp_plugin: Any = None, **options: Any) -> None:
        begin(self, *args, fsdp_plugin=fsdp_plugin, **options)
        if fsdp_plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
            self.fsdp_plugin = fsdp_plugin
            self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP

    AcceleratorState.__init__ = patched


def _tokenizer(job: Job, *, chat: bool = True) -> Any:
    return load_tokenizer(job["base"], trust_remote_code=job["trust_remote_code"], chat=chat)


def _rows(job: Job, name: str) -> Any:
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    folder = Path(job["work"]) / name
    # From disk, so that what TRL derives from the rows is cached beside them and shared by all processes.
    return Dataset.load_from_disk(str(folder)) if folder.exists() else None


def _language_model(job: Job) -> Any:
    from transformers import AutoModelForCausalLM

    return _load(AutoModelForCausalLM, job)


def _load(architecture: Any, job: Job, **options: Any) -> Any:
    import torch

    return architecture.from_pretrained(
        job["base"],
        dtype=torch.float32,
        attn_implementation="sdpa",
        trust_remote_code=job["trust_remote_code"],
        **options,
    )


def _squared_error(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
    """Mean squared error over a whole step; the model's own loss is a mean over a micro batch, summed unscaled."""
    errors = (outputs["logits"].squeeze(-1).float() - labels.float()) ** 2
    return errors.mean() if num_items_in_batch is None else errors.sum() / num_items_in_batch


def _predictions(trainer: Any) -> list[float]:
    found = [float(value) for value in trainer.predict(trainer.eval_dataset).predictions.reshape(-1)]
    if not all(math.isfinite(value) for value in found):
        raise ScaleQuestError(
            "the trained scorer predicts a number that is not finite; lower difficulty.learning_rate."
        )
    return found


def _watch(job: Job) -> Any:
    """A callback: ends a run whose loss is not finite, logs progress, and saves by the clock and where the run must end
    early, for the reason `why`."""
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list
    from transformers import TrainerCallback

    class Watch(TrainerCallback):
        def __init__(self) -> None:
            self.saved = self.shown = self.stepped = time.monotonic()
            self.why = ""
            # Seconds that the slowest checkpoint and step took.
            self.saving = self.step = 0.0

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            _check_finite(job, state.global_step, logs or {})
            now = time.monotonic()
            last = state.global_step == state.max_steps
            if "loss" in (logs or {}) and state.is_world_process_zero and (last or now - self.shown > 10):
                self.shown = now
                log.info(
                    "%s: step %d of %d, loss %.4f", job["section"], state.global_step, state.max_steps, logs["loss"]
                )

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            now = time.monotonic()
            self.step, self.stepped = max(self.step, now - self.stepped), now
            over = state.global_step >= state.max_steps
            left = stopping.seconds_left()
            why = "" if over else _told(job)
            if not over and left is not None and left < 30 + 2 * (self.saving + self.step):
                why = f"{left:.0f} s are left before the time limit"
            due = not over and now - self.saved >= 60 * operation()["checkpoint_minutes"]
            # Saving and stopping is done by all processes together, so one of them decides.
            self.why, due = broadcast_object_list([why, due])
            control.should_save = bool(due or self.why)
            control.should_training_stop = control.should_training_stop or bool(self.why)
            if control.should_save:
                self.saved = now
                if state.is_world_process_zero:
                    # Room for the next one: there are never more than two.
                    _keep_newest(Path(args.output_dir), 1)

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.saving = max(self.saving, time.monotonic() - self.saved)
            self.saved = self.stepped = time.monotonic()
            PartialState().wait_for_everyone()
            if state.is_world_process_zero:
                _seal(Path(args.output_dir), f"checkpoint-{state.global_step}")

    return Watch()


_signals: list[int] = []


def _told(job: Job) -> str:
    """Why the run was told to end early; empty where it was not."""
    return "told by SIGTERM" if _signals else "told to" if (Path(job["work"]) / STOP).exists() else ""


def _end_with_supervisor() -> None:
    """Look every second whether the supervisor is there, in the midst of a long step or checkpoint too."""
    while True:
        _end_orphan()
        time.sleep(1)


def _end_orphan() -> None:
    """End at once where the supervisor is gone: a new training may be at work in the same folder.

    On other nodes than the supervisor's nothing can be seen; what runs there ends with the first that ends (srun).
    """
    supervisor = json.loads(os.environ.get(SUPERVISOR, "null"))
    if supervisor and is_here(supervisor) and process_start(supervisor["process"]) != supervisor["process_start"]:
        log.error("the process that started this training is gone: ending without a checkpoint")
        os._exit(1)


def _check_finite(job: Job, step: int, logs: Mapping[str, Any]) -> None:
    for name in ("loss", "grad_norm", "eval_loss"):
        if name in logs and not math.isfinite(logs[name]):
            section, settings = job["section"], job["settings"]
            raise ScaleQuestError(
                f"{section}: {name} is {logs[name]} at step {step}. Lower {section}.learning_rate (now "
                f"{settings['learning_rate']}), lengthen the warm-up, or train in float32 (training.dtype, now "
                f"{job['training']['dtype']}). No model was written."
            )


def _seal(folder: Path, name: str) -> None:
    """Mark a checkpoint as whole, and only then remove the others but the one before, should this one be damaged."""
    seal(folder / name)
    _keep_newest(folder, 2)


def _keep_newest(folder: Path, count: int) -> None:
    """Remove all but the newest sealed checkpoints."""
    kept = [path for path in _newest_first(folder) if (path / SEAL).exists()][:count]
    for other in set(_newest_first(folder)) - set(kept):
        shutil.rmtree(other, ignore_errors=True)


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]), reverse=True)


def _last_checkpoint(job: Job) -> str | None:
    """The latest checkpoint that is whole; one process looks for all."""
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    found: list[str | None] = [None]
    if PartialState().is_main_process:
        for checkpoint in _newest_first(Path(job["work"]) / "checkpoints"):
            if is_whole(checkpoint):
                log.info("%s: resuming from %s", job["section"], checkpoint.name)
                found = [str(checkpoint)]
                break
            log.warning("%s: %s is not whole and is ignored", job["section"], checkpoint)
    return broadcast_object_list(found)[0]


def _lasting(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not name.endswith(_PASSING)}


def _save(trainer: Any, job: Job, result: Mapping[str, Any]) -> None:
    """Gather the weights, write them in bfloat16 with tokenizer and result, and rename the folder into place."""
    work = Path(job["work"])
    part = work / f".{MODEL}.part"
    sharding = getattr(trainer.accelerator.state, "fsdp_plugin", None)
    if sharding is not None:
        sharding.set_state_dict_type("FULL_STATE_DICT")
    if trainer.is_world_process_zero():
        shutil.rmtree(part, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    trainer.save_model(str(part))
    trainer.accelerator.wait_for_everyone()
    if trainer.is_world_process_zero():
        # A pickle with this machine's paths in it.
        (part / "training_args.bin").unlink(missing_ok=True)
        for file in part.glob("*.safetensors"):
            _to_bfloat16(file, job)
        config = read_json(part / "config.json")
        before = read_json(Path(job["base"]) / "config.json")
        write_json(part / "config.json", config | {"dtype": "bfloat16", "use_cache": before.get("use_cache", True)})
        write_json(part / job["result"], {"key": job["key"], "result": result})
        seal(part)
        shutil.rmtree(work / MODEL, ignore_errors=True)
        part.rename(work / MODEL)


def rounded(weight: Any, seed: int) -> Any:
    """A float32 tensor in bfloat16, each number up or down by chance so that it is right on average; seeded.

    Base weights lie on the grid of bfloat16 and a short training moves most by less than its spacing: rounding to the
    nearest sends these back (of preference tuning at a rate of 2e-6, 99% of the gain in margin was lost).
    Source: Gupta et al. 2015 (arXiv 1502.02551), stochastic rounding.
    """
    import torch

    noise = torch.randint(0, 1 << 16, weight.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.int32)
    # bfloat16 is the upper half of a float32: adding up to one unit below its last bit carries by chance.
    return ((weight.contiguous().view(torch.int32) + noise) & -(1 << 16)).view(torch.float32).to(torch.bfloat16)


def _to_bfloat16(file: Path, job: Job) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    weights = load_file(file)
    for name, weight in weights.items():
        if not torch.isfinite(weight).all():
            raise ScaleQuestError(f"{job['section']}: {name} of the trained model is not finite; lower learning_rate.")
    seed = job["settings"]["seed"]
    cast = {n: rounded(w, row_seed(seed, n)) if w.dtype == torch.float32 else w for n, w in weights.items()}
    with replaced(file) as part:
        save_file(cast, part, metadata={"format": "pt"})
        # The library makes files that only their owner may read.
        part.chmod(file.with_name("config.json").stat().st_mode)


def _sentence(error: BaseException, job: Job) -> str | None:
    """What the user should read of an error, or None where a traceback says more."""
    import torch

    section = job["section"]
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
    """What a folder's disk says to 16 MiB more; the libraries that save weights hide that a disk is full."""
    try:
        with replaced(folder / "room") as part:
            part.write_bytes(bytes(16 << 20))
        (folder / "room").unlink()
    except OSError as error:
        error.filename = str(folder)
        return error
    return None


def main() -> None:
    """Run the job whose file is the only argument; an error that a user can mend is left beside it as a sentence."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s: %(message)s", datefmt="%H:%M:%S"
    )
    go_offline()
    # Schedulers signal every process of a job; the checkpoint comes first.
    signal.signal(signal.SIGTERM, lambda number, frame: _signals.append(number))
    threading.Thread(target=_end_with_supervisor, name="supervisor", daemon=True).start()
    job = read_json(sys.argv[1])
    work = Path(job["work"])
    try:
        run(job)
    except Exception as error:
        sentence, trouble = _sentence(error, job), disk_trouble(work)
        if sentence is None and trouble is None:
            raise
        if trouble is not None:
            # No file can be left for the supervisor, which finds the same and tells the user.
            log.error("ended by %s (%s)", type(error).__name__, trouble)
        elif sentence is not None:
            write_text(work / ERROR, sentence)
        sys.exit(1)


if __name__ == "__main__":
    main()
