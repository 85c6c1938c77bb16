"""Every table that stages write for each other: its columns, their types, units and meanings, and how it is read and
written. Those of the dataset itself are in `published`.

Tables are Parquet, zstd, sorted by key, with no clock and no host inside: equal rows give equal bytes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from scalequest.errors import ScaleQuestError
from scalequest.runtime.files import replaced


@dataclass(frozen=True)
class Column:
    """One column: its name, Arrow type, meaning (with the unit where it has one), and whether it may be null."""

    name: str
    type: pa.DataType
    meaning: str
    null: bool = False


@dataclass(frozen=True)
class Table:
    """A table's declared schema. `key` are the columns that sort it and that are unique together."""

    name: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def schema(self) -> pa.Schema:
        fields = [
            pa.field(c.name, c.type, nullable=c.null, metadata={b"meaning": c.meaning.encode()}) for c in self.columns
        ]
        return pa.schema(fields, metadata={b"scalequest.table": self.name.encode()})


def without(table: Table, column: str) -> Table:
    """The table less one column."""
    return replace(table, columns=tuple(one for one in table.columns if one.name != column))


_MADE_IN = b"scalequest.store"
_text, _int, _real, _bool = pa.string(), pa.int64(), pa.float64(), pa.bool_()

ID = Column("id", _text, "question id, generator/seed/index")
ORIGIN = (
    Column("generator", _text, "question generator that asked"),
    Column("seed", _int, "sampling seed of the block of questions"),
    Column("index", _int, "index of the question within (generator, seed)"),
)

PROBLEMS = Table(
    "problems",
    ("id",),
    (
        Column("id", _text, "source name and number of the row, from 0, among those that datasets.NAME.where chooses"),
        Column("index", _int, "the same number; where rows are drawn, and among seeds, the position in the table"),
        Column("source", _text, "name of the dataset in the config"),
        Column("question", _text, "problem text"),
        Column("solution", _text, "worked solution, where the source has one", null=True),
        Column("answer", _text, "final answer, where the source has one", null=True),
        Column(
            "facts", _text, "further fields of the source, by the names of datasets.NAME.facts: a JSON map of texts"
        ),
    ),
)

QUESTIONS = Table(
    "questions",
    ("id",),
    (
        ID,
        *ORIGIN,
        Column("question", _text, "question text, stripped of white space at both ends"),
        Column("finish_reason", _text, "stop: ended by itself; length: cut at max_tokens"),
        Column("tokens", _int, "generated tokens"),
        Column("sampling_seed", _int, "63-bit seed given to the engine"),
    ),
)

VERDICTS = Table(
    "verdicts",
    ("id", "filter"),
    (
        ID,
        Column("filter", _text, "which filter judged"),
        Column("keep", _bool, "whether the filter would keep the row"),
        Column("reason", _text, "why not; empty when kept"),
        Column("score", _real, "the number that the verdict rests on, where there is one", null=True),
        Column("evidence", _text, "what the row matched or the judge said, where there is such", null=True),
    ),
)

JUDGEMENTS = Table(
    "judgements",
    ("id",),
    (
        ID,
        Column("probability", _real, "P(Yes) / (P(Yes) + P(No)) of the forced choice; null for a text verdict", True),
        Column("verdict", _text, "yes, no or unparsed, from the last line of the reasoning; null for a choice", True),
        Column("reasoning", _text, "the judge's reasoning"),
        Column("tokens", _int, "generated tokens"),
    ),
)

SCORES = Table(
    "scores",
    ("id",),
    (
        ID,
        Column(
            "score", _real, "fail rate of the question: raw output of the regression head, or measured by the solvers"
        ),
    ),
)

