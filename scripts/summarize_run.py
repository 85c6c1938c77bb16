"""Say on one screen what a run did: rows in and out of each stage, time and tokens, where things are.

Reads finished tables, Snakemake's benchmark files and the records of attempts alone, so it can be run again at any
time. The numbers go to a JSON file, the table to a text file that is printed at the end of a run.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scalequest.errors import ScaleQuestError
from scalequest.filters.decision import FilterRule
from scalequest.publishing import card
from scalequest.publishing.summary_text import OTHER, WORK, text
from scalequest.rows.published import DATASET
from scalequest.rows.tables import (
    CANDIDATES,
    FILTERED,
    JUDGEMENTS,
    PROBLEMS,
    QUESTIONS,
    TOPICS,
    VERIFIED,
    Table,
    read_arrow,
)
from scalequest.runtime import job, lease, records
from scalequest.runtime.files import read_json, write_json, write_text
from scalequest.settings import read_settings
from scalequest.stages import FILTERS, rules_of_summary

# Stages around the filters, in the order of the method; a filter is a stage of its own name.
_STAGES = list(rules_of_summary())
BEFORE = _STAGES[: _STAGES.index("questions") + 1]
AFTER = [name for name in _STAGES if name not in (*BEFORE, *FILTERS)]
# The filter whose judge writes texts.
JUDGE = "solvability"
# Their benchmarks are named by a model or a data set, which generators and seeds say nothing about.
NAMED_OTHERWISE = ("stage_model", "stage_data")
_SHARD = re.compile(r"(?:.*/)?([^/]+)/(seed[0-9]+)/(gpu[0-9]+)\.parquet", re.DOTALL)
Stage = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """`rules` has the rules whose time is that of a stage, by the stage. `parts` counts the jobs that answer one
    benchmark for one model."""

    filters: tuple[FilterRule, ...]
    rules: dict[str, tuple[str, ...]]
    parts: int


def shard_of(path: Path) -> tuple[str, str, str]:
    """Generator, seed and number of the shard that a table of questions is. Raises ScaleQuestError where its path does
    not say."""
    found = _SHARD.fullmatch(path.as_posix())
    if not found:
        raise ScaleQuestError(
            f"--questions has {path}, which names no shard: give paths that end in GENERATOR/seedSEED/gpuGPU.parquet."
        )
    generator, seed, gpu = found.groups()
    return generator, seed, gpu


def benchmark_names(questions: Iterable[Path]) -> set[str]:
    """The names that benchmark files of the run's jobs have: by generator, seed, both, or shard of the questions."""
    names: set[str] = set()
    for generator, seed, gpu in map(shard_of, questions):
        names |= {generator, seed, f"{generator}.{seed}", f"{generator}.{seed}.{gpu}"}
    return names


def names_after(args: argparse.Namespace, parts: int) -> dict[str, set[str]]:
    """The same of the rules after the dataset, which have names of students and of what is measured."""
    students = {path.parent.name for path in args.students}
    measured = {".".join(path.parts[-3:-1]) for path in args.measures}
    answers = {f"{name}.{part}" for name in measured for part in range(parts)}
    return {
        **dict.fromkeys(("tokenize_student", "tune_student", "count_overlap"), students),
        **{"sample_answers": answers, "grade_answers": measured},
    }


def read_benchmarks(
    folder: Path, names: Collection[str], named: Mapping[str, Collection[str]]
) -> dict[str, dict[str, float]]:
    """For each rule: `jobs`, `seconds` (summed over jobs) and `max_rss_mib` (of its largest job).

    `folder/RULE.tsv` and `folder/RULE/NAME.tsv` are the rule's, as Snakemake writes them, one job each. Only a NAME in
    `named[RULE]`, for other rules in `names`, counts, except for NAMED_OTHERWISE: files of shards, generators and seeds
    that the run has no more stay behind. Raises ScaleQuestError for a file without a readable column `s`.
    """
    found: dict[str, dict[str, float]] = {}
    files = [(path.stem, path) for path in folder.glob("*.tsv")]
    for path in folder.glob("*/*.tsv"):
        rule = path.parent.name
        if rule in NAMED_OTHERWISE or path.stem in named.get(rule, names):
            files.append((rule, path))
    for rule, path in sorted(files):
        total = found.setdefault(rule, {"jobs": 0, "seconds": 0.0, "max_rss_mib": 0.0})
        try:
            with path.open(encoding="utf-8", newline="") as handle:
                lines = [
                    (float(row["s"]), _number(row.get("max_rss"))) for row in csv.DictReader(handle, delimiter="\t")
                ]
        except (KeyError, TypeError, ValueError) as error:
            raise ScaleQuestError(
                f"{path} is not a benchmark file of Snakemake ({error!r}). Remove it, and run its job again."
            ) from None
        total["jobs"] += 1
        total["seconds"] += sum(seconds for seconds, _ in lines)
        total["max_rss_mib"] = max(total["max_rss_mib"], *(memory for _, memory in lines), 0.0)
    return found


