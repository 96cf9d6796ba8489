"""Starts the whole product for a benchmark in a temporary home, so that nobody's reviews are disturbed."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from launch.ports import free_ports
from launch.product import Product, Step, open_with_keys
from launch.settings import LaunchSettings
from storage import keys
from storage.records import Role

TENANT = "benchmark"


@contextmanager
def own_product() -> Iterator[tuple[str, str, str]]:
    """The gateway's address, a key that asks and audits, a key that reviews; everything is gone afterwards.

    Raises launch.errors.CannotStart.
    """
    with started_product() as (product, url):
        yield url, *keys_of(product)


@contextmanager
def started_product() -> Iterator[tuple[Product, str]]:
    """The product itself, for who wants to hurt it, and the gateway's address. Raises launch.errors.CannotStart."""
    with tempfile.TemporaryDirectory(prefix="countersign-bench-") as home:
        gateway, serving, dashboard = free_ports(3)
        ports = {"port": gateway, "serving_port": serving, "dashboard_port": dashboard}
        embedded = {"home": Path(home), "database_url": "", "redis_url": ""}
        product = Product(LaunchSettings().model_copy(update={**ports, **embedded}), _say)
        access = product.start()
        try:
            yield product, access.url
        finally:
            product.stop()


def keys_of(product: Product) -> tuple[str, str]:
    """Two: what is held is withheld from the key that asked, in the review API too."""
    database = open_with_keys(product.settings, product.wiring.database_url)  # what nobody vouches for is not sealed
    try:
        with database.transaction() as connection:
            asking = keys.create(connection, TENANT, "loop", {Role.CALLER, Role.AUDITOR})[1]
            return asking, keys.create(connection, TENANT, "loop's reviewer", {Role.REVIEWER})[1]
    finally:
        database.close()


def _say(step: Step) -> None:
    if step.seconds is not None:
        print(f"{step.name}: {step.what}, {step.seconds:.1f} s", file=sys.stderr)
