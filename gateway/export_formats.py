"""Knows how exported audit events are written: as JSON lines, as CSV that no spreadsheet runs, or as Parquet."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from storage.audit_export import COLUMNS, Row

# What makes a spreadsheet run a cell (OWASP, "CSV injection"), at its beginning and after what might begin another
# cell where separators differ: a sign that begins a formula, or looks like one and may be folded into it (full width,
# small, superscript, other dashes), also behind what a spreadsheet trims. Numbers are no formulas and stay numbers.
_NUMBER = r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?=$|[\s,;\]\}\"'|])"
_BLANK = (
    r"[\s\x00-\x20\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3164\ufe00-\ufe0f"
    r"\ufeff]"
)
_SIGN = r"[=\u207c\u208c\ufe66\uff1d@\ufe6b\uff20]"
_PLUS = r"[+\u207a\u208a\u2795\ufb29\ufe62\uff0b\-\u2010-\u2015\u207b\u208b\u2212\u2796\ufe58\ufe63\uff0d]"
_BEGINS = rf"(?:{_SIGN}|{_PLUS}(?!{_NUMBER}))"
# unbounded only where it is looked for once: what comes after each separator would be looked at for each of them
_FORMULA = re.compile(rf"^(?={_BLANK}*{_BEGINS}|[\t\r\n])|[,;|\t\r\n\"'](?={_BLANK}{{0,32}}{_BEGINS}|[\t\r\n])")


class Writing(Protocol):
    """One export under way; what each call returns follows what the call before returned."""

    def rows(self, rows: Sequence[Row]) -> bytes: ...

    def end(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Format:
    """`begin` starts an export."""

    name: str
    media_type: str
    page: int  # events read, and held in memory, at once
    begin: Callable[[], Writing]


class JsonLines:
    """A line an event, each stored column as it is: what `countersign-verify export` recomputes the hashes of."""

    def rows(self, rows: Sequence[Row]) -> bytes:
        return b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)

    def end(self) -> bytes:
        return b""


class Csv:
    """RFC 4180 in UTF-8: a header, texts in quotes, numbers bare."""

    def __init__(self) -> None:
        self._header: Sequence[str] = COLUMNS

    def rows(self, rows: Sequence[Row]) -> bytes:
        text = io.StringIO()
        writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n")
        if self._header:
            writer.writerow(self._header)
            self._header = ()
        for row in rows:
            writer.writerow([harmless(row[name]) for name in COLUMNS])
        return text.getvalue().encode("utf-8")

    def end(self) -> bytes:
        return self.rows(())  # an export of nothing still has its header


def harmless(value: Any) -> Any:
    """A cell that a spreadsheet shows and does not run: an apostrophe goes before what might be a formula."""
    return _FORMULA.sub(r"\g<0>'", value) if isinstance(value, str) else value


def _parquet() -> Writing:
    from gateway.parquet_format import Parquet  # pyarrow takes time and memory that few exports need

    return Parquet()


FORMATS = {
    "jsonl": Format("jsonl", "application/x-ndjson", 1_000, JsonLines),
    "csv": Format("csv", "text/csv; charset=utf-8", 1_000, Csv),
    "parquet": Format("parquet", "application/vnd.apache.parquet", 5_000, _parquet),
}
