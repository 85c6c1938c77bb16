"""One node's part of a training on several: `accelerate launch` with the rank that srun gave to this task."""

from __future__ import annotations

import os
import runpy
import sys


def main() -> None:
    """Run `accelerate launch` with the arguments of this program and `--machine_rank`."""
    sys.argv[1:1] = ["--machine_rank", os.environ["SLURM_PROCID"]]
    runpy.run_module("accelerate.commands.launch", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
