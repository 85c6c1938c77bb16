"""Preference pairs for tuning a question generator: the better question chosen, the worse rejected.

Two ways. `rewrite` (the paper's): the rewritten question against the original. `rank` (no rewriter needed): of each
block of sampled questions, the one that the judge most believes solvable against the one it believes least. What is
left out is counted by reason, with examples; too few pairs end the run, because tuning on a handful teaches noise.
"""

from __future__ import annotations

import logging
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scalequest.errors import ScaleQuestError
from scalequest.rows.store import Row
from scalequest.rows.tables import JUDGEMENTS, PAIRS, QUESTIONS, REWRITES, read_rows, write_table
from scalequest.runtime import job
from scalequest.runtime.files import write_json
from scalequest.settings import read_settings
from scalequest.tasks import rewriting

log = logging.getLogger("make_pairs")
EXAMPLES = 3
EXAMPLE_CHARACTERS = 600
REMEDIES = {
    "rewrite": "Look at the texts in {table}; raise preference_tuning.questions, choose a stronger rewriter "
    "(preference_tuning.rewrite.model, or .backend server), raise preference_tuning.rewrite.sampling.max_tokens or "
    ".max_length_ratio, set preference_tuning.pairs: rank, or lower preference_tuning.min_pairs.",
    "rank": "Look at the texts in {table}; raise preference_tuning.questions or .sampling.max_tokens, lower "
    "preference_tuning.rank.group or .min_margin, choose another judge (preference_tuning.rank.model), or lower "
    "preference_tuning.min_pairs.",
}


@dataclass(frozen=True)
class Rank:
    """How pairs are made of judged questions: one of each `group`, if the two differ by more than `min_margin`."""

    group: int
    min_margin: float


@dataclass(frozen=True)
class Settings:
    """The least number of pairs, and the ranking's rule where pairs are ranked."""

    min_pairs: int
    rank: Rank | None = None


def main() -> None:
    arguments = job.parser(__doc__ or "")
    arguments.add_argument("--method", required=True, choices=["rewrite", "rank"], help="how pairs are made")
    arguments.add_argument("--rewrites", help="REWRITES table (method rewrite)")
    arguments.add_argument("--questions", help="QUESTIONS table (method rank)")
    arguments.add_argument("--judgements", help="JUDGEMENTS table of the same questions (method rank)")
    arguments.add_argument("--out", required=True, help="PAIRS table to write")
    arguments.add_argument("--summary", required=True, help="JSON with counts, margins and examples of what was left")
    options = arguments.parse_args()
    settings = read_settings(Settings, options.settings)
    needed = ("rewrites",) if options.method == "rewrite" else ("questions", "judgements")
    if missing := [f"--{name}" for name in needed if not getattr(options, name)]:
        raise ScaleQuestError(f"--method {options.method} needs {' and '.join(missing)}.")
    if options.method == "rewrite":
        table = options.rewrites
        pairs, dropped = rewritten_pairs(read_rows(table, REWRITES))
    elif settings.rank is None:
        raise ScaleQuestError("--method rank needs `rank` in --settings.")
    else:
        table = options.questions
        pairs, dropped = ranked_pairs(
            read_rows(table, QUESTIONS), read_rows(options.judgements, JUDGEMENTS), settings.rank
        )
    summary = summarise(options.method, pairs, dropped)
    log.info("%d pairs; left out: %s", len(pairs), summary["dropped"] or "nothing")
    if len(pairs) < settings.min_pairs:
        raise ScaleQuestError(too_few(summary, settings.min_pairs, table))
    write_table(options.out, pairs, PAIRS)
    write_json(options.summary, summary)


