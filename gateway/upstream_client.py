"""Asks any OpenAI-compatible server, and computes confidence here from the log-probabilities it sends."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from time import perf_counter
from typing import Any

from gateway.errors import ApiError, unavailable
from gateway.json_peer import JsonPeer, ask_again
from gateway.model_client import Question, ServedModel
from serving.answer import Answer, Confidence, FinishReason, PromptTrace, TokenTrace, Usage
from serving.confidence.assess import assess
from serving.confidence.calibration import Calibration, InvalidCalibration, calibration_from_json
from serving.confidence.cascade import Sample, compared, sample_seed
from serving.confidence.self_verify.pool import SelfVerifier
from storage.records import StoredCalibration

NO_TOKEN_ID = -1  # upstreams tell texts and log-probabilities, not ids
UNTOLD = "untold"  # a model's name that fits no calibration
MOST_MODEL_CHARACTERS = 200
SAMPLE_SECONDS = 30.0  # longest wait for one sample; the answer itself is there already
UNASSESSED = Confidence(
    value=None,
    calibration_id=None,
    calibrated=False,
    note="The upstream's log-probabilities are missing or are not those of its text.",
)
FINISHES: dict[str, FinishReason] = {"stop": "stop", "length": "length", "content_filter": "content_filter"}


class UpstreamClient:
    """One model of one OpenAI-compatible server. Its calibrations are stored under the name it answers by."""

    provider = "openai"

    def __init__(
        self, url: str, key: str, model: str, timeout_seconds: float, verifier: SelfVerifier | None = None
    ) -> None:
        """`verifier` checks the answers' steps and is closed with this; None: nothing is known of them."""
        self._peer = JsonPeer(url, key, timeout_seconds)
        self._model = model
        self._timeout_seconds = timeout_seconds
        self._calibration: Calibration | None = None
        self._verifier = verifier

    async def model(self) -> ServedModel:
        return ServedModel(self._model, self._model)

    async def check(self) -> ServedModel:
        await self._peer.describe("/models")
        return await self.model()

    async def ask(self, question: Question) -> Answer:
        body, started = chat_body(question, self._model), perf_counter()
        data = await ask_again(lambda: self._send(body, question), self._timeout_seconds)
        answer = self._answer(data, (perf_counter() - started) * 1000)
        if self._verifier:
            steps = await self._verifier.steps(last_question(question) or "", answer.text)
            answer = replace(answer, steps=steps)
        answer = replace(answer, confidence=self._confidence(answer, question))
        return await self._compared(answer, question, started)

    async def close(self) -> None:
        if self._verifier:
            await self._verifier.close()
        await self._peer.close()

    async def _send(self, body: dict[str, Any], question: Question) -> dict[str, Any]:
        headers = {"traceparent": question.traceparent} if question.traceparent else {}
        return (await self._peer.send("POST", "/chat/completions", body, headers)).body_or_raise()

    def _answer(self, data: dict[str, Any], milliseconds: float) -> Answer:
        """The answer as it was told, its confidence still to be assessed."""
        text, choice = told(data)
        try:
            tokens = tokens_of(choice.get("logprobs") or {})
            counted = counted_in(data, len(tokens))
        except (KeyError, TypeError, ValueError, AttributeError):
            raise unreadable() from None
        finish = FINISHES.get(str(choice.get("finish_reason")), "error")
        prompt = PromptTrace(counted.prompt_tokens, None)  # upstreams do not tell how familiar the prompt was
        model, timings = answered_by(data), {"upstream": milliseconds}
        return Answer(text, finish, tokens, prompt, UNASSESSED, counted, model, "", timings)

    def _confidence(self, answer: Answer, question: Question, samples: tuple[str, ...] = ()) -> Confidence:
        if "".join(token.text for token in answer.tokens) != answer.text:
            return UNASSESSED
        return assess(
            answer.tokens,
            answer.prompt,
            answer.finish_reason,
            answer.text,
            answer.model,
            self._read(question.calibration),
            answer.steps,
            asked=last_question(question),
            earlier=[each["content"] for each in question.messages if each["role"] == "user"][:-1],
            samples=samples,
        )

    async def _compared(self, answer: Answer, question: Question, started: float) -> Answer:
        """The answer with its confidence after the samples that the calibration's cascade asks for."""
        calibration = self._read(question.calibration)
        cascade = calibration.cascade if calibration else None
        if cascade is None:
            return answer
        first_sample = perf_counter()

        async def draw(number: int) -> Sample | None:
            body = sample_body(question, self._model, number, cascade.temperature)
            return await self._sample(body, question, answer.model, started + self._timeout_seconds - perf_counter())

        confidence, sampled = await compared(
            answer.confidence, cascade, draw, lambda samples: self._confidence(answer, question, samples)
        )
        if not confidence.samples and confidence == answer.confidence:
            return answer
        timings = {**answer.timings_ms, "samples": (perf_counter() - first_sample) * 1000}
        return replace(answer, confidence=confidence, sampled=sampled, timings_ms=timings)

    async def _sample(self, body: dict[str, Any], question: Question, model: str, seconds: float) -> Sample | None:
        """Another answer of the same model, or None where it failed, took too long, or is nobody's to tell."""
        try:
            async with asyncio.timeout(min(seconds, SAMPLE_SECONDS)):
                data = await self._send(body, question)
            sample = Sample(told(data)[0], counted_in(data, 0))
        except (ApiError, TimeoutError, TypeError, ValueError, AttributeError):
            return None
        return sample if answered_by(data) == model else None

    def _read(self, stored: StoredCalibration | None) -> Calibration | None:
        """The calibration, kept until another one is active; one that cannot be read vouches for nothing."""
        if stored is None:
            return None
        if self._calibration is None or self._calibration.id != stored.id:
            try:
                self._calibration = calibration_from_json(stored.body)
            except InvalidCalibration:
                return None
        return self._calibration


