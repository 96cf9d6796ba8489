"""Knows a checkpoint's tokens: which ids text becomes, which bytes an id stands for, which ids no text can spell."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tokenizers import Tokenizer

from serving.model.config import CheckpointError

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class Vocabulary:
    def __init__(self, tokenizer: Tokenizer) -> None:
        added = tokenizer.get_added_tokens_decoder()
        self._added = {token.content: number for number, token in added.items()}
        self._names = {number: token for token, number in self._added.items()}
        self._reserved = frozenset(number for number, token in added.items() if token.content.strip())
        self.special_ids = frozenset(number for number, token in added.items() if token.special)
        self._framing, self._contents = tokenizer, _without_reserved(tokenizer)
        self._bytes = {
            number: _token_bytes(token) for token, number in tokenizer.get_vocab(with_added_tokens=False).items()
        }
        self._shown: dict[int, str] = {}  # what was asked for, since many alternatives are the same few tokens
        self._bytes |= {number: b"" if token.special else token.content.encode() for number, token in added.items()}

    @property
    def size(self) -> int:
        """One more than the largest id."""
        return max(self._bytes, default=-1) + 1

    def encode(self, text: str) -> list[int]:
        """Ids of a text alone; never one of a reserved token. Raises ValueError when the tokenizer breaks that."""
        ids: list[int] = self._contents.encode(text, add_special_tokens=False).ids
        if not self._reserved.isdisjoint(ids):
            raise ValueError("the tokenizer turned text into a role token")
        return ids

    def encode_framing(self, text: str) -> list[int]:
        """Ids of what a chat template writes: the tokens it names are those tokens. Never for a caller's text."""
        ids: list[int] = self._framing.encode(text, add_special_tokens=False).ids
        return ids

    def has(self, token: str) -> bool:
        """Whether it is a token that no text can spell."""
        return self._added.get(token) in self._reserved

    def special(self, token: str) -> int:
        """Raises CheckpointError when the tokenizer lacks it."""
        if token not in self._added:
            raise CheckpointError(f"tokenizer.json has no special token {token}: choose a checkpoint that has it.")
        return self._added[token]

    def shown(self, token_id: int) -> str:
        """How an alternative is shown: its text, or the name of a special token."""
        found = self._shown.get(token_id)
        if found is None:
            found = self._shown[token_id] = self._names.get(token_id) or self.bytes_of(token_id).decode(
                errors="replace"
            )
        return found

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


def _without_reserved(tokenizer: Tokenizer) -> Tokenizer:
    """A tokenizer to which every added token written in a text is text: nobody can open a turn by typing its token.

    Added tokens that are not marked special (some mark turns all the same) would be parsed otherwise; only runs of
    white space stay tokens.
    """
    data = json.loads(tokenizer.to_str())
    for token in data["added_tokens"]:
        token["special"] = bool(token["content"].strip())
    copy: Tokenizer = Tokenizer.from_str(json.dumps(data))
    copy.encode_special_tokens = True
    return copy


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
