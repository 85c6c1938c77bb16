"""Rewrite each sampled question to be solvable, or harder: the raw material of preference pairs by `rewrite`.

It stands between sampling from the fine-tuned generator and pair making, because the generator's own slips are what
the better question must differ from. The rewriter is a local model, or any OpenAI-compatible server. Every row is
kept: with the rewritten question, or with the reason why there is none and what the rewriter said.
Source: ScaleQuest (arXiv 2410.18693), question preference optimisation.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scalequest import job, rewriting
from scalequest.chat import encode_chat, load_tokenizer, question_format
from scalequest.engine import Engine
from scalequest.errors import ScaleQuestError
from scalequest.hashing import digest, row_seed
from scalequest.lease import Lease
from scalequest.models import Model, open_model
from scalequest.operation import operation
from scalequest.server import Request, Server
from scalequest.stage import StoreKey, open_store
from scalequest.store import Row, in_windows
from scalequest.tables import QUESTIONS, REWRITES, group_of, read_rows, write_table

log = logging.getLogger("rewrite_questions")
# Failures that come from the question or the engine; all others are read anew from the raw answer each time.
CUT = "rewriter cut off: max_tokens reached"
SERVER_CACHE = "rewrite_server/answers"


def store_key(settings: Mapping[str, Any]) -> StoreKey:
    shaping = {name: settings["rewrite"][name] for name in ("sampling", "structured")}
    key = {**shaping, "engine": settings["engine"], "seed": settings["seed"]}
    return StoreKey("rewrite_questions", REWRITES, key, [f"rewrite_{which}" for which in rewriting.FIELDS])


def main() -> None:
    arguments = job.parser(__doc__ or "")
    arguments.add_argument("--questions", required=True, help="QUESTIONS table, sampled from the fine-tuned generator")
    arguments.add_argument("--model", help="manifest of the rewriter (backend engine)")
    arguments.add_argument("--progress", required=True, help="folder where finished answers are kept")
    arguments.add_argument("--out", required=True, help="REWRITES table to write")
    options = arguments.parse_args()
    settings = options.settings
    questions = read_rows(options.questions, QUESTIONS)
    rows = [begun(row, settings) for row in questions]
    open_rows = [row for row in rows if not row["failure"]]
    if settings["rewrite"]["backend"] == "server":
        answered, name = by_server(open_rows, settings, Path(options.progress))
    elif options.model:
        answered, name = by_engine(open_rows, settings, Path(options.progress), open_model(options.model))
    else:
        raise ScaleQuestError("backend engine needs --model, the manifest of the rewriter.")
    done = [row for row in rows if row["failure"]] + [examined(row, settings) for row in answered]
    _log_counts(done)
    write_table(
        options.out, [{c.name: row[c.name] for c in REWRITES.columns} for row in done], REWRITES, made_in=[name]
    )


def begun(question: Mapping[str, Any], settings: Mapping[str, Any]) -> Row:
    """A REWRITES row (and its `index`) before the rewriter was asked; `failure` says if it need not be."""
    failure = ""
    if not question["question"]:
        failure = "empty question"
    elif question["finish_reason"] != "stop":
        failure = "question cut off"
    which = rewriting.direction(question["id"], settings["rewrite"]["share_solvability"], settings["seed"])
    return {
        **{"id": question["id"], "index": question["index"], "question": question["question"], "direction": which},
        **{"rewritten": None, "failure": failure, "raw": "", "tokens": 0},
    }


def examined(row: Row, settings: Mapping[str, Any]) -> Row:
    """The row with the rewritten question or the reason why there is none, read from its raw answer."""
    if row["failure"] not in ("", CUT):
        return row
    rewritten, failure = rewriting.examine(
        row["question"], row["raw"], row["direction"], settings["rewrite"], finished=row["failure"] != CUT
    )
    return {**row, "rewritten": rewritten, "failure": failure}


def by_server(rows: list[Row], settings: Mapping[str, Any], progress: Path) -> tuple[list[Row], str]:
    """The rows with the server's raw answers, which are cached below `progress`, and the cache's name."""
    rewrite = settings["rewrite"]
    requests = [
        Request(
            ({"role": "user", "content": rewriting.request(row["question"], row["direction"])},),
            rewriting.schema(row["direction"]) if rewrite["structured"] else None,
        )
        for row in rows
    ]
    cache = progress / SERVER_CACHE
    server = Server(rewrite["server_model"], operation()["server"], cache)
    # Other requests about the same questions are other work.
    unit = f"{group_of(row['id'] for row in rows)}-{digest(rewrite, settings['seed'])[:8]}"

    @contextmanager
    def asking(count: int) -> Iterator[Callable[[], None]]:
        with Lease(cache / "attempts", unit) as lease:
            yield lease.check
            lease.count(count)

    answers = server.answers(requests, **rewrite["sampling"], progress=job.Progress("rewriting"), asking=asking)
    made = [
        {**row, "raw": a.text, "tokens": a.tokens, "failure": a.failure or (CUT if a.finish_reason == "length" else "")}
        for row, a in zip(rows, answers, strict=True)
    ]
    return made, SERVER_CACHE


def by_engine(rows: list[Row], settings: Mapping[str, Any], progress: Path, model: Model) -> tuple[list[Row], str]:
    """The rows with the local model's raw answers, made window by window where the store has none, and its name."""
    store = open_store(progress, store_key(settings), model)
    report = job.Progress("rewriting")
    rewriter = _Rewriter(model, settings, report)
    made = in_windows(
        rows,
        store,
        settings["engine"]["window"],
        rewriter.answer,
        group=group_of(row["id"] for row in rows),
        progress=report,
        each=rewriter.engine.each,
    )
    return made, store.name


