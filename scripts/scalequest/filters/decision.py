"""Which questions are left: raw verdicts and scores in, the config's thresholds and order applied, late and pure.

Every filter marks; those whose action is `drop` also drop. An expensive stage asks only for the survivors of the
dropping filters before it in `filters.order`. Nothing is forgotten: `decide` returns every row with every reason.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from scalequest.errors import ScaleQuestError
from scalequest.filters.reasons import below
from scalequest.rows.tables import JUDGEMENTS, SCORES, VERDICTS, read_rows
from scalequest.runtime.files import read_json
from scalequest.settings import Number, read_settings

Row = dict[str, Any]


@dataclass(frozen=True)
class FilterRule:
    """A filter that is on, and what follows where a question fails it. `min_probability` is that of the judge alone."""

    name: str
    action: Literal["drop", "mark"]
    min_probability: Number | None = None


@dataclass(frozen=True)
class Settings:
    """The filters that decide, in their order; those before an expensive stage, or all of them."""

    filters: tuple[FilterRule, ...] = ()


@dataclass
class Evidence:
    """What the filters found, by question id: `verdicts` of the text and duplicate filters (filter -> id -> row),
    raw difficulty `scores`, the judge's `judgements`, and `cuts` (generator -> score below which it is too easy)."""

    verdicts: dict[str, dict[str, Row]] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    judgements: dict[str, Row] = field(default_factory=dict)
    cuts: dict[str, float | None] = field(default_factory=dict)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments by which a script receives the evidence of the filters before it."""
    parser.add_argument("--verdicts", nargs="*", default=[], type=Path, help="tables of verdicts")
    parser.add_argument("--scores", type=Path, help="table of difficulty scores")
    parser.add_argument("--cut", type=Path, help="JSON with the score below which a question is too easy")
    parser.add_argument("--judgements", type=Path, help="table of the judge's judgements")


def read_evidence(args: argparse.Namespace) -> Evidence:
    """Evidence from the files that `add_arguments` named."""
    found = Evidence()
    for path in args.verdicts:
        for row in read_rows(path, VERDICTS):
            found.verdicts.setdefault(row["filter"], {})[row["id"]] = row
    if args.scores:
        found.scores = {row["id"]: row["score"] for row in read_rows(args.scores, SCORES)}
    if args.judgements:
        found.judgements = {row["id"]: row for row in read_rows(args.judgements, JUDGEMENTS)}
    if args.cut:
        found.cuts = read_json(args.cut)
    return found


def survivors(questions: Sequence[Row], args: argparse.Namespace) -> list[Row]:
    """The questions that the filters of `args.settings` let through (all, where it names none)."""
    filters = read_settings(Settings, args.settings).filters
    kept = {row["id"] for row in decide(questions, read_evidence(args), filters) if row["kept"]}
    return [row for row in questions if row["id"] in kept]


def decide(questions: Iterable[Row], found: Evidence, filters: Sequence[FilterRule]) -> list[Row]:
    """FILTERED rows: every question with its verdicts, by the filters in their order."""
    result = []
    for question in questions:
        failed: dict[str, str] = {}
        dropped_by = ""
        for rule in filters:
            # What an earlier filter dropped is not judged by the later ones, which never saw it.
            reason = "" if dropped_by else _reason(rule, question, found)
            if reason:
                failed[rule.name] = reason
                if rule.action == "drop":
                    dropped_by = rule.name
        result.append(
            {
                **{column: question[column] for column in ("id", "generator", "seed", "index", "question")},
                "kept": not dropped_by,
                "dropped_by": dropped_by,
                "marks": ",".join(name for name in failed if name != dropped_by),
                "reason": "; ".join(f"{name}: {reason}" for name, reason in failed.items()),
                "difficulty": found.scores.get(question["id"]),
                "solvable": _solvable(found.judgements.get(question["id"])),
            }
        )
    return result


def _reason(rule: FilterRule, question: Row, found: Evidence) -> str:
    if rule.name == "difficulty":
        return _too_easy(question, found)
    if rule.name == "solvability":
        return _unsolvable(question, found, rule)
    verdict = found.verdicts.get(rule.name, {}).get(question["id"])
    if verdict is None:
        raise ScaleQuestError(
            f"filter '{rule.name}' gave no verdict on question {question['id']}: its table is incomplete."
        )
    return "" if verdict["keep"] else verdict["reason"]


def _too_easy(question: Row, found: Evidence) -> str:
    cut = found.cuts.get(question["generator"])
    if cut is None:
        return ""
    if question["id"] not in found.scores:
        raise ScaleQuestError(f"question {question['id']} has no difficulty score: the table of scores is incomplete.")
    score = found.scores[question["id"]]
    return f"too easy: {below(score, cut)}" if score < cut else ""


def _unsolvable(question: Row, found: Evidence, rule: FilterRule) -> str:
    judgement = found.judgements.get(question["id"])
    if judgement is None:
        raise ScaleQuestError(f"question {question['id']} was not judged: the table of judgements is incomplete.")
    if judgement["verdict"] is not None:
        return {"yes": "", "no": "not solvable", "unparsed": "verdict unparsed"}[judgement["verdict"]]
    probability, limit = judgement["probability"], rule.min_probability
    if limit is None:
        raise ScaleQuestError("--settings.filters: solvability has no min_probability, and the judge gave P(Yes).")
    return "" if probability >= limit else f"not solvable: {below(probability, limit)}"


def _solvable(judgement: Row | None) -> float | None:
    if judgement is None:
        return None
    if judgement["verdict"] is not None:
        return {"yes": 1.0, "no": 0.0, "unparsed": None}[judgement["verdict"]]
    return judgement["probability"]
