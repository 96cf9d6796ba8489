"""What can go wrong in storage, each error naming the thing it concerns; one handler turns them into HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storage.records import ReviewItem


class StorageError(Exception):
    """Everything below; `code` is stable and fit for an API."""

    code = "storage_error"


class NotFound(StorageError):
    """There is no such thing, or it belongs to another tenant: both look the same on purpose."""

    code = "not_found"

    def __init__(self, kind: str, wanted: str) -> None:
        super().__init__(f"There is no {kind} {wanted!r}.")
        self.kind = kind
        self.wanted = wanted


class DatabaseUnreachable(StorageError):
    """The database did not answer, is locked or cannot write; one sentence says what to do."""

    code = "database_unreachable"


class QueueUnreachable(StorageError):
    """Valkey or Redis did not answer; nothing is lost, the queue is rebuilt from SQL."""

    code = "queue_unreachable"


class WrongMasterKey(StorageError):
    """The private facts in this database were sealed under another master key."""

    code = "wrong_master_key"

    def __init__(self, found: str, given: str) -> None:
        super().__init__(
            f"The database's private facts are under master key {found}, and {given} was given: restore it."
        )


class KeysUnfit(StorageError):
    """A key of the audit log cannot be read or made, or is not the one this database was written with."""

    code = "keys_unfit"


class SealedByAnother(StorageError):
    """A second sealer was quicker; nothing of this one's turn is kept."""

    code = "sealed_by_another"


class TreeDamaged(StorageError):
    """The leaves in the database are not those that its last checkpoint was signed over."""

    code = "tree_damaged"


class CheckpointsContradict(StorageError):
    """The checkpoints kept outside and the database do not tell the same story."""

    code = "checkpoints_contradict"


class UnderLegalHold(StorageError):
    """What was to be destroyed must be kept; HTTP says 409."""

    code = "legal_hold"

    def __init__(self, hold_id: str) -> None:
        super().__init__(f"Legal hold {hold_id!r} keeps this: nothing was deleted. Lift the hold first.")
        self.hold_id = hold_id


class PurgeTooEarly(StorageError):
    """The audit log is kept for at least its retention floor."""

    code = "purge_too_early"

    def __init__(self, days: float, least: float) -> None:
        super().__init__(f"Events are kept for at least {least:g} days: a purge after {days:g} days is refused.")


class Conflict(StorageError):
    """The item is not in a state that allows this; HTTP says 409."""

    code = "conflict"

    def __init__(self, item: ReviewItem, sentence: str) -> None:
        super().__init__(sentence)
        self.item = item


class AlreadyClaimed(Conflict):
    code = "already_claimed"

    def __init__(self, item: ReviewItem, by: str | None) -> None:
        super().__init__(item, f"Review item {item.id!r} is claimed by {by!r}.")
        self.by = by


class AlreadyDecided(Conflict):
    code = "already_decided"

    def __init__(self, item: ReviewItem) -> None:
        super().__init__(item, f"Review item {item.id!r} is already {item.state.value}.")


class LapsedTooOften(Conflict):
    """Its claims ran out again and again; it is quarantined by the next sweep and is claimed no more."""

    code = "lapsed_too_often"

    def __init__(self, item: ReviewItem, lapses: int) -> None:
        super().__init__(item, f"Review item {item.id!r} lapsed {lapses} times and is being quarantined: take another.")
        self.lapses = lapses


class StaleToken(Conflict):
    """The claim that this token belongs to was released, lapsed or superseded."""

    code = "stale_claim"

    def __init__(self, item: ReviewItem, given: int) -> None:
        super().__init__(item, f"Fencing token {given} no longer holds review item {item.id!r}: claim it again.")
        self.given = given


class OwnRequest(Conflict):
    code = "own_request"

    def __init__(self, item: ReviewItem) -> None:
        super().__init__(
            item,
            f"You asked review item {item.id!r}, with some key of yours, or nobody can tell any more who did: another "
            "person must decide it.",
        )


