"""Asks any OpenAI-compatible server, and computes confidence here from the log-probabilities it sends."""

from __future__ import annotations

import math
from time import perf_counter
from typing import Any

from gateway.errors import unavailable
from gateway.json_peer import JsonPeer, ask_again
from gateway.model_client import Question, ServedModel
from serving.answer import Answer, Confidence, FinishReason, PromptTrace, TokenTrace, Usage
from serving.confidence.assess import assess
from serving.confidence.calibration import Calibration, InvalidCalibration, calibration_from_json
from storage.records import StoredCalibration

NO_TOKEN_ID = -1  # upstreams tell texts and log-probabilities, not ids
UNTOLD = "untold"  # a model's name that fits no calibration
MOST_MODEL_CHARACTERS = 200
FINISHES: dict[str, FinishReason] = {"stop": "stop", "length": "length", "content_filter": "content_filter"}


class UpstreamClient:
    """One model of one OpenAI-compatible server. Its calibrations are stored under the name it answers by."""

    provider = "openai"

    def __init__(self, url: str, key: str, model: str, timeout_seconds: float) -> None:
        self._peer = JsonPeer(url, key, timeout_seconds)
        self._model = model
        self._timeout_seconds = timeout_seconds
        self._calibration: Calibration | None = None

    async def model(self) -> ServedModel:
        return ServedModel(self._model, self._model)

    async def check(self) -> ServedModel:
        await self._peer.describe("/models")
        return await self.model()

    async def ask(self, question: Question) -> Answer:
        headers = {"traceparent": question.traceparent} if question.traceparent else {}
        body = chat_body(question, self._model)
        started = perf_counter()

        async def ask_once() -> dict[str, Any]:
            return (await self._peer.send("POST", "/chat/completions", body, headers)).body_or_raise()

        data = await ask_again(ask_once, self._timeout_seconds)
        return self._answer(data, question, (perf_counter() - started) * 1000)

    async def close(self) -> None:
        await self._peer.close()

    def _answer(self, data: dict[str, Any], question: Question, milliseconds: float) -> Answer:
        try:
            choice, usage = data["choices"][0], data.get("usage") or {}
            text = text_of(choice["message"].get("content"))
            tokens = tokens_of(choice.get("logprobs") or {})
            counted = Usage(int(usage.get("prompt_tokens", 0)), int(usage.get("completion_tokens", len(tokens))))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            raise unavailable("The upstream's answer could not be read.", "bad_answer") from None
        finish = FINISHES.get(str(choice.get("finish_reason")), "error")
        prompt = PromptTrace(counted.prompt_tokens, None)  # upstreams do not tell how familiar the prompt was
        model = answered_by(data)
        confidence = self._confidence(tokens, prompt, finish, text, model, question.calibration)
        return Answer(text, finish, tokens, prompt, confidence, counted, model, "", {"upstream": milliseconds})

    def _confidence(
        self,
        tokens: tuple[TokenTrace, ...],
        prompt: PromptTrace,
        finish: FinishReason,
        text: str,
        model: str,
        stored: StoredCalibration | None,
    ) -> Confidence:
        if "".join(token.text for token in tokens) != text:
            note = "The upstream's log-probabilities are missing or are not those of its text."
            return Confidence(value=None, calibration_id=None, calibrated=False, note=note)
        return assess(tokens, prompt, finish, text, model, self._read(stored))

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
