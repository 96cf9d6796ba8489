"""The program `countersign-verify`: exits with 0 when all is as it was, 1 when not, 2 when it cannot read."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from verifier import outside
from verifier.checkpoints import read_key
from verifier.export import LONGEST_LINE, verify_export
from verifier.findings import Altered, CannotRead
from verifier.growth import verify_growth
from verifier.kept import compared
from verifier.log import verify
from verifier.postgres_log import PostgresLog
from verifier.proof import verify_proof
from verifier.sql_log import SqlLog
from verifier.sqlite_log import SqliteLog
from verifier.told import Teller

_LONGEST_PROOF = 64 * 1024 * 1024  # bytes
INTACT, ALTERED, UNREADABLE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
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
    log = _opened(asked.database)
    try:
        found = verify(log, key, kept.notes() if kept is not None else None, teller.progress, asked.sampled)
    finally:
        log.close()
    teller.intact(found, time.monotonic() - started)


def _opened(database: str) -> SqlLog:
    scheme, separator, rest = database.partition("://")
    if not separator:
        return SqliteLog(Path(database))
    if scheme == "sqlite":
        return SqliteLog(Path(rest.removeprefix("/")))
    if scheme.partition("+")[0] in ("postgresql", "postgres"):
        return PostgresLog(f"postgresql://{rest}")
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
            proof = json.loads(file.read(_LONGEST_PROOF))
    except OSError as error:
        raise CannotRead(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise CannotRead(f"{path} is not JSON; a proof that was cut off ends like this.") from error
    if not isinstance(proof, dict):
        raise CannotRead(f"{path} is not a proof: it is not a JSON object.")
    return proof


def _export(asked: argparse.Namespace, teller: Teller) -> None:
    try:
        with asked.file.open("rb") as file:
            teller.exported(verify_export(iter(lambda: file.readline(LONGEST_LINE), b"")))
    except OSError as error:
        raise CannotRead(f"{asked.file} cannot be read: {error.strerror}.") from error


if __name__ == "__main__":
    sys.exit(main())
