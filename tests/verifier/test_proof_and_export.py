"""Proofs and exports stand on their own: forged, truncated and swapped ones are refused with the reason."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.verifier.written import Log, small_log
from verifier.checkpoints import VerifyingKey
from verifier.events import COLUMNS
from verifier.export import verify_export
from verifier.findings import Altered, CannotRead
from verifier.proof import verify_proof

LOG = small_log()
KEY = VerifyingKey(LOG.vkey)


def refused(proof: dict[str, Any]) -> str:
    with pytest.raises(Altered) as found:
        verify_proof(proof, KEY)
    return str(found.value)


@pytest.mark.parametrize("place", range(41))
def test_every_sealed_event_can_be_proven(place: int) -> None:
    found = verify_proof(LOG.proof(place), KEY)
    assert (found.leaf_index, found.checkpoint.size) == (place, 41)


def test_data_may_be_given_as_an_object() -> None:
    proof = LOG.proof(5)
    proof["event"]["data"] = json.loads(proof["event"]["data"])
    assert verify_proof(json.loads(json.dumps(proof)), KEY).leaf_index == 5


def test_an_altered_event_is_refused() -> None:
    proof = LOG.proof(5)
    proof["event"]["actor"] = "key:2"
    assert "do not have the hash" in refused(proof)


def test_private_facts_that_were_exchanged_are_refused() -> None:
    proof = LOG.proof(3)
    proof["event"]["salt"] = LOG.proof(9)["event"]["salt"]
    assert "committed to" in refused(proof)


def test_forged_swapped_and_missing_hashes_are_refused() -> None:
    path = LOG.proof(5)["inclusion"]
    assert "forged" in refused({**LOG.proof(5), "inclusion": ["00" * 32, *path[1:]]})
    assert "forged" in refused({**LOG.proof(5), "inclusion": [path[1], path[0], *path[2:]]})
    assert "does not have" in refused({**LOG.proof(5), "inclusion": path[:-1]})
    assert "does not have" in refused({**LOG.proof(5), "inclusion": [*path, path[0]]})
    assert "does not have" in refused({**LOG.proof(5), "inclusion": path * 1000})
    assert "not a hash" in refused({**LOG.proof(5), "inclusion": [path[0].upper() + "00", *path[1:]]})
    assert "forged" in refused({**LOG.proof(5), "leaf_index": 4})
    assert "does not have" in refused({**LOG.proof(5), "leaf_index": -1})


def test_a_proof_of_another_tree_is_refused() -> None:
    other = small_log()
    other.key = Ed25519PrivateKey.generate()
    proof = {**LOG.proof(5), "checkpoint": other.note(41, b"\0" * 32)}
    assert "another key" in refused(proof)
    assert "another tree size" in refused({**LOG.proof(5), "tree_size": 40})
    assert "not written as checkpoints are" in refused({**LOG.proof(5), "checkpoint": "cut off"})
    grown = {**LOG.proof(5), "checkpoint": LOG.proof(5)["checkpoint"].replace("41", "42")}
    assert "does not fit its text" in refused(grown)


@pytest.mark.parametrize("member", ["event", "leaf_index", "inclusion", "checkpoint"])
def test_a_proof_without_a_member_cannot_be_read(member: str) -> None:
    proof = LOG.proof(5)
    del proof[member]
    with pytest.raises(CannotRead):
        verify_proof(proof, KEY)


def exported(log: Log) -> list[bytes]:
    lines = []
    for place, row in enumerate(log.tables.audit_events):
        record = dict(zip(COLUMNS, row, strict=True)) | {"leaf_index": place if place < 41 else None}
        record["data"] = json.loads(record["data"])
        lines.append(json.dumps(record).encode() + b"\n")
    return lines


def test_an_export_is_intact_in_either_order() -> None:
    found = verify_export(exported(LOG))
    assert (found.events, found.unsealed, found.without_facts) == (44, 3, 1)
    assert verify_export(reversed(exported(LOG))).events == 44
    assert verify_export([]).events == 0


def test_an_altered_line_is_named() -> None:
    lines = exported(LOG)
    lines[7] = lines[7].replace(b'"release"', b'"hold"')
    with pytest.raises(Altered, match=r"^Line 8: "):
        verify_export(lines)


@pytest.mark.parametrize(("name", "forged"), [("action", "withhold"), ("confidence", 0.99), ("reviewer", "key_x")])
def test_a_line_whose_copies_of_its_data_were_altered_is_named(name: str, forged: object) -> None:
    lines = exported(LOG)
    lines[3] = json.dumps(json.loads(lines[3]) | {name: forged}).encode()
    with pytest.raises(Altered, match=rf"^Line 4: Its column {name} is not what its data says"):
        verify_export(lines)


def test_lines_repeated_or_moved_are_named() -> None:
    lines = exported(LOG)
    with pytest.raises(Altered, match=r"Line 6: .* twice"):
        verify_export([*lines[:5], lines[4], *lines[5:]])
    with pytest.raises(Altered, match=r"Line 9: .* out of order"):
        verify_export([*lines[:8], lines[2], *lines[8:]])


@pytest.mark.parametrize("line", [b'{"id": "evt_', b"[]\n", b"{}\n", b"\xff\n", b'{"leaf_index": "1"}\n'])
def test_a_line_that_is_no_event_cannot_be_read(line: bytes) -> None:
    with pytest.raises(CannotRead):
        verify_export([*exported(LOG), line])
