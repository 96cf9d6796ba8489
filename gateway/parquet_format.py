"""Writes exported audit events as Parquet, a row group a page, onto something that can only be written on."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage.audit_export import COLUMNS, NUMBERS, Row

_TYPES = {"leaf_index": pa.int64(), **dict.fromkeys(NUMBERS, pa.float64())}
_SCHEMA = pa.schema([pa.field(name, _TYPES.get(name, pa.string())) for name in COLUMNS])


class Parquet:
    """A row group a page; the footer comes last, so a file that broke off cannot be read at all."""

    def __init__(self) -> None:
        self._out = io.BytesIO()
        self._writer = pq.ParquetWriter(pa.PythonFile(_Forward(self._out), mode="w"), _SCHEMA, compression="zstd")

    def rows(self, rows: Sequence[Row]) -> bytes:
        if rows:
            self._writer.write_table(pa.Table.from_pylist(list(rows), schema=_SCHEMA))
        return self._taken()

    def end(self) -> bytes:
        self._writer.close()
        return self._taken()

    def _taken(self) -> bytes:
        taken = self._out.getvalue()
        self._out.seek(0)
        self._out.truncate()
        return taken


class _Forward:
    """A file that is only ever written on, and forgets what was taken from it."""

    closed = False

    def __init__(self, out: io.BytesIO) -> None:
        self._out, self._written = out, 0

    def write(self, data: Any) -> int:
        written = self._out.write(data)
        self._written += written
        return written

    def tell(self) -> int:
        return self._written

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """What was written is still to be taken."""
