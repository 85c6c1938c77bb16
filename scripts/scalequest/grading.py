"""Many pairs of answers judged at once, each within a time limit; groups of equal answers.

What strings and exact numbers decide never leaves this process. The rest goes to worker processes, because symbolic
mathematics on a model's text may not end and only a process can be stopped: a pair that hangs costs its limit and one
worker, which is replaced. The limit is of the processor's time: verdicts are kept for good, and must not depend on how
busy a machine is, or on a scheduler that suspends the job. Workers come from a fork server, so that threads of an
engine in this process do no harm.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures import wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import combinations
from types import TracebackType
from typing import Any, Literal

from scalequest.answers import decide, equal_slow, split_answer
from scalequest.errors import ScaleQuestError
from scalequest.lease import process_start

log = logging.getLogger(__name__)

How = Literal["string", "number", "math-verify", "sympy", "timeout", "error"]

# Address space of a worker in bytes: a number too large to hold is an error of its pair, not of the machine.
_WORKER_MEMORY = 4 << 30
# Of the clock a pair has so many times its limit of the processor, then it is tried once more.
_CLOCK = 20
# Pools started one after another that judge nothing, before the job ends.
_STARTS = 3


@dataclass(frozen=True)
class Verdict:
    """Whether two answers are equal, and what decided it; `timeout` and `error` count as not equal."""

    equal: bool
    how: How


@dataclass(frozen=True)
class Grouping:
    """Positions of equal answers, a list a group, in order of first appearance; how many comparisons hit the limit."""

    groups: list[list[int]]
    undecided: int = 0


class Pool:
    """Judges pairs of answers with up to `workers` processes, started when the first pair needs one.

    `fast` says whether a pair is equal and how it knows, or None; `slow`, a function of a module, decides what is left,
    and `named` is what it goes by. A pair is (gold, prediction), or more where both functions take more.
    A context manager: leaving it ends the processes. What they judged is remembered until then.
    """

    def __init__(
        self,
        workers: int = 1,
        fast: Callable[..., tuple[bool | None, str]] = decide,
        slow: Callable[..., bool] = equal_slow,
        named: How = "math-verify",
    ):
        self.workers, self.fast, self.slow, self.named = workers, fast, slow, named
        self._known: dict[tuple[str, ...], Verdict] = {}
        self._pool: Any = None

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def equal_pairs(self, pairs: Sequence[tuple[str, ...]], time_limit: float) -> list[Verdict]:
        """One verdict for each (gold, prediction), in order; equal pairs are judged once.

        `time_limit` is seconds of the processor for a pair.
        """
        verdicts: dict[tuple[str, ...], Verdict] = {}
        undecided = []
        for pair in dict.fromkeys(pairs):
            try:
                equal, how = self.fast(*pair)
            except Exception as error:
                verdicts[pair] = _failed(error, pair)
                continue
            if equal is None:
                undecided.append(pair)
            else:
                verdicts[pair] = Verdict(equal, "string" if how == "string" else "number")
        self._judge(undecided, time_limit)
        return [verdicts.get(pair) or self._known[pair] for pair in pairs]

    def group_all(self, lists: Sequence[Sequence[str | None]], time_limit: float) -> list[Grouping]:
        """The equal answers of each list; None equals nothing.

        Equal strings first, then only one answer of each such group is compared with those of the others; all lists
        are one batch of pairs, so that all workers are busy.
        """
        grouped = [_group_strings(answers) for answers in lists]
        candidates = [
            (number, i, j)
            for number, (answers, groups) in enumerate(zip(lists, grouped, strict=True))
            for i, j in combinations([i for i, group in enumerate(groups) if answers[group[0]] is not None], 2)
        ]
        pairs = [(lists[n][grouped[n][i][0]] or "", lists[n][grouped[n][j][0]] or "") for n, i, j in candidates]
        merges: list[list[tuple[int, int]]] = [[] for _ in lists]
        undecided = [0] * len(lists)
        for (number, i, j), verdict in zip(candidates, self.equal_pairs(pairs, time_limit), strict=True):
            undecided[number] += verdict.how == "timeout"
            if verdict.equal:
                merges[number].append((i, j))
        return [
            Grouping(_merged(groups, links), missed)
            for groups, links, missed in zip(grouped, merges, undecided, strict=True)
        ]

    def _judge(self, pairs: Sequence[tuple[str, ...]], time_limit: float) -> None:
        """Have the workers judge the pairs that are not known. Raises ScaleQuestError where these do not even start."""
        starts = 0
        tried: set[tuple[str, ...]] = set()
        while left := [pair for pair in pairs if pair not in self._known]:
            before = len(self._known)
            try:
                pool = self._start()
                futures = [
                    pool.schedule(_within, args=(time_limit, self.slow, *pair), timeout=_CLOCK * time_limit)
                    for pair in left
                ]
                for pair, future in zip(left, futures, strict=True):
                    _await(pool, future)
                    if pair in tried or not _ended_by_chance(future):
                        self._known[pair] = _verdict(future, pair, time_limit, self.named)
                    tried.add(pair)
            except (RuntimeError, OSError) as error:
                # A worker that is killed while it starts breaks its whole pool; the next one judges what is left.
                self._stop()
                starts = 1 if len(self._known) > before else starts + 1
                if starts == _STARTS:
                    raise ScaleQuestError(_NO_WORKERS) from error
                log.warning("the processes that compare answers ended (%s) and are started anew", error)

    def _stop(self) -> None:
        if self._pool is not None:
            self._pool.stop()
            self._pool.join()
            self._pool = None

    def _start(self) -> Any:
        if self._pool is None:
            from pebble import ProcessPool

            context = multiprocessing.get_context("forkserver")
            # A replaced worker then starts in milliseconds, not in the seconds that importing sympy takes.
            context.set_forkserver_preload(["math_verify"])
            self._pool = ProcessPool(self.workers, context=context, initializer=_prepare_worker, initargs=[os.getpid()])
        return self._pool


# What a pool says whose workers do not even start, on behalf of every pair.
_NO_WORKERS = (
    "the processes that compare answers cannot start, so nothing can be graded; the reason is in the log above (none "
    "there: give the job more memory, or lower operation.grading_workers). Answers are kept: run again."
)


def _prepare_worker(job: int) -> None:
    from scalequest.answers import equal_slow

    threading.Thread(target=_end_with, args=[job, process_start(job)], daemon=True).start()
    # The first pair's time is its own, not that of building the parser's tables.
    equal_slow(r"\sqrt{2}x", r"x\sqrt{2}")
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = _WORKER_MEMORY if hard == resource.RLIM_INFINITY else min(_WORKER_MEMORY, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _end_with(job: int, start: int | None) -> None:
    """End this process once the job is gone, as it is the job that would end a pair that hangs."""
    while start is not None and process_start(job) == start:
        time.sleep(1)
    os._exit(1)


def _await(pool: Any, future: Any) -> None:
    """Wait until a pair is judged; a pool that broke leaves some waiting for ever."""
    while not wait([future], timeout=1).done:
        if not pool.active:
            raise BrokenProcessPool("all have ended")


def _within(seconds: float, judge: Callable[..., bool], *pair: str) -> bool:
    """Judge a pair in a worker, which SIGPROF ends, in native code too, after so many seconds of the processor."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        return judge(*pair)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _used_up(error: BaseException | None) -> bool:
    """Whether a pair's time is what ended its worker."""
    return getattr(error, "exitcode", None) == -signal.SIGPROF


