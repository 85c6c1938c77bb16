"""The sample browser's data: every question with all that was found about it, and every answer to a benchmark.

A page that is opened from disk can read nothing but scripts. So each piece of data is a script of one call,
`scalequest.block(NAME, DATA)`, whose DATA is JSON, gzipped, in base64: no text of a model is ever part of a script.
What lists are filtered and sorted by, and the texts that are searched, lie in blocks that are read when the page opens;
what is shown of one row lies in chunks that are read when it is looked at.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from scalequest.hashing import drawn
from scalequest.rows.tables import (
    ATTEMPTS,
    CANDIDATES,
    FILTERED,
    GRADES,
    JUDGEMENTS,
    PROBLEMS,
    TOPICS,
    VERDICTS,
    VERIFIED,
    Table,
    iterate,
    read_arrow,
)
from scalequest.runtime.files import read_json
from scalequest.visible import visible

Row = dict[str, Any]
# Rows in a chunk: a megabyte or two of text.
CHUNK = 200
# Rows in a block of what lists need.
BLOCK = 10_000
# Seed problems that blind reading mixes with questions.
SEED_PROBLEMS = 500


class TooLarge(Exception):
    """The data has grown over its limit after this share of the rows."""

    def __init__(self, done: float):
        super().__init__(done)
        self.done = done


@dataclass
class Writer:
    """Writes blocks into a folder. `size` and `digests` are those of what was written."""

    folder: Path
    most: float = math.inf
    size: int = 0
    digests: dict[str, str] = field(default_factory=dict)

    def block(self, name: str, value: Any, done: float = 0.0) -> None:
        """Write a block. Raises TooLarge with `done`, a share of all rows, where the folder is over its limit."""
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        packed = base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()
        script = f'scalequest.block("{name}","{packed}");\n'.encode()
        path = self.folder / f"{name}.js"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(script)
        self.digests[name] = hashlib.sha256(script).hexdigest()
        self.size += len(script)
        if self.size > self.most:
            raise TooLarge(done)


class Pages:
    """Rows of one kind as numbered chunks of details and blocks of columns, in the order in which they come."""

    def __init__(self, writer: Writer, kind: str):
        self.writer, self.kind = writer, kind
        self.rows = self.chunks = self.blocks = 0
        self._details: list[Any] = []
        self._columns: list[Row] = []

    def add(self, columns: Row, detail: Any, done: float) -> None:
        """Add a row; `done` is the share of all rows up to this one."""
        self.rows += 1
        self._columns.append(columns)
        self._details.append(detail)
        if len(self._details) == CHUNK:
            self._write_chunk(done)
        if len(self._columns) == BLOCK:
            self._write_block(done)

    def end(self, done: float) -> dict[str, int]:
        """Write what is left, and return the counts that the index has."""
        if self._details:
            self._write_chunk(done)
        if self._columns:
            self._write_block(done)
        return {"rows": self.rows, "chunks": self.chunks, "blocks": self.blocks}

    def _write_chunk(self, done: float) -> None:
        self.writer.block(f"{self.kind}/{self.chunks}", self._details, done)
        self.chunks, self._details = self.chunks + 1, []

    def _write_block(self, done: float) -> None:
        columns = {key: [row[key] for row in self._columns] for key in self._columns[0]}
        self.writer.block(f"{self.kind}/columns{self.blocks}", columns, done)
        self.blocks, self._columns = self.blocks + 1, []


@dataclass(frozen=True)
class Source:
    """What the data is made of: a folder of results, its shards of questions (`GENERATOR/seedSEED/gpuGPU`), what was
    measured (`MODEL/BENCHMARK`), whether a model chose topics, and whether solvers answered."""

    results: Path
    shards: Sequence[str]
    measured: Sequence[str]
    topics: bool = False
    verified: bool = False

    def table(self, folder: str, shard: str) -> Path:
        """A shard's table in one of the folders."""
        return self.results / folder / f"{shard}.parquet"

    def answers(self, name: str) -> list[Path]:
        """The tables of answers of what was measured."""
        paths = (self.results / "evaluation" / name).glob("answers*.parquet")
        return sorted(paths, key=lambda path: int(path.stem.removeprefix("answers")))


