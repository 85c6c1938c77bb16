"""Final answers: read from a response, cleaned of LaTeX and text noise, compared.

Three steps from cheap to dear: equal strings after cleaning, exact numbers, then symbolic mathematics (math-verify).
The first two are decided here and now; the third may run for ever on hostile text, so `grading` calls it in processes
that it can kill. Model text is parsed, never evaluated: math-verify is given its LaTeX grammar alone, because its
grammar for plain expressions ends in Python's eval.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

from scalequest.values import Values, apart, values

# Longer text is nobody's final answer: it is compared as a string only. Below the 4,300 digits that int() reads.
LONGEST = 4000
# Exponents and factorials beyond this are not expanded: 10^{10^{10}} would fill the memory.
LARGEST_EXPONENT = 100_000
_ROUNDS = 12
_HUGE = 1e300
# Of two numbers, one with decimals: what is left between equal ones, computed to 30 digits.
_EXACTLY = 1e-13


# ---------------------------------------------------------------- extraction

_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_HASHES = re.compile(r"^[ \t]*####[ \t]*(\S.*)$", re.MULTILINE)
# A level-four heading of Markdown looks the same; an answer starts with mathematics or is the last line.
_MATH_START = re.compile(r"[\s$€£(\[{*+.~-]*(?:[0-9]|\\|[A-Za-z](?![A-Za-z]))")
_CLOSING = re.compile(r"\banswer\b(?:[^.:=\n]{0,60}?\bis\b|[\s*_]{0,4}[:=])[\s:*_]{0,6}", re.IGNORECASE)
_CLAUSE_END = re.compile(r"\.\s|\.?\*\*|,?\s(?:because|since|which|as|so)\s|\.$")
_CLOSING_LINES = 4


def extract_answer(response: str) -> str | None:
    """The final answer as written, or None: the last complete box, else a line `#### x`, else what follows "the answer
    is" or "Answer:" in the last lines. Never raises; linear in the length of the response.
    """
    return _last_box(response) or _after_hashes(response) or _after_closing_phrase(response)


def _last_box(text: str) -> str | None:
    boxes = list(_BOX.finditer(text))
    if not boxes:
        return None
    pairs = brace_pairs(text)
    for box in reversed(boxes):
        start = box.end()
        if text[start : start + 1] == "{":
            content = text[start + 1 : pairs[start]] if start in pairs else ""
        else:
            bare = re.compile(r"[^\s${}]{1,200}").match(text, start)
            content = bare.group().rstrip(".,;") if bare else ""
        if content.strip():
            return content.strip()
    return None


def brace_pairs(text: str) -> dict[int, int]:
    """Position of each opening brace that is closed -> position of its closing brace; escaped braces do not count."""
    pairs: dict[int, int] = {}
    opened: list[int] = []
    for token in _BRACE.finditer(text):
        if token.group() == "{":
            opened.append(token.start())
        elif token.group() == "}" and opened:
            pairs[opened.pop()] = token.start()
    return pairs


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
        # Mathematics may hold a full stop followed by a space; prose after it is no part of the answer.
        inner = rest[1:].partition("$")
        return inner[0].strip() or None
    return _CLAUSE_END.split(rest, maxsplit=1)[0].strip(" *_") or None


# ---------------------------------------------------------------- normalisation


@dataclass(frozen=True)
class Parts:
    """A normalised answer: `x=5\\text{ cm}` has name `x`, value `5`, unit `cm`. A modulus is a unit, an unknown unit is
    none."""

    value: str
    name: str = ""
    unit: str = ""


_CHARACTERS = {
    "\N{MINUS SIGN}": "-",
    "\N{EN DASH}": "-",
    "\N{EM DASH}": "-",
    "\N{MULTIPLICATION SIGN}": r"\times ",
    "\N{MIDDLE DOT}": r"\cdot ",
    "\N{DOT OPERATOR}": r"\cdot ",
    "\N{DIVISION SIGN}": "/",
    "\N{GREEK SMALL LETTER PI}": r"\pi ",
    "\N{GREEK SMALL LETTER THETA}": r"\theta ",
    "\N{SQUARE ROOT}": r"\sqrt ",
    "\N{INFINITY}": r"\infty ",
    "\N{UNION}": r"\cup ",
    "\N{INTERSECTION}": r"\cap ",
    "\N{ELEMENT OF}": r"\in ",
    "\N{EMPTY SET}": r"\emptyset ",
    "\N{LESS-THAN OR EQUAL TO}": r"\le ",
    "\N{GREATER-THAN OR EQUAL TO}": r"\ge ",
    "\N{NOT EQUAL TO}": r"\ne ",
    "\N{PLUS-MINUS SIGN}": r"\pm ",
    "\N{MINUS-OR-PLUS SIGN}": r"\mp ",
    "\N{DEGREE SIGN}": r"^\circ ",
    "\N{DOUBLE-STRUCK CAPITAL R}": r"\mathbb{R}",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{PRIME}": "'",
    "\N{EURO SIGN}": " ",
    "\N{POUND SIGN}": " ",
    **{vulgar: rf"\frac{{{p}}}{{{q}}}" for vulgar, p, q in zip("½¼¾⅓⅔⅕", "113121", "244335", strict=True)},
    **{raised: f"^{{{digit}}}" for digit, raised in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
}
_TRANSLATION = str.maketrans(_CHARACTERS)

_STYLES = r"text(?:bf|it|rm|sf|tt|normal)?|math(?:rm|bf|it|sf|tt|normal)|mbox|hbox|operatorname\*?|boldsymbol|bm|emph"
_STYLED = re.compile(rf"\\(?:{_STYLES}|boxed|fbox|underline)\s*\{{([^{{}}]*)\}}")
_SYNONYMS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), new)
    for pattern, new in (
        (r"\\\\\s*\[[^\]]{0,12}\]", r"\\\\ "),
        (r"(?<!\\)\\[()\[\]]", " "),
        (r"(?<=[0-9])\\,(?=[0-9]{3}(?![0-9]))", ""),
        (r"\{,\}\s?|,\s?\\!\s?", ","),
        (r"\\!", ""),
        (r"(?<!\\)\\[,;:> ]|~|\\(?:quad|qquad|displaystyle|textstyle|limits|nolimits|thinspace)(?![A-Za-z])", " "),
        (r"(?<!\\)\\\$", " "),
        (r"\$", " "),
        (r"\\(?:left|right)(?![A-Za-z])\s?\.?|\\[bB]igg?[lrm]?(?![A-Za-z])", " "),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\(?:leqslant|leq|leqq)(?![A-Za-z])", r"\\le "),
        (r"\\(?:geqslant|geq|geqq)(?![A-Za-z])", r"\\ge "),
        (r"\\neq(?![A-Za-z])", r"\\ne "),
        (r"\\lt(?![A-Za-z])", "<"),
        (r"\\gt(?![A-Za-z])", ">"),
        (r"\\lbrace(?![A-Za-z])", r"\\{"),
        (r"\\rbrace(?![A-Za-z])", r"\\}"),
        (r"\\[lr]?vert(?![A-Za-z])", "|"),
        (r"\\colon(?![A-Za-z])", ":"),
        (r"\\(?:varnothing|empty)(?![A-Za-z])", r"\\emptyset "),
        (r"\\[lc]dots(?![A-Za-z])", r"\\dots "),
        (r"\^\s*\{\s*\\(?:circ|degree)\s*\}|\^\s*\\(?:circ|degree)(?![A-Za-z])|\\degree(?![A-Za-z])", " "),
        (r"\\%|\s*\bper ?cent(?:age points?)?\b", "%"),
        (r"(?<![\\A-Za-z])sqrt(?![A-Za-z])", r"\\sqrt"),
        (r"\\sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"(?<![\\A-Za-z])pi(?![A-Za-z])", r"\\pi "),
        (r"(?<![\\A-Za-z])infinity(?![A-Za-z])", r"\\infty "),
        (r"\\begin\s*\{[bB]?(?:small)?matrix\}", r"\\begin{pmatrix}"),
        (r"\\end\s*\{[bB]?(?:small)?matrix\}", r"\\end{pmatrix}"),
        (r"[\[(]\s*\\begin\s*\{array\}\s*\{[^{}]*\}", r"\\begin{pmatrix}"),
        (r"\\end\s*\{array\}\s*[\])]", r"\\end{pmatrix}"),
        (r"(?:\\\\\s*)+(?=\\end\b)", ""),
        (r"^(?:(?:so|thus|therefore|hence),?\s)?(?:the\s)?(?:final\s)?(?:answer|solution)s?\s?(?:is|are)?\s?:?\s", ""),
    )
)
_FLAGGED_LAST = re.compile(_SYNONYMS[-1][0].pattern, re.IGNORECASE)

_FUNCTIONS = frozenset(
    re.findall(
        r"\w+",
        "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log exp lim max min sup inf det gcd lcm mod arg "
        "dim ker sqrt frac sum prod sgn erf",
    )
)
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]+")
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\{[a-z]{1,12}\*?\}")

# Words after a number that are no unit: they change what it says.
_NOT_UNITS = frozenset(
    re.findall(
        r"\w+",
        "and or if for when where otherwise even odd out of to over times plus minus divided by modulo choose "
        "factorial squared cubed dozen hundred thousand million billion trillion is not no less more than least most "
        "infinity pi sqrt ln real",
    )
) | (_FUNCTIONS - {"min", "sec", "log"})
_UNITS = {
    alias: unit
    for unit, aliases in {
        "mm": "mm millimeter millimetre",
        "cm": "cm centimeter centimetre",
        "m": "m meter metre",
        "km": "km kilometer kilometre",
        "in": "in inch inche",
        "ft": "ft foot feet",
        "yd": "yd yard",
        "mi": "mi mile",
        "g": "g gram",
        "kg": "kg kilogram",
        "lb": "lb pound",
        "oz": "oz ounce",
        "ml": "ml milliliter millilitre",
        "l": "l liter litre",
        "s": "s sec second",
        "min": "min minute",
        "h": "h hr hour",
        "day": "day",
        "week": "week",
        "month": "month",
        "year": "yr year",
        "cent": "cent",
        "dollar": "dollar buck usd",
        "degree": "deg degree",
        "radian": "rad radian",
        "celsius": "c celsius",
        "fahrenheit": "f fahrenheit",
        "mi/h": "mph",
        "km/h": "kph kmh",
    }.items()
    for alias in aliases.split()
}
_STYLED_UNIT = re.compile(
    rf"(?:\s*[/*]?\s*(?:\\cdot\s*)?\\(?:{_STYLES})\s*\{{[^{{}}]*\}}(?:\s*\^\s*(?:[23]|\{{\s*[23]\s*\}}))?)+\s*$"
)
_PLAIN_UNIT = re.compile(r"(?<=[0-9}%])( ?)([A-Za-z]{2,}\.?(?:[ /-]{1,3}[A-Za-z]+\.?){0,4})( ?\^ ?\{[23]\})?$")
_DEGREE = re.compile(r"\^\s*(?:\\circ|\{\s*\\circ\s*\})\s*[$.\s]*$")
_CURRENCY = re.compile(r"(?<!\\)\\\$")
_MODULUS = re.compile(r"(?<=\S) ?(?:\\pmod ?\{? ?|\( ?\\?b?mod ?\{? ?)([0-9]+) ?\}? ?\)?$")

_UNION = re.compile(r"\\cup(?![A-Za-z])")
# With more than one entry, and nothing else: a product of matrices may be a number.
_MATRIX = re.compile(r"\\begin\{pmatrix\}(?=[^\\]*(?:&|\\\\))(?:(?!\\end\{pmatrix\}).)*\\end\{pmatrix\}", re.DOTALL)
_NAME = re.compile(
    r"((?:[A-Za-z]|\\(?:alpha|beta|gamma|delta|epsilon|theta|lambda|mu|nu|rho|sigma|phi|omega|Delta))"
    r"(?:_\{[^{}]*\})?'?(?:\^\{-1\})?)(\([A-Za-z](?:, [A-Za-z])*\))?(=|\\in(?![A-Za-z]))"
)
_NAMED_POINT = re.compile(r"(\([A-Za-z](?:, [A-Za-z])+\))=(\([^()=]*\))")
_HALF_LINE = re.compile(r"([A-Za-z])(<|>|\\le(?![A-Za-z])|\\ge(?![A-Za-z]))([^<>=,]+)")
_ARGUMENT = re.compile(r"[+-]?[0-9]+|[A-Za-z]|\\[A-Za-z]+")
_OPERATOR = re.compile(r"\\(?:frac|binom|sqrt)(?![A-Za-z])|[\^_]")
_COMMANDS_WITH_ARGUMENTS = frozenset((r"\frac", r"\binom", r"\sqrt", r"\left", r"\text", r"\mathbb", r"\overline"))
_BRACKET_OR_NUMBER = re.compile(
    r"\\?[()\[\]{}]|(?<![0-9.,])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9]|,[0-9])|[0-9]+|[^()\[\]{}\\0-9]+|\\", re.DOTALL
)


def normalise(answer: str) -> str:
    """An answer without LaTeX and text noise: delimiters, spacing, styles, units, degrees, currency, `x =`, separators
    of thousands. Equal strings are equal answers. Idempotent; never raises.
    """
    return split_answer(answer).value


@lru_cache(maxsize=1 << 14)
def split_answer(answer: str) -> Parts:
    """A normalised answer with its name and its unit, where it has such (`Parts`)."""
    start = " ".join(answer.split())
    if len(start) > LONGEST:
        return Parts(start)
    parts = Parts(start)
    for _ in range(_ROUNDS):
        again = _clean(parts)
        if again.value == parts.value:
            return again if again.value else Parts(start)
        parts = again
    return Parts(start)


def _clean(parts: Parts) -> Parts:
    text, name, unit = parts.value, parts.name, parts.unit
    text = unicodedata.normalize("NFKC", text.translate(_TRANSLATION))
    text = text.strip(" *`")
    if _CURRENCY.search(text):
        unit = unit or "dollar"
    degree = "degree" if _DEGREE.search(text) else ""
    for pattern, new in _SYNONYMS[:-1]:
        text = pattern.sub(new, text)
    text = _FLAGGED_LAST.sub("", text.strip())
    text, found = _without_styled_unit(text)
    unit = unit or found
    text = _with_braces(_STYLED.sub(r" \1 ", text))
    if modulus := _MODULUS.search(" ".join(text.split())):
        text, unit = modulus.string[: modulus.start()], unit or f"mod {modulus.group(1)}"
    text = _without_thousands(text)
    if not is_prose(text):
        text = re.sub(r"\s*(?:,\s*)?(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])\s*", ", ", text)
    text, found = _without_plain_unit(_trimmed(text))
    unit = unit or found or degree
    text, found = _without_name(_unwrapped(_trimmed(_spaced(text))))
    name = name or found
    if re.fullmatch(r"[^\W\d_](?:[^\W\d_]|[ '])+", text):
        text = text.lower()
    return Parts(text, name, unit)


# Words that are too short to tell from a product of letters.
_SHORT_WORDS = frozenset(
    re.findall(
        r"\w+", "no yes on off up out top low odd all any not nor one two six ten red sun mon tue wed thu fri sat"
    )
)


def is_prose(text: str) -> bool:
    """Whether the answer is written in words, which no algebra should see (`no solution` is not n*o*s*o*l*...)."""
    if text.strip().lower() in _SHORT_WORDS:
        return True
    words = _WORD.findall(_ENVIRONMENT.sub("", text))
    return any(len(word) > 3 and word.lower() not in _FUNCTIONS for word in words)


def _with_braces(text: str) -> str:
    """`\\frac12`, `\\sqrt3`, `x^2` with the braces that TeX lets one leave out; a row of digits after a root, a power
    or an index is one number, as people mean it."""
    pairs = brace_pairs(text)
    cuts: list[tuple[int, str]] = []
    for operator in _OPERATOR.finditer(text):
        place = operator.end()
        fraction = operator.group() in (r"\frac", r"\binom")
        if operator.group() == r"\sqrt" and text[place : place + 1] == "[":
            place = text.find("]", place) + 1 or len(text)
        for _ in range(2 if fraction else 1):
            while text[place : place + 1] == " ":
                place += 1
            if place in pairs:
                place = pairs[place] + 1
                continue
            found = _ARGUMENT.match(text, place)
            if not found or found.group() in _COMMANDS_WITH_ARGUMENTS:
                break
            end = place + 1 if fraction and found.group()[0].isdigit() else found.end()
            if fraction and found.group()[0] in "+-":
                break
            cuts += [(place, "{"), (end, "}")]
            place = end
    if not cuts:
        return text
    pieces, last = [], 0
    for place, brace in sorted(cuts, key=lambda cut: cut[0]):
        pieces += [text[last:place], brace]
        last = place
    return "".join([*pieces, text[last:]])


def _without_thousands(text: str) -> str:
    """`1,234` as 1234 and every other comma as `, `; inside brackets a comma always separates."""
    if re.fullmatch(r"[+-]?[0-9]{1,3}(?: [0-9]{3})+", text):
        return text.replace(" ", "")
    pieces, depth = [], 0
    for token in _BRACKET_OR_NUMBER.finditer(text):
        piece = token.group()
        if piece in ("(", "[", r"\{"):
            depth += 1
        elif piece in (")", "]", r"\}"):
            depth = max(0, depth - 1)
        elif "," in piece and (depth == 0 or ",0" in piece) and piece[0].isdigit():
            # No coordinate starts with a nought: (10,000) is one number.
            piece = piece.replace(",", "")
        pieces.append(piece)
    return re.sub(r"\s*,\s*", ", ", "".join(pieces))


def _spaced(text: str) -> str:
    """One space where it tells two things apart (words, digits, a command and a letter, list items), else none."""

    def keep(space: re.Match[str]) -> str:
        before, after = text[space.start() - 1 : space.start()], text[space.end() : space.end() + 1]
        both_letters = before.isalpha() and after.isalpha()
        both_digits = before.isdigit() and after.isdigit()
        return " " if both_letters or both_digits or before == "," else ""

    text = " ".join(text.split())
    text = re.sub(r" ", keep, text)
    return re.sub(r"(?<![A-Za-z\\])([A-Za-z]) (?=[A-Za-z](?![A-Za-z]))", r"\1", text)


def _trimmed(text: str) -> str:
    return re.sub(r"(?<!\\)[\s.,;:]+$|\\+$", "", re.sub(r"^[\s,;:]+", "", text))


def _unwrapped(text: str) -> str:
    """Without a pair of braces or round brackets around the whole, where they hold one thing: `{5}`, `(A)`."""
    if text[:1] + text[-1:] not in ("{}", "()"):
        return text
    inside = text[1:-1]
    depth = 0
    for token in re.finditer(r"\\.|[{}()\[\]]", inside, re.DOTALL):
        step = {"{": 1, "(": 1, "[": 1, r"\{": 1, "}": -1, ")": -1, "]": -1, r"\}": -1}.get(token.group(), 0)
        depth += step
        if depth < 0:
            return text
    if depth or (text[0] == "(" and len(top_level_items(inside)) > 1):
        return text
    return inside.strip()


def _without_styled_unit(text: str) -> tuple[str, str]:
    found = _STYLED_UNIT.search(text)
    if not found:
        return text, ""
    before = text[: found.start()].rstrip()
    words = " ".join(_STYLED.sub(r" \1 ", found.group()).split())
    letters = _WORD.findall(words)
    if not re.search(r"[0-9}]\)*$|\\pi$|%$", before) or not letters or not re.search(r"[0-9]|\\pi", before):
        return text, ""
    if any(w.lower() in _NOT_UNITS for w in letters) or re.search(r"[0-9(]", re.sub(r"\^\s*\{?\s*[23]", "", words)):
        return text, ""
    # One styled letter is a unit only if it is a known one: `3\mathrm{i}` is not.
    if len(letters) == 1 and len(letters[0]) == 1 and letters[0].lower() not in (*_UNITS, "n", "j", "w", "v"):
        return text, ""
    return before, _known_unit(words)


def _without_plain_unit(text: str) -> tuple[str, str]:
    found = _PLAIN_UNIT.search(text)
    if not found or number(_spaced(text[: found.start()])) is None:
        return text, ""
    words = [word.lower() for word in _WORD.findall(found.group(2))]
    if any(word in _NOT_UNITS for word in words):
        return text, ""
    unit = _known_unit(found.group().strip())
    # An unknown word must look like one: `5 xy` and `5xyz` are products.
    unlike = not found.group(1) or not any(len(word) > 2 and set(word) & set("aeiou") for word in words)
    if not unit and unlike and words[0].removesuffix("s") not in _UNITS:
        return text, ""
    return text[: found.start()], unit


def _known_unit(words: str) -> str:
    """The unit's one name (`square feet`, `ft^2` -> `ft^2`), or empty for what is not in the list."""
    text = words.strip().lower().rstrip(".")
    if len(parts := re.split(r"\s*/\s*|\s+per\s+", text)) > 1:
        units = [_known_unit(part) for part in parts]
        return "/".join(units) if all(units) else ""
    power = re.search(r"\^\s*\{?\s*([23])\s*\}?$", text)
    text = text[: power.start()].strip() if power else text
    area = re.match(r"(square|sq\.?|cubic|cu\.?) ", text)
    text = text[area.end() :] if area else text
    unit = _UNITS.get(text) or _UNITS.get(text.removesuffix("s"), "")
    if not unit:
        return ""
    exponent = power.group(1) if power else ({"s": "2", "c": "3"}[area.group(1)[0]] if area else "")
    return f"{unit}^{exponent}" if exponent else unit


