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
from itertools import pairwise
from typing import Any

from scalequest.units import known_unit, other_unit, unit_name
from scalequest.values import Values, apart, values

# Longer text is nobody's final answer: it is compared as a string only. Below the 4,300 digits that int() reads.
LONGEST = 4000
# Exponents and factorials beyond this are not expanded: 10^{10^{10}} would fill the memory.
LARGEST_EXPONENT = 100_000
_ROUNDS = 12
_HUGE = 1e300
# Of two numbers, one with decimals: what is left between equal ones, computed to 30 digits.
_EXACTLY = 1e-13
# The same between two without decimals, which are computed to as many digits as it takes, up to a hundred.
_NOUGHT = 1e-60
# Relative: what rounding may change.
_ROUNDED = 0.05


# ---------------------------------------------------------------- extraction

_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_HASHES = re.compile(r"^[ \t]*####[ \t]*(\S.*)$", re.MULTILINE)
# A level-four heading of Markdown looks the same; an answer starts with mathematics or is the last line.
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
_CLOSING_LINES = 4
# Boxes of one answer: so many, and with so few characters between two.
_MOST_BOXES, _NEAR_BOXES = 20, 60


def extract_answer(response: str) -> str | None:
    """The final answer as written, or None: the last complete box (with those that it is joined to by `and`, `or` or a
    comma), else a line `#### x`, else what follows "the answer is" or "Answer:" in the last lines. Never raises; linear
    in the length of the response.
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
    """Whether two boxes hold one answer in two forms, as far as that is seen at once."""
    first, second = values(normalise(a)), values(normalise(b))
    return equal_fast(a, b) is True or bool(first and second and not apart(first, second))


def _box_content(text: str, start: int, pairs: dict[int, int]) -> tuple[str, int]:
    """What a box holds, from the position behind its name, and where it ends; empty for one that is not closed."""
    if text[start : start + 1] == "{":
        end = pairs.get(start, start)
        return text[start + 1 : end].strip(), end + 1
    bare = re.compile(r"[^\s${}]{1,200}").match(text, start)
    return (bare.group().rstrip(".,;"), bare.end()) if bare else ("", start)


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
        inner, closed, _ = rest[1:].partition("$")
        amount = _AMOUNT.match(rest)
        if amount and (not closed or _PROSE_END.search(inner) or is_prose(_STYLED.sub("", inner))):
            return amount.group()
        return inner.strip() or None
    return _CLAUSE_END.split(rest, maxsplit=1)[0].strip(" *_") or None


# ---------------------------------------------------------------- normalisation


@dataclass(frozen=True)
class Parts:
    """A normalised answer: `x=5\\text{ cm}` has name `x`, value `5`, unit `cm`. A modulus is a unit too, and so is
    whatever else is counted."""

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
_STYLED = re.compile(rf"\\(?:{_STYLES}|boxed|fbox|underline) ?\{{([^{{}}]*)\}}")
_SPACES = r"(?:(?<!\\)\\[,;:> ]|~|\\(?:quad|qquad|displaystyle|textstyle|limits|nolimits|thinspace)(?![A-Za-z])|\s)+"
# No pattern begins with a repetition and then may fail: over a long run of its characters it would take quadratic time.
_SYNONYMS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), new)
    for pattern, new in (
        (r"(?<![A-Za-z])([ap])\. ?m(?![A-Za-z])\.?", r"\1m"),
        (r"(?<![A-Za-z])([ABC])\. ?([CDE])(?:\. ?(E))?\.(?![A-Za-z])", r"\1\2\3"),
        (r"\.{3}\.?|\\[lcv]?dots[bcimo]?(?![A-Za-z])", r"\\dots "),
        (r"\\\\ ?\[[^\]]{0,12}\]", r"\\\\ "),
        (r"(?<!\\)\\[()\[\]]", " "),
        (r"(?<=[0-9])\\,(?=[0-9]{3}(?![0-9]))", ""),
        (r"\{,\} ?|, ?\\! ?", ","),
        (r"\\!", ""),
        (_SPACES, " "),
        (r"(?<!\\)\\\$", " "),
        (r"\$", " "),
        (r"\\(?:left|right)(?![A-Za-z]) ?\.?|\\[bB]igg?[lrm]?(?![A-Za-z])", " "),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\(?:leqslant|leq|leqq)(?![A-Za-z])", r"\\le "),
        (r"\\(?:geqslant|geq|geqq)(?![A-Za-z])", r"\\ge "),
        (r"\\neq(?![A-Za-z])", r"\\ne "),
        (r"\\lt(?![A-Za-z])", "<"),
        (r"\\gt(?![A-Za-z])", ">"),
        (r"\\lbrace(?![A-Za-z])", r"\\{"),
        (r"\\rbrace(?![A-Za-z])", r"\\}"),
        (r"\\langle(?![A-Za-z])", "("),
        (r"\\rangle(?![A-Za-z])", ")"),
        (r"^<((?:[^<>,]+,)+[^<>,]+)>$", r"(\1)"),
        (r"\\(?:hat|vec) ?\{? ?(?:\\?([ij])math|([ijk])) ?\}?(?![A-Za-z])", r"\1\2 "),
        (r"^([-+]?[0-9]+(?:\.[0-9]+)?)[eE]([+-]?[0-9]{1,3})(?![A-Za-z0-9.^(*/+-])", r"\1\\times10^{\2}"),
        (r", ?&", "&"),
        (r"\\[lr]?vert(?![A-Za-z])", "|"),
        (r"\\colon(?![A-Za-z])", ":"),
        (r"\\(?:varnothing|empty|oslash)(?![A-Za-z])", r"\\emptyset "),
        (r"\\(?:R|reals)(?![A-Za-z])|\\mathbb ?\{? ?R ?\}?", r"\\mathbb{R}"),
        (r"\\smallsetminus(?![A-Za-z])|\\backslash(?![A-Za-z])", r"\\setminus "),
        (r"\^ ?\{ ?\\(?:circ|degree) ?\}|\^ ?\\(?:circ|degree)(?![A-Za-z])", r"\\degree "),
        (r"\\%|\bper ?cent(?:age points?)?\b", "%"),
        (r"(?<![\\A-Za-z])sqrt(?![A-Za-z])", r"\\sqrt"),
        (r"\\sqrt ?\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"\{([^{}]*)\\choose(?![A-Za-z])([^{}]*)\}", r"\\binom{\1}{\2}"),
        (r"(?<=[0-9.])\\dot ?\{? ?([0-9]) ?\}?", r"\\overline{\1}"),
        (r"(?<![\\A-Za-z])pi(?![A-Za-z])", r"\\pi "),
        (r"(?<![\\A-Za-z])infinity(?![A-Za-z])", r"\\infty "),
        (r"\\begin ?\{[bB]?(?:small)?matrix\}", r"\\begin{pmatrix}"),
        (r"\\end ?\{[bB]?(?:small)?matrix\}", r"\\end{pmatrix}"),
        (r"[\[(] ?\\begin ?\{array\} ?\{[^{}]*\}", r"\\begin{pmatrix}"),
        (r"\\end ?\{array\} ?[\])]", r"\\end{pmatrix}"),
        (r"(?<!\\\\)(?<!\\\\ )(?:\\\\ ?)+(?=\\end\b)", ""),
        (r"^(?:\\approx ?)+", ""),
        (r"^(?:(?:so|thus|therefore|hence),? )?(?:the )?(?:final )?(?:answer|solution)s? ?(?:is|are)? ?:? ", ""),
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
# Of single letters these are units, and none that is bold or slanted, as a vector is.
_UNIT_LETTERS = frozenset("mgshlLAJKNTVWCF")
_STYLED_UNIT = re.compile(
    r"(?: ?[/*]? ?(?:\\cdot ?)?\\(?:text[a-z]*|mathrm|mathsf|mathtt|mathnormal|mbox|hbox|operatorname\*?) ?"
    r"\{[^{}]*\}(?: ?\^ ?(?:[23]|\{ ?[23] ?\}))?)+[ .]*$"
)
_PLAIN_UNIT = re.compile(r"(?<=[0-9}%])( ?)([A-Za-z]{2,}\.?(?:[ /-]{1,3}[A-Za-z]+\.?){0,4})( ?\^ ?\{[23]\})?$")
# An angle within a function, and its degrees there.
_TRIGONOMETRIC = re.compile(
    r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])(?: ?\^ ?(?:[2-9]|\{ ?[2-9] ?\}))? ?"
    r"(?:\([^()]*\)|\{[^{}]*\}|\\frac ?\{[^{}]*\} ?\{[^{}]*\}|[0-9.]+ ?\\degree)"
)
_DEGREES = re.compile(r"(?<![0-9.])([0-9.]+) ?\\degree ?")
_DEGREE = re.compile(r"\\degree[. ]*$")
_CLOCK = re.compile(r"[0-9]{1,2}:[0-9]{2}")
_REPEATING = re.compile(r"(?<![0-9])([0-9]*)\.([0-9]+) ?\\dots")
_CURRENCY = re.compile(r"(?<!\\)\\\$")
_MODULUS = re.compile(r"(?<=\S) ?(?:\\pmod ?\{? ?|\( ?\\?b?mod ?\{? ?)([0-9]+) ?\}? ?\)?$")

_UNION = re.compile(r"\\cup(?![A-Za-z])")
# With more than one entry, and nothing else: a product of matrices may be a number.
_MATRIX = re.compile(r"\\begin\{pmatrix\}(?=[^\\]*(?:&|\\\\))(?:(?!\\end\{pmatrix\}).)*\\end\{pmatrix\}", re.DOTALL)
_GREEK = frozenset(
    re.findall(
        r"\w+",
        "alpha beta gamma delta epsilon zeta eta theta kappa lambda mu nu xi rho sigma tau phi varphi chi psi omega "
        "Delta Omega",
    )
)
_LETTER = (
    rf"(?:[A-Za-z]|\\(?:{'|'.join(sorted(_GREEK))})|\\(?:bar|hat|vec|tilde|overline|overrightarrow)\{{[^{{}}]*\}})"
)
# What an equation may name on its left: an unknown, a function, or another quantity.
_NAME = re.compile(
    rf"(?P<letter>{_LETTER}(?:_\{{[^{{}}]*\}})?(?:'|\^\{{(?:-1|(?:\\prime)+)\}})*)(?P<function>\([a-z](?:, [a-z])*\))?"
    # A value of a function, a point, what geometry and analysis write, words.
    r"|(?:[A-Zfghpqsuvw]|\\(?:phi|psi|Pr))(?:_\{[^{}]*\}|'|\^\{[^{}]*\})*\((?:[^()]|\([^()]*\))*\)|[A-Za-z]\(-?[0-9.]+\)"
    r"|\([A-Za-z](?:, [A-Za-z])+\)|[A-Z]{2,4}|m?\\(?:angle|triangle) ?[A-Z]{1,3}|\|[A-Z]{2}\||\[[A-Z]{3,}\]"
    r"|(?P<operation>\\(?:lim|int|iint|oint|sum|prod|max|min|inf|sup|det|dim|gcd)(?![A-Za-z]).*)|d[A-Za-z](?:/d[A-Za-z])?"
    r"|\\frac\{d[A-Za-z]\}\{d[A-Za-z]\}|\\frac\{d\}\{d[A-Za-z]\}\(.*\)|\\sigma\^\{2\}|R\^\{2\}|[A-Za-z]/[A-Za-z]"
    r"|(?:[A-Za-z]+ ){0,3}[A-Za-z]{4,}(?: [A-Za-z]+){0,3}"
)
_EQUATION, _NAMING = frozenset(("=", "approx")), frozenset(("=", "approx", "in", "equiv"))
_SIGN = re.compile(r"\\(approx|in|equiv|le|ge|ne|to|mid)(?![A-Za-z])|\\[A-Za-z]+|\\.|[{}()\[\]=<>]", re.DOTALL)
_WITHOUT = re.compile(r"(?:\\mathbb\{R\}|\(-\\infty, \\infty\))\\setminus\\\{(.*)\\\}")
_EXCLUDED = re.compile(r"([A-Za-z])\\ne(?![A-Za-z])(.+)")
_INTERVAL = re.compile(r"[\[(][^()\[\]]*, [^()\[\]]*[\])]")
# The sign that says the same the other way round.
_LESS = {"<": ">", "le": "ge", ">": "<", "ge": "le"}
_ORDERED = ("()", "[]", "(]", "[)")
_BORDERS = len(r"\begin{pmatrix}\end{pmatrix}")
_PLUS_MINUS = re.compile(r"\\(?:pm|mp)(?![A-Za-z]) ?")
_ARGUMENT = re.compile(r"[+-]?[0-9]+|[A-Za-z]|\\[A-Za-z]+")
_OPERATOR = re.compile(r"\\(?:frac|binom|sqrt)(?![A-Za-z])|[\^_]")
_COMMANDS_WITH_ARGUMENTS = frozenset((r"\frac", r"\binom", r"\sqrt", r"\left", r"\text", r"\mathbb", r"\overline"))
_BRACKET_OR_NUMBER = re.compile(
    r"\\?[()\[\]{}]|(?<![0-9.,])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9]|,[0-9])|[0-9]+|[^()\[\]{}\\0-9]+|\\", re.DOTALL
)
_PLAIN_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")


def normalise(answer: str) -> str:
    """An answer without LaTeX and text noise: delimiters, spacing, styles, units, degrees, currency, `x =`, separators
    of thousands. Equal strings are equal answers. Idempotent; never raises.
    """
    return split_answer(answer).value


@lru_cache(maxsize=1 << 14)
def split_answer(answer: str) -> Parts:
    """A normalised answer with its name and its unit, where it has such (`Parts`)."""
    start = " ".join(answer.split())
    # A plain number, which most answers are, has nothing to clean.
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
    text, name, unit = parts.value, parts.name, parts.unit
    text = unicodedata.normalize("NFKC", text.translate(_TRANSLATION))
    text = text.strip(" *`")
    if _CURRENCY.search(text):
        unit = unit or "dollar"
    for pattern, new in _SYNONYMS[:-1]:
        text = pattern.sub(new, text)
    text = _FLAGGED_LAST.sub("", " ".join(text.split()))
    text = _TRIGONOMETRIC.sub(lambda found: _DEGREES.sub(r"\\frac{\1\\pi}{180}", found.group()), text)
    degree = "degree" if _DEGREE.search(text) else ""
    text = _REPEATING.sub(_with_cycle, text.replace(r"\degree", " "))
    text, found = _without_styled_unit(text)
    unit = unit or found
    text = _with_braces(" ".join(_STYLED.sub(r" \1 ", text).split()))
    if modulus := _MODULUS.search(text):
        text, unit = text[: modulus.start()], unit or f"mod {modulus.group(1)}"
    text = _without_thousands(text)
    if not is_prose(text):
        text = re.sub(r" ?(?:, ?)?(?<![A-Za-z\\])(?:and|or)(?![A-Za-z]) ?", ", ", text)
    text, found = _without_plain_unit(_trimmed(text))
    unit = unit or found or degree
    text, found = _without_name(_unwrapped(_trimmed(_spaced(text))))
    text = _meant(text.removesuffix(":00") if _CLOCK.fullmatch(text) else text)
    return Parts(text, name or found, unit)


# A domain in words or signs, and that there is none.
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
    """Words in small letters and number words as numbers; `\\{x \\mid x>0\\}` as x>0; a domain by its one name."""
    if re.fullmatch(r"[^\W\d_](?:[^\W\d_]|[ '])+", text) and (is_prose(text) or (len(text) > 2 and text.istitle())):
        text = text.lower()
    text = _AMONG_REALS.sub("", text)
    if (without := _WITHOUT.fullmatch(text)) and (union := _punctured(top_level_items(without[1]))):
        return union
    builder = _BUILDER.fullmatch(text)
    if builder and _RELATION.search(builder[2]) and builder[1] in _variables(builder[2]):
        return builder[2]
    return next((one for same, one in _SAME_THINGS if same.fullmatch(text)), _NUMBER_WORDS.get(text, text))


def _with_cycle(found: re.Match[str]) -> str:
    """`0.1666...` as 0.1\\overline{6}, where what repeats is seen at least twice (a digit: three times, or alone)."""
    whole, digits = found.groups()
    for size in range(1, 7):
        cycle = digits[-size:]
        rest = digits
        while len(rest) >= size and rest.endswith(cycle):
            rest = rest[:-size]
        if len(digits) - len(rest) >= (3 if size == 1 and rest else 2 * size):
            return rf"{whole}.{rest}\overline{{{cycle}}}"
    return found.group()


# Words that are too short to tell from a product of letters.
_SHORT_WORDS = frozenset(
    re.findall(
        r"\w+", "no yes on off up out top low odd all any not nor one two six ten red sun mon tue wed thu fri sat dne"
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
    return re.sub(r" ?, ?", ", ", "".join(pieces))


def _spaced(text: str) -> str:
    """One space where it tells two things apart (words, digits, a command and a letter, list items), else none."""

    def keep(space: re.Match[str]) -> str:
        before, after = text[space.start() - 1 : space.start()], text[space.end() : space.end() + 1]
        both_letters = before.isalpha() and after.isalpha()
        both_digits = before.isdigit() and after.isdigit()
        return " " if both_letters or both_digits or before == "," else ""

    text = " ".join(text.split())
    # 2e +3 is no 2e+3, which is 2000.
    text = re.sub(r"(?<=[0-9.])([eE])(?=[+-][0-9])", r"\1 ", re.sub(r" ", keep, text))
    return re.sub(r"(?<![A-Za-z\\])([A-Za-z]) (?=[A-Za-z](?![A-Za-z]))", r"\1", text)


def _trimmed(text: str) -> str:
    return text.lstrip(" ,;:").rstrip(" .,;:\\")


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
    # Not every styled letter is one: `3\mathrm{i}`.
    if len(letters) == 1 and len(letters[0]) == 1 and letters[0] not in _UNIT_LETTERS:
        return text, ""
    return before, unit_name(words)


def _without_plain_unit(text: str) -> tuple[str, str]:
    found = _PLAIN_UNIT.search(text)
    before = _spaced(text[: found.start()]) if found else ""
    if not found or (number(before) is None and not _CLOCK.fullmatch(before)):
        return text, ""
    words = [word.lower() for word in _WORD.findall(found.group(2))]
    if any(word in _NOT_UNITS for word in words):
        return text, ""
    known = known_unit(found.group())
    # 2pm and 2 BC may be products; a year has three digits.
    if known in ("am", "pm", "bc", "ad") and not (found.group(1) and (known in ("am", "pm") or len(before) > 2)):
        return text, ""
    # An unknown word must look like one: `5 xy` and `5xyz` are products.
    unlike = not found.group(1) or not any(len(word) > 2 and set(word) & set("aeiou") for word in words)
    if not known and unlike and not known_unit(words[0]):
        return text, ""
    return text[: found.start()], unit_name(found.group())


def _without_name(text: str) -> tuple[str, str]:
    """`x=5` as (5, x), `x=2+3=5` as (2+3=5, x), `x=1, x=2` as (1, 2; x); an equation or several unknowns stay."""
    items = top_level_items(text)
    found = [_named(item) for item in items]
    if not found[0]:
        return text, ""
    name = found[0][0]
    values = [one[1] if one else item for one, item in zip(found, items, strict=True)]
    if any(one and one[0] != name for one in found) or any(not set(_sides(value)[1]) <= _EQUATION for value in values):
        return text, ""
    return ", ".join(values), name


def _named(item: str) -> tuple[str, str] | None:
    """The name and the value of `x=5`, `5=x`, `x=2+3=5`, `P(A)=0.5` or `x\\in[1, 2]`, without a name that of a limit or
    a sum; None where nothing is only named."""
    sides, signs = _sides(item)
    if not signs or signs[0] not in _NAMING or not set(signs[1:]) <= _EQUATION:
        return None
    left, names = sides[0], 1
    while names < len(sides) - 1 and _NAME.fullmatch(sides[names]):
        names += 1
    right = sides[names] + "".join(
        ("=" if sign == "=" else r"\approx ") + side
        for sign, side in zip(signs[names:], sides[names + 1 :], strict=True)
    )
    found = _NAME.fullmatch(left)
    if signs == ["="] and not found and not _variables(left):
        left, right = right, left
        found = _NAME.fullmatch(left)
        if found and not found["letter"]:
            return None
    if not found or not right:
        return None
    if found["letter"]:
        return found["letter"].lower() + ("()" if found["function"] else ""), right
    return "" if found["operation"] else left, right


def _sides(item: str) -> tuple[list[str], list[str]]:
    """What stands between the relations outside all brackets, and these: (["x", "5"], ["="])."""
    sides, signs, depth, start = [], [], 0, 0
    for token in _SIGN.finditer(item) if _RELATION.search(item) else ():
        piece = token.group()
        if piece in ("{", "(", "[", r"\{"):
            depth += 1
        elif piece in ("}", ")", "]", r"\}"):
            depth -= 1
        elif depth == 0 and (piece in "=<>" or token.group(1)):
            sides.append(item[start : token.start()].strip())
            signs.append(token.group(1) or piece)
            start = token.end()
    return [*sides, item[start:].strip()], signs


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

_SCALES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_DECIMAL = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_NUMBER = re.compile(
    r"(?P<sign>[+-]?)(?:"
    r"(?P<whole>[0-9]+) ?\\frac\{(?P<part>[0-9]+)\}\{(?P<parts>[0-9]+)\}"
    r"|(?P<whole2>[0-9]+) (?P<part2>[0-9]+)/(?P<parts2>[0-9]+)"
    rf"|\\frac\{{(?P<top>[+-]?{_DECIMAL})\}}\{{(?P<bottom>[+-]?{_DECIMAL})\}}"
    rf"|(?P<top2>{_DECIMAL})/(?P<bottom2>[+-]?{_DECIMAL})"
    r"|(?P<head>[0-9]*)\.(?P<tail>[0-9]*)\\(?:overline|bar)(?:\{(?P<cycle>[0-9]+)\}|(?P<cycle2>[0-9]))"
    rf"|(?P<decimal>{_DECIMAL})(?:\\(?:times|cdot)10\^\{{(?P<power>[+-]?[0-9]{{1,3}})\}}|[eE](?P<power2>[+-]?[0-9]{{1,3}}))?"
    rf"(?P<scale>{'|'.join(_SCALES)})?"
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
            value *= _SCALES.get(group["scale"], 1)
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


# What goes on: 0.333... is not 0.333.
_DOTS = r"\dots"
# More items than any answer has are left to algebra, whose time is bounded.
_MOST_ITEMS = 100
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
    if _conflict(left, right) or not left.value or not right.value or (_DOTS in left.value) != (_DOTS in right.value):
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
    if max(gold.count(","), prediction.count(",")) > _MOST_ITEMS:
        return False
    left, right = _valued_items(gold), _valued_items(prediction)
    if len(left[1]) == len(right[1]) == 1 and _other_kind(gold, prediction):
        return True
    if left[0] == right[0] and left[0] in _ORDERED and len(left[1]) == len(right[1]):
        return any(a and b and apart(a, b) for a, b in zip(left[1], right[1], strict=True))
    return any(
        item and all(other and apart(item, other) for other in others)
        for items, others in ((left[1], right[1]), (right[1], left[1]))
        for item in items
    )


def _other_kind(gold: str, prediction: str) -> bool:
    """Whether one is a plain expression and the other a matrix or a union, or their unknowns are others."""
    for one, other in ((gold, prediction), (prediction, gold)):
        if values(one) and (other == r"\emptyset" or _UNION.search(other) or _MATRIX.fullmatch(other)):
            return True
    return not (values(gold) and values(prediction)) and _other_variables(gold, prediction)


@lru_cache(maxsize=1 << 14)
def _valued_items(text: str) -> tuple[str, list[Values | None]]:
    """The kind of a collection (`set` for one thing) and its items' values, None for an item that has none."""
    kind, items = _collection(text) or ("set", [text])
    return kind, [values(split_answer(item).value) for item in items]


