"""Counts the verdicts on audited answers, certificate by certificate, and suspends one whose releases are too wrong."""

from __future__ import annotations

import dataclasses

import structlog
from sqlalchemy import Connection

from gateway.standing import read
from serving.confidence.certificate import Certificate, InvalidCertificate
from serving.confidence.eprocess import START, Watch
from storage import certificates, watches
from storage.certified import StoredCertificate, Watched, WatchPoint
from storage.database import Database
from storage.watches import Audited

ACTOR = "worker"
log = structlog.get_logger("release_watch")


def advance_all(database: Database) -> list[str]:
    """Counts what was not counted yet; returns the certificates that were suspended.

    For one process at a time. A certificate's audits, its watch and its suspension are one transaction each.
    """
    with database.read() as connection:
        waiting = [stored for stored in certificates.in_force(connection) if _unseen(connection, stored)]
    suspended = []
    for stored in waiting:
        with database.transaction() as connection:
            if _advance(connection, stored):
                suspended.append(stored.id)
    return suspended


def _unseen(connection: Connection, stored: StoredCertificate) -> bool:
    return bool(watches.unseen(connection, watches.of(connection, stored), limit=1))


def _advance(connection: Connection, stored: StoredCertificate) -> bool:
    """Whether it was suspended by it."""
    try:
        certificate = read(stored)
    except InvalidCertificate:  # nothing is released by it either
        return False
    before = watches.of(connection, stored)
    found = watches.unseen(connection, before)
    if not found:
        return False
    watch, points = counted(before, found, certificate)
    alarm = watch.alarmed(certificate.delta)
    after = dataclasses.replace(
        before,
        log_wealths=watch.log_wealths,
        audited=watch.audited,
        seen_at=max(before.seen_at, points[-1].at),
        alarmed_at=points[-1].at if alarm and before.alarmed_at is None else before.alarmed_at,
    )
    watches.advance(connection, after, points, watch.wealth)
    if not alarm:
        return False
    why = {"why": "audited releases were wrong too often", "audited": watch.audited, "wealth": watch.wealth}
    if not certificates.suspend(connection, stored.id, ACTOR, why):
        return False
    log.error("the certificate is suspended: its model's answers are held until it is certified again", **why)
    return True


def counted(before: Watched, found: list[Audited], certificate: Certificate) -> tuple[Watch, list[WatchPoint]]:
    """The watch after each of the audits, one after another; it stops at the alarm.

    All audits count alike, whatever the share they were drawn with: under the certificate each policy's releases are
    wrong seldom enough, and weighted by 1/π a single policy with a tiny share would keep the alarm from being raised.
    """
    watch = Watch(before.log_wealths or START, before.audited)
    points = []
    for audit in found:
        watch = watch.after(audit.wrong, certificate.alpha)
        points.append(WatchPoint(audit.interaction_id, watch.audited, audit.at, audit.wrong, watch.wealth))
        if watch.alarmed(certificate.delta):
            break
    return watch, points
