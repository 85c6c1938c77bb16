"""Judge a block of questions by their text alone: language, length, benchmark contamination; sign them for comparison.

These are the cheapest filters, so they come first and need no GPU. Every question gets a verdict from every enabled
filter, also from those behind one that drops it: what a filter would have done is then known without running again.
Duplicates need all the blocks of a seed, so this stage only makes the signatures that filter_duplicates.py compares.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scalequest.filters import contamination, duplicates
from scalequest.filters.base import text_filter
from scalequest.rows.tables import PROBLEMS, QUESTIONS, SIGNATURES, VERDICTS, read_rows, write_table
from scalequest.runtime import job
from scalequest.runtime.files import write_text
from scalequest.settings import read_settings

Row = dict[str, Any]


@dataclass(frozen=True)
class Contamination(contamination.Overlap):
    """The config's `filters.contamination`."""

    enabled: bool


@dataclass(frozen=True)
class Signing(duplicates.Signing):
    """What is read here of the config's `filters.duplicates`."""

    enabled: bool


@dataclass(frozen=True)
class Settings:
    """The dataset's language, and the filters; of `texts` each module reads its own section."""

    wanted: str
    texts: Mapping[str, Mapping[str, Any]]
    contamination: Contamination
    duplicates: Signing


def verdicts_of_text(questions: Sequence[Row], settings: Settings) -> Iterator[Row]:
    """Rows of the verdicts table from the filters that see one text at a time, each if enabled."""
    sections = {name: section for name, section in settings.texts.items() if section["enabled"]}
    filters = {name: text_filter(name, section, settings.wanted) for name, section in sections.items()}
    for row in questions:
        for name, verdict in filters.items():
            yield _verdict(row, name, *verdict(row))


def contaminated(
    questions: Sequence[Row], problems: Sequence[Row], section: contamination.Overlap
) -> tuple[list[Row], list[Row]]:
    """Rows of the verdicts table from the filter `contamination`, and one row of evidence for each pair of a question
    and a benchmark item in it."""
    index = contamination.BenchmarkIndex(problems, section.ngram)
    verdicts, evidence = [], []
    for row in questions:
        best, matches = index.matches(row["question"], section.min_overlap)
        verdicts.append(_verdict(row, "contamination", *contamination.verdict(best, matches, section.min_overlap)))
        evidence += [
            {
                "question_id": row["id"],
                "question": row["question"],
                "benchmark": match.benchmark,
                "item_id": match.item_id,
                "item": match.item,
                "overlap": match.overlap,
                "span": match.span,
            }
            for match in matches
        ]
    return verdicts, evidence


def signed(questions: Sequence[Row], section: duplicates.Signing) -> Iterator[Row]:
    """Rows of the signatures table."""
    matrix = duplicates.signatures((row["question"] for row in questions), section)
    for row, signature in zip(questions, matrix, strict=True):
        digest = duplicates.text_digest(row["question"])
        yield {"id": row["id"], "digest": digest, "question": row["question"], "signature": signature}


def main() -> None:
    parser = job.parser(__doc__.splitlines()[0])
    parser.add_argument("--questions", required=True, help="questions table of one block")
    parser.add_argument("--benchmarks", nargs="*", default=[], help="problems tables that must not leak")
    parser.add_argument("--out", required=True, help="verdicts table to write")
    parser.add_argument("--signatures", required=True, help="signatures table to write")
    parser.add_argument("--matches", required=True, help="evidence of contamination to write, JSON lines")
    arguments = parser.parse_args()
    settings = read_settings(Settings, arguments.settings)

    questions = read_rows(arguments.questions, QUESTIONS)
    verdicts = list(verdicts_of_text(questions, settings))
    evidence: list[Row] = []
    if settings.contamination.enabled:
        problems = [row for path in arguments.benchmarks for row in read_rows(path, PROBLEMS)]
        more, evidence = contaminated(questions, problems, settings.contamination)
        verdicts += more
        job.log.info(
            "%d questions against %d benchmark items: %d matches", len(questions), len(problems), len(evidence)
        )
    write_table(arguments.out, verdicts, VERDICTS)
    signatures = signed(questions, settings.duplicates) if settings.duplicates.enabled else ()
    write_table(arguments.signatures, signatures, SIGNATURES)
    # Escaped to ASCII: a question may hold one of the characters that some readers take for an end of line.
    write_text(arguments.matches, "".join(json.dumps(row) + "\n" for row in evidence))


def _verdict(row: Row, name: str, keep: bool, reason: str, score: float | None, evidence: str | None = None) -> Row:
    return {"id": row["id"], "filter": name, "keep": keep, "reason": reason, "score": score, "evidence": evidence}


if __name__ == "__main__":
    job.run(main)
