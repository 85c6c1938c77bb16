"""What a dataset says about itself: the funnel from questions to rows, and the card that shows it.

Questions and responses are a model's words, so the card trusts none: each value that the template shows is escaped for
Markdown and HTML unless a filter below made it safe, and no value is ever rendered as a template.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import pyarrow as pa

from scalequest.errors import ScaleQuestError
from scalequest.rows.tables import Column
from scalequest.runtime.files import read_json
from scalequest.visible import visible

# The sections of the config that shape a row, shown in the card; the whole config is in the manifest.
SHOWN_SECTIONS = (
    *("engine", "seeds", "question_tuning", "preference_tuning", "questions", "filters"),
    *("difficulty", "responses", "reward", "selection", "verification"),
)
EXAMPLE_CHARACTERS = 1500
# Identifiers that the Hugging Face hub has for licences, of those that models and data sets for mathematics have.
HUB_LICENCES = (
    "afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0 bigscience-openrail-m bsd "
    "bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 "
    "cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 "
    "cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 cdla-permissive-2.0 "
    "cdla-sharing-1.0 creativeml-openrail-m ecl-2.0 epl-1.0 epl-2.0 eupl-1.1 gemma gfdl gpl gpl-2.0 gpl-3.0 isc lgpl "
    "lgpl-2.1 lgpl-3.0 llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 mit mpl-2.0 ms-pl ncsa odbl odc-by ofl-1.1 "
    "openrail openrail++ osl-3.0 other pddl postgresql unknown unlicense wtfpl zlib"
)
_SPECIAL = re.compile(r"([\\`*_\[\]<>|&~$#!])")


class Verdict(NamedTuple):
    """What became of a question in the filters: its generator, the filter that dropped it (empty when kept) and the
    filters that only marked it."""

    generator: str
    dropped_by: str
    marks: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """One step of the funnel, in rows: `rows_in` less `dropped` is `rows_out`; `marked` rows are among the latter,
    unless a later filter dropped them."""

    name: str
    rows_in: int
    dropped: int
    marked: int
    rows_out: int


def active_filters(filters: Mapping[str, Any]) -> list[str]:
    """Names of the filters that ran, in order, from the config's `filters` section."""
    return [name for name in filters["order"] if filters[name]["enabled"]]


def count_verdicts(filtered: pa.Table) -> Counter[Verdict]:
    """How many questions of a FILTERED table met each fate.

    Raises ScaleQuestError where `kept` and `dropped_by` contradict each other.
    """
    columns = ["generator", "kept", "dropped_by", "marks"]
    counts: Counter[Verdict] = Counter()
    for row in filtered.select(columns).group_by(columns).aggregate([([], "count_all")]).to_pylist():
        if row["kept"] != (row["dropped_by"] == ""):
            raise ScaleQuestError(
                f"{row['count_all']} questions of the generator '{row['generator']}' have kept {row['kept']} and "
                f"dropped_by '{row['dropped_by']}', which cannot both be true: make the filtered table again."
            )
        marks = tuple(filter(None, row["marks"].split(",")))
        counts[Verdict(row["generator"], row["dropped_by"], marks)] += row["count_all"]
    return counts


def funnel(verdicts: Mapping[Verdict, int], order: Sequence[str]) -> list[Step]:
    """The filters' part of the funnel, one step for each name in `order`.

    A row counts as marked by a filter only if it came that far. Raises ScaleQuestError for a filter that dropped or
    marked rows and is not in `order`.
    """
    named = {name for verdict in verdicts for name in (verdict.dropped_by, *verdict.marks) if name}
    if unknown := named - set(order):
        raise ScaleQuestError(
            f"the filtered tables name the filters {sorted(unknown)}, and filters.order has {list(order)} enabled: "
            "the tables are from other settings; make them again."
        )
    steps: list[Step] = []
    left = dict(verdicts)
    rows = sum(left.values())
    for name in order:
        dropped = sum(count for verdict, count in left.items() if verdict.dropped_by == name)
        marked = sum(count for verdict, count in left.items() if name in verdict.marks)
        left = {verdict: count for verdict, count in left.items() if verdict.dropped_by != name}
        steps.append(Step(name, rows, dropped, marked, rows - dropped))
        rows -= dropped
    return steps


