"""Says from the command line whether stored decisions and verdicts are those that were written here."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from gateway import operations
from gateway.settings import Settings
from storage import earlier_records, rights_told, vouched_records
from storage.checkpoint_file import CheckpointFile
from storage.database import Database

NAMED = 20  # interactions, or keys, policies and certificates, that a command lists


def vouched(as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False) -> None:
    """Check every stored decision and verdict of all tenants, and that what the log says ended or was deleted still is;
    keys, policies and certificates too.

    Exit status 1 when something is not as it was written, or not as the log tells.
    """
    with operations.opened(Settings()) as found:
        checked, rights = vouched_records.check(found), rights_told.otherwise(found)
    if as_json:
        typer.echo(json.dumps({**{name: getattr(checked, name) for name in checked.__slots__}, "rights": rights}))
    else:
        typer.echo(
            f"{checked.decisions} decisions and {checked.verdicts} verdicts are as they were written; "
            f"{checked.deleted} interactions were deleted."
        )
    if checked.bad:
        typer.echo(
            f"{checked.bad} interactions are not as they were written, or not as the audit log tells. "
            f"The first: {checked.first_bad}: {checked.why}.",
            err=True,
        )
    for sentence in rights[:NAMED]:
        typer.echo(f"{sentence[0].upper()}{sentence[1:]}.", err=True)
    if checked.bad or rights:
        raise typer.Exit(1)


def vouch(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether you are sure.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Although it was done: only after you took the tables back by a downgrade.")
    ] = False,
) -> None:
    """Once, after the upgrade: vouch for the records of before, where the audit log tells the same of them.

    Stop the gateways and workers, and run `countersign-verify log` first: an altered log vouches for anything.
    """
    if not yes:
        typer.confirm("Vouch for all decisions and verdicts of before that agree with the audit log?", abort=True)
    settings = Settings()
    with operations.opened(settings) as found:
        _require_as_told_outside(settings, found)
        signer = operations.signer_of(settings)
        done, left = earlier_records.vouch_for_earlier(found, operations.ACTOR, signer, again=again)
    typer.echo(f"Vouched for {done} interactions.")
    if left:
        listed = ", ".join(left[:NAMED]) + (" …" if len(left) > NAMED else "")
        typer.echo(f"{len(left)} are not as the audit log tells, and stay withheld: {listed}.", err=True)
        raise typer.Exit(1)


def _require_as_told_outside(settings: Settings, database: Database) -> None:
    """That the log was not set back, by the file of checkpoints. Raises CheckpointsContradict, Refused."""
    try:
        CheckpointFile(settings.checkpoints).publish(database)
    except OSError as error:
        told = f"{settings.checkpoints} cannot be read or written: {error.strerror}."
        raise operations.Refused(f"{told} Stop whatever seals the log, and try again.") from None