def equal_slow(gold: str, prediction: str) -> bool:
    """Whether a prediction equals the gold answer, by structure (lists, sets, tuples, intervals) and math-verify.

    Not bounded in time and not symmetric; call it through `grading.Grader`.
    """
    left, right = split_answer(gold), split_answer(prediction)
    if _conflict(left, right) or not left.value or not right.value:
        return False
    if _equal_parts(left, right):
        return True
    # y = 2x + 1 against 2x - y + 1 = 0: the name is part of the equation.
    whole_left, whole_right = (
        f"{one.name}={one.value}" if one.name and "()" not in one.name and "=" in other.value else one.value
        for one, other in ((left, right), (right, left))
    )
    changed = (whole_left, whole_right) != (left.value, right.value)
    return changed and _equal_symbolically(whole_left, whole_right)


def _conflict(a: Parts, b: Parts) -> bool:
    """x = 5 is not y = 5, and 5 cm is not 5 m or 5%; a name or unit on one side alone is no conflict."""
    units = [parts.unit or ("%" if parts.value.endswith("%") else "") for parts in (a, b)]
    return _other_name(a.name, b.name) or other_unit(*units)


def _other_name(a: str, b: str) -> bool:
    """The letter of a function says nothing: f(x) = 2x, g(x) = 2x and y = 2x are one answer; k = 1 is not f(x) = 1, and
    f(x) is not its inverse. Words may name what a letter does."""
    if not a or not b or a == b or is_prose(a) or is_prose(b):
        return False
    first, second = (name.removesuffix("()") for name in (a, b))
    functions = all(name == "y" or name.endswith("()") for name in (a, b))
    return first != second and not (functions and ("y" in (a, b) or first[1:] == second[1:]))