def rewritten_pairs(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """(PAIRS rows, dropped) from REWRITES rows; dropped ones are {id, reason, text}, text what the rewriter said."""
    pairs: list[Row] = []
    dropped: list[Row] = []
    seen: set[str] = set()
    for row in rows:
        reason = rewriting.kind(row["failure"])
        if not reason and row["rewritten"] in seen:
            reason = "same text as an earlier pair"
        if reason:
            dropped.append({"id": row["id"], "reason": reason, "text": row["raw"] or row["question"]})
            continue
        seen.add(row["rewritten"])
        pairs.append(_pair(row["id"], row["rewritten"], row["question"], row["direction"], None))
    return pairs, dropped


def ranked_pairs(questions: Sequence[Row], judgements: Sequence[Row], rank: Rank) -> tuple[list[Row], list[Row]]:
    """(PAIRS rows, dropped) from QUESTIONS and JUDGEMENTS rows: one pair for each block of `group` indices.

    The most probably solvable usable question is chosen, the least rejected; equal ones by the lower index. A pair
    needs a margin above `min_margin`. A question is usable that ended by itself, was judged and repeats none before it.
    """
    belief = {row["id"]: row["probability"] for row in judgements}
    groups: dict[tuple[str, int, int], list[Row]] = {}
    dropped: list[Row] = []
    seen: set[str] = set()
    for row in sorted(questions, key=lambda row: (row["generator"], row["seed"], row["index"])):
        if reason := _unusable(row, belief, seen):
            dropped.append({"id": row["id"], "reason": reason, "text": row["question"]})
            continue
        seen.add(row["question"])
        groups.setdefault((row["generator"], row["seed"], row["index"] // rank.group), []).append(row)
    pairs: list[Row] = []
    for group in groups.values():
        ranked = sorted(group, key=lambda row: -belief[row["id"]])
        best, worst, others = ranked[0], ranked[-1], ranked[1:-1]
        margin = belief[best["id"]] - belief[worst["id"]]
        if len(group) == 1 or margin <= rank.min_margin:
            reason = "alone in its group" if len(group) == 1 else "group within min_margin"
            dropped += [{"id": row["id"], "reason": reason, "text": row["question"]} for row in group]
            continue
        pairs.append(_pair(best["id"], best["question"], worst["question"], "rank", margin))
        dropped += [
            {"id": row["id"], "reason": "neither best nor worst of its group", "text": row["question"]}
            for row in others
        ]
    return pairs, dropped


def _unusable(row: Row, belief: Mapping[str, float | None], seen: set[str]) -> str:
    if not row["question"]:
        return "empty question"
    if row["finish_reason"] != "stop":
        return "question cut off"
    if row["question"] in seen:
        return "same text as an earlier question"
    if row["id"] not in belief:
        return "not judged"
    probability = belief[row["id"]]
    return "judged without a probability" if probability is None or not math.isfinite(probability) else ""


def _pair(name: str, chosen: str, rejected: str, direction: str, margin: float | None) -> Row:
    return {"id": name, "chosen": chosen, "rejected": rejected, "direction": direction, "margin": margin}


def summarise(method: str, pairs: Sequence[Row], dropped: Sequence[Row]) -> dict[str, Any]:
    """Counts of pairs by direction and of dropped rows by reason, margins, and a few texts for each reason."""
    margins = [row["margin"] for row in pairs if row["margin"] is not None]
    examples: dict[str, list[dict[str, str]]] = {}
    for row in dropped:
        kept = examples.setdefault(row["reason"], [])
        if len(kept) < EXAMPLES:
            kept.append({"id": row["id"], "text": row["text"][:EXAMPLE_CHARACTERS]})
    return {
        "method": method,
        "pairs": len(pairs),
        "directions": dict(Counter(row["direction"] for row in pairs)),
        "margin_mean": statistics.fmean(margins) if margins else None,
        "margin_median": statistics.median(margins) if margins else None,
        "dropped": dict(Counter(row["reason"] for row in dropped).most_common()),
        "examples": examples,
    }


def too_few(summary: Mapping[str, Any], wanted: int, table: str) -> str:
    """The sentences that end a run: how many pairs, what was dropped and why, an example, and what to change."""
    dropped = ", ".join(f"{n} x {reason}" for reason, n in summary["dropped"].items()) or "nothing"
    sentences = [
        f"{summary['pairs']} preference pairs were made by {summary['method']}, and preference_tuning.min_pairs asks "
        f"for {wanted}. Left out: {dropped}."
    ]
    if summary["examples"]:
        reason = next(iter(summary["dropped"]))
        example = summary["examples"][reason][0]
        sentences.append(f"For example {example['id']} ({reason}): {example['text'][:160]!r}.")
    return " ".join([*sentences, REMEDIES[summary["method"]].format(table=table)])


if __name__ == "__main__":
    job.run(main)
