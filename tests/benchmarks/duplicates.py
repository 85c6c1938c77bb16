"""Time and memory of the search for duplicates, and how many planted near-duplicates it finds.

    python tests/benchmarks/duplicates.py --problems results/datasets/gsm8k_train.parquet \
        --benchmarks results/datasets/gsm8k_test.parquet results/datasets/math_test.parquet

Questions are made from real problems of at least 20 words, so that they have their length and vocabulary: a problem is
drawn, each number in it replaced by a random one of as many digits, and each word, with a chance of 35%, by a word of
any problem; two that come from one problem then have a Jaccard similarity far below the threshold. One in twenty is
planted: an earlier question with up to 8% of its words replaced, at a true similarity of 0.6 to 1. A size takes the
first so many of one sequence, seed 0.

What is measured runs in processes of its own: signatures and search alone; scripts/filter_text.py with all filters on
blocks of questions, one after the other; scripts/filter_duplicates.py on the blocks together, no row being left out.
Settings as in config.yaml. Seconds of the scripts and peak memory are those of whole processes.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import SCRIPTS, Process, default_config, print_table, run

from scalequest import job
from scalequest.duplicates import Signed, find_duplicates, jaccard, ngrams, signatures, text_digest, tokens
from scalequest.errors import ScaleQuestError
from scalequest.tables import PROBLEMS, QUESTIONS, question_id, read_arrow, read_rows, write_table

MIN_WORDS, REPLACED, PLANTED, ALTERED = 20, 0.35, 0.05, 0.08
# Lower bounds of the classes of true similarity.
CLASSES = (0.9, 0.8, 0.7, 0.0)
_NUMBER = re.compile(r"\d+")


# ---------------------------------------------------------------- questions


def make_questions(problems: Sequence[str], size: int) -> tuple[list[str], list[tuple[int, int]]]:
    """`size` questions, and the pairs (position of the original, position of the planted copy).

    Raises ScaleQuestError where no problem is long enough.
    """
    draw = random.Random(0)  # noqa: S311 - a sample, not a secret
    texts = [text.split() for text in problems if len(text.split()) >= MIN_WORDS]
    if not texts:
        raise ScaleQuestError(f"no problem has {MIN_WORDS} words: name another table with --problems.")
    words = sorted({word for text in texts for word in text})
    made: list[list[str]] = []
    originals: list[int] = []
    planted: list[tuple[int, int]] = []
    for position in range(size):
        if originals and draw.random() < PLANTED:
            source = draw.choice(originals)
            text = list(made[source])
            for _ in range(draw.randint(0, int(ALTERED * len(text)))):
                text[draw.randrange(len(text))] = draw.choice(words)
            planted.append((source, position))
        else:
            text = [changed(word, words, draw) for word in draw.choice(texts)]
            originals.append(position)
        made.append(text)
    return [" ".join(text) for text in made], planted


def changed(word: str, words: Sequence[str], draw: random.Random) -> str:
    """The word, or by chance another one, with other numbers in it."""
    if draw.random() < REPLACED:
        word = draw.choice(words)
    return _NUMBER.sub(lambda number: str(draw.randrange(10 ** len(number[0]))), word)


def write_questions(problems: Path, size: int, block: int, folder: Path) -> None:
    """Write blocks of the questions table and `planted.json`."""
    texts, planted = make_questions([row["question"] for row in read_rows(problems, PROBLEMS)], size)
    fixed = {"generator": "made", "seed": 0, "finish_reason": "stop", "tokens": 0, "sampling_seed": 0}
    for start in range(0, size, block):
        rows = [
            {**fixed, "id": question_id("made", 0, index), "index": index, "question": texts[index]}
            for index in range(start, min(start + block, size))
        ]
        write_table(folder / f"questions{start // block}.parquet", rows, QUESTIONS)
    (folder / "planted.json").write_text(json.dumps(planted), encoding="utf-8")


# ---------------------------------------------------------------- signatures and search


def search(folder: Path, blocks: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Seconds of signatures and of the search over the first so many blocks; their mean length in characters; and for
    each class of true similarity how many planted questions there are and how many of them were dropped."""
    tables = [read_arrow(folder / f"questions{number}.parquet", QUESTIONS) for number in range(blocks)]
    questions = [text for table in tables for text in table["question"].to_pylist()]
    ids = [name for table in tables for name in table["id"].to_pylist()]
    started = time.perf_counter()
    matrix, digests = signatures(questions, settings), [text_digest(text) for text in questions]
    signed = time.perf_counter()
    found = find_duplicates(Signed(ids, digests, questions, matrix), 0, settings)
    searched = time.perf_counter()

    def shingles(position: int) -> frozenset[str]:
        return frozenset(ngrams(tokens(questions[position]), settings["shingle"]))

    classes = {str(lowest): [0, 0] for lowest in CLASSES}
    for source, copy in json.loads((folder / "planted.json").read_text(encoding="utf-8")):
        if copy < len(questions):
            similarity = jaccard(shingles(source), shingles(copy))
            count = classes[str(next(lowest for lowest in CLASSES if similarity >= lowest))]
            count[0] += 1
            count[1] += found[copy] is not None
    mean = sum(map(len, questions)) / len(questions)
    return {"sign": signed - started, "search": searched - signed, "characters": mean, "classes": classes}


