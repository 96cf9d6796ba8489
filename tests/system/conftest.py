"""The whole product, once for all system tests, started by the code of `./run up`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx2
import openai
import psutil
import pytest

from launch.access import Access
from launch.memory import measure
from launch.ports import free_ports
from launch.product import Product, Step
from launch.settings import LaunchSettings
from tests.system.collector import Collector
from tests.system.people import Reviewer, caller_of

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.system)


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="cs-system-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def span_file(home: Path) -> Path:
    return home / "spans.jsonl"


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """Where OpenTelemetry's exporters send their spans."""
    with Collector() as listening:
        yield listening


@pytest.fixture(scope="session")
def product(home: Path, span_file: Path, collector: Collector) -> Iterator[Product]:
    """Two replicas of two ranks. When all tests are done, not one of its processes remains."""
    steps: list[Step] = []
    gateway, serving, dashboard = free_ports(3)
    settings = LaunchSettings(home=home, port=gateway, serving_port=serving, dashboard_port=dashboard)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("COUNTERSIGN_SPAN_FILE", str(span_file))
        environment.setenv("COUNTERSIGN_OTLP_ENDPOINT", collector.url)
        environment.setenv("COUNTERSIGN_DWELL_SECONDS", "0")
        environment.setenv("COUNTERSIGN_UNDO_SECONDS", "0")
        running = Product(settings.model_copy(update={"database_url": "", "redis_url": ""}), steps.append)
        running.start()
        seen = {process.pid: process.create_time() for process in running.processes()}
        report(steps, running)
        yield running
        seen |= {process.pid: process.create_time() for process in running.processes()}
        running.stop()
    assert [pid for pid, started in seen.items() if still_lives(pid, started)] == []


def report(steps: list[Step], running: Product) -> None:
    for step in steps:
        if step.seconds is not None:
            print(f"{step.name}: {step.what}, {step.seconds:.1f} s")
    print(measure(running.processes()))


def still_lives(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def access(product: Product) -> Access:
    assert product.access is not None
    return product.access


@pytest.fixture
def caller(access: Access) -> Iterator[openai.OpenAI]:
    """The unmodified client, given nothing but an address and a key."""
    with caller_of(access) as client:
        yield client


@pytest.fixture
def reviewer(access: Access) -> Iterator[Reviewer]:
    with Reviewer(access.url, access.reviewer_key) as someone:
        yield someone


@pytest.fixture
def plain(access: Access) -> Iterator[httpx2.Client]:
    """The caller without any client library."""
    headers = {"Authorization": f"Bearer {access.key}"}
    with httpx2.Client(base_url=access.url, headers=headers, timeout=60, trust_env=False) as client:
        yield client
