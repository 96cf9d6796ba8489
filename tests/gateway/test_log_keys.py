"""A process starts only with the keys that its database was written with, and says in one sentence what to do."""

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway import operations, server
from gateway.command import app
from gateway.settings import Settings
from storage.checkpoints import Signer, new_signing_key
from storage.errors import KeysUnfit, WrongMasterKey
from storage.vault import new_master_key, vault_from
from tests.gateway.fake_serving import FakeServing
from tests.gateway.running import running, settings_for, until
from tests.gateway.test_command import Shell


@pytest.fixture
def used(home: Path, valkey_url: str, serving: FakeServing) -> Path:
    """The folder of keys of a database with private facts and sealed events."""
    settings = settings_for(home, serving.url, valkey_url)
    with running(settings) as gateway:
        gateway.ask("hi [0.97]", user="someone").raise_for_status()
        until(lambda: settings.checkpoints.is_file() and settings.checkpoints.read_bytes().endswith(b"\n"))
    return settings.audit_home


def check(settings: Settings) -> None:
    operations.check_reachable(settings, seals=True)


def test_the_first_start_makes_the_keys_for_their_owner_alone(home: Path, valkey_url: str) -> None:
    check(settings_for(home, "", valkey_url))
    kept = {each.name: stat.S_IMODE(each.stat().st_mode) for each in (home / "audit").iterdir()}
    assert kept == {"master.key": 0o600, "signing.key": 0o600, "verify.pub": 0o600}


@pytest.mark.parametrize("start", [server.serve, server.work, check])
def test_other_keys_than_the_databases_are_refused(home: Path, used: Path, start: Callable[[Settings], None]) -> None:
    nobody = f"unix://{home}/nobody.sock"  # were the keys not looked at, this would end the start
    with pytest.raises(WrongMasterKey, match="master key"):
        start(settings_for(home, "", nobody, master_key=new_master_key()))
    signing = new_signing_key()
    with pytest.raises(KeysUnfit, match="signing key") as caught:  # what verify.pub says
        start(settings_for(home, "", nobody, audit_signing_key=signing))
    (used / "verify.pub").unlink()
    with pytest.raises(KeysUnfit, match=f"{Signer(signing).origin}: put back") as caught:  # what the database says
        start(settings_for(home, "", nobody, audit_signing_key=signing))
    assert signing not in str(caught.value)
    (used / "verify.pub").unlink()
    (used / "master.key").unlink()
    with pytest.raises(WrongMasterKey):  # a lost key is not replaced by a new one in silence
        start(settings_for(home, "", nobody))


def test_a_refusal_is_one_sentence_on_the_command_line(
    home: Path, used: Path, valkey_url: str, serving: FakeServing
) -> None:
    shell = Shell(home, valkey_url, serving.url)
    for command in (("worker", "--check"), ("keys", "create", "x", "--role", "caller")):
        assert "restore it" in shell.refusal(*command, COUNTERSIGN_MASTER_KEY=new_master_key())


def test_the_databases_own_keys_are_taken_from_the_environment_too(home: Path, valkey_url: str, used: Path) -> None:
    given = {
        "master_key": (used / "master.key").read_text(),
        "audit_signing_key": (used / "signing.key").read_text(),
    }
    for name in ("master.key", "signing.key", "verify.pub"):
        (used / name).unlink()
    check(settings_for(home, "", valkey_url, **given))
    assert {each.name for each in used.iterdir()} == {"checkpoints.jsonl", "verify.pub"}


def test_new_keys_are_printed_as_lines_of_an_environment_file() -> None:
    first, second = (CliRunner().invoke(app, ["audit", "new-keys"]).output for _ in "12")
    assert first != second
    given = dict(line.split("=", 1) for line in first.splitlines() if not line.startswith("#"))
    assert set(given) == {"COUNTERSIGN_MASTER_KEY", "COUNTERSIGN_AUDIT_SIGNING_KEY"}
    vault_from(given["COUNTERSIGN_MASTER_KEY"])
    assert Signer(given["COUNTERSIGN_AUDIT_SIGNING_KEY"]).public in first


def test_the_checkpoints_are_kept_where_the_setting_says(
    home: Path, tmp_path: Path, valkey_url: str, serving: FakeServing
) -> None:
    elsewhere = tmp_path / "witness" / "log.jsonl"
    with running(settings_for(home, serving.url, valkey_url, audit_checkpoints=elsewhere)):
        until(elsewhere.is_file)
        until(lambda: elsewhere.read_bytes().endswith(b"\n"))
    assert json.loads(elsewhere.read_text().splitlines()[0])["size"] > 0
    assert not (home / "audit" / "checkpoints.jsonl").exists()
