"""The config with every value that it leaves out.

Outside the catalogues a default is the value in config.yaml, nowhere else. The entries of a catalogue (a model, a data
set) are named by each config, so that config.yaml cannot hold the defaults of their keys: these are in the schema, as
are those of a section that is null there.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from scalequest.config.schema import CATALOGUES, resolved, schema
from scalequest.default_config import default_config
from scalequest.hashing import digest

# Sections of which no row depends.
NOT_SHAPING = ("storage", "operation", "rehearsal", "calibration", "browser", "report", "publish")


def fill_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the config with the default for each key that is missing, catalogue entries included.

    Numbers take the schema's type (1 becomes 1.0 where fractions are allowed), so that equal settings are equal text.
    A filter that `filters.order` omits is off: it comes last there, with `enabled: false`, as if a config had said so.
    """
    full = _typed(merged(default_config(), config), schema())
    _switch_off_omitted(full.get("filters"))
    return full


def without_value(config: Mapping[str, Any]) -> list[str]:
    """Keys outside the catalogues that have no value, dotted: someone took them out of config.yaml."""

    def walk(values: Any, default: Any, node: Mapping[str, Any], path: str) -> Iterator[str]:
        # What is empty or null by default has optional keys; a value of a wrong kind is reported elsewhere.
        if default in ({}, None) or not isinstance(values, Mapping):
            return
        for key, below in resolved(node).get("properties", {}).items():
            if key not in values:
                # Of a filter that is not named, nobody asks.
                if path != "filters." or key in values.get("order", ()):
                    yield path + key
            elif path + key not in CATALOGUES:
                least = default.get(key) if isinstance(default, Mapping) else None
                yield from walk(values[key], least, below, f"{path}{key}.")

    return list(walk(config, default_config(), schema(), ""))


def config_digest(config: Mapping[str, Any]) -> str:
    """SHA-256 of all settings that shape a result: what a run is frozen to, and what its jobs compare."""
    return digest(shaping(config))


def shaping(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config, defaults included, less what says where and how to run, and less an option that is off."""
    full = fill_defaults(config)
    on = {"topics": full["topics"]["enabled"], "verification": full["verification"]["solvers"]}
    idle = [name for name, used in on.items() if not used]
    return {key: value for key, value in full.items() if key not in (*NOT_SHAPING, *idle)}


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """One config on top of another, as Snakemake puts an overlay on config.yaml."""
    result = {}
    for key in {**below, **above}:
        value = above[key] if key in above else below[key]
        both = key in above and isinstance(value, Mapping) and isinstance(below.get(key), Mapping)
        result[key] = merged(below[key], value) if both else copy.deepcopy(value)
    return result


def _typed(value: Any, node: Mapping[str, Any]) -> Any:
    """The value with numbers of the schema's types and with the schema's defaults."""
    node = resolved(node)
    types = node.get("type", [])
    if isinstance(value, Mapping) and "object" in types:
        properties, entry = node.get("properties", {}), node.get("additionalProperties")
        result = {}
        for key, below in properties.items():
            below = resolved(below)
            if key in value:
                result[key] = _typed(value[key], below)
            elif "default" in below:
                result[key] = _typed(copy.deepcopy(below["default"]), below)
        for key in value:
            if key not in properties:
                result[key] = _typed(value[key], entry) if isinstance(entry, Mapping) else value[key]
        return result
    if isinstance(value, list) and "items" in node:
        return [_typed(item, node["items"]) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and _takes(types, "number"):
        return float(value)
    if isinstance(value, float) and value.is_integer() and _takes(types, "integer"):
        return int(value)
    return value


def _takes(types: str | list[str], name: str) -> bool:
    # Where a whole number and text are equally welcome (`where`), the value stays as it was written.
    return name in ([types] if isinstance(types, str) else types) and "string" not in types


def _switch_off_omitted(filters: Any) -> None:
    order = filters.get("order") if isinstance(filters, Mapping) else None
    if not isinstance(order, list):
        return
    for name in [key for key in filters if key not in ("order", *order)]:
        order.append(name)
        if isinstance(filters[name], dict):
            filters[name]["enabled"] = False