class _Rewriter:
    """A local model, its tokenizer loaded with the first window that the store lacks."""

    def __init__(self, model: Model, settings: Mapping[str, Any], report: job.Progress):
        self.settings, self.report = settings, report
        self.engine = Engine(model, settings["engine"])
        self.tokenizer: Any = None

    def answer(self, rows: list[Row]) -> list[Row]:
        """A window's rows with their raw answers, each direction one batch under its own schema."""
        if self.tokenizer is None:
            model = self.engine.model
            self.tokenizer = load_tokenizer(model.folder, trust_remote_code=model.trust_remote_code)
        return [row for which in rewriting.FIELDS for row in self._batch(which, rows)]

    def _batch(self, which: str, rows: list[Row]) -> list[Row]:
        rewrite = self.settings["rewrite"]
        room = self.settings["engine"]["max_model_len"] - rewrite["sampling"]["max_tokens"]
        done, fitting, encoded = [], [], []
        for row in rows:
            if row["direction"] != which:
                continue
            row = {c.name: row[c.name] for c in REWRITES.columns}
            tokens = encode_chat(
                self.tokenizer, [{"role": "user", "content": rewriting.request(row["question"], which)}]
            )
            if len(tokens) > room:
                done.append({**row, "failure": f"question too long: {len(tokens)} tokens with the prompt"})
            else:
                fitting.append(row)
                encoded.append(tokens)
        if not fitting:
            return done
        completions = self.engine.generate(
            encoded,
            [row_seed("rewrite", self.settings["seed"], row["id"]) for row in fitting],
            **rewrite["sampling"],
            stops=question_format(self.tokenizer).stops,
            schema=rewriting.schema(which) if rewrite["structured"] else None,
        )
        self.report.tokens += sum(c.tokens for c in completions)
        for row, c in zip(fitting, completions, strict=True):
            cut = CUT if c.finish_reason == "length" else ""
            done.append({**row, "raw": c.text, "tokens": c.tokens, "failure": cut})
        return done


def _log_counts(rows: list[Row]) -> None:
    counts = Counter(rewriting.kind(row["failure"]) or "usable" for row in rows)
    log.info("%d questions: %s", len(rows), ", ".join(f"{n} {what}" for what, n in counts.most_common()))


if __name__ == "__main__":
    job.run(main)