def _equal_numbers(a: Number, b: Number) -> bool:
    if a.percent == b.percent:
        return a.value == b.value
    percentage, plain = (a, b) if a.percent else (b, a)
    return plain.value in (percentage.value, percentage.value / 100)


def _equal_parts(left: Parts, right: Parts) -> bool:
    gold, prediction = left.value, right.value
    if gold == prediction:
        return True
    if is_prose(gold) or is_prose(prediction):
        return _letters(gold) == _letters(prediction)
    if _UNION.search(gold) or _UNION.search(prediction):
        gold, prediction = _as_union(gold), _as_union(prediction)
    first, second = (_collection(text, bool(one.name)) for text, one in ((gold, left), (prediction, right)))
    # A vector may be written as a row, a column or a point.
    if any(one and one[0] in ("()", "unknowns") for one in (first, second)):
        first, second = first or _entries(gold), second or _entries(prediction)
    if first and second:
        return _equal_collections(first, second)
    golds = _readings(gold, bool(left.name), shown=("=", "approx"))
    # What the gold answer says too need not be shown again.
    begin_alike = _sides(gold)[0][0] == _sides(prediction)[0][0]
    predictions = _readings(prediction, bool(right.name), shown=("=",) if begin_alike else ())
    if (golds, predictions) in (([gold], [prediction]), ([], [])):
        return _equal_symbolically(gold, prediction)
    return any(_equal_item(a, b) for a in golds for b in predictions)


