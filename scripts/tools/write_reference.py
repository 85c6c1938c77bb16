"""Write the pages of docs/reference/ that follow from the code: config.md from the schema of the config and from
config.yaml, tables.md from the declared tables. `make docs` runs it; a test holds the pages to it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from scalequest.config.schema import CATALOGUES, resolved, schema  # noqa: E402 - found through the path above
from scalequest.config.sentences import expected  # noqa: E402
from scalequest.default_config import default_config  # noqa: E402
from scalequest.rows.published import TABLES  # noqa: E402
from scalequest.rows.tables import Table  # noqa: E402

REFERENCE = ROOT / "docs" / "reference"
_NOTICE = "<!-- Written by scripts/tools/write_reference.py: change the {source}, then run `make docs`. -->"
_OPTIONAL, _REQUIRED = "not set", "required"
# Where the tables of a run are; names in braces stand for parts of the run.
_SHARD = "{generator}/seed{seed}/gpu{gpu}.parquet"
PLACES: dict[str, tuple[str, ...]] = {
    "problems": ("results/datasets/{dataset}.parquet", "results/seeds/seeds.parquet"),
    "questions": (f"results/questions/{_SHARD}", "results/preference_tuning/{generator}/questions.parquet"),
    "verdicts": (f"results/filters/text/{_SHARD}", "results/filters/duplicates/seed{seed}.parquet"),
    "judgements": (
        f"results/filters/solvability/{_SHARD}",
        "results/preference_tuning/{generator}/judgements.parquet",
    ),
    "scores": (f"results/filters/difficulty/{_SHARD}",),
    "filtered": (f"results/filtered/{_SHARD}",),
    "attempts": (
        "results/difficulty/attempts.parquet",
        f"results/responses/{_SHARD}",
        f"results/solutions/{{solver}}/{_SHARD}",
        "results/evaluation/{measured}/{dataset}/answers{part}.parquet",
    ),
    "rewards": (f"results/rewards/{_SHARD}",),
    # In place of `rewards`, with reward.kind process.
    "step_rewards": (f"results/rewards/{_SHARD}",),
    "candidates": (f"results/candidates/{_SHARD}",),
    "topics": ("results/topics/questions/{generator}.parquet", "results/topics/seeds.parquet"),
    "grades": ("results/evaluation/{measured}/{dataset}/grades.parquet",),
    # Kept between runs, and no result of one.
    "groups": (),
    "checks": (),
    "answer_checks": (f"results/checks/{_SHARD}",),
    # With verification.solvers.
    "verified": (f"results/verified/{_SHARD}",),
    "pairs": ("results/preference_tuning/{generator}/pairs.parquet",),
    "rewrites": ("results/preference_tuning/{generator}/rewrites.parquet",),
    "fail_rates": ("results/difficulty/fail_rates.parquet",),
    "signatures": (f"results/filters/signatures/{_SHARD}", "results/filters/kept/seed{seed}.parquet"),
    "dataset": ("results/dataset/train.parquet",),
    **{name: (f"results/dataset/{name}.parquet",) for name in ("chat", "prompt_completion", "preference", "rl")},
}


def main() -> None:
    REFERENCE.mkdir(exist_ok=True)
    for name, text in pages().items():
        (REFERENCE / name).write_text(text, encoding="utf-8")


def pages() -> dict[str, str]:
    """The text of each page, by its file name."""
    return {"config.md": config_page(), "tables.md": tables_page()}


def config_page() -> str:
    """Every key of the config: what it may be, its default, what it means."""
    lines = [
        "# Config keys",
        "",
        _NOTICE.format(source="descriptions in schemas/config.schema.yaml, or values in config.yaml"),
        "",
        "A config file, given with `--configfile mine.yaml`, sets only what differs from the defaults, which are the",
        "values in [config.yaml](../../config.yaml). A value that is not allowed is reported before any job starts.",
        "[reruns.md](reruns.md) lists what runs again after a change of a key.",
        "",
        "In the catalogues "
        + ", ".join(f"`{name}`" for name in CATALOGUES)
        + ", `NAME` is a name that you choose for an entry, of a-z, 0-9, _ and -.",
        "There, a key that is `required` must be given; one that is `not set` may be left out. `engine` and `tuning`",
        "of an entry then take the common value of that key.",
    ]
    for section, node in schema()["properties"].items():
        node = resolved(node)
        lines += [
            "",
            f"## {section}",
            "",
            _cell(node["description"]),
            "",
            *_head("key", "allowed", "default", "meaning"),
        ]
        lines += [_line(*row) for row in _keys(section, node, default_config()[section])]
    return "\n".join(lines) + "\n"


def _keys(path: str, node: Mapping[str, Any], value: Any) -> Iterator[tuple[str, str, str, str]]:
    """A row for each key at or below a node; `value` is its default."""
    if path in CATALOGUES:
        entry = resolved(node["additionalProperties"])
        yield from _below(f"{path}.NAME", entry, {})
    elif "properties" in node:
        yield from _below(path, node, value)
    else:
        yield f"`{path}`", _allowed(node), _code(value), _cell(node["description"])


def _below(path: str, node: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Rows for the keys of a section; of an entry of a catalogue, whose defaults are in the schema, without values."""
    for key, below in node["properties"].items():
        below, place = resolved(below), f"{path}.{key}"
        if "properties" in below:
            yield f"`{place}`", "", "", _cell(below["description"])
            yield from _below(place, below, values.get(key) or {})
            continue
        if key in values or "default" in below:
            default = _code(values.get(key, below.get("default")))
        else:
            default = _REQUIRED if key in node.get("required", ()) else _OPTIONAL
        yield f"`{place}`", _allowed(below), default, _cell(below["description"])


