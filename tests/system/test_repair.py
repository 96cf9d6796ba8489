"""Ranks die under load, behind the gateway: each is replaced in place and no caller notices."""

import json
import os
import subprocess
import sys

COMMAND = [sys.executable, "-m", "benchmarks.repair", "--minutes", "0.17", "--every", "4", "--seed", "3", "--json"]


def test_a_short_run_of_the_benchmark_finds_that_nobody_noticed() -> None:
    """One gang with a spare, so that all who ask wait for its repair; without one: tests/serving/test_repair.py."""
    few = ["--questions", "8", "--spare-ranks", "1"]
    environment = os.environ | {"COUNTERSIGN_REPLICAS": "1"}
    result = subprocess.run([*COMMAND, *few], env=environment, capture_output=True, text=True, timeout=280)
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout.splitlines()[-1])
    assert told["kills"] == told["in_place"] > 0
    assert (told["failed"], told["different_answers"], told["unrepaired"]) == (0, 0, 0)
    assert told["requests"] > 0
