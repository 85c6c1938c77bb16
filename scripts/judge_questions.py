"""A judge's view of each question: is it a mathematics problem, and can it be solved from what it gives?

The probability is stored raw; thresholds are applied where it is used (the solvability filter, the ranking of pairs),
so that another threshold judges nothing again. Source: ScaleQuest (arXiv 2410.18693), section 3.3.
"""

from __future__ import annotations

from pathlib import Path

from scalequest import filters, job
from scalequest.chat import load_tokenizer
from scalequest.engine import Engine
from scalequest.errors import ScaleQuestError
from scalequest.hashing import row_seed
from scalequest.judging import ask_solvable, judge, parse_verdict, solvability_prompts
from scalequest.models import open_model
from scalequest.stage import StoreKey, open_store
from scalequest.store import in_windows
from scalequest.tables import JUDGEMENTS, QUESTIONS, group_of, read_rows, write_table


def check_parsable(rows: list[dict], name: str) -> None:
    """Raises ScaleQuestError where not one of the judge's free-text verdicts could be read."""
    # A few verdicts may all be unreadable by chance; sixteen say something about the judge.
    if len(rows) >= 16 and all(row["verdict"] == "unparsed" for row in rows):
        last = next((line for line in reversed(rows[0]["reasoning"].splitlines()) if line.strip()), "")
        raise ScaleQuestError(
            f"judge '{name}': none of {len(rows)} verdicts ends in Yes or No (the first one ends: {last[:200]!r}). "
            "Raise filters.solvability.reasoning_tokens, or set filters.solvability.verdict: choice."
        )


def store_key(settings: dict) -> StoreKey:
    shaping = {"engine": settings["engine"], "judge": settings["judge"]}
    prompts = solvability_prompts(settings["judge"]["reasoning_tokens"])
    return StoreKey("judge_questions", JUDGEMENTS, shaping, prompts)


def main() -> None:
    parser = job.parser(__doc__ or "")
    parser.add_argument("--model", required=True, type=Path, help="manifest of the judge's model")
    parser.add_argument("--questions", required=True, type=Path, help="table of questions")
    filters.add_arguments(parser)
    parser.add_argument("--progress", required=True, type=Path, help="folder of finished windows")
    parser.add_argument("--out", required=True, type=Path, help="table of judgements to write")
    args = parser.parse_args()
    settings = args.settings
    questions = filters.survivors(read_rows(args.questions, QUESTIONS), args)
    model = open_model(args.model)
    tokenizer = load_tokenizer(model.folder, trust_remote_code=model.trust_remote_code)
    engine = Engine(model, settings["engine"])
    reasoning = settings["judge"]["reasoning_tokens"]
    report = job.Progress("judgements")

    def work(rows: list[dict]) -> list[dict]:
        conversations = [ask_solvable(row["question"], reasoning) for row in rows]
        seeds = [row_seed("judge", row["id"]) for row in rows]
        made = judge(engine, tokenizer, conversations, seeds, settings["judge"])
        report.tokens += sum(judgement["tokens"] for judgement in made)
        # A free-text verdict is read after the store, so that a better reading is applied to stored reasoning too.
        return [{"id": row["id"], "verdict": None, **judgement} for row, judgement in zip(rows, made, strict=True)]

    store = open_store(args.progress, store_key(settings), model)
    rows = in_windows(
        questions,
        store,
        settings["engine"]["window"],
        work,
        group=group_of(row["id"] for row in questions),
        progress=report,
        each=engine.each,
    )
    if settings["judge"]["verdict"] == "text":
        rows = [{**row, "verdict": parse_verdict(row["reasoning"])} for row in rows]
        check_parsable(rows, model.name)
    write_table(args.out, rows, JUDGEMENTS, made_in=[store.name])


if __name__ == "__main__":
    job.run(main)