def _without_name(text: str) -> tuple[str, str]:
    """`x=5` as (5, x), `x=1, x=2` as (1, 2; x); an equation, a chain or several unknowns stay as they are."""
    if point := _NAMED_POINT.fullmatch(text):
        return point.group(2), point.group(1)
    found = [_NAME.match(item) for item in top_level_items(text)]
    first = found[0] if found else None
    if not first:
        return text, ""
    name = first.group(1).lower() + ("()" if first.group(2) else "")
    rests = [
        item[match.end() :] if match and match.group() == first.group() else item
        for item, match in zip(top_level_items(text), found, strict=True)
    ]
    if any(not rest.strip() or re.search(r"[=<>]|\\(?:le|ge|ne|in)(?![A-Za-z])", rest) for rest in rests):
        return text, ""
    return ", ".join(rest.strip() for rest in rests), name


def top_level_items(text: str) -> list[str]:
    """The text split at the commas and semicolons that stand outside all brackets."""
    items, depth, start = [], 0, 0
    for token in re.finditer(r"\\.|[{}()\[\],;]", text, re.DOTALL):
        piece = token.group()
        if piece in ("{", "(", "[", r"\{"):
            depth += 1
        elif piece in ("}", ")", "]", r"\}"):
            depth -= 1
        elif piece in (",", ";") and depth == 0:
            items.append(text[start : token.start()].strip())
            start = token.end()
    items.append(text[start:].strip())
    return items


# ---------------------------------------------------------------- equality

_DECIMAL = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_NUMBER = re.compile(
    r"(?P<sign>[+-]?)(?:"
    r"(?P<whole>[0-9]+) ?\\frac\{(?P<part>[0-9]+)\}\{(?P<parts>[0-9]+)\}"
    r"|(?P<whole2>[0-9]+) (?P<part2>[0-9]+)/(?P<parts2>[0-9]+)"
    rf"|\\frac\{{(?P<top>[+-]?{_DECIMAL})\}}\{{(?P<bottom>[+-]?{_DECIMAL})\}}"
    rf"|(?P<top2>{_DECIMAL})/(?P<bottom2>[+-]?{_DECIMAL})"
    r"|(?P<head>[0-9]*)\.(?P<tail>[0-9]*)\\(?:overline|bar)(?:\{(?P<cycle>[0-9]+)\}|(?P<cycle2>[0-9]))"
    rf"|(?P<decimal>{_DECIMAL})(?:\\(?:times|cdot)10\^\{{(?P<power>[+-]?[0-9]{{1,3}})\}}|[eE](?P<power2>[+-]?[0-9]{{1,3}}))?"
    r")(?P<percent>%?)"
)


@dataclass(frozen=True)
class Number:
    """An exact number as written, before a percent sign is applied."""

    value: Fraction
    percent: bool


def number(text: str) -> Number | None:
    """The number that a normalised answer plainly is (integer, decimal, repeating or not, fraction, mixed number, power
    of ten), exactly; None for anything else, a division by zero and text over LONGEST included. Never raises."""
    # Cleaning can lengthen an answer too, so the callers' texts are not bounded.
    found = _NUMBER.fullmatch(text) if len(text) <= LONGEST else None
    if not found:
        return None
    group = found.groupdict()
    whole, part, parts = (group[k] or group[k + "2"] for k in ("whole", "part", "parts"))
    cycle = group["cycle"] or group["cycle2"]
    top, bottom = group["top"] or group["top2"], group["bottom"] or group["bottom2"]
    try:
        if whole is not None:
            value = int(whole) + Fraction(int(part), int(parts))
        elif top is not None:
            value = Fraction(top) / Fraction(bottom)
        elif cycle is not None:
            head, tail = group["head"] or "0", group["tail"]
            # 0.1666... is 0.1 and a tenth of 6/9.
            value = Fraction(int(head + tail), 10 ** len(tail))
            value += Fraction(int(cycle), 10 ** len(tail) * (10 ** len(cycle) - 1))
        else:
            value = Fraction(group["decimal"]) * Fraction(10) ** int(group["power"] or group["power2"] or 0)
    except ZeroDivisionError:
        return None
    return Number(-value if group["sign"] == "-" else value, bool(group["percent"]))


