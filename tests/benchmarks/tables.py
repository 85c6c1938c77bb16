"""Time, memory and room of the stages after the last model: selection among k responses, and the dataset.

    python tests/benchmarks/tables.py --problems results/datasets/math_train.parquet --questions 40000

Questions are real problems, taken again and again; each has five responses, which are worked solutions: three to the
problem itself, two to others, so that answers agree and differ. Rewards are drawn, seed 0. What is measured runs in
processes of its own, start included; settings as in config.yaml.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from pathlib import Path

from common import SCRIPTS, default_config, print_table, run

from scalequest.grading.extraction import extract_answer
from scalequest.llm.models import write_manifest
from scalequest.rows.tables import ATTEMPTS, FILTERED, PROBLEMS, REWARDS, question_id, read_rows, write_table
from scalequest.runtime.files import write_json

RESPONSES, OTHERS = 5, 2


def write_shard(problems: Path, size: int, folder: Path) -> None:
    """Write `filtered.parquet`, `attempts.parquet` and `rewards.parquet` of one shard."""
    draw = random.Random(0)  # noqa: S311 - a sample, not a secret
    known = [row for row in read_rows(problems, PROBLEMS) if row["solution"]]
    filtered, attempts, rewards = [], [], []
    for index in range(size):
        name, problem = question_id("made", 0, index), known[index % len(known)]
        filtered.append(
            {
                **{"id": name, "generator": "made", "seed": 0, "index": index, "question": problem["question"]},
                **{"kept": True, "dropped_by": "", "marks": "", "reason": "", "difficulty": None, "solvable": None},
            }
        )
        for sample in range(RESPONSES):
            text = (draw.choice(known) if sample < OTHERS else problem)["solution"]
            key = {"id": name, "sample": sample}
            made = {"finish_reason": "stop", "tokens": len(text) // 3, "sampling_seed": sample}
            attempts.append({**key, "reasoning": None, "response": text, "answer": extract_answer(text), **made})
            rewards.append({**key, "reward": draw.random()})
    write_table(folder / "filtered.parquet", filtered, FILTERED)
    write_table(folder / "attempts.parquet", attempts, ATTEMPTS)
    write_table(folder / "rewards.parquet", rewards, REWARDS)


def write_papers(folder: Path) -> None:
    """Write the config and the manifests that the dataset's card is made from."""
    named = {
        "models": {"model": {"licence": "MIT"}},
        "datasets": {"seeds": {"licence": "MIT"}},
        "generators": {"made": {"model": "model"}},
    }
    write_json(folder / "config.json", default_config() | named)
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}", encoding="utf-8")
    write_manifest(folder / "model.json", folder / "model", name="model", source="made")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", required=True, type=Path, help="staged data set with solutions")
    parser.add_argument("--questions", type=int, default=40_000, help="questions of the shard")
    arguments = parser.parse_args()
    config = default_config()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_shard(arguments.problems, arguments.questions, folder)
        write_papers(folder)
        selection = {"selection": config["selection"], "grading": config["grading"], "domain": "math"}
        selection["aggregate"] = None
        # The second time the verdicts of the first are there.
        selected, again = (
            run(
                *(SCRIPTS / "select_responses.py", "--settings", json.dumps(selection), "--log", folder / "log"),
                *("--attempts", folder / "attempts.parquet", "--rewards", folder / "rewards.parquet"),
                *("--progress", folder / "progress"),
                *("--out", folder / "candidates.parquet", "--summary", folder / "summary.json"),
            )
            for _ in range(2)
        )
        made = [folder / f"{name}.parquet" for name in ("chat", "prompt_completion", "preference", "rl")]
        names = ("chat", "prompt-completion", "preference", "rl")
        checked = run(
            *(SCRIPTS / "check_answers.py", "--settings", json.dumps(selection), "--log", folder / "log"),
            *("--candidates", folder / "candidates.parquet", "--progress", folder / "progress"),
            *("--out", folder / "checks.parquet"),
        )
        formatted = run(
            *(SCRIPTS / "build_formats.py", "--settings", json.dumps({"domain": "math", "name": "made"})),
            *("--filtered", folder / "filtered.parquet", "--candidates", folder / "candidates.parquet"),
            *("--checks", folder / "checks.parquet", "--log", folder / "log"),
            *(word for name, path in zip(names, made, strict=True) for word in (f"--{name}", path)),
            *("--reward", folder / "verl_reward.py", "--counts", folder / "formats.json"),
        )
        built = run(
            *(SCRIPTS / "build_dataset.py", "--settings", json.dumps({"dataset": config["dataset"]})),
            *("--filtered", folder / "filtered.parquet", "--candidates", folder / "candidates.parquet"),
            *("--question-models", f"made={folder / 'model.json'}", "--response-model", folder / "model.json"),
            *("--reward-model", folder / "model.json", "--config-snapshot", folder / "config.json"),
            *("--log", folder / "log", "--parquet", folder / "train.parquet", "--jsonl", folder / "train.jsonl"),
            *("--chat", folder / "chat.jsonl", "--card", folder / "README.md", "--manifest", folder / "manifest.json"),
            *("--formats", folder / "formats.json", *made, folder / "verl_reward.py"),
        )
        print_table(
            ("", "rows", "time", "peak memory"),
            [
                (
                    f"`{script}.py`, {what}",
                    f"{rows:,}",
                    f"{process.seconds:.0f} s ({rows / process.seconds * 3600:,.0f} an hour)",
                    f"{process.peak:.2f} GB",
                )
                for script, what, rows, process in (
                    ("select_responses", "end to end", arguments.questions * RESPONSES, selected),
                    ("select_responses", "the same with kept verdicts", arguments.questions * RESPONSES, again),
                    ("check_answers", "end to end", arguments.questions, checked),
                    ("build_formats", "end to end", arguments.questions, formatted),
                    ("build_dataset", "end to end", arguments.questions, built),
                )
            ],
        )
        rows = {"filtered": 1, "attempts": RESPONSES, "rewards": RESPONSES, "candidates": RESPONSES, "train": 1}
        print_table(
            ("file", "bytes a row"),
            [
                (path.name, f"{path.stat().st_size / arguments.questions / rows.get(path.stem, 1):.0f}")
                for path in sorted(folder.iterdir())
                if path.suffix in (".parquet", ".jsonl")
            ],
        )


if __name__ == "__main__":
    main()
