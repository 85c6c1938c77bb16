"""The contract of a filter of texts: one module in this folder, named as the filter is in the config.

It has a frozen data class `Settings`, of the keys of its section `filters.NAME` that it reads (and `wanted`, the
dataset's language), and one function `verdict` from a row of the table of questions and these settings. It sees one
question at a time, and no model. Its section of the schema is all else that it needs (CONTRIBUTING.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, NamedTuple

from scalequest.settings import read_settings


class Verdict(NamedTuple):
    """Whether to keep a question, why not (empty when kept), and the number behind it, where there is one."""

    keep: bool
    reason: str
    score: float | None


def text_filter(name: str, section: Mapping[str, Any], wanted: str) -> Callable[[Mapping[str, Any]], Verdict]:
    """A filter as a function from questions to verdicts. `section` is the config's `filters.NAME`."""
    module = import_module(f"scalequest.filters.{name}")
    settings = read_settings(module.Settings, {**section, "wanted": wanted})
    return lambda question: module.verdict(question, settings)
