"""Keys and the people behind them; of every secret only the SHA-256 is stored."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import secrets
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from storage import audit_log, sign_in_macs, subjects
from storage.database import now
from storage.errors import InvalidValue, LinkExpired, LinkUsed, NotFound
from storage.ids import new_id
from storage.policies import default_policy, get_policy
from storage.records import Action, Key, Policy, Role, Tier
from storage.rows import key_from, roles_text
from storage.storable import checked_name, to_json
from storage.tables import keys, policies, sign_ins, signin_links
from storage.vault import vault_of

SIGN_IN_SECONDS = 12 * 3600.0  # a working day
MAX_SKILL = 100  # characters of a domain's name
_SIGN_IN_COLUMNS = ("secret_hash", "key_id", "created_at", "expires_at", "vouched")
_POLICY_COLUMNS = (
    "version", "threshold", "below", "review_seconds", "name", "tier", "four_eyes", "without_certificate",
    "audit_share",
)  # fmt: skip


def create(
    conn: Connection,
    tenant: str,
    name: str,
    roles: Iterable[Role],
    policy_id: str | None = None,
    expires_at: float | None = None,
    actor: str = "system",
    skills: Iterable[str] | None = None,
) -> tuple[Key, str]:
    """The key and its secret, which is shown this once. Without a policy, the tenant's default one applies.

    `skills`: the domains that a reviewer may decide; None: every one. Raises InvalidValue for an empty name, no role or
    skills that are no names, NotFound for an unknown policy.
    """
    wanted = frozenset(roles)
    if not name.strip() or not tenant.strip() or not wanted:
        raise InvalidValue("name", "a key needs a tenant, a name and at least one role.")
    policy = default_policy(conn, tenant) if policy_id is None else get_policy(conn, policy_id, tenant)
    secret = _new_secret("csk")
    able = _checked_skills(skills)
    key = Key(new_id("key"), checked_name("tenant", tenant), name, wanted, policy, now(conn), expires_at, skills=able)
    row = {
        "id": key.id,
        "tenant": tenant,
        "name": checked_name("name", name),
        "secret_hash": _hash(secret),
        "roles": roles_text(wanted),
        "policy_id": policy.id,
        "skills": _skills_text(able),
        "created_at": key.created_at,
        "expires_at": expires_at,
    }
    conn.execute(keys.insert(), row)
    data = {
        "key_id": key.id,
        "roles": sorted(wanted),
        "policy_id": policy.id,
        "skills": _listed(able),
        "expires_at": expires_at,
    }
    _append_named(conn, "key.created", actor, key, data, secret_hash=row["secret_hash"])
    return key, secret


def by_secret(conn: Connection, secret: str) -> Key | None:
    """The key with its newest policy; None when unknown, revoked or expired by the database's clock.

    A secret minted at sign-in stands for the same key, with the sign-in's own expiry, if the sign-in was made here.
    """
    hashed = {"hashed": _hash(secret)}
    row = conn.execute(_by_secret(), hashed).one_or_none()
    expires_at = row.expires_at if row is not None else None
    if row is None:
        row = conn.execute(_by_sign_in(), hashed).one_or_none()
        if row is None or not sign_in_macs.is_ours(vault_of(conn), "sign-in", _sign_in_of(row)):
            return None
        expires_at = min(row.signin_expires_at, row.expires_at or row.signin_expires_at)
    if row.revoked_at is not None or (expires_at is not None and expires_at <= now(conn)):
        return None
    return _key(row, expires_at)


def get(conn: Connection, key_id: str, tenant: str) -> Key | None:
    row = conn.execute(_with_policy().where(keys.c.id == key_id, keys.c.tenant == tenant)).one_or_none()
    return None if row is None else _key(row, row.expires_at)


def by_name(conn: Connection, tenant: str, name: str) -> Key | None:
    """The newest key of that name that is not revoked."""
    query = _with_policy().where(keys.c.tenant == tenant, keys.c.name == name, keys.c.revoked_at.is_(None))
    row = conn.execute(query.order_by(keys.c.created_at.desc()).limit(1)).one_or_none()
    return None if row is None else _key(row, row.expires_at)


def list_keys(conn: Connection, tenant: str | None = None) -> list[Key]:
    """Oldest first; all tenants' for whoever runs the product, one tenant's for everyone else."""
    query = _with_policy().order_by(keys.c.created_at, keys.c.id)
    if tenant is not None:
        query = query.where(keys.c.tenant == tenant)
    return [_key(row, row.expires_at) for row in conn.execute(query)]


def names(conn: Connection, key_ids: Iterable[str], tenant: str) -> dict[str, str]:
    """What people call these keys."""
    query = sa.select(keys.c.id, keys.c.name).where(keys.c.id.in_(list(key_ids)), keys.c.tenant == tenant)
    return {row.id: row.name for row in conn.execute(query)}


def revoke(conn: Connection, key_id: str, tenant: str, actor: str) -> Key:
    """Ends the key and every sign-in on it at once; again is no error. Raises NotFound."""
    key = get(conn, key_id, tenant)
    if key is None:
        raise NotFound("key", key_id)
    valid = (keys.c.id == key_id, keys.c.revoked_at.is_(None))
    if conn.execute(sa.update(keys).where(*valid).values(revoked_at=now(conn))).rowcount:
        _append_named(conn, "key.revoked", actor, key, {"key_id": key_id})
    return get(conn, key_id, tenant) or key


def set_skills(conn: Connection, key_id: str, tenant: str, skills: Iterable[str] | None, actor: str) -> Key:
    """The key with these skills, which hold for claims from now on. Raises NotFound, InvalidValue."""
    conn.execute(sa.select(keys.c.id).where(keys.c.id == key_id).with_for_update(key_share=True))  # one after another
    key, able = get(conn, key_id, tenant), _checked_skills(skills)
    if key is None:
        raise NotFound("key", key_id)
    if able != key.skills:
        conn.execute(sa.update(keys).where(keys.c.id == key_id).values(skills=_skills_text(able)))
        data = {"key_id": key_id, "skills": _listed(able), "skills_before": _listed(key.skills)}
        _append_named(conn, "key.updated", actor, key, data)
    return dataclasses.replace(key, skills=able)


def create_signin_link(conn: Connection, key_id: str, lifetime_seconds: float, actor: str = "system") -> str:
    """A link's secret part, good once. Raises NotFound."""
    row = conn.execute(sa.select(keys.c.tenant).where(keys.c.id == key_id, keys.c.revoked_at.is_(None))).one_or_none()
    if row is None:
        raise NotFound("key", key_id)
    link, at = _new_secret("csl"), now(conn)
    values = {"link_hash": _hash(link), "key_id": key_id, "created_at": at, "expires_at": at + lifetime_seconds}
    conn.execute(signin_links.insert(), sign_in_macs.with_mac(vault_of(conn), "sign-in-link", values))
    audit_log.append(conn, "signin.linked", actor, row.tenant, data={"key_id": key_id})
    return link


