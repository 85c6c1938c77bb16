"""The tables of the dataset itself, `results/dataset`, as `tables` declares them."""

from __future__ import annotations

import pyarrow as pa

from scalequest.rows import tables
from scalequest.rows.tables import ID, ORIGIN, Column, Table

_SAMPLE = Column("sample", pa.int64(), "number of the response, from 0")

DATASET = Table(
    "dataset",
    ("id", "sample"),
    (
        Column("query", pa.string(), "the question"),
        Column("response", pa.string(), "a selected response"),
        tables.REASONING,
        ID,
        _SAMPLE,
        *ORIGIN,
        Column("answer", pa.string(), "final answer extracted from the response", null=True),
        Column("reward", pa.float64(), "score of the response; null where nothing scored it", null=True),
        Column("votes", pa.int64(), "responses whose answer is mathematically equal, this one included"),
        Column("samples", pa.int64(), "responses drawn for the question"),
        Column("difficulty", pa.float64(), "fail rate, predicted or measured, where it is known", null=True),
        Column("solvable", pa.float64(), "judge's P(Yes), where the judge gave one", null=True),
        Column(
            "marks", pa.string(), "names of filters that would have dropped the row but only marked it, comma separated"
        ),
        Column("question_model", pa.string(), "model that asked, name and digest"),
        Column("response_model", pa.string(), "model that answered, name and digest"),
        Column("reward_model", pa.string(), "model that scored, name and digest; null where none did", null=True),
    ),
)

# What trainers take, one table for each configuration of the card. A message is a map of `role` and `content`.
_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))

CHAT = Table(
    "chat",
    ("id", "sample"),
    (
        Column("messages", _MESSAGES, "the question (user) and a selected response with its trace (assistant)"),
        ID,
        _SAMPLE,
    ),
)

PROMPT_COMPLETION = Table(
    "prompt_completion",
    ("id", "sample"),
    (
        Column("prompt", _MESSAGES, "the question, one message of the user"),
        Column("completion", _MESSAGES, "a selected response with its trace, one message of the assistant"),
        ID,
        _SAMPLE,
    ),
)

PREFERENCE = Table(
    "preference",
    ("id",),
    (
        Column("prompt", _MESSAGES, "the question, one message of the user"),
        Column("chosen", _MESSAGES, "the selected response, of several that of the highest reward"),
        Column(
            "rejected", _MESSAGES, "the response of the lowest reward (none: of the fewest votes) to another answer"
        ),
        Column(
            "margin",
            pa.float64(),
            "reward of chosen less reward of rejected; null where nothing scored them",
            null=True,
        ),
        ID,
    ),
)

RL = Table(
    "rl",
    ("id",),
    (
        Column("prompt", _MESSAGES, "the question in the prompt of the run's responses, one message of the user"),
        Column("solution", pa.string(), "the answer between dollar signs, as TRL's accuracy_reward reads it"),
        Column("data_source", pa.string(), "name of the dataset (verl)"),
        Column("ability", pa.string(), "the domain (verl)"),
        Column(
            "reward_model",
            pa.struct([("style", pa.string()), ("ground_truth", pa.string())]),
            "`rule`, and the bare answer (verl)",
        ),
        Column(
            "extra_info",
            pa.struct([("split", pa.string()), ("index", pa.int64()), ("id", pa.string())]),
            "`train`, number of the row in this file, question id (verl)",
        ),
        tables.ANSWER_TYPE,
        Column(
            "agreement",
            pa.float64(),
            "share of the samples whose answer is equal to this one, 0 to 1: of all solvers, or of the run's responses",
        ),
        Column(
            "pass_rate",
            pa.float64(),
            "that of verification.pass_rate.solver; null where nothing is verified",
            null=True,
        ),
        tables.PASS_RATES,
        ID,
    ),
)

# Every table of the project.
TABLES = {
    table.name: table
    for module in (vars(tables), globals())
    for table in list(module.values())
    if isinstance(table, Table)
}