def _readings(text: str, named: bool, shown: tuple[str, ...]) -> list[str]:
    """What an answer says: of an equation without unknowns on its left (`2+3=5`), or of a chain behind a name, the
    right side, and what this approximates; nothing of one with unknowns, nor of a false one. Signs that are `shown`
    to be true are not looked at."""
    sides, signs = _sides(text)
    if not signs or not set(signs) <= _EQUATION:
        return [text]
    if not all(sides) or (not named and _variables(sides[0])):
        return []
    true = {"=": _equal_item, "approx": _rounds}
    steps = list(zip(sides, signs, sides[1:], strict=False))
    if any(sign not in shown and not true[sign](a, b) for a, sign, b in steps):
        return []
    return [sides[-1], *(a for a, sign, _ in steps if sign == "approx")]


def _rounds(exact: str, rounded: str) -> bool:
    """Whether a number is another one to its own decimals, or nearly if it has none; True where one is not plain."""
    first, second = values(exact), values(rounded)
    decimals = len(rounded.partition(".")[2])
    if not first or not second:
        return True
    return abs(first[0] - second[0]) <= (10.0**-decimals if decimals else _ROUNDED * abs(first[0]))


def _as_union(text: str) -> str:
    """Half-lines (`x<1, x>3`), ranges (`1<x<2`), exclusions (`x\\ne2`) and listed intervals as the union of intervals
    that they are, else the text."""
    items = top_level_items(text)
    excluded = [match for item in items if (match := _EXCLUDED.fullmatch(item))]
    if excluded and len({match[1] for match in excluded}) == 1:
        # x \ne 1, 2 is x \ne 1, x \ne 2.
        return _punctured([match[2] if (match := _EXCLUDED.fullmatch(item)) else item for item in items]) or text
    if len(items) > 1 and all(_INTERVAL.fullmatch(item) for item in items):
        return r"\cup".join(items)
    parts = [_interval(item) for item in items]
    if not all(parts) or len({part[0] for part in parts if part}) != 1:
        return text
    return r"\cup".join(part[1] for part in parts if part)


