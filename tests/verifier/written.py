"""Writes small logs from the specification alone: neither the product's code nor the verifier's has a hand in them."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from verifier.reading import Tables

ORIGIN = "countersign/0123456789abcdef"
COPIES = ("key_id", "model", "action", "reason", "reviewer", "verdict", "tier", "confidence")


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def frame(value: str | float | None) -> bytes:
    if value is None:
        return b"\x00"
    if isinstance(value, float):
        return b"\x02" + struct.pack(">d", value)
    return b"\x01" + struct.pack(">I", len(value.encode())) + value.encode()


def event_row(number: int, kind: str = "decision", facts: dict[str, Any] | None = None, **columns: Any) -> tuple:
    """The stored columns of one event; `sealed_facts` (bytes) makes it commit to something private."""
    facts = {"action": "release", "confidence": 0.5} if facts is None else facts
    private = columns.pop("sealed_facts", None)
    salt = sha(f"salt {number}".encode())[:16]
    row = {
        "id": f"evt_{number:032x}",
        "at": 1_700_000_000.25 + number,
        "tenant": "acme",
        "kind": kind,
        "actor": "key:key_1",
        "interaction_id": f"chatcmpl-{number}",
        "item_id": None,
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "data": json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False),
        "subject": "sub_1" if private else None,
        "commitment": sha(salt + private).hex() if private else None,
        **columns,
    }
    hash_ = sha(b"\x00countersign/event/2" + b"".join(frame(value) for value in row.values())).hex()
    seals = (salt.hex(), base64.b64encode(private).decode()) if private else (None, None)
    return (*row.values(), hash_, *seals, *(facts.get(name) for name in COPIES))


def tree_root(leaves: list[bytes]) -> bytes:
    """RFC 9162, 2.1.1, as it is written there."""
    if not leaves:
        return sha(b"")
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha(b"\x01" + tree_root(leaves[:split]) + tree_root(leaves[split:]))


def path_of(index: int, leaves: list[bytes]) -> list[bytes]:
    """RFC 9162, 2.1.3.1."""
    if len(leaves) == 1:
        return []
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    if index < split:
        return [*path_of(index, leaves[:split]), tree_root(leaves[split:])]
    return [*path_of(index - split, leaves[split:]), tree_root(leaves[:split])]


def growth_path(first: int, leaves: list[bytes], whole: bool = True) -> list[bytes]:
    """RFC 9162, 2.1.4.1."""
    if first == len(leaves):
        return [] if whole else [tree_root(leaves)]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    if first <= split:
        return [*growth_path(first, leaves[:split], whole), tree_root(leaves[split:])]
    return [*growth_path(first - split, leaves[split:], False), tree_root(leaves[:split])]


@dataclass
class Log:
    """A log that grows event by event and is sealed when told to."""

    key: Ed25519PrivateKey = field(default_factory=lambda: Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
    origin: str = ORIGIN
    tables: Tables = field(default_factory=Tables)
    outside: list[tuple[int, str]] = field(default_factory=list)
    clock: float = 1_700_000_000.0  # unix seconds, to which each event's number is added

    @property
    def vkey(self) -> str:
        raw = b"\x01" + self.key.public_key().public_bytes_raw()
        return f"{self.origin}+{self._key_hash.hex()}+{base64.b64encode(raw).decode()}"

    @property
    def _key_hash(self) -> bytes:
        raw = b"\x01" + self.key.public_key().public_bytes_raw()
        return sha(self.origin.encode() + b"\n" + raw)[:4]

    @property
    def leaves(self) -> list[bytes]:
        return [bytes.fromhex(hash_) for _, _, hash_ in self.tables.audit_leaves]

    def add(self, kind: str = "decision", facts: dict[str, Any] | None = None, **columns: Any) -> tuple:
        number = len(self.tables.audit_events)
        row = event_row(number, kind, facts, **{"at": self.clock + number + 0.25, **columns})
        self.tables.audit_events.append(row)
        self.tables.audit_unsealed.append((row[0], row[11]))
        return row

    def seal(self) -> None:
        if not self.tables.audit_unsealed:
            return
        for event_id, hash_ in self.tables.audit_unsealed:
            self.tables.audit_leaves.append((len(self.tables.audit_leaves), event_id, hash_))
        self.tables.audit_unsealed = []
        leaves = self.leaves
        complete = [leaves[start : start + 256] for start in range(0, len(leaves) // 256 * 256, 256)]
        self.tables.audit_nodes = [(1, place, tree_root(part).hex()) for place, part in enumerate(complete)]
        checkpoint = (len(leaves), self.note(len(leaves), tree_root(leaves)))
        self.tables.audit_checkpoints.append(checkpoint)
        self.outside.append(checkpoint)

    def purge(self, before: int, events: int, days: float = 183.0, **columns: Any) -> tuple:
        """The event alone, as if written two hundred days after all the others; its cutoff is `days` before it."""
        self.clock += 200 * 86_400.0
        cutoff = self.clock + len(self.tables.audit_events) - days * 86_400.0
        facts = {"before_index": before, "cutoff": cutoff, "events": events}
        return self.add("audit.purged", facts, **{"tenant": "default", "interaction_id": None, **columns})

    def note(self, size: int, root: bytes, sealed_at: str | None = None) -> str:
        sealed_at = sealed_at or f"{self.clock + size:.3f}"
        text = f"{self.origin}\n{size}\n{base64.b64encode(root).decode()}\nsealed_at {sealed_at}\n"
        signature = base64.b64encode(self._key_hash + self.key.sign(text.encode())).decode()
        return f"{text}\n— {self.origin} {signature}\n"

    def erase(self, place: int) -> None:
        """The private facts of one event go."""
        row = self.tables.audit_events[place]
        self.tables.audit_events[place] = (*row[:12], None, None, *row[14:])

    def proof(self, place: int) -> dict[str, Any]:
        names = "id at tenant kind actor interaction_id item_id trace_id data subject commitment hash salt sealed"
        return {
            "object": "audit.proof",
            "event": dict(zip(names.split(), self.tables.audit_events[place], strict=False)),
            "leaf_index": place,
            "tree_size": len(self.leaves),
            "inclusion": [step.hex() for step in path_of(place, self.leaves)],
            "checkpoint": self.tables.audit_checkpoints[-1][1],
        }

    def growth(self, first: int, second: int) -> dict[str, Any]:
        leaves = self.leaves
        return {
            "object": "audit.consistency",
            "first": first,
            "second": second,
            "consistency": [step.hex() for step in growth_path(first, leaves[:second])],
            "first_checkpoint": self.note(first, tree_root(leaves[:first])),
            "second_checkpoint": self.note(second, tree_root(leaves[:second])),
        }


def small_log(events: int = 40, per_checkpoint: int = 8) -> Log:
    """Every third event has private facts; one of them was erased, rightly; three wait to be sealed."""
    log = Log()
    for number in range(events):
        private = b"nonce and tag and ciphertext: %d" % number if number % 3 == 0 else None
        log.add(sealed_facts=private, subject="sub_gone" if number == 6 else "sub_1" if private else None)
        if number == 20:
            log.erase(6)
            log.add("subject.erased", {"subject": "sub_gone", "events": 1, "interactions": 1}, interaction_id=None)
        if number % per_checkpoint == per_checkpoint - 1:
            log.seal()
    log.seal()
    for _ in range(3):
        log.add()
    return log
