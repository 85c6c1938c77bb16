"""Time and memory of the search for duplicates, and how many planted near-duplicates it finds.

    python tests/benchmarks/duplicates.py --problems results/datasets/gsm8k_train.parquet \
        --benchmarks results/datasets/gsm8k_test.parquet results/datasets/math_test.parquet --bands 16 32

Questions are made from real problems of at least 20 words, so that they have their length and vocabulary: a problem is
drawn, each number in it replaced by a random one of as many digits, and each word, with a chance of 35%, by a word of
any problem; two that come from one problem then have a Jaccard similarity far below the threshold. One in twenty is
planted: an earlier question with up to 8% of its words replaced, at a true similarity of 0.6 to 1. A size takes the
first so many of one sequence, seed 0.

What is measured runs in processes of its own: scripts/filter_text.py with all filters on blocks of questions, one after
the other; scripts/filter_duplicates.py on the blocks together, no row being left out.
Settings as in config.yaml, but for the `--bands`. Seconds and peak memory of the scripts are those of whole processes;
seconds of the processor compare two settings where others share the machine.

With `--folder` the questions and what filter_text.py makes of them are kept there, and used where they are there.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from common import SCRIPTS, Process, default_config, print_table, run

from scalequest.errors import ScaleQuestError
from scalequest.filters.duplicates import jaccard, ngrams, tokens
from scalequest.rows.tables import PROBLEMS, QUESTIONS, VERDICTS, question_id, read_arrow, read_rows, write_table
from scalequest.runtime import job

MIN_WORDS, REPLACED, PLANTED, ALTERED = 20, 0.35, 0.05, 0.08
# Lower bounds of the classes of true similarity.
CLASSES = (0.8, 0.75, 0.7, 0.0)
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


# ---------------------------------------------------------------- what was found


def dropped(folder: Path, blocks: int, shingle: int) -> dict[str, list[int]]:
    """Of the questions planted in the first so many blocks, by class of true similarity to their originals: how many
    filter_duplicates.py dropped, and how many there are."""
    texts: list[str] = []
    for number in range(blocks):
        texts += read_arrow(folder / f"questions{number}.parquet", QUESTIONS)["question"].to_pylist()
    verdicts = read_arrow(folder / "duplicates.parquet", VERDICTS)
    kept = dict(zip(verdicts["id"].to_pylist(), verdicts["keep"].to_pylist(), strict=True))

    def shingles(position: int) -> frozenset[str]:
        return frozenset(ngrams(tokens(texts[position]), shingle))

    classes = {str(lowest): [0, 0] for lowest in CLASSES}
    for source, copy in json.loads((folder / "planted.json").read_text(encoding="utf-8")):
        if copy < len(texts):
            similarity = jaccard(shingles(source), shingles(copy))
            count = classes[str(next(lowest for lowest in CLASSES if similarity >= lowest))]
            count[0] += not kept[question_id("made", 0, copy)]
            count[1] += 1
    return classes


def recall(results: dict[tuple[int, int], dict[str, list[int]]]) -> list[list[str]]:
    """Rows of the second table: a class of similarity, and by size and bands the share of planted questions dropped."""
    rows = []
    for highest, lowest in zip((1, *CLASSES), CLASSES, strict=False):
        counts = [classes[str(lowest)] for classes in results.values()]
        label = f"{lowest} to {highest}" if lowest else f"below {highest}"
        rows.append([label, *(f"{hit / there:.1%} of {there:,}" if there else "none" for hit, there in counts)])
    return rows


# ---------------------------------------------------------------- the two scripts


def filter_texts(folder: Path, blocks: int, benchmarks: Sequence[Path], config: dict[str, Any]) -> list[Process]:
    """Run filter_text.py on every block that it has not read yet."""
    texts = {name: config["filters"][name] for name in ("language", "length")}
    others = {name: config["filters"][name] for name in ("contamination", "duplicates")}
    settings = json.dumps({**others, "texts": texts, "wanted": config["dataset"]["language"]})
    return [
        run(
            SCRIPTS / "filter_text.py",
            *("--settings", settings, "--questions", folder / f"questions{number}.parquet"),
            *("--benchmarks", *benchmarks),
            *("--out", folder / f"text{number}.parquet", "--signatures", folder / f"signatures{number}.parquet"),
            *("--matches", folder / f"matches{number}.jsonl"),
        )
        for number in range(blocks)
        if not (folder / f"signatures{number}.parquet").exists()
    ]


def filter_duplicates(folder: Path, blocks: int, bands: int, config: dict[str, Any]) -> Process:
    """Run filter_duplicates.py on the first so many blocks together."""
    settings = json.dumps({"duplicates": config["filters"]["duplicates"] | {"bands": bands}, "dropping": []})
    return run(
        SCRIPTS / "filter_duplicates.py",
        *("--settings", settings, "--text", *(folder / f"text{number}.parquet" for number in range(blocks))),
        *("--signatures", *(folder / f"signatures{number}.parquet" for number in range(blocks))),
        *("--out", folder / "duplicates.parquet", "--kept", folder / "kept.parquet"),
    )


def measure(args: argparse.Namespace, folder: Path) -> None:
    """Run everything that is not in the folder, and print two tables."""
    config = default_config()
    blocks = max(args.sizes) // args.block
    if not (folder / f"questions{blocks - 1}.parquet").exists():
        run(__file__, *sys.argv[1:], "--step", "make", "--folder", folder)
    rows = []
    if texts := filter_texts(folder, blocks, args.benchmarks, config):
        items = sum(len(read_arrow(path, PROBLEMS)) for path in args.benchmarks)
        mean = [sum(times) / len(texts) for times in zip(*((one.seconds, one.processor) for one in texts), strict=True)]
        label = f"`filter_text.py`, all filters, {items:,} benchmark items, a block"
        rows.append([label, f"{args.block:,}", *told(mean, max(text.peak for text in texts))])
    results = {}
    for size, bands in product(args.sizes, args.bands):
        whole = filter_duplicates(folder, size // args.block, bands, config)
        label = f"`filter_duplicates.py`, end to end, {bands} bands"
        rows.append([label, f"{size:,}", *told([whole.seconds, whole.processor], whole.peak)])
        found = run(__file__, *sys.argv[1:], "--step", "recall", "--folder", folder, "--sizes", size)
        results[size, bands] = json.loads(found.output)
    print_table(["", "questions", "time", "of the processor", "peak memory"], rows)
    columns = [f"dropped of {size:,}, {bands} bands" for size, bands in results]
    print_table(["Jaccard similarity", *columns], recall(results))


def told(times: Sequence[float], peak: float | None = None) -> list[str]:
    """Cells for seconds of the clock and of the processor, and for peak memory."""
    return [*(f"{seconds:.1f} s" for seconds in times), f"{peak:.2f} GB" if peak else ""]


def main() -> None:
    default = default_config()["filters"]["duplicates"]["bands"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", required=True, type=Path, help="table of problems that questions are made from")
    parser.add_argument("--benchmarks", nargs="*", default=[], type=Path, help="tables of benchmark items")
    parser.add_argument(
        "--sizes", nargs="+", type=int, default=[100_000, 300_000, 1_000_000], help="numbers of questions"
    )
    parser.add_argument("--block", type=int, default=100_000, help="questions in a block; divides the sizes (100000)")
    parser.add_argument(
        "--bands", nargs="+", type=int, default=[default], help=f"numbers of bands to compare ({default})"
    )
    parser.add_argument("--folder", type=Path, help="keep the questions here, with what filter_text.py makes of them")
    parser.add_argument("--step", choices=["make", "recall"], help="do this alone, in this process")
    args = parser.parse_args()
    if any(size % args.block for size in args.sizes):
        parser.error(f"--sizes must be multiples of --block, {args.block}")
    if args.folder:
        args.folder.mkdir(parents=True, exist_ok=True)
    if args.step == "make":
        write_questions(args.problems, max(args.sizes), args.block, args.folder)
    elif args.step == "recall":
        shingle = default_config()["filters"]["duplicates"]["shingle"]
        print(json.dumps(dropped(args.folder, args.sizes[0] // args.block, shingle)))
    elif args.folder:
        measure(args, args.folder)
    else:
        with tempfile.TemporaryDirectory() as folder:
            measure(args, Path(folder))


if __name__ == "__main__":
    job.run(main)
