"""Rewrite each sampled question to be solvable, or harder: the raw material of preference pairs by `rewrite`.

It stands between sampling from the fine-tuned generator and pair making, because the generator's own slips are what
the better question must differ from. The rewriter is a local model, or any OpenAI-compatible server. Every row is
kept: with the rewritten question, or with the reason why there is none and what the rewriter said.
Source: ScaleQuest (arXiv 2410.18693), question preference optimisation.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from scalequest.domains.base import open_domain
from scalequest.errors import ScaleQuestError
from scalequest.hashing import digest, row_seed
from scalequest.llm.chat import encode_chat
from scalequest.llm.server import Request, Server, ServerSettings
from scalequest.rows.store import Row
from scalequest.rows.store_key import StoreKey
from scalequest.rows.tables import QUESTIONS, REWRITES, group_of, read_rows, write_table
from scalequest.runtime import job
from scalequest.runtime.lease import Lease
from scalequest.runtime.operation import operation
from scalequest.settings import EngineSettings, Sampling, read_settings
from scalequest.tasks import engine_stage, rewriting

log = logging.getLogger("rewrite_questions")
# Failures that come from the question or the engine; all others are read anew from the raw answer each time.
CUT = "rewriter cut off: max_tokens reached"
SERVER_CACHE = "rewrite_server/answers"


@dataclass(frozen=True)
class Rewrite:
    """The config's `preference_tuning.rewrite`, without our model's name; `server_model` is None without a server."""

    backend: Literal["engine", "server"]
    share_solvability: float
    sampling: Sampling
    structured: bool
    max_length_ratio: float
    server_model: str | None = None


@dataclass(frozen=True)
class Settings:
    """How questions are rewritten, the engine where no server does it, the seed that draws directions, the domain."""

    rewrite: Rewrite
    engine: EngineSettings | None
    seed: int
    domain: str


def store_key(settings: Settings) -> StoreKey:
    """What makes an engine's raw answers."""
    shaping = {"sampling": asdict(settings.rewrite.sampling), "structured": settings.rewrite.structured}
    key = {**shaping, "engine": settings.engine and asdict(settings.engine), "seed": settings.seed}
    prompts = open_domain(settings.domain).prompts.texts(f"rewrite_{which}" for which in rewriting.FIELDS)
    return StoreKey("rewrite_questions", REWRITES, key, prompts)


def main() -> None:
    """Have the rewriter answer for each question, and read its answers."""
    parser = engine_stage.parser(__doc__ or "", model_required=False)
    parser.add_argument("--questions", required=True, help="table of questions sampled from the fine-tuned generator")
    args = parser.parse_args()
    settings = read_settings(Settings, args.settings)
    rows = [begun(row, settings) for row in read_rows(args.questions, QUESTIONS)]
    waiting = [row for row in rows if not row["failure"]]
    stage = None
    if settings.rewrite.backend == "server":
        answered, name = by_server(waiting, settings, args.progress)
    elif args.model and settings.engine:
        stage = engine_stage.EngineStage(args, store_key(settings), settings.engine, "rewriting")
        group = group_of(row["id"] for row in waiting)
        answered, name = (
            stage.rows(waiting, lambda some: by_engine(some, settings, stage), group=group),
            stage.store.name,
        )
    else:
        raise ScaleQuestError("backend engine needs --model, the manifest of the rewriter.")
    done = [row for row in rows if row["failure"]] + [examined(row, settings) for row in answered]
    counts = Counter(rewriting.kind(row["failure"]) or "usable" for row in done)
    log.info("%d questions: %s", len(done), ", ".join(f"{n} {what}" for what, n in counts.most_common()))
    write_table(args.out, [{c.name: row[c.name] for c in REWRITES.columns} for row in done], REWRITES, made_in=[name])
    if stage:
        stage.measure()


def begun(question: Mapping[str, Any], settings: Settings) -> Row:
    """A REWRITES row (and its `index`) before the rewriter was asked; `failure` says if it need not be."""
    failure = ""
    if not question["question"]:
        failure = "empty question"
    elif question["finish_reason"] != "stop":
        failure = "question cut off"
    which = rewriting.direction(question["id"], settings.rewrite.share_solvability, settings.seed)
    return {
        **{"id": question["id"], "index": question["index"], "question": question["question"], "direction": which},
        **{"rewritten": None, "failure": failure, "raw": "", "tokens": 0},
    }


def examined(row: Row, settings: Settings) -> Row:
    """The row with the rewritten question or the reason why there is none, read from its raw answer."""
    if row["failure"] not in ("", CUT):
        return row
    rewritten, failure = rewriting.examine(
        row["question"],
        row["raw"],
        row["direction"],
        settings.rewrite.max_length_ratio,
        open_domain(settings.domain).prompts,
        finished=row["failure"] != CUT,
    )
    return {**row, "rewritten": rewritten, "failure": failure}


def by_server(rows: list[Row], settings: Settings, progress: Path) -> tuple[list[Row], str]:
    """The rows with the server's raw answers, which are cached below `progress`, and the cache's name."""
    rewrite, prompts = settings.rewrite, open_domain(settings.domain).prompts
    requests = [
        Request(
            ({"role": "user", "content": rewriting.request(row["question"], row["direction"], prompts)},),
            rewriting.schema(row["direction"]) if rewrite.structured else None,
        )
        for row in rows
    ]
    cache = progress / SERVER_CACHE
    server = Server(rewrite.server_model or "", read_settings(ServerSettings, operation()["server"]), cache)
    # Other requests about the same questions are other work.
    unit = f"{group_of(row['id'] for row in rows)}-{digest(asdict(rewrite), settings.seed)[:8]}"
    lease = Lease(cache / "attempts", unit)
    answers = server.answers(requests, **asdict(rewrite.sampling), progress=job.Progress("rewriting"), lease=lease)
    made = [
        {**row, "raw": a.text, "tokens": a.tokens, "failure": a.failure or (CUT if a.finish_reason == "length" else "")}
        for row, a in zip(rows, answers, strict=True)
    ]
    return made, SERVER_CACHE


def by_engine(rows: list[Row], settings: Settings, stage: engine_stage.EngineStage) -> list[Row]:
    """A window's rows with the local model's raw answers, each direction one batch under its own schema."""
    return [row for which in rewriting.FIELDS for row in _batch(which, rows, settings, stage)]


def _batch(which: str, rows: list[Row], settings: Settings, stage: engine_stage.EngineStage) -> list[Row]:
    rewrite, prompts = settings.rewrite, open_domain(settings.domain).prompts
    room = stage.settings.max_model_len - rewrite.sampling.max_tokens
    done, fitting, encoded = [], [], []
    for row in rows:
        if row["direction"] != which:
            continue
        row = {c.name: row[c.name] for c in REWRITES.columns}
        message = {"role": "user", "content": rewriting.request(row["question"], which, prompts)}
        tokens = encode_chat(stage.tokenizer, [message])
        if len(tokens) > room:
            done.append({**row, "failure": f"question too long: {len(tokens)} tokens with the prompt"})
        else:
            fitting.append(row)
            encoded.append(tokens)
    if not fitting:
        return done
    completions = stage.generate(
        encoded,
        [row_seed("rewrite", settings.seed, row["id"]) for row in fitting],
        rewrite.sampling,
        stops=stage.question_format.stops,
        schema=rewriting.schema(which) if rewrite.structured else None,
    )
    for row, c in zip(fitting, completions, strict=True):
        done.append({**row, "raw": c.text, "tokens": c.tokens, "failure": CUT if c.finish_reason == "length" else ""})
    return done


if __name__ == "__main__":
    job.run(main)