def read_manifests(paths: Iterable[str | Path], config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Models and data as the card lists them, by name, each once: name, source, licence, digest, base (may be empty).

    The licence is the config's: that of a trained model is its generator's first model's. Raises ScaleQuestError for a
    manifest that lacks name, source or digest, or of a name that the config does not have.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for path in paths:
        entry = read_json(path)
        if missing := [key for key in ("name", "source", "digest") if key not in entry]:
            raise ScaleQuestError(f"{path} has no {', '.join(missing)}: it is not a model's or a dataset's manifest.")
        base = entry.get("base") or ""
        found[entry["name"], entry["digest"]] = {
            **{key: entry[key] for key in ("name", "source", "digest")},
            "licence": _licence(entry, config, path),
            "base": base["name"] if isinstance(base, Mapping) else str(base),
        }
    return [found[key] for key in sorted(found)]


def _licence(entry: Mapping[str, Any], config: Mapping[str, Any], path: str | Path) -> str:
    name, trained = entry["name"], bool(entry.get("base"))
    try:
        if trained:
            name = config["generators"][name]["model"]
        return config["models" if "folder" in entry else "datasets"][name]["licence"]
    except KeyError:
        raise ScaleQuestError(f"{path} is of '{name}', which the config does not have.") from None


def shown_settings(config: Mapping[str, Any]) -> str:
    """The settings that shape a row, as indented JSON. Addresses of servers and of folders are not among them."""
    shown = {name: config[name] for name in SHOWN_SECTIONS if name in config}
    return json.dumps(shown, indent=2, ensure_ascii=False)


def size_category(rows: int) -> str:
    """The Hugging Face hub's name for a number of rows."""
    bounds = [(10**3, "1K"), (10**4, "10K"), (10**5, "100K"), (10**6, "1M"), (10**7, "10M"), (10**8, "100M")]
    below = "n"
    for bound, name in bounds:
        if rows < bound:
            return f"{below}<{name}"
        below = f"{name}<n"
    return "n>100M"


class Markdown(str):
    """Text that is safe to stand in the card as it is."""

    __slots__ = ()

    def __html__(self) -> str:
        return self


def escaped(value: Any) -> Markdown:
    """A value as plain words on one line, in which nothing is Markdown or HTML and no character is hidden; fit for a
    table's cell."""
    if isinstance(value, Markdown):
        return value
    return Markdown(_SPECIAL.sub(r"\\\1", _one_line(str(value))))


def _one_line(text: str) -> str:
    return " ".join(visible(text.replace("\r\n", "\n")).split())


def fenced(text: str, info: str = "text", limit: int | None = EXAMPLE_CHARACTERS) -> Markdown:
    """Text as a fenced block that it cannot close, cut after `limit` characters with a note of what is left out.

    Hidden characters are shown by number.
    """
    if limit is not None and len(text) > limit:
        text = f"{text[:limit]}\n[... {len(text) - limit:,} more characters]"
    text = visible(text.replace("\r\n", "\n"))
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return Markdown(f"{fence}{info}\n{text}\n{fence}")


def code(text: str) -> Markdown:
    """Text as inline code; fit for a table's cell."""
    words = _one_line(text).replace("|", "\\|")
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", words)), default=0))
    return Markdown(f"{ticks} {words} {ticks}" if len(ticks) > 1 else f"{ticks}{words or ' '}{ticks}")


def header(
    name: str,
    licence: str,
    language: str,
    rows: int,
    *,
    licence_link: str | None = None,
    columns: Sequence[Column] = (),
    formats: Mapping[str, int],
) -> Markdown:
    """The card's YAML: what the hub shows and how `datasets.load_dataset` finds the rows.

    A licence that the hub does not list is `other`, with its name and a link to its text. `formats` are the further
    configurations and their rows: one without rows is left out, as `datasets` fails to read its file.
    """
    from huggingface_hub import DatasetCardData

    listed = licence.lower() in HUB_LICENCES.split()
    named: dict[str, Any] = {"license_name": _one_line(licence), "license_link": licence_link or "unknown"}
    data = DatasetCardData(
        pretty_name=_one_line(name),
        license=licence.lower() if listed else "other",
        language=[language],
        annotations_creators="machine-generated",
        source_datasets=["original"],
        size_categories=[size_category(rows)],
        task_categories=["text-generation"],
        tags=["math", "synthetic", "scalequest"],
        configs=[
            {**_configuration("default", "train.parquet"), "default": True},
            *(_configuration(name, f"{name}.parquet") for name, count in formats.items() if count),
        ],
        dataset_info={
            "features": [{"name": column.name, "dtype": _dtype(column)} for column in columns],
            "splits": [{"name": "train", "num_examples": rows}],
        },
        **({} if listed else named),
    )
    return Markdown(f"---\n{data.to_yaml().strip()}\n---")


def _configuration(name: str, path: str) -> dict[str, Any]:
    return {"config_name": name, "data_files": [{"split": "train", "path": path}]}


def _dtype(column: Column) -> str:
    """A column's type as `datasets` names it."""
    return {"double": "float64"}.get(str(column.type), str(column.type))


def render(template: str | Path, facts: Mapping[str, Any]) -> str:
    """The card's text. Raises ScaleQuestError where the template cannot be read or names a fact that is not there."""
    environment = jinja2.Environment(
        autoescape=True,
        finalize=escaped,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"fenced": fenced, "code": code}
    environment.filters["count"] = lambda number: f"{number:,}"
    environment.filters["percent"] = lambda share: f"{100 * share:.1f} %"
    try:
        return environment.from_string(Path(template).read_text(encoding="utf-8")).render(facts)
    except (OSError, jinja2.TemplateError) as error:
        raise ScaleQuestError(f"the dataset card's template {template} cannot be used ({error}).") from None
