"""Turns conversations into token ids: one id a byte, and role tokens that no text can spell."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

Role = Literal["system", "user", "assistant"]

# Ids 0..255 are the bytes themselves; what no byte can spell comes after them.
PAD, BOS, EOS, SYSTEM, USER, ASSISTANT = range(256, 262)
SPECIALS = ("<|pad|>", "<|bos|>", "<|eos|>", "<|system|>", "<|user|>", "<|assistant|>")
VOCAB_SIZE = 262
ROLE_IDS: dict[Role, int] = {"system": SYSTEM, "user": USER, "assistant": ASSISTANT}

CHAT_TEMPLATE = """{{- '<|bos|>' -}}
{%- for message in messages -%}
    {{- '<|' + message['role'] + '|>' + message['content'] -}}
    {%- if message['role'] == 'assistant' -%}{{- '<|eos|>' -}}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}
"""


@dataclass(frozen=True)
class Turn:
    """One message of a conversation."""

    role: Role
    content: str


def encode(turns: Sequence[Turn]) -> tuple[list[int], list[bool]]:
    """Token ids of a conversation, and for each whether the assistant is to produce it."""
    ids, produced = [BOS], [False]
    for turn in turns:
        own = turn.role == "assistant"
        content = [*turn.content.encode(), EOS] if own else [*turn.content.encode()]
        ids += [ROLE_IDS[turn.role], *content]
        produced += [False, *[own] * len(content)]
    return ids, produced


def prompt(turns: Sequence[Turn]) -> list[int]:
    """Token ids up to where the assistant begins to answer."""
    return [*encode(turns)[0], ASSISTANT]


def decode(ids: Sequence[int]) -> str:
    """The text of generated ids; role tokens vanish, broken bytes show as U+FFFD."""
    return bytes(i for i in ids if i < 256).decode(errors="replace")


def build_tokenizer() -> Tokenizer:
    """The same vocabulary as a `tokenizers` file: bytes without merges, then the specials."""
    vocabulary = {letter: byte for byte, letter in _byte_letters().items()}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIALS])
    return tokenizer


def _byte_letters() -> dict[int, str]:
    """The printable letter that byte-level tokenizers write for each byte (GPT-2's table)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in printable}
    others = (byte for byte in range(256) if byte not in letters)
    letters.update({byte: chr(256 + n) for n, byte in enumerate(others)})
    return letters
