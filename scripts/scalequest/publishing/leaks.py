"""What must not be published: secrets, and names of the machine and of the person that ran it.

Files are searched as they are read by others: tables by their texts, the browser's blocks unpacked.
"""

from __future__ import annotations

import base64
import getpass
import gzip
import json
import os
import re
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

# Tokens and keys by their forms; long enough that no text has them by chance.
SECRETS = {
    "a token of the Hugging Face hub": re.compile(r"\bhf_[A-Za-z0-9]{30,}"),
    "an API key": re.compile(r"\bsk-[A-Za-z0-9_-]{20,}"),
    "a key of AWS": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a key of Google": re.compile(r"\bAIza[0-9A-Za-z_-]{35}"),
    "a token of GitHub": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,})"),
    "a token of GitLab": re.compile(r"\bglpat-[A-Za-z0-9_-]{20,}"),
    "a token of Slack": re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{20,}"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
}
# Paths from the root, which clusters name at will. /home/USER in a question is fiction: those of this machine are
# looked for there.
_PATHS = re.compile(r"(?<![\w.<~)}\]/+-])(?:/[\w.@+-]+){3,}")
# Names that many machines and people have say nothing.
_COMMON = {"root", "user", "admin", "ubuntu", "debian", "test", "localhost", "node", "master", "login", "host", "home"}
_BLOCK = re.compile(r'scalequest\.block\("[^"]+","([A-Za-z0-9+/=]*)"\);')
_SHOWN = 60
REPORT = "report.html"


def own_names(*, words: bool = True) -> dict[str, re.Pattern[str]]:
    """What names this machine and user: host, user, home, the folder of the run. Without `words` a name of letters
    alone, such as `theta`, is not among them: a text may have it by chance."""
    names = {"this machine's name": socket.gethostname(), "its full name": socket.getfqdn(), "your user name": _user()}
    found = {
        what: re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])")
        for what, name in names.items()
        if len(name) > 3 and name.lower() not in _COMMON and not name[0].isdigit() and (words or not name.isalpha())
    }
    for what, path in (("your home folder", Path.home()), ("the folder of this run", Path.cwd())):
        if len(path.parts) > 2:
            found[what] = re.compile(rf"{re.escape(str(path))}(?![\w-])")
    return found


def own_secrets() -> dict[str, re.Pattern[str]]:
    """Values of the environment whose names say that they are secret, as they are and as JSON writes them."""
    found = {}
    for name, value in os.environ.items():
        if re.search("TOKEN|SECRET|PASSWORD|API_?KEY", name) and len(value) > 7:
            forms = {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
            found[f"the value of {name}"] = re.compile("|".join(map(re.escape, sorted(forms))))
    return found


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def leaks(files: Sequence[tuple[str, Path]], allowed: Sequence[str] = ()) -> Iterator[str]:
    """A sentence for each thing in a file (its name and path) that should not be published, one of each kind a file.
    A name or path that is `allowed` is no such thing; a secret always is."""
    secrets = {**SECRETS, **own_secrets()}
    # Rows are words of models: a path in them is none of this machine, and a word that is also a name is a word.
    in_rows, anywhere, paths = own_names(words=False), own_names(), {"a path of a machine": _PATHS}
    for name, path in files:
        # The report quotes rows, and shows the settings of the run.
        missing = {**secrets, **(in_rows if _rows(name) or name == REPORT else anywhere)}
        missing |= {} if _rows(name) else paths
        for text in _texts(path):
            for what, pattern in list(missing.items()):
                places = (one for one in pattern.finditer(text) if what in secrets or one[0] not in allowed)
                if found := next(places, None):
                    del missing[what]
                    yield f"{name} has {what}: {_around(text, found)}"


def _rows(name: str) -> bool:
    return name.endswith((".parquet", ".jsonl", ".csv")) or name.startswith("browser/")


def _around(text: str, found: re.Match[str]) -> str:
    """Where it was found, without showing all of a secret."""
    shown = found[0] if len(found[0]) < 8 else f"{found[0][:6]}..."
    before = text[max(0, found.start() - _SHOWN) : found.start()].rpartition("\n")[2]
    return repr(f"{before}{shown}")


def _texts(path: Path) -> Iterator[str]:
    if path.suffix == ".parquet":
        with pq.ParquetFile(path) as file:
            yield str(file.schema_arrow.metadata or {})
            for batch in file.iter_batches(5000):
                yield from _strings(batch)
        return
    text = path.read_bytes().decode("utf-8", "replace")
    yield text
    for packed in _BLOCK.findall(text):
        yield gzip.decompress(base64.b64decode(packed)).decode("utf-8", "replace")


def _strings(batch: pa.RecordBatch) -> Iterator[str]:
    for column in batch.columns:
        yield from _texts_of(column)


def _texts_of(column: pa.Array) -> Iterator[str]:
    """The texts of a column, those in its lists and maps included."""
    if pa.types.is_struct(column.type):
        for part in column.flatten():
            yield from _texts_of(part)
    elif pa.types.is_map(column.type):
        yield from _texts_of(column.keys)
        yield from _texts_of(column.items)
    elif pa.types.is_dictionary(column.type):
        yield from _texts_of(column.dictionary)
    elif pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        yield from _texts_of(column.flatten())
    elif pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        # One text of a column: a thousand searches of short ones take longer.
        yield "\n".join(value for value in column.to_pylist() if value is not None)
