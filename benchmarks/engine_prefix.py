"""What a prompt costs whose beginning is in the cache: time to the first token, beside prompts that share nothing."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.machine import machine
from serving.engine.engine import Engine
from serving.engine.generation import Generated, GenerationRequest, Message
from serving.engine.local import local_engine
from serving.settings import REFERENCE_CHECKPOINT

BEGINNING = "Work step by step and write one equation a line, then give the result behind `Answer:`. " * 8
QUESTION = "What is {} + {}?"
_TOKENS = 8  # generated of each answer


def measure(pairs: int = 30) -> dict[str, Any]:
    """`prefix_ttft_ratio` (fresh over reused, medians) and what reuse changes: log-probabilities, at most so much."""
    fresh, reused = [], []
    with local_engine(REFERENCE_CHECKPOINT, ranks=1) as engine:
        _ask(engine, "first", 0, "shared")
        for number in range(1, pairs + 1):  # in turn, so that both meet the same machine
            fresh.append(_ask(engine, f"fresh-{number}", number, f"own-{number}"))
            reused.append(_ask(engine, f"reused-{number}", number, "shared"))
    ratio = _first_token(fresh) / _first_token(reused)
    return {
        "prefix_ttft_ratio": round(ratio, 2),
        "fresh_ttft_ms": round(_first_token(fresh), 2),
        "reused_ttft_ms": round(_first_token(reused), 2),
        "prompt_tokens": fresh[0].usage.prompt_tokens,
        "reused_tokens": round(statistics.mean(generated.reused_tokens for generated in reused)),
        "largest_logprob_difference": max(map(_difference, fresh, reused)),
        "same_tokens": all(_ids(one) == _ids(other) for one, other in zip(fresh, reused, strict=True)),
    }


def _ask(engine: Engine, name: str, number: int, salt: str) -> Generated:
    text = BEGINNING + QUESTION.format(number, 3 * number)
    request = GenerationRequest(name, (Message("user", text),), max_tokens=_TOKENS, temperature=0.0, cache_salt=salt)
    return engine.submit(request).result()


def _first_token(answers: Sequence[Generated]) -> float:
    """Milliseconds, the median."""
    return statistics.median(each.timings_ms["queue"] + each.timings_ms["prefill"] for each in answers)


def _difference(one: Generated, other: Generated) -> float:
    """Over the answer's tokens and the prompt's mean."""
    found = [abs(a.logprob - b.logprob) for a, b in zip(one.tokens, other.tokens, strict=False)]
    prompt = abs((one.prompt.mean_logprob or 0.0) - (other.prompt.mean_logprob or 0.0))
    return max(prompt, *found)


def _ids(generated: Generated) -> list[int]:
    return [token.token_id for token in generated.tokens]


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when measured, 1 when reuse changed an answer."""
    parser = argparse.ArgumentParser(prog="./run bench engine_prefix", description=__doc__)
    parser.add_argument("--pairs", type=int, default=30, help="of prompts, one fresh and one reused")
    parser.add_argument("--json", action="store_true", help="the last line on standard output is one JSON object")
    options = parser.parse_args(arguments)
    if options.pairs < 1:
        parser.error("--pairs must be at least 1")
    found = {**measure(options.pairs), "machine": machine()}
    print(json.dumps(found) if options.json else json.dumps(found, indent=2))
    return 0 if found["same_tokens"] and found["largest_logprob_difference"] <= 1e-4 else 1


if __name__ == "__main__":
    sys.exit(main())
