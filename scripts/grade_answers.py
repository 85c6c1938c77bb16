"""Grade a model's answers to a benchmark by every grader, and measure: pass@1, pass@k, maj@k, where graders disagree.

Reads what was generated and generates nothing; verdicts are kept (`scalequest.verdicts`). Source: ScaleQuest (arXiv
2410.18693), section 4.1; the graders are described in docs/reference/graders.md.
"""

from __future__ import annotations

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from scalequest.domains.base import Domain, open_domain
from scalequest.errors import ScaleQuestError
from scalequest.grading.measures import measure, pass_at_k
from scalequest.grading.verdicts import graded, grouped
from scalequest.hashing import canonical_json
from scalequest.rows.tables import ATTEMPTS, GRADES, PROBLEMS, read_rows, write_table
from scalequest.runtime import job
from scalequest.runtime.files import write_json, write_text
from scalequest.settings import Grading, read_settings

log = logging.getLogger("scalequest.grade_answers")
Row = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """How answers are graded, the k of pass@k, and the domain of the problems."""

    grading: Grading
    k: tuple[int, ...]
    domain: str


@dataclass
class Judging:
    """How verdicts are made and kept: whose answers to which benchmark, in which folder, seconds for a pair, the
    domain. `stores` are the names of those that were asked."""

    name: str
    benchmark: str
    progress: Path
    time_limit: float
    domain: Domain
    stores: set[str] = field(default_factory=set)

    def grades(self, problems: Mapping[str, Row], answers: Sequence[Row]) -> list[Row]:
        """GRADES rows: a verdict of each grader on each answer. Where the benchmark has no answer, none is right."""
        asked = [
            {
                **{"id": answer["id"], "sample": answer["sample"], "index": problem["index"]},
                **{"gold": problem["answer"] or None, "facts": json.loads(problem["facts"])},
                **{"response": answer["response"], "cut": answer["finish_reason"] == "length"},
            }
            for answer in answers
            for problem in (problems[answer["id"]],)
        ]
        rows = []
        for grader in self.domain.graders:
            found, store = graded(asked, grader, **self._kept(f"{self.name}.{self.benchmark}"))
            self.stores.add(store)
            rows += found
        return rows

    def majority(self, problems: Mapping[str, Row], rows: Sequence[Row], grader: str) -> dict[str, bool]:
        """By problem, whether the most frequent answer is right; of equally frequent ones the first. `rows` are one
        grader's; answers are the same where the domain's first grader finds them equal, and none is no answer."""
        by_problem: dict[str, list[Row]] = defaultdict(list)
        for row in sorted(rows, key=lambda row: row["sample"]):
            by_problem[row["id"]].append(row)
        questions = [
            {"id": name, "index": problems[name]["index"], "answers": [row["answer"] for row in own]}
            for name, own in by_problem.items()
        ]
        found, store = grouped(questions, self.domain.main, **self._kept(f"{self.name}.{self.benchmark}.{grader}"))
        self.stores.add(store)
        result = {}
        for name, own in by_problem.items():
            said = [group for group in found[name].groups if own[group[0]]["answer"] is not None]
            # max takes the first of equally long ones.
            result[name] = bool(said) and bool(own[max(said, key=len)[0]]["right"])
        return result

    def _kept(self, group: str) -> dict[str, Any]:
        return {"group": group, "progress": self.progress, "time_limit": self.time_limit}


def measures(name: str, rows: Sequence[Row], samples: int, ks: Sequence[int], voted: Mapping[str, bool]) -> Row:
    """One grader's measures over all problems, pass@k for each of `ks` and all samples. `name` says what is measured;
    `voted`, by problem, whether the most frequent of several answers is right."""
    right: Counter[str] = Counter({row["id"]: 0 for row in rows})
    right.update(row["id"] for row in rows if row["right"])
    found = {"pass@1": asdict(measure([count / samples for count in right.values()], f"{name} pass@1"))}
    for k in sorted({*ks, samples} - {1}):
        passed = [pass_at_k(count, samples, k) for count in right.values()]
        found[f"pass@{k}"] = asdict(measure(passed, f"{name} pass@{k}"))
    if samples > 1:
        found[f"maj@{samples}"] = asdict(measure([float(value) for value in voted.values()], f"{name} maj@{samples}"))
    return {**found, "how": dict(sorted(Counter(row["how"] for row in rows).items()))}


