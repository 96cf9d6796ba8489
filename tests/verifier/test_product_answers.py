"""What the product's interfaces give out about a real log is what the verifier accepts."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from benchmarks.tampered_log import TENANT, RealLog, real_log
from gateway.audit_proofs import growth, proof_of
from gateway.export_formats import FORMATS
from storage import audit_export, proofs
from storage.audit_query import Filters
from storage.database import Database, open_database
from verifier.checkpoints import VerifyingKey
from verifier.export import verify_export
from verifier.growth import verify_growth
from verifier.proof import verify_proof


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> RealLog:
    folder = tmp_path_factory.mktemp("product")
    return real_log(f"sqlite:///{folder}/log.db", folder, 150)


@pytest.fixture(scope="module")
def database(log: RealLog) -> Iterator[Database]:
    opened = open_database(log.url)
    yield opened
    opened.close()


def test_every_event_is_proven_against_every_checkpoint(log: RealLog, database: Database) -> None:
    key, proven = VerifyingKey(log.vkey), 0
    places = {event_id: place for place, event_id, _ in log.tables.audit_leaves}
    with database.read() as conn:
        for row in log.tables.audit_events:
            for size, _ in log.tables.audit_checkpoints:
                if row[2] == TENANT and places.get(row[0], size) < size:
                    answer = json.dumps(proof_of(conn, proofs.stored_event(conn, row[0], TENANT), size))
                    assert verify_proof(json.loads(answer), key).event_id == row[0]
                    proven += 1
    assert proven > 150


def test_the_log_only_grew_from_checkpoint_to_checkpoint(log: RealLog, database: Database) -> None:
    sizes = [size for size, _ in log.tables.audit_checkpoints]
    assert len(sizes) > 2
    with database.read() as conn:
        for first in sizes:
            for second in sizes[sizes.index(first) :]:
                answer = json.loads(json.dumps(growth(conn, first, second)))
                assert verify_growth(answer, VerifyingKey(log.vkey)).second.size == second


def test_an_export_verifies(log: RealLog, database: Database) -> None:
    writing, after, exported = FORMATS["jsonl"].begin(), None, b""
    with database.read() as conn:
        while True:
            rows, after = audit_export.page(conn, TENANT, Filters(), after=after, limit=50)
            exported += writing.rows(rows)
            if after is None:
                break
    found = verify_export((exported + writing.end()).splitlines(keepends=True))
    assert found.events == sum(row[2] == TENANT for row in log.tables.audit_events)
    assert found.unsealed == 1
