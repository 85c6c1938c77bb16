"""Many pairs of answers judged at once, each within a time limit; groups of equal answers.

What strings and exact numbers decide never leaves this process. The rest goes to worker processes, because symbolic
mathematics on a model's text may not end and only a process can be stopped: a pair that hangs costs its limit and one
worker, which is replaced. Workers come from a fork server, so that threads of an engine in this process do no harm.
"""

from __future__ import annotations

import logging
import multiprocessing
import resource
from collections import Counter
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

log = logging.getLogger(__name__)

How = Literal["string", "number", "math-verify", "sympy", "timeout", "error"]

# Address space of a worker in bytes: a number too large to hold is an error of its pair, not of the machine.
_WORKER_MEMORY = 4 << 30
# Pools started one after another that judge nothing, before the job ends.
_STARTS = 3


@dataclass(frozen=True)
class Verdict:
    """Whether two answers are equal, and what decided it; `timeout` and `error` count as not equal."""

    equal: bool
    how: How


class Pool:
    """Judges pairs of answers with up to `workers` processes, started when the first pair needs one.

    `fast` says whether a pair is equal and how it knows, or None; `slow`, a function of a module, decides what is left,
    and `named` is what it goes by. A pair is (gold, prediction), or more where both functions take more.
    A context manager: leaving it ends the processes. `counts` adds up how the pairs were decided.
    """

    def __init__(
        self,
        workers: int = 1,
        fast: Callable[..., tuple[bool | None, str]] = decide,
        slow: Callable[..., bool] = equal_slow,
        named: How = "math-verify",
    ):
        self.workers, self.fast, self.slow, self.named = workers, fast, slow, named
        self.counts: Counter[str] = Counter()
        self._pool: Any = None

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def equal_pairs(self, pairs: Sequence[tuple[str, ...]], time_limit: float) -> list[Verdict]:
        """One verdict for each (gold, prediction), in order; equal pairs are judged once.

        `time_limit` is seconds for a pair; the wait for a free worker does not count.
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
        verdicts.update(self._judged(undecided, time_limit))
        result = [verdicts[pair] for pair in pairs]
        self.counts.update(verdict.how for verdict in result)
        return result

    def group_equal(self, answers: Sequence[str | None], time_limit: float) -> list[list[int]]:
        """Positions of equal answers, a list a group, in order of first appearance; None equals nothing.

        Equal strings first, then only one answer of each such group is compared with those of the others.
        """
        return self.group_all([answers], time_limit)[0]

    def group_all(self, lists: Sequence[Sequence[str | None]], time_limit: float) -> list[list[list[int]]]:
        """`group_equal` for each of many lists, as one batch of pairs, so that all workers are busy."""
        grouped = [_group_strings(answers) for answers in lists]
        candidates = [
            (number, i, j)
            for number, (answers, groups) in enumerate(zip(lists, grouped, strict=True))
            for i, j in combinations([i for i, group in enumerate(groups) if answers[group[0]] is not None], 2)
        ]
        pairs = [(lists[n][grouped[n][i][0]] or "", lists[n][grouped[n][j][0]] or "") for n, i, j in candidates]
        merges: list[list[tuple[int, int]]] = [[] for _ in lists]
        for (number, i, j), verdict in zip(candidates, self.equal_pairs(pairs, time_limit), strict=True):
            if verdict.equal:
                merges[number].append((i, j))
        return [_merged(groups, links) for groups, links in zip(grouped, merges, strict=True)]

    def _judged(self, pairs: Sequence[tuple[str, ...]], time_limit: float) -> dict[tuple[str, ...], Verdict]:
        """A verdict for each pair, by the workers. Raises ScaleQuestError where these do not even start."""
        verdicts: dict[tuple[str, ...], Verdict] = {}
        starts = 0
        while left := [pair for pair in pairs if pair not in verdicts]:
            before = len(verdicts)
            try:
                pool = self._start()
                futures = [pool.schedule(self.slow, args=pair, timeout=time_limit) for pair in left]
                for pair, future in zip(left, futures, strict=True):
                    _await(pool, future)
                    verdicts[pair] = _verdict(future, pair, time_limit, self.named)
            except (RuntimeError, OSError) as error:
                # A worker that is killed while it starts breaks its whole pool; the next one judges what is left.
                self._stop()
                starts = 1 if len(verdicts) > before else starts + 1
                if starts == _STARTS:
                    raise ScaleQuestError(_NO_WORKERS) from error
                log.warning("the processes that compare answers ended (%s) and are started anew", error)
        return verdicts

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
            self._pool = ProcessPool(max_workers=self.workers, context=context, initializer=_prepare_worker)
        return self._pool


# What a pool says whose workers do not even start, on behalf of every pair.
_NO_WORKERS = (
    "the processes that compare answers cannot start, so nothing can be graded; the reason is in the log above (none "
    "there: give the job more memory, or lower operation.grading_workers). Answers are kept: run again."
)


def grade(
    predictions: Sequence[str | None], golds: Sequence[str], *, time_limit: float, workers: int = 1
) -> list[bool]:
    """Whether each prediction equals its gold answer; None is wrong, and so is what could not be decided in time."""
    with Pool(workers) as pool:
        pairs = [(g, p) for p, g in zip(predictions, golds, strict=True) if p is not None]
        verdicts = iter(pool.equal_pairs(pairs, time_limit))
        return [p is not None and next(verdicts).equal for p in predictions]


def _prepare_worker() -> None:
    from scalequest.answers import equal_slow

    # The first pair's time is its own, not that of building the parser's tables.
    equal_slow(r"\sqrt{2}x", r"x\sqrt{2}")
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = _WORKER_MEMORY if hard == resource.RLIM_INFINITY else min(_WORKER_MEMORY, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _await(pool: Any, future: Any) -> None:
    """Wait until a pair is judged; a pool that broke leaves some waiting for ever."""
    while not wait([future], timeout=1).done:
        if not pool.active:
            raise BrokenProcessPool("all have ended")


def _verdict(future: Any, pair: tuple[str, ...], time_limit: float, named: How) -> Verdict:
    try:
        return Verdict(future.result(), named)
    except BrokenProcessPool:
        raise
    except FutureTimeoutError:
        log.warning("not decided within %g s, counted as different: %.200r and %.200r", time_limit, *pair[:2])
        return Verdict(False, "timeout")
    except Exception as error:
        return _failed(error, pair)


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
