"""Knows checkpoints: the signed note of a tree's size and root (C2SP tlog-checkpoint), and who signed it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from storage.errors import KeysUnfit

ED25519 = b"\x01"  # the algorithm's number in signed notes
_ORIGIN = re.compile(r"countersign/[0-9a-f]{16}")
_NOTE = re.compile(
    r"(?P<text>(?P<origin>countersign/[0-9a-f]{16})\n(?P<size>0|[1-9][0-9]{0,18})\n(?P<root>[A-Za-z0-9+/]{43}=)\n"
    r"sealed_at (?P<sealed_at>[0-9]{1,12}\.[0-9]{3})\n)\n— (?P=origin) (?P<signature>[A-Za-z0-9+/]{91}=)\n"
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a note says. That it was really signed is for `Signer.signed` to find out."""

    origin: str  # countersign/<log id>
    size: int  # leaves
    root: bytes
    sealed_at: float  # unix seconds
    text: str  # the part of the note that is signed
    signature: bytes  # 4 bytes of the key's hash, 64 of the signature


class Signer:
    """One log's signing key. Its text is a secret; `public` is for everybody who verifies."""

    def __init__(self, text: str) -> None:
        """`text` as `new_signing_key` makes it. Raises KeysUnfit."""
        kind, _, rest = text.strip().partition("+KEY+")
        self.origin, _, rest = rest.partition("+")
        told, _, seed = rest.partition("+")
        if kind != "PRIVATE" or not _ORIGIN.fullmatch(self.origin):
            raise KeysUnfit(f"The audit log's signing key cannot be read: {_MAKE_ONE}")
        self._key = Ed25519PrivateKey.from_private_bytes(_raw(seed))
        public = self._key.public_key().public_bytes_raw()
        self._hash = key_hash(self.origin, public)
        if told != self._hash.hex():
            raise KeysUnfit(f"The audit log's signing key does not fit its own hash: {_MAKE_ONE}")
        self.public = f"{self.origin}+{told}+{base64.b64encode(ED25519 + public).decode()}"

    def sign(self, size: int, root: bytes, sealed_at: float) -> str:
        """The note."""
        text = f"{self.origin}\n{size}\n{base64.b64encode(root).decode()}\nsealed_at {sealed_at:.3f}\n"
        signature = base64.b64encode(self._hash + self._key.sign(text.encode())).decode()
        return f"{text}\n— {self.origin} {signature}\n"

    def signed(self, checkpoint: Checkpoint) -> bool:
        """Whether this key made it."""
        if checkpoint.origin != self.origin or checkpoint.signature[:4] != self._hash:
            return False
        key: Ed25519PublicKey = self._key.public_key()
        try:
            key.verify(checkpoint.signature[4:], checkpoint.text.encode())
        except InvalidSignature:
            return False
        return True


def new_signing_key() -> str:
    """A log of its own: its id is drawn together with its key. One line, in the form that signed notes use."""
    origin, key = f"countersign/{secrets.token_hex(8)}", Ed25519PrivateKey.generate()
    told = key_hash(origin, key.public_key().public_bytes_raw()).hex()
    return f"PRIVATE+KEY+{origin}+{told}+{base64.b64encode(ED25519 + key.private_bytes_raw()).decode()}"


def key_hash(origin: str, public: bytes) -> bytes:
    """4 bytes by which a note names the key that signed it."""
    return hashlib.sha256(origin.encode() + b"\n" + ED25519 + public).digest()[:4]


def read_note(note: str) -> Checkpoint:
    """Raises ValueError for anything but a note of this form with one signature."""
    found = _NOTE.fullmatch(note)
    if found is None or not all(_canonical(found[name]) for name in ("root", "signature")):
        raise ValueError("This is not a checkpoint of a Countersign log.")
    return Checkpoint(
        origin=found["origin"],
        size=int(found["size"]),
        root=base64.b64decode(found["root"]),
        sealed_at=float(found["sealed_at"]),
        text=found["text"],
        signature=base64.b64decode(found["signature"]),
    )


def _canonical(encoded: str) -> bool:
    """Whether no other base64 means the same bytes: a note has one form only."""
    return base64.b64encode(base64.b64decode(encoded)).decode() == encoded


_MAKE_ONE = "put back the one that was there, or make one for a new log with `countersign audit new-keys`."


def _raw(seed: str) -> bytes:
    try:
        raw = base64.b64decode(seed, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 33 or raw[:1] != ED25519:
        raise KeysUnfit(f"The audit log's signing key cannot be read: {_MAKE_ONE}")
    return raw[1:]