def _interval(item: str) -> tuple[str, str] | None:
    """The unknown and the interval of `x<1` or `1<=x<2`."""
    sides, signs = _sides(item)
    if len(sides) not in (2, 3) or not all(sides) or not set(signs) <= _LESS.keys():
        return None
    if signs[0] in (">", "ge"):
        sides, signs = sides[::-1], [_LESS[sign] for sign in signs[::-1]]
    if len(sides) == 2:
        at_left = len(sides[0]) == 1 and sides[0].isalpha()
        sides, signs = ([r"-\infty", *sides], ["<", *signs]) if at_left else ([*sides, r"\infty"], [*signs, "<"])
    if not (len(sides[1]) == 1 and sides[1].isalpha()) or any(sign in (">", "ge") for sign in signs):
        return None
    left, right = ("(" if signs[0] == "<" else "["), (")" if signs[1] == "<" else "]")
    return sides[1], f"{left}{sides[0]}, {sides[2]}{right}"


def _punctured(points: list[str]) -> str:
    """The real line without some points, as a union; empty where their order is not known."""
    places = [(found[0].real, point) for point in points if (found := values(point)) and len(set(found)) == 1]
    ends = [r"-\infty", *(point for _, point in sorted(places)), r"\infty"]
    return r"\cup".join(f"({a}, {b})" for a, b in pairwise(ends)) if len(places) == len(points) else ""


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


