"""The words around formulas that matter to what they say: units, roundings, and words that belong to a calculation."""

from collections.abc import Mapping


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Units that are turned into one another, so that `120 minutes = 2 hours` is no contradiction.
MEASURES = words(
    """
    second sec s minute min hour hr h day d week fortnight month year decade century
    dollar cent c penny dime nickel buck euro pound grand percent degree
    mm cm dm m km inch foot yard mile meter metre kilometer kilometre centimeter centimetre millimeter
    oz ounce lb ton tonne g kg mg gram kilogram milligram
    ml l liter litre milliliter cup pint quart gallon tablespoon tbsp teaspoon tsp
    mph kph byte kb mb gb half quarter third fourth fifth tenth
    pair dozen score gross hundred thousand million billion trillion k
    """
)
# Units in which a number without one is not: `5 thousand + 200`, `$3 + 50 cents`.
SCALES = words("pair dozen score gross hundred thousand million billion trillion k")
COINS = words("cent c penny dime nickel quarter")
# By how much numbers differ when one unit is turned into another: hours of a day, inches of a foot, days of a month.
FACTORS = frozenset(
    (2, 3, 4, 5, 7, 10, 12, 14, 16, 20, 24, 25, 28, 29, 30, 31, 36, 48, 50, 52, 60, 90, 100, 144, 168, 180, 200, 360)
).union((365, 366, 500, 1000, 1440, 1760, 2000, 3600, 5280, 10_000, 86_400, 100_000, 10**6, 10**9))
ABOUT = words("about approximately approx roughly around nearly almost circa rounded rounding round rounds")
REMAINDER = words("r remainder rest mod modulo pmod bmod")
# A formula behind one of these may be the end of a longer one that is told in words.
JOINING = words(
    """
    and or by to from with at of each every remaining over than less more per between half twice double triple
    third quarter plus minus times add adding subtract subtracting multiply multiplying multiplied divide dividing
    divided mod modulo sum difference product quotient average mean squared cubed root log ln sin cos tan factorial
    """
)
# Words that end the unit behind a number: what follows is another thought.
BREAKS = words(
    """
    and or is are was were has have had so then which that but because since if he she they we it i gives makes get gets
    equals where when while thus hence therefore let with
    """
)
_SINGULARS: Mapping[str, str] = {
    "feet": "foot",
    "inches": "inch",
    "pennies": "penny",
    "centuries": "century",
    "halves": "half",
}


def measure_of(word: str) -> str | None:
    """The unit that a word names, in its singular, or None for things that are merely counted."""
    word = _SINGULARS.get(word, word)
    if word in MEASURES:
        return word
    return word[:-1] if word.endswith("s") and word[:-1] in MEASURES else None
