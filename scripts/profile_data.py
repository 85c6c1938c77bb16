"""Write the data profile: questions of each generator beside the seed problems and the benchmarks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalequest.filters.duplicates import Signing
from scalequest.publishing import profile, topics
from scalequest.runtime import job
from scalequest.runtime.files import write_json
from scalequest.settings import read_settings


@dataclass(frozen=True)
class Settings:
    """`duplicates`: how the near-duplicate filter signs. `generators`: their names. `topics`: the list that a model
    chose from; empty where topics are off."""

    duplicates: Signing
    generators: tuple[str, ...]
    topics: tuple[str, ...] = ()


SEEDS = "seed problems"


def main() -> None:
    parser = job.parser(__doc__ or "")
    parser.add_argument("--filtered", required=True, nargs="+", type=Path, help="tables of filtered questions")
    parser.add_argument("--candidates", required=True, nargs="+", type=Path, help="tables of responses")
    parser.add_argument("--seeds", required=True, type=Path, help="table of seed problems")
    parser.add_argument("--benchmarks", nargs="*", default=[], type=Path, help="tables of benchmarks, NAME.parquet")
    parser.add_argument("--duplicates", nargs="*", default=[], type=Path, help="verdicts of the near-duplicate filter")
    parser.add_argument("--topics", nargs="*", default=[], type=Path, help="tables of topics, the seed problems' last")
    parser.add_argument("--out", required=True, type=Path, help="profile to write, JSON")
    args = parser.parse_args()
    settings = read_settings(Settings, args.settings)
    kinds, agreement = [], {}
    for name in settings.generators:
        own: Any = [[path for path in paths if path.parts[-3] == name] for paths in (args.filtered, args.candidates)]
        kind, agreement[name] = profile.questions(name, *own)
        kinds.append(kind)
    kinds.append(profile.problems(SEEDS, args.seeds))
    kinds += [profile.problems(path.stem, path) for path in args.benchmarks]
    found = {
        "kinds": profile.profile(kinds, SEEDS, settings.duplicates),
        "agreement": agreement,
        "duplicates": profile.duplicate_rates(args.duplicates, settings.generators),
    }
    if args.topics:
        *generators, seeds = args.topics
        tables = {**{path.stem: path for path in generators}, SEEDS: seeds}
        found["topics"] = topics.profile(tables, SEEDS, args.seeds, settings.topics)
    write_json(args.out, found)


if __name__ == "__main__":
    job.run(main)
