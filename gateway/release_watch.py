"""Counts the verdicts on audited answers, certificate by certificate, and suspends one whose releases are too wrong."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import Connection

from gateway.certifying import DELTA
from gateway.standing import read
from serving.confidence.certificate import Certificate
from serving.confidence.watched_domains import WatchedDomains, watched_from_json, watched_to_json
from storage import certificates, watches
from storage.certified import CertificateState, StoredCertificate, Watched, WatchPoint
from storage.database import Database
from storage.errors import DatabaseUnreachable
from storage.watches import Audited

ACTOR = "worker"
MOST_OF_A_REASON = 300  # characters
UNCOUNTABLE = (ValueError, TypeError, ArithmeticError, RecursionError)  # what somebody's odd numbers raise
log = structlog.get_logger("release_watch")


@dataclass(frozen=True, slots=True)
class Advanced:
    """What a turn over all certificates in force came to, by their ids."""

    suspended: list[str]
    failed: list[str]  # not counted; suspended as well where nobody can count it


def advance_all(database: Database) -> Advanced:
    """Counts what was not counted yet, each certificate for itself: what ails one keeps no other from its alarm.

    For one process at a time. A certificate's audits, its watch and its suspension are one transaction each. Raises
    DatabaseUnreachable.
    """
    with database.read() as connection:
        in_force = certificates.in_force(connection)
    done = Advanced([], [])
    for stored in in_force:
        try:
            _advance_or_doubt(database, stored, done)
        except DatabaseUnreachable:
            raise
        except Exception:  # a second leader's count, say: the next turn tries again
            log.exception("audits were not counted", certificate=stored.id)
            done.failed.append(stored.id)
    return done


def watch_of(connection: Connection, stored: StoredCertificate) -> tuple[Watched, WatchedDomains]:
    """As stored, and as what can be counted with. Raises ValueError where its numbers are no watch's."""
    watched = watches.of(connection, stored)
    return watched, watched_from_json(watched.state) if watched.state else WatchedDomains.of(read(stored).released)


def alarm_delta(certificate: Certificate) -> float:
    """What the alarm is raised at: one over it.

    A certificate's own δ shrinks with each attempt to certify. The watch goes on through all of them and spends its δ
    once, so its alarm must not move away.
    """
    return max(certificate.delta, DELTA)


def _advance_or_doubt(database: Database, stored: StoredCertificate, done: Advanced) -> None:
    try:
        with database.read() as connection:  # writing is for where there is something to write
            certificate, (watched, watch) = read(stored), watch_of(connection, stored)
            waiting = watches.unseen(connection, watched, limit=1)
        if not waiting and not watch.alarmed(alarm_delta(certificate)):
            return
        with database.transaction() as connection:
            if _advance(connection, stored, certificate):
                done.suspended.append(stored.id)
        return
    except UNCOUNTABLE as error:
        doubt = ascii(str(error))[1:-1][:MOST_OF_A_REASON]  # of any text, one that the log can keep
    done.failed.append(stored.id)
    log.error("the audits of a certificate cannot be counted, so it is suspended", certificate=stored.id, why=doubt)
    with database.transaction() as connection:
        if certificates.suspend(connection, stored.id, ACTOR, {"why": f"its watch cannot be counted: {doubt}"}):
            done.suspended.append(stored.id)


def _advance(connection: Connection, stored: StoredCertificate, certificate: Certificate) -> bool:
    """Whether it was suspended by it."""
    now = certificates.get_locked(connection, stored.id)
    if now is None or now.state is not CertificateState.IN_FORCE:
        return False  # its audits are for the watch of the one in its place
    before, watch = watch_of(connection, stored)
    found = watches.unseen(connection, before)
    if not found:  # what it took over may be enough by itself
        return watch.alarmed(alarm_delta(certificate)) and _suspend(connection, stored, watch, certificate)
    watch, points = counted(watch, found, certificate)
    alarm = watch.alarmed(alarm_delta(certificate))
    after = dataclasses.replace(
        before,
        state=watched_to_json(watch),
        audited=watch.audited,
        seen_at=max(before.seen_at, points[-1].at),
        alarmed_at=points[-1].at if alarm and before.alarmed_at is None else before.alarmed_at,
    )
    watches.advance(connection, after, points, points[-1].wealth)
    return alarm and _suspend(connection, stored, watch, certificate)


def _suspend(
    connection: Connection, stored: StoredCertificate, watch: WatchedDomains, certificate: Certificate
) -> bool:
    wealth = watch.wealth if math.isfinite(watch.wealth) else None
    why: dict[str, Any] = {"why": "audited releases were wrong too often"}
    why |= {"audited": watch.audited, "wealth": wealth, "domain": _most_evidence(watch)}
    if not certificates.suspend(connection, stored.id, ACTOR, why):
        return False
    log.error("the certificate is suspended: its model's answers are held until it is certified again", **why)
    return True


def _most_evidence(watch: WatchedDomains) -> str | None:
    """The domain whose audits speak most against the certificate; None where no domain has a share."""
    return max(watch.apart, key=lambda name: watch.apart[name].wealth, default=None)


def counted(
    watch: WatchedDomains, found: list[Audited], certificate: Certificate
) -> tuple[WatchedDomains, list[WatchPoint]]:
    """The watch after each of the audits, one after another; it stops at the alarm.

    All audits count alike, whatever the share they were drawn with: under the certificate each policy's releases are
    wrong seldom enough, and weighted by 1/π a single policy with a tiny share would keep the alarm from being raised.
    """
    points = []
    for audit in found:
        watch = watch.after(audit.wrong, certificate.alpha, audit.domain)
        points.append(WatchPoint(audit.interaction_id, watch.audited, audit.at, audit.wrong, watch.wealth))
        if watch.alarmed(alarm_delta(certificate)):
            break
    return watch, points