FILTERED = Table(
    "filtered",
    ("id",),
    (
        ID,
        *ORIGIN,
        Column("question", _text, "question text"),
        Column("kept", _bool, "whether the question is answered"),
        Column("dropped_by", _text, "first filter in filters.order that dropped it; empty when kept"),
        Column("marks", _text, "filters that would have dropped it but only mark, comma separated"),
        Column("reason", _text, "why it was dropped or marked, `filter: reason` joined by `; `"),
        Column(
            "difficulty",
            _real,
            "fail rate, predicted or measured (filters.difficulty.by); null where it is not known",
            null=True,
        ),
        Column("solvable", _real, "judge's P(Yes); null where there is none", null=True),
    ),
)

REASONING = Column(
    "reasoning", _text, "the trace before the response, of a model that thinks; null where it wrote none", null=True
)

ATTEMPTS = Table(
    "attempts",
    ("id", "sample"),
    (
        Column("id", _text, "id of the problem or question that is answered"),
        Column("sample", _int, "number of the sample, from 0"),
        REASONING,
        Column("response", _text, "the response as generated, less its trace and white space at both ends"),
        Column("answer", _text, "final answer extracted from the response", null=True),
        Column("finish_reason", _text, "stop, or length: cut, or its trace did not end"),
        Column("tokens", _int, "generated tokens, those of the trace included"),
        Column("sampling_seed", _int, "63-bit seed given to the engine"),
    ),
)

REWARDS = Table(
    "rewards",
    ("id", "sample"),
    (
        ID,
        Column("sample", _int, "number of the response, from 0"),
        Column("reward", _real, "P(Yes) of the verifier, or the reward model's unactivated score"),
    ),
)

# Another column of REWARDS would rename the stores of the other kinds, whose rows would be made again.
STEP_REWARDS = Table(
    "step_rewards",
    ("id", "sample"),
    (
        ID,
        Column("sample", _int, "number of the response, from 0"),
        Column("steps", pa.list_(_real), "P(good) of each step; 0 for one that did not fit; none without text"),
    ),
)

CANDIDATES = Table(
    "candidates",
    ("id", "sample"),
    (
        ID,
        Column("sample", _int, "number of the response, from 0"),
        REASONING,
        Column("response", _text, "the response as generated, less its trace and white space at both ends"),
        Column("answer", _text, "final answer extracted from the response", null=True),
        Column("reward", _real, "score by which responses are compared; null where nothing scored them", null=True),
        Column("votes", _int, "responses to the same question whose answer is mathematically equal, itself included"),
        Column("selected", _bool, "whether this response goes into the dataset"),
        Column("tokens", _int, "generated tokens, those of the trace included"),
        Column("finish_reason", _text, "stop, or length: cut, or its trace did not end"),
    ),
)

TOPICS = Table(
    "topics",
    ("id",),
    (
        Column("id", _text, "id of the question or seed problem"),
        Column("topic", _text, "likeliest topic; null where the question is too long for the model", null=True),
        Column("probability", _real, "its probability, the mean over all turns of the list of topics", null=True),
        Column("probabilities", pa.list_(_real), "of each topic, in the order of the list in results/profile.json"),
    ),
)

GRADES = Table(
    "grades",
    ("id", "sample", "grader"),
    (
        Column("id", _text, "id of the problem"),
        Column("sample", _int, "number of the answer, from 0"),
        Column("grader", _text, "which grader judged"),
        Column("gold", _text, "the benchmark's final answer; null where it has none", null=True),
        Column("answer", _text, "final answer that the grader found in the response", null=True),
        Column("right", _bool, "whether the two are equal"),
        Column(
            "how", _text, "what decided: string, number, math-verify, sympy, none (no answer), timeout, error, no gold"
        ),
    ),
)

GROUPS = Table(
    "groups",
    ("id",),
    (
        Column("id", _text, "id of the problem or question whose answers are compared with each other"),
        Column("groups", pa.list_(_int), "for each answer, in order of sample, the first one that is equal to it"),
        Column("undecided", _int, "comparisons that hit the time limit, which count as different"),
    ),
)

CHECKS = Table(
    "checks",
    ("id",),
    (
        ID,
        Column("reason", _text, "why the reward of `rl` cannot check the answer; empty where it can"),
    ),
)

