"""Puts altered logs into real databases, SQLite files and PostgreSQL, and has `countersign-verify` judge them."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.forgeries import COLUMNS_OF, Tampering
from benchmarks.tampered_log import RealLog
from verifier.command import ALTERED
from verifier.reading import Tables

_UNREAD = {"audit_unsealed": {"vouched": ""}}  # what no verifier reads, and the server wants
_LIMIT_SECONDS = 60.0


class AlteredDatabase(ABC):
    """A database that holds an altered log for as long as the program looks at it."""

    def __init__(self, log: RealLog, folder: Path) -> None:
        self.log = log
        self.key = folder / "verify.pub"
        self.key.write_text(log.vkey + "\n")
        self.checkpoints = folder / "altered.jsonl"

    @abstractmethod
    def put(self, tables: Tables) -> str | None:
        """Where the program finds the altered log; None where this database refuses such rows."""

    def judged(self, tampering: Tampering) -> tuple[int, dict[str, Any]] | None:
        """Exit status and what the program printed; None where the database refuses such rows."""
        where = self.put(tampering.tables)
        if where is None:
            return None
        lines = [json.dumps({"size": size, "note": note}) + "\n" for size, note in tampering.outside]
        self.checkpoints.write_text("".join(lines))
        files = ["--key", str(self.key), "--checkpoints", str(self.checkpoints)]
        command = [sys.executable, "-m", "verifier", "log", where, *files, "--json"]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_SECONDS, check=False)  # noqa: S603
        return ended.returncode, json.loads(ended.stdout) if ended.returncode == ALTERED else {}

    def _changed(self, tables: Tables) -> list[str]:
        return [table for table in COLUMNS_OF if getattr(tables, table) is not getattr(self.log.tables, table)]


class AlteredFile(AlteredDatabase):
    """A copy of the product's file, in which the altered tables stand without the constraints they once had."""

    def __init__(self, log: RealLog, folder: Path, file: Path) -> None:
        super().__init__(log, folder)
        self._honest = file
        self._file = folder / "altered.db"

    def put(self, tables: Tables) -> str:
        shutil.copyfile(self._honest, self._file)
        with closing(sqlite3.connect(self._file)) as conn:
            for table in self._changed(tables):
                columns = COLUMNS_OF[table]
                conn.execute(f"DROP TABLE {table}")
                conn.execute(f"CREATE TABLE {table} ({', '.join(columns)})")
                rows = getattr(tables, table)
                for row in rows:
                    marks = ["CAST(? AS TEXT)" if isinstance(value, str) else "?" for value in row]
                    values = [_raw(value) for value in row]
                    conn.execute(f"INSERT INTO {table} VALUES ({', '.join(marks)})", values)  # noqa: S608  # our names
            conn.commit()
        return str(self._file)


class AlteredServer(AlteredDatabase):
    """The product's own database on PostgreSQL; every alteration is taken back before the next."""

    def __init__(self, log: RealLog, folder: Path, url: str) -> None:
        super().__init__(log, folder)
        self._url = url
        self._altered: list[str] = []

    def put(self, tables: Tables) -> str | None:
        with psycopg.connect(self._url) as conn:
            for table in self._altered:
                self._replace(conn, table, getattr(self.log.tables, table))
            self._altered = []
        try:
            with psycopg.connect(self._url) as conn:
                for table in self._changed(tables):
                    self._replace(conn, table, getattr(tables, table))
        except (psycopg.Error, UnicodeError):
            return None
        self._altered = self._changed(tables)
        return self._url if self._differs() else None

    def _differs(self) -> bool:
        """Not where the server has made the same value of another type."""
        with psycopg.connect(self._url) as conn:
            for table in self._altered:
                columns = ", ".join(COLUMNS_OF[table])
                rows = conn.execute(f"SELECT {columns} FROM {table}").fetchall()  # noqa: S608  # of COLUMNS_OF
                if Counter(rows) != Counter(getattr(self.log.tables, table)):
                    return True
        return not self._altered

    @staticmethod
    def _replace(conn: psycopg.Connection[Any], table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        unread = _UNREAD.get(table, {})
        columns = (*COLUMNS_OF[table], *unread)
        marks = ", ".join(["%s"] * len(columns))
        conn.execute(f"DELETE FROM {table}")  # noqa: S608  # one of COLUMNS_OF
        insert = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608
        conn.cursor().executemany(insert, [(*row, *unread.values()) for row in rows])


def _raw(value: Any) -> Any:
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