def _ended_by_chance(future: Any) -> bool:
    """Whether a pair was not judged for what may have been the machine's want of memory, or its sleep."""
    from pebble import ProcessExpired

    error = future.exception()
    return isinstance(error, ProcessExpired | FutureTimeoutError) and not _used_up(error)


def _verdict(future: Any, pair: tuple[str, ...], time_limit: float, named: How) -> Verdict:
    try:
        return Verdict(future.result(), named)
    except BrokenProcessPool:
        raise
    except Exception as error:
        if not (_used_up(error) or isinstance(error, FutureTimeoutError)):
            return _failed(error, pair)
        log.warning("not decided within %g s, counted as different: %.200r and %.200r", time_limit, *pair[:2])
        return Verdict(False, "timeout")


def _failed(error: Exception, pair: tuple[str, ...]) -> Verdict:
    """Whatever a hostile text breaks (recursion, memory, a killed worker) is the verdict of its own pair."""
    log.warning("failed (%s), counted as different: %.200r and %.200r", type(error).__name__, *pair[:2])
    return Verdict(False, "error")


def _group_strings(answers: Sequence[str | None]) -> list[list[int]]:
    groups: dict[Any, list[int]] = {}
    for place, answer in enumerate(answers):
        groups.setdefault(place if answer is None else split_answer(answer), []).append(place)
    return list(groups.values())


def _merged(groups: Sequence[list[int]], links: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Groups joined along the links, so that equality is transitive; members and groups in order of position."""
    root = list(range(len(groups)))

    def find(i: int) -> int:
        while root[i] != i:
            i = root[i]
        return i

    for i, j in links:
        low, high = sorted((find(i), find(j)))
        root[high] = low
    merged: dict[int, list[int]] = {}
    for i, group in enumerate(groups):
        merged.setdefault(find(i), []).extend(group)
    return [sorted(group) for group in merged.values()]