def _number(text: str | None) -> float:
    # Snakemake writes "-" or "NA" for what a job was too short to show.
    try:
        return float(text or 0)
    except ValueError:
        return 0.0


def stages_of_rules(rules: Mapping[str, Sequence[str]], stages: Sequence[str]) -> dict[str, str]:
    """The stage of each rule. Raises ScaleQuestError for a stage that does not exist and a rule that is in two."""
    if unknown := set(rules) - set(stages):
        raise ScaleQuestError(f"settings.rules names the stages {sorted(unknown)}; there are {list(stages)}.")
    stage_of: dict[str, str] = {}
    for stage, names in rules.items():
        for name in names:
            if name in stage_of:
                raise ScaleQuestError(f"settings.rules has the rule '{name}' in '{stage_of[name]}' and in '{stage}'.")
            stage_of[name] = stage
    return stage_of


def stage_times(benchmarks: Mapping[str, Mapping[str, float]], stage_of: Mapping[str, str]) -> dict[str, float]:
    """Seconds of each stage that has a benchmarked rule, and of `other rules`."""
    times: dict[str, float] = {}
    for rule, entry in benchmarks.items():
        stage = stage_of.get(rule, OTHER)
        times[stage] = times.get(stage, 0.0) + entry["seconds"]
    return times


def work_of_attempts(folders: Iterable[Path], directory: Path) -> dict[str, dict[str, float]]:
    """For each stage that holds leases: `attempts`, those that ended early (`cut_short`: stopped, failed or killed),
    `rows`, `hours` and `gpu_hours`, over all attempts made from `directory`, killed ones up to their last sign of life.

    `folders` are those of finished windows and of weights.
    """
    found: dict[str, dict[str, float]] = {}
    for _, record in (found for folder in folders for found in lease.attempts(folder)):
        # Staging is no work of engines and trainings; its records say who rests on a model.
        if record["directory"] != str(directory) or record["stage"] == "staged":
            continue
        total = found.setdefault(record["stage"], dict.fromkeys(WORK, 0))
        hours = record["seconds"] / 3600
        total["attempts"] += 1
        total["cut_short"] += record["state"] != records.DONE
        total["rows"] += record["rows"]
        total["hours"] += hours
        total["gpu_hours"] += hours * record["gpus"]
    return found


def count_rows(path: Path, table: Table) -> int:
    """Rows of a table, from the file's footer. Raises ScaleQuestError where it is not the declared table."""
    try:
        with pq.ParquetFile(path) as file:
            same, rows = file.schema_arrow.equals(table.schema), file.metadata.num_rows
    except (OSError, pa.ArrowInvalid) as error:
        raise ScaleQuestError(f"{path} cannot be read as Parquet ({error}).") from None
    if not same:
        raise ScaleQuestError(f"{path} is not a table of the kind '{table.name}'.")
    return rows


def generated_tokens(paths: Sequence[Path]) -> int | None:
    """Tokens of the texts in tables with a column `tokens`; None without a table. Raises ScaleQuestError for a table
    without the column."""
    total = 0
    for path in paths:
        try:
            total += pc.sum(pq.read_table(path, columns=["tokens"])["tokens"]).as_py() or 0
        except (OSError, KeyError, pa.ArrowInvalid) as error:
            raise ScaleQuestError(f"{path} is not a table with a column 'tokens' ({error}).") from None
    return total if paths else None


def unread_verdicts(paths: Iterable[Path]) -> dict[str, int] | None:
    """Of the judge's verdicts in free text: how many there are (`verdicts`), and how many could not be read
    (`unparsed`). None where there are none."""
    total = {"verdicts": 0, "unparsed": 0}
    for path in paths:
        verdicts = read_arrow(path, JUDGEMENTS)["verdict"].drop_null()
        total["verdicts"] += len(verdicts)
        total["unparsed"] += pc.sum(pc.equal(verdicts, "unparsed")).as_py() or 0
    return total if total["verdicts"] else None


