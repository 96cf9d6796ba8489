"""The audit log at size: how fast it grows and is sealed, how fast pages are found, how fast all of it is verified."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import audit_made, audit_pages, audit_released, audit_tampering, audit_verified
from benchmarks.audit_verified import NotIntact
from benchmarks.machine import machine
from benchmarks.own_servers import NotThere, own_postgres
from storage.checkpoint_file import CheckpointFile
from storage.checkpoints import Signer, new_signing_key
from storage.database import Database, migrate, open_database
from storage.vault import new_master_key, vault_from

DATABASES = ("sqlite", "postgresql")
_SETTINGS = {
    "sqlite": ("journal_mode", "synchronous", "cache_size", "page_size"),
    "postgresql": ("server_version", "shared_buffers", "work_mem", "max_wal_size", "fsync", "synchronous_commit"),
}
_SAY_EVERY = 5.0  # seconds


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when measured, 1 when a tampering went undetected or misnamed, 2 when something that is needed is not there."""
    options = _options(arguments)
    try:
        measured = measure(options)
    except (NotThere, NotIntact) as error:
        print(f"audit: {error}", file=sys.stderr)
        return 2 if isinstance(error, NotThere) else 1
    except KeyboardInterrupt:
        return 130
    print(json.dumps(measured, indent=None if options.json else 2))
    return 0 if audit_tampering.all_named(measured) else 1


def measure(options: argparse.Namespace) -> dict[str, Any]:
    begun, busy, found = time.monotonic(), machine(), {}
    names = DATABASES if options.database == "both" else (options.database,)
    for name in names:
        with _folder(options.scratch) as folder, _database(name, folder, options.postgres) as url:
            found[name] = _on(name, url, folder, options)
    return {
        "events": options.events,
        **by_figure(found),
        **_tamperings(options),
        "page_events": audit_pages.LIMIT,
        "seed": options.seed,
        "load": os.getloadavg()[0],
        "machine": busy,
        "seconds": round(time.monotonic() - begun, 1),
    }


def by_figure(found: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """{database: {figure: value}} turned into {figure: {database: value}}."""
    figures = next(iter(found.values()))
    return {figure: {name: measured[figure] for name, measured in found.items()} for figure in figures}


def _on(name: str, url: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    migrate(url)
    signer, outside = Signer(new_signing_key()), CheckpointFile(folder / "checkpoints.jsonl")
    key = folder / "verify.pub"
    key.write_text(signer.public + "\n", encoding="utf-8")
    database = open_database(url, vault_from(new_master_key()))
    say = Teller(name)
    try:
        begun = time.monotonic()
        audit_made.make(database, signer, outside, options.events, options.seed, say.progress)
        made = time.monotonic() - begun
        _settle(database)
        pages = audit_pages.page_p99_ms(database, options.seed)
        say.line(f"pages: p99 at most {max(pages.values())} ms")
        verified = audit_verified.verify(url, key, outside.path)
        say.line(f"verified {verified.events} events in {verified.seconds:.1f} s and {verified.peak_mb} MB")
        released = audit_released.measure(database, signer, outside, options.seconds, options.seed)
        say.line(f"released: {released}")
        settings = _settings(database)
    finally:
        database.close()
    audit_verified.verify(url, key, outside.path)  # what was recorded and sealed beside each other, too
    return {
        **{figure: released[figure] for figure in ("append_per_s", "seal_lag_p99_ms", "commit_p99_ms")},
        "page_p99_ms": pages,
        "page_p99_ms_worst": max(pages.values()),
        "verify_s": round(verified.seconds, 2),
        "verify_s_per_million": round(verified.seconds / verified.events * 1e6, 2),
        "verify_peak_mb": verified.peak_mb,
        "verified_events": verified.events,
        "made_per_s": round(options.events / made, 1),
        "settings": settings,
    }


class Teller:
    """Says on stderr how far one database is, now and then."""

    def __init__(self, name: str) -> None:
        self._name, self._console, self._last = name, Console(stderr=True), 0.0
        self._begun = time.monotonic()

    def progress(self, doing: str, events: int) -> None:
        if time.monotonic() > self._last + _SAY_EVERY:
            self._last = time.monotonic()
            self.line(f"{doing}: {events:,} events")

    def line(self, text: str) -> None:
        self._console.print(f"[bold]{self._name}[/] {time.monotonic() - self._begun:7.1f} s  {text}", highlight=False)


def _settle(database: Database) -> None:
    """What a server that was filled over months has long done by itself."""
    if database.dialect != "postgresql":
        return
    with database.transaction() as conn:
        conn.exec_driver_sql("SET LOCAL statement_timeout = 0")
        conn.exec_driver_sql("ANALYZE")


def _settings(database: Database) -> dict[str, str]:
    ask = "PRAGMA " if database.dialect == "sqlite" else "SHOW "
    with database.read() as conn:
        return {name: str(conn.exec_driver_sql(ask + name).scalar_one()) for name in _SETTINGS[database.dialect]}


def _tamperings(options: argparse.Namespace) -> dict[str, Any]:
    """Where they are left out there were none."""
    if options.skip_tamperings:
        return {"tamperings": 0, "detected": 0, "misnamed": 0}
    with _folder(options.scratch) as folder:
        found = audit_tampering.run(folder, options.seed)
    return {name: found[name] for name in ("tamperings", "detected", "misnamed")} | {"tampered": found["parts"]}


@contextmanager
def _folder(scratch: Path | None) -> Iterator[Path]:
    """A short path: a unix socket's address bears at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="cs-", dir=scratch) as folder:
        path = Path(folder)
        path.chmod(0o755)  # PostgreSQL may run as another user
        yield path


@contextmanager
def _database(name: str, folder: Path, postgres: str | None) -> Iterator[str]:
    if name == "sqlite":
        yield f"sqlite:///{folder / 'countersign.db'}"
    elif postgres:
        yield postgres
    else:
        with own_postgres(folder) as url:
            yield url


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="audit", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="of the log that pages are read from")
    parser.add_argument("--database", choices=(*DATABASES, "both"), default="both")
    parser.add_argument("--postgres", metavar="URL", help="a database without tables; else a server of its own")
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="where the databases are made; a short path")
    parser.add_argument("--seconds", type=float, default=30.0, help="for which answers are recorded")
    parser.add_argument("--skip-tamperings", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="on one line")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
