"""What our confidence is worth on our model's own answers: ranking, calibration, and what is foreign to the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks import measures
from benchmarks.confidence_outputs import FOREIGN, Output
from benchmarks.measures import Floats
from benchmarks.verify_sets import Solution
from serving.answer import Confidence
from serving.confidence.assess import assess, measure
from serving.confidence.calibration import Calibration
from serving.confidence.cascade import wants_another
from training.verified_steps import verified

THRESHOLD = 0.85
RESAMPLES = 1_000
_UNKNOWN = -1.0  # an answer without a confidence is held: it ranks below all others


@dataclass(frozen=True, slots=True)
class Judged:
    """One output with the confidence in its greedy answer, without samples and with those that serving would draw."""

    output: Output
    free: Confidence
    sampled: Confidence


def judge(outputs: Sequence[Output], model: str, calibration: Calibration) -> list[Judged]:
    """As serving does it, with the samples that are there in place of those it would draw."""
    return [_judged(output, model, calibration) for output in outputs]


def _judged(output: Output, model: str, calibration: Calibration) -> Judged:
    greedy, question = output.greedy, output.question.text
    steps = verified(question, greedy.text)
    texts = [sample.text for sample in output.samples]

    def confidence(drawn: int) -> Confidence:
        return assess(
            greedy.tokens,
            output.prompt,
            greedy.finish_reason,
            greedy.text,
            model,
            calibration,
            asked=question,
            steps=steps,
            samples=texts[:drawn],
        )

    free = reached = confidence(0)
    drawn = 0
    while drawn < len(texts) and wants_another(reached.value, drawn, calibration.cascade):
        drawn += 1
        reached = confidence(drawn)
    return Judged(output, free, replace(reached, samples=drawn))


def ranked(judged: Sequence[Judged], column: str) -> Floats:
    """[answers] the confidences of "free" or "sampled" as they order the answers."""
    values = [getattr(one, column).value for one in judged]
    return np.array([_UNKNOWN if value is None else value for value in values], dtype=np.float64)


def own(judged: Sequence[Judged]) -> list[Judged]:
    """Those of questions that the model was taught to answer."""
    return [one for one in judged if one.output.question.domain != FOREIGN]


def solutions(judged: Sequence[Judged]) -> list[Solution]:
    """Own answers as self-verification is measured on them, with the signals of their tokens alone."""
    return [
        Solution(
            one.output.question.text,
            one.output.greedy.text,
            one.output.right,
            one.output.question.domain,
            _token_signals(one.output),
        )
        for one in own(judged)
    ]


def _token_signals(output: Output) -> dict[str, float | None]:
    greedy = output.greedy
    return measure(greedy.tokens, output.prompt, greedy.finish_reason, greedy.text)


def figures(judged: Sequence[Judged], seed: int, resamples: int = RESAMPLES) -> dict[str, Any]:
    """Every figure of the own outputs; those of the domain FOREIGN count only as what would be released."""
    mine = own(judged)
    strange = [one for one in judged if one.output.question.domain == FOREIGN]
    right = np.array([one.output.right for one in mine], dtype=np.float64)
    final = ranked(mine, "sampled")
    known = final >= 0
    domains = sorted({one.output.question.domain for one in mine})
    of_domain = {name: np.array([one.output.question.domain == name for one in mine]) for name in domains}
    by_domain = {
        name: round(measures.debiased_ece(final[inside & known], right[inside & known]), 4)
        for name, inside in of_domain.items()
    }
    return {
        "questions": len(mine),
        "questions_by_domain": {name: int(inside.sum()) for name, inside in of_domain.items()},
        "accuracy": round(float(right.mean()), 4),
        **_ranking(mine, right, seed, resamples),
        "mean_samples": round(float(np.mean([one.sampled.samples for one in mine])), 3),
        "extra_tokens": round(float(np.mean([_extra_tokens(one) for one in mine])), 1),
        "ece": round(measures.debiased_ece(final[known], right[known]), 4),
        "ece_not_debiased": round(measures.ece(final[known], right[known]), 4),
        "ece_by_domain": by_domain,
        "worst_domain_ece": max(by_domain.values()),
        "brier": round(measures.brier(final[known], right[known]), 4),
        "unknown": int((~known).sum()),
        **{f"own_{name}": round(value, 4) for name, value in measures.released(final, right, THRESHOLD).items()},
        **_foreign(strange),
    }


def _ranking(mine: Sequence[Judged], right: Floats, seed: int, resamples: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for column in ("free", "sampled"):
        confidence = ranked(mine, column)
        for name, of in (("auroc", measures.auroc), ("prr", measures.prr), ("aurc", measures.aurc)):
            found[f"{name}_{column}"] = round(of(confidence, right), 4)
            found[f"{name}_{column}_interval"] = interval(of, confidence, right, seed, resamples)
    return found


def interval(
    of: Callable[[Floats, Floats], float], confidence: Floats, right: Floats, seed: int, resamples: int
) -> list[float]:
    """The middle 95 % of a measure over questions drawn again with replacement."""
    rng = np.random.default_rng(seed)
    draws = (rng.integers(0, len(right), len(right)) for _ in range(resamples))
    values = [of(confidence[drawn], right[drawn]) for drawn in draws]
    return [round(float(value), 4) for value in np.nanquantile(values, (0.025, 0.975))]


def _extra_tokens(one: Judged) -> int:
    return sum(len(sample.tokens) for sample in one.output.samples[: one.sampled.samples])


def _foreign(strange: Sequence[Judged]) -> dict[str, Any]:
    """What of the questions that the model was never taught would be released without a person."""
    if not strange:
        return {"ood_questions": 0, "ood_released": None}
    return {
        "ood_questions": len(strange),
        "ood_released": round(float(np.mean(ranked(strange, "sampled") >= THRESHOLD)), 4),
        "ood_mean_samples": round(float(np.mean([one.sampled.samples for one in strange])), 3),
    }
