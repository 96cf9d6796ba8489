"""The command line: `countersign …`."""

from __future__ import annotations

import sys
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError

from gateway import audit_command, calibrations_command, certificates_command, keys_command, operations
from gateway.settings import Settings
from storage.errors import StorageError

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Countersign: an LLM gateway with a review desk.")
app.add_typer(keys_command.keys, name="keys")
app.add_typer(keys_command.policies, name="policies")
app.add_typer(calibrations_command.calibrations, name="calibrations")
app.add_typer(certificates_command.certificates, name="certificates")
app.add_typer(audit_command.app, name="audit")

Tenant = Annotated[str, typer.Option(help="The tenant the key belongs to.")]


@app.command()
def migrate(
    vouch_for_waiting: Annotated[
        bool,
        typer.Option(
            "--vouch-for-waiting",
            help="Once, upgrading from a version whose events wait unsealed: take them as they are.",
        ),
    ] = False,
) -> None:
    """Bring the database's tables to the newest version. Stop every other process of the old version first."""
    operations.migrate(Settings(), vouch_for_waiting=vouch_for_waiting)


@app.command()
def gateway() -> None:
    """Run the gateway until it is stopped."""
    from gateway.server import serve  # uvicorn is loaded only here

    serve(Settings())


@app.command()
def worker(
    check: Annotated[bool, typer.Option("--check", help="Only say whether database and queue can be reached.")] = False,
) -> None:
    """Run the worker alone, beside gateways with COUNTERSIGN_WORKER=off."""
    from gateway.server import work

    if check:
        operations.check_reachable(Settings(), seals=True)
    else:
        work(Settings())


@app.command("signin-link")
def signin_link(
    name: str,
    tenant: Tenant = "default",
    minutes: Annotated[float, typer.Option(min=1, help="How long the link may be used.")] = 60,
    dashboard: Annotated[
        str | None, typer.Option(help="The dashboard's address, where it is not this machine.")
    ] = None,
    dashboard_port: Annotated[
        int, typer.Option(envvar="COUNTERSIGN_DASHBOARD_PORT", min=1, max=65535, help="Its port on this machine.")
    ] = 8501,
) -> None:
    """Print a one-use sign-in link for the reviewer NAME, whose key is made when there is none."""
    address = dashboard or f"http://127.0.0.1:{dashboard_port}"
    typer.echo(operations.signin_link(Settings(), tenant, name, minutes * 60, address))


def main() -> None:
    """Failures that an operator can mend are one sentence on standard error and exit code 1."""
    try:
        app()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        fail(f"{operations.variable_of(first['loc'])}: {first['msg']}.")
    except (StorageError, operations.Refused) as error:
        fail(str(error))


def fail(sentence: str) -> NoReturn:
    print(f"countersign: {sentence}", file=sys.stderr)
    raise SystemExit(1) from None


if __name__ == "__main__":
    main()
