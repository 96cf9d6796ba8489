"""Takes out each safety mechanism in a copy of the source and shows that a test fails."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.machine import machine
from tests.mutations.catalogue import BY_NAME, MUTATIONS
from tests.mutations.tree import DoesNotApply, Mutation, mutated_tree

SECONDS = 600  # for one run of a mutation's tests; a mutation that makes them hang is caught as well
FAILED = 1  # pytest's exit status when tests ran and some failed; anything else tells of no test's judgement
console = Console(stderr=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every mutation was caught, 1 when one was not, 2 when the unchanged tree's own tests fail."""
    options = _options(arguments)
    chosen = tuple(BY_NAME[name] for name in options.only) if options.only else MUTATIONS
    busy, begun = machine(), time.monotonic()
    try:
        if not options.skip_baseline and not _baseline_passes(chosen):
            return 2
        results = [_judge(mutation) for mutation in chosen]
    except DoesNotApply as error:
        console.print(f"mutations: {error}")
        return 2
    caught = [result for result in results if result["caught"]]
    measured = {
        "mutations": len(results),
        "caught": len(caught),
        "results": results,
        "seconds": round(time.monotonic() - begun, 1),
        "load": os.getloadavg()[0],
        "machine": busy,
    }
    print(json.dumps(measured) if options.json else json.dumps(measured, indent=2))
    return 0 if len(caught) == len(results) else 1


def _baseline_passes(chosen: Sequence[Mutation]) -> bool:
    """A test that fails anyway would catch everything: the same tests must pass on an unchanged copy."""
    tests = sorted({test for mutation in chosen for test in mutation.tests})
    status, _, output = _run(None, tests)
    if status != 0:
        console.print("\n".join(output.splitlines()[-15:]), markup=False)
        console.print("mutations: the tests fail on the unchanged tree; nothing can be said.")
    return status == 0


def _judge(mutation: Mutation) -> dict[str, Any]:
    status, seconds, output = _run(mutation, mutation.tests)
    failed = [
        line.removeprefix("FAILED ").split(" - ")[0] for line in output.splitlines() if line.startswith("FAILED ")
    ]
    caught = status == FAILED and bool(failed)
    word = "caught" if caught else "NOT CAUGHT"
    console.print(f"  {mutation.name:<24} {mutation.invariant:<3} {word}, {len(failed)} tests failed, {seconds:.0f} s")
    return {
        "name": mutation.name,
        "invariant": mutation.invariant,
        "without": mutation.meaning,
        "caught": caught,
        "failed": len(failed),
        "first": failed[0] if failed else None,
    }


def _run(mutation: Mutation | None, tests: Sequence[str]) -> tuple[int, float, str]:
    """pytest's exit status, seconds and output for `tests` in a copy of the tree; stops at the third failure."""
    begun = time.monotonic()
    with mutated_tree(mutation) as copy:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=no", "--maxfail=3", *tests]
        try:
            run = subprocess.run(  # noqa: S603  # our own interpreter on our own list
                command, cwd=copy, env=_environment(copy), capture_output=True, text=True, timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return FAILED, time.monotonic() - begun, "FAILED the tests did not end in time"
    return run.returncode, time.monotonic() - begun, run.stdout


def _environment(copy: Path) -> dict[str, str]:
    """The copy comes first, before the installed product, and bytecode of the one is never taken for the other's."""
    return {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run bench mutations", description=__doc__)
    parser.add_argument("--only", action="append", choices=sorted(BY_NAME), help="this mutation; may be repeated")
    parser.add_argument("--skip-baseline", action="store_true", help="do not first run the tests on an unchanged copy")
    parser.add_argument("--json", action="store_true", help="the last line on standard output is one JSON object")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
