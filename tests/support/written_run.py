"""The tables of a run, written by hand: plain questions, hostile ones, answers to a benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scalequest.rows.tables import (
    ATTEMPTS,
    CANDIDATES,
    FILTERED,
    GRADES,
    JUDGEMENTS,
    PROBLEMS,
    TOPICS,
    VERDICTS,
    VERIFIED,
    write_table,
)
from scalequest.runtime.files import write_json

# Each of them would set `pwned`, ask for an address, or take the page apart, if it were more than text.
HOSTILE = [
    "<script>window.pwned = 1</script>",
    '<img src=x onerror="window.pwned = 1">',
    '<a href="javascript:window.pwned=1">Click</a> [x](javascript:window.pwned=1)',
    '"><svg onload=window.pwned=1>',
    "</script></body><script>window.pwned=1</script>",
    "<div <b <<!-- <plaintext> <textarea>",
    "\u202egnp.exe\u202c and \u2067isolated\u2069, a\u200bzero, a\x00nul",
    r"$\href{javascript:window.pwned=1}{x}$ and $\url{http://127.0.0.1:9/}$",
    r"$\includegraphics{http://127.0.0.1:9/x.png}$ $\htmlStyle{color:red}{x}$ $\htmlData{a=b}{x}$",
    r"$\def\a{\a\a}\a$ and $\rule{99999em}{99999em}$",
    r"\[ \frac{1}{ \] $x^$ $$ unclosed",
    "{{7*7}} ${7*7} `rm -rf /` $(touch pwned); %s %n",
    "مسألة: ما هو 3 + 4؟ 设函数 f(x)=x² दो और दो",
    "word " * 60_000,
    "$x$ " * 2_000,
    "",
]
# The question that is too easy, and the threshold.
EASY, CUT = 5, -0.2512
# Topics as a config may name them.
OPTIONS = ["Algebra", HOSTILE[0], HOSTILE[3], "a\u202eb $x^2$ &amp;"]
PLAIN = [f"Ann has {n} pens and buys ${n}^2$ more. How many now? [{n}]" for n in range(60)]


def write_run(results: Path, texts: dict[str, list[str]], samples: int = 2) -> list[str]:
    """Write the tables of a run of one shard a generator: every third question is dropped, one of the first generator
    as too easy, all others as not solvable. Returns its shards."""
    shards = []
    for number, (generator, questions) in enumerate(texts.items()):
        easy = EASY if number == 0 else None
        write_json(results / f"filters/cuts/{generator}/seed0.json", {generator: None if easy is None else CUT})
        shard = f"{generator}/seed0/gpu0"
        shards.append(shard)
        ids = [f"{generator}/s0/{index:09d}" for index in range(len(questions))]
        kept = [index % 3 != 2 for index in range(len(ids))]
        unsolvable = "solvability: not solvable: 0.21, below 0.5"
        failed = {easy: ("difficulty", f"difficulty: too easy: -0.30, below {CUT}")}
        rows: list[dict[str, Any]] = [
            {
                **{"id": name, "generator": generator, "seed": 0, "index": index, "question": question},
                **{
                    "kept": keep,
                    "dropped_by": "" if keep else failed.get(index, ("solvability",))[0],
                    "marks": "" if index % 5 else "duplicates",
                },
                "reason": "" if keep else failed.get(index, ("", unsolvable))[1],
                "difficulty": -0.3 if index == easy else index / 100,
                "solvable": None if index == easy else 0.9 if keep else 0.21,
            }
            for index, (name, question, keep) in enumerate(zip(ids, questions, kept, strict=True))
        ]
        write_table(results / f"filtered/{shard}.parquet", rows, FILTERED)
        answered = [
            {
                # A trace that says what its question says.
                **{"reasoning": f"Let me see.\n{question}" if sample == 1 else None},
                **{"id": name, "sample": sample, "response": f"{question}\nSample {sample}: $\\boxed{{{sample}}}$"},
                **{"answer": str(sample), "reward": sample / 2, "votes": 1, "selected": sample == 1},
                **{"tokens": 9 + index, "finish_reason": "stop" if sample else "length"},
            }
            for index, (name, question, keep) in enumerate(zip(ids, questions, kept, strict=True))
            if keep
            for sample in range(samples)
        ]
        write_table(results / f"candidates/{shard}.parquet", answered, CANDIDATES)
        judged = [
            {"id": name, "probability": 0.21, "verdict": None, "reasoning": f"Thinking of {name}", "tokens": 5}
            for name in ids
        ]
        write_table(results / f"filters/solvability/{shard}.parquet", judged, JUDGEMENTS)
    verdicts = [
        {"id": f"{generator}/s0/{0:09d}", "filter": "duplicates", "keep": False, "reason": "near-duplicate of another"}
        | {"score": 0.84, "evidence": "<b>the other</b>"}
        for generator in texts
    ]
    write_table(results / "filters/duplicates/seed0.parquet", verdicts, VERDICTS)
    return shards


def write_topics(results: Path, generators: dict[str, int], seeds: list[str]) -> list[Path]:
    """Write topics of the first questions of each generator, and of these seed problems: each of OPTIONS in turn."""
    asked = {f"questions/{name}": [f"{name}/s0/{i:09d}" for i in range(count)] for name, count in generators.items()}
    paths = []
    for place, ids in {**asked, "seeds": seeds}.items():
        rows: list[dict[str, Any]] = [
            {"id": name, "topic": OPTIONS[i % 4], "probability": 0.4, "probabilities": [0.2, 0.4, 0.2, 0.2]}
            for i, name in enumerate(ids)
        ]
        paths.append(results / f"topics/{place}.parquet")
        write_table(paths[-1], rows, TOPICS)
    return paths


def write_verified(results: Path, generators: dict[str, int]) -> None:
    """Write verified answers to the first kept questions of each generator, hostile ones too."""
    for name, count in generators.items():
        rows = [
            {
                "id": f"{name}/s0/{i:09d}",
                "answer": None if i == 1 else HOSTILE[i % 8],
                "agreement": 0.8 if i != 1 else 0.0,
            }
            | {"pass_rates": [{"solver": "small", "rate": 0.5}, {"solver": "large", "rate": 1.0}]}
            | {"answer_type": "text", "unfit": "proof" if i == 3 else "", "reason": ""}
            for i in range(count)
            if i % 3 != 2
        ]
        write_table(results / f"verified/{name}/seed0/gpu0.parquet", rows, VERIFIED)


def write_evaluation(results: Path) -> list[str]:
    """Write answers of a model to a benchmark on which the graders disagree once."""
    problems: list[dict[str, Any]] = [
        {"id": f"bench/{i}", "index": i, "source": "bench", "question": f"Benchmark {i}: {HOSTILE[i]}"}
        | {"solution": "It is $5$.", "answer": "5", "facts": "{}"}
        for i in range(6)
    ]
    write_table(results / "datasets/bench.parquet", problems, PROBLEMS)
    write_table(results / "seeds/seeds.parquet", [{**row, "id": f"s/{row['index']}"} for row in problems], PROBLEMS)
    answers = [
        {"id": row["id"], "sample": 0, "reasoning": None, "response": f"The answer is {HOSTILE[0]}", "answer": "5"}
        | {"finish_reason": "stop", "tokens": 3, "sampling_seed": 1}
        for row in problems
    ]
    write_table(results / "evaluation/student/bench/answers0.parquet", answers, ATTEMPTS)
    grades = [
        {"id": row["id"], "sample": 0, "grader": grader, "gold": "5", "answer": "5", "how": "string"}
        | {"right": row["index"] > 0 or grader == "paper"}
        for row in problems
        for grader in ("equivalence", "paper")
    ]
    write_table(results / "evaluation/student/bench/grades.parquet", grades, GRADES)
    return ["student/bench"]
