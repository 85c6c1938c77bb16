"""Time, memory and size of the sample browser of many questions: python tests/benchmarks/browser.py [--questions N]

Texts are made of random words, so that they are compressed as little as text is. Needs chromium and chromium-driver.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "support"), str(ROOT / "tests")]

from pages import chromium, wait  # noqa: E402
from scalequest.rows.tables import CANDIDATES, FILTERED, write_table  # noqa: E402

SAMPLES, SHARD = 5, 5000
WORDS = [f"{a}{b}{c}" for a in "bcdfglmnprst" for b in ("a", "e", "io", "u") for c in ("n", "rt", "l", "sk", "")]


def some_text(rng: random.Random, words: int) -> str:
    """Random words with a formula now and then."""
    return " ".join(rng.choice(WORDS) if rng.random() < 0.9 else f"$x_{{{rng.randrange(99)}}}$" for _ in range(words))


def write_shard(results: Path, shard: int, count: int) -> str:
    """Write a shard of questions of about 200 characters with SAMPLES responses of about 1,000; returns its name."""
    rng, name = random.Random(shard), f"g/seed0/gpu{shard}"  # noqa: S311
    ids = [(index, f"g/s0/{index:09d}") for index in range(shard * SHARD, shard * SHARD + count)]
    rows: list[dict[str, Any]] = [
        {"id": id_, "generator": "g", "seed": 0, "index": index, "question": some_text(rng, 40), "kept": True}
        | {"dropped_by": "", "marks": "", "reason": "", "difficulty": rng.random(), "solvable": rng.random()}
        for index, id_ in ids
    ]
    write_table(results / f"filtered/{name}.parquet", rows, FILTERED)
    answers: list[dict[str, Any]] = [
        {
            "id": id_,
            "sample": sample,
            "reasoning": None,
            "response": some_text(rng, 200),
            "answer": "5",
            "reward": rng.random(),
            "votes": 1,
        }
        | {"selected": sample == 0, "tokens": 300, "finish_reason": "stop"}
        for _, id_ in ids
        for sample in range(SAMPLES)
    ]
    write_table(results / f"candidates/{name}.parquet", answers, CANDIDATES)
    return name


def build(run: Path, shards: list[str]) -> tuple[float, float]:
    """Seconds and the most memory (GB) of build_browser."""
    import subprocess

    settings = json.dumps({"max_mb": 150, "filters": []})
    line = [sys.executable, str(ROOT / "scripts/build_browser.py"), "--settings", settings, "--shards", *shards]
    line += ["--results", str(run / "results"), "--marks", str(run / "marks"), "--folder", str(run / "browser")]
    begun = time.monotonic()
    subprocess.run([*line, "--out", str(run / "browser.json")], check=True)  # noqa: S603
    return time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6


def opened(run: Path) -> tuple[float, float]:
    """Seconds until the page shows its list, and megabytes that its JavaScript holds then."""
    with chromium(run) as driver:
        begun = time.monotonic()
        driver.get((run / "browser/index.html").as_uri())
        wait(lambda: driver.execute_script("return document.body.dataset.ready"), "the page")
        took = time.monotonic() - begun
        driver.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
        return took, driver.execute_script("return performance.memory.usedJSHeapSize") / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=100_000)
    count = parser.parse_args().questions
    with tempfile.TemporaryDirectory() as name:
        run = Path(name)
        shards = [
            write_shard(run / "results", shard, min(SHARD, count - shard * SHARD))
            for shard in range(-(-count // SHARD))
        ]
        seconds, memory = build(run, shards)
        size = sum(path.stat().st_size for path in (run / "browser").rglob("*") if path.is_file()) / 1e6
        rows = json.loads((run / "browser.json").read_text())["rows"]["questions"]
        print(
            f"built in {seconds:.0f} s with {memory:.2f} GB: {rows['shown']} of {rows['of']} questions, {size:.0f} MB"
        )
        took, heap = opened(run)
        print(f"opened in {took:.1f} s; JavaScript holds {heap:.0f} MB")


if __name__ == "__main__":
    main()
