"""Reads a file of labelled answers, JSONL or CSV, line by line: each as an object of fields with its place."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LONGEST_LINE = 8 * 2**20  # bytes; an answer of 10,000 tokens with their alternatives takes about 4 MiB
SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}


class Refused(ValueError):
    """Labelled answers that cannot be used; one sentence that says where, what and what to do."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: `answers.jsonl, line 7`."""

    file: str
    line: int

    def refuse(self, field: str, why: str) -> Refused:
        told = f"{self}{f', {field}' if field else ''}: {why}"
        return Refused("".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in told))

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}"


def read_records(path: Path) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Every object of a JSONL file, every row of a CSV file (texts by column); empty lines are left out.

    Raises Refused naming the line: for bytes that are no UTF-8, a line longer than LONGEST_LINE, JSON that is no
    object, a CSV row that does not fit its header; and for a path that is no readable file of a known kind.
    """
    if path.is_dir():
        raise Refused(f"{path} is a folder: name the file of labelled answers in it.")
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise Refused(f"{path}: what it holds is told by its name, which must end in {', '.join(SUFFIXES)}.")
    try:
        yield from _json_lines(path) if kind == "jsonl" else _csv_rows(path)
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}.") from None


def _json_lines(path: Path) -> Iterator[tuple[Place, dict[str, Any]]]:
    for place, line in _lines(path):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise place.refuse("", f"is no JSON ({error.msg} at character {error.colno}).") from None
        except (RecursionError, ValueError):
            raise place.refuse("", "is JSON nested too deeply, or holds a number too long to read.") from None
        if not isinstance(record, dict):
            raise place.refuse("", 'must be an object such as {"model": …, "right": true, …}.')
        yield place, record


def _csv_rows(path: Path) -> Iterator[tuple[Place, dict[str, Any]]]:
    rows = csv.reader((line for _, line in _lines(path)), strict=True)
    header: list[str] | None = None
    while True:
        place = Place(path.name, rows.line_num + 1)  # where the row begins; quoted texts may go on for lines
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise place.refuse("", f"is no CSV ({error}); long texts are easier to give as JSONL.") from None
        if row is None:
            return
        if header is None:
            header = _header(place, row)
        elif row:
            if len(row) != len(header):
                raise place.refuse("", f"has {len(row)} fields, and the header names {len(header)}.")
            yield place, dict(zip(header, row, strict=True))


def _header(place: Place, names: list[str]) -> list[str]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise place.refuse(twice[0] or "a column without a name", "stands twice in the header; leave one of them.")
    return names


def _lines(path: Path) -> Iterator[tuple[Place, str]]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LONGEST_LINE + 1):
            number += 1
            place = Place(path.name, number)
            if len(line) > LONGEST_LINE:
                raise place.refuse("", f"is longer than {LONGEST_LINE // 2**20} MiB; one answer stands on each line.")
            try:
                yield place, line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise place.refuse("", f"is no UTF-8 at byte {error.start}; convert the file to UTF-8.") from None
