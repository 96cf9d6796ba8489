"""Keeps the queue in step with the database and ends what nobody ended; exactly one worker leads at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from time import monotonic

import structlog

from gateway import release_watch
from gateway.duties import FIRST_PAUSE_SECONDS, Duty
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
AUDIT_SECONDS = 1.0
PREPARE_SECONDS = 3_600.0
RECONCILE_TURN_SECONDS = 0.02  # in each round: requests wait for this thread's turns
log = structlog.get_logger("worker")


class Worker:
    """A thread of rounds: under the lease, whichever of its duties are due."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        queue: ReviewQueue,
        metrics: Metrics,
        changed: Callable[[str], None] = lambda interaction_id: None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`changed` is told, from the worker's thread, the interaction of each item that was ended."""
        self._settings, self._database, self._queue, self._metrics = settings, database, queue, metrics
        self._changed, self._clock = changed, clock
        self._lease = Lease(database, DUTY)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self.run, name="worker", daemon=True)
        self._pages: Iterator[int] | None = None  # of a reconciliation under way
        self._corrected = 0  # by it
        self._reconciling = Duty("reconcile", self._reconcile)
        self._duties = (
            Duty("sweep", self._sweep),
            Duty("watch", self._watch),
            Duty("audits", self._count_audits),
            self._reconciling,
            Duty("prepare", self._prepare, pause=PREPARE_SECONDS),  # readers may be in its way for a while
            Duty("relay", self._relay),
        )

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
        """What is due, one duty after another; returns the seconds to pause before the next round."""
        for duty in self._duties:
            if self._stopping.is_set():
                return 0.0
            try:
                if not self._lease.hold():  # before each: what they do together may take longer than a lease
                    self._pages = None  # another worker leads: what was compared says nothing any more
                    return RENEW_SECONDS
            except Exception as error:  # nothing is done without it
                self._failed("lease", error)
                return FIRST_PAUSE_SECONDS
            if self._clock() >= duty.due_at:
                self._perform(duty)
        next_due = min(duty.due_at for duty in self._duties)
        return min(max(0.0, next_due - self._clock()), RENEW_SECONDS)

    def _perform(self, duty: Duty) -> None:
        """Whatever happens, the other duties are not kept from theirs."""
        try:
            duty.perform(self._clock)
        except Exception as error:  # the worker must outlive what it did not foresee
            duty.put_off(self._clock())
            if isinstance(error, DatabaseUnreachable):
                self._lease.doubt()
            if isinstance(error, QueueUnreachable):  # what Valkey holds when it is back is not known
                self._pages, self._reconciling.due_at = None, duty.due_at
            self._failed(duty.name, error)

    def _failed(self, duty: str, error: Exception) -> None:
        if isinstance(error, DatabaseUnreachable | QueueUnreachable):
            log.warning("worker waits", duty=duty, error=str(error))
        else:
            log.exception("worker round failed", duty=duty, error=type(error).__name__)
        self._metrics.worker_failures.inc()

    def _relay(self) -> float:
        """A page of notes: more of them wait until the others had their turn."""
        return 0.0 if dispatch.relay(self._database, self._queue) else self._settings.worker_pause_seconds

    def _sweep(self) -> float:
        with self._database.transaction() as connection:
            expired = review_sweeps.expire_due(connection)
            lapsed = review_sweeps.return_lapsed_claims(connection, max_lapses=self._settings.max_claims)
            idempotency.sweep(connection)
        quarantined = [item for item in lapsed if item.state is ItemState.QUARANTINED]
        for item in quarantined:
            log.error("review item quarantined: its answer stays withheld", item=item.id, claims=item.claims)
        for item in (*expired, *quarantined):
            self._changed(item.interaction_id)
        return SWEEP_SECONDS

    def _watch(self) -> float:
        """Tells of items that would wait until they expire, since nobody may decide them."""
        with self._database.read() as connection:
            lonely = review_alarms.without_reviewer(connection)
        for (tenant, domain), items in lonely.items():
            log.error("no present reviewer may decide these items", tenant=tenant, domain=domain, items=items)
        return WATCH_SECONDS

    def _count_audits(self) -> float:
        """Suspends a certificate whose audited releases are wrong too often: the next question of its model is held."""
        done = release_watch.advance_all(self._database)
        self._metrics.suspensions.inc(len(done.suspended))
        self._metrics.worker_failures.inc(len(done.failed))
        return AUDIT_SECONDS

    def _prepare(self) -> float:
        """Makes the partitions of the months to come, long before any event needs one."""
        with self._database.transaction() as connection:
            made = partitions.ensure_partitions(connection)
        if made:
            log.info("partitions of the audit log made", months=[month.name for month in made])
        return PREPARE_SECONDS

    def _reconcile(self) -> float:
        """A turn of it: what is in step is looked through little by little, what is not without a pause."""
        if self._pages is None:
            self._corrected = 0
        pages, self._pages = self._pages or dispatch.corrections(self._database, self._queue), None
        until = self._clock() + RECONCILE_TURN_SECONDS
        for corrected in pages:
            self._corrected += corrected
            if self._clock() > until:
                self._pages = pages  # goes on in a later round
                return 0.0 if corrected else self._settings.worker_pause_seconds
        if self._corrected:
            log.info("queue corrected", items=self._corrected)
        return self._settings.reconcile_seconds
