"""One name for each unit, so that units can be compared: 5 mg is not 5 g, and 5 hrs are 5 hours."""

from __future__ import annotations

import re

_NAMES = {
    alias: unit
    for unit, aliases in {
        "nm": "nm nanometer nanometre",
        "mm": "mm millimeter millimetre",
        "cm": "cm centimeter centimetre",
        "m": "m meter metre",
        "km": "km kilometer kilometre",
        "in": "in inch",
        "ft": "ft foot feet",
        "yd": "yd yard",
        "mi": "mi mile",
        "acre": "acre",
        "hectare": "ha hectare",
        "mg": "mg milligram",
        "g": "g gm gram",
        "kg": "kg kilogram kilo",
        "lb": "lb pound",
        "oz": "oz ounce",
        "ton": "ton tonne",
        "ml": "ml milliliter millilitre",
        "l": "l liter litre",
        "gallon": "gal gallon",
        "quart": "qt quart",
        "pint": "pt pint",
        "cup": "cup",
        "ms": "ms millisecond",
        "s": "s sec second",
        "min": "min minute",
        "h": "h hr hour",
        "day": "day",
        "week": "wk week",
        "month": "month",
        "year": "yr year",
        "decade": "decade",
        "century": "century",
        "am": "am",
        "pm": "pm",
        "bc": "bc bce",
        "ad": "ad ce",
        "cent": "cent",
        "nickel": "nickel",
        "dime": "dime",
        "quarter": "quarter",
        "dollar": "dollar buck usd",
        "degree": "deg degree",
        "radian": "rad radian",
        "celsius": "c celsius",
        "fahrenheit": "f fahrenheit",
        "newton": "n newton",
        "kilonewton": "kn kilonewton",
        "joule": "j joule",
        "kilojoule": "kj kilojoule",
        "watt": "w watt",
        "kilowatt": "kw kilowatt",
        "volt": "v volt",
        "ampere": "amp ampere",
        "tesla": "tesla",
        "hertz": "hz hertz",
        "mi/h": "mph",
        "km/h": "kph kmh",
        "unit": "unit",
    }.items()
    for alias in aliases.split()
}
# Words after a number that do not name what is counted.
_SAYS_NOTHING = frozenset(
    re.findall(
        r"\w+",
        "unit way people person thing item object number integer value solution possibility choice arrangement "
        "combination total altogether all each of the a an in about per exactly only",
    )
)
_IRREGULAR = {"children": "child", "kid": "child", "men": "man", "women": "woman"}


def known_unit(words: str) -> str:
    """The one name of a unit (`square feet`, `ft^2` -> `ft^2`; `miles per hour` -> `mi/h`), or empty."""
    names = [_measure(part) for part in re.split(r" ?/ ?| (?:per|an?) ", words.strip().lower().replace(".", ""))]
    return "/".join(names) if all(names) else ""


def unit_name(words: str) -> str:
    """`known_unit`, or for other words these in the singular (`red apples` -> `red apple`); empty for words that do not
    name what is counted (`people`)."""
    names = (_name(word) for word in re.findall(r"[a-z]+", words.lower()))
    known = known_unit(words)
    return known if known not in ("", "unit") else " ".join(name for name in names if name not in _SAYS_NOTHING)


def other_unit(a: str, b: str) -> bool:
    """Whether two units differ; a missing one, and one that only says more (`red apple`, `apple`), does not."""
    if not a or not b or a == b:
        return False
    # A temperature's scale may be left out.
    if sorted((a, b)) in (["celsius", "degree"], ["degree", "fahrenheit"]):
        return False
    left, right = set(a.split()), set(b.split())
    return not (left <= right or right <= left)


def _measure(text: str) -> str:
    """The name of a known unit with its exponent, else empty."""
    found = re.fullmatch(r"(?:(square|sq|cubic|cu) )?([a-z ]+?)(?: ?\^ ?\{? ?([23]) ?\}?)?", text.strip())
    if not found or (name := _name(found[2])) not in _KNOWN:
        return ""
    exponent = found[3] or ("" if not found[1] else "2" if found[1][0] == "s" else "3")
    return f"{name}^{exponent}" if exponent else name


def _name(word: str) -> str:
    """A word in the singular; a unit by its one name."""
    if word in _NAMES:
        return _NAMES[word]
    single = re.sub(r"(?<=..[a-z])ies?$", "y", re.sub(r"(?<=ss|ch|sh|.x)es$", "", word))
    single = single if single.endswith(("ss", "us")) else single.removesuffix("s")
    return _NAMES.get(single) or _IRREGULAR.get(single, single)


_KNOWN = frozenset(_NAMES.values())