def _allowed(node: Mapping[str, Any]) -> str:
    """What a value may be, with its unit."""
    if "enum" in node:
        return ", ".join(f"`{choice}`" for choice in node["enum"])
    words = expected(node)
    items = resolved(node.get("items", {}))
    if "enum" in items:
        words = "a list of " + ", ".join(f"`{choice}`" for choice in items["enum"])
    elif isinstance(entry := node.get("additionalProperties"), Mapping):
        entry = resolved(entry)
        words = f"a map of names to: {_allowed(entry)}"
    return _cell(words) + (f" ({node['x-unit']})" if "x-unit" in node else "")


def tables_page() -> str:
    """Every table: where its files are, its columns, their types and meanings."""
    lines = [
        "# Tables",
        "",
        _NOTICE.format(source="tables declared in scripts/scalequest/rows/tables.py and published.py"),
        "",
        "All tables are Parquet files, sorted by their key; no two rows of a file have the same key. In paths,",
        "`{generator}`, `{dataset}` and `{measured}` (a student or a model) stand for names in the config, `{seed}`",
        "for a sampling seed, `{gpu}` for the number of a shard and `{part}` for the number of a job, both from 0.",
    ]
    for table in TABLES.values():
        lines += ["", f"## {table.name}", "", *_place(table), ""]
        lines += [f"Key: {', '.join(f'`{column}`' for column in table.key)}", ""]
        lines += _head("column", "type", "may be null", "meaning")
        lines += [_line(f"`{c.name}`", str(c.type), "yes" if c.null else "", _cell(c.meaning)) for c in table.columns]
    return "\n".join(lines) + "\n"


def _place(table: Table) -> list[str]:
    if not PLACES[table.name]:
        return ["Not in the results: kept in the progress folder, for later runs."]
    return [f"- `{path}`" for path in PLACES[table.name]]


def _head(*names: str) -> list[str]:
    return [_line(*names), "|" + " --- |" * len(names)]


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _code(value: Any) -> str:
    return f"`{json.dumps(value, ensure_ascii=False)}`".replace("|", "\\|")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    main()
