"""The schema of the config, schemas/config.schema.yaml: which keys there are, of which kind, with which meaning."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from scalequest.runtime.files import CHECKOUT

SCHEMA = CHECKOUT / "schemas" / "config.schema.yaml"
# Sections whose entries have names that a config chooses.
CATALOGUES = ("models", "datasets", "generators", "students")


@functools.cache
def schema() -> dict[str, Any]:
    """The schema as a dict. Shared by all callers: not to be changed."""
    return yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))


def resolved(node: Mapping[str, Any]) -> dict[str, Any]:
    """A schema node with its `$ref` put in; what stands beside the reference wins."""
    if "$ref" not in node:
        return dict(node)
    return {
        **schema()["$defs"][node["$ref"].removeprefix("#/$defs/")],
        **{k: v for k, v in node.items() if k != "$ref"},
    }


@functools.cache
def all_keys() -> tuple[str, ...]:
    """Dotted paths of all settings outside the catalogues."""

    def walk(node: Mapping[str, Any], path: str) -> Iterator[str]:
        for key, below in resolved(node).get("properties", {}).items():
            yield path + key
            yield from walk(below, f"{path}{key}.")

    return tuple(walk(schema(), ""))
