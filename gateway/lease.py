"""One process leads a duty at a time: its lease in the database, renewed now and then and given up at the end."""

from __future__ import annotations

import os
import socket
from time import monotonic

import structlog

from storage import leader
from storage.database import Database
from storage.errors import DatabaseUnreachable
from storage.ids import new_id

LEASE_SECONDS = 10.0
RENEW_SECONDS = 3.0
log = structlog.get_logger("lease")


class Lease:
    """For one thread."""

    def __init__(self, database: Database, duty: str) -> None:
        self._database, self._duty = database, duty
        self._holder = new_id(f"{socket.gethostname()}-{os.getpid()}")
        self._renew_at = 0.0
        self.held = False

    def hold(self) -> bool:
        """Takes the lease or renews it when that is due; False while another process holds it.

        Raises DatabaseUnreachable.
        """
        if not self.held or monotonic() >= self._renew_at:
            with self._database.transaction() as connection:
                self.held = leader.hold_leadership(connection, self._duty, self._holder, LEASE_SECONDS)
            self._renew_at = monotonic() + RENEW_SECONDS
        return self.held

    def doubt(self) -> None:
        """Another may have taken it meanwhile: `hold` asks the database next."""
        self._renew_at = 0.0

    def give_up(self) -> None:
        """Lets another process lead at once."""
        if not self.held:
            return
        try:
            with self._database.transaction() as connection:
                leader.give_up_leadership(connection, self._duty, self._holder)
        except DatabaseUnreachable:
            log.warning("the lease ends by itself: the database does not answer", duty=self._duty)
