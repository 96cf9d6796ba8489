"""Reads stored certificates for decisions; one that cannot be read counts as none."""

from __future__ import annotations

import functools
import json

import structlog

from gateway.policy import Standing
from serving.confidence.certificate import Certificate, InvalidCertificate, certificate_from_json
from storage.certified import StoredCertificate
from storage.storable import to_json

log = structlog.get_logger("certificate")


def standing_of(stored: StoredCertificate) -> Standing | None:
    """None, told as an error, when the body is not a certificate or not the one that its row names."""
    try:
        certificate = _read(to_json("body", stored.body))
    except InvalidCertificate as error:
        log.error("a stored certificate cannot be read: nothing is released by it", id=stored.id, why=str(error))
        return None
    row = (stored.id, stored.model, stored.calibration_id)
    if (certificate.id, certificate.model, certificate.calibration_id) != row:
        log.error("a stored certificate is not the one its row names: nothing is released by it", id=stored.id)
        return None
    return Standing(certificate, stored.state)


@functools.lru_cache(maxsize=16)
def _read(body: str) -> Certificate:
    """Checked once, and not at every question."""
    return certificate_from_json(json.loads(body))
