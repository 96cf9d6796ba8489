"""Makes a certificate of what people said of reviewed answers, and brings one in from a file."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sqlalchemy import Connection

from gateway.operations import ACTOR, Refused
from serving.confidence.certificate import (
    Certificate,
    InvalidCertificate,
    Labelled,
    certificate_from_json,
    certificate_to_json,
    certify,
    delta_of_attempt,
    heaviest_of_all,
)
from storage import calibrations, certificates, labels
from storage.certified import Label, StoredCalibration, StoredCertificate
from storage.database import now

ALPHA, DELTA = 0.15, 0.05  # the product's own
FAST_SECONDS = 60.0  # that the clock of the machine where a certificate was made may be fast


def make(connection: Connection, model: str | None, alpha: float, delta: float) -> tuple[Certificate, int]:
    """Stores a certificate for the active calibration of `model`, and returns it with how many labels it is made of.

    After a suspension only answers decided since then count. None: the one model that has a calibration. `delta` is
    shared out among the attempts at this model, so that trying again until it succeeds is not wrong more often.
    Raises Refused: no such calibration, no labels, alpha or delta out of range.
    """
    calibration = calibration_of(connection, model)
    since = certificates.suspended_since(connection, calibration.model) or 0.0
    found = labels.every(connection, calibration.id, since=since)
    # under a policy that audits nothing, what was released is never looked at: its labels are no sample of all answers
    rows = alike([label for label in found if label.heaviest != math.inf])
    certificates.lock_attempts(connection)
    attempt = 1 + certificates.count_stored(connection, calibration.model, since)
    if not rows:
        later = " since its certificate was suspended" if since else ""
        raise Refused(f"No answer under the calibration {calibration.id} was reviewed{later}: review some first.")
    try:
        made = certify(
            rows,
            calibration_id=calibration.id,
            model=calibration.model,
            alpha=alpha,
            delta=delta_of_attempt(delta, attempt),
            made_at=now(connection),
        )
        body = certificate_to_json(made)
        certificate_from_json(body)  # what could not be read again is not stored
    except (ValueError, InvalidCertificate) as error:
        raise Refused(f"No certificate can be made: {error}.") from None
    certificates.store(connection, body, ACTOR)
    return made, len(rows)


def bring_in(connection: Connection, file: Path) -> Certificate:
    """Stores the certificate of a file.

    Raises Refused when it is none, or says that it was made in the future, and so after any suspension to come;
    NotFound when its calibration is not stored.
    """
    try:
        found = certificate_from_json(json.loads(file.read_bytes()))
    except OSError as error:
        raise Refused(f"{file} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError, InvalidCertificate) as error:
        raise Refused(f"{file} is not a certificate: {error}.") from None
    if found.made_at > now(connection) + FAST_SECONDS:
        raise Refused(f"{file}: made_at {found.made_at:.0f} is later than the database's clock says it is now.")
    certificates.store(connection, certificate_to_json(found), ACTOR)
    return found


def activate(connection: Connection, certificate: Certificate) -> StoredCertificate:
    """Raises Refused where it certifies nothing, or is about a calibration that is not active: all would be held."""
    if all(bound.threshold is None for bound in certificate.bounds.values()):
        raise Refused(f"{certificate.id} certifies nothing, so it was not activated: review more answers first.")
    active = calibrations.active(connection, certificate.model)
    if active is None or active.id != certificate.calibration_id:
        raise Refused(
            f"{certificate.id} is about the calibration {certificate.calibration_id}, which is not the active one: "
            "activate that first, or make another certificate."
        )
    return certificates.activate(connection, certificate.id, ACTOR)


def calibration_of(connection: Connection, model: str | None) -> StoredCalibration:
    """The active one. Raises Refused."""
    active = calibrations.list_active(connection)
    if model is not None:
        active = [each for each in active if each.model == model]
    if not active:
        raise Refused(f"No calibration is active{'' if model is None else f' for the model {model}'}.")
    if len(active) > 1:
        raise Refused(f"Name the model with --model: {', '.join(each.model for each in active)}.")
    return active[0]


def alike(found: Sequence[Label]) -> list[Labelled]:
    """Each answer as likely to count as every other of its time, whoever asked it."""
    heaviest = heaviest_of_all([label.heaviest for label in found], [label.at for label in found])
    return [replace(labelled(label), heaviest=most) for label, most in zip(found, heaviest, strict=True)]


def labelled(label: Label) -> Labelled:
    return Labelled(label.confidence, label.right, label.domain, label.weight, label.heaviest)
