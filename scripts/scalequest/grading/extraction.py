"""The final answer of a response, as it is written there."""

from __future__ import annotations

import re

from scalequest.grading.equality import equal_fast
from scalequest.grading.latex import STYLED, brace_pairs, is_prose
from scalequest.grading.normalisation import normalise
from scalequest.grading.values import apart, values

_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*")
_HASHES = re.compile(r"^[ \t]*####[ \t]*(\S.*)$", re.MULTILINE)
# A heading of Markdown may begin with #### too; an answer starts with mathematics or is the last line.
_MATH_START = re.compile(r"[\s$€£(\[{*+.~-]*(?:[0-9]|\\|[A-Za-z](?![A-Za-z]))")
_CLOSING = re.compile(
    r"\b(?:answer\b[^.:=\n]{0,60}?\bis\b|answers\b[^.:=\n]{0,60}?\bare\b|answers?\b[\s*_]{0,4}[:=])[\s:*_]{0,6}"
    r"(?:(?:therefore|thus|simply|just|exactly|approximately|about|around|roughly|equal to)[\s,:]{1,3})?",
    re.IGNORECASE,
)
_CLAUSE_END = re.compile(r"(?<!\.)\.\s|\.?\*\*|,?\s(?:because|since|which|as|so)\s|(?<!\.)\.$")
_AMOUNT = re.compile(r"\$ ?-?(?:[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?|\.[0-9]+)")
_PROSE_END = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}\s$")
_BETWEEN_BOXES = re.compile(
    r"[\s$]*(?:,|(?:,\s)?(?:and|or)|\\text ?\{ ?(?:and|or) ?\})[\s$]*(?:[A-Za-z](?:_\{?\w\}?)?\s?=\s?)?[\s$]*"
)
# The phrase before an answer is looked for in so many last lines.
_CLOSING_LINES = 4
# Most boxes of one answer, and most characters between two of them.
_MOST_BOXES, _NEAR_BOXES = 20, 60


def extract_answer(response: str) -> str | None:
    """The final answer as written, or None where there is none.

    It is the last complete box (with the boxes that `and`, `or` or a comma joins to it), else a line `#### x`, else the
    text after "the answer is" or "Answer:" in the last lines. Never raises; linear in the length of the response.
    """
    return _last_boxes(response) or _after_hashes(response) or _after_closing_phrase(response)


def _last_boxes(text: str) -> str | None:
    boxes = list(_BOX.finditer(text))
    if not boxes:
        return None
    pairs = brace_pairs(text)
    answers: list[str] = []
    begun = 0
    for box in reversed(boxes):
        content, end = _box_content(text, box.end(), pairs)
        joined = end <= begun <= end + _NEAR_BOXES and _BETWEEN_BOXES.fullmatch(text, end, begun)
        if (answers and not joined) or len(answers) == _MOST_BOXES:
            break
        if content:
            begun = box.start()
            answers += [content] if not any(_same(content, other) for other in answers) else []
    return ", ".join(reversed(answers)) or None


def _same(a: str, b: str) -> bool:
    """Whether two boxes hold one answer in two forms, as far as can be decided without algebra."""
    first, second = values(normalise(a)), values(normalise(b))
    return equal_fast(a, b) is True or bool(first and second and not apart(first, second))


def _box_content(text: str, start: int, pairs: dict[int, int]) -> tuple[str, int]:
    """The content of a box whose name ends at `start`, and the position of its end; empty if it is not closed."""
    if text[start : start + 1] == "{":
        end = pairs.get(start, start)
        return text[start + 1 : end].strip(), end + 1
    bare = re.compile(r"[^\s${}]{1,200}").match(text, start)
    return (bare.group().rstrip(".,;"), bare.end()) if bare else ("", start)


def _after_hashes(text: str) -> str | None:
    end = len(text.rstrip())
    for line in reversed(list(_HASHES.finditer(text))):
        content = line.group(1).strip()
        if line.end() >= end or _MATH_START.match(content):
            return content
    return None


def _after_closing_phrase(text: str) -> str | None:
    lines = [line for line in text.splitlines() if line.strip()][-_CLOSING_LINES:]
    tail = "\n".join(lines)
    phrases = list(_CLOSING.finditer(tail))
    if not phrases:
        return None
    rest = tail[phrases[-1].end() :].lstrip().partition("\n")[0]
    if rest.startswith("$") and not rest.startswith("$$"):
        # Mathematics may contain a full stop and a space, so it ends at the dollar; prose there means money.
        inner, closed, _ = rest[1:].partition("$")
        amount = _AMOUNT.match(rest)
        if amount and (not closed or _PROSE_END.search(inner) or is_prose(STYLED.sub("", inner))):
            return amount.group()
        return inner.strip() or None
    return _CLAUSE_END.split(rest, maxsplit=1)[0].strip(" *_") or None
