"""What the law asks of a log, from the command line: erase a person, keep under a legal hold, purge what is old."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated

import typer
from sqlalchemy import Connection

from gateway import operations
from gateway.settings import Settings
from storage import erasure, legal_holds, retention, tenancy
from storage.legal_holds import LegalHold, Scope
from storage.schema import check_schema

hold = typer.Typer(no_args_is_help=True, help="Legal holds: nothing under one is erased, deleted or purged.")
Tenant = Annotated[str, typer.Option(help="Whose.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask whether you are sure.")]


@contextmanager
def writing(tenant: str) -> Iterator[Connection]:
    """One transaction, in which there are no other tenant's rows."""
    with operations.opened(Settings()) as found, found.transaction() as connection:
        check_schema(connection)
        tenancy.act_for(connection, tenant)
        yield connection


def erase(subject: str, tenant: Tenant = "default", yes: Yes = False) -> None:
    """Destroy what is known of SUBJECT: an end user as requests named them, `key:KEY_ID`, or a subject's id."""
    if not yes:
        typer.confirm(f"Destroy for good what is known of '{subject}' in the tenant '{tenant}'?", abort=True)
    with writing(tenant) as connection:
        done = erasure.erase_subject(connection, tenant, subject, operations.ACTOR)
    typer.echo(
        f"Erased {done.subject}: {done.events} events lost their private facts, {done.interactions} interactions "
        "their content; the log still verifies."
    )


def purge(
    older_than_days: Annotated[
        float | None, typer.Option(help=f"At least {retention.FLOOR_DAYS:g}; without it COUNTERSIGN_RETENTION_DAYS.")
    ] = None,
    yes: Yes = False,
) -> None:
    """Remove the events and contents of all tenants that are older, up to the first under a legal hold."""
    days = Settings().retention_days if older_than_days is None else older_than_days
    if days is None:
        raise operations.Refused("How old? Give --older-than-days, or set COUNTERSIGN_RETENTION_DAYS.")
    if not yes:
        typer.confirm(f"Remove for good what is older than {days:g} days, of all tenants?", abort=True)
    with operations.opened(Settings()) as found:
        with found.read() as connection:
            check_schema(connection)
        done = retention.purge(found, days, operations.ACTOR)
    stopped = " A legal hold keeps what follows." if done.held else ""
    typer.echo(f"Purged {done.events} events and the content of {done.interactions} interactions.{stopped}")


@hold.command("place")
def place(
    reason: Annotated[str, typer.Option(help="Why, for whoever may lift it.")],
    scope: Annotated[Scope, typer.Option(help="What it keeps.")] = Scope.TENANT,
    target: Annotated[str | None, typer.Option(help="The subject, or the interaction's id.")] = None,
    tenant: Tenant = "default",
) -> None:
    """Keep a tenant, a person or an interaction until the hold is lifted."""
    with writing(tenant) as connection:
        placed = legal_holds.place(connection, tenant, scope, target, reason, operations.ACTOR)
    typer.echo(f"Placed {placed.id}: it keeps the {placed.scope.value} {placed.target}.")


@hold.command("lift")
def lift(hold_id: str, tenant: Tenant = "default") -> None:
    """End a hold; what it kept may be erased and purged again."""
    with writing(tenant) as connection:
        lifted = legal_holds.lift(connection, tenant, hold_id, operations.ACTOR)
    typer.echo(f"Lifted {lifted.id}, which kept the {lifted.scope.value} {lifted.target}.")


@hold.command("list")
def list_holds(
    tenant: Tenant = "default",
    lifted: Annotated[bool, typer.Option("--lifted", help="Also those that stand no more.")] = False,
) -> None:
    """One line a hold: id, what it keeps, since when, by whom, why, and until when."""
    with operations.opened(Settings()) as found, found.read() as connection:
        check_schema(connection)
        tenancy.act_for(connection, tenant)
        holds = legal_holds.list_holds(connection, tenant, lifted=lifted)
    for each in holds:
        typer.echo(line_of(each))
    if not holds:
        typer.echo("No legal hold stands.")


def line_of(each: LegalHold) -> str:
    until = "stands" if each.lifted_at is None else f"lifted {_day(each.lifted_at)} by {each.lifted_by}"
    placed = f"{_day(each.placed_at)} by {each.placed_by}"
    return "\t".join((each.id, each.scope.value, each.target, placed, until, " ".join(each.reason.split())))


def _day(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"
