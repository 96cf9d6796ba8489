"""Vouches, by a MAC under the master key, for the rows that decide whether an answer leaves."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from storage.errors import NotVouched, NotVouchedYet, VouchedElsewhere
from storage.event_format import frame
from storage.records import ReviewItem, Vouched
from storage.tables import decisions, interactions, review_items, verdicts
from storage.vault import Vault, vault_of

_DECISION = (
    "id", "interaction_id", "tenant", "action", "reason", "confidence", "threshold", "calibration_id", "policy_id",
    "policy_version", "content_hash", "created_at",
)  # fmt: skip
_OF_CERTIFICATE = ("domain", "audit_share", "certificate_id")  # of decisions since there are certificates
# All that a caller or a reviewer is shown of the question and its answer, and by what a retry finds it.
_INTERACTION = (
    "id", "tenant", "key_id", "model", "served_model", "messages", "params", "answer", "content_hash", "confidence",
    "calibration_id", "created_at", "metadata", "body_hash",
)  # fmt: skip
_ITEM = ("id", "interaction_id", "tenant", "asked_by", "action", "domain", "four_eyes")  # who may decide it, how many
_VERDICT = (
    "id", "item_id", "tenant", "reviewer_id", "kind", "reason", "content", "content_hash", "fencing_token",
    "created_at", "traceparent", "final",
)  # fmt: skip
_DECISION_OF, _CERTIFIED_OF, _INTERACTION_OF, _ITEM_OF, _VERDICT_OF = (
    itemgetter(*names) for names in (_DECISION, _OF_CERTIFICATE, _INTERACTION, _ITEM, _VERDICT)
)
_NO_ITEM = (None,) * len(_ITEM)
_STORED = tuple(
    sa.select(table).where(table.c[name] == sa.bindparam("about"))
    for table, name in ((interactions, "id"), (decisions, "interaction_id"), (review_items, "interaction_id"))
)

_WORSE = tuple(Vouched)
_OF_A_KEY = re.compile(r"mk_[0-9a-f]{16}:[0-9a-f]{64}")

Columns = Mapping[str, Any] | sa.RowMapping  # a row as it is, or is to be, stored


def decision_mac(vault: Vault, interaction: Columns, decision: Columns, item: Columns | None) -> str:
    """Over the decision with what it was made over: the interaction, and whom its review item is for.

    A row without anything of `_OF_CERTIFICATE`, as of before there were certificates, has its MAC in the first form.
    """
    about = _NO_ITEM if item is None else _ITEM_OF(item)  # an outer join's row without an item has NULLs too
    values = (*_DECISION_OF(decision), *_INTERACTION_OF(interaction), *about)
    certified = _CERTIFIED_OF(decision)
    if certified == (None, None, None):
        return vault.vouch(_framed("decision", values))
    return vault.vouch(_framed("decision", (*values, *certified), form=2))


def verdict_mac(vault: Vault, verdict: Columns, interaction_id: str) -> str:
    """Over the verdict, the words it releases, and whether it is the last one."""
    return vault.vouch(_framed("verdict", (interaction_id, *_VERDICT_OF(verdict))))


def vouched(
    vault: Vault | None, interaction: Columns, decision: Columns, item: Columns | None, verdict: Columns | None
) -> Vouched:
    """Of the rows of one interaction, `verdict` the final one: the worse of what decision and verdict are.

    No item, or no verdict: None, or a row of an outer join without values.
    """
    found = decision_vouched(vault, interaction, decision, item)
    return found if verdict is None or verdict["id"] is None else with_word(vault, found, verdict, interaction["id"])


def with_word(vault: Vault | None, found: Vouched, verdict: Columns, interaction_id: str) -> Vouched:
    """The worse of what was `found` of the decision, or of it and other words, and what this verdict is."""
    if found is Vouched.NOT or (found is Vouched.BEFORE and verdict["vouched"] is None):
        return found
    return max(found, verdict_vouched(vault, verdict, interaction_id), key=_WORSE.index)


def decision_vouched(vault: Vault | None, interaction: Columns, decision: Columns, item: Columns | None) -> Vouched:
    return _judged(vault, decision["vouched"], lambda own: decision_mac(own, interaction, decision, item))


def verdict_vouched(vault: Vault | None, verdict: Columns, interaction_id: str) -> Vouched:
    """Of a verdict on a decision with a MAC: it has one too, whichever version wrote it, or nobody gave it here."""
    if verdict["vouched"] is None:
        return Vouched.NOT
    return _judged(vault, verdict["vouched"], lambda own: verdict_mac(own, verdict, interaction_id))


def require_decision(conn: Connection, item: ReviewItem) -> None:
    """Before anybody's word on `item` counts: what is judged is what the model said and the policy decided.

    Raises NotVouched, CannotVouch.
    """
    interaction, decision, about = (
        conn.execute(query, {"about": item.interaction_id}).one()._mapping for query in _STORED
    )
    raise_unless(decision_vouched(vault_of(conn), interaction, decision, about), item)


def require_words(conn: Connection, item: ReviewItem) -> None:
    """Before a word is added to others', who were read: each of them was given here. Raises NotVouched, CannotVouch."""
    vault = vault_of(conn)
    for row in conn.execute(sa.select(verdicts).where(verdicts.c.item_id == item.id)):
        raise_unless(verdict_vouched(vault, row._mapping, item.interaction_id), item)


def raise_unless(found: Vouched, item: ReviewItem) -> None:
    if found is Vouched.OTHER_KEY:
        raise VouchedElsewhere(item)
    if found is Vouched.BEFORE:
        raise NotVouchedYet(item)
    if found is not Vouched.OURS:
        raise NotVouched(item)


def _judged(vault: Vault | None, stored: object, mac: Callable[[Vault], str]) -> Vouched:
    """Without a vault nobody can tell, so nothing is vouched for."""
    if stored is None:  # who takes a MAC away only withholds an answer, which is not lost by it
        return Vouched.BEFORE
    if vault is None or not isinstance(stored, str):
        return Vouched.NOT
    if not stored.startswith(f"{vault.id}:"):
        return Vouched.OTHER_KEY if _OF_A_KEY.fullmatch(stored) else Vouched.NOT
    try:
        return Vouched.OURS if hmac.compare_digest(stored.encode(), mac(vault).encode()) else Vouched.NOT
    except (TypeError, UnicodeEncodeError):  # SQLite keeps bytes in a column of text
        return Vouched.NOT


def _framed(purpose: str, values: tuple[str | float | None, ...], form: int = 1) -> bytes:
    """Each value with its type and length, as an audit event's: no two rows of values have the same bytes."""
    # + 0.0: SQLite keeps -0.0 as 0.0
    plain = [value if value is None or isinstance(value, str) else value + 0.0 for value in values]
    return b"countersign/%b/%d" % (purpose.encode(), form) + b"".join(map(frame, plain))