def parts(
    problems: Mapping[str, Row], rows: Sequence[Row], samples: int, name: str, for_graders: Sequence[str]
) -> Iterator[Row]:
    """pass@1 of each part of the benchmark, by each of its facts but those for graders; one grader's."""
    members: dict[tuple[str, str], set[str]] = defaultdict(set)
    for problem in problems.values():
        for fact, value in json.loads(problem["facts"]).items():
            if fact not in for_graders:
                members[fact, value].add(problem["id"])
    right = Counter(row["id"] for row in rows if row["right"])
    for (fact, value), ids in sorted(members.items()):
        found = measure([right[one] / samples for one in sorted(ids)], f"{name} {fact} {value}")
        yield {"fact": fact, "value": value, **asdict(found)}


def disagreements(problems: Mapping[str, Row], answers: Iterable[Row], rows: Iterable[Row]) -> Iterator[Row]:
    """The answers that one grader finds right and another wrong, with all that one needs to judge for oneself."""
    verdicts: dict[tuple[str, int], dict[str, Row]] = defaultdict(dict)
    for row in rows:
        verdicts[row["id"], row["sample"]][row["grader"]] = row
    for answer in answers:
        found = verdicts[answer["id"], answer["sample"]]
        if len({row["right"] for row in found.values()}) > 1:
            yield {
                **{"id": answer["id"], "sample": answer["sample"], "gold": problems[answer["id"]]["answer"]},
                **{name: {key: row[key] for key in ("right", "answer", "how")} for name, row in found.items()},
                **{"question": problems[answer["id"]]["question"], "response": answer["response"]},
            }


def main() -> None:
    """Read the answers' shards, grade, measure, write grades, measures and disagreements."""
    parser = job.parser(__doc__ or "")
    parser.add_argument("--name", required=True, help="what is measured")
    parser.add_argument("--problems", required=True, type=Path, help="table of the benchmark's problems")
    parser.add_argument("--answers", required=True, nargs="+", type=Path, help="tables of answers, one a shard")
    parser.add_argument("--progress", required=True, type=Path, help="folder of finished windows")
    parser.add_argument("--grades", required=True, type=Path, help="table of grades to write")
    parser.add_argument("--measures", required=True, type=Path, help="measures to write, JSON")
    parser.add_argument("--disagreements", required=True, type=Path, help="answers on which graders differ, JSON lines")
    args = parser.parse_args()
    problems = {row["id"]: row for row in read_rows(args.problems, PROBLEMS)}
    answers = [row for path in args.answers for row in read_rows(path, ATTEMPTS)]
    answers.sort(key=lambda row: (row["id"], row["sample"]))
    settings = read_settings(Settings, args.settings)
    domain = open_domain(settings.domain)
    judging = Judging(args.name, args.problems.stem, args.progress, settings.grading.time_limit, domain)
    name = f"{args.name} {args.problems.stem}"
    if missing := sorted(set(problems) - {row["id"] for row in answers}):
        raise ScaleQuestError(f"{len(missing)} problems of {args.problems} have no answer, {missing[0]} first.")
    samples = len(answers) // len(problems)
    without = sum(not row["answer"] for row in problems.values())
    if without:
        log.warning("%d of %d problems of %s have no final answer: none is right", without, len(problems), name)
    rows = judging.grades(problems, answers)
    differing = list(disagreements(problems, answers, rows))
    found = {
        **{"name": args.name, "benchmark": args.problems.stem, "problems": len(problems), "samples": samples},
        "cut": sum(row["finish_reason"] == "length" and row["tokens"] > 0 for row in answers),
        # The engine sends no prompt that leaves no room for an answer.
        "unsent": sum(row["finish_reason"] == "length" and row["tokens"] == 0 for row in answers),
        "tokens": sum(row["tokens"] for row in answers),
        "no_gold": without,
        "disagreements": len(differing),
        "graders": {},
        "parts": {},
    }
    for rules in domain.graders:
        grader = rules.name
        own = [row for row in rows if row["grader"] == grader]
        version = {"version": rules.version}
        voted = judging.majority(problems, own, grader) if samples > 1 else {}
        found["graders"][grader] = {**version, **measures(f"{name} {grader}", own, samples, settings.k, voted)}
        found["parts"][grader] = list(parts(problems, own, samples, f"{name} {grader}", domain.facts))
    write_table(args.grades, rows, GRADES, made_in=judging.stores)
    write_json(args.measures, found)
    write_text(args.disagreements, "".join(canonical_json(row) + "\n" for row in differing))
    shown = ", ".join(f"{grader} {own['pass@1']['percent']:.1f}%" for grader, own in found["graders"].items())
    log.info("%s: pass@1 by %s; the graders differ on %d of %d answers", name, shown, len(differing), len(answers))


if __name__ == "__main__":
    job.run(main)
