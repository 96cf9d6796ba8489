"""Makes characters visible that could hide or reorder what a reviewer reads."""

from __future__ import annotations

import re
import unicodedata

KEPT = frozenset("\n\t")  # control characters that text needs
HIDDEN_CATEGORIES = frozenset(
    {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}
)  # control, format (bidi, zero-width), private, surrogate

MARKUP = re.compile(r"([!-,./:-@\[-`{-~])")  # ASCII punctuation but the hyphen; before others a backslash would show


def is_hidden(character: str) -> bool:
    return character not in KEPT and unicodedata.category(character) in HIDDEN_CATEGORIES


def visible(text: str) -> str:
    """The text with each hidden character written as ⟨U+202E⟩; everything else unchanged."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(f"⟨U+{ord(c):04X}⟩" if is_hidden(c) else c for c in text)


def shortened(text: str, limit: int) -> str:
    """One line of at most `limit` characters, hidden characters made visible."""
    line = visible(" ".join(text.split()))
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def literal(text: str) -> str:
    """The text as it is, for a place that reads markdown: nothing in it is markup there."""
    return MARKUP.sub(r"\\\1", visible(text))