def _collection(text: str, named: bool = False) -> tuple[str, list[str]] | None:
    """What kind of a collection it is, and its items; None for a single thing.

    `list` (without brackets), `set` (braces, a list of one unknown's values, both signs), `unknowns` (each with its
    value, `x=1, y=2`), else a tuple or an interval by its brackets.
    """
    items = top_level_items(text)
    kind = "list"
    if len(items) == 1:
        start, end = (2, -2) if text[:2] == r"\{" and text[-2:] == r"\}" else (1, -1)
        brackets = text[:start] + text[end:]
        if brackets in (r"\{\}", *_ORDERED) and _closes_at_end(text):
            inside = top_level_items(text[start:end])
            if len(inside) > 1 or brackets == r"\{\}":
                items, kind = inside, "set" if brackets == r"\{\}" else brackets
    if kind in _ORDERED and not _PLUS_MINUS.search(text):
        return (kind, items) if not _unknowns(items) else ("unknowns", items)
    # Of a point with both signs there are two.
    items = [half for item in ([text] if kind in _ORDERED else items) for half in _plus_minus(item)]
    if len(items) == 1 or not all(items):
        return None
    if _unknowns(items):
        return "unknowns", items
    return "set" if named or _PLUS_MINUS.search(text) else kind, items


def _entries(text: str) -> tuple[str, list[str]] | None:
    """The entries of a matrix of one row or one column as those of a point."""
    inside = text.removeprefix(r"\begin{pmatrix}").removesuffix(r"\end{pmatrix}")
    if len(text) - len(inside) != _BORDERS or r"\begin" in inside or ("&" in inside and r"\\" in inside):
        return None
    return "()", re.split(r"&|\\\\", inside)


