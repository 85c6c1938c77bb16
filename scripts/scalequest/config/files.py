"""Config files before they are loaded: keys that a file has twice, and the line of a syntax error.

YAML and JSON loaders keep the last of two equal keys and silently drop the first with all keys below it. The Snakefile
checks before it loads its own config file; `make plan` and `make explain` check before any file is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from scalequest.errors import ScaleQuestError
from scalequest.runtime.files import read_text

_MERGE = "tag:yaml.org,2002:merge"
# Opening brackets, by the parser's name for the part that they begin.
_BRACKETS = {"while parsing a flow mapping": "{", "while parsing a flow sequence": "["}


def check_files(paths: Iterable[Path], arguments: Iterable[str] = ()) -> None:
    """Raise ScaleQuestError that lists each key that a config file has twice and each syntax error, with the lines.

    `arguments` are the KEY=VALUE of the command line, whose values are YAML too. Paths that are no regular files are
    left to Snakemake: a file may be missing, or be a pipe that can be read only once.
    """
    problems: list[str] = []
    # A file that is named twice is read once.
    for path in {path.resolve(): path.absolute() for path in paths}.values():
        if path.is_file():
            problems += _problems(str(path), read_text(path, "the config file"))
    for argument in arguments:
        key, _, value = argument.partition("=")
        try:
            problems += _repeated(f"{key}=... of the command line", value)
        except (yaml.YAMLError, ValueError, RecursionError):
            # Snakemake takes a value that is not YAML as text.
            continue
    if problems:
        raise ScaleQuestError("\n".join(problems))


def _problems(name: str, text: str) -> list[str]:
    try:
        return list(_repeated(name, text))
    except yaml.MarkedYAMLError as error:
        return [_broken(name, error)]
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return [f"{name} cannot be read as YAML: {error}"]


def _broken(name: str, error: yaml.MarkedYAMLError) -> str:
    """One sentence on a syntax error."""
    mark, begun = error.problem_mark, error.context_mark
    place = f"{name}, line {mark.line + 1}, column {mark.column + 1}" if mark else name
    if begun and error.context in _BRACKETS:
        bracket = _BRACKETS[error.context]
        return (
            f"{place}: {error.problem}. The bracket {bracket} of line {begun.line + 1} is not closed before: close it, "
            "or correct what comes between."
        )
    context = f" ({error.context}{f' that begins in line {begun.line + 1}' if begun else ''})" if error.context else ""
    return f"{place}: {error.problem}{context}."


def _repeated(name: str, text: str) -> Iterator[str]:
    """A sentence for each key that a mapping has more than once. Raises what the YAML loader raises."""
    # As Snakemake does: JSON first, then YAML by its full loader.
    loader = yaml.FullLoader(_as_yaml(text))
    try:
        root = loader.get_single_node()
        if root is not None:
            yield from _walk(loader, root, name, (), set())
            loader.construct_document(root)
    finally:
        loader.dispose()


def _as_yaml(text: str) -> str:
    """The text; of JSON without characters that YAML does not allow, so that lines stay as they are."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    return yaml.reader.Reader.NON_PRINTABLE.sub(" ", text).replace("\t", " ")


def _walk(loader: yaml.FullLoader, node: yaml.Node, name: str, path: tuple[Any, ...], seen: set[int]) -> Iterator[str]:
    # An alias leads to the node that it names, which is visited once.
    if id(node) in seen or isinstance(node, yaml.ScalarNode):
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _walk(loader, item, name, path, seen)
        return
    lines: dict[Any, list[int]] = {}
    for key, value in node.value:
        # Several `<<` are all merged; the loader rejects any other key that is not a scalar.
        if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
            # As Python compares them: 1 and 1.0 are one key.
            found = loader.construct_object(key)
            lines.setdefault(found, []).append(key.start_mark.line + 1)
        else:
            found = "<<"
        yield from _walk(loader, value, name, (*path, found), seen)
    for key, numbers in lines.items():
        if len(numbers) > 1:
            yield _sentence(name, ".".join(map(str, (*path, key))), numbers)


def _sentence(name: str, key: str, lines: list[int]) -> str:
    several = f"lines {', '.join(map(str, lines[:-1]))} and {lines[-1]}"
    where = several if len(set(lines)) > 1 else f"line {lines[0]}"
    return (
        f"{name}, {where}: the key {key} is there {len(lines)} times, and only the last would count. Put what is below "
        "it into one place."
    )
