"""Reads a log from a SQLite file, without being able to write to it."""

from __future__ import annotations

import sqlite3
from os import fsencode
from pathlib import Path
from typing import Any
from urllib.parse import quote

from verifier.findings import Altered, CannotRead
from verifier.reading import TABLES
from verifier.sql_log import SqlLog, obstructed

_CACHE_KIB = 32 * 1024


class SqliteLog(SqlLog):
    """Opened read-only; the first query fixes the snapshot. Raises CannotRead."""

    within = "main."

    def __init__(self, file: Path) -> None:
        self._file = file
        if not file.is_file():
            raise CannotRead(f"There is no file {file}.")
        try:
            self._conn = sqlite3.connect(f"file:{quote(fsencode(file))}?mode=ro", uri=True, isolation_level=None)
            self._conn.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            self._conn.execute("BEGIN")
        except sqlite3.Error as error:
            raise self._cannot(error) from error
        self._only_tables()

    def _only_tables(self) -> None:
        """A view may show this program other rows than everybody else, a trigger keep rows away. Raises Altered."""
        for kind, name, table in self.rows("SELECT type, name, tbl_name FROM sqlite_master"):
            if kind == "view" and name.lower() in TABLES:
                raise Altered(f"{name} is a view, not a table: it can show each reader other events.")
            if kind == "trigger":  # of whatever table: it can reach every other one
                raise obstructed("trigger", name, table)

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        try:
            return self._conn.execute(query, values).fetchall()
        except sqlite3.Error as error:
            if "decode" not in str(error):
                raise self._cannot(error) from error
        # Bytes that are not UTF-8 stay what they are, so that the event that holds them can be named.
        self._conn.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        try:
            return self._conn.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise self._cannot(error) from error
        finally:
            self._conn.text_factory = str

    def scanned(self, table: str) -> str:
        return f"{self.within}{table} NOT INDEXED"  # an index could have been made to leave rows out

    def close(self) -> None:
        self._conn.close()

    def _cannot(self, error: sqlite3.Error) -> CannotRead:
        why = str(error).rstrip(".")
        if "no such table" in why or "no such column" in why:
            return CannotRead(f"{self._file} holds no audit log that this program knows ({why}).")
        if "readonly" in why or "unable to open" in why:
            why += "; copy the file together with its -wal file to a folder that you may write to, and verify the copy"
        return CannotRead(f"{self._file} cannot be read: {why}.")
