"""The audit log from the command line: `countersign audit …`, straight on the database."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import Connection

from gateway import audit_duties, audit_keys, audit_table, audit_vouching, audit_words, operations
from gateway.access_log import events_data, one_interaction
from gateway.audit import whole
from gateway.audit_options import filtered
from gateway.export_file import write_file
from gateway.export_formats import FORMATS
from gateway.settings import Settings
from storage import audit_log, audit_query, proofs, tenancy
from storage.audit_query import Filters
from storage.records import AuditEvent, PrivateState
from storage.schema import check_schema

app = typer.Typer(no_args_is_help=True, help="The audit log: query, export, checkpoint, erase, hold, purge, vouch.")
app.command("erase")(audit_duties.erase)
app.command("purge")(audit_duties.purge)
app.command("new-keys")(audit_keys.new_keys)
app.command("vouched")(audit_vouching.vouched)
app.command("vouch")(audit_vouching.vouch)
app.add_typer(audit_duties.hold, name="hold")
app.add_typer(audit_words.app, name="words")
Tenant = Annotated[str, typer.Option(help="Whose events.")]


def read(
    tenant: str, find: Callable[[Connection], Sequence[AuditEvent]], most: int, *, by_text: bool = False
) -> tuple[list[AuditEvent], bool]:
    """The first `most` of what `find` finds, with their private facts, which is recorded; and whether it found more.

    `by_text`: words were looked for, which is recorded whatever is found.
    """
    with operations.opened(Settings()) as found:
        with found.read() as connection:
            check_schema(connection)
            tenancy.act_for(connection, tenant)
            matching = find(connection)
            events = whole(connection, matching[:most])
        told = [event for event in events if event.private_state is PrivateState.OPEN]
        if told or by_text:
            with found.transaction() as connection:
                tenancy.act_for(connection, tenant)
                data = {**(events_data(told) if told else {}), **({"text": True} if by_text else {})}
                about = one_interaction(told) if told else None
                audit_log.append(connection, "access.events", operations.ACTOR, tenant, interaction_id=about, data=data)
    return events, len(matching) > most


@app.command("query")
@filtered
def query(
    filters: Filters,
    *,
    tenant: Tenant = "default",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 50,
    after: Annotated[str | None, typer.Option(help="The cursor that the page before ended with.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show the events that fit, newest first."""
    wanted = partial(audit_query.query, tenant=tenant, filters=filters, after=after, limit=limit + 1)
    events, more = read(tenant, wanted, limit, by_text=filters.text is not None)
    page = [dataclasses.asdict(event) for event in events]
    if as_json:
        for event in page:
            typer.echo(json.dumps(event, ensure_ascii=False))
    elif page:
        audit_table.show(page)
    else:
        typer.echo("No event fits.")
    if more:
        typer.echo(f"More follow: --after {audit_query.cursor_of(events[-1])}", err=True)


@app.command("export")
@filtered
def export(
    filters: Filters,
    *,
    output: Annotated[Path, typer.Option(help="The file; it appears only when it is whole.")],
    tenant: Tenant = "default",
    form: Annotated[str, typer.Option("--format", help="jsonl, csv or parquet.")] = "jsonl",
) -> None:
    """Write the events that fit to a file, newest first, and record that they were taken."""
    if form not in FORMATS:
        raise typer.BadParameter(f"'{form}' is not one of {', '.join(FORMATS)}.", param_hint="--format")
    with operations.opened(Settings()) as found:
        events = write_file(found, tenant, filters, FORMATS[form], output)
    typer.echo(f"{events} events were written to {output}.")


@app.command("show")
def show(event_id: str, tenant: Tenant = "default") -> None:
    """Print one event with its private facts, where they were not erased."""
    (event,), _ = read(tenant, lambda conn: [audit_query.get_event(conn, event_id, tenant)], 1)
    typer.echo(json.dumps(dataclasses.asdict(event), indent=2, sort_keys=True))


@app.command("checkpoint")
def checkpoint() -> None:
    """Print the log's last signed checkpoint."""
    with operations.opened(Settings()) as found, found.read() as connection:
        check_schema(connection)
        last = proofs.latest_note(connection)
    if last is None:
        raise operations.Refused("Nothing is sealed yet: the worker seals what is recorded within a second.")
    typer.echo(last[1], nl=False)
