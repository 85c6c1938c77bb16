"""Write the dataset as trainers take it, one Parquet file for each configuration of the card.

`chat` and `prompt_completion` have every row; `preference` and `rl` those that suit them, and what they leave out is
counted by reason. Shards are read one after the other and written in blocks of a fixed size, so that the files do not
depend on the number of shards.
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
from scalequest.grading.verdicts import grouped
from scalequest.llm.prompts import fill
from scalequest.rows import tables
from scalequest.runtime import job
from scalequest.runtime.files import replaced, write_json, write_text
from scalequest.settings import Grading, read_settings

log = logging.getLogger("scalequest")
Row = dict[str, Any]
BLOCK_QUESTIONS = 4096
TABLES = (tables.CHAT, tables.PROMPT_COMPLETION, tables.PREFERENCE, tables.RL)


@dataclass(frozen=True)
class Settings:
    """Name of the dataset, domain of its questions, and how answers are compared."""

    name: str
    domain: str
    grading: Grading


@dataclass(frozen=True)
class Answered:
    """A question with its responses (rows of CANDIDATES, in order of sample), of which one is selected. `groups` are
    the positions of equal answers; `unchecked` says why the reward cannot check the answer, empty where it can."""

    id: str
    question: str
    responses: Sequence[Row]
    groups: Sequence[Sequence[int]]
    unchecked: str

    @property
    def selected(self) -> Row:
        return next(row for row in self.responses if row["selected"])


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
    best = one.selected
    if best["answer"] is None:
        return None, None, checkable.NO_ANSWER
    own = one.responses.index(best)
    same = {place for group in one.groups if own in group for place in group}
    others = [
        row
        for place, row in enumerate(one.responses)
        if place not in same and row["answer"] is not None and row["finish_reason"] != "length"
    ]
    if not others:
        return None, None, "no other answer"
    if any(row["reward"] is None or not math.isfinite(row["reward"]) for row in (best, *others)):
        return min(others, key=lambda row: row["votes"]), None, ""
    worst = min(others, key=lambda row: row["reward"])
    if worst["reward"] >= best["reward"]:
        return None, None, "no other answer has a lower reward"
    return worst, best["reward"] - worst["reward"], ""


def formatted(one: Answered, name: str, domain: Domain, counts: Counts) -> dict[str, Row]:
    """The row of each configuration that has one, by the name of the configuration."""
    best, asked = one.selected, said("user", one.question)
    answered = said("assistant", best["response"])
    rows: dict[str, Row] = {
        "chat": {"messages": asked + answered, "id": one.id},
        "prompt_completion": {"prompt": asked, "completion": answered, "id": one.id},
    }
    worst, margin, reason = pair_of(one)
    if worst is None:
        counts.left_out["preference"][reason] += 1
    else:
        rejected = said("assistant", worst["response"])
        pair = {"chosen": answered, "rejected": rejected, "margin": margin}
        rows["preference"] = {"prompt": asked, **pair, "id": one.id}
    if one.unchecked:
        counts.left_out["rl"][one.unchecked] += 1
    else:
        rows["rl"] = {
            "prompt": said("user", fill(domain.prompts.load("respond"), question=one.question)),
            "solution": f"${best['answer']}$",
            "data_source": name,
            "ability": domain.name,
            "reward_model": {"style": "rule", "ground_truth": best["answer"]},
            "extra_info": {"split": "train", "index": counts.rows["rl"], "id": one.id},
            "answer_type": answer_type(best["answer"]),
            "agreement": best["votes"] / len(one.responses),
            "id": one.id,
        }
    counts.rows.update(rows.keys())
    return rows


class Shard:
    """The questions of one shard that have a selected response. Texts are read when they are asked for."""

    def __init__(self, filtered: Path, candidates: Path):
        self.filtered, self.candidates = filtered, candidates
        self.stores: list[str] = []

    @property
    def first(self) -> str:
        """The first id, by which shards are ordered; empty where there is none."""
        return next((row["id"] for row in tables.iterate(self.filtered, tables.FILTERED)), "")

    def answers(self) -> Iterator[tuple[str, list[Row]]]:
        """Id and responses of each question of which one response is selected, in order."""
        rows = tables.iterate(self.candidates, tables.CANDIDATES)
        for name, own in itertools.groupby(rows, key=lambda row: row["id"]):
            responses = list(own)
            if any(row["selected"] for row in responses):
                yield name, responses

    def read(self, settings: Settings, progress: Path) -> Iterator[Answered]:
        """Each question with what was found about its answers. Raises ScaleQuestError where a question is missing."""
        grader = open_domain(settings.domain).main
        kept: dict[str, Any] = {"progress": progress, "time_limit": settings.grading.time_limit}
        found: list[Row] = []
        for name, own in self.answers():
            selected = next(place for place, row in enumerate(own) if row["selected"])
            found.append({"id": name, "index": tables.index_of(name), "selected": selected})
            found[-1]["answers"] = [row["answer"] for row in own]
        group = tables.group_of(row["id"] for row in found)
        asked = [{key: row[key] for key in ("id", "index", "answers")} for row in found]
        groupings, compared = grouped(asked, grader, group=group, **kept)
        checks = []
        for row in found:
            other = [groups[0] for groups in groupings[row["id"]].groups if row["selected"] not in groups]
            others = [row["answers"][place] for place in other if row["answers"][place] is not None]
            answer = row["answers"][row["selected"]]
            checks.append({"id": row["id"], "index": row["index"], "answer": answer, "others": others})
        unchecked, checked = checkable.reasons(checks, grader, group=group, **kept)
        self.stores = [compared, *checked]
        questions = tables.iterate(self.filtered, tables.FILTERED)
        for name, own in self.answers():
            question = next((row["question"] for row in questions if row["id"] == name), None)
            if question is None:
                raise ScaleQuestError(f"{self.candidates} has responses to '{name}', which is not in {self.filtered}.")
            yield Answered(name, question, own, groupings[name].groups, unchecked[name])


def blocks(rows: Iterable[Answered]) -> Iterator[list[Answered]]:
    """The same in lists of BLOCK_QUESTIONS, but for the last."""
    left = iter(rows)
    while block := list(itertools.islice(left, BLOCK_QUESTIONS)):
        yield block


def write(shards: Sequence[Shard], outputs: dict[str, Path], settings: Settings, progress: Path) -> Counts:
    """Write the file of each configuration; none replaces an older one unless all are whole."""
    counts, domain = Counts(), open_domain(settings.domain)
    with ExitStack() as stack:
        parts = {name: stack.enter_context(replaced(path)) for name, path in outputs.items()}
        writers = {
            table.name: stack.enter_context(pq.ParquetWriter(parts[table.name], table.schema, compression="zstd"))
            for table in TABLES
        }
        for block in blocks(itertools.chain.from_iterable(shard.read(settings, progress) for shard in shards)):
            made = [formatted(one, settings.name, domain, counts) for one in block]
            for table in TABLES:
                if rows := [row[table.name] for row in made if table.name in row]:
                    writers[table.name].write_table(tables.to_arrow(rows, table))
        stores = [store for shard in shards for store in shard.stores]
        writers[tables.RL.name].add_key_value_metadata(tables.made_in_note(stores))
    return counts


def main() -> None:
    parser = job.parser(__doc__ or "")
    parser.add_argument("--filtered", type=Path, nargs="+", required=True, help="tables of questions, one a shard")
    parser.add_argument("--candidates", type=Path, nargs="+", required=True, help="tables of scored responses, as many")
    parser.add_argument("--progress", type=Path, required=True, help="folder of finished windows")
    for table in TABLES:
        option = table.name.replace("_", "-")
        parser.add_argument(f"--{option}", type=Path, required=True, help=f"output: the configuration {table.name}")
    parser.add_argument("--reward", type=Path, required=True, help="output: the reward of `rl`, for verl")
    parser.add_argument("--counts", type=Path, required=True, help="output: rows, and rows left out by reason, as JSON")
    args = parser.parse_args()
    settings = read_settings(Settings, args.settings)
    shards = [Shard(*files) for files in zip(args.filtered, args.candidates, strict=True)]
    outputs = {table.name: getattr(args, table.name) for table in TABLES}
    counts = write(sorted(shards, key=lambda shard: shard.first), outputs, settings, args.progress)
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
