"""The kinds of training: each is a function from a job to a trainer of transformers or TRL.

A job is what `launch.lay_down` writes. Weights are held in float32 while they are trained, and `training.dtype` is the
type of the products: with weights in bfloat16, steps as small as those of preference tuning would round to zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalequest.llm.chat import load_tokenizer
from scalequest.settings import Device, Number, TrainingSettings, Tuning
from scalequest.training import packed_attention


@dataclass(frozen=True, kw_only=True)
class JobTuning(Tuning):
    """A section of any kind, as trainers read it. Preference tuning alone has `beta` and steps in place of a ratio;
    `loss` is its loss, or the tokens that bear it in question tuning."""

    warmup_ratio: Number | None = None
    warmup_steps: int | None = None
    beta: Number | None = None
    loss: str | None = None


@dataclass(frozen=True)
class Job:
    """The job file. `work` is its folder, `result` the name of the file that gets `key` and result; see `Training`."""

    kind: str
    section: str
    settings: JobTuning
    training: TrainingSettings
    accumulation: int
    device: Device
    base: str
    trust_remote_code: bool
    pad_token_id: int | None
    work: Path
    result: str
    key: str


def texts(job: Job) -> Any:
    """Trainer of question fine-tuning and of students, on packed rows (best fit, decreasing) without attention between
    the samples of a row.

    Rows have `input_ids` and `labels` (-100 where no loss falls).
    Source: ScaleQuest (arXiv 2410.18693), sections 3.1 and 4.1; packing as in TRL, which restarts the position ids of
    each sample and sets `use_cache=False`, without which transformers ignores them.
    """
    from trl import SFTConfig, SFTTrainer

    arguments = _arguments(SFTConfig, job, packing=True, packing_strategy="bfd", max_length=job.settings.max_length)
    # A student may start from a model without a chat format.
    tokenizer = _tokenizer(job, chat=job.kind != "students")
    return SFTTrainer(
        model=_language_model(job, packed=True),
        args=arguments,
        train_dataset=_rows(job, "train"),
        processing_class=tokenizer,
    )


def preferences(job: Job) -> Any:
    """Trainer of preference optimisation (DPO, arXiv 2305.18290). Rows have `prompt_ids`, `chosen_ids`, `rejected_ids`;
    the prompt has no loss."""
    from trl import DPOConfig, DPOTrainer

    class TokenPairs(DPOTrainer):
        """TRL's trainer takes texts only and tokenises them in its own way; ours are token ids already."""

        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

    settings = job.settings
    arguments = _arguments(
        DPOConfig,
        job,
        beta=settings.beta,
        loss_type=[settings.loss],
        max_length=settings.max_length,
        # One pass of the base model before training, in place of a second model in memory. With FSDP, TRL loads that
        # model whole in each process for the pass.
        precompute_ref_log_probs=True,
        trust_remote_code=job.trust_remote_code,
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
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(job.pad_token_id)
    tokenizer.padding_side = "right"
    arguments = _arguments(TrainingArguments, job)
    # The weights of the new head are drawn below.
    set_seed(job.settings.seed)
    model = _load(
        AutoModelForSequenceClassification,
        job,
        num_labels=1,
        problem_type="regression",
        pad_token_id=job.pad_token_id,
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


# Raised when training itself changes by more than rounding, so that weights of an older version are not found again.
TRAINING_VERSION = 1
KINDS = {"questions": texts, "students": texts, "preferences": preferences, "scorer": scorer}


def _arguments(wanted: type, job: Job, **further: Any) -> Any:
    """Training arguments of the class `wanted`: those of all kinds, and `further` ones."""
    settings, training = job.settings, job.training
    sharded = training.sharding == "fsdp"
    arguments = wanted(
        output_dir=str(job.work / "checkpoints"),
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.scheduler,
        # Below 1, transformers takes it as the ratio.
        warmup_steps=settings.warmup_steps if settings.warmup_ratio is None else settings.warmup_ratio,
        weight_decay=settings.weight_decay,
        optim=settings.optimizer,
        seed=settings.seed,
        data_seed=settings.seed,
        per_device_train_batch_size=settings.rows_per_device,
        per_device_eval_batch_size=settings.rows_per_device,
        gradient_accumulation_steps=job.accumulation,
        gradient_checkpointing=training.gradient_checkpointing and not sharded,
        bf16=training.dtype == "bfloat16",
        use_cpu=job.device == "cpu",
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=job.device != "cpu",
        logging_steps=1,
        # This filter would log the last finite loss in place of a NaN.
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **(_sharding(training) if sharded else {}),
        **further,
    )
    if sharded and arguments.bf16:
        _keep_sums_in_float32(arguments)
    if sharded and job.device == "cpu":
        _shard_on_cpus()
    return arguments


def save_memory(trainer: Any) -> None:
    """Set what the arguments of a trainer cannot; the numbers stay the same.

    The first process sends each other one its share of a sharded model: `_load` gave those an empty one. The argument
    of transformers would fill them with zeros, which take as much of the host's memory, and TRL's reference model as
    well, to which no weights are sent. And autocast keeps no copy of a weight after its product, as each has one.
    """
    from accelerate.utils import AutocastKwargs

    trainer.accelerator.autocast_handler = AutocastKwargs(cache_enabled=False)
    plugin = getattr(trainer.accelerator.state, "fsdp_plugin", None)
    if plugin is not None:
        plugin.cpu_ram_efficient_loading = True


def _sharding(training: TrainingSettings) -> dict[str, Any]:
    """The FSDP2 arguments: weights, gradients and the optimizer's state are sharded by layer, as in ZeRO-3 (arXiv
    1910.02054), and each process writes its own share of a checkpoint.

    Gradient checkpointing is FSDP's own; that of transformers would gather the weights once more. Gradients are summed
    up over the processes after each micro batch: until then each process would keep those of all weights.
    """
    how = {"version": 2, "state_dict_type": "SHARDED_STATE_DICT"}
    return {
        "fsdp": True,
        "fsdp_config": {**how, "activation_checkpointing": training.gradient_checkpointing},
        "accelerator_config": {"gradient_accumulation_kwargs": {"sync_each_batch": True}},
    }


def _keep_sums_in_float32(arguments: Any) -> None:
    """Reduce gradients and return the loss in float32; accelerate's policy would use bfloat16 for them too."""
    import torch
    from torch.distributed.fsdp import MixedPrecisionPolicy

    arguments.fsdp_plugin_args["mixed_precision_policy"] = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16, reduce_dtype=torch.float32
    )


def _shard_on_cpus() -> None:
    """Make accelerate 1.15 use its FSDP plugin on CPUs, which it does not though torch can shard there."""
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
    return load_tokenizer(job.base, trust_remote_code=job.trust_remote_code, chat=chat)


def _rows(job: Job, name: str) -> Any:
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    folder = job.work / name
    # From disk, so that TRL caches what it derives from the rows beside them, for all processes.
    return Dataset.load_from_disk(str(folder)) if folder.exists() else None


def _language_model(job: Job, *, packed: bool = False) -> Any:
    from transformers import AutoModelForCausalLM

    return _load(AutoModelForCausalLM, job, _attention(job, packed=packed))


def _attention(job: Job, *, packed: bool) -> str:
    """The attention of a training: sample by sample where rows are packed and a GPU has kernels for it."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(job.base, trust_remote_code=job.trust_remote_code)
    by_sample = packed and job.device == "gpu" and packed_attention.fits(config, job.settings.max_length)
    return packed_attention.register() if by_sample else "sdpa"


def _load(architecture: Any, job: Job, attention: str = "sdpa", **options: Any) -> Any:
    """The model in float32. Where it is sharded, all processes but the first get one of which only the buffers are
    filled: memory that nobody writes to takes none of the host's."""
    import torch
    from accelerate import PartialState, init_empty_weights
    from transformers import AutoConfig

    how = {"dtype": torch.float32, "trust_remote_code": job.trust_remote_code}
    if job.training.sharding == "none" or PartialState().is_main_process:
        return _with_attention(attention, lambda name: architecture.from_pretrained(job.base, **name, **how, **options))
    config = AutoConfig.from_pretrained(job.base, trust_remote_code=job.trust_remote_code, **options)
    with init_empty_weights(include_buffers=False):
        model = _with_attention(attention, lambda name: architecture.from_config(config, **name, **how))
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            # Not left without memory, by whose addresses accelerate tells weights apart.
            setattr(module, name, torch.nn.Parameter(torch.empty_like(weight, device="cpu")))
    model.tie_weights()
    # By which TRL finds the reference model.
    model.config.name_or_path = job.base
    return model


def _with_attention(attention: str, load: Callable[[dict[str, str]], Any]) -> Any:
    """The model with an attention of this name, or with its own where its architecture has no other (gpt-oss)."""
    try:
        return load({"attn_implementation": attention})
    except ValueError as error:
        if "scaled_dot_product_attention" not in str(error):
            raise
    return load({"attn_implementation": "eager"})


def _squared_error(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
    """Mean squared error over a whole step. The model's own loss would be a sum of means over micro batches."""
    errors = (outputs["logits"].squeeze(-1).float() - labels.float()) ** 2
    return errors.mean() if num_items_in_batch is None else errors.sum() / num_items_in_batch
