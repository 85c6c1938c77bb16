"""How soon the engine is ready and how fast it samples questions, eager and with compiled graphs.

    python tests/benchmarks/engine.py --model results/models/smollm2.json

Settings are those of config.yaml (one thread, on a CPU) but for `enforce_eager`; questions are sampled as
scripts/sample_questions.py does it: from the bare prefix, window by window. Each mode starts twice, each time in a new
process: with an empty cache folder, where it only gets ready, and again with what that start left there. Ready counts
from the start of the process, imports included; tokens/s are those of all windows and, in brackets, of the slowest
and the fastest.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import default_config, print_table

from scalequest.config.selectors import engine_settings
from scalequest.hashing import row_seed
from scalequest.llm.chat import load_tokenizer, question_format
from scalequest.llm.engine import Engine
from scalequest.llm.models import open_model
from scalequest.runtime import job
from scalequest.settings import EngineSettings, read_settings

MODES = {"eager": "`enforce_eager: true`", "compiled": "with compiled graphs"}
TOP_P = (1.0, 0.99)


def measure(mode: str, manifest: Path, questions: int, max_tokens: int) -> dict[str, Any]:
    """Start an engine in this process: `ready`, seconds since the epoch, and for each top_p `[tokens, seconds]` of
    every window."""
    model = open_model(manifest)
    form = question_format(load_tokenizer(model.folder, trust_remote_code=model.trust_remote_code))
    named = engine_settings(default_config(), model.name, "sample_questions") | {"enforce_eager": mode == "eager"}
    settings = read_settings(EngineSettings, named)
    engine = Engine(model, settings)
    # Asked for, it is loaded.
    _ = engine.llm
    found: dict[str, Any] = {"ready": time.time()}
    for top_p in TOP_P:
        found[str(top_p)] = windows = []
        for start in range(0, questions, settings.window):
            indices = range(start, min(start + settings.window, questions))
            seeds = [row_seed("benchmark", index) for index in indices]
            begun = time.perf_counter()
            made = engine.generate(
                [form.prefix] * len(seeds),
                seeds,
                temperature=1.0,
                top_p=top_p,
                max_tokens=max_tokens,
                stops=form.stops,
            )
            windows.append([sum(completion.tokens for completion in made), time.perf_counter() - begun])
    return found


def measure_apart(mode: str, manifest: Path, questions: int, max_tokens: int, cache: Path) -> dict[str, Any]:
    """`measure` in a process of its own, with `ready` in seconds since its start. `cache` is where vLLM and torch keep
    what they compile."""
    command = [sys.executable, __file__, "--only", mode, "--model", str(manifest)]
    command += ["--questions", str(questions), "--max-tokens", str(max_tokens)]
    folders = {"VLLM_CACHE_ROOT": str(cache / "vllm"), "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor")}
    started = time.time()
    done = subprocess.run(command, env=os.environ | folders, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 - ourselves
    # The last line: libraries may print, too.
    found = json.loads(done.stdout.splitlines()[-1])
    return found | {"ready": found["ready"] - started}


def speed(windows: list[list[float]]) -> str:
    """Tokens/s over all windows, and of the slowest and the fastest."""
    rates = [tokens / seconds for tokens, seconds in windows]
    whole = sum(tokens for tokens, _ in windows) / sum(seconds for _, seconds in windows)
    return f"{whole:.0f} tokens/s ({min(rates):.0f}-{max(rates):.0f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=Path, help="manifest of a staged model")
    parser.add_argument(
        "--questions", type=int, default=192, help="questions for each top_p, whole windows at best (192)"
    )
    parser.add_argument("--max-tokens", type=int, default=128, help="most tokens of a question (128)")
    parser.add_argument("--only", choices=MODES, help="measure this mode in this process and print JSON")
    args = parser.parse_args()
    if args.only:
        print(json.dumps(measure(args.only, args.model, args.questions, args.max_tokens)))
        return
    first, again = {}, {}
    for mode in MODES:
        with tempfile.TemporaryDirectory() as cache:
            first[mode] = measure_apart(mode, args.model, 0, args.max_tokens, Path(cache))
            again[mode] = measure_apart(mode, args.model, args.questions, args.max_tokens, Path(cache))
    rows = [
        ["ready after start, nothing cached", *(f"{first[mode]['ready']:.0f} s" for mode in MODES)],
        ["ready after start, cached before", *(f"{again[mode]['ready']:.0f} s" for mode in MODES)],
    ]
    rows += [[f"questions, top_p {top_p}", *(speed(again[mode][str(top_p)]) for mode in MODES)] for top_p in TOP_P]
    print_table(["", *MODES.values()], rows)


if __name__ == "__main__":
    job.run(main)
