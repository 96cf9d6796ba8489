"""What an operator does from the command line, straight on the database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.settings import Settings
from serving.confidence.calibration import InvalidCalibration, calibration_from_json, calibration_to_json
from storage import calibrations, database, keys, log_keys, subjects
from storage.checkpoints import Signer
from storage.database import Database, open_database
from storage.records import Role
from storage.review_queue import ReviewQueue
from storage.schema import check_schema
from storage.vault import Vault

ACTOR = "operator"
AT_THE_DESK = {Role.REVIEWER, Role.AUDITOR, Role.ADMIN}


class Refused(Exception):
    """One sentence that says what to do."""


def variable_of(path: tuple[int | str, ...]) -> str:
    """The environment variable behind a settings field that did not validate."""
    name = str(path[0]) if path else ""
    return name if name.isupper() else f"COUNTERSIGN_{name.upper()}"


def vault_of(settings: Settings) -> Vault:
    """Raises KeysUnfit when the master key cannot be read or made."""
    return log_keys.vault(settings.audit_home, settings.master_key.get_secret_value())


def signer_of(settings: Settings) -> Signer:
    """Raises KeysUnfit when the signing key cannot be read or made."""
    return log_keys.signer(settings.audit_home, settings.audit_signing_key.get_secret_value())


@contextmanager
def opened(settings: Settings) -> Iterator[Database]:
    """Raises StorageError when the database does not answer, its tables are of another version, or its private facts
    are under another master key: what a command wrote under a second one would keep every process from starting."""
    found = open_database(settings.database, vault_of(settings))
    try:
        with found.read() as connection:
            check_schema(connection)
            subjects.require_own_master(connection)
        yield found
    finally:
        found.close()


def migrate(settings: Settings, *, vouch_for_waiting: bool = False) -> None:
    if not settings.database_url:
        settings.home.mkdir(parents=True, exist_ok=True)
    database.migrate(settings.database, vault_of(settings), vouch_for_waiting=vouch_for_waiting)


def check_reachable(settings: Settings, *, seals: bool) -> None:
    """Raises StorageError as `opened`, and when the queue does not answer. `seals`: this process signs checkpoints, so
    those in the database must be of its own key."""
    with opened(settings) as found, found.read() as connection:
        if seals:
            log_keys.require_own_log(connection, signer_of(settings))
    queue = ReviewQueue(settings.redis, settings.queue_prefix)
    try:
        queue.ping()
    finally:
        queue.close()


def signin_link(settings: Settings, tenant: str, name: str, seconds: float, dashboard: str) -> str:
    with opened(settings) as found, found.transaction() as connection:
        key = keys.by_name(connection, tenant, name)
        if key is None:
            roles = (Role.REVIEWER, Role.AUDITOR)
            key, _ = keys.create(connection, tenant, name, roles, actor=ACTOR)
        elif key.roles.isdisjoint(AT_THE_DESK):
            told = ", ".join(sorted(role.value for role in key.roles))
            raise Refused(
                f"The key '{name}' has only the role {told}: the dashboard needs reviewer or auditor, so take another "
                f"name, or first run: countersign keys create '{name}' --role reviewer."
            )
        link = keys.create_signin_link(connection, key.id, seconds, ACTOR)
    return f"{dashboard.rstrip('/')}/signin?link={link}"


def import_calibration(settings: Settings, file: Path, *, activate: bool, if_none: bool = False) -> str:
    """The calibration's id, which names its content. `if_none`: activate it only where its model has none active."""
    try:
        body = calibration_to_json(calibration_from_json(json.loads(file.read_bytes())))
    except OSError as error:
        raise Refused(f"{file} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError, InvalidCalibration) as error:
        raise Refused(f"{file} is not a calibration: {error}.") from None
    with opened(settings) as found, found.transaction() as connection:
        stored = calibrations.store(connection, body, ACTOR)
        if activate or (if_none and calibrations.active(connection, stored.model) is None):
            calibrations.activate(connection, stored.id, ACTOR)
    return stored.id
