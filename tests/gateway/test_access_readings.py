"""Two selections of events are two readings, also when they begin and end with the same events."""

from typing import Any, cast

from gateway.access_log import AccessLog
from storage.records import AuditEvent, Key, PrivateState, Role


class Counting:
    """Stands where the recorder does; keeps nothing."""

    def __init__(self) -> None:
        self.writes = 0

    async def write(self, write: Any, *, tenant: str) -> None:
        self.writes += 1


def told(*ids: str) -> list[AuditEvent]:
    return [AuditEvent(id, 1.0, "acme", "decision", "system", private_state=PrivateState.OPEN) for id in ids]


async def test_other_events_between_the_same_ends_are_a_reading_of_their_own() -> None:
    counting = Counting()
    log = AccessLog(counting, 60.0)  # type: ignore[arg-type]
    reader = Key("key_1", "acme", "Ada", frozenset({Role.AUDITOR}), cast(Any, None), 0.0)
    for between, writes in ("evt_2", 1), ("evt_3", 2), ("evt_2", 2):
        await log.events(reader, told("evt_1", between, "evt_9"))
        assert counting.writes == writes
