"""Keeps the words of earlier questions from the command line, or forgets those of all."""

from __future__ import annotations

import typer

from gateway import operations
from gateway.audit_duties import Yes
from gateway.settings import Settings
from storage import full_text
from storage.schema import check_schema

app = typer.Typer(no_args_is_help=True, help="Which words stand in questions and answers: events are found by them.")


@app.command("build")
def build() -> None:
    """Keep the words of what was asked before COUNTERSIGN_FULL_TEXT was on, of all tenants; can be run again."""
    if not Settings().full_text:
        raise operations.Refused("Set COUNTERSIGN_FULL_TEXT=on first, here and for the gateways: nothing was kept.")
    done, after = 0, ""
    with operations.opened(Settings()) as found:
        while True:
            with found.transaction() as connection:
                check_schema(connection)
                some, last = full_text.build(connection, after)
            done += some
            if last is None:
                break
            after = last
    typer.echo(f"The words of {done} more questions are kept.")


@app.command("forget")
def forget(yes: Yes = False) -> None:
    """Forget all words, of all tenants; with COUNTERSIGN_FULL_TEXT off no new ones are kept."""
    if not yes:
        typer.confirm("Forget the words of all questions? They can be built again.", abort=True)
    done, more = 0, True
    with operations.opened(Settings()) as found:
        while more:
            with found.transaction() as connection:
                check_schema(connection)
                some = full_text.forget_some(connection)
            done, more = done + some, some > 0
    typer.echo(f"The words of {done} questions were forgotten.")
