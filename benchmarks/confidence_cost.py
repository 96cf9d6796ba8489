"""What confidence costs: an answer's score in microseconds, a fit in seconds, on one core."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.confidence_outputs import FOREIGN, Output
from benchmarks.confidence_own import Judged
from serving.answer import TokenTrace
from serving.confidence.assess import assess, measure
from serving.confidence.calibration import Calibration
from training.calibration_fit import fit
from training.calibration_rows import Row
from training.verified_steps import verified

TOKENS = 64
ANSWERS, TIMES = 50, 40  # different answers, and how often each is scored
FITTED_ROWS = 12_000


def measured(judged: Sequence[Judged], model: str, calibration: Calibration, seed: int) -> dict[str, Any]:
    """The keys of the measurement. Raises ValueError where no answer is long enough."""
    return {**_score(judged, model, calibration), **_fit(judged, model, seed)}


def _score(judged: Sequence[Judged], model: str, calibration: Calibration) -> dict[str, Any]:
    """Median over many calls, each of which does what serving does once an answer is there."""
    long = [one.output for one in judged if len(one.output.greedy.tokens) >= TOKENS][:ANSWERS]
    if not long:
        raise ValueError(f"no answer has {TOKENS} tokens: ask more questions")
    taken: list[int] = []
    for output in long:
        (tokens, text), question = _last(output), output.question.text
        steps = verified(question, text)  # timed under `verify`: serving has it done in another process
        for _ in range(TIMES):
            begun = time.perf_counter_ns()
            assess(tokens, output.prompt, "stop", text, model, calibration, asked=question, steps=steps)
            taken.append(time.perf_counter_ns() - begun)
    return {
        "score_us": round(statistics.median(taken) / 1e3, 1),
        "score_p99_us": round(statistics.quantiles(taken, n=100)[98] / 1e3, 1),
        "scored_answers": len(long),
        "scored_calls": len(taken),
    }


def _last(output: Output) -> tuple[tuple[TokenTrace, ...], str]:
    """The end of an answer, where the number stands that it states."""
    tokens = output.greedy.tokens[-TOKENS:]
    return tokens, "".join(token.text for token in tokens)


def _fit(judged: Sequence[Judged], model: str, seed: int) -> dict[str, Any]:
    """On the judged answers drawn with replacement: every stage, all samples kept, as ./run calibrate fits."""
    rows = random.Random(seed).choices([_row(one.output, model) for one in judged], k=FITTED_ROWS)
    busy = time.process_time()
    seconds = _seconds(lambda: fit(rows, model))
    return {"fit_s": round(seconds, 2), "fit_cpu_s": round(time.process_time() - busy, 2), "fit_rows": len(rows)}


def _row(output: Output, model: str) -> Row:
    question, greedy = output.question, output.greedy
    foreign = question.domain == FOREIGN
    return Row(
        key="",
        model=model,
        text=question.text,
        domain=question.domain,
        difficulty=question.difficulty,
        foreign=foreign,
        template=FOREIGN if foreign else "",
        temperature=0.0,
        system=False,
        written=greedy.text,
        finish_reason=greedy.finish_reason,
        right=output.right,
        signals=measure(
            greedy.tokens,
            output.prompt,
            greedy.finish_reason,
            greedy.text,
            steps=verified(question.text, greedy.text),
        ),
        samples=tuple(sample.text for sample in output.samples),
    )


def _seconds(act: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun
