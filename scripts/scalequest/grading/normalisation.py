"""Normalisation: an answer without LaTeX and text noise, split into its value, its name and its unit.

Equal values are then equal answers. No step evaluates anything, and each is linear in the length of the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from scalequest.grading.intervals import punctured_line
from scalequest.grading.latex import (
    EQUATION,
    FUNCTIONS,
    LONGEST,
    RELATION,
    STYLED,
    WORD,
    brace_pairs,
    is_prose,
    name_and_value,
    split_relations,
    top_level_items,
    variables,
)
from scalequest.grading.numbers import number
from scalequest.grading.synonyms import one_spelling, plain_characters
from scalequest.grading.units import known_unit, unit_name

# Most passes until a text changes no more.
_ROUNDS = 12


@dataclass(frozen=True)
class Parts:
    """A normalised answer: `x=5\\text{ cm}` has the name `x`, the value `5` and the unit `cm`. A modulus counts as a
    unit, and so does any word for what is counted."""

    value: str
    name: str = ""
    unit: str = ""


# Words after a number that are not units, because they change its value.
_NOT_UNITS = frozenset(
    re.findall(
        r"\w+",
        "and or if for when where otherwise even odd out of to over times plus minus divided by modulo choose "
        "factorial squared cubed dozen hundred thousand million billion trillion is not no less more than least most "
        "infinity pi sqrt ln real",
    )
) | (FUNCTIONS - {"min", "sec", "log"})
# Single letters that are units, unless they are bold or slanted, as vectors are.
_UNIT_LETTERS = frozenset("mgshlLAJKNTVWCF")
_STYLED_UNIT = re.compile(
    r"(?: ?[/*]? ?(?:\\cdot ?)?\\(?:text[a-z]*|mathrm|mathsf|mathtt|mathnormal|mbox|hbox|operatorname\*?) ?"
    r"\{[^{}]*\}(?: ?\^ ?(?:[23]|\{ ?[23] ?\}))?)+[ .]*$"
)
_PLAIN_UNIT = re.compile(r"(?<=[0-9}%])( ?)([A-Za-z]{2,}\.?(?:[ /-]{1,3}[A-Za-z]+\.?){0,4})( ?\^ ?\{[23]\})?$")
# A function of an angle, and the degrees within it.
_TRIGONOMETRIC = re.compile(
    r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])(?: ?\^ ?(?:[2-9]|\{ ?[2-9] ?\}))? ?"
    r"(?:\([^()]*\)|\{[^{}]*\}|(?:[0-9.]+|\\frac\{[0-9]+\}\{[0-9]+\}) ?\\degree|\\frac ?\{[^{}]*\} ?\{[^{}]*\})"
)
_DEGREES = re.compile(r"(?<![0-9.])([0-9.]+|\\frac\{[0-9]+\}\{[0-9]+\}) ?\\degree ?")
# Degrees, minutes and seconds, as signs or as words.
_PRIME = r"(?:'|\^ ?(?:\\prime(?![A-Za-z])|\{ ?(?:\\prime|') ?\})|(?:\\text ?\{ ?)?min(?:ute)?s?(?![A-Za-z])(?: ?\})?)"
_PRIMES = r"(?:''|\"|\^ ?\{ ?(?:\\prime ?\\prime|'') ?\}|(?:\\text ?\{ ?)?sec(?:ond)?s?(?![A-Za-z])(?: ?\})?)"
_PARTS_OF_DEGREE = re.compile(
    r"(?<![0-9.])([0-9]{1,6}) ?(?:\\degree|(?:\\text ?\{ ?)?deg(?:ree)?s?(?![A-Za-z])(?: ?\})?),? ?"
    rf"(?:([0-9]{{1,2}}(?:\.[0-9]{{1,9}})?) ?{_PRIME}(?!'),? ?)?(?:([0-9]{{1,2}}(?:\.[0-9]{{1,9}})?) ?{_PRIMES})?"
)
_DEGREE = re.compile(r"\\degree[. ]*$")
_CLOCK = re.compile(r"[0-9]{1,2}:[0-9]{2}")
_REPEATING = re.compile(r"(?<![0-9])([0-9]*)\.([0-9]+) ?\\dots")
_CURRENCY = re.compile(r"(?<!\\)\\\$")
_MODULUS = re.compile(r"(?<=\S) ?(?:\\pmod ?\{? ?|\( ?\\?b?mod ?\{? ?)([0-9]+) ?\}? ?\)?$")
_ARGUMENT = re.compile(r"[+-]?[0-9]+|[A-Za-z]|\\[A-Za-z]+")
_OPERATOR = re.compile(r"\\(?:frac|binom|sqrt)(?![A-Za-z])|[\^_]")
_COMMANDS_WITH_ARGUMENTS = frozenset((r"\frac", r"\binom", r"\sqrt", r"\left", r"\text", r"\mathbb", r"\overline"))
_BRACKET_OR_NUMBER = re.compile(
    r"\\?[()\[\]{}]|(?<![0-9.,])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9]|,[0-9])|[0-9]+|[^()\[\]{}\\0-9]+|\\", re.DOTALL
)
_LIST_BRACKET = re.compile(r"(\\[{}]|[()\[\],;])")
_SPACED_NUMBERS = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?: [+-]?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+))+")
_PLAIN_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")


def normalise(answer: str) -> str:
    """An answer without LaTeX and text noise: delimiters, spacing, styles, units, degrees, currency, `x =`, separators
    of thousands. Equal strings are equal answers. Idempotent; never raises.
    """
    return split_answer(answer).value


@lru_cache(maxsize=1 << 14)
def split_answer(answer: str) -> Parts:
    """A normalised answer with its name and its unit, if it has them."""
    start = " ".join(answer.split())
    # Most answers are plain numbers, which need no cleaning.
    if len(start) > LONGEST or _PLAIN_NUMBER.fullmatch(start):
        return Parts(start)
    parts = Parts(start)
    for _ in range(_ROUNDS):
        again = _clean(parts)
        if again.value == parts.value:
            return again if again.value else Parts(start)
        parts = again
    return Parts(start)


def _clean(parts: Parts) -> Parts:
    """One pass over an answer. A name and a unit that an earlier pass found stay."""
    text, name, unit = parts.value, parts.name, parts.unit
    text = plain_characters(text).strip(" *`")
    if _CURRENCY.search(text):
        unit = unit or "dollar"
    text = _PARTS_OF_DEGREE.sub(_in_degrees, one_spelling(text))
    text = _TRIGONOMETRIC.sub(lambda found: _DEGREES.sub(r"\\frac{\1\\pi}{180}", found.group()), text)
    degree = "degree" if _DEGREE.search(text) else ""
    text = _REPEATING.sub(_with_cycle, text.replace(r"\degree", " "))
    text, found = _without_styled_unit(text)
    unit = unit or found
    text = _with_braces(" ".join(STYLED.sub(r" \1 ", text).split()))
    if modulus := _MODULUS.search(text):
        text, unit = text[: modulus.start()], unit or f"mod {modulus.group(1)}"
    text = _without_thousands(_with_commas(text))
    if not is_prose(text):
        text = re.sub(r" ?(?:, ?)?(?<![A-Za-z\\])(?:and|or)(?![A-Za-z]) ?", ", ", text)
    text, found = _without_plain_unit(_trimmed(text))
    unit = unit or found or degree
    text, found = _without_name(_unwrapped(_trimmed(_spaced(text))))
    text = _FIGURE_IN_WORDS.sub(lambda word: rf"\{word[1].lower()} ", text)
    text = _meant(text.removesuffix(":00") if _CLOCK.fullmatch(text) else text)
    return Parts(text, name or found, unit)


def _in_degrees(found: re.Match[str]) -> str:
    """`30\\degree 15'` as \\frac{121}{4}\\degree; degrees without minutes and seconds stay as they are."""
    degrees, minutes, seconds = found.groups()
    if minutes is None and seconds is None:
        return found.group()
    value = int(degrees) + Fraction(minutes or 0) / 60 + Fraction(seconds or 0) / 3600
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}\degree "


# Phrases and signs for one domain or for no solution, and their one form.
_SAME_THINGS = tuple(
    (re.compile(pattern, re.IGNORECASE), one)
    for pattern, one in (
        (
            r"(?:the )?(?:set of )?(?:all|any) real(?: number| value)?s?|\\mathbb\{R\}|\(-\\infty, \+\\infty\)"
            r"|-\\infty<[A-Za-z]<\+?\\infty",
            r"(-\infty, \infty)",
        ),
        (r"(?:there (?:is|are) )?no solutions?(?: exists?)?(?: ?:? ?\(?\\emptyset\)?)?|\\\{\\\}", r"\emptyset"),
        (r"(?:there (?:is|are) )?no real solutions?(?: exists?)?", "no real solution"),
        (r"dne|(?:it|the limit) does not exist", "does not exist"),
    )
)
_FIGURE_IN_WORDS = re.compile(r"^(?:the )?([Tt]riangle|[Aa]ngle) (?=[A-Z](?![a-z]))")
_NUMBER_WORDS = {
    word: str(number)
    for number, word in enumerate(
        re.findall(
            r"\w+",
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
            "seventeen eighteen nineteen twenty",
        )
    )
}
_AMONG_REALS = re.compile(r"^[A-Za-z]\\in ?\\mathbb\{R\}, (?=.)")
_BUILDER = re.compile(r"\\\{([A-Za-z])(?:\\in ?\\mathbb\{R\})?(?:\\mid|\||:) ?((?:(?!\\in(?![A-Za-z]))[^=|:])+)\\\}")


def _meant(text: str) -> str:
    """Words in small letters, number words as numbers, `\\{x \\mid x>0\\}` as x>0, a domain in its one form."""
    if re.fullmatch(r"[^\W\d_](?:[^\W\d_]|[ '])+", text) and (is_prose(text) or (len(text) > 2 and text.istitle())):
        text = text.lower()
    text = _AMONG_REALS.sub("", text)
    if union := punctured_line(text):
        return union
    builder = _BUILDER.fullmatch(text)
    if builder and RELATION.search(builder[2]) and builder[1] in variables(builder[2]):
        return builder[2]
    return next((one for same, one in _SAME_THINGS if same.fullmatch(text)), _NUMBER_WORDS.get(text, text))


def _with_cycle(found: re.Match[str]) -> str:
    """`0.1666...` as 0.1\\overline{6}, if the cycle is written at least twice (a digit after others: three times)."""
    whole, digits = found.groups()
    for size in range(1, 7):
        cycle = digits[-size:]
        rest = digits
        while len(rest) >= size and rest.endswith(cycle):
            rest = rest[:-size]
        if len(digits) - len(rest) >= (3 if size == 1 and rest else 2 * size):
            return rf"{whole}.{rest}\overline{{{cycle}}}"
    return found.group()


def _with_braces(text: str) -> str:
    """`\\frac12`, `\\sqrt3`, `x^2` with the braces that TeX allows to omit. Several digits after a root, a power or an
    index are one number, as their writer means it."""
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


def _with_commas(text: str) -> str:
    """`4 3 -1` as 4, 3, -1, also in brackets: numbers with spaces between them are a list. `7 -1` is a difference."""
    pieces = _LIST_BRACKET.split(text)
    for place, piece in enumerate(pieces):
        if (
            _SPACED_NUMBERS.fullmatch(piece.strip())
            and re.search("[0-9] [0-9.]", piece)
            and not _spaced_thousands(piece)
        ):
            pieces[place] = piece.strip().replace(" ", ", ")
    return "".join(pieces)


def _spaced_thousands(text: str) -> bool:
    """Whether a text is one number with spaces between its thousands."""
    return bool(re.fullmatch(r" ?[+-]?[0-9]{1,3}(?: [0-9]{3})+ ?", text))


def _without_thousands(text: str) -> str:
    """`1,234` as 1234 and every other comma as `, `; inside brackets a comma separates items."""
    if _spaced_thousands(text):
        return text.replace(" ", "")
    pieces, depth = [], 0
    for token in _BRACKET_OR_NUMBER.finditer(text):
        piece = token.group()
        if piece in ("(", "[", r"\{"):
            depth += 1
        elif piece in (")", "]", r"\}"):
            depth = max(0, depth - 1)
        elif "," in piece and (depth == 0 or ",0" in piece) and piece[0].isdigit():
            # No coordinate starts with a zero: (10,000) is one number.
            piece = piece.replace(",", "")
        pieces.append(piece)
    return re.sub(r" ?, ?", ", ", "".join(pieces))


def _spaced(text: str) -> str:
    """The text with one space between words, digits, a command and a letter, and list items, and no other space."""

    def keep(space: re.Match[str]) -> str:
        before, after = text[space.start() - 1 : space.start()], text[space.end() : space.end() + 1]
        both_letters = before.isalpha() and after.isalpha()
        both_digits = before.isdigit() and after.isdigit()
        return " " if both_letters or both_digits or before == "," else ""

    text = " ".join(text.split())
    # 2e +3 must not become 2e+3, which is 2000.
    text = re.sub(r"(?<=[0-9.])([eE])(?=[+-][0-9])", r"\1 ", re.sub(r" ", keep, text))
    return re.sub(r"(?<![A-Za-z\\])([A-Za-z]) (?=[A-Za-z](?![A-Za-z]))", r"\1", text)


def _trimmed(text: str) -> str:
    return text.lstrip(" ,;:").rstrip(" .,;:\\")


def _unwrapped(text: str) -> str:
    """The text without braces or round brackets around a single item (`{5}`, `(A)`), and without square brackets
    around the value of one unknown, as in the solution of a system (`[k=4]`)."""
    if text[:1] + text[-1:] not in ("{}", "()", "[]"):
        return text
    inside = text[1:-1]
    depth = 0
    for token in re.finditer(r"\\.|[{}()\[\]]", inside, re.DOTALL):
        step = {"{": 1, "(": 1, "[": 1, r"\{": 1, "}": -1, ")": -1, "]": -1, r"\}": -1}.get(token.group(), 0)
        depth += step
        if depth < 0:
            return text
    if (
        depth
        or (text[0] in "([" and len(top_level_items(inside)) > 1)
        or (text[0] == "[" and not name_and_value(inside))
    ):
        return text
    return inside.strip()


def _without_styled_unit(text: str) -> tuple[str, str]:
    """An answer without its unit in a LaTeX command for text, and the unit; empty where there is none."""
    found = _STYLED_UNIT.search(text)
    if not found:
        return text, ""
    before = text[: found.start()].rstrip()
    words = " ".join(STYLED.sub(r" \1 ", found.group()).split())
    letters = WORD.findall(words)
    if not re.search(r"[0-9}]\)*$|\\pi$|%$", before) or not letters or not re.search(r"[0-9]|\\pi", before):
        return text, ""
    if any(w.lower() in _NOT_UNITS for w in letters) or re.search(r"[0-9(]", re.sub(r"\^\s*\{?\s*[23]", "", words)):
        return text, ""
    # Not every such letter is a unit: `3\mathrm{i}`.
    if len(letters) == 1 and len(letters[0]) == 1 and letters[0] not in _UNIT_LETTERS:
        return text, ""
    return before, unit_name(words)


def _without_plain_unit(text: str) -> tuple[str, str]:
    """An answer without its unit in plain words after a number, and the unit; empty where there is none."""
    found = _PLAIN_UNIT.search(text)
    before = _spaced(text[: found.start()]) if found else ""
    if not found or (number(before) is None and not _CLOCK.fullmatch(before)):
        return text, ""
    words = [word.lower() for word in WORD.findall(found.group(2))]
    if any(word in _NOT_UNITS for word in words):
        return text, ""
    known = known_unit(found.group())
    # 2pm and 2 BC may be products; a year has at least three digits.
    if known in ("am", "pm", "bc", "ad") and not (found.group(1) and (known in ("am", "pm") or len(before) > 2)):
        return text, ""
    # An unknown unit must look like a word: `5 xy` and `5xyz` are products.
    unlike = not found.group(1) or not any(len(word) > 2 and set(word) & set("aeiou") for word in words)
    if not known and unlike and not known_unit(words[0]):
        return text, ""
    return text[: found.start()], unit_name(found.group())


def _without_name(text: str) -> tuple[str, str]:
    """`x=5` as (5, x), `x=2+3=5` as (2+3=5, x), `x=1, x=2` as ("1, 2", x); other equations stay as they are."""
    items = top_level_items(text)
    found = [name_and_value(item) for item in items]
    if not found[0]:
        return text, ""
    name = found[0][0]
    values = [one[1] if one else item for one, item in zip(found, items, strict=True)]
    if any(one and one[0] != name for one in found) or any(
        not set(split_relations(value)[1]) <= EQUATION for value in values
    ):
        return text, ""
    return ", ".join(values), name