def is_shown(name: str, share: float) -> bool:
    """Whether a row of this id is among the given share of all rows, which a hash chooses."""
    return share >= 1 or int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) < share * 2**32


def write(source: Source, writer: Writer, share: float) -> dict[str, Any]:
    """Write the rows of which `is_shown` says so, and return for each kind of them the counts of the index. Raises
    TooLarge as the writer, ScaleQuestError for a table that is none."""
    parts = {
        "questions": [
            (_count(source.table("filtered", shard)), questions(source, shard, share)) for shard in source.shards
        ],
        "answers": [(sum(map(_count, source.answers(name))), answers(source, name, share)) for name in source.measured],
    }
    everything = max(sum(count for kind in parts.values() for count, _ in kind), 1)
    before, counts = 0, {}
    for kind, found in parts.items():
        pages = Pages(writer, kind)
        for count, rows in found:
            for position, columns, detail in rows:
                pages.add(columns, detail, (before + position) / everything)
            before += count
        counts[kind] = {**pages.end(before / everything), "of": sum(count for count, _ in found)}
    return counts


def questions(source: Source, shard: str, share: float) -> Iterator[tuple[int, Row, Row]]:
    """The shown questions of a shard: position (from 1), columns, details. What a run has not made yet is left out."""
    candidates = _ById(_iterate(source.table("candidates", shard), CANDIDATES))
    verdicts = _ById(_iterate(source.table("filters/text", shard), VERDICTS))
    judgements = _ById(_iterate(source.table("filters/solvability", shard), JUDGEMENTS))
    duplicates = _ById(_duplicates(source, shard))
    topics = _topics(source, shard) if source.topics else None
    verified = _ById(_iterate(source.table("verified", shard), VERIFIED))
    for position, row in enumerate(iterate(source.table("filtered", shard), FILTERED), 1):
        name = row["id"]
        if not is_shown(name, share):
            continue
        answered, judged = candidates.take(name), next(iter(judgements.take(name)), None)
        found = [*verdicts.take(name), *duplicates.take(name)]
        detail: Row = {
            "verdicts": [[v["filter"], v["keep"], v["reason"], _number(v["score"]), v["evidence"]] for v in found],
            "judge": judged and [_number(judged["probability"]), judged["verdict"], judged["reasoning"]],
            "candidates": [_candidate(candidate) for candidate in answered],
        }
        columns = _question_columns(row, answered)
        if topics is not None:
            columns["topic"], detail["topic"] = topics.get(name, (None, None))
        if source.verified:
            agreed = next(iter(verified.take(name)), None)
            columns["agreement"], detail["verified"] = agreed and agreed["agreement"], agreed and _verified(agreed)
        yield position, columns, detail


def _topics(source: Source, shard: str) -> dict[str, tuple[str, float | None]]:
    """Topic and its probability by question, of the shard's generator."""
    rows = _iterate(source.results / f"topics/questions/{shard.split('/')[0]}.parquet", TOPICS)
    chosen = ((row["id"], row["topic"], _number(row["probability"])) for row in rows)
    return {name: (visible(topic, keep=""), probability) for name, topic, probability in chosen if topic is not None}


def _question_columns(row: Row, candidates: Sequence[Row]) -> Row:
    selected = next((candidate for candidate in candidates if candidate["selected"]), None)
    rewards = [reward for candidate in candidates if (reward := _number(candidate["reward"])) is not None]
    return {
        **{key: row[key] for key in ("id", "generator", "seed", "kept", "dropped_by", "marks", "reason", "question")},
        "difficulty": _number(row["difficulty"]),
        "solvable": _number(row["solvable"]),
        "candidates": len(candidates),
        "selected": selected is not None,
        # Of the selected response, else the best of any.
        "reward": _number(selected["reward"]) if selected else max(rewards, default=None),
        "votes": selected["votes"] if selected else max((c["votes"] for c in candidates), default=None),
    }


def _verified(row: Row) -> list[Any]:
    """Answer, solvers with their pass rates, type of the answer, why it cannot be checked."""
    rates = [[entry["solver"], _number(entry["rate"])] for entry in row["pass_rates"]]
    return [row["answer"], rates, row["answer_type"], row["unfit"] or row["reason"]]


def _trace(row: Row) -> list[str]:
    """The trace of a response, where it has one."""
    return [] if row["reasoning"] is None else [row["reasoning"]]


