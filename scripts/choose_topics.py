"""The topic of each of some questions, of a generator or among the seed problems: a model chooses one of a list.

The probabilities of all topics are stored raw.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from scalequest.domains.base import open_domain
from scalequest.hashing import digest, row_seed
from scalequest.rows.store_key import StoreKey
from scalequest.rows.tables import FILTERED, PROBLEMS, TOPICS, iterate
from scalequest.runtime import job
from scalequest.settings import EngineSettings, read_settings
from scalequest.tasks import engine_stage
from scalequest.tasks.topics import choose_topics

Row = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """The topics to choose from, in their order; how many questions are asked at most; the engine; the domain."""

    options: tuple[str, ...]
    max_questions: int
    engine: EngineSettings
    domain: str


def draw(rows: Iterable[Row], most: int) -> list[Row]:
    """At most so many rows (`id`, `question`), drawn by the hash of their ids and numbered (`index`) in that order.

    So the drawn ones fill whole windows, and a larger `most` only adds windows at the end.
    """
    drawn = heapq.nsmallest(most, rows, key=lambda row: digest("topics", row["id"]))
    return [{"id": row["id"], "question": row["question"], "index": number} for number, row in enumerate(drawn)]


def with_topic(row: Row, probabilities: list[float], options: tuple[str, ...]) -> Row:
    """A row of the table; of topics that are equally likely the first one counts."""
    most = max(probabilities)
    topic = options[probabilities.index(most)] if most else None
    return {"id": row["id"], "topic": topic, "probability": most if most else None, "probabilities": probabilities}


def store_key(settings: Settings) -> StoreKey:
    """What makes the rows."""
    shaping = {"engine": asdict(settings.engine), "options": list(settings.options)}
    return StoreKey("choose_topics", TOPICS, shaping, open_domain(settings.domain).prompts.texts(["choose_topic"]))


def kept(paths: Iterable[str]) -> Iterator[Row]:
    """The questions that the filters kept."""
    return (row for path in paths for row in iterate(path, FILTERED) if row["kept"])


def main() -> None:
    """Choose the topics of a generator's questions, or of the seed problems."""
    parser = engine_stage.parser(__doc__ or "")
    parser.add_argument("--questions", nargs="*", default=[], help="tables of a generator's filtered questions")
    parser.add_argument("--problems", nargs="*", default=[], help="table of seed problems, in place of questions")
    args = parser.parse_args()
    settings = read_settings(Settings, args.settings)
    problems = (row for path in args.problems for row in iterate(path, PROBLEMS))
    rows = draw(problems if args.problems else kept(args.questions), settings.max_questions)
    prompts = open_domain(settings.domain).prompts
    stage = engine_stage.EngineStage(args, store_key(settings), settings.engine, "topics")

    def work(some: list[Row]) -> list[Row]:
        texts, seeds = [row["question"] for row in some], [row_seed("topics", row["id"]) for row in some]
        made = choose_topics(stage, texts, seeds, settings.options, prompts)
        return [with_topic(row, found, settings.options) for row, found in zip(some, made, strict=True)]

    # Each generator has numbers of its own, and so have the seed problems.
    group = "seeds" if args.problems else f"of-{rows[0]['id'].split('/')[0]}" if rows else "none"
    stage.write(stage.rows(rows, work, group=group))


if __name__ == "__main__":
    job.run(main)
