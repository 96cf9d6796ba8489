"""Reads the audit log's keys, or makes them on the first start: the master key and the signing key, each in a file."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Connection

from storage import proofs
from storage.checkpoint_file import sync_folder
from storage.checkpoints import Signer, new_signing_key, read_note
from storage.errors import InvalidValue, KeysUnfit
from storage.vault import Vault, new_master_key, vault_from

MASTER, SIGNING, PUBLIC, CHECKPOINTS = "master.key", "signing.key", "verify.pub", "checkpoints.jsonl"


def vault(folder: Path, given: str = "") -> Vault:
    """From `given`, the base64 of a master key, or else from the file in `folder`, made when there is none.

    Raises KeysUnfit, with one sentence that says what to do.
    """
    text = given.strip() or _kept(folder / MASTER, new_master_key, "COUNTERSIGN_MASTER_KEY")
    source = "COUNTERSIGN_MASTER_KEY" if given.strip() else str(folder / MASTER)
    try:
        return vault_from(text)
    except InvalidValue:
        raise KeysUnfit(
            f"{source} is not a master key (32 bytes in base64): put back the one that was there."
        ) from None


def signer(folder: Path, given: str = "") -> Signer:
    """From `given` or the file in `folder`, as `vault`. The file `verify.pub` is written beside it where there is none.

    Raises KeysUnfit, also when `verify.pub` is another key's.
    """
    text = given.strip() or _kept(folder / SIGNING, new_signing_key, "COUNTERSIGN_AUDIT_SIGNING_KEY")
    found = Signer(text)
    public = folder / PUBLIC
    try:
        known = _kept(public, lambda: found.public, "COUNTERSIGN_HOME")
    except KeysUnfit:
        if not given:
            raise
        return found  # a container whose folder cannot be written was given its keys, and verify.pub is kept elsewhere
    if known != found.public:
        raise KeysUnfit(
            f"{public} does not belong to the audit log's signing key: put back the signing key that was there, or "
            "remove the file if a new log begins on an empty database."
        )
    return found


def require_own_log(conn: Connection, own: Signer) -> None:
    """Raises KeysUnfit when the database's last checkpoint was signed by another key."""
    last = proofs.latest_note(conn)
    if last is None:
        return
    try:
        checkpoint = read_note(last[1])
        fits = own.signed(checkpoint)
    except ValueError:
        fits, checkpoint = False, None
    if not fits:
        whose = "a key that cannot be read" if checkpoint is None else f"the key of {checkpoint.origin}"
        raise KeysUnfit(
            f"The database's audit log was signed with {whose}, and the signing key given is that of {own.origin}: "
            f"put back {SIGNING} or COUNTERSIGN_AUDIT_SIGNING_KEY as it was."
        )


def _kept(path: Path, make: Callable[[], str], variable: str) -> str:
    """The file's text; a file that is missing is made whole in one step, by one of however many processes."""
    try:
        try:
            return path.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            _create(path, make() + "\n")
            return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise KeysUnfit(f"{path} cannot be read or made: {why}; mend that, or set {variable}.") from error


def _create(path: Path, text: str) -> None:
    """Nobody ever sees half of it, and the first one's stays."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(file, "w", encoding="utf-8") as written:
            written.write(text)
            written.flush()
            os.fsync(written.fileno())
        try:
            os.link(draft, path)  # unlike a rename, it does not replace what another process made meanwhile
        except FileExistsError:
            return
        sync_folder(path.parent)
    finally:
        draft.unlink()