def _candidate(row: Row) -> list[Any]:
    cut = row["finish_reason"] != "stop"
    return [
        *(row["response"], row["answer"], _number(row["reward"])),
        *(row["votes"], row["selected"], row["tokens"], cut, *_trace(row)),
    ]


def _duplicates(source: Source, shard: str) -> Iterator[Row]:
    """A shard's verdicts in its seed's table of duplicates."""
    path = source.table("filters/duplicates", shard.split("/")[1])
    if not path.is_file():
        return
    # Ids of a shard follow each other in every table that is sorted by them.
    ids = pq.read_table(source.table("filtered", shard), columns=["id"])["id"]
    if len(ids):
        own = (pc.field("id") >= ids[0].as_py()) & (pc.field("id") <= ids[-1].as_py())
        yield from read_arrow(path, VERDICTS).filter(own).to_pylist()


def answers(source: Source, name: str, share: float) -> Iterator[tuple[int, Row, Row]]:
    """The shown answers of a model to a benchmark (`MODEL/BENCHMARK`): position (from 1), columns, details."""
    model, _, benchmark = name.rpartition("/")
    problems = {row["id"]: row for row in iterate(source.results / f"datasets/{benchmark}.parquet", PROBLEMS)}
    grades: dict[tuple[str, int], list[Row]] = {}
    for grade in _iterate(source.results / "evaluation" / name / "grades.parquet", GRADES):
        grades.setdefault((grade["id"], grade["sample"]), []).append(grade)
    rows = (row for path in source.answers(name) for row in iterate(path, ATTEMPTS))
    for position, row in enumerate(rows, 1):
        if not is_shown(row["id"], share):
            continue
        graded = grades.get((row["id"], row["sample"]), [])
        problem = problems.get(row["id"], {"question": "", "solution": None, "answer": None})
        columns = {
            **{"model": model, "benchmark": benchmark, "id": row["id"], "sample": row["sample"]},
            **{"question": problem["question"], "right": {grade["grader"]: grade["right"] for grade in graded}},
        }
        detail = {
            **{key: row[key] for key in ("response", "tokens")},
            "cut": row["finish_reason"] != "stop",
            "trace": _trace(row),
            **{"solution": problem["solution"], "gold": problem["answer"]},
            "grades": [[g["grader"], g["right"], g["answer"], g["gold"], g["how"]] for g in graded],
        }
        yield position, columns, detail


def cuts(source: Source) -> dict[str, dict[str, float | None]]:
    """The scores below which a question is too easy, by generator and seed; null where nothing is cut."""
    found: dict[str, dict[str, float | None]] = {}
    for generator, seed in dict.fromkeys(tuple(shard.split("/")[:2]) for shard in source.shards):
        path = source.results / f"filters/cuts/{generator}/{seed}.json"
        if path.is_file():
            found.setdefault(generator, {})[seed.removeprefix("seed")] = read_json(path)[generator]
    return found


def seed_problems(path: Path) -> list[list[str]]:
    """Ids and texts of some seed problems, chosen by hash, for blind reading; none where there is no such table."""
    rows = {row["id"]: row["question"] for row in _iterate(path, PROBLEMS)}
    chosen = drawn(list(rows), SEED_PROBLEMS, 0, "browser")
    return [[name, text] for name, text in rows.items() if name in chosen]


class _ById:
    """Rows that come sorted by id, taken id by id in the same order."""

    def __init__(self, rows: Iterator[Row]):
        self._groups = ((name, list(group)) for name, group in itertools.groupby(rows, key=lambda row: row["id"]))
        self._next: tuple[str, list[Row]] | None = next(self._groups, None)

    def take(self, name: str) -> list[Row]:
        while self._next and self._next[0] < name:
            self._next = next(self._groups, None)
        return self._next[1] if self._next and self._next[0] == name else []


def _iterate(path: Path, table: Table) -> Iterator[Row]:
    """A table's rows; none where there is no such file."""
    return iterate(path, table) if path.is_file() else iter(())


def _count(path: Path) -> int:
    return int(pq.read_metadata(path).num_rows)


def _number(value: float | None) -> float | None:
    """A number, or None where there is none: an infinite one has no place in JSON."""
    return None if value is None or not math.isfinite(value) else round(value, 6)
