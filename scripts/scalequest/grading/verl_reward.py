"""The reward of the configuration `rl`, as verl calls it: 1 for a response whose answer is that of the row, else 0.

    custom_reward_function.path=verl_reward.py
    custom_reward_function.name=compute_score

Needs the package math-verify. Answers are read and compared as by TRL's `accuracy_reward`: of a response, what stands
in a box counts first. Symbolic mathematics on a model's text may not end, and verl calls from threads too, where no
time limit by a signal works. So a process of its own compares, and is ended and replaced where it takes too long.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
from functools import lru_cache
from typing import Any

# Seconds that a comparison may take, and bytes of memory; beyond them the reward is 0.
SECONDS = 5
MEMORY = 4 << 30


def compute_score(data_source: str, solution_str: str, ground_truth: str, extra_info: Any = None, **_: Any) -> float:
    """1.0 where the answer of the response `solution_str` equals `ground_truth`, the bare answer of the row; else 0.0.

    All data sources are treated alike. Raises RuntimeError where math-verify cannot be imported.
    """
    return _PROCESS.reward(str(solution_str), f"${ground_truth}$")


def reward(response: str, solution: str) -> float | None:
    """1.0 or 0.0; None where `solution`, an answer between dollar signs, cannot be read. Not bounded in time."""
    _, read_answer, verify = _math_verify()
    gold = _gold(solution)
    return float(verify(gold, read_answer(response), timeout_seconds=None)) if gold else None


@lru_cache(maxsize=256)
def _gold(solution: str) -> list[Any]:
    read, _, _ = _math_verify()
    found: list[Any] = read(solution, parsing_timeout=None)
    return found


@lru_cache(maxsize=1)
def _math_verify() -> tuple[Any, Any, Any]:
    """What reads a solution, what reads a response, and what compares, imported at the first use: it takes seconds."""
    import logging

    from latex2sympy2_extended import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse, verify

    # It warns that its own time limits are off.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    boxed_first = LatexExtractionConfig(
        normalization_config=NormalizationConfig(units=True), boxed_match_priority=0, try_extract_without_anchor=False
    )

    def read_answer(response: str) -> Any:
        return parse(response, [boxed_first], extraction_mode="first_match", parsing_timeout=None)

    return parse, read_answer, verify


class _Process:
    """The process that compares, one for each process that asks: a fork must not share its parent's."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.owner = 0
        self.child: Any = None

    def reward(self, response: str, solution: str) -> float:
        with self.lock:
            if self.owner != os.getpid() or self.child is None:
                self.child, self.owner = self._started(), os.getpid()
            try:
                self.child.stdin.write(json.dumps([response, solution]) + "\n")
                self.child.stdin.flush()
                answer = self.child.stdout.readline()
            except BrokenPipeError:
                answer = ""
            if not answer:
                # It took too long, or too much memory, and has ended.
                self.child.kill()
                self.child.wait()
                self.child = None
            return float(answer or 0)

    def _started(self) -> Any:
        child = subprocess.Popen(  # noqa: S603 - this file
            [sys.executable, os.path.abspath(__file__)],  # noqa: PTH100
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="backslashreplace",
        )
        if child.stdout is None or child.stdout.readline() != "ready\n":
            raise RuntimeError(
                "verl_reward.py cannot compare answers: is math-verify installed (pip install math-verify)?"
            )
        return child


_PROCESS = _Process()


def _compare() -> None:
    """Answer each line of JSON (a response and a solution) by a line with the reward."""
    lines, answers = sys.stdin, os.fdopen(os.dup(1), "w", buffering=1)
    # What libraries print is no reward.
    os.dup2(2, 1)
    reward(r"\boxed{\sqrt{2}x}", r"$x\sqrt{2}$")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    answers.write("ready\n")
    for line in lines:
        # The alarm ends this process, in native code too.
        signal.alarm(SECONDS)
        try:
            result = reward(*json.loads(line)) or 0.0
        except Exception:
            result = 0.0
        signal.alarm(0)
        answers.write(f"{result}\n")


if __name__ == "__main__":
    _compare()
