"""The structure of an answer written in LaTeX: brackets, items, relations, names, letters and words."""

from __future__ import annotations

import re

# Longer text is no final answer and is compared as a string only. Below the 4,300 digits that int() reads.
LONGEST = 4000
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)


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


# Commands that change only how their argument looks.
_STYLES = r"text(?:bf|it|rm|sf|tt|normal)?|math(?:rm|bf|it|sf|tt|normal)|mbox|hbox|operatorname\*?|boldsymbol|bm|emph"
STYLED = re.compile(rf"\\(?:{_STYLES}|boxed|fbox|underline) ?\{{([^{{}}]*)\}}")
FUNCTIONS = frozenset(
    re.findall(
        r"\w+",
        "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log exp lim max min sup inf det gcd lcm mod arg "
        "dim ker sqrt frac sum prod sgn erf",
    )
)
WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]+")
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\{[a-z]{1,12}\*?\}")
UNION = re.compile(r"\\cup(?![A-Za-z])")
# A matrix of more than one entry.
MATRIX = re.compile(r"\\begin\{pmatrix\}(?=[^\\]*(?:&|\\\\))(?:(?!\\end\{pmatrix\}).)*\\end\{pmatrix\}", re.DOTALL)
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
# Left side of an equation that names its right side: an unknown, a function, or another quantity.
_NAME = re.compile(
    rf"(?P<letter>{_LETTER}(?:_\{{[^{{}}]*\}})?(?:'|\^\{{(?:-1|(?:\\prime)+)\}})*)(?P<function>\([a-z](?:, [a-z])*\))?"
    # A value of a function, a point, names of geometry and analysis, words.
    r"|(?:[A-Zfghpqsuvw]|\\(?:phi|psi|Pr))(?:_\{[^{}]*\}|'|\^\{[^{}]*\})*\((?:[^()]|\([^()]*\))*\)|[A-Za-z]\(-?[0-9.]+\)"
    r"|\([A-Za-z](?:, [A-Za-z])+\)|[A-Z]{2,4}|m?\\(?:angle|triangle) ?[A-Z]{1,3}|\|[A-Z]{2}\||\[[A-Z]{3,}\]"
    r"|(?P<operation>\\(?:lim|int|iint|oint|sum|prod|max|min|inf|sup|det|dim|gcd)(?![A-Za-z]).*)|d[A-Za-z](?:/d[A-Za-z])?"
    r"|\\frac\{d[A-Za-z]\}\{d[A-Za-z]\}|\\frac\{d\}\{d[A-Za-z]\}\(.*\)|\\sigma\^\{2\}|R\^\{2\}|[A-Za-z]/[A-Za-z]"
    r"|(?:[A-Za-z]+ ){0,3}[A-Za-z]{4,}(?: [A-Za-z]+){0,3}"
)
EQUATION, _NAMING = frozenset(("=", "approx")), frozenset(("=", "approx", "in", "equiv"))
_SIGN = re.compile(r"\\(approx|in|equiv|le|ge|ne|to|mid)(?![A-Za-z])|\\[A-Za-z]+|\\.|[{}()\[\]=<>]", re.DOTALL)
# Words as short as a product of letters.
_SHORT_WORDS = frozenset(
    re.findall(
        r"\w+", "no yes on off up out top low odd all any not nor one two six ten red sun mon tue wed thu fri sat dne"
    )
)


def is_prose(text: str) -> bool:
    """Whether an answer is written in words, which algebra would read as products of letters."""
    if text.strip().lower() in _SHORT_WORDS:
        return True
    words = WORD.findall(_ENVIRONMENT.sub("", text))
    return any(len(word) > 3 and word.lower() not in FUNCTIONS for word in words)


def name_and_value(item: str) -> tuple[str, str] | None:
    """The name and the value of `x=5`, `5=x`, `x=2+3=5`, `P(A)=0.5` or `x\\in[1, 2]`; the name of a limit or a sum is
    empty. None for any other text."""
    sides, signs = split_relations(item)
    if not signs or signs[0] not in _NAMING or not set(signs[1:]) <= EQUATION:
        return None
    left, names = sides[0], 1
    while names < len(sides) - 1 and _NAME.fullmatch(sides[names]):
        names += 1
    right = sides[names] + "".join(
        ("=" if sign == "=" else r"\approx ") + side
        for sign, side in zip(signs[names:], sides[names + 1 :], strict=True)
    )
    found = _NAME.fullmatch(left)
    if signs == ["="] and not found and not variables(left):
        left, right = right, left
        found = _NAME.fullmatch(left)
        if found and not found["letter"]:
            return None
    if not found or not right:
        return None
    if found["letter"]:
        return found["letter"].lower() + ("()" if found["function"] else ""), right
    return "" if found["operation"] else left, right


def split_relations(item: str) -> tuple[list[str], list[str]]:
    """The texts between the relations outside all brackets, and the relations: (["x", "5"], ["="]) of `x=5`."""
    sides, signs, depth, start = [], [], 0, 0
    for token in _SIGN.finditer(item) if RELATION.search(item) else ():
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


def closes_at_end(text: str) -> bool:
    """Whether the first bracket of a text is closed by its last character."""
    depth = 0
    for token in re.finditer(r"\\.|[()\[\]{}]", text, re.DOTALL):
        if token.group() in ("(", "[", "{", r"\{"):
            depth += 1
        elif token.group() in (")", "]", "}", r"\}"):
            depth -= 1
            if depth == 0:
                return token.end() == len(text)
    return False


RELATION = re.compile(r"[=<>]|\\(?:le|ge|ne|lt|gt|in|to|approx|equiv|mid)(?![A-Za-z])")
_SYMBOL = re.compile(r"\\([A-Za-z]+)|([A-Za-z]+)")
# Letters that are numbers or operators.
_NO_VARIABLES = frozenset("eid")


def variables(text: str) -> frozenset[str]:
    """The letters of an expression that stand for numbers."""
    found: set[str] = set()
    for command, word in _SYMBOL.findall(_ENVIRONMENT.sub(" ", text)):
        if command:
            found.update({command} & _GREEK)
        elif word.lower() not in FUNCTIONS:
            found.update(word)
    return frozenset(found) - _NO_VARIABLES


def other_variables(gold: str, prediction: str) -> bool:
    """Whether two answers have different unknowns; a relation on one side may name one more (2 <= x <= 5 is [2,5]).

    This saves most of the time that algebra takes on wrong answers.
    """
    allowed = 1 if bool(RELATION.search(gold)) != bool(RELATION.search(prediction)) else 0
    return len(variables(gold) ^ variables(prediction)) > allowed