def redeem_signin_link(conn: Connection, link: str, lifetime_seconds: float = SIGN_IN_SECONDS) -> tuple[Key, str]:
    """The key, with the sign-in's expiry, and a fresh secret for it. Raises NotFound, LinkUsed, LinkExpired."""
    at, hashed = now(conn), _hash(link)
    mine = signin_links.c.link_hash == hashed
    unused = sa.update(signin_links).where(mine, signin_links.c.used_at.is_(None)).values(used_at=at)
    row = conn.execute(unused.returning(signin_links)).one_or_none()
    if row is None:
        if conn.execute(sa.select(signin_links.c.key_id).where(mine)).first() is None:
            raise NotFound("sign-in link", "given")
        raise LinkUsed
    if not sign_in_macs.is_ours(vault_of(conn), "sign-in-link", row._mapping):  # to be rolled back: it stays unused
        raise NotFound("sign-in link", "given")
    if row.expires_at <= at:
        raise LinkExpired
    secret, expires_at = _new_secret("csk"), at + lifetime_seconds
    values = {"secret_hash": _hash(secret), "key_id": row.key_id, "created_at": at, "expires_at": expires_at}
    conn.execute(sign_ins.insert(), sign_in_macs.with_mac(vault_of(conn), "sign-in", values))
    key = by_secret(conn, secret)
    if key is None:  # the key was revoked or expired after the link was made
        raise LinkExpired
    audit_log.append(conn, "signin.redeemed", f"key:{key.id}", key.tenant, data={"key_id": key.id})
    return key, secret


