"""The config's values by the schema: each mistake as a sentence with the key, its value and what it must be."""

from __future__ import annotations

import copy
import difflib
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

import jsonschema

from scalequest.config.schema import all_keys, resolved, schema

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a map of settings",
    "null": "null",
}


def plain(config: Mapping[str, Any], path: str = "") -> tuple[dict[str, Any], list[str]]:
    """A deep copy without what JSON cannot hold (keys that are not text, infinity), and a sentence for each."""
    result: dict[str, Any] = {}
    problems: list[str] = []
    for key, value in config.items():
        place = f"{path}{key}"
        if not isinstance(key, str):
            problems.append(f"the key {place} is not text: YAML reads it as {_shown(key)}; write it in quotes.")
        elif isinstance(value, Mapping):
            result[key], below = plain(value, f"{place}.")
            problems += below
        elif isinstance(value, float) and not math.isfinite(value):
            problems.append(f"{place} is {value}; it must be a finite number.")
        else:
            result[key] = copy.deepcopy(value)
    return result, problems


def structure(config: Mapping[str, Any]) -> tuple[list[list[str | int]], list[str]]:
    """Paths of the values that the schema rejects, and a sentence for each."""
    paths: list[list[str | int]] = []
    problems: list[str] = []
    errors = jsonschema.Draft202012Validator(schema()).iter_errors(config)
    for error in sorted(errors, key=lambda error: [str(part) for part in error.absolute_path]):
        path: list[str | int] = list(error.absolute_path)
        node = cast("Mapping[str, Any]", error.schema)
        value: Any = error.instance
        if error.validator == "additionalProperties":
            known = list(node.get("properties", {}))
            for key in [key for key in value if key not in known]:
                paths.append([*path, key])
                hint = close(key, known) or _right_place(key)
                problems.append(f"unknown key {_dotted([*path, key])}{hint}.")
        elif error.validator == "required":
            for key in [key for key in node["required"] if key not in value]:
                meaning = resolved(node["properties"][key])["description"]
                problems.append(f"{_dotted(path)} has no key '{key}'. {meaning}")
        elif "propertyNames" in error.absolute_schema_path:
            paths.append([*path, value])
            problems.append(f"the name {value!r} in {_dotted(path)} must be {node['x-expected']}.")
        elif path not in paths:
            paths.append(path)
            problems.append(_rejected(_dotted(path), value, node, str(error.validator)))
    return paths, list(dict.fromkeys(problems))


def _rejected(place: str, value: Any, node: Mapping[str, Any], keyword: str) -> str:
    """One sentence on a value that a keyword of its schema node rejects."""
    if keyword == "uniqueItems":
        twice = [str(item) for number, item in enumerate(value) if item in value[:number]]
        return f"{place} names {', '.join(twice)} more than once."
    if isinstance(value, str) and _NUMBER.fullmatch(value) and {"integer", "number"} & set(_types(node)):
        return f"{place} is '{value}', which YAML reads as text, not as a number: write {_as_yaml(value)}."
    hint = close(value, node["enum"]) if isinstance(value, str) and "enum" in node else ""
    if isinstance(value, str) and (gone := node.get("x-removed", {}).get(value)):
        hint = f". {gone}"
    # Messages end up in logs, so a text that may be a password or an API key is not repeated.
    shown = "a text that is not shown here" if node.get("x-hidden") and isinstance(value, str) else _shown(value)
    return f"{place} is {shown}; it must be {expected(node)}{hint}."


def _types(node: Mapping[str, Any]) -> list[str]:
    types = node.get("type", [])
    return [types] if isinstance(types, str) else list(types)


def expected(node: Mapping[str, Any]) -> str:
    """What a schema node accepts, in words: `a whole number, at least 1, or null`."""
    if "enum" in node:
        return "one of " + ", ".join("null" if choice is None else str(choice) for choice in node["enum"])
    types = _types(node)
    bounds = [
        f"{words} {node[key]}"
        for key, words in (
            ("minimum", "at least"),
            ("exclusiveMinimum", "above"),
            ("maximum", "at most"),
            ("exclusiveMaximum", "below"),
        )
        if key in node
    ]
    if "x-expected" in node:
        words = [node["x-expected"]]
    else:
        words = [" or ".join(_TYPES[name] for name in types if name != "null"), *bounds]
    if node.get("minItems") or node.get("minLength"):
        words.append("not empty")
    return ", ".join(words) + (", or null" if "null" in types else "")


def _shown(value: Any) -> str:
    """A value as messages show it, for example `'five' (text)`; a long one is cut."""
    if value is None:
        return "null (empty)"
    if isinstance(value, Mapping):
        return "a map of settings"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value!r:.80}" + (" (text)" if isinstance(value, str) else "")


def _as_yaml(number: str) -> str:
    """A number as YAML 1.1 reads one: with a dot in the mantissa and a sign in the exponent."""
    mantissa, _, exponent = number.lower().partition("e")
    mantissa = mantissa if "." in mantissa or not exponent else f"{mantissa}.0"
    if mantissa.endswith("."):
        mantissa += "0"
    if not exponent:
        return mantissa + " without quotes"
    return f"{mantissa}e{exponent if exponent[0] in '+-' else '+' + exponent}"


def close(word: str, known: Iterable[str]) -> str:
    """A hint at the known word that is most like this one; empty where none is."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]}?)" if close else ""


def _right_place(key: str) -> str:
    places = [path for path in all_keys() if path.rsplit(".", 1)[-1] == key]
    return f" (a key of that name belongs at {' or '.join(places)})" if places else ""


def _dotted(path: Iterable[str | int]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "the config"


def not_in(path: str, name: str, catalogue: str, config: Mapping[str, Any]) -> str:
    """The sentence on a setting that names an entry which a catalogue does not have."""
    known = sorted(config[catalogue])
    hint = close(name, known) or f", which has {', '.join(known) or 'no entry'}"
    return f"{path} names '{name}', which is not in the catalogue {catalogue}{hint}."
