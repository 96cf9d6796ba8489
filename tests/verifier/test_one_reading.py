"""What a person reads in a file is what was checked: nothing stands there twice, and what repeats a fact agrees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.verifier.written import Log, small_log
from verifier.checkpoints import VerifyingKey
from verifier.command import main
from verifier.events import COLUMNS
from verifier.export import verify_export
from verifier.findings import Altered, CannotRead
from verifier.growth import verify_growth
from verifier.proof import verify_proof

LOG = small_log()
KEY = VerifyingKey(LOG.vkey)
ALWAYS = {"action": "release", "confidence": 0.5}  # what the data of each of these events says


def proof(place: int = 5, **event: Any) -> dict[str, Any]:
    found = LOG.proof(place)
    return found | {"event": found["event"] | event}


def line(**members: Any) -> dict[str, Any]:
    return dict(zip(COLUMNS, LOG.tables.audit_events[5], strict=True)) | {"leaf_index": 5} | members


def exported(*records: dict[str, Any]) -> list[bytes]:
    return [json.dumps(record).encode() + b"\n" for record in records]


@pytest.fixture
def key(tmp_path: Path) -> list[str]:
    (tmp_path / "verify.pub").write_text(LOG.vkey)
    return ["--key", str(tmp_path / "verify.pub")]


@pytest.mark.parametrize(
    "twice",
    [
        ('"kind": "decision"', '"kind": "review.approved", "kind": "decision"'),
        ('"leaf_index": 5', '"leaf_index": 9, "leaf_index": 5'),
        ('"action": "release"', '"action": "withhold", "action": "release"'),
        ('"kind": "decision"', '"kind": "review.approved", "\\u006bind": "decision"'),
    ],
)
def test_a_proof_in_which_a_member_stands_twice_is_refused(
    twice: tuple[str, str], tmp_path: Path, key: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    found = proof(data=ALWAYS)
    file = tmp_path / "proof.json"
    file.write_text(json.dumps(found))
    assert main(["proof", str(file), *key]) == 0
    file.write_text(json.dumps(found).replace(*twice))
    assert main(["proof", str(file), *key]) == 2
    assert "stands twice" in capsys.readouterr().err


def test_growth_exports_and_checkpoints_in_which_a_member_stands_twice_are_refused(
    tmp_path: Path, key: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    file, kept = tmp_path / "growth.json", tmp_path / "kept.jsonl"
    file.write_text(json.dumps(LOG.growth(16, 41)).replace('"first": 16', '"first": 8, "first": 16'))
    assert main(["consistency", str(file), *key]) == 2
    file.write_bytes(exported(line())[0].replace(b'"actor": ', b'"actor": "key:2", "actor": '))
    assert main(["export", str(file)]) == 2
    told = capsys.readouterr().err
    assert told.count("stands twice") == 2
    assert "Line 1 is not an export" in told
    file.write_text(json.dumps(proof()))
    kept.write_text(json.dumps({"size": 41, "note": LOG.outside[-1][1]}).replace("{", '{"size": 8, ') + "\n")
    assert main(["proof", str(file), *key, "--checkpoints", str(kept)]) == 1


def test_numbers_that_json_does_not_have_are_refused() -> None:
    with pytest.raises(CannotRead):
        verify_export([exported(line(confidence=float("nan")))[0]])


@pytest.mark.parametrize(("name", "other"), [("action", "withhold"), ("confidence", 0.99), ("reviewer", "key_x")])
def test_a_proof_whose_copies_of_its_data_were_altered_is_refused(name: str, other: object) -> None:
    assert verify_proof(proof(**ALWAYS, reviewer=None), KEY).leaf_index == 5
    with pytest.raises(Altered, match=f"column {name} is not what its data says"):
        verify_proof(proof(**{name: other}), KEY)
    with pytest.raises(Altered, match="column action is not"):
        verify_proof(proof(action=None), KEY)


def test_a_line_need_not_repeat_its_data() -> None:
    assert verify_export(exported({name: value for name, value in line().items() if name != "action"})).events == 1


@pytest.mark.parametrize("size", [None, True, 40, 41.0, "41"])
def test_a_tree_size_that_is_not_the_checkpoints_is_refused(size: object) -> None:
    with pytest.raises(Altered, match="another tree size"):
        verify_proof(proof() | {"tree_size": size}, KEY)
    with pytest.raises(Altered, match="other tree sizes"):
        verify_growth(LOG.growth(16, 41) | {"second": size}, KEY)
    assert verify_proof({name: value for name, value in proof().items() if name != "tree_size"}, KEY).leaf_index == 5


def test_an_answer_of_another_kind_cannot_be_read() -> None:
    with pytest.raises(CannotRead, match=r"audit\.proof"):
        verify_proof(proof() | {"object": "audit.consistency"}, KEY)
    with pytest.raises(CannotRead, match=r"audit\.consistency"):
        verify_growth(LOG.growth(16, 41) | {"object": None}, KEY)


def test_members_that_are_unknown_here_are_told_and_no_fault(
    tmp_path: Path, key: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "newer.json"
    file.write_text(json.dumps(proof(approved_by="key:2", **ALWAYS) | {"server": "2.0"}))
    assert main(["proof", str(file), *key, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unproven"] == ["server", "event.approved_by"]
    assert main(["proof", str(file), *key]) == 0
    assert "this program knows nothing: server, event.approved_by." in capsys.readouterr().out
    file.write_text(json.dumps(LOG.growth(16, 41) | {"to\x1b[1m": 1}))
    assert main(["consistency", str(file), *key]) == 0
    assert "this program knows nothing: to\\x1b[1m." in capsys.readouterr().out
    file.write_bytes(b"".join(exported(line(Action="withhold"))))
    assert main(["export", str(file)]) == 0
    assert "this program knows nothing: Action." in capsys.readouterr().out


@pytest.mark.parametrize("name", ["at", "confidence"])
def test_a_number_that_no_event_can_hold_cannot_be_read(
    name: str, tmp_path: Path, key: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "huge.json"
    file.write_text(json.dumps(proof(**{name: 10**400})))
    assert main(["proof", str(file), *key]) == 2
    file.write_bytes(b"".join(exported(line(**{name: 10**400}))))
    assert main(["export", str(file)]) == 2
    told = capsys.readouterr().err.splitlines()
    assert [f"{name} is a number that no event can hold" in sentence for sentence in told] == [True, True]
    assert "Line 1: " in told[1]


def test_a_url_that_cannot_be_read_is_told_without_its_password(
    key: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for url in ("postgresql://auditor:secret%ff@127.0.0.1:1/x", "postgresql://auditor:secret%zz@127.0.0.1:1/x"):
        assert main(["log", url, *key]) == 2
    told = capsys.readouterr().err.splitlines()
    assert ["URL cannot be read" in sentence and "secret" not in sentence for sentence in told] == [True, True]


def kept_with(log: Log, *lines: tuple[int, str], folder: Path) -> str:
    file = folder / "kept.jsonl"
    file.write_text("".join(json.dumps({"size": size, "note": note}) + "\n" for size, note in (*log.outside, *lines)))
    return str(file)


def test_every_line_that_is_kept_outside_counts(
    tmp_path: Path, key: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "proof.json"
    file.write_text(json.dumps(proof()))
    arguments = ["proof", str(file), *key, "--checkpoints"]
    assert main([*arguments, kept_with(LOG, folder=tmp_path)]) == 0
    assert main([*arguments, kept_with(LOG, (41, LOG.note(41, b"\1" * 32)), folder=tmp_path)]) == 1
    assert "two histories" in capsys.readouterr().out
    assert main([*arguments, kept_with(LOG, (50, LOG.outside[-1][1]), folder=tmp_path)]) == 1
    assert "holds a checkpoint of another size" in capsys.readouterr().out


def test_a_key_in_another_spelling_is_refused() -> None:
    with pytest.raises(ValueError, match="base64"):
        VerifyingKey(LOG.vkey + "=")