def _unknowns(items: list[str]) -> bool:
    """Whether each item gives another unknown its value."""
    names = [named[0] for item in items if (named := _named(item))]
    return len(set(names)) == len(items)


def _equal_collections(first: tuple[str, list[str]], second: tuple[str, list[str]]) -> bool:
    """Items in any order for lists and sets, in theirs for points and intervals; brackets that are left out count as
    round ones, and so does naming each coordinate. Others of unlike kinds differ."""
    (kind, golds), (other, predictions) = first, second
    kinds = {kind, other}
    if len(golds) != len(predictions):
        return False
    if kinds <= {"list", "set"} or kinds == {"unknowns"}:
        return _equal_in_any_order(golds, predictions)
    if len(kinds) > 1 and not kinds <= {"list", "unknowns", "()"}:
        return False
    return _equal_in_order(*(_coordinates(*one) if one[0] == "unknowns" else one[1] for one in (first, second)))


def _coordinates(_: str, items: list[str]) -> list[str]:
    """The values of unknowns, those of x, y and z in this order, others in theirs."""
    pairs = [named for item in items if (named := _named(item))]
    return [value for _, value in (sorted(pairs) if {name for name, _ in pairs} <= {"x", "y", "z"} else pairs)]


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
    if len(_PLUS_MINUS.findall(item)) != 1:
        yield item
        return
    for sign in "+-":
        yield _PLUS_MINUS.sub(sign, item).removeprefix("+")


