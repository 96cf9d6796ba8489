"""Alters a sealed log of the product in every way, bit by bit, and counts what the verifier finds and names rightly."""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.forgeries import Tampering
from benchmarks.machine import machine
from benchmarks.tampered_databases import AlteredDatabase, AlteredFile, AlteredServer
from benchmarks.tampered_log import RealLog, real_log
from benchmarks.tamperings import Tamperer
from verifier.checkpoints import VerifyingKey
from verifier.command import ALTERED
from verifier.findings import Altered
from verifier.log import verify
from verifier.outside import look

EVENTS = 256  # sealed, at least
BITS_A_CELL = 14  # of each column of each row of audit_events and audit_leaves; all bits of the other tables
BY_COMMAND = 200  # tamperings of SQLite files that the program judges, as a process
BY_COMMAND_POSTGRES = 40
_SHOWN = 20  # of what was not found


@dataclass
class Judged:
    """What became of the tamperings."""

    tamperings: int = 0
    detected: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    undetected: list[str] = field(default_factory=list)
    misnamed: list[str] = field(default_factory=list)  # found, but for another event than the first bad one
    seconds: float = 0.0

    def figures(self) -> dict[str, Any]:
        return {
            "tamperings": self.tamperings,
            "detected": self.detected,
            "misnamed": len(self.misnamed),
            "kinds": dict(sorted(self.kinds.items())),
            "seconds": round(self.seconds, 1),
        }


def tamper(log: RealLog, seed: int = 1, bits_a_cell: int = BITS_A_CELL, most: int | None = None) -> Judged:
    """Every tampering of one log, judged by the verifier in this process.

    Raises verifier.findings.Altered when the log is not intact to begin with.
    """
    key, outside = VerifyingKey(log.vkey), list(look(log.outside).notes())
    verify(log.tables, key, iter(outside))
    judged, started = Judged(), time.monotonic()
    for tampering in islice(planned(log, seed, bits_a_cell), most):
        judge(judged, tampering, key)
    judged.seconds = time.monotonic() - started
    return judged


def planned(log: RealLog, seed: int = 1, bits_a_cell: int = BITS_A_CELL) -> Iterator[Tampering]:
    outside = list(look(log.outside).notes())
    return Tamperer(log.tables, outside, random.Random(seed), bits_a_cell).all()


def judge(judged: Judged, tampering: Tampering, key: VerifyingKey) -> None:
    try:
        verify(tampering.tables, key, iter(tampering.outside))
    except Altered as found:
        count(judged, tampering, found.as_json())
    else:
        count(judged, tampering, None)


def count(judged: Judged, tampering: Tampering, found: dict[str, Any] | None) -> None:
    """`found`: what the verifier says was altered, None when it found nothing."""
    judged.tamperings += 1
    judged.kinds[tampering.kind] += 1
    told = f"{tampering.kind}: {tampering.what}"
    if found is None:
        judged.undetected.append(told)
        return
    judged.detected += 1
    if not names(tampering, found):
        right = tampering.leaf if tampering.leaf is not None else tampering.event_id
        judged.misnamed.append(f"{told}: {right} was to be named, not {found}")


def names(tampering: Tampering, found: dict[str, Any]) -> bool:
    """Whether the right event is named: by leaf, within a range where only checkpoints can tell, or by id."""
    if tampering.leaf is not None:
        first = found.get("leaf_index")
        return first is not None and first <= tampering.leaf <= found.get("last_leaf", first)
    return tampering.event_id is None or found.get("event_id") == tampering.event_id


def tamper_databases(altered: AlteredDatabase, seed: int, most: int) -> Judged:
    """Some tamperings of every kind in a real database, judged by the program as a process of its own."""
    judged, started = Judged(), time.monotonic()
    draw, outside = random.Random(seed), list(look(altered.log.outside).notes())
    kinds: dict[str, list[Tampering]] = {}
    for tampering in Tamperer(altered.log.tables, outside, draw, 1).all():
        kinds.setdefault(tampering.kind, []).append(tampering)
    for each in kinds.values():
        draw.shuffle(each)
    while judged.tamperings < most and any(kinds.values()):
        for tampering in [each.pop() for each in kinds.values() if each]:
            ended = altered.judged(tampering) if judged.tamperings < most else None
            if ended is not None:
                status, found = ended
                count(judged, tampering, found if status == ALTERED else None)
    judged.seconds = time.monotonic() - started
    return judged


def run(folder: Path, seed: int = 1, bits_a_cell: int = BITS_A_CELL, postgres_url: str | None = None) -> dict[str, Any]:
    """`tamperings` and `detected` over all: in this process, and by the program. `postgres_url`: without tables."""
    file = folder / "log.db"
    log = real_log(f"sqlite:///{file}", folder, EVENTS)
    in_process = tamper(log, seed, bits_a_cell)
    parts = {"in_process": in_process, "sqlite": tamper_databases(AlteredFile(log, folder, file), seed, BY_COMMAND)}
    if postgres_url is not None:
        inside = folder / "postgresql"
        inside.mkdir()
        server = AlteredServer(real_log(postgres_url, inside, EVENTS), inside, postgres_url)
        parts["postgresql"] = tamper_databases(server, seed, BY_COMMAND_POSTGRES)
    for told in [told for part in parts.values() for told in (*part.undetected, *part.misnamed)][:_SHOWN]:
        print(told, file=sys.stderr)
    return {
        "tamperings": sum(part.tamperings for part in parts.values()),
        "detected": sum(part.detected for part in parts.values()),
        "misnamed": sum(len(part.misnamed) for part in parts.values()),
        "parts": {name: part.figures() for name, part in parts.items()},
        "events": len(log.tables.audit_leaves),
        "seed": seed,
    }


def main() -> int:
    asked = _asked()
    with tempfile.TemporaryDirectory(prefix="countersign-tampering-") as folder:
        figures = run(Path(folder), asked.seed, asked.bits, asked.postgres)
    print(json.dumps({**figures, "machine": machine()}, indent=None if asked.json else 2))
    return 0 if all_named(figures) else 1


def all_named(figures: Mapping[str, Any]) -> bool:
    """Whether every tampering was found, and the first bad event named."""
    return bool(figures["detected"] == figures["tamperings"] and not figures["misnamed"])


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="audit_tampering", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bits", type=int, default=BITS_A_CELL, help="of each stored value of events and leaves")
    parser.add_argument("--postgres", metavar="URL", help="a database without tables, to be tampered with as well")
    parser.add_argument("--json", action="store_true", help="on one line")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