def sign_out(conn: Connection, secret: str) -> bool:
    """Ends the sign-in that this secret belongs to; False when it is not a sign-in's secret."""
    key = by_secret(conn, secret)
    mine = (sign_ins.c.secret_hash == _hash(secret), sign_ins.c.revoked_at.is_(None))
    ended = conn.execute(sa.update(sign_ins).where(*mine).values(revoked_at=now(conn), vouched=None)).rowcount
    if ended and key is not None:
        audit_log.append(conn, "signin.ended", f"key:{key.id}", key.tenant, data={"key_id": key.id})
    return bool(ended)


def _with_policy(*more: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """Keys joined with the newest version of their policy, whose columns are prefixed with `policy_`."""
    newest = sa.select(sa.func.max(policies.c.version)).where(policies.c.id == keys.c.policy_id)
    columns = [policies.c[name].label(f"policy_{name}") for name in _POLICY_COLUMNS]
    joined = keys.join(policies, policies.c.id == keys.c.policy_id)
    query = sa.select(keys, *columns, *more).select_from(joined)
    return query.where(policies.c.version == newest.correlate(keys).scalar_subquery())


@functools.cache
def _by_secret() -> sa.Select[Any]:
    """Made once: every request asks it, and making it took as long as running it."""
    return _with_policy().where(keys.c.secret_hash == sa.bindparam("hashed"))


@functools.cache
def _by_sign_in() -> sa.Select[Any]:
    mine = (sign_ins.c.key_id == keys.c.id, sign_ins.c.revoked_at.is_(None))
    signed_in = _with_policy(*(sign_ins.c[name].label(f"signin_{name}") for name in _SIGN_IN_COLUMNS))
    return signed_in.where(*mine, sign_ins.c.secret_hash == sa.bindparam("hashed"))


def _sign_in_of(row: sa.Row[Any]) -> dict[str, Any]:
    return {name: row._mapping[f"signin_{name}"] for name in _SIGN_IN_COLUMNS}


def _key(row: sa.Row[Any], expires_at: float | None) -> Key:
    policy = Policy(
        id=row.policy_id,
        version=row.policy_version,
        threshold=row.policy_threshold,
        below=Action(row.policy_below),
        review_seconds=row.policy_review_seconds,
        name=row.policy_name,
        tier=Tier(row.policy_tier),
        four_eyes=bool(row.policy_four_eyes),
        without_certificate=Action(row.policy_without_certificate),
        audit_share=row.policy_audit_share,
    )
    return dataclasses.replace(key_from(row, policy), expires_at=expires_at)


def _checked_skills(skills: Iterable[str] | None) -> frozenset[str] | None:
    """Raises InvalidValue."""
    if skills is None:
        return None
    able = frozenset(checked_name("skills", skill) for skill in skills)
    if not able or not all(skill.strip() == skill and 0 < len(skill) <= MAX_SKILL for skill in able):
        raise InvalidValue("skills", f"name at least one domain, each of at most {MAX_SKILL} characters; none for all.")
    return able


def _append_named(conn: Connection, kind: str, actor: str, key: Key, data: dict[str, Any], **private: Any) -> None:
    """The event with the key's name, which is often a person's, among its private facts."""
    subject = subjects.known(conn, key.tenant, subjects.name_of_key(key.id))
    audit_log.append(conn, kind, actor, key.tenant, data=data, private={"name": key.name, **private}, subject=subject)


def _listed(skills: frozenset[str] | None) -> list[str] | None:
    return None if skills is None else sorted(skills)


def _skills_text(skills: frozenset[str] | None) -> str | None:
    return None if skills is None else to_json("skills", sorted(skills))


def _new_secret(prefix: str) -> str:
    return f"{prefix}_{secrets.token_urlsafe(32)}"


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
