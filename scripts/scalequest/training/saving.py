"""The weights of a finished training, written in bfloat16 by stochastic rounding."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scalequest.errors import ScaleQuestError
from scalequest.hashing import row_seed
from scalequest.llm.tokenizers import is_part
from scalequest.runtime.files import read_json, replaced, seal, write_json
from scalequest.training.trainers import Job

# Folder of the finished model in the work folder.
MODEL = "model"


def save(trainer: Any, job: Job, result: Mapping[str, Any]) -> None:
    """Gather the weights, write them in bfloat16 with tokenizer and `result`, and rename the folder into place.

    Raises ScaleQuestError where a weight is not finite.
    """
    work = job.work
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
        # A pickle that contains this machine's paths.
        (part / "training_args.bin").unlink(missing_ok=True)
        _copy_tokenizer(Path(job.base), part)
        for file in part.glob("*.safetensors"):
            _to_bfloat16(file, job)
        config = read_json(part / "config.json")
        before = read_json(Path(job.base) / "config.json")
        write_json(part / "config.json", config | {"dtype": "bfloat16", "use_cache": before.get("use_cache", True)})
        write_json(part / job.result, {"key": job.key, "result": result})
        seal(part)
        shutil.rmtree(work / MODEL, ignore_errors=True)
        part.rename(work / MODEL)


def _copy_tokenizer(base: Path, folder: Path) -> None:
    """Give a trained model the tokenizer's files of its base, byte for byte: transformers writes others."""
    for file in folder.iterdir():
        if is_part(file):
            file.unlink()
    for file in base.iterdir():
        if file.is_file() and is_part(file):
            shutil.copyfile(file, folder / file.name)


def rounded(weight: Any, seed: int) -> Any:
    """A float32 tensor of any shape in bfloat16, each number rounded up or down at random, with the right mean; seeded.

    Base weights are bfloat16 numbers, and a short training moves most of them by less than the distance to the next
    one. Rounding to the nearest would undo this: in preference tuning at a rate of 2e-6, 99% of the gain in margin was
    lost. Source: Gupta et al. 2015 (arXiv 1502.02551), stochastic rounding.
    """
    import torch

    noise = torch.randint(0, 1 << 16, weight.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.int32)
    # bfloat16 is the upper half of a float32: random noise in the lower half carries into it at the right rate.
    return ((weight.contiguous().view(torch.int32) + noise) & -(1 << 16)).view(torch.float32).to(torch.bfloat16)


def _to_bfloat16(file: Path, job: Job) -> None:
    """Rewrite a file of weights in bfloat16; numbers of other types than float32 stay."""
    import torch
    from safetensors.torch import load_file, save_file

    weights = load_file(file)
    for name, weight in weights.items():
        if not torch.isfinite(weight).all():
            raise ScaleQuestError(f"{job.section}: {name} of the trained model is not finite; lower learning_rate.")
    seed = job.settings.seed
    cast = {n: rounded(w, row_seed(seed, n)) if w.dtype == torch.float32 else w for n, w in weights.items()}
    with replaced(file) as part:
        save_file(cast, part, metadata={"format": "pt"})
        # safetensors makes files that only their owner may read.
        part.chmod(file.with_name("config.json").stat().st_mode)
