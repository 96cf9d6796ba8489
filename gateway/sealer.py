"""Seals the audit log at least every half second, and keeps each checkpoint outside the database; one sealer leads."""

from __future__ import annotations

import threading
from pathlib import Path

import structlog

from gateway.lease import RENEW_SECONDS, Lease
from gateway.metrics import Metrics
from storage import intrusions, sealing
from storage.checkpoint_file import CheckpointFile
from storage.checkpoints import Signer
from storage.database import Database
from storage.errors import (
    CheckpointsContradict,
    DatabaseUnreachable,
    KeysUnfit,
    SealedByAnother,
    TreeDamaged,
    WrongMasterKey,
)
from storage.intrusions import Intrusion
from storage.merkle import Frontier

DUTY = "sealer"
PAUSE_SECONDS = 0.4
PAUSE_AFTER_FAILURE_SECONDS = 1.0
PAUSE_AFTER_ALARM_SECONDS = 10.0
log = structlog.get_logger("sealer")


class Sealer:
    """A thread of rounds: hold the lease, publish what the outside file lacks, seal what waits, publish that."""

    def __init__(self, database: Database, metrics: Metrics, signer: Signer, checkpoints: Path) -> None:
        self._database, self._metrics, self._signer = database, metrics, signer
        self._file = CheckpointFile(checkpoints)
        self._frontier: Frontier | None = None  # of the last turn that was committed
        self._lease = Lease(database, DUTY)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self.run, name="sealer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Seals what waits, then ends and lets another sealer lead at once."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def run(self) -> None:
        while not self._stopping.wait(self._round()):
            pass
        if self._lease.held:
            self._round()
        self._lease.give_up()

    def _round(self) -> float:
        """One round; returns the seconds to pause before the next."""
        try:
            if not self._lease.hold():
                return RENEW_SECONDS
            # before sealing: the database is never more than one turn ahead of what is kept outside
            self._file.publish(self._database)
            self._metrics.checkpoints_contradict.set(0)
            sealed = self._seal()
            if sealed:
                self._file.publish(self._database)
            return 0.0 if sealed >= sealing.LIMIT else PAUSE_SECONDS
        except (CheckpointsContradict, TreeDamaged) as error:
            self._metrics.checkpoints_contradict.set(1)
            self._metrics.seal_failures.inc()
            log.error("sealing stopped: the audit log was altered or set back", error=str(error))
            return PAUSE_AFTER_ALARM_SECONDS
        except (KeysUnfit, WrongMasterKey) as error:
            self._metrics.seal_failures.inc()
            log.error("sealing stopped: the product writes under another master key", error=str(error))
            return PAUSE_AFTER_ALARM_SECONDS
        except (DatabaseUnreachable, SealedByAnother, OSError) as error:
            self._lease.doubt()
            return self._failed(error)
        except Exception as error:  # the sealer must outlive what it did not foresee
            log.exception("sealer round failed", error=type(error).__name__)
            self._metrics.seal_failures.inc()
            return PAUSE_AFTER_FAILURE_SECONDS

    def _seal(self) -> int:
        """Leaves sealed in one turn."""
        with self._database.read() as connection:  # a look that keeps no writer waiting
            if not sealing.anything_waits(connection):
                return 0
        try:
            with self._database.transaction() as connection:
                turn = sealing.seal(connection, self._signer, sealing.LIMIT, self._frontier)
        except SealedByAnother:
            with self._database.transaction() as connection:
                put_back = intrusions.refuse_put_back(connection, sealing.LIMIT)
            if put_back is None:
                raise
            self._told(put_back)
            return 0
        self._frontier = turn.frontier
        self._told(turn.intrusion)
        return turn.sealed

    def _told(self, intrusion: Intrusion | None) -> None:
        """Only once it is committed: the rows are out of the line."""
        if intrusion is not None:
            self._metrics.intrusions.inc(intrusion.rows)
            log.error(
                "somebody wrote into the audit log past the product; it was not sealed",
                why=intrusion.why,
                rows=intrusion.rows,
                events=intrusion.events,
            )

    def _failed(self, error: Exception) -> float:
        log.warning("sealer waits", error=str(error))
        self._metrics.seal_failures.inc()
        return PAUSE_AFTER_FAILURE_SECONDS
