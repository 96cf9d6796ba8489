"""Vouches, by a MAC under the master key, for the rows that sign somebody in."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from storage.event_format import frame
from storage.vault import Vault

_SAID = ("key_id", "created_at", "expires_at")  # beside the hash of the secret
_HASHED = {"sign-in": "secret_hash", "sign-in-link": "link_hash"}

Columns = Mapping[str, Any] | sa.RowMapping  # a row as it is, or is to be, stored


def with_mac(vault: Vault | None, kind: str, row: dict[str, Any]) -> dict[str, Any]:
    """`kind`: sign-in, a row of sign_ins; sign-in-link, one of signin_links. Without a vault it will sign nobody in."""
    return {**row, "vouched": None if vault is None else vault.vouch(_message(kind, row))}


def is_ours(vault: Vault | None, kind: str, row: Columns) -> bool:
    """Whether the row is as it was written here; a database may give back anything, whatever a column's type says."""
    try:
        return vault is not None and vault.vouched(_message(kind, row), row["vouched"])
    except (TypeError, ValueError, struct.error):
        return False


def _message(kind: str, row: Columns) -> bytes:
    values = (row[_HASHED[kind]], *(row[name] for name in _SAID))
    return b"countersign/%b/1" % kind.encode() + b"".join(map(frame, values))
