"""Keeps private facts unreadable without the master key, and each subject's facts under a key of its own."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection

from storage.errors import InvalidValue

OPTION = "countersign_vault"  # the execution option under which a connection carries its vault
_KEY_BYTES = 32
_NONCE_BYTES = 12


class Vault:
    """One master key: wraps subjects' keys, and knows subjects' names by their HMAC only."""

    def __init__(self, master: bytes) -> None:
        """Raises InvalidValue unless `master` has 32 bytes."""
        if len(master) != _KEY_BYTES:
            raise InvalidValue("master key", f"must have {_KEY_BYTES} bytes, not {len(master)}.")
        self._wrapping = AESGCM(master)
        self._naming = _derived(master, b"countersign/subject-name")
        self._vouching = _derived(master, b"countersign/vouching")
        self.id = f"mk_{_derived(master, b'countersign/master-id').hex()[:16]}"  # tells master keys apart

    def __repr__(self) -> str:
        return f"Vault({self.id})"

    def name_mac(self, tenant: str, name: str) -> str:
        """Finds a subject by its name without keeping the name; equal names of two tenants have nothing in common."""
        return hmac.digest(self._naming, f"{tenant}\x00{name}".encode(), "sha256").hex()

    def vouch(self, message: bytes) -> str:
        """This master key's id and, in hexadecimal, its MAC over `message`, which begins with what it is about."""
        return f"{self.id}:{hmac.digest(self._vouching, message, 'sha256').hex()}"

    def vouched(self, message: bytes, mac: object) -> bool:
        """Whether `mac`, of whatever type a database gave it back, is what `vouch` makes of the message."""
        return isinstance(mac, str) and mac.isascii() and hmac.compare_digest(mac, self.vouch(message))

    def wrap(self, key: bytes, subject_id: str) -> str:
        return base64.b64encode(_encrypt(self._wrapping, key, subject_id)).decode()

    def unwrap(self, wrapped: str, subject_id: str) -> bytes | None:
        """None when another master key wrapped it, for another subject, or it was altered."""
        return _decrypt(self._wrapping, base64.b64decode(wrapped), subject_id)


def vault_of(conn: Connection) -> Vault | None:
    """The vault that the database was opened with."""
    vault: Vault | None = conn.get_execution_options().get(OPTION)
    return vault


def vault_from(text: str) -> Vault:
    """From the base64 of a master key's 32 bytes. Raises InvalidValue."""
    try:
        return Vault(base64.b64decode(text.strip(), validate=True))
    except (binascii.Error, ValueError) as error:
        if isinstance(error, InvalidValue):
            raise
        raise InvalidValue("master key", "is not base64.") from error


def new_master_key() -> str:
    """Base64 of 32 random bytes, as `vault_from` reads it."""
    return base64.b64encode(os.urandom(_KEY_BYTES)).decode()


def new_key() -> bytes:
    return os.urandom(_KEY_BYTES)


def seal(key: bytes, facts: str, event_id: str) -> bytes:
    """Nonce, ciphertext and tag; it opens under this key and for this event only."""
    return _encrypt(AESGCM(key), facts.encode("utf-8"), event_id)


def open_sealed(key: bytes, sealed: bytes, event_id: str) -> str | None:
    """The facts; None when key, event or bytes are not those of the sealing."""
    facts = _decrypt(AESGCM(key), sealed, event_id)
    return None if facts is None else facts.decode("utf-8")


def _encrypt(cipher: AESGCM, plain: bytes, about: str) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, plain, about.encode("utf-8"))


def _decrypt(cipher: AESGCM, sealed: bytes, about: str) -> bytes | None:
    try:
        return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], about.encode("utf-8"))
    except (InvalidTag, ValueError):  # ValueError: too short to be a nonce
        return None


def _derived(master: bytes, purpose: bytes) -> bytes:
    return hmac.digest(master, purpose, hashlib.sha256)
