"""Decides when an answer is compared with another sample of the same question, and carries such a comparison out."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from serving.answer import Confidence, Usage

MOST_SAMPLES = 4


@dataclass(frozen=True, slots=True)
class Cascade:
    """Between which probabilities another sample is worth its cost, and how it is drawn."""

    low: float  # at or below: surely wrong enough
    high: float  # at or above: surely right enough
    most: int  # samples an answer, 1 to MOST_SAMPLES
    temperature: float  # of the samples, as when the calibration was fitted


@dataclass(frozen=True, slots=True)
class Sample:
    """A further answer to the same question."""

    text: str
    usage: Usage


def wants_another(confidence: float | None, drawn: int, cascade: Cascade | None) -> bool:
    """Whether one more sample is to be drawn: only while the probability lies strictly inside the band."""
    if cascade is None or confidence is None or drawn >= min(cascade.most, MOST_SAMPLES):
        return False
    return cascade.low < confidence < cascade.high


def sample_seed(seed: int | None, number: int) -> int | None:
    """The seed of the sample `number` (from 0) of a request with `seed`: 31 bits; None draws at random."""
    if seed is None:
        return None
    return int.from_bytes(hashlib.sha256(f"{seed}:{number}".encode()).digest()[:4], "big") >> 1


async def compared(
    first: Confidence,
    cascade: Cascade | None,
    draw: Callable[[int], Awaitable[Sample | None]],
    judge: Callable[[tuple[str, ...]], Confidence],
) -> tuple[Confidence, Usage]:
    """The confidence after as many samples as the band asked for, and what all of them read and wrote.

    Samples are drawn one by one, since each may take the confidence out of the band. `draw` gives the sample of a
    number from 0, or None where there is none to be had: then the confidence reached stands. `judge` says how sure the
    model may be given the samples' texts; where it knows nothing, the confidence is unknown.
    """
    reached, texts, read, written = first, (), 0, 0  # type: tuple[Confidence, tuple[str, ...], int, int]
    while wants_another(reached.value, len(texts), cascade):
        sample = await draw(len(texts))
        if sample is None:
            break
        texts = (*texts, sample.text)
        read, written = read + sample.usage.prompt_tokens, written + sample.usage.completion_tokens
        reached = replace(judge(texts), samples=len(texts))
    return reached, Usage(read, written)
