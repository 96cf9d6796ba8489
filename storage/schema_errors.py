"""What keeps the tables from being used or brought to another version, each error saying what to do."""

from __future__ import annotations

from storage.errors import StorageError


class SchemaOutdated(StorageError):
    """The tables are not those that this version of the program expects."""

    code = "schema_outdated"


class TablesObstructed(StorageError):
    """Something that the program did not make stands on its tables, and can keep rows from being written or read."""

    code = "tables_obstructed"

    def __init__(self, kind: str, name: str, table: str) -> None:
        super().__init__(
            f"The database has a {kind} {name!r} on {table}, which is none of this program's: it can keep events from "
            "being written or read. Find out who made it and why, remove it, and run `countersign-verify log`."
        )


class EventAltered(StorageError):
    """An event of before the log was sealed does not have the hash that was recorded with it."""

    code = "event_altered"

    def __init__(self, event_id: str) -> None:
        super().__init__(
            f"Nothing was migrated: audit event {event_id!r} was altered since it was recorded. Restore a backup."
        )


class EventsWait(StorageError):
    """Events without a MAC wait to be sealed: only an operator can say that they are of an earlier version."""

    code = "events_wait"

    def __init__(self, events: int) -> None:
        super().__init__(
            f"Nothing was migrated: {events} events wait to be sealed that are of an earlier version, or that somebody "
            "put into the database. Let the earlier version's sealer seal them first; where it has none, and you are "
            "upgrading just now, run `countersign migrate --vouch-for-waiting`."
        )


class NothingOfBefore(StorageError):
    """The log holds no decision of a version without MACs, so no record can be of one."""

    code = "nothing_of_before"

    def __init__(self) -> None:
        super().__init__(
            "The audit log tells of no decision of before there were MACs: what is not vouched for here was altered, "
            "or put into the database. `countersign audit vouched` names it."
        )
