"""The memory of a training: computed by `training/memory` from the model's shape, and measured.

    python tests/benchmarks/training_memory.py
    python tests/benchmarks/training_memory.py --device gpu --layers 16 --hidden 2048 --dtype bfloat16 --checkpointing

Two steps of two micro batches each on a random model, by the project's trainer, so that the second step has everything
at once. Measured is the largest resident memory of a process of its own less that of a model of nearly nothing; on a
GPU the largest sum of what torch has allocated.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from pathlib import Path

from common import CHECKOUT, default_config, print_table, run

sys.path.insert(0, str(CHECKOUT / "tests" / "support"))
from scalequest.llm.models import open_model, write_manifest
from scalequest.runtime.files import read_json
from scalequest.settings import TrainingSettings, read_settings
from scalequest.training import process, trainers
from scalequest.training.launch import Training, lay_down
from scalequest.training.memory import GB, Memory, memory, shape_of
from tiny import make_tiny_model


def trained(args: argparse.Namespace) -> tuple[Memory, float]:
    """The computed memory of two steps, and the most bytes that this process had when they were done."""
    import torch

    defaults = default_config()
    how = {"dtype": args.dtype, "gradient_checkpointing": args.checkpointing}
    training = read_settings(TrainingSettings, {**defaults["training"], **how})
    sizes = {"max_length": args.max_length, "rows_per_device": args.rows_per_device}
    tuning = {**defaults["student_tuning"], **sizes, "optimizer": args.optimizer}
    settings = read_settings(trainers.JobTuning, {**tuning, "rows_per_step": 2 * args.rows_per_device})
    ids = [[100 + (i * 7 + j) % 9000 for j in range(args.max_length)] for i in range(4 * args.rows_per_device)]
    with tempfile.TemporaryDirectory() as folder:
        make_tiny_model(Path(folder, "model"), layers=args.layers, hidden=args.hidden)
        write_manifest(Path(folder, "model.json"), Path(folder, "model"), name="random", source="random")
        shape, work = shape_of(read_json(Path(folder, "model", "config.json"))), Path(folder, "work")
        assert shape is not None
        rows = [{"input_ids": row, "labels": row} for row in ids]
        model = open_model(Path(folder, "model.json"))
        lay_down(Training("students", "student_tuning", settings, training, args.device, model, rows), "key", work)
        trainers.texts(read_settings(trainers.Job, read_json(work / process.JOB))).train()
    if args.device == "gpu":
        most = float(torch.cuda.max_memory_allocated())
    else:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return memory(shape, "students", training, settings, args.device), most


def main() -> None:
    """Train, and print both memories, or with --part the bytes alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--optimizer", default="adamw_torch")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--rows-per-device", type=int, default=2)
    parser.add_argument("--checkpointing", action="store_true", help="gradient checkpointing")
    parser.add_argument("--base", type=float, help="bytes of a training of nearly nothing; else measured")
    args = parser.parse_args()
    if args.base is None:
        small = ["--layers", 1, "--hidden", 8, "--max-length", 8, "--rows-per-device", 1, "--base", 0]
        args.base = 0.0 if args.device == "gpu" else float(run(__file__, *small).output.split()[-1])
    computed, most = trained(args)
    parts = ("weights", "gradients", "optimizer", "copies", "activations", "head")
    print_table(["GB", ""], [[name, f"{getattr(computed, name) / GB:.3f}"] for name in parts])
    print("computed, measured:", sum(getattr(computed, name) for name in parts), most - args.base)


if __name__ == "__main__":
    main()
