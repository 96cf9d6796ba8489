"""Makes the keys of a launch and keeps the caller's where `./run ask` finds it, readable by its owner only."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from launch.errors import CannotStart
from storage import keys
from storage.database import Database
from storage.records import Role

TENANT = "default"  # whose keys the `countersign` commands make, too
# each launch revokes the keys of the one before by these names, so they are names that no person chooses
CALLER, REVIEWER = "run-up-chat", "run-up-reviewer"
_LINK_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Access:
    """How a person or program reaches the running product."""

    url: str  # the gateway's, without /v1
    key: str  # the caller's secret
    reviewer_key: str  # for `up --check`; people use the link. Empty in the access file.
    signin_link: str  # one use

    @property
    def chat_url(self) -> str:
        return f"{self.url}/v1"


def make_access(database: Database, url: str, dashboard: str, tenant: str = TENANT) -> Access:
    """A fresh caller key, a reviewer with a one-use sign-in link; the tenant's keys of earlier launches are revoked."""
    with database.transaction() as connection:
        for key in keys.list_keys(connection, tenant):
            if key.name in (CALLER, REVIEWER) and key.revoked_at is None:
                keys.revoke(connection, key.id, tenant, "system")
        _, caller = keys.create(connection, tenant, CALLER, frozenset({Role.CALLER}))
        reviewer, secret = keys.create(connection, tenant, REVIEWER, frozenset({Role.REVIEWER, Role.AUDITOR}))
        link = keys.create_signin_link(connection, reviewer.id, _LINK_SECONDS)
    return Access(url, caller, secret, f"{dashboard}/signin?link={link}")


def write_access(home: Path, access: Access) -> Path:
    """Mode 600 from the first byte; without what only a reviewer may hold."""
    path = access_file(home)
    path.unlink(missing_ok=True)
    kept = {name: value for name, value in asdict(access).items() if name in ("url", "key")}
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(kept, file)
    return path


def read_access(home: Path) -> Access:
    """Raises CannotStart when nothing runs from this home."""
    try:
        kept = json.loads(access_file(home).read_text())
        return Access(str(kept["url"]), str(kept["key"]), "", "")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CannotStart(f"Nothing is running from {home}: start it with ./run up first.") from error


def access_file(home: Path) -> Path:
    return home / "access.json"
