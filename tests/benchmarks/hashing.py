"""How fast the files of a checkpoint are hashed: one after another, and as `seal` does it, as many at a time as cores.

    python tests/benchmarks/hashing.py --files 4 --megabytes 512

Random files are written to `--folder` (default: the temporary folder) and read once before, so that they come from the
system's cache and no disk is measured.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from common import print_table

from scalequest.hashing import file_sha256
from scalequest.runtime.files import file_sums


def best(hashed: Callable[[Sequence[Path]], list[str]], files: Sequence[Path], rounds: int) -> float:
    """Seconds of the fastest of some rounds."""
    taken = []
    for _ in range(rounds):
        begin = time.perf_counter()
        hashed(files)
        taken.append(time.perf_counter() - begin)
    return min(taken)


def main() -> None:
    """Write the files, hash them in both ways, and print GB a second."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--megabytes", type=int, default=512, help="of each file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    ways: dict[str, Callable[[Sequence[Path]], list[str]]] = {
        "one after another": lambda files: [file_sha256(file) for file in files],
        f"in {len(os.sched_getaffinity(0))} threads": file_sums,
    }
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        files = [Path(folder) / f"{number}.bin" for number in range(arguments.files)]
        for file in files:
            file.write_bytes(os.urandom(arguments.megabytes << 20))
        sums = [hashed(files) for hashed in ways.values()]
        assert sums[0] == sums[1]
        size = arguments.files * (arguments.megabytes << 20) / 1e9
        rows = [[name, f"{size / best(hashed, files, arguments.rounds):.2f}"] for name, hashed in ways.items()]
    print_table(["", "GB/s"], rows)


if __name__ == "__main__":
    main()