def read_questions(paths: Iterable[Path]) -> tuple[int, int]:
    """(questions, generated tokens) of the QUESTIONS tables."""
    rows = tokens = 0
    for path in paths:
        table = read_arrow(path, QUESTIONS)
        rows += len(table)
        tokens += pc.sum(table["tokens"]).as_py() or 0
    return rows, tokens


def read_candidates(paths: Iterable[Path]) -> dict[str, int]:
    """Counts over the CANDIDATES tables: `responses`, `answered` questions, `scored` responses (the reward is NaN where
    none was asked for), `selected` ones, questions `with_selection`, generated `tokens`."""
    total = dict.fromkeys(("responses", "answered", "scored", "selected", "with_selection", "tokens"), 0)
    for path in paths:
        table = read_arrow(path, CANDIDATES)
        total["responses"] += len(table)
        total["answered"] += pc.count_distinct(table["id"]).as_py()
        total["scored"] += pc.sum(pc.is_finite(table["reward"])).as_py() or 0
        selected = table.filter(table["selected"])
        total["selected"] += len(selected)
        total["with_selection"] += pc.count_distinct(selected["id"]).as_py()
        total["tokens"] += pc.sum(table["tokens"]).as_py() or 0
    return total


def verification(paths: Iterable[Path]) -> tuple[int, int]:
    """(questions that solvers answered, those that have an answer) of the VERIFIED tables."""
    columns = [read_arrow(path, VERIFIED)["answer"] for path in paths]
    asked = sum(map(len, columns))
    return asked, asked - sum(column.null_count for column in columns)


def topics(paths: Iterable[Path]) -> tuple[int, int]:
    """(questions that were asked about, those that have a topic) of the TOPICS tables."""
    columns = [read_arrow(path, TOPICS)["topic"] for path in paths]
    asked = sum(map(len, columns))
    return asked, asked - sum(column.null_count for column in columns)


def count_generators(filtered: pa.Table, threshold: float | None) -> dict[str, dict[str, int]]:
    """For each generator of a FILTERED table: `questions`, `kept`, `judged` (those with a P(Yes): filters before the
    judge may have dropped the rest) and `solvable` (P(Yes) at or above `threshold`; left out without one)."""
    numbers = {"kept": filtered["kept"], "judged": pc.is_valid(filtered["solvable"])}
    if threshold is not None:
        numbers["solvable"] = pc.fill_null(pc.greater_equal(filtered["solvable"], threshold), False)
    table = pa.table({"generator": filtered["generator"], **{k: pc.cast(v, pa.int64()) for k, v in numbers.items()}})
    grouped = table.group_by("generator").aggregate([([], "count_all"), *((name, "sum") for name in numbers)])
    return {
        row["generator"]: {"questions": row["count_all"], **{name: row[f"{name}_sum"] for name in numbers}}
        for row in grouped.to_pylist()
    }


def add_counts(total: dict[str, dict[str, int]], part: Mapping[str, Mapping[str, int]]) -> None:
    """Add a shard's counts by generator to those so far."""
    for name, counts in part.items():
        mine = total.setdefault(name, dict.fromkeys(counts, 0))
        for key, count in counts.items():
            mine[key] += count


def with_share(counts: Mapping[str, int]) -> dict[str, float | None]:
    """A generator's counts with `solvable_share`, the solvable part of those judged (null where there are none); as
    they are where no threshold said what is solvable."""
    if "solvable" not in counts:
        return dict(counts)
    return {**counts, "solvable_share": counts["solvable"] / counts["judged"] if counts["judged"] else None}


def stage(
    name: str, rows_in: int | None = None, rows_out: int | None = None, marked: int | None = None, **more: Any
) -> Stage:
    """A stage's counts, all in one unit: `dropped` follows from in and out."""
    dropped = rows_in - rows_out if rows_in is not None and rows_out is not None else None
    return {"stage": name, "in": rows_in, "dropped": dropped, "marked": marked, "out": rows_out} | more


