"""Says which column of a CSV file holds what, and turns its texts into the fields that a JSONL line would hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.confidence.catalogue import NAMES
from training.labelled_file import Place, Refused

TEXTS = ("model", "domain", "question", "prompt", "answer", "finish_reason")
TRUE, FALSE = ("true", "1", "yes", "right", "correct"), ("false", "0", "no", "wrong", "incorrect")


@dataclass(frozen=True, slots=True)
class SignalColumn:
    """One signal is this column's number, or its natural logarithm."""

    column: str
    logarithm: bool = False

    def value(self, place: Place, text: str) -> float | None:
        """None where the field is empty. Raises Refused for what is no finite number."""
        if not text.strip():
            return None
        try:
            number = float(text)
        except ValueError:
            raise place.refuse(
                self.column, f"{text[:40]!r} is no number; leave it empty where it is missing."
            ) from None
        if not math.isfinite(number):
            raise place.refuse(self.column, f"{text.strip()} is no finite number; leave it empty where it is missing.")
        if not self.logarithm:
            return number
        if number <= 0.0:
            raise place.refuse(self.column, f"{text.strip()} has no logarithm; leave it empty where it is missing.")
        return math.log(number)


@dataclass(frozen=True, slots=True)
class Columns:
    """Where a CSV file keeps the label, the domain, the question and the signals; other columns are left unread."""

    signals: Mapping[str, SignalColumn]
    right: str = "right"  # a column of true and false, or A=B: right where these two hold the same
    domain: str = "domain"
    named: bool = False  # columns were named by options, so columns that nothing names are meant to be left out

    def fields(self, place: Place, row: Mapping[str, str]) -> dict[str, Any]:
        """As in a JSONL line, empty texts left out. Raises Refused naming the column."""
        told: dict[str, Any] = {name: row[name] for name in TEXTS if row.get(name)}
        told.pop("domain", None)
        if row.get(self.domain):
            told["domain"] = row[self.domain]
        told["right"] = self._right(place, row)
        told["signals"] = {name: column.value(place, row[column.column]) for name, column in self.signals.items()}
        return told

    def checked(self, place: Place, header: Mapping[str, str]) -> Columns:
        """With every column named like a signal. Raises Refused for one that is missing or that nothing reads."""
        own = {name: SignalColumn(name) for name in header if name in NAMES and name not in self.signals}
        whole = Columns({**own, **self.signals}, self.right, self.domain, self.named)
        wanted = [*self.right.split("=", 1), *(column.column for column in whole.signals.values())]
        if self.domain != "domain":
            wanted.append(self.domain)
        for name in wanted:
            if name not in header:
                raise place.refuse(name, f"there is no such column; there are: {', '.join(header)}.")
        unread = [name for name in header if name not in {*TEXTS, *wanted}]
        if unread and not self.named:
            raise place.refuse(
                ", ".join(name or "(no name)" for name in unread),
                "no such column is known; say what to read with --signal NAME=COLUMN (others are then left out), or "
                f"remove it. Known are {', '.join((*TEXTS, 'right'))} and the signals: {', '.join(sorted(NAMES))}.",
            )
        if not whole.signals:
            raise place.refuse("", "no column holds a signal; say which does with --signal NAME=COLUMN.")
        return whole

    def _right(self, place: Place, row: Mapping[str, str]) -> bool:
        first, equals, second = self.right.partition("=")
        if equals:
            return bool(row[first].strip()) and row[first].strip() == row[second].strip()
        word = row[first].strip().lower()
        if word not in TRUE + FALSE:
            raise place.refuse(first, f"{row[first][:40]!r} is no label; write true or false.")
        return word in TRUE


def columns_named(signals: list[str], right: str | None, domain: str | None) -> Columns:
    """From the options --signal NAME=COLUMN or NAME=log:COLUMN, --right and --domain. Raises Refused."""
    named: dict[str, SignalColumn] = {}
    for told in signals:
        name, equals, column = told.partition("=")
        if not equals or not column or name not in NAMES:
            raise Refused(
                f"--signal {told}: write NAME=COLUMN, or NAME=log:COLUMN for its natural logarithm, where NAME is one "
                f"of {', '.join(sorted(NAMES))}."
            )
        named[name] = SignalColumn(column.removeprefix("log:"), column.startswith("log:"))
    any_named = bool(named or right or domain)
    return Columns(named, right or "right", domain or "domain", any_named)