def recall(results: dict[int, dict[str, Any]]) -> list[list[str]]:
    """Rows of the second table: a class of similarity, and by size the share of planted questions dropped."""
    rows = []
    for highest, lowest in zip((None, *CLASSES), CLASSES, strict=False):
        label = "0.9 to 1" if highest is None else f"{lowest} to {highest}" if lowest else f"below {highest}"
        counts = [result["classes"][str(lowest)] for result in results.values()]
        rows.append([label, *(f"{hit / there:.1%} of {there:,}" if there else "none" for there, hit in counts)])
    return rows


# ---------------------------------------------------------------- the two scripts


def filter_texts(folder: Path, blocks: int, benchmarks: Sequence[Path], config: dict[str, Any]) -> list[Process]:
    """Run filter_text.py on every block."""
    filters = {name: config["filters"][name] for name in ("language", "length", "contamination", "duplicates")}
    settings = json.dumps({**filters, "wanted": config["dataset"]["language"]})
    return [
        run(
            SCRIPTS / "filter_text.py",
            *("--settings", settings, "--questions", folder / f"questions{number}.parquet"),
            *("--benchmarks", *benchmarks),
            *("--out", folder / f"text{number}.parquet", "--signatures", folder / f"signatures{number}.parquet"),
            *("--matches", folder / f"matches{number}.jsonl"),
        )
        for number in range(blocks)
    ]


def filter_duplicates(folder: Path, blocks: int, config: dict[str, Any]) -> Process:
    """Run filter_duplicates.py on the first so many blocks together."""
    settings = json.dumps({"duplicates": config["filters"]["duplicates"], "dropping": []})
    return run(
        SCRIPTS / "filter_duplicates.py",
        *("--settings", settings, "--text", *(folder / f"text{number}.parquet" for number in range(blocks))),
        *("--signatures", *(folder / f"signatures{number}.parquet" for number in range(blocks))),
        *("--out", folder / "duplicates.parquet", "--kept", folder / "kept.parquet"),
    )


def measure(args: argparse.Namespace, folder: Path) -> None:
    """Run everything and print two tables."""
    config = default_config()
    run(__file__, *sys.argv[1:], "--step", "make", "--folder", folder)
    texts = filter_texts(folder, max(args.sizes) // args.block, args.benchmarks, config)
    items = sum(len(read_arrow(path, PROBLEMS)) for path in args.benchmarks)
    mean = sum(text.seconds for text in texts) / len(texts)
    peak = max(text.peak for text in texts)
    label = f"`filter_text.py`, all filters, {items:,} benchmark items, a block"
    rows = [[label, f"{args.block:,}", f"{mean:.1f} s", f"{peak:.2f} GB"]]
    results = {}
    for size in args.sizes:
        alone = run(__file__, *sys.argv[1:], "--step", "search", "--folder", folder, "--sizes", size)
        whole = filter_duplicates(folder, size // args.block, config)
        result = results[size] = json.loads(alone.output)
        label = f"signatures and search, questions of {result['characters']:.0f} characters"
        seconds = f"{result['sign']:.1f} s and {result['search']:.1f} s"
        rows.append([label, f"{size:,}", seconds, f"{alone.peak:.2f} GB"])
        rows.append(
            ["`filter_duplicates.py`, end to end", f"{size:,}", f"{whole.seconds:.1f} s", f"{whole.peak:.2f} GB"]
        )
    print_table(["", "questions", "time", "peak memory"], rows)
    print_table(["Jaccard similarity", *(f"dropped of {size:,}" for size in results)], recall(results))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", required=True, type=Path, help="table of problems that questions are made from")
    parser.add_argument("--benchmarks", nargs="*", default=[], type=Path, help="tables of benchmark items")
    parser.add_argument(
        "--sizes", nargs="+", type=int, default=[100_000, 300_000, 1_000_000], help="numbers of questions"
    )
    parser.add_argument("--block", type=int, default=100_000, help="questions in a block; divides the sizes (100000)")
    parser.add_argument("--step", choices=["make", "search"], help="do this alone, in this process")
    parser.add_argument("--folder", type=Path, help="where the blocks lie (with --step)")
    args = parser.parse_args()
    if any(size % args.block for size in args.sizes):
        parser.error(f"--sizes must be multiples of --block, {args.block}")
    if args.step == "make":
        write_questions(args.problems, max(args.sizes), args.block, args.folder)
    elif args.step == "search":
        settings = default_config()["filters"]["duplicates"]
        print(json.dumps(search(args.folder, args.sizes[0] // args.block, settings)))
    else:
        with tempfile.TemporaryDirectory() as folder:
            measure(args, Path(folder))


if __name__ == "__main__":
    job.run(main)
