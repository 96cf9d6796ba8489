"""Knows when the names of two keys mean one person, however each is written."""

from __future__ import annotations

import re
import unicodedata

_CONTROLS = frozenset({"Cc", "Cf"})
# Not shown either, although Unicode counts them as marks, letters or symbols: fillers, and selectors of variants.
_BLANK = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
_DOTTED = "i\u0307"  # what casefold makes of the Turkish capital I with a dot


def same_person(name: str | None, other: str) -> bool:
    """Whether both names read alike; a name that is not known is nobody's."""
    return name is not None and (name == other or folded(name) == folded(other))


def folded(name: str) -> str:
    """The name without all that two spellings of it may differ in: letter case, composition, blanks, what is not seen.

    The kinds of i are one letter: which is the other's capital depends on the language.
    """
    kept = "".join(each for each in name if each.isspace() or unicodedata.category(each) not in _CONTROLS)
    alike = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", _BLANK.sub("", kept)).casefold())
    return " ".join(alike.replace(_DOTTED, "i").replace("\u0131", "i").split())
