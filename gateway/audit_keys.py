"""Makes the audit log's keys for those who hand them over in the environment: `countersign audit new-keys`."""

from __future__ import annotations

import typer

from storage.checkpoints import Signer, new_signing_key
from storage.vault import new_master_key


def new_keys() -> None:
    """Print a new master key and a new signing key as lines of an environment file. They are kept nowhere."""
    signing = new_signing_key()
    typer.echo(f"COUNTERSIGN_MASTER_KEY={new_master_key()}")
    typer.echo(f"COUNTERSIGN_AUDIT_SIGNING_KEY={signing}")
    typer.echo(f"# what verifies the log, no secret: {Signer(signing).public}")
