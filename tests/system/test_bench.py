"""The loop benchmark measures the running product and ends with one line of JSON."""

import json
import math
import subprocess
import sys

from launch.product import open_with_keys
from storage import keys
from storage.records import Role

SHARES = ("released_accuracy", "held_accuracy", "auroc", "ece", "ood_released")


def test_the_loop_ends_with_its_figures_as_one_json_object(product, access, monkeypatch):
    monkeypatch.delenv("COUNTERSIGN_DATA", raising=False)
    database = open_with_keys(product.settings, product.wiring.database_url)
    with database.transaction() as connection:
        _, asks = keys.create(connection, "benchmark", "loop", frozenset({Role.CALLER, Role.AUDITOR}))
        _, reads = keys.create(connection, "benchmark", "reader", frozenset({Role.REVIEWER}))
    database.close()
    product_of = ["--gateway", access.url, "--key", asks, "--reviewer-key", reads]
    command = [sys.executable, "-m", "benchmarks.loop", *product_of]
    result = subprocess.run(
        [*command, "--questions", "20", "--seed", "7", "--json"], capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    figures = json.loads(result.stdout.splitlines()[-1])
    assert figures["released"] + figures["held"] == figures["questions"] == 20
    assert figures["released"] > 0
    assert figures["held"] > 0
    for name in SHARES:
        assert figures[name] is None or (math.isfinite(figures[name]) and 0 <= figures[name] <= 1), name
    assert figures["ood_released"] is None  # nothing foreign was there to be asked
    assert figures["released_accuracy"] is not None
    assert figures["held_accuracy"] is not None
