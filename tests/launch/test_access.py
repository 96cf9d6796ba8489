"""A launch replaces its own keys and touches nobody else's."""

import pytest

from launch.access import TENANT, make_access
from storage import keys
from storage.database import migrate, open_database
from storage.records import Role


@pytest.fixture
def database(tmp_path):
    url = f"sqlite:///{tmp_path / 'countersign.db'}"
    migrate(url)
    opened = open_database(url)
    yield opened
    opened.close()


def works(database, secret):
    with database.read() as connection:
        return keys.by_secret(connection, secret) is not None


def test_the_keys_of_the_launch_before_are_revoked(database):
    first, second = (make_access(database, "http://gateway", "http://desk") for _ in range(2))
    assert not works(database, first.key)
    assert not works(database, first.reviewer_key)
    assert works(database, second.key)
    assert works(database, second.reviewer_key)


@pytest.mark.parametrize("name", ["chat", "reviewer", "Ada"])
def test_an_operators_keys_survive_every_launch(database, name):
    with database.transaction() as connection:
        _, secret = keys.create(connection, TENANT, name, frozenset({Role.CALLER, Role.REVIEWER}))
    make_access(database, "http://gateway", "http://desk")
    assert works(database, secret)
