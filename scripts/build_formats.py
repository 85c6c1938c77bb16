"""Write the dataset as trainers take it, one Parquet file for each configuration of the card.

`chat` and `prompt_completion` have every row; `preference` and `rl` those that suit them, by what check_answers found,
and what they leave out is counted by reason. Shards are read one after the other and written in blocks of a fixed size,
so that the files do not depend on the number of shards.
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
from typing import Any

import pyarrow.parquet as pq

from scalequest.domains.base import Domain, open_domain
from scalequest.errors import ScaleQuestError
from scalequest.grading import checkable, verl_reward
from scalequest.grading.answer_types import answer_type
from scalequest.llm.prompts import fill
from scalequest.rows import tables
from scalequest.rows.selected import best, questions_with_selection
from scalequest.runtime import job
from scalequest.runtime.files import replaced, write_json, write_text
from scalequest.settings import read_settings

log = logging.getLogger("scalequest")
Row = dict[str, Any]
BLOCK_QUESTIONS = 4096
TABLES = (tables.CHAT, tables.PROMPT_COMPLETION, tables.PREFERENCE, tables.RL)


@dataclass(frozen=True)
class Settings:
    """Name of the dataset, and domain of its questions."""

    name: str
    domain: str


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


def formatted(one: Answered, name: str, domain: Domain, counts: Counts) -> dict[str, list[Row]]:
    """The rows of each configuration, by its name."""
    chosen, asked = one.best, said("user", one.question)
    rows: dict[str, list[Row]] = {table.name: [] for table in TABLES}
    for row in one.selected:
        answered, own = said("assistant", row["response"]), {"id": one.id, "sample": row["sample"]}
        rows["chat"].append({"messages": asked + answered, **own})
        rows["prompt_completion"].append({"prompt": asked, "completion": answered, **own})
    worst, margin, reason = pair_of(one)
    if worst is None:
        counts.left_out["preference"][reason] += 1
    else:
        texts = {"chosen": said("assistant", chosen["response"]), "rejected": said("assistant", worst["response"])}
        rows["preference"].append({"prompt": asked, **texts, "margin": margin, "id": one.id})
    if one.unchecked:
        counts.left_out["rl"][one.unchecked] += 1
    else:
        rows["rl"].append(
            {
                "prompt": said("user", fill(domain.prompts.load("respond"), question=one.question)),
                "solution": f"${chosen['answer']}$",
                "data_source": name,
                "ability": domain.name,
                "reward_model": {"style": "rule", "ground_truth": chosen["answer"]},
                "extra_info": {"split": "train", "index": counts.rows["rl"], "id": one.id},
                "answer_type": answer_type(chosen["answer"]),
                "agreement": chosen["votes"] / len(one.responses),
                "id": one.id,
            }
        )
    counts.rows.update({table: len(own) for table, own in rows.items()})
    return rows


def first_id(filtered: Path) -> str:
    """The first id of a shard, by which shards are ordered; empty where there is none."""
    return next((row["id"] for row in tables.iterate(filtered, tables.FILTERED)), "")


def read_shard(filtered: Path, candidates: Path, checks: Path) -> Iterator[Answered]:
    """Each question of a shard that has a selected response. Raises ScaleQuestError where a question is missing."""
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


def blocks(rows: Iterable[Answered]) -> Iterator[list[Answered]]:
    """The same in lists of BLOCK_QUESTIONS, but for the last."""
    left = iter(rows)
    while block := list(itertools.islice(left, BLOCK_QUESTIONS)):
        yield block


def write(shards: Sequence[Sequence[Path]], outputs: dict[str, Path], settings: Settings) -> Counts:
    """Write the file of each configuration; none replaces an older one unless all are whole."""
    counts, domain = Counts(), open_domain(settings.domain)
    with ExitStack() as stack:
        parts = {name: stack.enter_context(replaced(path)) for name, path in outputs.items()}
        writers = {
            table.name: stack.enter_context(pq.ParquetWriter(parts[table.name], table.schema, compression="zstd"))
            for table in TABLES
        }
        for block in blocks(itertools.chain.from_iterable(read_shard(*files) for files in shards)):
            made = [formatted(one, settings.name, domain, counts) for one in block]
            for table in TABLES:
                if rows := [row for own in made for row in own[table.name]]:
                    writers[table.name].write_table(tables.to_arrow(rows, table))
    return counts


def main() -> None:
    parser = job.parser(__doc__ or "")
    parser.add_argument("--filtered", type=Path, nargs="+", required=True, help="tables of questions, one a shard")
    parser.add_argument("--candidates", type=Path, nargs="+", required=True, help="tables of scored responses, as many")
    parser.add_argument("--checks", type=Path, nargs="+", required=True, help="tables answer_checks, as many")
    for table in TABLES:
        option = table.name.replace("_", "-")
        parser.add_argument(f"--{option}", type=Path, required=True, help=f"output: the configuration {table.name}")
    parser.add_argument("--reward", type=Path, required=True, help="output: the reward of `rl`, for verl")
    parser.add_argument("--counts", type=Path, required=True, help="output: rows, and rows left out by reason, as JSON")
    args = parser.parse_args()
    settings = read_settings(Settings, args.settings)
    shards = sorted(zip(args.filtered, args.candidates, args.checks, strict=True), key=lambda files: first_id(files[0]))
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
