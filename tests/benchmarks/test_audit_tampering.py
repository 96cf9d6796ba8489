"""The tampering benchmark alters as much as is said of it, and fails when one alteration is not found or misnamed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks import audit, audit_tampering
from benchmarks.audit_tampering import EVENTS, Judged, count, planned
from benchmarks.forgeries import COLUMNS_OF, Tampering
from benchmarks.tampered_log import real_log
from verifier.reading import Tables

_BIT = re.compile(r"a bit of (\w+)\.(\w+), row")


def test_more_than_100_000_tamperings_are_planned_and_no_column_is_left_out(tmp_path: Path) -> None:
    log = real_log(f"sqlite:///{tmp_path}/log.db", tmp_path, EVENTS)
    told = [tampering.what for tampering in planned(log)]
    assert len(told) > 100_000
    altered = {found.groups() for what in told if (found := _BIT.match(what))}
    assert altered == {(table, column) for table, columns in COLUMNS_OF.items() for column in columns}


def judged(found: Sequence[dict[str, Any] | None]) -> Judged:
    result = Judged()
    for each in found:
        count(result, Tampering("kind", "what", Tables(), [], leaf=3), each)
    return result


RIGHT, WRONG = {"leaf_index": 3}, {"leaf_index": 4}


@pytest.mark.parametrize(
    ("found", "status"), [([RIGHT, RIGHT], 0), ([RIGHT, None], 1), ([RIGHT, WRONG], 1), ([RIGHT, {}], 1)]
)
def test_one_that_is_not_found_or_misnamed_fails_both_commands(
    monkeypatch: pytest.MonkeyPatch, found: Sequence[dict[str, Any] | None], status: int
) -> None:
    figures = judged(found).figures()
    monkeypatch.setattr("sys.argv", ["audit_tampering"])
    monkeypatch.setattr(audit_tampering, "run", lambda *_: figures)
    monkeypatch.setattr(audit, "measure", lambda _: figures)
    assert audit_tampering.main() == status
    assert audit.main([]) == status
