"""A gateway double over real HTTP, with one item waiting."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import pytest

from tests.review_ui.gateway_double import GatewayDouble, serve
from tests.review_ui.samples import item


@pytest.fixture(autouse=True)
def the_same_main(monkeypatch: pytest.MonkeyPatch) -> None:
    """AppTest leaves its script behind as __main__, which a process that is spawned later would run."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture
def double() -> GatewayDouble:
    made = GatewayDouble()
    made.add_person("csk_ada", "Ada Lovelace", "reviewer", "auditor")
    made.add_item(item(0, time.time(), waited=300))
    return made


@pytest.fixture
def gateway_url(double: GatewayDouble) -> Iterator[str]:
    with serve(double) as url:
        yield url
