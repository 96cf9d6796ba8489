"""Whether vLLM, behind our contract, says what our own engine says of the same weights, and transformers of others.

Greedy tokens, log-probabilities of the chosen, the best and the prompt's tokens, and entropies: on tiny random
checkpoints, at tensor parallel 1 and 2, on CPUs. And what else callers rely on: seeds, stops, cancelling, typed losses,
no process left behind.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import backends_environment
from benchmarks.backends_asked import FOREIGN, NATIVE, requests, write_checkpoints
from benchmarks.backends_compared import differences, generated_from_json
from benchmarks.backends_environment import EnvironmentMissing
from benchmarks.backends_oracle import by_transformers
from benchmarks.machine import machine
from serving.engine.generation import Generated
from serving.engine.local import local_engine

DEGREES = (1, 2)
SECONDS = 60.0
CONTRACT = (
    "a_seed_repeats", "seeds_differ", "pieces_join", "a_stop_ends", "cancelled", "context_is_refused",
    "many_at_once_agree", "lost_worker_is_typed",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when all agrees, 1 when something differs, 2 when vLLM's environment is missing."""
    options = _options(arguments)
    try:
        if options.prepare:
            backends_environment.prepare(options.environment)
        backends_environment.require(options.environment)
    except EnvironmentMissing as error:
        print(f"backends: {error}", file=sys.stderr)
        return 2
    except (subprocess.SubprocessError, OSError) as error:
        print(f"backends: the environment could not be made ({error}).", file=sys.stderr)
        return 1
    figures = measure(options.environment, options.home / "backends", options.degrees)
    print(json.dumps(figures, indent=None if options.json else 2))
    for sentence in figures["missed"]:
        print(f"missed: {sentence}", file=sys.stderr)
    return 1 if figures["missed"] else 0


def measure(environment: Path, folder: Path, degrees: Sequence[int]) -> dict[str, Any]:
    """By family and tensor-parallel degree, and over all of them `tokens_equal` and `max_logprob_difference`."""
    folder.mkdir(parents=True, exist_ok=True)
    checkpoints = write_checkpoints(folder)
    expected = {NATIVE: by_our_engine(checkpoints[NATIVE]), FOREIGN: by_transformers(checkpoints[FOREIGN], requests())}
    found = {
        f"{family}_tp{degree}": compared(environment, folder, checkpoints[family], degree, expected[family])
        for degree in degrees
        for family in (NATIVE, FOREIGN)
    }
    left = _in_environment(environment, folder, "orphans", checkpoints[NATIVE])
    summary = {
        "tokens_equal": all(one["tokens_equal"] for one in found.values()),
        "max_logprob_difference": {
            f"tp{degree}": max(found[f"{family}_tp{degree}"]["largest"] for family in (NATIVE, FOREIGN))
            for degree in degrees
        },
        "processes_left_by_a_killed_replica": left,
    }
    return {**summary, "missed": missed(found, left), "by_family": found, **machine()}


def by_our_engine(checkpoint: Path) -> list[Generated]:
    with local_engine(checkpoint) as engine:
        return [future.result(SECONDS) for future in [engine.submit(request) for request in requests()]]


def compared(
    environment: Path, folder: Path, checkpoint: Path, degree: int, expected: Sequence[Generated]
) -> dict[str, Any]:
    said = _in_environment(environment, folder, str(degree), checkpoint)
    far = differences(expected, [generated_from_json(answer) for answer in said.pop("answers")])
    return {
        **asdict(far),
        "within": far.within,
        "largest": max(far.logprob, far.top, far.entropy, far.prompt),
        **{name: round(value, 1) if isinstance(value, float) else value for name, value in said.items()},
    }


def missed(found: dict[str, dict[str, Any]], left: int) -> list[str]:
    """One sentence for each promise that was not kept."""
    sentences = [f"{name}: answers differ by more than 1e-3" for name, one in found.items() if not one["within"]]
    sentences += [
        f"{name}: {promise} does not hold" for name, one in found.items() for promise in CONTRACT if not one[promise]
    ]
    sentences += [
        f"{name}: {one['processes_left']} processes left" for name, one in found.items() if one["processes_left"]
    ]
    return sentences + ([f"a killed replica leaves {left} processes"] if left else [])


def _in_environment(environment: Path, folder: Path, what: str, checkpoint: Path) -> Any:
    answer = folder / "answer.json"
    answer.unlink(missing_ok=True)
    try:
        backends_environment.run(
            environment,
            "benchmarks.backends_vllm",
            what,
            *(str(path.resolve()) for path in (checkpoint, folder, answer)),
        )
    except subprocess.SubprocessError as error:
        raise SystemExit(f"backends: vLLM's program failed ({error}); what it said stands above.") from None
    return json.loads(answer.read_text(encoding="utf-8"))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    home = Path(os.environ.get("COUNTERSIGN_HOME") or ".countersign")
    parser = argparse.ArgumentParser(prog="./run bench backends", description=__doc__)
    parser.add_argument("--prepare", action="store_true", help="first make vLLM's environment: minutes, 3 GB")
    parser.add_argument("--environment", type=Path, default=home / "vllm-environment", help="where that is")
    parser.add_argument("--degrees", type=int, nargs="+", default=list(DEGREES), help="of tensor parallelism")
    parser.add_argument("--json", action="store_true", help="the last line on standard output is one JSON object")
    options = parser.parse_args(arguments)
    if min(options.degrees) < 1:
        parser.error("--degrees must be at least 1")
    options.home = home
    return options


if __name__ == "__main__":
    raise SystemExit(main())