def how_equal(a: str, b: str) -> tuple[bool | None, str]:
    """`equal_fast` and the step that decided: `string`, `number`, or empty while undecided."""
    left, right = split_answer(a), split_answer(b)
    if left.value == right.value:
        return (True, "string") if not _conflict(left, right) else (None, "")
    if not _conflict(left, right):
        first, second = number(left.value), number(right.value)
        if first and second:
            return _equal_numbers(first, second), "number"
    return None, ""


def equal_fast(a: str, b: str) -> bool | None:
    """Whether two answers are equal, by string or by exact number; None when that does not decide it.

    False only for two plain numbers that differ: 0.333 is not 1/3. A percentage equals its number with or without the
    sign (50% = 1/2 = 50), since questions ask for either. Symmetric.
    """
    return how_equal(a, b)[0]


# A number with its base, which algebra drops.
_BASED = re.compile(r"\+?(-?)\(?(?=[A-Z.]*[0-9])([0-9A-Z.]+)\)?_\{([0-9]+|[a-z]+)\}")
_BASES = {
    name: str(base)
    for base, name in enumerate(("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"), 2)
}


def _based(text: str) -> tuple[str, str] | None:
    """The digits and the base of a number that is written with one."""
    found = _BASED.fullmatch(text)
    return (found[1] + found[2], _BASES.get(found[3], found[3])) if found else None


