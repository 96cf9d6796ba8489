"""Puts a verification's end into words for people (calm, in colour on a terminal) and into JSON for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from verifier.export import Exported
from verifier.findings import Altered, CannotRead, listed, moment, printable
from verifier.growth import Grown
from verifier.log import Intact
from verifier.proof import Proven

_GREEN, _RED, _YELLOW, _DIM, _END = "\x1b[1;32m", "\x1b[1;31m", "\x1b[33m", "\x1b[2m", "\x1b[0m"


class Teller:
    """Writes to standard output; progress goes to standard error, and only to a terminal."""

    def __init__(self, as_json: bool) -> None:
        self._json = as_json
        self._colour = sys.stdout.isatty() and not as_json and "NO_COLOR" not in os.environ
        self.schema: str | None = None  # the one that is read, where a database has several
        self._live = sys.stderr.isatty() and not as_json

    def progress(self, leaves: int) -> None:
        if self._live:
            sys.stderr.write(f"\r  {leaves:,} events verified")
            sys.stderr.flush()

    def _clear(self) -> None:
        if self._live:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def intact(self, found: Intact, seconds: float) -> None:
        self._clear()
        if self._json:
            self._print_json(verdict="intact", **self._where(), **asdict(found), seconds=round(seconds, 3))
            return
        print(self._in(_GREEN, "Intact.") + " Every event is as it was sealed, and every checkpoint agrees.\n")
        lines = [
            ("events", f"{found.events:,}"),
            ("erased", self._counted(found.erased, "private facts gone, as the log's erasures say")),
            ("purged", self._counted(found.purged, "removed after their retention, as the log's purges say")),
            ("unsealed", self._counted(found.unsealed, "too new to be in the tree")),
            ("checkpoints", f"{found.checkpoints:,}" + self._aside(_of_outside(found))),
            ("last root", found.root or "none"),
            ("sealed", moment(found.sealed_at) or "never"),
            ("took", f"{seconds:.1f} s"),
            *self._schema_line(),
        ]
        self._table(lines)
        for warning in found.warnings:
            print("\n" + self._in(_YELLOW, "Warning: ") + warning)
        if not found.outside:
            why = "Without checkpoints kept outside the database nobody can tell whether the log's end was cut off."
            print("\n" + self._in(_YELLOW, "Note: ") + why + " Give them with --checkpoints.")

    def proven(self, found: Proven, witnessed: str) -> None:
        if self._json:
            checkpoint = {"size": found.checkpoint.size, "root": found.checkpoint.root.hex()}
            shown = {**asdict(found), "checkpoint": checkpoint}
            self._print_json(verdict="proven", **shown, witnessed=witnessed)
            return
        print(self._in(_GREEN, "Proven.") + " The signed log holds this event.\n")
        lines = [
            ("event", printable(found.event_id)),
            ("kind", printable(found.kind)),
            ("tenant", printable(found.tenant)),
            ("time", moment(found.at)),
            ("leaf", f"{found.leaf_index:,} of {found.checkpoint.size:,}"),
            ("root", found.checkpoint.root.hex()),
            ("sealed", moment(found.checkpoint.sealed_at)),
            ("outside", witnessed),
        ]
        self._table(lines)
        self._beside(found.unproven)

    def grown(self, found: Grown, witnessed: str) -> None:
        if self._json:
            sizes = {"first": found.first.size, "second": found.second.size, "root": found.second.root.hex()}
            self._print_json(verdict="grown", **sizes, unproven=found.unproven, witnessed=witnessed)
            return
        print(self._in(_GREEN, "Grown.") + " The second tree begins with the whole first one.\n")
        lines = [
            ("from", f"{found.first.size:,} events, {moment(found.first.sealed_at)}"),
            ("to", f"{found.second.size:,} events, {moment(found.second.sealed_at)}"),
            ("root", found.second.root.hex()),
            ("outside", witnessed),
        ]
        self._table(lines)
        self._beside(found.unproven)

    def exported(self, found: Exported) -> None:
        if self._json:
            self._print_json(verdict="intact", **asdict(found))
            return
        print(self._in(_GREEN, "Intact.") + " Every line has the hash of its event; none stands twice.\n")
        lines = [
            ("events", f"{found.events:,}"),
            ("unsealed", self._counted(found.unsealed, "too new to be in the tree")),
            ("without facts", self._counted(found.without_facts, "private facts erased, or not exported")),
            ("first line", moment(found.first_at)),
            ("last line", moment(found.last_at)),
        ]
        self._table(lines)
        self._beside(found.unproven)
        print("\n" + self._in(_YELLOW, "Note: ") + "A file cannot show what was left out of it; the log and proofs do.")

    def altered(self, found: Altered) -> None:
        self._clear()
        if self._json:
            self._print_json(verdict="altered", **self._where(), **found.as_json())
            return
        if found.leaf_index is None and found.event_id is None:
            print(self._in(_RED, "Altered.") + f" {found.why}")
        else:
            print(self._in(_RED, "Altered.") + " The first event that is not as it was sealed:\n")
            self._table([*found.named, *self._schema_line(), ("why", found.why)])
        if found.unsettled:
            print("\n" + self._in(_YELLOW, "Note: ") + found.unsettled)

    def unreadable(self, why: CannotRead) -> None:
        self._clear()
        if self._json:
            self._print_json(verdict="unreadable", why=str(why))
        else:
            print(f"countersign-verify: {why}", file=sys.stderr)

    def _where(self) -> dict[str, str]:
        return {} if self.schema is None else {"schema": self.schema}

    def _schema_line(self) -> list[tuple[str, str]]:
        return [(name, printable(value)) for name, value in self._where().items()]

    def _beside(self, names: Sequence[str]) -> None:
        if names:
            why = (
                f"nothing vouches for these members of the file, of which this program knows nothing: {listed(names)}."
            )
            print("\n" + self._in(_YELLOW, "Note: ") + why)

    def _table(self, lines: list[tuple[str, str]]) -> None:
        width = max(len(name) for name, _ in lines)
        for name, value in lines:
            print(f"  {self._in(_DIM, name.ljust(width))}  {value}")

    def _counted(self, number: int, words: str) -> str:
        return f"{number:,}" + (self._aside(words) if number else "")

    def _aside(self, words: str) -> str:
        return "  " + self._in(_DIM, words)

    def _in(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_END}" if self._colour else text

    def _print_json(self, **members: Any) -> None:
        print(json.dumps(members, default=lambda value: str(value) if isinstance(value, Path) else repr(value)))


def _of_outside(found: Intact) -> str:
    if not found.outside:
        return "in the database only"
    if found.lagging:
        return f"the last {found.lagging:,} of them not kept outside yet"
    return "compared with those kept outside"