def with_time(stages: Iterable[Stage], times: Mapping[str, float]) -> Iterator[Stage]:
    """The stages with `seconds`, and `tokens_per_second` where tokens were generated."""
    for entry in stages:
        seconds, tokens = times.get(entry["stage"]), entry.get("tokens")
        rate = tokens / seconds if tokens is not None and seconds else None
        yield {**entry, "seconds": seconds, "tokens": tokens, "tokens_per_second": rate}


def collect(args: argparse.Namespace) -> dict[str, Any]:
    """All numbers of the run. Raises ScaleQuestError where tables that should follow from one another do not."""
    settings = read_settings(Settings, args.settings)
    order = [rule.name for rule in settings.filters]
    threshold = next((rule.min_probability for rule in settings.filters if rule.name == JUDGE), None)
    verdicts: dict[card.Verdict, int] = {}
    generators: dict[str, dict[str, int]] = {}
    for path in args.filtered:
        table = read_arrow(path, FILTERED)
        for verdict, count in card.count_verdicts(table).items():
            verdicts[verdict] = verdicts.get(verdict, 0) + count
        add_counts(generators, count_generators(table, threshold))
    steps = card.funnel(verdicts, order)
    questions, question_tokens = read_questions(args.questions)
    answers = read_candidates(args.candidates)
    rows = count_rows(args.dataset, DATASET)
    judged = sum(verdicts.values())
    kept = steps[-1].rows_out if steps else judged
    _same(questions, "rows in the question tables", judged, "in the filtered tables")
    _same(answers["selected"], "responses selected in the candidates tables", rows, f"rows in {args.dataset}")
    judgements = judgement_tables(args)
    judging = generated_tokens(judgements)
    stages = [
        *before(args),
        stage("questions", None, questions, tokens=question_tokens),
        *(
            stage(step.name, step.rows_in, step.rows_out, step.marked, tokens=judging if step.name == JUDGE else None)
            for step in steps
        ),
        *([stage("difficulty_scorer", tokens=generated_tokens(args.attempts))] if args.scorer else []),
        stage("responses", kept, answers["answered"], tokens=answers["tokens"], responses=answers["responses"]),
        *([stage("reward", answers["responses"], answers["scored"])] if answers["scored"] else []),
        stage("selection", answers["answered"], answers["with_selection"]),
        *([stage("verification", *verification(args.verified))] if args.verified else []),
        stage("dataset", None, rows),
        *([stage("topics", *topics(args.topics))] if args.topics else []),
        *after(args.students, args.measures),
    ]
    return {
        **timed(args, settings, stages),
        "total_tokens": sum(entry.get("tokens") or 0 for entry in stages),
        "attempts": work_of_attempts([args.progress, args.models], Path.cwd()),
        "generators": {name: with_share(counts) for name, counts in generators.items()},
        "solvable_from": threshold,
        "verdicts": unread_verdicts(judgements),
        "scorer": _scorer(args.scorer),
        "dataset": str(args.dataset.parent),
        "summary": str(args.out),
    }


def timed(args: argparse.Namespace, settings: Settings, stages: Sequence[Stage]) -> dict[str, Any]:
    """The stages with their time, that of all jobs, and what the benchmark files say of each rule."""
    filters = (rule.name for rule in settings.filters)
    stage_of = stages_of_rules(settings.rules, (*BEFORE, *filters, *AFTER))
    # Files of stages that this summary is not of stay behind too.
    shown = {OTHER, *(entry["stage"] for entry in stages)}
    found = read_benchmarks(args.benchmarks, benchmark_names(args.questions), names_after(args, settings.parts))
    benchmarks = {rule: entry for rule, entry in found.items() if stage_of.get(rule, OTHER) in shown}
    times = stage_times(benchmarks, stage_of)
    return {
        "stages": list(with_time(stages, times)),
        "other_seconds": times.get(OTHER),
        "total_seconds": sum(times.values()),
        "jobs": sum(int(entry["jobs"]) for entry in benchmarks.values()),
        "rules": benchmarks,
    }


def _scorer(path: Path | None) -> dict[str, Any] | None:
    """The scorer's metrics, without its predictions; None without a scorer."""
    return {key: value for key, value in read_json(path).items() if key != "predictions"} if path else None


def judgement_tables(args: argparse.Namespace) -> list[Path]:
    """The tables of the judge's judgements, one for each shard of the questions; none without a judge."""
    if args.judgements is None:
        return []
    return [args.judgements.joinpath(*shard_of(path)).with_suffix(".parquet") for path in args.questions]


