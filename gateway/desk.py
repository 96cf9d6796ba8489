"""Reads a review item with all that a reviewer should see of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from gateway.case_facts import CaseFacts
from gateway.context import Context
from gateway.errors import not_found
from gateway.responding import watch
from gateway.review_shapes import Desk, summary
from storage import interactions, keys, review_opinions, review_reads, reviews
from storage.persons import same_person
from storage.records import ItemState, Key, ReviewItem, Vouched
from storage.vouching import raise_unless


@dataclass(frozen=True, slots=True)
class Opened:
    """A case as it was read in a write, and whether that write records the reading too."""

    desk: Desk
    recorded: bool


def desk_of(connection: Connection, facts: CaseFacts, item_id: str, reader: Key, *, claimed_now: bool = False) -> Desk:
    """The item with the reader's own draft. Raises ApiError 404, also for another tenant's item.

    `claimed_now`: by the reader and in this transaction.
    """
    tenant = reader.tenant
    outcome = interactions.get_outcome_of(connection, item_id, tenant)
    if outcome is None or outcome.item is None:
        raise not_found("review item", item_id)
    item, decision, verdict = outcome.item, outcome.decision, outcome.verdict
    claims_before = item.claims - claimed_now
    # of one claim there is one word at most, and none while it lasts; a final verdict ends the drafts
    said = claims_before > 0 and (item.claims > 1 or (item.state is not ItemState.CLAIMED and verdict is None))
    typed = claims_before > 0 and verdict is None
    words, vouched = review_opinions.heard(connection, outcome, item_id) if said else ([], outcome.vouched)
    asked_by = outcome.interaction.key_id
    # who holds or held it did not ask it, so their claim costs no reading of the asker's name
    asker = None if item.claimed_by == reader.id else asked_by
    people = {item.claimed_by, verdict.reviewer_id if verdict else None, asker, *(word.reviewer_id for word in words)}
    names = names_of(connection, people, reader)
    return Desk(
        outcome=dataclasses.replace(outcome, vouched=vouched),
        item=item,
        names=names,
        own=asked_by == reader.id or same_person(names.get(asked_by), reader.name),
        draft=reviews.get_draft(connection, item_id, reader.id) if typed else None,
        signal_ranges=facts.signal_ranges(connection, decision.calibration_id),
        policy_name=facts.policy_name(connection, tenant, decision.policy_id, decision.policy_version),
        opinions=words,
        barred=review_reads.barred(connection, [item], reader).get(item.id),
    )


def names_of(connection: Connection, people: Iterable[str | None], reader: Key) -> dict[str, str]:
    """What people call these keys; the reader's own is known."""
    others = {person for person in people if person is not None} - {reader.id}
    return {reader.id: reader.name, **(keys.names(connection, others, reader.tenant) if others else {})}


def opened(context: Context, connection: Connection, item_id: str, reader: Key, *, claimed_now: bool = False) -> Opened:
    """Reads the case in a write that records the reading beside what else it does: one commit for all of it.

    It may be shown once that is committed: `shown_now`. An item of which the records, or others' words, were not
    written here is quarantined; raises CannotVouch where nobody can tell.
    """
    desk = desk_of(connection, context.facts, item_id, reader, claimed_now=claimed_now)
    if desk.outcome.vouched is Vouched.NOT:
        reviews.quarantine_unvouched(connection, item_id, reader.tenant)
    else:
        raise_unless(desk.outcome.vouched, desk.item)
    return Opened(desk, context.access.case_within(connection, reader, desk.outcome.interaction, desk.item))


def shown_now(context: Context, opened: Opened, reader: Key) -> Desk:
    """The case, after the commit of the write in which it was opened. Raises NotVouched."""
    watch(context, opened.desk.outcome)
    raise_unless(opened.desk.outcome.vouched, opened.desk.item)
    if opened.recorded:
        context.access.case_committed(reader, opened.desk.item)
    return opened.desk


def summaries_of(connection: Connection, items: Sequence[ReviewItem], reader: Key) -> list[dict[str, object]]:
    names = keys.names(connection, [item.claimed_by for item in items if item.claimed_by], reader.tenant)
    outcomes = interactions.get_outcomes(connection, [item.interaction_id for item in items], reader.tenant)
    barred = review_reads.barred(connection, items, reader)
    return [
        summary(outcomes[item.interaction_id], item, names, barred.get(item.id))
        for item in items
        if item.interaction_id in outcomes
    ]
