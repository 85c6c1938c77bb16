"""One spelling for characters and LaTeX commands that mean the same."""

from __future__ import annotations

import re
import unicodedata

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
    "\N{DOUBLE PRIME}": "''",
    "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
    "\N{EURO SIGN}": " ",
    "\N{POUND SIGN}": " ",
    **{vulgar: rf"\frac{{{p}}}{{{q}}}" for vulgar, p, q in zip("½¼¾⅓⅔⅕", "113121", "244335", strict=True)},
    **{raised: f"^{{{digit}}}" for digit, raised in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
}
_TRANSLATION = str.maketrans(_CHARACTERS)

_SPACES = r"(?:(?<!\\)\\[,;:> ]|~|\\(?:quad|qquad|displaystyle|textstyle|limits|nolimits|thinspace)(?![A-Za-z])|\s)+"
# No pattern begins with a repetition and may then fail: it would take quadratic time over a long run of its characters.
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
    )
)
_PHRASE_BEFORE = re.compile(
    r"^(?:(?:so|thus|therefore|hence),? )?(?:the )?(?:final )?(?:answer|solution)s? ?(?:is|are)? ?:? ", re.IGNORECASE
)


def plain_characters(text: str) -> str:
    """The text with one character for those that mean the same (NFKC), and LaTeX commands for mathematical signs."""
    return unicodedata.normalize("NFKC", text.translate(_TRANSLATION))


def one_spelling(text: str) -> str:
    """The text with one LaTeX command for those that mean the same, single spaces, without delimiters and without a
    phrase before the answer (`the answer is`)."""
    for pattern, new in _SYNONYMS:
        text = pattern.sub(new, text)
    return _PHRASE_BEFORE.sub("", " ".join(text.split()))
