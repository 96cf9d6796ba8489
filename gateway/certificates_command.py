"""Certificates from the command line: `countersign certificates …`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import Connection

from gateway import certifying
from gateway.operations import ACTOR, Refused, opened
from gateway.settings import Settings
from serving.confidence.certificate import Certificate, InvalidCertificate, certificate_from_json
from storage import certificates as stored_certificates
from storage.certified import StoredCertificate
from storage.errors import NotFound

certificates = typer.Typer(no_args_is_help=True, help="What bounds the share of wrong answers among those released.")
Activate = Annotated[bool, typer.Option("--activate", help="Release by it from now on.")]
Model = Annotated[str | None, typer.Option(help="Needed where several models have a calibration.")]


@certificates.command("make")
def make(
    model: Model = None,
    alpha: Annotated[float, typer.Option(help="The greatest share of wrong answers released.")] = certifying.ALPHA,
    delta: Annotated[float, typer.Option(help="The probability that the bound is wrong.")] = certifying.DELTA,
    activate: Activate = False,
) -> None:
    """Certify the model's active calibration from reviewed answers, and print what is certified."""
    with _writing() as connection:
        made, labels = certifying.make(connection, model, alpha, delta)
    typer.echo(f"{made.id}\tof {labels} reviewed answers")
    _show(made)
    if activate:  # what was stored stays, also when it cannot be activated
        with _writing() as connection:
            certifying.activate(connection, made)


@certificates.command("import")
def import_certificate(
    file: Path,
    activate: Activate = False,
    if_none: Annotated[bool, typer.Option("--activate-if-none", help="Use it if its model never had one.")] = False,
) -> None:
    """Store a certificate and print its id."""
    with _writing() as connection:
        found = certifying.bring_in(connection, file)
        had = [each for each in stored_certificates.list_all(connection, found.model) if each.id != found.id]
        if activate or (if_none and not had):
            certifying.activate(connection, found)
    typer.echo(found.id)


@certificates.command("list")
def list_certificates(model: Model = None) -> None:
    """One line a certificate, newest first: id, state, model, calibration, alpha, delta, domains, when it was made."""
    with opened(Settings()) as found, found.read() as connection:
        for stored in stored_certificates.list_all(connection, model):
            typer.echo(_line(stored))


@certificates.command("show")
def show(certificate_id: str) -> None:
    """One certificate: its line, and one for each domain."""
    with opened(Settings()) as found, found.read() as connection:
        stored = _found(connection, certificate_id)
    typer.echo(_line(stored))
    _show(_read(stored))


@certificates.command("activate")
def activate_certificate(certificate_id: str) -> None:
    """Release by a stored one from the next question on."""
    with _writing() as connection:
        certifying.activate(connection, _read(_found(connection, certificate_id)))


@certificates.command("suspend")
def suspend(certificate_id: str, why: Annotated[str, typer.Option(help="For the audit log; names no person.")]) -> None:
    """Hold every answer of its model from the next question on, until another certificate is activated."""
    if not why.strip():
        raise Refused("--why: say in a few words why everything of this model is to be held.")
    with _writing() as connection:
        done = stored_certificates.suspend(connection, certificate_id, ACTOR, {"why": why})
    if not done:
        raise Refused(f"{certificate_id} is not in force, so there is nothing to suspend.")


@contextmanager
def _writing() -> Iterator[Connection]:
    with opened(Settings()) as found, found.transaction() as connection:
        yield connection


def _found(connection: Connection, certificate_id: str) -> StoredCertificate:
    stored = stored_certificates.get(connection, certificate_id)
    if stored is None:
        raise NotFound("certificate", certificate_id)
    return stored


def _read(stored: StoredCertificate) -> Certificate:
    try:
        return certificate_from_json(stored.body)
    except InvalidCertificate as error:
        raise Refused(f"{stored.id} cannot be read, so nothing is released by it: {error}.") from None


def _line(stored: StoredCertificate) -> str:
    try:
        found = _read(stored)
    except Refused:
        return "\t".join((stored.id, stored.state.value, stored.model, stored.calibration_id, "cannot be read"))
    bounds = found.bounds.values()
    domains = f"{sum(bound.threshold is not None for bound in bounds)} of {len(bounds)} domains"
    made = f"{datetime.fromtimestamp(found.made_at, UTC):%Y-%m-%d}"
    rules = f"alpha {found.alpha:g}", f"delta {found.delta:g}"
    return "\t".join((stored.id, stored.state.value, stored.model, stored.calibration_id, *rules, domains, made))


def _show(certificate: Certificate) -> None:
    for domain, bound in certificate.bounds.items():
        told = "nothing is certified" if bound.threshold is None else f"from {bound.threshold:g}"
        counts = f"{bound.labels} labels", f"coverage {bound.coverage:.3f}", f"{bound.errors} of {bound.released} wrong"
        typer.echo("\t".join((domain or "(no domain)", told, *counts)))