def told(data: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Text and choice of a reply; raises ApiError 503 for one that cannot be read."""
    try:
        choice = data["choices"][0]
        return text_of(choice["message"].get("content")), choice
    except (KeyError, TypeError, IndexError, AttributeError):
        raise unreadable() from None


def counted_in(data: dict[str, Any], tokens: int) -> Usage:
    """The usage told, `tokens` written where it tells of none; raises ValueError, TypeError or AttributeError."""
    usage = data.get("usage") or {}
    return Usage(int(usage.get("prompt_tokens", 0)), int(usage.get("completion_tokens", tokens)))


def unreadable() -> ApiError:
    return unavailable("The upstream's answer could not be read.", "bad_answer")


def text_of(content: object) -> str:
    """A message's text; none of it is an empty one. Raises TypeError for what is no text."""
    if content is not None and not isinstance(content, str):
        raise TypeError("the content is no text")
    return content or ""


def answered_by(data: dict[str, Any]) -> str:
    """The model that says it answered, so that no calibration of another one vouches; UNTOLD when none says so."""
    model = data.get("model")
    told = isinstance(model, str) and 0 < len(model) <= MOST_MODEL_CHARACTERS and model.isprintable()
    return str(model) if told else UNTOLD


def chat_body(question: Question, model: str) -> dict[str, Any]:
    asked = {
        "max_completion_tokens": question.max_tokens,
        "temperature": question.temperature,
        "top_p": question.top_p,
        "seed": question.seed,
        "stop": question.stop,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    shown = {"logprobs": True, "top_logprobs": question.top_logprobs}
    return {"model": model, "messages": question.messages, **given, **shown}


def sample_body(question: Question, model: str, number: int, temperature: float) -> dict[str, Any]:
    """The same question as samples were drawn when fitting: at the cascade's temperature, with the default top_p."""
    body = chat_body(question, model)
    for name in ("top_p", "logprobs", "top_logprobs"):
        body.pop(name, None)
    seed = sample_seed(question.seed, number)
    return {**body, "temperature": temperature, **({} if seed is None else {"seed": seed})}


def last_question(question: Question) -> str | None:
    """What the caller said last; the domain is recognised from it."""
    return next((each["content"] for each in reversed(question.messages) if each["role"] == "user"), None)


def tokens_of(logprobs: dict[str, Any]) -> tuple[TokenTrace, ...]:
    return tuple(
        TokenTrace(
            text=str(row["token"]),
            token_id=NO_TOKEN_ID,
            logprob=finite(row["logprob"]),
            top=tuple((str(other["token"]), finite(other["logprob"])) for other in row.get("top_logprobs") or ()),
        )
        for row in logprobs.get("content") or ()
    )


def finite(value: Any) -> float:
    """Raises ValueError for what is no finite number."""
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("a log-probability is not finite")
    return number
