"""Writes an export of audit events to a file that appears only when it is whole."""

from __future__ import annotations

import dataclasses
import os
import secrets
from pathlib import Path
from typing import BinaryIO

from gateway.audit_filters import told
from gateway.export_formats import Format
from gateway.operations import ACTOR, Refused
from storage import audit_export, audit_log, tenancy
from storage.audit_query import Filters
from storage.database import Database
from storage.schema import check_schema


def write_file(database: Database, tenant: str, filters: Filters, chosen: Format, output: Path) -> int:
    """How many events were written. Raises Refused when the file cannot be, and leaves none behind."""
    _require_place(output)
    draft = output.with_name(f".{output.name}.{secrets.token_hex(8)}")
    try:
        with open(draft, "xb") as file:  # as its owner's umask has it
            until = note(database, tenant, filters, chosen)
            fixed = dataclasses.replace(filters, until=until if filters.until is None else min(until, filters.until))
            events = write(database, tenant, fixed, chosen, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(output)
    except OSError as error:
        raise Refused(f"{output} cannot be written: {error.strerror}.") from None
    finally:
        draft.unlink(missing_ok=True)
    return events


def _require_place(output: Path) -> None:
    """Raises Refused before anything is noted or written."""
    if output.is_dir():
        raise Refused(f"{output} is a folder: name a file in it with --output.")
    if not output.parent.is_dir():
        raise Refused(f"There is no folder {output.parent}: make it first, or name another file with --output.")


def note(database: Database, tenant: str, filters: Filters, chosen: Format) -> float:
    """Records who takes what away, and returns when: the export holds what happened before."""
    asked = {name: value for name, value in dataclasses.asdict(filters).items() if value is not None}
    with database.transaction() as connection:
        check_schema(connection)
        tenancy.act_for(connection, tenant)
        data = {"export": told({**asked, "format": chosen.name})}
        return audit_log.append(connection, "access.export", ACTOR, tenant, data=data).at


def write(database: Database, tenant: str, filters: Filters, chosen: Format, file: BinaryIO) -> int:
    """A page in a short transaction of its own each time."""
    writing, after, events, more = chosen.begin(), None, 0, True
    while more:
        with database.read() as connection:
            tenancy.act_for(connection, tenant)
            rows, after = audit_export.page(connection, tenant, filters, after=after, limit=chosen.page)
        file.write(writing.rows(rows))
        events += len(rows)
        more = after is not None
    file.write(writing.end())
    return events
