"""Turns table rows into records, and records into rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy import Row, Table

from storage.certified import CertificateState, StoredCertificate
from storage.records import (
    Action,
    Decision,
    Draft,
    Interaction,
    ItemState,
    Key,
    Policy,
    Reason,
    ReviewItem,
    Role,
    StoredCalibration,
    Tier,
    Verdict,
    VerdictKind,
)
from storage.storable import checked_text, from_json, object_from, to_json

_JSON_COLUMNS: Mapping[str, type[list[Any]] | type[dict[str, Any]]] = {
    "messages": list,
    "params": dict,
    "answer": dict,
    "metadata": dict,
}
Label = TypeVar("Label", bound=StrEnum)


class Part:
    """One table's columns in a row of several tables, to be read as a row of that table alone."""

    __slots__ = ("_mapping",)

    def __init__(self, table: Table, values: Sequence[Any]) -> None:
        self._mapping: Mapping[str, Any] = dict(zip(table.c.keys(), values, strict=True))

    @property
    def columns(self) -> Mapping[str, Any]:
        return self._mapping

    def __getattr__(self, name: str) -> Any:
        return self._mapping[name]


def parts(row: Row[Any], tables: Sequence[Table]) -> list[Part]:
    """A row of `select(*tables)`, a part for each of them; what an outer join did not find has NULLs only."""
    found, start = [], 0
    for table in tables:
        end = start + len(table.c)
        found.append(Part(table, row[start:end]))
        start = end
    return found


def interaction_row(interaction: Interaction) -> dict[str, Any]:
    """Raises InvalidValue naming the field that cannot be stored."""
    row: dict[str, Any] = {}
    for field in dataclasses.fields(interaction):
        value = getattr(interaction, field.name)
        if field.name in _JSON_COLUMNS:
            value = to_json(field.name, value)
        elif isinstance(value, str):
            value = checked_text(field.name, value)
        row[field.name] = value
    return row


def interaction_from(row: Row[Any] | Part, *, as_written: bool = True) -> Interaction:
    """`as_written`: the row is known to be as it was written here; else what is not of its kind counts as empty."""
    facts = {name: row._mapping[name] for name in _INTERACTION_FIELDS}
    for name, kind in _JSON_COLUMNS.items():
        facts[name] = from_json(facts[name]) if as_written else _legible(facts[name], kind)
    facts["messages"] = tuple(facts["messages"] if as_written else filter(_is_message, facts["messages"]))
    return Interaction(**facts)


def _legible(text: Any, kind: type[list[Any] | dict[str, Any]]) -> Any:
    try:
        value = from_json(text)
    except (TypeError, ValueError, RecursionError):
        return kind()
    return value if isinstance(value, kind) else kind()


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(name), str) for name in ("role", "content"))


def decision_row(decision: Decision, tenant: str) -> dict[str, Any]:
    return {
        **fields_of(decision),
        "action": decision.action.value,
        "reason": decision.reason.value,
        "domain": None if decision.domain is None else checked_text("domain", decision.domain),
        "tenant": tenant,
    }


def decision_from(row: Row[Any] | Part) -> Decision:
    facts = {name: row._mapping[name] for name in _DECISION_FIELDS}
    reason = _known(row.reason, Reason.UNKNOWN_CONFIDENCE)
    return Decision(**{**facts, "action": _known(row.action, Action.HOLD), "reason": reason})


def item_row(item: ReviewItem, interaction: Interaction) -> dict[str, Any]:
    return {
        **fields_of(item),
        "state": item.state.value,
        "reason": item.reason.value,
        "action": item.action.value,
        "tier": item.tier.value,
        "domain": None if item.domain is None else checked_text("domain", item.domain),
        "asked_by": interaction.key_id,
        "trace_id": interaction.trace_id,
        "lapses": 0,
    }


def item_from(row: Row[Any] | Part) -> ReviewItem:
    mapping = row._mapping
    facts = {name: mapping[name] for name in _ITEM_FIELDS}
    enums = {
        "state": ItemState(row.state),
        "reason": _known(row.reason, Reason.UNKNOWN_CONFIDENCE),
        "action": _known(row.action, Action.HOLD),
        "tier": _known(row.tier, Tier.BASE),
        "four_eyes": bool(row.four_eyes),
    }
    return ReviewItem(**{**facts, **enums})


def _known(value: Any, otherwise: Label) -> Label:
    """A label that somebody may have altered past the database's checks: one that is not ours spoils no page or sweep.

    It reads as what lets nothing out; where it decides anything, a MAC covers it, so the answer stays either way.
    """
    try:
        return type(otherwise)(value)
    except ValueError:
        return otherwise


def verdict_from(row: Row[Any] | Part) -> Verdict:
    facts = {name: row._mapping[name] for name in _VERDICT_FIELDS}
    return Verdict(**{**facts, "kind": VerdictKind(row.kind), "final": bool(row.final)})


def verdict_row(verdict: Verdict, item: ReviewItem, agrees_with: Verdict | None) -> dict[str, Any]:
    """`agrees_with`: the word of another person for the same text, where two must agree; the database holds it to that.

    Not vouched for yet.
    """
    return {
        **fields_of(verdict),
        "kind": verdict.kind.value,
        "tenant": item.tenant,
        "four_eyes": item.four_eyes,
        "agrees_with": None if agrees_with is None else agrees_with.id,
        "agrees_with_reviewer": None if agrees_with is None else agrees_with.reviewer_id,
    }


def draft_from(row: Row[Any]) -> Draft:
    return Draft(row.item_id, row.reviewer_id, row.text, row.note, row.saved_at)


def policy_from(row: Row[Any]) -> Policy:
    return Policy(
        id=row.id,
        version=row.version,
        threshold=row.threshold,
        below=_known(row.below, Action.HOLD),
        review_seconds=row.review_seconds,
        name=row.name,
        tier=_known(row.tier, Tier.BASE),
        four_eyes=bool(row.four_eyes),
        without_certificate=_known(row.without_certificate, Action.HOLD),
        audit_share=row.audit_share,
    )


def key_from(row: Row[Any], policy: Policy) -> Key:
    return Key(
        id=row.id,
        tenant=row.tenant,
        name=row.name,
        roles=roles_from(row.roles),
        policy=policy,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        skills=None if row.skills is None else frozenset(from_json(row.skills)),
    )


def roles_from(text: str) -> frozenset[Role]:
    """What is no role of ours gives no right."""
    return frozenset(role for role in Role if role.value in text.split(","))


def roles_text(roles: frozenset[Role]) -> str:
    return ",".join(sorted(role.value for role in roles))


def calibration_from(row: Row[Any] | Part) -> StoredCalibration:
    return StoredCalibration(row.id, row.model, from_json(row.body), bool(row.active), row.created_at)


def certificate_from(row: Row[Any] | Part) -> StoredCertificate:
    """A body that is no JSON object reads as an empty one, which certifies nothing: the row still tells its state."""
    return StoredCertificate(
        row.id,
        row.model,
        row.calibration_id,
        object_from(row.body),
        _known(row.state, CertificateState.SUSPENDED),
        row.created_at,
        row.suspended_at,
    )


def fields_of(record: Any) -> dict[str, Any]:
    """A dataclass's fields, not copied: dataclasses.asdict copies deeply, which took a third of recording."""
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}


def _fields(record: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(record))


_INTERACTION_FIELDS = _fields(Interaction)
_DECISION_FIELDS = _fields(Decision)
_ITEM_FIELDS = _fields(ReviewItem)
_VERDICT_FIELDS = _fields(Verdict)
