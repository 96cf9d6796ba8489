"""Keeps the queue in step with the database and ends what nobody ended; exactly one worker leads at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from time import monotonic

import structlog

from gateway.lease import RENEW_SECONDS, Lease
from gateway.metrics import Metrics
from gateway.settings import Settings
from storage import dispatch, idempotency, partitions, review_alarms, review_sweeps
from storage.database import Database
from storage.errors import DatabaseUnreachable, QueueUnreachable
from storage.records import ItemState
from storage.review_queue import ReviewQueue

DUTY = "worker"
SWEEP_SECONDS = 0.5
WATCH_SECONDS = 15.0
PREPARE_SECONDS = 3_600.0
PAUSE_AFTER_FAILURE_SECONDS = 1.0
RECONCILE_TURN_SECONDS = 0.02  # in each round: requests wait for this thread's turns
log = structlog.get_logger("worker")


class Worker:
    """A thread of rounds: hold the lease, relay the outbox, expire, return lapsed claims, reconcile."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        queue: ReviewQueue,
        metrics: Metrics,
        changed: Callable[[str], None] = lambda interaction_id: None,
    ) -> None:
        """`changed` is told, from the worker's thread, the interaction of each item that was ended."""
        self._settings, self._database, self._queue, self._metrics = settings, database, queue, metrics
        self._changed = changed
        self._lease = Lease(database, DUTY)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self.run, name="worker", daemon=True)
        self._prepare_at = 0.0
        self._pages: Iterator[int] | None = None  # of a reconciliation under way
        self._corrected = 0  # by it
        self._sweep_at, self._reconcile_at, self._watch_at = 0.0, 0.0, 0.0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends after the present round and lets another worker lead at once."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def run(self) -> None:
        while not self._stopping.is_set():
            self._stopping.wait(self._round())
        self._lease.give_up()

    def _round(self) -> float:
        """One round; returns the seconds to pause before the next."""
        try:
            if not self._lease.hold():
                self._pages = None  # another worker leads: what was compared says nothing any more
                return RENEW_SECONDS
            self._sweep()  # before the queue's part: a Valkey that is away must not keep answers from expiring
            self._watch()
            self._reconcile()
            self._prepare()
            while dispatch.relay(self._database, self._queue) and not self._stopping.is_set():
                pass
        except QueueUnreachable as error:
            self._pages, self._reconcile_at = None, 0.0  # what Valkey holds when it is back is not known
            return self._failed(error)
        except DatabaseUnreachable as error:
            self._lease.doubt()
            return self._failed(error)
        except Exception as error:  # the worker must outlive what it did not foresee
            log.exception("worker round failed", error=type(error).__name__)
            self._metrics.worker_failures.inc()
            return PAUSE_AFTER_FAILURE_SECONDS
        return self._settings.worker_pause_seconds

    def _failed(self, error: Exception) -> float:
        log.warning("worker waits", error=str(error))
        self._metrics.worker_failures.inc()
        return PAUSE_AFTER_FAILURE_SECONDS

    def _sweep(self) -> None:
        if monotonic() < self._sweep_at:
            return
        self._sweep_at = monotonic() + SWEEP_SECONDS
        with self._database.transaction() as connection:
            expired = review_sweeps.expire_due(connection)
            lapsed = review_sweeps.return_lapsed_claims(connection, max_lapses=self._settings.max_claims)
            idempotency.sweep(connection)
        quarantined = [item for item in lapsed if item.state is ItemState.QUARANTINED]
        for item in quarantined:
            log.error("review item quarantined: its answer stays withheld", item=item.id, claims=item.claims)
        for item in (*expired, *quarantined):
            self._changed(item.interaction_id)

    def _watch(self) -> None:
        """Tells of items that would wait until they expire, since nobody may decide them."""
        if monotonic() < self._watch_at:
            return
        self._watch_at = monotonic() + WATCH_SECONDS
        with self._database.read() as connection:
            lonely = review_alarms.without_reviewer(connection)
        for (tenant, domain), items in lonely.items():
            log.error("no present reviewer may decide these items", tenant=tenant, domain=domain, items=items)

    def _prepare(self) -> None:
        """Makes the partitions of the months to come, long before any event needs one."""
        if monotonic() < self._prepare_at:
            return
        self._prepare_at = monotonic() + PREPARE_SECONDS  # also after a failure: readers may be in the way for a while
        with self._database.transaction() as connection:
            made = partitions.ensure_partitions(connection)
        if made:
            log.info("partitions of the audit log made", months=[month.name for month in made])

    def _reconcile(self) -> None:
        """A turn of it: what is in step is looked through little by little, beside all else; what is not, at once."""
        if self._pages is None:
            if monotonic() < self._reconcile_at:
                return
            self._corrected = 0
        pages, self._pages = self._pages or dispatch.corrections(self._database, self._queue), None
        until = monotonic() + RECONCILE_TURN_SECONDS
        for corrected in pages:
            self._corrected += corrected
            if not corrected and monotonic() > until:
                self._pages = pages  # goes on in the next round
                return
        self._reconcile_at = monotonic() + self._settings.reconcile_seconds
        if self._corrected:
            log.info("queue corrected", items=self._corrected)
