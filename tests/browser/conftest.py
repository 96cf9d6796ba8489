"""One Chromium for all browser tests; a gateway double and a dashboard for each."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.chromium import WAIT_MS, Traffic, chromium, page
from tests.browser.dashboard import Dashboard, dashboard
from tests.review_ui.confidence_samples import confidence
from tests.review_ui.gateway_double import GatewayDouble, serve
from tests.review_ui.samples import item


@pytest.fixture(scope="package")  # while it lives, its event loop runs: no test elsewhere may find it
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=WAIT_MS)
    with chromium() as one:
        yield one


@dataclass
class House:
    """A gateway double with three items waiting, the dashboard before it, and a page signed in as nobody."""

    gateway: GatewayDouble
    dashboard: Dashboard
    page: Page
    traffic: Traffic

    @property
    def link(self) -> str:
        return f"{self.dashboard.url}/signin?link=link-of-ada"


@pytest.fixture(scope="module")
def double_and_dashboard() -> Iterator[tuple[GatewayDouble, Dashboard]]:
    double = GatewayDouble()
    with serve(double) as url, dashboard(url) as running:
        yield double, running


@pytest.fixture
def house(browser: Browser, double_and_dashboard: tuple[GatewayDouble, Dashboard]) -> Iterator[House]:
    double, running = double_and_dashboard
    double.items.clear()
    double.people.clear()
    double.log.clear()
    double.broken = False
    double.confidence = confidence(time.time())
    double.add_person("csk_ada", "Ada Lovelace", "reviewer", "auditor")
    double.add_link("link-of-ada", "csk_ada")
    now = time.time()
    for number in range(3):
        double.add_item(item(number, now, waited=3000 - number * 60))
    with page(browser) as (one, traffic):
        yield House(double, running, one, traffic)