def before(args: argparse.Namespace) -> list[Stage]:
    """The stages that come before questions are sampled, those that the run had, summed over its generators."""
    stages = [stage("seeds", None, count_rows(args.seeds, PROBLEMS))] if args.seeds is not None else []
    if args.tuned:
        used = summed(args.tuned, "questions")
        stages.append(stage("question_tuning", used + summed(args.tuned, "too_long"), used))
    if args.pairs:
        facts = [read_json(path) for path in args.pairs]
        made, dropped = sum(entry["pairs"] for entry in facts), sum(sum(entry["dropped"].values()) for entry in facts)
        # A ranked pair is two sampled questions, a rewritten one a single question and its rewriting.
        used = sum(entry["pairs"] * (2 if entry["method"] == "rank" else 1) for entry in facts)
        stages.append(stage("pairs", used + dropped, used, tokens=generated_tokens(args.texts), pairs=made))
        stages.append(stage("preference_tuning", made, made - summed(args.preferred, "too_long")))
    return stages


def after(students: Sequence[Path], measures: Sequence[Path]) -> list[Stage]:
    """The stages that come after the dataset, those that the run had, summed over students and what is measured."""
    stages = []
    if students:
        trained = summed(students, "rows")
        stages.append(stage("students", trained + summed(students, "too_long"), trained))
    if measures:
        asked = sum(entry["problems"] * entry["samples"] for entry in map(read_json, measures))
        unsent, tokens = summed(measures, "unsent"), summed(measures, "tokens")
        stages += [stage("evaluation", asked, asked - unsent, tokens=tokens), stage("grading", asked, asked)]
    return stages


def summed(paths: Iterable[Path], key: str) -> int:
    """Sum of a number over JSON files."""
    return sum(read_json(path)[key] for path in paths)


def _same(one: int, what: str, other: int, where: str) -> None:
    if one != other:
        raise ScaleQuestError(f"there are {one} {what} and {other} {where}: they are not of one run.")


def _arguments() -> argparse.Namespace:
    parser = job.parser(
        f"{__doc__} Settings: filters (name, action and min_probability of those that are on, in order), rules (stage: "
        "names of the rules whose time is its time) and parts (jobs that answer a benchmark). Stages: the filters, and "
        f"{', '.join((*BEFORE, *AFTER))}."
    )
    for name, what in (
        ("questions", "tables of sampled questions, one a shard: .../GENERATOR/seedSEED/gpuGPU.parquet"),
        ("filtered", "tables of judged questions, one a shard"),
        ("candidates", "tables of scored responses, one a shard"),
    ):
        parser.add_argument(f"--{name}", type=Path, nargs="+", required=True, help=what)
    parser.add_argument("--dataset", type=Path, required=True, help="the dataset's Parquet file")
    parser.add_argument("--benchmarks", type=Path, required=True, help="folder of Snakemake's benchmark files")
    parser.add_argument("--progress", type=Path, required=True, help="folder of finished windows")
    parser.add_argument("--models", type=Path, required=True, help="folder of weights")
    parser.add_argument("--seeds", type=Path, help="table of seed problems")
    for name, what in (
        ("tuned", "manifests of question-tuned models"),
        ("pairs", "summaries of preference pairs"),
        ("texts", "tables of the questions and judgements, or rewrites, that pairs were made of"),
        ("preferred", "manifests of preference-tuned models"),
        ("attempts", "tables of the solver's answers to seed problems"),
        ("students", "manifests of students: .../STUDENT/model.json"),
        ("measures", "measures of what was evaluated: .../NAME/BENCHMARK/measures.json"),
        ("verified", "tables of verified answers"),
        ("topics", "tables of topics"),
    ):
        parser.add_argument(f"--{name}", type=Path, nargs="*", default=[], help=what)
    parser.add_argument("--scorer", type=Path, help="metrics of the difficulty scorer")
    parser.add_argument(
        "--judgements", type=Path, help="folder of the judge's tables, GENERATOR/seedSEED/gpuGPU.parquet"
    )
    parser.add_argument("--out", type=Path, required=True, help="output: all numbers, JSON")
    parser.add_argument("--text", type=Path, required=True, help="output: the table for people")
    return parser.parse_args()


def main() -> None:
    args = _arguments()
    summary = collect(args)
    write_json(args.out, summary)
    write_text(args.text, text(summary))


if __name__ == "__main__":
    job.run(main)