ANSWER_CHECKS = Table(
    "answer_checks",
    ("id",),
    (
        Column("id", _text, "id of a question of which a response is selected"),
        Column("groups", pa.list_(_int), "for each response, in order of sample, the first one with an equal answer"),
        Column("reason", _text, "why the reward of `rl` cannot check the selected answer; empty where it can"),
    ),
)

ANSWER_TYPE = Column(
    "answer_type",
    _text,
    "integer, decimal, fraction, expression, interval, set, matrix, text, proof, multiple choice, yes/no, none",
)
PASS_RATES = Column(
    "pass_rates",
    pa.list_(pa.struct([("solver", _text), ("rate", _real)])),
    "for each solver the share of its samples that have this answer, 0 to 1",
)

VERIFIED = Table(
    "verified",
    ("id",),
    (
        ID,
        Column(
            "answer", _text, "answer of the largest group over all solvers; null where no sample has one", null=True
        ),
        Column("agreement", _real, "share of all samples that have this answer, 0 to 1"),
        PASS_RATES,
        ANSWER_TYPE,
        Column("unfit", _text, "why no answer to the question can be checked; empty where one can"),
        Column("reason", _text, "why the reward of `rl` cannot check this answer; empty where it can"),
    ),
)

PAIRS = Table(
    "pairs",
    ("id",),
    (
        ID,
        Column("chosen", _text, "the better question"),
        Column("rejected", _text, "the worse question"),
        Column("direction", _text, "solvability, difficulty (rewritten) or rank"),
        Column("margin", _real, "score of chosen less score of rejected; null for rewritten pairs", null=True),
    ),
)

REWRITES = Table(
    "rewrites",
    ("id",),
    (
        ID,
        Column("question", _text, "the question before"),
        Column("direction", _text, "solvability or difficulty"),
        Column("rewritten", _text, "the question after; null where there is none", null=True),
        Column("failure", _text, "why the pair is not usable; empty when it is"),
        Column("raw", _text, "what the rewriter answered"),
        Column("tokens", _int, "generated tokens"),
    ),
)

FAIL_RATES = Table(
    "fail_rates",
    ("id",),
    (
        Column("id", _text, "problem id"),
        Column("index", _int, "number of the problem in the order of the draw, from 0"),
        Column("question", _text, "problem text"),
        Column("fail_rate", _real, "share of the solver's samples whose answer is wrong, 0 to 1"),
        Column("samples", _int, "samples drawn"),
    ),
)

SIGNATURES = Table(
    "signatures",
    ("id",),
    (
        ID,
        Column("digest", _text, "SHA-256 of the normalised text"),
        Column("question", _text, "question text, for the exact comparison"),
        Column("signature", pa.list_(pa.uint32()), "MinHash values, one a permutation"),
    ),
)


def question_id(generator: str, seed: int, index: int) -> str:
    """The id of a question; ids of one (generator, seed) sort as their indices do."""
    return f"{generator}/s{seed}/{index:09d}"


def group_of(ids: Iterable[str]) -> str:
    """Name of the index space that ids of one generator and seed number their rows within, for the store's windows."""
    return next((name.rpartition("/")[0].replace("/", "-") for name in ids), "none")


def index_of(name: str) -> int:
    """The index of a question, from its id."""
    return int(name.rpartition("/")[2])


def to_arrow(rows: Iterable[Mapping[str, Any]] | pd.DataFrame, table: Table) -> pa.Table:
    """Rows as an Arrow table of the declared schema, sorted by key.

    Raises ScaleQuestError for a missing or an unknown column, a null where none may be, and a key that is not unique.
    """
    names = [c.name for c in table.columns]
    if isinstance(rows, pd.DataFrame):
        rows = rows.to_dict("records")
    rows = [dict(row) for row in rows]
    for row in rows:
        if set(row) != set(names):
            raise ScaleQuestError(
                f"table {table.name}: row {row.get('id')!r} misses columns {sorted(set(names) - set(row))} "
                f"and has unknown ones {sorted(set(row) - set(names))}."
            )
    rows.sort(key=lambda row: tuple(row[k] for k in table.key))
    for before, after in itertools.pairwise(rows):
        if all(before[k] == after[k] for k in table.key):
            raise ScaleQuestError(f"table {table.name}: key {[after[k] for k in table.key]} is there twice.")
    for column in table.columns:
        if not column.null and any(row[column.name] is None for row in rows):
            raise ScaleQuestError(f"table {table.name}: column {column.name} is null in some row, which may not be.")
    return pa.Table.from_pylist(rows, schema=table.schema)


