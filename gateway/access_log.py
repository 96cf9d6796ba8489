"""Records who is about to be shown what, and only then lets it be shown."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from gateway.recorder import Recorder
from storage import audit_log
from storage.records import AuditEvent, Interaction, Key, Outcome, PrivateState, ReviewItem

MOST_REMEMBERED = 20_000  # readings; beyond, the oldest is forgotten and may be recorded once more

Thing = tuple[str, ...]  # what was read, as the readings of one key and kind are told apart


@dataclass(frozen=True, slots=True)
class Access:
    """One reading."""

    kind: str  # access.review, access.completion or access.events
    data: dict[str, Any] = field(default_factory=dict)
    interaction_id: str | None = None
    item_id: str | None = None
    trace_id: str | None = None


class AccessLog:
    """Call before showing: returns once the event is committed. Raises ApiError 503 when it cannot be."""

    def __init__(self, recorder: Recorder, seconds: float) -> None:
        self._recorder = recorder
        self._seconds = seconds  # within which the same reading is one event
        self._read: OrderedDict[tuple[str, str, Thing], float] = OrderedDict()  # until when it is not recorded again

    async def case(self, reader: Key, interaction: Interaction, item: ReviewItem) -> None:
        """A reviewer opens a case: question, answer, drafts and words on it."""
        await self._note(reader, _case(reader, interaction, item), [_of_case(item)])

    def case_within(self, connection: Connection, reader: Key, interaction: Interaction, item: ReviewItem) -> bool:
        """`case` within a write that is under way. True when it was recorded: `case_committed` after the commit."""
        if not self._fresh(reader, "access.review", [_of_case(item)]):
            return False
        _append(connection, reader, _case(reader, interaction, item))
        return True

    def case_committed(self, reader: Key, item: ReviewItem) -> None:
        self._remember(reader, "access.review", [_of_case(item)])

    async def questions(self, reader: Key, item_ids: Sequence[str]) -> None:
        """A reviewer sees the questions of these cases in a list."""
        fresh = self._fresh(reader, "access.review", [(item_id,) for item_id in item_ids])
        if fresh:
            data = {"reviewer": reader.id, "questions_of": [thing[0] for thing in fresh]}
            await self._note(reader, Access("access.review", data), fresh)

    async def completion(self, reader: Key, outcome: Outcome, part: str = "answer") -> None:
        """A caller comes back for a released answer, or for the messages that were asked."""
        if part == "answer" and outcome.released_text is None:
            return
        asked, item_id = outcome.interaction, None if outcome.item is None else outcome.item.id
        data = {"key_id": reader.id, "part": part}
        access = Access("access.completion", data, asked.id, item_id, asked.trace_id)
        await self._note(reader, access, [(asked.id, part)])

    async def completions(self, reader: Key, outcomes: Iterable[Outcome]) -> None:
        """A caller lists answers; those that are released are read."""
        shown = [(each.interaction.id, "answer") for each in outcomes if each.released_text is not None]
        fresh = self._fresh(reader, "access.completion", shown)
        if fresh:
            data = {"key_id": reader.id, "part": "answer", "answers_of": [thing[0] for thing in fresh]}
            await self._note(reader, Access("access.completion", data), fresh)

    async def events(self, reader: Key, events: Sequence[AuditEvent]) -> None:
        """An auditor sees events, some with private facts."""
        told = [event for event in events if event.private_state is PrivateState.OPEN]
        if told:
            access = Access("access.events", events_data(told), interaction_id=one_interaction(told))
            await self._note(reader, access, [(digest(told),)])

    async def search(self, reader: Key, text: str) -> None:
        """An auditor looks for words: also what is not found tells of what was said."""
        access = Access("access.events", {"text": True})
        await self._note(reader, access, [("text", hashlib.sha256(text.encode()).hexdigest())])

    async def _note(self, reader: Key, access: Access, things: Sequence[Thing]) -> None:
        if not self._fresh(reader, access.kind, things):
            return
        await self._recorder.write(lambda connection: _append(connection, reader, access), tenant=reader.tenant)
        self._remember(reader, access.kind, things)  # after the commit: what failed is recorded by the next try

    def _fresh(self, reader: Key, kind: str, things: Sequence[Thing]) -> list[Thing]:
        """Those that were not read within the last seconds."""
        at = time.monotonic()
        return [thing for thing in things if self._read.get((reader.id, kind, thing), at) <= at]

    def _remember(self, reader: Key, kind: str, things: Sequence[Thing]) -> None:
        until = time.monotonic() + self._seconds
        for thing in things:
            self._read[reader.id, kind, thing] = until
            self._read.move_to_end((reader.id, kind, thing))
        while len(self._read) > MOST_REMEMBERED:
            self._read.popitem(last=False)


def _case(reader: Key, interaction: Interaction, item: ReviewItem) -> Access:
    data = {"reviewer": reader.id, "key_id": interaction.key_id, "state": item.state.value}
    return Access("access.review", data, interaction.id, item.id, interaction.trace_id)


def _of_case(item: ReviewItem) -> Thing:
    return item.id, item.state.value


def _append(connection: Connection, reader: Key, access: Access) -> None:
    audit_log.append(
        connection,
        access.kind,
        f"key:{reader.id}",
        reader.tenant,
        interaction_id=access.interaction_id,
        item_id=access.item_id,
        trace_id=access.trace_id,
        data=access.data,
    )


def events_data(told: Sequence[AuditEvent]) -> dict[str, Any]:
    """Which events' private facts were shown: all of them, or of a long page the ends."""
    ids = [event.id for event in told]
    which = {"event_ids": ids} if len(ids) <= 100 else {"ends": [ids[0], ids[-1]]}
    return {"events": len(ids), **which}


def digest(told: Sequence[AuditEvent]) -> str:
    """Tells one selection of events from another, in little memory however many they are."""
    return hashlib.sha256(" ".join(event.id for event in told).encode()).hexdigest()


def one_interaction(told: Sequence[AuditEvent]) -> str | None:
    found = {event.interaction_id for event in told}
    return found.pop() if len(found) == 1 else None