def _points(answer: str) -> bool:
    """Whether an answer as written is names of points in their order: AB is not BA, where ab is ba."""
    letters = re.sub(r"\\[A-Za-z]+|[^A-Za-z]", "", answer)
    return len(letters) > 1 and letters.isupper()


def decide(gold: str, prediction: str) -> tuple[bool | None, str]:
    """Whether two answers are equal and the step that says so, `string` or `number`; None where only algebra can tell.

    Beyond `how_equal` it tells apart words, other names or units, and expressions with other values or letters. It
    takes microseconds, and is symmetric.
    """
    equal, how = how_equal(gold, prediction)
    if equal is not None:
        return equal, how
    left, right = split_answer(gold), split_answer(prediction)
    if _conflict(left, right) or not left.value or not right.value:
        return False, "string"
    if max(len(left.value), len(right.value)) > LONGEST:
        return None, ""
    bases = _based(left.value), _based(right.value)
    if all(bases):
        return bases[0] == bases[1], "number"
    for based, other in ((bases[0], right.value), (bases[1], left.value)):
        # One base alone is the one that the question names.
        if based and based[0] == other:
            return True, "number"
    if left.value.isalpha() and right.value.isalpha() and (_points(gold) or _points(prediction)):
        return False, "string"
    if is_prose(left.value) or is_prose(right.value):
        return (None, "") if _letters(left.value) == _letters(right.value) else (False, "string")
    return (False, "number") if _apart(left.value, right.value) else (None, "")


def _apart(gold: str, prediction: str) -> bool:
    """Whether an item on one side has another value than every item on the other, or than the one in its place."""
    left, right = _valued_items(gold), _valued_items(prediction)
    if len(left[1]) == len(right[1]) == 1 and _other_kind(gold, prediction):
        return True
    if left[0] == right[0] != "set" and len(left[1]) == len(right[1]):
        return any(a and b and apart(a, b) for a, b in zip(left[1], right[1], strict=True))
    return any(
        item and all(other and apart(item, other) for other in others)
        for items, others in ((left[1], right[1]), (right[1], left[1]))
        for item in items
    )


def _other_kind(gold: str, prediction: str) -> bool:
    """Whether one is a plain expression and the other a matrix or a union, or their unknowns are others."""
    for one, other in ((gold, prediction), (prediction, gold)):
        if values(one) and (_UNION.search(other) or _MATRIX.fullmatch(other)):
            return True
    return not (values(gold) and values(prediction)) and _other_variables(gold, prediction)


@lru_cache(maxsize=1 << 14)
def _valued_items(text: str) -> tuple[str, list[Values | None]]:
    """The kind of a collection (`set` for one thing) and its items' values, None for an item that has none."""
    kind, items = _collection(text) or ("set", list(_plus_minus(text)))
    return kind, [values(split_answer(item).value) for item in items]


