"""Graded answers with their signals, one JSON object a line: what a calibration is fitted to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One answer. Signals are those of serving.confidence; of the generation, only texts are kept beside them."""

    key: str  # names the ask, so that a collection can be resumed
    model: str  # as in Answer.model
    text: str  # the question
    domain: str
    difficulty: int
    foreign: bool  # outside what the model was taught; counts as wrong whatever it says
    template: str  # for foreign questions: which kind, so that whole kinds can be kept for measuring
    temperature: float
    system: bool  # a system prompt stood before the question
    written: str
    finish_reason: str
    right: bool
    signals: dict[str, float | None]  # without any samples
    samples: tuple[str, ...] = ()  # texts of further answers to the same question, in the order drawn

    @property
    def counted_right(self) -> bool:
        return self.right and not self.foreign


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a file, older ones without samples too; a last line cut short by an interruption is left out."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.endswith("\n"):
                fields = json.loads(line)
                yield Row(**{**fields, "samples": tuple(fields.get("samples", ()))})


def append_rows(path: Path, rows: Sequence[Row]) -> None:
    """Add rows at the end, first removing what an interruption left half-written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        size = file.seek(0, 2)
        file.seek(0)
        whole = file.read().rfind(b"\n") + 1 if size else 0
        file.truncate(whole)
        file.write("".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows).encode())


def in_second_half(row: Row) -> bool:
    """Whether a row is kept for measuring: by question, and for foreign rows by kind of question."""
    digest = hashlib.sha256(("half:" + (row.template or row.text)).encode()).digest()
    return digest[0] % 2 == 1
