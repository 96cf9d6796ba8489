"""What callers, reviewers and strangers were told, written down as it arrived: the witness for the check."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A response with an id: the product has promised to remember it."""

    interaction: str
    question: str  # the caller's own number for what it asked, in the message
    name: str | None  # Idempotency-Key
    status: int
    action: str
    item: str | None
    confidence: float | None
    via: str  # which gateway


@dataclass(frozen=True, slots=True)
class Content:
    """Text that reached a caller."""

    interaction: str
    text: str
    complete: bool  # false: a stream that was cut before its end
    review_status: str  # as told along with it


@dataclass(frozen=True, slots=True)
class Granted:
    """A claim that a reviewer was told of."""

    item: str
    token: int
    reviewer: str  # key id


@dataclass(frozen=True, slots=True)
class Accepted:
    """A write under a token that was answered 200."""

    item: str
    token: int
    reviewer: str
    what: str  # approve, edit, reject, refer, draft, extend, release
    sent_at: float  # seconds of the harness's clock, when the request left
    final: bool = False  # the item was told to be decided


@dataclass(frozen=True, slots=True)
class Withdrawn:
    interaction: str


@dataclass(frozen=True, slots=True)
class Missing:
    """An acknowledged id that was answered 404 to its own caller, who had not taken it back."""

    interaction: str


@dataclass(frozen=True, slots=True)
class Probed:
    """What another tenant's key was told about an id that is not its own."""

    path: str
    status: int
    foreign_seen: bool


Fact = Acknowledged | Content | Granted | Accepted | Withdrawn | Missing | Probed


@dataclass
class History:
    """Facts with the second they arrived. Appended to a file as well, where one is given."""

    file: IO[str] | None = None
    facts: list[tuple[float, Fact]] = field(default_factory=list)

    def add(self, fact: Fact) -> None:
        at = time.monotonic()
        self.facts.append((at, fact))
        if self.file is not None:
            print(json.dumps({"at": round(at, 4), "fact": type(fact).__name__, **asdict(fact)}), file=self.file)

    def of(self, kind: type[Fact]) -> list[tuple[float, Fact]]:
        return [(at, fact) for at, fact in self.facts if isinstance(fact, kind)]


def into(path: Path) -> History:
    return History(path.open("a", encoding="utf-8", buffering=1))


def hash_of(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