def equal_slow(gold: str, prediction: str) -> bool:
    """Whether a prediction equals the gold answer, by structure (lists, sets, tuples, intervals) and math-verify.

    Not bounded in time and not symmetric; call it through `grading.Grader`.
    """
    left, right = split_answer(gold), split_answer(prediction)
    if _conflict(left, right) or not left.value or not right.value:
        return False
    if _equal_values(left.value, right.value):
        return True
    # y = 2x + 1 against 2x - y + 1 = 0: the name is part of the equation.
    whole_left, whole_right = (
        f"{one.name}={one.value}" if one.name and "()" not in one.name and "=" in other.value else one.value
        for one, other in ((left, right), (right, left))
    )
    changed = (whole_left, whole_right) != (left.value, right.value)
    return changed and _equal_values(whole_left, whole_right)


def _conflict(a: Parts, b: Parts) -> bool:
    """x = 5 is not y = 5, and 5 cm is not 5 m or 5%; a name or unit on one side alone is no conflict."""
    units = [parts.unit or ("%" if parts.value.endswith("%") else "") for parts in (a, b)]
    # A temperature's scale may be left out.
    alike = units[0] == units[1] or sorted(units) in (["celsius", "degree"], ["degree", "fahrenheit"])
    return _other_name(a.name, b.name) or bool(all(units) and not alike)


def _other_name(a: str, b: str) -> bool:
    """The letter of a function says nothing: f(x) = 2x, g(x) = 2x and y = 2x are one answer; k = 1 is not f(x) = 1."""
    letters = {name.removesuffix("()") for name in (a, b)}
    functions = all(name == "y" or name.endswith("()") for name in (a, b))
    return bool(a and b) and len(letters) > 1 and not functions


def _equal_numbers(a: Number, b: Number) -> bool:
    if a.percent == b.percent:
        return a.value == b.value
    percentage, plain = (a, b) if a.percent else (b, a)
    return plain.value in (percentage.value, percentage.value / 100)


def _equal_values(gold: str, prediction: str) -> bool:
    if gold == prediction:
        return True
    if is_prose(gold) or is_prose(prediction):
        return _letters(gold) == _letters(prediction)
    if _UNION.search(gold) or _UNION.search(prediction):
        gold, prediction = _as_union(gold), _as_union(prediction)
    left, right = _collection(gold), _collection(prediction)
    if left and right and left[0] == right[0] and len(left[1]) == len(right[1]):
        return (_equal_in_any_order if left[0] == "set" else _equal_in_order)(left[1], right[1])
    return _equal_symbolically(gold, prediction)


def _as_union(text: str) -> str:
    """`x<1, x>3` as the union of intervals that it is where the other side is one, else the text."""
    items = top_level_items(text)
    found = [match for item in items if (match := _HALF_LINE.fullmatch(item))]
    if len(found) != len(items) or len({match.group(1) for match in found}) != 1:
        return text
    parts = []
    for _, sign, end in (match.groups() for match in found):
        closed = sign in (r"\le", r"\ge")
        if sign in ("<", r"\le"):
            parts.append(rf"(-\infty, {end}{']' if closed else ')'}")
        else:
            parts.append(rf"{'[' if closed else '('}{end}, \infty)")
    return r"\cup".join(parts)


def _letters(text: str) -> str:
    return re.sub(r"[\s'\"!?;:]+|[.,](?![0-9])", "", text.casefold())


def _equal_item(gold: str, prediction: str) -> bool:
    equal = decide(gold, prediction)[0]
    return equal_slow(gold, prediction) if equal is None else equal


def _equal_in_order(golds: list[str], predictions: list[str]) -> bool:
    return all(_equal_item(g, p) for g, p in zip(golds, predictions, strict=True))


def _equal_in_any_order(golds: list[str], predictions: list[str]) -> bool:
    left, right = list(golds), list(predictions)
    # The cheap comparisons first: what they pair off, no algebra needs to see.
    for equal in (lambda g, p: equal_fast(g, p) is True, _equal_item):
        for item in list(left):
            match = next((p for p in right if equal(item, p)), None)
            if match is not None:
                left.remove(item)
                right.remove(match)
    return not left


def _collection(text: str) -> tuple[str, list[str]] | None:
    """A list or set as ("set", items), a tuple or interval as (its brackets, items); None for a single thing."""
    items = top_level_items(text)
    if len(items) == 1:
        start, end = (2, -2) if text[:2] == r"\{" and text[-2:] == r"\}" else (1, -1)
        brackets = text[:start] + text[end:]
        if brackets not in (r"\{\}", "()", "[]", "(]", "[)") or not _closes_at_end(text):
            return None
        items = top_level_items(text[start:end])
        if len(items) == 1:
            return None
        kind = "set" if brackets == r"\{\}" else brackets
    else:
        kind = "set"
    expanded = [half for item in items for half in _plus_minus(item)] if kind == "set" else items
    return (kind, expanded) if all(expanded) else None


def _closes_at_end(text: str) -> bool:
    depth = 0
    for token in re.finditer(r"\\.|[()\[\]{}]", text, re.DOTALL):
        if token.group() in ("(", "[", "{", r"\{"):
            depth += 1
        elif token.group() in (")", "]", "}", r"\}"):
            depth -= 1
            if depth == 0:
                return token.end() == len(text)
    return False


