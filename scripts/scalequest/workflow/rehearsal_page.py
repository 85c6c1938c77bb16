"""The page that a rehearsal ends with, as plain text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from scalequest.workflow.rehearsal import LONG_ENOUGH
from scalequest.workflow.rehearsal_findings import Findings, Texts

GB = 1e9
Row = dict[str, Any]


def page(found: Findings) -> str:
    """The findings on one page."""
    lines = ["Models", *(line for model in found.models for line in _model(model)), ""]
    lines += [f"{'Texts':24}{'of':24}{'texts':>7}{'empty':>8}{'cut':>8}{'unread':>8}", *map(_texts, found.stages), ""]
    if found.rewards:
        lines += [_rewards(found.rewards), ""]
    if found.engines:
        lines += [
            f"{'Engines, filled':24}{'model':40}{'rows/hour':>11}{'tokens/s':>10}{'seconds':>9}{'memory, GB':>16}"
        ]
        lines += [*map(_engine, found.engines), ""]
    if found.trainings:
        head = f"{'steps':>6}{'s a step':>10}{'checkpoint, GB':>16}{'seconds':>9}{'resumed':>9}{'memory, GB':>16}"
        lines += [f"{'Trainings':24}{'of':24}{head}", *map(_training, found.trainings), ""]
    lines += [f"{len(found.errors)} errors", *(f"  - {error}" for error in found.errors)]
    lines += [f"{len(found.warnings)} warnings", *(f"  - {warning}" for warning in found.warnings)]
    if short := [entry for entry in found.engines if entry["seconds"] < LONG_ENOUGH]:
        lines += [
            "",
            f"{len(short)} engines were measured for less than {LONG_ENOUGH} s: `make plan` does not use them.",
        ]
    return "\n".join(lines)


def _model(model: Row) -> Iterator[str]:
    size = f", {model['parameters'] / 1e6:,.0f}M parameters" if model.get("parameters") else ""
    yield f"  {model['name']}: {model.get('architecture', 'not staged')}{size}"
    yield f"    roles           {', '.join(model['roles'])}"
    if "tokenizer" in model:
        proof = model["tokenizer"] or {}
        against = proof.get("against") or "nothing: its files have no other reader"
        yield f"    tokenizer       held against {against}; {'mended' if proof.get('mended') else 'reads the same'}"
    if "prefix" in model:
        yield f"    bare prefix     {model['prefix']!r}"
        yield f"    ends            {', '.join(map(repr, model['stops']))}"
    if "trouble" in model:
        yield f"    trouble         {model['trouble']}"
    if "right" in model:
        yield f"    right answers   {model['right']:.0%} of {model['problems']} seed problems"


def _texts(row: Texts) -> str:
    shares = (row.empty, row.cut, row.unparsed)
    return f"{row.stage:24}{row.of:24}{row.texts:7d}" + "".join(
        f"{'' if share is None else format(share, '.0%'):>8}" for share in shares
    )


def _rewards(rewards: Row) -> str:
    return (
        f"Rewards: the solution has the higher one in {rewards['preferred']:.0%} of {rewards['pairs']} pairs; its mean "
        f"is {rewards['right']:.3g}, that of a wrong one {rewards['wrong']:.3g}"
    )


def _engine(row: Row) -> str:
    tokens = f"{row['tokens_per_second']:,.0f}" if row.get("tokens_per_second") else ""
    model = row["model"].removeprefix("results/").removesuffix(".json")
    return f"{row['what']:24}{model:40}{row['rows_per_hour']:11,.0f}{tokens:>10}{row['seconds']:9.0f}{_memory(row):>16}"


def _training(row: Row) -> str:
    start = f"{row['what']:24}{row['of']:24}{row['steps']:6d}"
    if "step_seconds" not in row:
        return f"{start}  weights of an earlier rehearsal"
    mean = _mean(row["step_seconds"])
    return (
        f"{start}{mean:10.1f}{row['checkpoint_bytes'] / GB:16.2f}{row['checkpoint_seconds']:9.1f}"
        f"{'yes' if row['resumed'] else 'no':>9}{_memory(row):>16}"
    )


def _memory(row: Row) -> str:
    return f"{row['peak_bytes'] / GB:.1f} of {row['memory_bytes'] / GB:.1f}"


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)
