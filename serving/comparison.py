"""Compares an answer with further samples of the same question, as far as the calibration's cascade wants them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace

from serving.answer import Answer, Confidence
from serving.ask import Ask
from serving.confidence.assess import assess
from serving.confidence.calibration import Calibration
from serving.confidence.cascade import Cascade, Sample, compared, sample_seed
from serving.engine.generation import GenerationRequest

# Draws one sample within so many seconds; None where there is none to be had.
Draw = Callable[[GenerationRequest, float], Awaitable[Sample | None]]


async def compare(ask: Ask, answer: Answer, calibration: Calibration, draw: Draw, seconds: float) -> Answer:
    """The answer with its confidence after the samples, which `seconds` bound together; its text is never another."""
    started, cascade = time.perf_counter(), calibration.cascade

    def judge(samples: tuple[str, ...]) -> Confidence:
        return assess(
            answer.tokens,
            answer.prompt,
            answer.finish_reason,
            answer.text,
            answer.model,
            calibration,
            answer.steps,
            asked=last_question(ask),
            earlier=earlier_questions(ask),
            samples=samples,
        )

    async def sample(number: int) -> Sample | None:
        left = seconds - (time.perf_counter() - started)
        return await draw(sample_request(ask, number, cascade), left) if cascade and left > 0.0 else None

    confidence, sampled = await compared(answer.confidence, cascade, sample, judge)
    if not confidence.samples and confidence == answer.confidence:
        return answer
    timings = {**answer.timings_ms, "samples": (time.perf_counter() - started) * 1e3}
    return replace(answer, confidence=confidence, sampled=sampled, timings_ms=timings)


def request_of(ask: Ask) -> GenerationRequest:
    """What the engine is asked for."""
    return GenerationRequest(
        request_id=uuid.uuid4().hex,
        messages=ask.messages,
        max_tokens=ask.max_tokens,
        temperature=ask.temperature,
        top_p=ask.top_p,
        seed=ask.seed,
        stop=ask.stop,
        top_logprobs=ask.top_logprobs,
        cache_salt=ask.cache_salt,
    )


def sample_request(ask: Ask, number: int, cascade: Cascade) -> GenerationRequest:
    """The same question, drawn as samples were when fitting: at the cascade's temperature, with the default top_p."""
    seed = sample_seed(ask.seed, number)
    return replace(request_of(ask), temperature=cascade.temperature, top_p=None, seed=seed, top_logprobs=0)


def earlier_questions(ask: Ask) -> list[str]:
    """What the caller said before that; all of it must be of the same domain."""
    return [message.content for message in ask.messages if message.role == "user"][:-1]


def last_question(ask: Ask) -> str | None:
    """What the caller said last; the domain is recognised from it."""
    return next((message.content for message in reversed(ask.messages) if message.role == "user"), None)