def _plus_minus(item: str) -> Iterator[str]:
    if len(re.findall(r"\\(?:pm|mp)(?![A-Za-z])", item)) != 1:
        yield item
        return
    for sign in "+-":
        yield re.sub(r"\\(?:pm|mp)(?![A-Za-z]) ?", sign, item).removeprefix("+")


_RELATION = re.compile(r"[=<>]|\\(?:le|ge|ne|lt|gt|in|to|approx|equiv|mid)(?![A-Za-z])")
_SYMBOL = re.compile(r"\\([A-Za-z]+)|([A-Za-z]+)")
_GREEK = frozenset(
    re.findall(
        r"\w+", "alpha beta gamma delta epsilon theta kappa lambda mu nu rho sigma tau phi varphi psi omega Delta Omega"
    )
)
# Letters that are numbers, or that say what is done.
_NO_VARIABLES = frozenset("eid")


def _variables(text: str) -> frozenset[str]:
    """The letters of an expression that stand for something."""
    found: set[str] = set()
    for command, word in _SYMBOL.findall(_ENVIRONMENT.sub(" ", text)):
        if command:
            found.update({command} & _GREEK)
        elif word.lower() not in _FUNCTIONS:
            found.update(word)
    return frozenset(found) - _NO_VARIABLES


def _other_variables(gold: str, prediction: str) -> bool:
    """Whether the answers are in other unknowns; a relation on one side may name one more (2 <= x <= 5 is [2,5]).

    Algebra need not say so: on wrong answers it takes most of the time.
    """
    allowed = 1 if bool(_RELATION.search(gold)) != bool(_RELATION.search(prediction)) else 0
    return len(_variables(gold) ^ _variables(prediction)) > allowed


def _equal_symbolically(gold: str, prediction: str) -> bool:
    if max(len(gold), len(prediction)) > LONGEST:
        return False
    if _other_variables(gold, prediction):
        return False
    parse, verify = _math_verify()
    left, right = parse(gold), parse(prediction)
    if any(_magnitude(e) == math.inf for e in [*left, *right]):
        return False
    return bool(left and right and verify(left, right)) and not _rounded(left[0], right[0])


def _rounded(a: Any, b: Any) -> bool:
    """Whether two numbers agree only in the digits that math-verify looks at: 1.41421356 is not the root of two."""
    import sympy

    if not (getattr(a, "is_number", False) and getattr(b, "is_number", False)):
        return False
    if a.has(sympy.Float) == b.has(sympy.Float):
        return False
    exact = [x.xreplace({f: sympy.Rational(str(f)) for f in x.atoms(sympy.Float)}) for x in (a, b)]
    return bool(abs((exact[0] - exact[1]).evalf(30)) > _EXACTLY)


@lru_cache(maxsize=1)
def _math_verify() -> tuple[Callable[[str], list[Any]], Callable[[list[Any], list[Any]], bool]]:
    import logging

    from latex2sympy2_extended.latex2sympy2 import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse, verify

    # It warns that its own alarm is off, which is meant: the pool bounds the time.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    # Units are off, because its list has single letters: 6m would be 6.
    config = LatexExtractionConfig(
        boxed_match_priority=-1,
        normalization_config=NormalizationConfig(
            basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none", equations=False
        ),
    )

    # Parsing takes most of the time, and a gold answer meets many predictions.
    @lru_cache(maxsize=1024)
    def read(text: str) -> list[Any]:
        return parse(f"${text}$", [config], fallback_mode="no_fallback", parsing_timeout=None)

    def check(gold: list[Any], prediction: list[Any]) -> bool:
        return verify(gold, prediction, allow_set_relation_comp=True, timeout_seconds=None)

    return read, check


def parsed(text: str) -> Any | None:
    """A text of LaTeX as sympy reads it; None where it cannot, or where evaluating it would not end."""
    read, _ = _math_verify()
    found = [one for one in read(text) if hasattr(one, "free_symbols")]
    return found[0] if found and _magnitude(found[0]) != math.inf else None


def _magnitude(expression: Any) -> float:
    """An upper bound of a parsed expression's size, without evaluating it; inf where evaluating it would not end."""
    sizes = [_magnitude(part) for part in (expression.flat() if hasattr(expression, "flat") else expression.args)]
    if math.inf in sizes:
        return math.inf
    name = type(expression).__name__
    try:
        if getattr(expression, "is_Number", False):
            return abs(float(expression)) if expression.is_finite else 0.0
        if name == "Pow":
            return math.inf if sizes[1] > LARGEST_EXPONENT else max(sizes[0], 1.0) ** sizes[1]
        if name in ("factorial", "factorial2", "gamma", "binomial"):
            return math.inf if sizes[0] > LARGEST_EXPONENT else math.gamma(sizes[0] + 1)
        size = math.prod(max(part, 1.0) for part in sizes) if name == "Mul" else math.fsum(sizes)
        return min(size, _HUGE)
    except OverflowError:
        return _HUGE
