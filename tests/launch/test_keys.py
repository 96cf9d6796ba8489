"""`./run up` makes the audit log's keys on its first start, and goes no further with others than the database's."""

from pathlib import Path

import pytest

from launch.product import open_with_keys
from launch.settings import LaunchSettings
from storage import keys, sealing
from storage.checkpoints import Signer, new_signing_key
from storage.database import migrate
from storage.errors import KeysUnfit, WrongMasterKey
from storage.records import Role
from storage.vault import new_master_key


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database with private facts and a checkpoint."""
    url = f"sqlite:///{tmp_path}/countersign.db"
    migrate(url)
    database = open_with_keys(LaunchSettings(home=tmp_path), url)
    with database.transaction() as conn:
        keys.create(conn, "acme", "Ada", [Role.REVIEWER])
        sealing.seal(conn, Signer((tmp_path / "audit" / "signing.key").read_text()))
    database.close()
    return url


def test_the_first_start_makes_keys_and_the_next_ones_take_them(tmp_path: Path, url: str) -> None:
    made = {each.name for each in (tmp_path / "audit").iterdir()}
    assert made == {"master.key", "signing.key", "verify.pub"}
    open_with_keys(LaunchSettings(home=tmp_path), url).close()


def test_other_keys_are_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(WrongMasterKey):
        open_with_keys(LaunchSettings(home=tmp_path, master_key=new_master_key()), url)
    with pytest.raises(KeysUnfit, match="signing key"):
        open_with_keys(LaunchSettings(home=tmp_path, audit_signing_key=new_signing_key()), url)
    with pytest.raises((WrongMasterKey, KeysUnfit)):
        open_with_keys(LaunchSettings(home=tmp_path / "another"), url)
