"""A row that somebody writes into the database signs nobody in, and one that was written here only as it was."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import sqlalchemy as sa

from storage import keys, sign_in_macs
from storage.database import Database, open_database
from storage.errors import NotFound
from storage.records import Key
from storage.tables import sign_ins, signin_links
from tests.storage.conftest import VAULT


def signed_in(database: Database, key: Key) -> str:
    with database.transaction() as conn:
        return keys.redeem_signin_link(conn, keys.create_signin_link(conn, key.id, 60.0))[1]


def who(database: Database, secret: str) -> str | None:
    with database.read() as conn:
        found = keys.by_secret(conn, secret)
    return None if found is None else found.id


def change(database: Database, table: sa.Table, **columns: Any) -> None:
    with database.transaction() as conn:
        assert conn.execute(sa.update(table).values(columns)).rowcount == 1


@pytest.mark.parametrize("mac", [None, "", "made up", f"{VAULT.id}:{'0' * 64}"])
def test_a_sign_in_that_somebody_wrote_signs_nobody_in(database: Database, ada: Key, mac: str | None) -> None:
    hash_ = hashlib.sha256(b"mine").hexdigest()
    row = {"secret_hash": hash_, "key_id": ada.id, "created_at": 1.0, "expires_at": 4e9, "vouched": mac}
    with database.transaction() as conn:
        conn.execute(sign_ins.insert(), row)
    assert who(database, "mine") is None
    with database.transaction() as conn:
        assert keys.sign_out(conn, "mine")  # it goes, as whoever holds it wants, and nothing is told of it


@pytest.mark.parametrize("column", ["key_id", "created_at", "expires_at", "secret_hash"])
def test_a_sign_in_is_whose_and_for_as_long_as_it_was_made(database: Database, ada: Key, bob: Key, column: str) -> None:
    secret = signed_in(database, ada)
    assert who(database, secret) == ada.id
    hash_ = hashlib.sha256(b"mine").hexdigest()
    changes = {"key_id": bob.id, "created_at": 1.0, "expires_at": 4e9, "secret_hash": hash_}
    change(database, sign_ins, **{column: changes[column]})
    assert who(database, "mine" if column == "secret_hash" else secret) is None


def test_a_sign_in_that_ended_cannot_be_opened_again(database: Database, ada: Key) -> None:
    secret = signed_in(database, ada)
    with database.transaction() as conn:
        assert keys.sign_out(conn, secret)
    change(database, sign_ins, revoked_at=None)
    assert who(database, secret) is None


@pytest.mark.parametrize("column", ["key_id", "expires_at", "link_hash", "vouched"])
def test_a_link_is_whose_and_for_as_long_as_it_was_made(database: Database, ada: Key, bob: Key, column: str) -> None:
    with database.transaction() as conn:
        link = keys.create_signin_link(conn, ada.id, 60.0)
    hash_ = hashlib.sha256(b"mine").hexdigest()
    changes = {"key_id": bob.id, "expires_at": 4e9, "link_hash": hash_, "vouched": None}
    change(database, signin_links, **{column: changes[column]})
    with pytest.raises(NotFound), database.transaction() as conn:
        keys.redeem_signin_link(conn, "mine" if column == "link_hash" else link)
    with database.read() as conn:
        assert conn.execute(sa.select(sign_ins)).first() is None
        assert conn.execute(sa.select(signin_links.c.used_at)).scalar_one() is None


def test_a_links_mac_is_no_sign_ins(ada: Key) -> None:
    row = {"secret_hash": "h", "link_hash": "h", "key_id": ada.id, "created_at": 1.0, "expires_at": 2.0}
    link = sign_in_macs.with_mac(VAULT, "sign-in-link", row)
    assert sign_in_macs.is_ours(VAULT, "sign-in-link", link)
    assert not sign_in_macs.is_ours(VAULT, "sign-in", link)
    assert not sign_in_macs.is_ours(VAULT, "sign-in-link", {**link, "link_hash": b"h"})  # as SQLite may keep it


def test_under_another_master_key_and_without_one_nobody_is_signed_in(database: Database, ada: Key) -> None:
    secret = signed_in(database, ada)
    for vault in (None, type(VAULT)(b"\x07" * 32)):
        other = open_database(database.url.render_as_string(hide_password=False), vault)
        try:
            assert who(other, secret) is None
        finally:
            other.close()
    assert who(database, secret) == ada.id
