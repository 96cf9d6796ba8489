"""An operator's commands work beside the running product, on the same database."""

import os
import subprocess
import sys

import httpx2
import pytest

from launch.access import CALLER


@pytest.fixture
def countersign(product):
    """Runs `countersign …` as `./run countersign` does: it is told the home and nothing else."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("COUNTERSIGN_", "DATABASE_URL"))}
    environment = {**kept, "COUNTERSIGN_HOME": str(product.settings.home)}

    def run(*words):
        done = subprocess.run(
            [sys.executable, "-m", "gateway.command", *words],
            env=environment, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


def status(access, secret):
    headers = {"Authorization": f"Bearer {secret}"}
    return httpx2.get(f"{access.url}/v1/models", headers=headers, trust_env=False, timeout=30).status_code


def test_a_key_made_beside_the_running_product_works_until_it_is_revoked(countersign, access):
    secret = countersign("keys", "create", "beside", "--role", "caller")
    assert status(access, secret) == 200
    rows = [line.split("\t") for line in countersign("keys", "list").splitlines()]
    named = {name: key_id for key_id, name, *_ in rows}
    assert CALLER in named
    countersign("keys", "revoke", named["beside"])
    assert status(access, secret) == 401