def write_table(
    path: str | Path, rows: Iterable[Mapping[str, Any]] | pd.DataFrame, table: Table, *, made_in: Iterable[str] = ()
) -> None:
    """Write rows as the table, whole or not at all. Raises as `to_arrow`.

    `made_in` are the names of the stores whose rows these are, noted in the file: what results rest on is kept.
    """
    arrow = to_arrow(rows, table)
    if noted := made_in_note(made_in):
        arrow = arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), **noted})
    with replaced(path) as part:
        pq.write_table(arrow, part, compression="zstd", write_statistics=True)


def made_in_note(stores: Iterable[str]) -> dict[bytes, bytes]:
    """How a file's metadata names the stores of its rows; empty where there is none."""
    return {_MADE_IN: names.encode()} if (names := " ".join(sorted(set(stores)))) else {}


def write_blocks(path: str | Path, blocks: Iterable[Sequence[Mapping[str, Any]]], table: Table) -> int:
    """Write blocks of rows, each after the one before by its keys, and return the number of rows.

    One block is held at a time. Whole or not at all. Raises as `to_arrow`, and where blocks are not in order.
    """
    count, last = 0, None
    with replaced(path) as part, pq.ParquetWriter(part, table.schema, compression="zstd") as writer:
        for block in blocks:
            arrow = to_arrow(block, table)
            keys = arrow.select(list(table.key)).to_pylist()
            if keys and last is not None and tuple(keys[0].values()) <= last:
                raise ScaleQuestError(f"table {table.name}: key {list(keys[0].values())} comes after {list(last)}.")
            last = tuple(keys[-1].values()) if keys else last
            writer.write_table(arrow)
            count += arrow.num_rows
    return count


def read_arrow(path: str | Path, table: Table, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a Parquet file, or some columns of it, and check that it is the declared table. Raises ScaleQuestError
    naming the file."""
    try:
        with pq.ParquetFile(path) as file:
            _check(file.schema_arrow, table, path)
            return file.read(columns)
    except (OSError, pa.ArrowInvalid) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: str | Path, error: Exception) -> ScaleQuestError:
    return ScaleQuestError(f"{path} cannot be read as Parquet ({error}). Remove it; the rule that makes it runs again.")


def _check(schema: pa.Schema, table: Table, path: str | Path) -> None:
    if not schema.equals(table.schema):
        raise ScaleQuestError(f"{path} is not a '{table.name}' table: its columns are {schema.names}.")


def iterate(path: str | Path, table: Table) -> Iterator[dict[str, Any]]:
    """A table's rows as dicts, in key order, of which a few thousand are held at a time. Raises as `read_arrow`."""
    try:
        with pq.ParquetFile(path) as file:
            _check(file.schema_arrow, table, path)
            for batch in file.iter_batches(2000):
                yield from batch.to_pylist()
    except (OSError, pa.ArrowInvalid) as error:
        raise _unreadable(path, error) from None


def made_in(path: str | Path) -> list[str]:
    """Names of the stores on whose rows a table rests."""
    return (pq.read_metadata(path).metadata or {}).get(_MADE_IN, b"").decode().split()


def read_rows(path: str | Path, table: Table) -> list[dict[str, Any]]:
    """A table's rows as dicts, in key order."""
    return read_arrow(path, table).to_pylist()


def read_frame(path: str | Path, table: Table) -> pd.DataFrame:
    """A table as a DataFrame with Arrow-backed columns, in key order."""
    return read_arrow(path, table).to_pandas(types_mapper=pd.ArrowDtype)
