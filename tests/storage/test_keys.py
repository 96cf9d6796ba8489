"""Keys are found by a secret that is not stored, end at once, and a sign-in link is good once."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import sqlalchemy as sa

from storage import audit_query, keys, policies
from storage.database import Database, now
from storage.errors import InvalidValue, LinkExpired, LinkUsed, NotFound
from storage.records import Action, Role
from storage.tables import keys as keys_table
from storage.tables import sign_ins, signin_links


@pytest.fixture
def conn(database: Database):
    with database.transaction() as opened:
        yield opened


def _make(conn, name="Ada", roles=(Role.REVIEWER,), **more):
    return keys.create(conn, "acme", name, roles, **more)


def _kinds(conn) -> list[str]:
    return [event.kind for event in audit_query.query(conn, "acme", limit=100)][::-1]


def test_a_secret_finds_its_key(conn) -> None:
    key, secret = _make(conn, roles=(Role.REVIEWER, Role.AUDITOR))
    assert secret.startswith("csk_")
    assert keys.by_secret(conn, secret) == key == keys.get(conn, key.id, "acme") == keys.by_name(conn, "acme", "Ada")
    assert key.roles == {Role.REVIEWER, Role.AUDITOR}
    assert keys.list_keys(conn, "acme") == [key]
    assert keys.names(conn, [key.id, "key_x"], "acme") == {key.id: "Ada"}


@pytest.mark.parametrize("secret", ["", "csk_wrong", "\x00", "\ud800", "x" * 100_000])
def test_an_unknown_secret_finds_nothing(conn, secret: str) -> None:
    _make(conn)
    assert keys.by_secret(conn, secret) is None


def test_no_secret_is_stored(conn) -> None:
    key, secret = _make(conn)
    link = keys.create_signin_link(conn, key.id, 60)
    _, session_secret = keys.redeem_signin_link(conn, link)
    tables = (keys_table, sign_ins, signin_links)
    stored = str([tuple(row) for table in tables for row in conn.execute(sa.select(table))])
    events = str(audit_query.query(conn, "acme", limit=100))
    assert not any(hidden in stored + events for hidden in (secret, link, session_secret))


def test_a_revoked_key_and_its_sign_ins_end_at_once(conn) -> None:
    key, secret = _make(conn)
    _, session_secret = keys.redeem_signin_link(conn, keys.create_signin_link(conn, key.id, 60))
    assert keys.revoke(conn, key.id, "acme", "key:admin").revoked_at is not None
    assert keys.by_secret(conn, secret) is None
    assert keys.by_secret(conn, session_secret) is None
    assert keys.by_name(conn, "acme", "Ada") is None
    keys.revoke(conn, key.id, "acme", "key:admin")
    assert _kinds(conn).count("key.revoked") == 1


def test_an_expired_key_finds_nothing(conn) -> None:
    _, expired = _make(conn, expires_at=now(conn) - 1)
    key, valid = _make(conn, name="Bob", expires_at=now(conn) + 60)
    assert keys.by_secret(conn, expired) is None
    assert keys.by_secret(conn, valid) == key


def test_another_tenants_key_is_not_found(conn) -> None:
    key, _ = _make(conn)
    assert keys.get(conn, key.id, "rival") is None
    assert keys.list_keys(conn, "rival") == []
    assert keys.names(conn, [key.id], "rival") == {}
    with pytest.raises(NotFound):
        keys.revoke(conn, key.id, "rival", "key:x")
    with pytest.raises(NotFound):
        policies.get_policy(conn, key.policy.id, "rival")
    with pytest.raises(NotFound):
        keys.create(conn, "rival", "Eve", [Role.CALLER], policy_id=key.policy.id)


@pytest.mark.parametrize(("name", "roles"), [(" ", (Role.CALLER,)), ("a\x00", (Role.CALLER,)), ("x", ())])
def test_a_key_needs_a_name_and_a_role(conn, name, roles) -> None:
    with pytest.raises(InvalidValue, match="name"):
        _make(conn, name=name, roles=roles)


def test_a_sign_in_is_the_same_person_with_another_secret(conn) -> None:
    key, _ = _make(conn)
    link = keys.create_signin_link(conn, key.id, 60)
    signed_in, secret = keys.redeem_signin_link(conn, link, lifetime_seconds=3600)
    assert (signed_in.id, signed_in.name, signed_in.roles) == (key.id, key.name, key.roles)
    assert signed_in.expires_at == pytest.approx(now(conn) + 3600, abs=60)
    assert keys.by_secret(conn, secret) == signed_in
    assert _kinds(conn)[-2:] == ["signin.linked", "signin.redeemed"]


def test_a_link_is_good_once(conn) -> None:
    key, _ = _make(conn)
    link = keys.create_signin_link(conn, key.id, 60)
    keys.redeem_signin_link(conn, link)
    with pytest.raises(LinkUsed):
        keys.redeem_signin_link(conn, link)
    with pytest.raises(NotFound):
        keys.redeem_signin_link(conn, "csl_wrong")


def test_an_old_link_is_refused(conn) -> None:
    key, _ = _make(conn)
    with pytest.raises(LinkExpired):
        keys.redeem_signin_link(conn, keys.create_signin_link(conn, key.id, -1))


def test_a_link_to_a_revoked_key_is_refused(conn) -> None:
    key, _ = _make(conn)
    link = keys.create_signin_link(conn, key.id, 60)
    keys.revoke(conn, key.id, "acme", "key:admin")
    with pytest.raises(LinkExpired):
        keys.redeem_signin_link(conn, link)
    with pytest.raises(NotFound):
        keys.create_signin_link(conn, key.id, 60)


def test_signing_out_ends_one_sign_in(conn) -> None:
    key, secret = _make(conn)
    first, second = (keys.redeem_signin_link(conn, keys.create_signin_link(conn, key.id, 60))[1] for _ in range(2))
    assert keys.sign_out(conn, first) is True
    assert keys.sign_out(conn, first) is False
    assert keys.by_secret(conn, first) is None
    assert keys.by_secret(conn, second) is not None
    assert keys.sign_out(conn, secret) is False
    assert keys.by_secret(conn, secret) == key


def test_a_changed_policy_is_a_new_version_that_its_keys_follow(conn) -> None:
    policy = policies.create_policy(conn, "acme", name="strict", threshold=0.9, review_seconds=60)
    key, secret = _make(conn, policy_id=policy.id)
    changed = policies.update_policy(conn, policy.id, "acme", threshold=0.95, below=Action.FLAG)
    assert (changed.version, changed.threshold, changed.below, changed.review_seconds) == (2, 0.95, Action.FLAG, 60)
    assert keys.by_secret(conn, secret).policy == changed
    assert policies.get_policy(conn, policy.id, "acme", version=1) == policy == key.policy
    assert _kinds(conn) == ["policy.created", "key.created", "policy.updated"]


def test_keys_without_a_policy_share_the_tenants_default(conn) -> None:
    first, second = _make(conn)[0], _make(conn, name="Bob")[0]
    assert first.policy == second.policy
    assert (first.policy.threshold, first.policy.below, first.policy.name) == (0.85, Action.HOLD, "default")
    assert keys.create(conn, "rival", "Eve", [Role.CALLER])[0].policy.id != first.policy.id


def test_no_other_policy_becomes_the_tenants_default_whatever_its_name(conn) -> None:
    lenient = policies.create_policy(conn, "acme", name="default", threshold=0.0, below=Action.RELEASE)
    plain = _make(conn)[0].policy
    assert (plain.threshold, plain.below) == (0.85, Action.HOLD)
    assert plain.id != lenient.id
    assert _make(conn, name="Bob")[0].policy == plain


def test_two_first_keys_at_one_instant_share_one_default_policy(database: Database) -> None:
    ready = Barrier(2)

    def make(name: str):
        with database.transaction() as opened:
            if database.dialect == "postgresql":  # SQLite has one writer: two could never be inside at once
                ready.wait(30)
            return _make(opened, name=name)[0].policy

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(make, ("Ada", "Bob"))
    assert first == second


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"threshold": 1.5}, "threshold"),
        ({"threshold": float("nan")}, "threshold"),
        ({"review_seconds": 0}, "review_seconds"),
        ({"below": Action.ESCALATE}, "below"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(conn, fields, named: str) -> None:
    with pytest.raises(InvalidValue, match=rf"^{named}: "):
        policies.create_policy(conn, "acme", name="odd", **fields)
