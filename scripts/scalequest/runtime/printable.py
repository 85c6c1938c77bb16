"""Text of others (a model, a server, a file's name) as a log or a terminal may show it.

Control characters move the cursor, write over lines and rename windows; others turn the direction of writing around.
"""

from __future__ import annotations

import logging
from typing import Any, TextIO

from scalequest.visible import visible

# What follows a line break in a message stands further in than any line of ours begins.
_INDENT = "    "


def printable(text: str, *, breaks: bool = True) -> str:
    """The text with its hidden characters as numbers. Tabs stay, and so do line breaks unless `breaks` is False."""
    return visible(text, keep="\t\n" if breaks else "\t")


def log_handler(stream: TextIO) -> logging.Handler:
    """A handler that writes log lines as every program here does; from then on no handler gets a raw message, those
    that libraries have of their own included."""
    logging.setLogRecordFactory(_Record)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Formatter("%(asctime)s %(name)s: %(message)s", "%H:%M:%S"))
    return handler


class _Record(logging.LogRecord):
    def getMessage(self) -> str:
        return printable(super().getMessage())


class _Formatter(logging.Formatter):
    def formatException(self, ei: Any) -> str:
        return printable(super().formatException(ei))

    def format(self, record: logging.LogRecord) -> str:
        # A line break in a message must not begin what looks like a line of its own.
        return super().format(record).replace("\n", f"\n{_INDENT}")
