"""Asks a model: the protocol that the gateway speaks, and the client of our own serving application."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, Protocol

from gateway.errors import ApiError, unavailable
from gateway.json_peer import JsonPeer, ask_again
from serving.answer import Answer, answer_from_json
from storage.records import StoredCalibration

MODEL_SECONDS = 5.0  # how long the served model's description is believed without asking again


@dataclass(frozen=True, slots=True)
class Question:
    """What a model is asked. Fields that are None are left to the checkpoint's own defaults."""

    messages: tuple[dict[str, str], ...]
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] | None = None
    top_logprobs: int = 5
    calibration: StoredCalibration | None = None
    traceparent: str | None = None
    cache_salt: str | None = None  # whose prompts may be reused for this one; None: nobody's


@dataclass(frozen=True, slots=True)
class ServedModel:
    """The model behind a client: its public name and the id that carries its weights' digest."""

    id: str
    name: str
    context_length: int | None = None

    def answers_to(self, name: str) -> bool:
        return name in (self.id, self.name)


class ModelClient(Protocol):
    """One way of asking a model."""

    provider: str  # gen_ai.provider.name in telemetry

    async def model(self) -> ServedModel:
        """The served model as last known; raises ApiError 503 when nothing ever answered."""

    async def check(self) -> ServedModel:
        """The served model as it answers now; raises ApiError 503 when it does not."""

    async def ask(self, question: Question) -> Answer:
        """A whole answer; raises ApiError (400, 429, 503, 504) when there is none."""

    async def close(self) -> None: ...


class ServingClient:
    """Our own serving application, over HTTP."""

    provider = "countersign"

    def __init__(self, url: str, token: str, timeout_seconds: float) -> None:
        self._peer = JsonPeer(url, token, timeout_seconds)
        self._timeout_seconds = timeout_seconds
        self._model: ServedModel | None = None
        self._believed_until = 0.0

    async def model(self) -> ServedModel:
        if self._model is not None and monotonic() < self._believed_until:
            return self._model
        try:
            return await self.check()
        except ApiError:
            if self._model is None:
                raise
            # under repair: the ask itself will tell, and each answer names its model
            self._believed_until = monotonic() + MODEL_SECONDS  # a server that hangs does not delay every question
            return self._model

    async def check(self) -> ServedModel:
        data = await self._peer.describe("/model")
        try:
            self._model = ServedModel(data["id"], data["name"], data.get("context_length"))
        except KeyError:
            raise unavailable("What answers as the model's server is another program.", "bad_answer") from None
        self._believed_until = monotonic() + MODEL_SECONDS
        return self._model

    async def ask(self, question: Question) -> Answer:
        return await ask_again(partial(self._ask_once, question, in_full=False), self._timeout_seconds)

    async def close(self) -> None:
        await self._peer.close()

    async def _ask_once(self, question: Question, *, in_full: bool) -> Answer:
        headers = {"traceparent": question.traceparent} if question.traceparent else {}
        reply = await self._peer.send("POST", "/ask", ask_body(question, in_full=in_full), headers)
        if reply.status == 409 and reply.error_code == "unknown_calibration" and not in_full:
            return await self._ask_once(question, in_full=True)
        try:
            answer = of_text(answer_from_json(reply.body_or_raise()))
        except (KeyError, TypeError, ValueError):
            raise unavailable("The model's answer could not be read.", "bad_answer") from None
        if self._model is not None and answer.model != self._model.id:
            self._believed_until = 0.0  # another checkpoint answers now
        return answer


def of_text(answer: Answer) -> Answer:
    """`answer` itself; raises TypeError when what should be text is none."""
    if not all(isinstance(each, str) for each in (answer.text, answer.model, *(token.text for token in answer.tokens))):
        raise TypeError("the answer is not made of text")
    return answer


def ask_body(question: Question, *, in_full: bool) -> dict[str, Any]:
    asked: dict[str, Any] = {
        "messages": question.messages,
        "max_tokens": question.max_tokens,
        "temperature": question.temperature,
        "top_p": question.top_p,
        "seed": question.seed,
        "stop": question.stop,
        "cache_salt": question.cache_salt,
    }
    body = {name: value for name, value in asked.items() if value is not None}
    calibration = sent_calibration(question.calibration, in_full=in_full)
    return {**body, "top_logprobs": question.top_logprobs, "calibration": calibration}


def sent_calibration(calibration: StoredCalibration | None, *, in_full: bool) -> dict[str, Any] | None:
    if calibration is None:
        return None
    return {"id": calibration.id, "body": calibration.body} if in_full else {"id": calibration.id}
