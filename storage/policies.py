"""Keeps policies in versions: a change is a new version, and a decision names the one it used."""

from __future__ import annotations

import dataclasses
import hashlib
from contextlib import suppress
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from storage import audit_log
from storage.certified import AUDIT_SHARE
from storage.database import now
from storage.errors import InvalidValue, NotFound
from storage.ids import new_id
from storage.records import Action, Policy, Tier
from storage.rows import policy_from
from storage.storable import checked_name
from storage.tables import policies


def create_policy(
    conn: Connection,
    tenant: str,
    *,
    name: str,
    threshold: float = 0.85,
    below: Action = Action.HOLD,
    review_seconds: float = 86_400.0,
    tier: Tier = Tier.BASE,
    four_eyes: bool = False,
    without_certificate: Action = Action.HOLD,
    audit_share: float = AUDIT_SHARE,
    actor: str = "system",
) -> Policy:
    """Version 1 of a new policy; never the tenant's default, whatever its name. Raises InvalidValue."""
    policy = Policy(
        new_id("pol"), 1, threshold, below, review_seconds, name, tier, four_eyes, without_certificate, audit_share
    )
    return _store(conn, policy, tenant, "policy.created", actor)


def update_policy(
    conn: Connection,
    policy_id: str,
    tenant: str,
    *,
    name: str | None = None,
    threshold: float | None = None,
    below: Action | None = None,
    review_seconds: float | None = None,
    tier: Tier | None = None,
    four_eyes: bool | None = None,
    without_certificate: Action | None = None,
    audit_share: float | None = None,
    actor: str = "system",
) -> Policy:
    """The next version, with what is not None changed; the keys that use it follow at once.

    Items that are already there keep what they were made with. Raises NotFound, InvalidValue.
    """
    given = {
        "name": name,
        "threshold": threshold,
        "below": below,
        "review_seconds": review_seconds,
        "tier": tier,
        "four_eyes": four_eyes,
        "without_certificate": without_certificate,
        "audit_share": audit_share,
    }
    changes: dict[str, Any] = {field: value for field, value in given.items() if value is not None}
    while True:
        policy = get_policy(conn, policy_id, tenant)
        changed = dataclasses.replace(policy, version=policy.version + 1, **changes)
        try:
            with conn.begin_nested():
                return _store(conn, changed, tenant, "policy.updated", actor)
        except sa.exc.IntegrityError:
            if get_policy(conn, policy_id, tenant).version == policy.version:
                raise  # not for another's update meanwhile


def get_policy(conn: Connection, policy_id: str, tenant: str, version: int | None = None) -> Policy:
    """The newest version, or the one named. Raises NotFound, also for another tenant's policy."""
    query = sa.select(policies).where(policies.c.id == policy_id, policies.c.tenant == tenant)
    if version is not None:
        query = query.where(policies.c.version == version)
    row = conn.execute(query.order_by(policies.c.version.desc()).limit(1)).one_or_none()
    if row is None:
        raise NotFound("policy", policy_id)
    return policy_from(row)


def default_policy(conn: Connection, tenant: str) -> Policy:
    """The policy of the tenant's keys that name none; made with the product's own defaults when first needed.

    Found by an id that only this function makes: a name could be given to a lenient policy.
    """
    policy_id = f"pol_{hashlib.sha256(f'default policy of {tenant}'.encode()).hexdigest()[:32]}"
    with suppress(NotFound):
        return get_policy(conn, policy_id, tenant)
    try:
        with conn.begin_nested():
            return _store(conn, Policy(policy_id), tenant, "policy.created", "system")
    except sa.exc.IntegrityError:  # another transaction made it meanwhile
        return get_policy(conn, policy_id, tenant)


def _store(conn: Connection, policy: Policy, tenant: str, kind: str, actor: str) -> Policy:
    if not 0.0 <= policy.threshold <= 1.0:
        raise InvalidValue("threshold", "must lie between 0 and 1.")
    if not policy.review_seconds > 0:
        raise InvalidValue("review_seconds", "must be above 0.")
    if policy.below is Action.ESCALATE:
        raise InvalidValue("below", "cannot be escalate yet: use hold, flag or release.")
    if policy.without_certificate not in (Action.HOLD, Action.RELEASE):
        raise InvalidValue("without_certificate", "must be hold or release.")
    if not 0.0 <= policy.audit_share <= 1.0:
        raise InvalidValue("audit_share", "must lie between 0 and 1.")
    checked_name("name", policy.name)
    labels = {name: getattr(policy, name).value for name in ("below", "tier", "without_certificate")}
    row = {**dataclasses.asdict(policy), **labels}
    conn.execute(policies.insert(), {**row, "tenant": tenant, "created_at": now(conn)})
    # not the name, which may be that of the key it was made for, and so a person's: events outlive an erasure
    rules = {name: value for name, value in row.items() if name != "name"}
    data = {"policy_id": policy.id, "policy_version": policy.version, **rules}
    audit_log.append(conn, kind, actor, tenant, data=data)
    return policy
