"""Reads stored certificates for decisions; one that cannot be read stands all the same, and releases nothing."""

from __future__ import annotations

import functools
import json

import structlog

from gateway.policy import Standing
from serving.confidence.certificate import Certificate, InvalidCertificate, certificate_from_json
from storage.certified import StoredCertificate
from storage.storable import to_json

log = structlog.get_logger("certificate")


def standing_of(stored: StoredCertificate) -> Standing:
    """Without a certificate, told as an error, when the body is none or not the one that its row names."""
    try:
        return Standing(read(stored), stored.state)
    except InvalidCertificate as error:
        log.error("a stored certificate cannot be read: its model's answers are held", id=stored.id, why=str(error))
        return Standing(None, stored.state)


def read(stored: StoredCertificate) -> Certificate:
    """Raises InvalidCertificate."""
    try:
        certificate = _read(to_json("body", stored.body))
    except (ValueError, RecursionError) as error:
        raise InvalidCertificate(str(error)) from None
    row = (stored.id, stored.model, stored.calibration_id)
    if (certificate.id, certificate.model, certificate.calibration_id) != row:
        raise InvalidCertificate("id: it is not the certificate that its row names")
    return certificate


@functools.lru_cache(maxsize=16)
def _read(body: str) -> Certificate:
    """Checked once, and not at every question."""
    return certificate_from_json(json.loads(body))