class ReferredBySelf(Conflict):
    """This reviewer referred the item, or gave the first of two words on it."""

    code = "referred_by_self"

    def __init__(self, item: ReviewItem) -> None:
        super().__init__(item, f"You gave your word on review item {item.id!r}: it waits for another person.")


class NotSkilled(Conflict):
    """The item's domain is not among the reviewer's skills."""

    code = "not_skilled"

    def __init__(self, item: ReviewItem) -> None:
        super().__init__(
            item, f"Review item {item.id!r} is about {item.domain!r}, which is not among your skills: take another."
        )


class PastDeadline(Conflict):
    code = "past_deadline"

    def __init__(self, item: ReviewItem) -> None:
        super().__init__(item, f"Review item {item.id!r} expired before it was decided; its answer stays withheld.")


class ContentChanged(Conflict):
    """The stored answer no longer has the hash that was decided on; it must not be released."""

    code = "content_changed"

    def __init__(self, item: ReviewItem) -> None:
        super().__init__(item, f"The answer behind review item {item.id!r} does not match its recorded hash.")


class NotVouched(Conflict):
    """Its stored records are not those that were written under the master key; it is quarantined, never released."""

    code = "not_vouched"

    def __init__(self, item: ReviewItem) -> None:
        super().__init__(
            item,
            f"The stored records of review item {item.id!r} are not those that were written here: nobody can decide "
            "it, and its answer stays withheld. Tell an operator.",
        )


class CannotVouch(Conflict):
    """Nobody can tell, for now, whether its records were altered: it is refused, and stays as it is."""


class NotVouchedYet(CannotVouch):
    """Its records have no MAC: they are of before there were MACs, or somebody took it away."""

    code = "not_vouched_yet"

    def __init__(self, item: ReviewItem) -> None:
        super().__init__(
            item,
            f"The records of review item {item.id!r} are of an earlier version and not vouched for: nobody can decide "
            "it until an operator runs `countersign audit vouch`. Take another.",
        )


class VouchedElsewhere(CannotVouch):
    """Its records were written under another master key: nobody can tell whether they were altered."""

    code = "other_master_key"

    def __init__(self, item: ReviewItem) -> None:
        super().__init__(
            item,
            f"The records of review item {item.id!r} were written under another master key than this one's: nobody "
            "can decide it until an operator restores that key.",
        )


class AlreadyVouched(StorageError):
    """Records of before there were MACs are vouched for once."""

    code = "already_vouched"

    def __init__(self) -> None:
        super().__init__(
            "The records of before were vouched for already (the event records.vouched says when): what is not vouched "
            "for since then was not written here. `countersign audit vouched` names it."
        )


class IllegalTransition(Conflict):
    """A program error: the move is not in TRANSITIONS."""

    code = "illegal_transition"

    def __init__(self, item: ReviewItem, to: str) -> None:
        super().__init__(item, f"Review item {item.id!r} cannot go from {item.state.value} to {to}.")


class Superseded(StorageError):
    """Another attempt at the same request took over while this one was away; nothing of this one is recorded."""

    code = "idempotency_in_flight"

    def __init__(self, name: str) -> None:
        super().__init__(f"Another attempt with the Idempotency-Key '{name[:100]}' took over.")
        self.name = name


class NotAReviewer(StorageError):
    code = "not_a_reviewer"

    def __init__(self, key_id: str) -> None:
        super().__init__(f"Key {key_id!r} does not have the role reviewer.")


class LinkUsed(StorageError):
    code = "link_used"

    def __init__(self) -> None:
        super().__init__("This sign-in link was already used: ask for a new one.")


class LinkExpired(StorageError):
    code = "link_expired"

    def __init__(self) -> None:
        super().__init__("This sign-in link has expired: ask for a new one.")


class InvalidValue(StorageError, ValueError):
    """A value that cannot be stored; `field` names it."""

    code = "invalid_value"

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(f"{field}: {sentence}")
        self.field = field
