"""What must not be published: secrets, and names of the machine and of the person that ran it.

Files are searched as they are read by others: tables by their texts, the browser's blocks unpacked.
"""

from __future__ import annotations

import base64
import getpass
import gzip
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
    "a key of AWS": re.compile(r"\bAKIA[0-9A-Z]{16}\b"),
    "a token of GitHub": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,})"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
}
# Paths that only a machine has. /home/USER in a question is fiction: those of this machine are looked for there.
_PATHS = re.compile(r"(?<![\w.])/(?:home|Users|root|scratch|gpfs|lustre|work|mnt)/[\w.@+-]+(?:/[\w.@+-]+)+")
# Names that many machines and people have say nothing.
_COMMON = {"root", "user", "admin", "ubuntu", "debian", "test", "localhost", "node", "master", "login", "host", "home"}
_BLOCK = re.compile(r'scalequest\.block\("[^"]+","([A-Za-z0-9+/=]*)"\);')
_SHOWN = 60


def own_names() -> dict[str, re.Pattern[str]]:
    """What names this machine and user: host, user, home, the folder of the run; and values of the environment whose
    names say that they are secret."""
    names = {"this machine's name": socket.gethostname(), "its full name": socket.getfqdn(), "your user name": _user()}
    found = {
        what: re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])")
        for what, name in names.items()
        if len(name) > 3 and name.lower() not in _COMMON and not name[0].isdigit()
    }
    for what, path in (("your home folder", Path.home()), ("the folder of this run", Path.cwd())):
        if len(path.parts) > 2:
            found[what] = re.compile(rf"{re.escape(str(path))}(?![\w-])")
    for name, value in os.environ.items():
        if re.search("TOKEN|SECRET|PASSWORD|API_?KEY", name) and len(value) > 7:
            found[f"the value of {name}"] = re.compile(re.escape(value))
    return found


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def leaks(files: Sequence[tuple[str, Path]]) -> Iterator[str]:
    """A sentence for each thing in a file (its name and path) that should not be published, one of each kind a file."""
    wanted = {**SECRETS, **own_names()}
    for name, path in files:
        # Rows are words of models: a path in them is none of this machine.
        patterns = wanted if _rows(name) else {**wanted, "a path of a machine": _PATHS}
        missing = dict(patterns)
        for text in _texts(path):
            for what, pattern in list(missing.items()):
                if found := pattern.search(text):
                    del missing[what]
                    yield f"{name} has {what}: {_around(text, found)}"


def _rows(name: str) -> bool:
    return name.endswith((".parquet", ".jsonl", ".csv")) or name.startswith("browser/") or name == "report.html"


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
    elif pa.types.is_list(column.type):
        yield from _texts_of(column.flatten())
    elif pa.types.is_string(column.type):
        # One text of a column: a thousand searches of short ones take longer.
        yield "\n".join(value for value in column.to_pylist() if value is not None)
