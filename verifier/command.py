"""The program `countersign-verify`: exits with 0 when all is as it was, 1 when not, 2 when it cannot read."""

from __future__ import annotations

import argparse
import io
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from verifier import outside
from verifier.checkpoints import read_key
from verifier.export import LONGEST_LINE, verify_export
from verifier.findings import Altered, CannotRead, listed
from verifier.growth import verify_growth
from verifier.kept import compared
from verifier.log import Intact, verify
from verifier.postgres_log import PUBLIC, PostgresLog
from verifier.proof import verify_proof
from verifier.sql_log import SqlLog
from verifier.sqlite_log import SqliteLog
from verifier.strict_json import read_object
from verifier.told import Teller

_LONGEST_PROOF = 64 * 1024 * 1024  # bytes
INTACT, ALTERED, UNREADABLE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that this terminal cannot show ends nothing
    teller = Teller(asked.json)
    try:
        asked.run(asked, teller)
    except Altered as found:
        teller.altered(found)
        return ALTERED
    except CannotRead as error:
        teller.unreadable(error)
        return UNREADABLE
    except BrokenPipeError:  # who read the output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREADABLE
    except KeyboardInterrupt:
        return 130
    return INTACT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="countersign-verify",
        description="Verifies Countersign's audit log without any of Countersign's code.",
        epilog="Exit status: 0 intact, 1 altered (the first bad event is named), 2 cannot be read.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    log = commands.add_parser("log", help="verify a whole log in its database")
    log.add_argument("database", metavar="DATABASE", help="postgresql://…, sqlite:///FILE, or a SQLite file")
    sampled = "that file holds only some of the checkpoints, as fetched now and then"
    log.add_argument("--sampled", action="store_true", help=sampled)
    log.add_argument("--schema", help=f"the PostgreSQL schema of the log's tables, {PUBLIC} unless given")
    log.set_defaults(run=_log)
    proof = commands.add_parser("proof", help="verify the answer of GET /v1/audit/events/{id}/proof")
    proof.add_argument("file", type=Path, metavar="FILE.json")
    proof.set_defaults(run=_proof)
    growth = commands.add_parser("consistency", help="verify the answer of GET /v1/audit/consistency")
    growth.add_argument("file", type=Path, metavar="FILE.json")
    growth.set_defaults(run=_growth)
    export = commands.add_parser("export", help="verify an export in JSON lines")
    export.add_argument("file", type=Path, metavar="FILE.jsonl")
    export.set_defaults(run=_export)
    for command in (log, proof, growth):
        command.add_argument("--key", type=Path, required=True, metavar="verify.pub", help="the log's public key")
        command.add_argument("--checkpoints", type=Path, metavar="checkpoints.jsonl", help="those kept outside")
    for command in (log, proof, growth, export):
        command.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _log(asked: argparse.Namespace, teller: Teller) -> None:
    started = time.monotonic()
    key = read_key(asked.key)
    # Looked at before the snapshot: a checkpoint is first committed, then written outside.
    kept = outside.look(asked.checkpoints) if asked.checkpoints is not None else None
    log = _opened(asked.database, asked.schema)
    teller.schema = log.schema
    try:
        found = verify(log, key, kept.notes() if kept is not None else None, teller.progress, asked.sampled)
    finally:
        log.close()
    teller.intact(_the_only_one(found, log, asked.schema), time.monotonic() - started)


def _the_only_one(found: Intact, log: SqlLog, named: str | None) -> Intact:
    """With tables of the same names in another schema, a setting decides which ones the product reads; who names one
    knows. Raises CannotRead."""
    if not log.elsewhere:
        return found
    also = f"tables of the same names stand in the database elsewhere as well: {listed(log.elsewhere)}"
    if named is None:
        raise CannotRead(
            f"The log in the schema {log.schema} is in order, but {also}. Find out whose they are, and which ones the "
            "product reads; --schema NAME verifies the ones in that schema."
        )
    return replace(found, warnings=(*found.warnings, f"Not read here: {also}. A setting can make programs read those."))


def _opened(database: str, schema: str | None) -> SqlLog:
    scheme, separator, rest = database.partition("://")
    if separator and scheme.partition("+")[0] in ("postgresql", "postgres"):
        return PostgresLog(f"postgresql://{rest}", PUBLIC if schema is None else schema)
    if schema is not None:
        raise CannotRead("Only a log in PostgreSQL has a schema: leave --schema out.")
    if not separator:
        return SqliteLog(Path(database))
    if scheme == "sqlite":
        return SqliteLog(Path(rest.removeprefix("/")))
    raise CannotRead(f"A database {scheme}://… is unknown here: give postgresql://…, sqlite:///FILE, or a file.")


def _proof(asked: argparse.Namespace, teller: Teller) -> None:
    key = read_key(asked.key)
    proof = _json_of(asked.file)
    found = verify_proof(proof, key)
    teller.proven(found, compared(found.checkpoint, asked.checkpoints, key))


def _growth(asked: argparse.Namespace, teller: Teller) -> None:
    key = read_key(asked.key)
    found = verify_growth(_json_of(asked.file), key)
    both = [compared(checkpoint, asked.checkpoints, key) for checkpoint in (found.first, found.second)]
    teller.grown(found, "; ".join(dict.fromkeys(both)))


def _json_of(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return read_object(file.read(_LONGEST_PROOF), str(path), "a proof")
    except OSError as error:
        raise CannotRead(f"{path} cannot be read: {error.strerror}.") from error


def _export(asked: argparse.Namespace, teller: Teller) -> None:
    try:
        with asked.file.open("rb") as file:
            teller.exported(verify_export(iter(lambda: file.readline(LONGEST_LINE), b"")))
    except OSError as error:
        raise CannotRead(f"{asked.file} cannot be read: {error.strerror}.") from error


if __name__ == "__main__":
    sys.exit(main())
