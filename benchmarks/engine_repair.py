"""How long a rank's loss lasts, with a warm spare and without: short runs of `./run bench repair`."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

MINUTES = 0.7
_SECONDS = 600.0  # for a run that starts and stops a whole product


class NotRepaired(Exception):
    """Ranks were not repaired, or callers noticed; the message says what the run told."""


def measure(minutes: float = MINUTES) -> dict[str, Any]:
    """`repair_s`: the longest repair, `with_spare` and `without`. Raises NotRepaired."""
    runs = {"with_spare": _run(1, minutes), "without": _run(0, minutes)}
    return {
        "repair_s": {name: run["repair_s"]["max"] for name, run in runs.items()},
        "repair_median_s": {name: run["repair_s"]["median"] for name, run in runs.items()},
        "repair_kills": {name: run["kills"] for name, run in runs.items()},
    }


def _run(spare_ranks: int, minutes: float) -> dict[str, Any]:
    words = ["--minutes", str(minutes), "--spare-ranks", str(spare_ranks), "--json"]
    command = [sys.executable, "-m", "benchmarks.repair", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)  # noqa: S603
    try:
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise NotRepaired(f"the repair benchmark failed: {done.stderr.strip()[-400:]}") from None
    if done.returncode:
        raise NotRepaired(f"not every loss was repaired unnoticed: {json.dumps(found)[:800]}")
    return found
