"""Verdicts on many pairs of answers, each within a time limit, and groups of equal answers.

This process decides what strings and exact numbers can decide. The rest goes to worker processes, because symbolic
mathematics on a model's text may not end, and only a process can be stopped: a pair that hangs costs its time limit and
one worker, which is replaced. The limit is of processor time: verdicts are stored, so they must not depend on how busy
a machine is or on a scheduler that suspends the job. Workers come from a fork server, which the threads of an engine in
this process do not affect.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures import wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import combinations
from types import TracebackType
from typing import Any, Literal

from scalequest.errors import ScaleQuestError
from scalequest.runtime.lease import process_start

log = logging.getLogger(__name__)

How = Literal["string", "number", "math-verify", "sympy", "timeout", "error"]

# Address space of a worker in bytes, so that a number too large for it fails its pair, and not the machine.
_WORKER_MEMORY = 4 << 30
# A pair may take so many times its processor limit by the clock; then it is tried once more.
_CLOCK = 20
# So many pools in a row may start and decide nothing before the job ends.
_STARTS = 3


@dataclass(frozen=True)
class Verdict:
    """Whether two answers are equal, and the step that decided; `timeout` and `error` count as not equal."""

    equal: bool
    how: How


@dataclass(frozen=True)
class Grouping:
    """Positions of equal answers, one list for each group, in order of first appearance, and the number of comparisons
    that hit the time limit."""

    groups: list[list[int]]
    undecided: int = 0


class Pool:
    """Compares pairs of answers with up to `workers` processes, which start when a pair first needs one.

    `fast` returns whether a pair is equal (None: not decided) and the step that decided. `slow`, a function of a
    module, decides the rest, and `named` is the name of its step. A pair is (gold, prediction), with further items if
    both functions take them. `same_text` gives the form in which equal answers are the same text. `preload` are modules
    that workers have imported when they start; `warm_up`, a function of a module, is called before a worker's first
    pair. The pool is a context manager: leaving it ends the processes. It remembers its verdicts.
    """

    def __init__(
        self,
        workers: int = 1,
        *,
        fast: Callable[..., tuple[bool | None, str]],
        slow: Callable[..., bool] | None = None,
        named: How = "error",
        same_text: Callable[[str], Hashable] = str,
        preload: Sequence[str] = (),
        warm_up: Callable[[], object] | None = None,
    ):
        self.workers, self.fast, self.slow, self.named = workers, fast, slow, named
        self.same_text, self.preload, self.warm_up = same_text, preload, warm_up
        self._known: dict[tuple[str, ...], Verdict] = {}
        self._pool: Any = None

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def equal_pairs(self, pairs: Sequence[tuple[str, ...]], time_limit: float) -> list[Verdict]:
        """One verdict for each pair, in order; a pair that occurs several times is compared once.

        `time_limit` is in seconds of processor time for a pair. Raises ScaleQuestError where no worker can start.
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
        """The groups of equal answers of each list; None equals nothing.

        Equal strings are grouped first, and one answer of each such group is compared with those of the others. The
        pairs of all lists are one batch, so that all workers are busy. `time_limit` and errors as of `equal_pairs`.
        """
        grouped = [self._group_texts(answers) for answers in lists]
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

    def _group_texts(self, answers: Sequence[str | None]) -> list[list[int]]:
        groups: dict[Any, list[int]] = {}
        for place, answer in enumerate(answers):
            groups.setdefault(place if answer is None else self.same_text(answer), []).append(place)
        return list(groups.values())

    def _judge(self, pairs: Sequence[tuple[str, ...]], time_limit: float) -> None:
        """Have the workers decide the pairs that are not known. Raises ScaleQuestError where they cannot start."""
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
                # A worker that is killed while it starts breaks its whole pool; the next pool takes what is left.
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
            # Then a new worker starts in milliseconds, not in the seconds that the import of sympy takes.
            context.set_forkserver_preload(list(self.preload))
            arguments = [os.getpid(), self.warm_up]
            self._pool = ProcessPool(self.workers, context=context, initializer=_prepare_worker, initargs=arguments)
        return self._pool


# The error of a pool whose workers cannot start.
_NO_WORKERS = (
    "the processes that compare answers cannot start, so nothing can be graded; the reason is in the log above (none "
    "there: give the job more memory, or lower operation.grading_workers). Answers are kept: run again."
)


def _prepare_worker(job: int, warm_up: Callable[[], object] | None) -> None:
    threading.Thread(target=_end_with, args=[job, process_start(job)], daemon=True).start()
    if warm_up:
        warm_up()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = _WORKER_MEMORY if hard == resource.RLIM_INFINITY else min(_WORKER_MEMORY, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _end_with(job: int, start: int | None) -> None:
    """End this process once the job is gone, because only the job could end a pair that hangs."""
    while start is not None and process_start(job) == start:
        time.sleep(1)
    os._exit(1)


def _await(pool: Any, future: Any) -> None:
    """Wait until a pair is decided. Raises BrokenProcessPool, as some pairs of a broken pool would wait for ever."""
    while not wait([future], timeout=1).done:
        if not pool.active:
            raise BrokenProcessPool("all have ended")


def _within(seconds: float, judge: Callable[..., bool], *pair: str) -> bool:
    """Compare a pair in a worker, which SIGPROF ends after so many seconds of processor time, also in native code."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        return judge(*pair)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _used_up(error: BaseException | None) -> bool:
    """Whether a worker ended because its pair's time was used up."""
    return getattr(error, "exitcode", None) == -signal.SIGPROF


def _ended_by_chance(future: Any) -> bool:
    """Whether a pair may be undecided because the machine lacked memory or was suspended."""
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
    """The verdict of a pair that breaks the comparison (recursion, memory, a killed worker), and of no other."""
    log.warning("failed (%s), counted as different: %.200r and %.200r", type(error).__name__, *pair[:2])
    return Verdict(False, "error")


def _merged(groups: Sequence[list[int]], links: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Groups joined along the links, so that equality is transitive, with members and groups in order of position."""
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
