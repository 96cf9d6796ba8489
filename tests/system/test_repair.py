"""Ranks die under load, behind the gateway: each is replaced in place and no caller notices."""

import json
import subprocess
import sys

import pytest

COMMAND = [sys.executable, "-m", "benchmarks.repair", "--minutes", "0.2", "--every", "5", "--seed", "3", "--json"]


@pytest.mark.parametrize("spare_ranks", [0, 1])
def test_a_short_run_of_the_benchmark_finds_that_nobody_noticed(spare_ranks: int) -> None:
    few = ["--questions", "8", "--spare-ranks", str(spare_ranks)]
    result = subprocess.run([*COMMAND, *few], capture_output=True, text=True, timeout=280)
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout.splitlines()[-1])
    assert told["kills"] == told["in_place"] > 0
    assert (told["failed"], told["different_answers"], told["unrepaired"]) == (0, 0, 0)
    assert told["requests"] > 0
