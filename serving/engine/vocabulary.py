"""Knows a checkpoint's tokens: which ids text becomes, which bytes an id stands for, which ids no text can spell."""

from __future__ import annotations

import re
from pathlib import Path

from tokenizers import Tokenizer

from serving.model.config import CheckpointError

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class Vocabulary:
    def __init__(self, tokenizer: Tokenizer) -> None:
        # Special tokens written in a text are text: nobody can open a turn by typing its role token.
        tokenizer.encode_special_tokens = True
        self._tokenizer = tokenizer
        self._added = {token.content: number for number, token in tokenizer.get_added_tokens_decoder().items()}
        self._names = {number: token for token, number in self._added.items()}
        self.special_ids = frozenset(self._added.values())
        self._bytes = {
            number: b"" if number in self.special_ids else _token_bytes(token)
            for token, number in tokenizer.get_vocab(with_added_tokens=True).items()
        }

    def encode(self, text: str) -> list[int]:
        """Ids of a text alone; never one of `special_ids`. Raises ValueError when the tokenizer breaks that."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        if not self.special_ids.isdisjoint(ids):
            raise ValueError("the tokenizer turned text into a role token")
        return ids

    def special(self, token: str) -> int:
        """Raises CheckpointError when the tokenizer lacks it."""
        if token not in self._added:
            raise CheckpointError(f"tokenizer.json has no special token {token}: choose a checkpoint that has it.")
        return self._added[token]

    def shown(self, token_id: int) -> str:
        """How an alternative is shown: its text, or the name of a special token."""
        return self._names.get(token_id) or self.bytes_of(token_id).decode(errors="replace")

    def bytes_of(self, token_id: int) -> bytes:
        """Empty for special tokens and for ids that no token has."""
        return self._bytes.get(token_id, b"")


def load_vocabulary(directory: Path) -> Vocabulary:
    """Raises CheckpointError when tokenizer.json cannot be read."""
    try:
        return Vocabulary(Tokenizer.from_file(str(directory / "tokenizer.json")))
    except CheckpointError:
        raise
    except Exception as error:  # the library raises bare Exception
        raise CheckpointError(f"{directory}/tokenizer.json cannot be read: export the checkpoint again.") from error


def _letter_bytes() -> dict[str, int]:
    """The letter that byte-level tokenizers write for each byte (GPT-2's table), backwards."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {chr(byte): byte for byte in printable}
    hidden = (byte for byte in range(256) if byte not in printable)
    return letters | {chr(256 + place): byte for place, byte in enumerate(hidden)}


_LETTERS = _letter_bytes()


def _token_bytes(token: str) -> bytes:
    if match := _BYTE_TOKEN.fullmatch(token):
        return bytes([int(match[1], 16)])
    if all(letter in _LETTERS for letter in token):
        return bytes(_LETTERS[letter] for letter in token)
    return token.replace("▁", " ").encode()
