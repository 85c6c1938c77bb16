"""The training set of a student: rows of our dataset, of a slice of it, or of another dataset."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from scalequest.hashing import drawn
from scalequest.rows.tables import CANDIDATES, FILTERED, PROBLEMS, read_arrow

log = logging.getLogger(__name__)
# Seed of the slices, the same for every training seed. The number is that seed's default, so that older slices stay.
_DRAWN_BY = 42, "student_tuning"


class Pair(NamedTuple):
    """Id, question and response of a row, with the trace of the response where it has one."""

    id: str
    question: str
    response: str
    reasoning: str | None = None


@dataclass(frozen=True)
class Slice:
    """What a student of the config's `students` is trained on. `rows` is None for all, the others empty."""

    data: str
    rows: int | None
    generators: tuple[str, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class TrainingSet:
    """The rows; how many there were with a response (`of`), and without one."""

    pairs: list[Pair]
    of: int
    without: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name a training set: --filtered with --candidates, or --problems."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--filtered", type=Path, nargs="+", help="tables of our questions, one a shard")
    source.add_argument("--problems", type=Path, help="table of another dataset's problems with their solutions")
    parser.add_argument("--candidates", type=Path, nargs="+", help="tables of responses to our questions, as many")


def read(arguments: argparse.Namespace, count: int | None) -> TrainingSet:
    """The training set that these arguments name, at most `count` rows of it (None: all)."""
    if arguments.filtered:
        found, without = ours(arguments.filtered, arguments.candidates), 0
    else:
        found, without = others(arguments.problems)
    return TrainingSet(chosen(found, count), len(found), without)


def ours(filtered: Sequence[Path], candidates: Sequence[Path]) -> list[Pair]:
    """Each row of our dataset, in the order of ids. The id is that of the question, with the number of the response
    behind it where another one of the same question comes before.

    The n-th table of kept questions and the n-th of candidates are one shard. They are read in place of the dataset,
    which is written again whenever its card changes.
    """
    pairs = []
    for questions, responses in zip(filtered, candidates, strict=True):
        table = read_arrow(questions, FILTERED)
        asked = dict(zip(table["id"].to_pylist(), table["question"].to_pylist(), strict=True))
        chosen = read_arrow(responses, CANDIDATES)
        chosen = chosen.filter(chosen["selected"])
        last = None
        columns = (chosen[key].to_pylist() for key in ("id", "sample", "response", "reasoning"))
        for name, sample, response, reasoning in zip(*columns, strict=True):
            pairs.append(Pair(f"{name}/{sample}" if name == last else name, asked[name], response, reasoning))
            last = name
    return sorted(pairs, key=lambda pair: pair.id)


def others(path: Path) -> tuple[list[Pair], int]:
    """Id, question and solution of a staged dataset's problems, and how many without a solution are left out."""
    table = read_arrow(path, PROBLEMS)
    columns = (table[name].to_pylist() for name in ("id", "question", "solution"))
    pairs = [Pair(*values) for values in zip(*columns, strict=True) if values[2]]
    if without := len(table) - len(pairs):
        log.warning("%d of %d problems of %s have no solution and are left out", without, len(table), path)
    return pairs, without


def chosen(pairs: list[Pair], count: int | None) -> list[Pair]:
    """At most `count` pairs (None: all), drawn by the hash of their ids. A smaller slice is part of a larger one, and
    students of several training seeds get the same."""
    if count is None or count >= len(pairs):
        if count is not None and count > len(pairs):
            log.warning("students.NAME.rows is %d, but there are %d: all are taken", count, len(pairs))
        return pairs
    ids = drawn([pair.id for pair in pairs], count, *_DRAWN_BY)
    return [pair for pair in pairs if pair.id in ids]
