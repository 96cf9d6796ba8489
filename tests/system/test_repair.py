"""Ranks die under load, behind the gateway: each is replaced in place and no caller notices."""

import json
import subprocess
import sys

COMMAND = [sys.executable, "-m", "benchmarks.repair", "--minutes", "0.2", "--every", "5", "--seed", "3", "--json"]


def test_a_short_run_of_the_benchmark_finds_that_nobody_noticed() -> None:
    """With a spare; without one: tests/serving/test_repair.py."""
    few = ["--questions", "8", "--spare-ranks", "1"]
    result = subprocess.run([*COMMAND, *few], capture_output=True, text=True, timeout=280)
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout.splitlines()[-1])
    assert told["kills"] == told["in_place"] > 0
    assert (told["failed"], told["different_answers"], told["unrepaired"]) == (0, 0, 0)
    assert told["requests"] > 0
