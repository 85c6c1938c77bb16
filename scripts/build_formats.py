"""Write the dataset as trainers take it, one Parquet file for each configuration of the card.

`chat` and `prompt_completion` have every row; `preference` and `rl` those that suit them, by what check_answers found,
and what they leave out is counted by reason. With solvers `rl` has the verified answers that the config keeps. Shards
are read one after the other and written in blocks of a fixed size, so that the files do not depend on their number.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pyarrow.parquet as pq

from scalequest.domains.base import open_domain
from scalequest.errors import ScaleQuestError
from scalequest.grading import checkable, verl_reward
from scalequest.grading.problem_types import problem_type, unfit
from scalequest.llm.prompts import fill
from scalequest.llm.thinking import written
from scalequest.rows import tables
from scalequest.rows.published import CHAT, PREFERENCE, PROMPT_COMPLETION, RL
from scalequest.rows.selected import best, questions_with_selection
from scalequest.runtime import job
from scalequest.runtime.files import replaced, write_json, write_text
from scalequest.settings import Number, read_settings

log = logging.getLogger("scalequest")
Row = dict[str, Any]
T = TypeVar("T")
BLOCK_QUESTIONS = 4096
# What has responses, and all.
RESPONSES = (CHAT, PROMPT_COMPLETION, PREFERENCE)
TABLES = (*RESPONSES, RL)


@dataclass(frozen=True)
class Band:
    """Pass rates of a solver that are kept, both ends included; `solver` None is the first one."""

    solver: str | None
    min: Number
    max: Number


@dataclass(frozen=True)
class Policy:
    """Which verified answers are kept: the share of samples that have them, a band of pass rates, types (None: all)."""

    min_agreement: Number
    pass_rate: Band
    types: tuple[str, ...] | None


@dataclass(frozen=True)
class Settings:
    """Name of the dataset, domain of its questions, and which verified answers are kept, None where there are none."""

    name: str
    domain: str
    verification: Policy | None = None


@dataclass(frozen=True)
class Shard:
    """The tables of a shard; `verified` is None without solvers."""

    filtered: Path
    candidates: Path
    checks: Path
    verified: Path | None


@dataclass(frozen=True)
class Answered:
    """A question with its responses (rows of CANDIDATES, in order of sample), of which some are selected. `groups` and
    `unchecked` are what ANSWER_CHECKS says of it."""

    id: str
    question: str
    responses: Sequence[Row]
    groups: Sequence[int]
    unchecked: str

    @property
    def selected(self) -> list[Row]:
        return [row for row in self.responses if row["selected"]]

    @property
    def best(self) -> Row:
        return self.responses[best(self.responses)]


@dataclass(frozen=True)
class Problem:
    """A question with the answer that a reward checks. `agreement` is the share of samples that have it, `pass_rates`
    that of each solver (none without solvers); `left_out` says why it is no row of `rl`, empty where it is one."""

    id: str
    question: str
    answer: str | None
    agreement: float
    answer_type: str
    pass_rates: Sequence[Row]
    left_out: str


@dataclass
class Counts:
    """Rows of each configuration, and rows that it leaves out, by reason."""

    rows: Counter[str] = field(default_factory=Counter)
    left_out: dict[str, Counter[str]] = field(default_factory=lambda: {"preference": Counter(), "rl": Counter()})


def said(role: str, content: str) -> list[dict[str, str]]:
    """A conversation of one message."""
    return [{"role": role, "content": content}]


def pair_of(one: Answered) -> tuple[Row | None, float | None, str]:
    """The response that is rejected and by how much its reward is lower; or None, None and why there is no pair.

    It is the worst of those whose answer is another one than the selected response's, that of the lowest reward, which
    must be lower; where nothing scored them, that of the fewest votes. Ties go to the lowest sample. A response that
    was cut or has no answer is not taken.
    """
    chosen = one.best
    if chosen["answer"] is None:
        return None, None, checkable.NO_ANSWER
    own = one.groups[one.responses.index(chosen)]
    others = [
        row
        for row, group in zip(one.responses, one.groups, strict=True)
        if group != own and row["answer"] is not None and row["finish_reason"] != "length"
    ]
    if not others:
        return None, None, "no other answer"
    if any(row["reward"] is None or not math.isfinite(row["reward"]) for row in (chosen, *others)):
        return min(others, key=lambda row: row["votes"]), None, ""
    worst = min(others, key=lambda row: row["reward"])
    if worst["reward"] >= chosen["reward"]:
        return None, None, "no other answer has a lower reward"
    return worst, chosen["reward"] - worst["reward"], ""


def formatted(one: Answered, counts: Counts) -> dict[str, list[Row]]:
    """The rows of each configuration of RESPONSES, by its name."""
    chosen, asked = one.best, said("user", one.question)
    rows: dict[str, list[Row]] = {table.name: [] for table in RESPONSES}
    for row in one.selected:
        answered = said("assistant", written(row["reasoning"], row["response"]))
        own = {"id": one.id, "sample": row["sample"]}
        rows["chat"].append({"messages": asked + answered, **own})
        rows["prompt_completion"].append({"prompt": asked, "completion": answered, **own})
    worst, margin, reason = pair_of(one)
    if worst is None:
        counts.left_out["preference"][reason] += 1
    else:
        texts = {"chosen": said("assistant", chosen["response"]), "rejected": said("assistant", worst["response"])}
        rows["preference"].append({"prompt": asked, **texts, "margin": margin, "id": one.id})
    counts.rows.update({table: len(own) for table, own in rows.items()})
    return rows


def own_problem(one: Answered) -> Problem:
    """The problem with the answer of the selected response."""
    answer = one.best["answer"]
    agreement = one.best["votes"] / len(one.responses)
    kind = problem_type(one.question, answer)
    return Problem(one.id, one.question, answer, agreement, kind, [], unfit(one.question) or one.unchecked)


def rejected(row: Row, policy: Policy) -> str:
    """Why a row of VERIFIED is not kept; empty where it is."""
    if row["unfit"] or row["answer"] is None:
        return str(row["unfit"]) or checkable.NO_ANSWER
    if row["agreement"] < policy.min_agreement:
        return "too few samples agree (verification.min_agreement)"
    rate = pass_rate(row["pass_rates"], policy.pass_rate.solver)
    if rate is not None and not policy.pass_rate.min <= rate <= policy.pass_rate.max:
        return f"too {'hard' if rate < policy.pass_rate.min else 'easy'} (verification.pass_rate)"
    if policy.types is not None and row["answer_type"] not in policy.types:
        return f"answer type {row['answer_type']} (verification.types)"
    return str(row["reason"])


def pass_rate(rates: Sequence[Row], solver: str | None) -> float | None:
    """The pass rate of a solver, or of the first one; None where there is none."""
    return next((float(entry["rate"]) for entry in rates if solver in (None, entry["solver"])), None)


def verified_problems(filtered: Path, verified: Path, policy: Policy) -> Iterator[Problem]:
    """The problems of a shard with their verified answers, of the questions that are kept: where the filter of
    difficulty goes by pass rates, it drops some that have one. Raises ScaleQuestError where the tables do not pair."""
    questions = {row["id"]: row for row in tables.iterate(filtered, tables.FILTERED)}
    for row in tables.iterate(verified, tables.VERIFIED):
        if row["id"] not in questions:
            raise ScaleQuestError(
                f"{verified} has an answer to '{row['id']}', which is not among the questions of {filtered}. "
                "Remove it; the rule verify_answers makes it again."
            )
        if not questions[row["id"]]["kept"]:
            continue
        shared = {key: row[key] for key in ("id", "answer", "agreement", "answer_type", "pass_rates")}
        yield Problem(question=questions[row["id"]]["question"], left_out=rejected(row, policy), **shared)


def rl_rows(problems: Iterable[Problem], settings: Settings, counts: Counts) -> Iterator[Row]:
    """Rows of RL, counted as they are made."""
    domain = open_domain(settings.domain)
    solver = settings.verification.pass_rate.solver if settings.verification else None
    for one in problems:
        if one.left_out:
            counts.left_out["rl"][one.left_out] += 1
            continue
        yield {
            "prompt": said("user", fill(domain.prompts.load("respond"), question=one.question)),
            "solution": f"${one.answer}$",
            "data_source": settings.name,
            "ability": domain.name,
            "reward_model": {"style": "rule", "ground_truth": one.answer},
            "extra_info": {"split": "train", "index": counts.rows["rl"], "id": one.id},
            **{"answer_type": one.answer_type, "agreement": one.agreement, "id": one.id},
            **{"pass_rate": pass_rate(one.pass_rates, solver), "pass_rates": list(one.pass_rates)},
        }
        counts.rows["rl"] += 1


def first_id(filtered: Path) -> str:
    """The first id of a shard, by which shards are ordered; empty where there is none."""
    return next((row["id"] for row in tables.iterate(filtered, tables.FILTERED)), "")


def read_shard(shard: Shard) -> Iterator[Answered]:
    """Each question of a shard that has a selected response. Raises ScaleQuestError where a question is missing."""
    filtered, candidates, checks = shard.filtered, shard.candidates, shard.checks
    questions = tables.iterate(filtered, tables.FILTERED)
    found = tables.iterate(checks, tables.ANSWER_CHECKS)
    for name, own in questions_with_selection(candidates):
        question = next((row["question"] for row in questions if row["id"] == name), None)
        if question is None:
            raise ScaleQuestError(f"{candidates} has responses to '{name}', which is not in {filtered}.")
        check = next(found, None)
        if check is None or (check["id"], len(check["groups"])) != (name, len(own)):
            raise ScaleQuestError(f"{checks} is not of {candidates}. Remove it; the rule check_answers makes it again.")
        yield Answered(name, question, own, check["groups"], check["reason"])


def blocks(rows: Iterable[T]) -> Iterator[list[T]]:
    """The same in lists of BLOCK_QUESTIONS, but for the last."""
    left = iter(rows)
    while block := list(itertools.islice(left, BLOCK_QUESTIONS)):
        yield block


def write(shards: Sequence[Shard], outputs: dict[str, Path], settings: Settings) -> Counts:
    """Write the file of each configuration; none replaces an older one unless all are whole."""
    counts, policy = Counts(), settings.verification
    with ExitStack() as stack:
        parts = {name: stack.enter_context(replaced(path)) for name, path in outputs.items()}
        writers = {
            table.name: stack.enter_context(pq.ParquetWriter(parts[table.name], table.schema, compression="zstd"))
            for table in TABLES
        }

        def add(rows: list[Row], table: tables.Table) -> None:
            if rows:
                writers[table.name].write_table(tables.to_arrow(rows, table))

        for block in blocks(itertools.chain.from_iterable(map(read_shard, shards))):
            made = [formatted(one, counts) for one in block]
            for table in RESPONSES:
                add([row for own in made for row in own[table.name]], table)
            if policy is None:
                add(list(rl_rows(map(own_problem, block), settings, counts)), RL)
        for shard in shards:
            if policy is None or shard.verified is None:
                continue
            for problems in blocks(verified_problems(shard.filtered, shard.verified, policy)):
                add(list(rl_rows(problems, settings, counts)), RL)
    return counts


def main() -> None:
    parser = job.parser(__doc__ or "")
    parser.add_argument("--filtered", type=Path, nargs="+", required=True, help="tables of questions, one a shard")
    parser.add_argument("--candidates", type=Path, nargs="+", required=True, help="tables of scored responses, as many")
    parser.add_argument("--checks", type=Path, nargs="+", required=True, help="tables answer_checks, as many")
    parser.add_argument(
        "--verified", type=Path, nargs="*", default=[], help="tables of verified answers, as many, or none"
    )
    for table in TABLES:
        option = table.name.replace("_", "-")
        parser.add_argument(f"--{option}", type=Path, required=True, help=f"output: the configuration {table.name}")
    parser.add_argument("--reward", type=Path, required=True, help="output: the reward of `rl`, for verl")
    parser.add_argument("--counts", type=Path, required=True, help="output: rows, and rows left out by reason, as JSON")
    args = parser.parse_args()
    settings = read_settings(Settings, args.settings)
    verified = args.verified or [None] * len(args.filtered)
    files = zip(args.filtered, args.candidates, args.checks, verified, strict=True)
    shards = sorted((Shard(*own) for own in files), key=lambda shard: first_id(shard.filtered))
    counts = write(shards, {table.name: getattr(args, table.name) for table in TABLES}, settings)
    write_text(args.reward, Path(verl_reward.__file__).read_text(encoding="utf-8"))
    write_json(
        args.counts,
        {
            "rows": {table.name: counts.rows[table.name] for table in TABLES},
            "left_out": {name: dict(sorted(found.items())) for name, found in counts.left_out.items()},
        },
    )
    log.info("rows of each configuration: %s", ", ".join(f"{name} {n}" for name, n in counts.rows.items()))


if __name__ == "__main__":
    job.run(main)
