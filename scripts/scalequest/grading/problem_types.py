"""What kind of problem a question with its answer is, and what makes a question unfit for a check of its answer.

English words and LaTeX are looked for, as the questions are written; a question of another language has no such words.
"""

from __future__ import annotations

import re

from scalequest.grading.answer_types import answer_type
from scalequest.grading.intervals import as_union
from scalequest.grading.lists import matrix_entries
from scalequest.grading.normalisation import normalise

PROOF, CHOICE, YES_NO, INTERVAL, MATRIX = "proof", "multiple choice", "yes/no", "interval", "matrix"
TYPES = ("integer", "decimal", "fraction", "expression", INTERVAL, "set", MATRIX, "text", PROOF, CHOICE, YES_NO, "none")
# What of a question makes its answer unfit for a check.
NO_OPTIONS, SEVERAL = "choices without their options", "several questions in one"

# Characters of a question that are read: a text of a model may have no end.
_READ = 10_000
# "Records show that" asks for no proof: "show that" begins a sentence, or follows "and" or the like. "Solve it and
# verify that it is right" asks for the solution.
_PROOF = re.compile(
    r"\b(?:dis)?prove(?:\s+(?:that|or disprove|the following|\$)|:)|\b(?:give|write|find)\s+a\s+(?:\w+\s+)?proof\b"
    r"|(?:^|[.;:,?!$]\s+|\b(?:and|or|then|please)\s+)(?:show|demonstrate)\s+that\b"
    r"|(?:^|[.;:?!$]\s+|\bplease\s+)verify\s+that\b",
    re.I | re.M,
)
_CHOOSING = re.compile(
    r"\bwhich\s+(?:one\s+)?of\s+(?:the\s+following|these)\b"
    r"|\b(?:choose|select|pick)\s+the\s+(?:correct|right|best)\s+(?:answer|option|choice|statement)",
    re.I,
)
# The first two of a list of options or of questions, each at the beginning of a line or behind white space.
_OPTIONS = re.compile(
    r"(?:^|[\s$({~])\(?A[).:]\s*\S.{0,2000}?(?:^|[\s$({~])\(?B[).:]\s*\S|\\textbf\{\(A\)|\\text\{\(A\)", re.S | re.M
)
_ASKS = r"(?:find|what|how|determine|compute|calculate|solve|which|is|are|does|do|write|give|evaluate|show|prove)\b"
_PARTS = re.compile(
    rf"(?:^|\s)\(?(?:a|i|1|Part\s+(?:A|1|I))[).:]\s+{_ASKS}"
    rf".{{0,2000}}?\s\(?(?:b|ii|2|Part\s+(?:B|2|II))[).:]\s+{_ASKS}",
    re.S | re.I,
)
_AND_ASKS = re.compile(
    r"\b(?:what|how (?:many|much))\b[^?.!]{1,300}?\band (?:what|how (?:many|much))\b[^?.!]{1,300}\?", re.I
)
# One that ends a sentence: in a table, a drawing or a quotation it asks nothing.
_ASKED = re.compile(r"[\w)$}\]]\s?\?(?=\s|$)")
_LETTER = re.compile(r"\(?(?:\\text(?:bf)?\{)?\(?([A-J])\)?\}?\)?\.?")
_SPOKEN = {"yes", "no", "true", "false"}
_ONE_INTERVAL = re.compile(r"[\[(][^()\[\]]*,[^()\[\]]*[\])]")


def problem_type(question: str, answer: str | None) -> str:
    """One of TYPES. A question that asks for a proof is one whatever its answer; `(1, 2)` is an interval only where the
    question speaks of one, or where an end is infinite or a bracket is square. Never raises."""
    question = question[:_READ]
    if _PROOF.search(question):
        return PROOF
    found = answer_type(answer)
    if answer is None or found == "none":
        return "none"
    plain = normalise(answer)
    if plain.strip(". ").lower() in _SPOKEN or _words(answer) in _SPOKEN:
        return YES_NO
    if _OPTIONS.search(question) and _LETTER.fullmatch(answer.strip().strip("$")):
        return CHOICE
    if matrix_entries(plain) is not None or "matrix}" in plain:
        return MATRIX
    return INTERVAL if _is_interval(question, plain) else found


def unfit(question: str) -> str:
    """Why no answer to a question can be checked: PROOF, NO_OPTIONS or SEVERAL; empty where one can."""
    question = question[:_READ]
    if _PROOF.search(question):
        return PROOF
    choosing = _CHOOSING.search(question)
    # What is to be chosen from follows the sentence, or a colon in it, or stands between commas with an "or".
    if choosing and not re.search(r"[?.:]\s*\S|,[^?]*\bor\b", question[choosing.end() :]):
        return NO_OPTIONS
    several = len(_ASKED.findall(question)) > 1 or _PARTS.search(question) or _AND_ASKS.search(question)
    return SEVERAL if several else ""


def _words(answer: str) -> str:
    return re.sub(r"\\text(?:bf)?\{([^{}]*)\}", r"\1", answer).strip("$. ").lower()


def _is_interval(question: str, plain: str) -> bool:
    text = as_union(plain)
    if "infty" not in text and "\\cup" not in text and text == plain and not _ONE_INTERVAL.fullmatch(plain):
        return False
    parts = text.split("\\cup")
    if not all(_ONE_INTERVAL.fullmatch(part.strip()) for part in parts):
        return False
    open_pair = len(parts) == 1 and text == plain and plain[0] == "(" and plain[-1] == ")" and "infty" not in plain
    return not open_pair or re.search(r"\binterval|\brange\b|\bdomain\b|\binequalit", question, re.I) is not None