_RELATION = re.compile(r"[=<>]|\\(?:le|ge|ne|lt|gt|in|to|approx|equiv|mid)(?![A-Za-z])")
_SYMBOL = re.compile(r"\\([A-Za-z]+)|([A-Za-z]+)")
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
    if not left or not right:
        return False
    if all(type(side[0]).__name__ == "Equality" for side in (left, right)):
        return _equal_equations(left[0], right[0])
    return (verify(left, right) and not _rounded(left[0], right[0])) or _equal_logarithms(left[0], right[0])


def _equal_equations(a: Any, b: Any) -> bool:
    """Whether two equations are one, perhaps but for a factor. Their letters may be complex: of two without real
    solutions math-verify would find the same."""
    import sympy

    _, verify = _math_verify()
    sides = [a.lhs, a.rhs, b.lhs, b.rhs]
    if any(getattr(side, "is_Matrix", False) or not isinstance(side, sympy.Expr) for side in sides):
        return verify([a], [b])
    left, right, other_left, other_right = (
        side.xreplace({one: sympy.Symbol(str(one)) for one in side.free_symbols}) for side in sides
    )
    first, second = (sympy.Eq(*pair, evaluate=False) for pair in ((left, right), (other_left, other_right)))
    if verify([first], [second]):
        return True
    if other_left == other_right:
        return False
    ratio = sympy.simplify((left - right) / (other_left - other_right))
    return bool(ratio.is_number and ratio.is_finite and ratio != 0)


def _equal_logarithms(a: Any, b: Any) -> bool:
    """Whether two expressions are equal once logarithms of products are sums, as they are of positive numbers."""
    import sympy

    if not all(isinstance(one, sympy.Expr) and one.has(sympy.log) for one in (a, b)):
        return False
    return bool(sympy.simplify(sympy.expand_log(a - b, force=True)) == 0)


def _rounded(a: Any, b: Any) -> bool:
    """Whether two numbers agree only in the digits that math-verify looks at: 1.41421356 is not the root of two, nor is
    1 + 2^{-99} one."""
    import sympy

    if not (getattr(a, "is_number", False) and getattr(b, "is_number", False)):
        return False
    decimals = a.has(sympy.Float), b.has(sympy.Float)
    if all(decimals):
        return False
    exact = [x.xreplace({f: sympy.Rational(str(f)) for f in x.atoms(sympy.Float)}) for x in (a, b)]
    return bool(abs((exact[0] - exact[1]).evalf(30)) > (_EXACTLY if any(decimals) else _NOUGHT))


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
        found = parse(f"${text}$", [config], fallback_mode="no_fallback", parsing_timeout=None)
        return [_with_imaginary_unit(one) if hasattr(one, "free_symbols") else one for one in found]

    def check(gold: list[Any], prediction: list[Any]) -> bool:
        return verify(gold, prediction, allow_set_relation_comp=True, timeout_seconds=None)

    return read, check


def _with_imaginary_unit(expression: Any) -> Any:
    """An expression whose letter i is the imaginary unit, where it is no index (which is bound) and no base vector."""
    import sympy

    letters = {str(symbol): symbol for symbol in expression.free_symbols}
    if "i" not in letters or letters.keys() & {"j", "k", "n"}:
        return expression
    return expression.xreplace({letters["i"]: sympy.I})


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
