"""Reads checkpoints (C2SP tlog-checkpoint in a signed note, Ed25519) and the public key that they must be signed by."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from verifier.findings import CannotRead

_ED25519 = b"\x01"
_VKEY = re.compile(r"(?P<origin>[^\s+]+)\+(?P<hash>[0-9a-f]{8})\+(?P<key>[A-Za-z0-9+/]+=*)")
_NOTE = re.compile(
    r"(?P<signed>(?P<origin>[^\n]+)\n(?P<size>0|[1-9][0-9]{0,18})\n(?P<root>[A-Za-z0-9+/]{43}=)\n"
    r"sealed_at (?P<sealed_at>[0-9]{1,12}\.[0-9]{3})\n)\n— (?P<signer>[^\n ]+) (?P<signature>[A-Za-z0-9+/]+=*)\n"
)


@dataclass(frozen=True)
class Checkpoint:
    """What its signer vouched for: the first `size` leaves have this root."""

    size: int
    root: bytes  # 32 bytes
    sealed_at: float  # unix seconds


class BadCheckpoint(Exception):
    """A note that is not a checkpoint of this log; the message completes "The checkpoint …"."""


class VerifyingKey:
    """A log's name and the key that signs for it, from the text of a vkey. Raises ValueError."""

    def __init__(self, vkey: str) -> None:
        found = _VKEY.fullmatch(vkey.strip())
        if found is None:
            raise ValueError("it is not of the form NAME+HASH+KEY")
        raw = b64decode(found["key"], validate=True)
        if b64encode(raw).decode() != found["key"]:
            raise ValueError("its base64 is not as its maker writes it")
        if len(raw) != 33 or raw[:1] != _ED25519:
            raise ValueError("it does not hold an Ed25519 key")
        self.origin = found["origin"]
        self._hash = sha256(self.origin.encode() + b"\n" + raw).digest()[:4]
        if self._hash.hex() != found["hash"]:
            raise ValueError("its hash is not the hash of its name and key")
        self._key = Ed25519PublicKey.from_public_bytes(raw[1:])
        self._latest: tuple[str, Checkpoint] | None = None

    def opened(self, note: str) -> Checkpoint:
        """Raises BadCheckpoint for any note that this key did not sign, or that says more or less than it may."""
        if self._latest is None or self._latest[0] != note:  # the same one mostly comes twice: from inside and outside
            self._latest = note, self._verified(note)
        return self._latest[1]

    def _verified(self, note: str) -> Checkpoint:
        found = _NOTE.fullmatch(note) if type(note) is str else None
        if found is None:
            raise BadCheckpoint("is not written as checkpoints are")
        if found["origin"] != self.origin or found["signer"] != self.origin:
            raise BadCheckpoint(f"is of another log than {self.origin}")
        signature = _strict_base64(found["signature"])
        if signature[:4] != self._hash:
            raise BadCheckpoint("is signed by another key")
        try:
            self._key.verify(signature[4:], found["signed"].encode())
        except (InvalidSignature, UnicodeEncodeError) as error:
            raise BadCheckpoint("carries a signature that does not fit its text: it was forged or altered") from error
        return Checkpoint(int(found["size"]), _strict_base64(found["root"]), float(found["sealed_at"]))


def read_key(file: Path) -> VerifyingKey:
    """Raises CannotRead."""
    try:
        return VerifyingKey(file.read_text("utf-8"))
    except OSError as error:
        raise CannotRead(f"The key {file} cannot be read: {error.strerror}.") from error
    except (ValueError, Base64Error) as error:
        raise CannotRead(f"The key {file} is not a verifier key: {error}.") from error


def _strict_base64(text: str) -> bytes:
    """Only the one spelling that an encoder writes. Raises BadCheckpoint."""
    try:
        raw = b64decode(text, validate=True)
    except (ValueError, Base64Error) as error:
        raise BadCheckpoint("holds base64 that cannot be read") from error
    if b64encode(raw).decode() != text:
        raise BadCheckpoint("holds base64 in another spelling than its signer's")
    return raw
