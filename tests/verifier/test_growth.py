"""Two checkpoints of one log fit each other, and a forged or truncated proof of it is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.verifier.written import small_log, tree_root
from verifier.checkpoints import VerifyingKey
from verifier.command import main
from verifier.findings import Altered, CannotRead
from verifier.growth import verify_growth

LOG = small_log()
KEY = VerifyingKey(LOG.vkey)


@pytest.mark.parametrize("second", range(1, 42))
def test_every_size_fits_every_later_one(second: int) -> None:
    for first in range(1, second + 1):
        found = verify_growth(LOG.growth(first, second), KEY)
        assert (found.first.size, found.second.size) == (first, second)


def test_forged_truncated_and_lengthened_proofs_are_refused() -> None:
    proof = LOG.growth(11, 41)
    path = proof["consistency"]
    for forged in (path[:-1], [*path, path[0]], [path[1], path[0], *path[2:]], ["00" * 32, *path[1:]], [], ["x"]):
        with pytest.raises(Altered):
            verify_growth({**proof, "consistency": forged}, KEY)


def test_a_log_that_was_rewritten_does_not_fit() -> None:
    proof = LOG.growth(11, 41)
    other = [b"\1" * 32, *LOG.leaves[1:]]
    for rewritten in (
        {"first_checkpoint": LOG.note(11, tree_root(other[:11]))},
        {"second_checkpoint": LOG.note(41, tree_root(other))},
        {"second_checkpoint": LOG.note(40, tree_root(LOG.leaves[:40]))},
        {"second_checkpoint": proof["second_checkpoint"].replace("41", "40")},
    ):
        with pytest.raises(Altered):
            verify_growth({**proof, **rewritten}, KEY)
    with pytest.raises(Altered, match="does not have"):
        verify_growth(LOG.growth(16, 41) | {"first": 41, "second": 16} | swapped(LOG.growth(16, 41)), KEY)


def swapped(proof: dict[str, str]) -> dict[str, str]:
    return {"first_checkpoint": proof["second_checkpoint"], "second_checkpoint": proof["first_checkpoint"]}


def test_by_command(tmp_path: Path, capsys) -> None:
    key, proof = tmp_path / "verify.pub", tmp_path / "growth.json"
    key.write_text(LOG.vkey)
    proof.write_text(json.dumps(LOG.growth(16, 41)))
    assert main(["consistency", str(proof), "--key", str(key)]) == 0
    assert "Grown." in capsys.readouterr().out
    kept = tmp_path / "kept.jsonl"
    kept.write_text(json.dumps({"size": 16, "note": LOG.note(16, b"\1" * 32)}) + "\n")
    assert main(["consistency", str(proof), "--key", str(key), "--checkpoints", str(kept)]) == 1
    assert "two histories" in capsys.readouterr().out
    proof.write_text(json.dumps(LOG.growth(16, 41) | {"consistency": []}))
    assert main(["consistency", str(proof), "--key", str(key), "--json"]) == 1
    with pytest.raises(CannotRead):
        verify_growth({"consistency": []}, KEY)
