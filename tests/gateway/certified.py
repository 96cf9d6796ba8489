"""Makes certificates for the gateway's tests, and puts them in force with the calibration they are about."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from serving.confidence.certificate import Bound, Certificate, certificate_to_json
from storage import calibrations, certificates
from storage.certified import StoredCertificate

KNOWN = ("", "arithmetic")  # domains; the first is for answers of none


def certificate(
    calibration_id: str,
    model: str,
    thresholds: Mapping[str, float | None] | float | None = 0.0,
    made_at: float = 1.0,
    alpha: float = 0.15,
    delta: float = 0.05,
) -> Certificate:
    """With a threshold for each domain, or the same one for all that are KNOWN; 0 leaves it to the policy's own."""
    named = thresholds if isinstance(thresholds, Mapping) else dict.fromkeys(KNOWN, thresholds)
    bounds = {
        domain: Bound(threshold, 1_000, 0 if threshold is None else 600, 0, 0.0 if threshold is None else 0.6)
        for domain, threshold in named.items()
    }
    return Certificate(calibration_id, model, alpha, delta, made_at, bounds)


def certify(connection: Connection, calibration_id: str, model: str, **fields: Any) -> StoredCertificate:
    """Puts one in force."""
    body = certificate_to_json(certificate(calibration_id, model, **fields))
    return certificates.activate(connection, certificates.store(connection, body).id, "test")


def put_in_use(connection: Connection, body: dict[str, Any], **fields: Any) -> str:
    """The calibration of this body, and a certificate that leaves all to the policies' thresholds; returns its id."""
    stored = calibrations.activate(connection, calibrations.store(connection, body).id, "test")
    certify(connection, stored.id, stored.model, **fields)
    return stored.id
