"""Knows the wire shape of a chat request: which parameters are handled, which are refused and why."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from gateway.bodies import validated
from gateway.errors import bad_request
from gateway.names import Seen, of_a_person

MAX_TOP_LOGPROBS = 5
MAX_INTEGER = 2**53 - 1  # beyond it JSON numbers lose digits

# Parameters of the OpenAI API that change the answer in ways this gateway cannot honour. Null and the value in the
# second place (their neutral value) are accepted; anything else is refused by name, never ignored.
REFUSED: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "tools": ([],),
    "tool_choice": ("none",),
    "parallel_tool_calls": (),
    "functions": ([],),
    "function_call": ("none",),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "audio": (),
    "logit_bias": ({},),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "prediction": (),
    "reasoning_effort": (),
    "verbosity": (),
    "web_search_options": (),
    "moderation": (),
    "store": (True,),  # every answer is recorded; a request not to cannot be honoured
    "service_tier": ("auto", "default"),
    "prompt_cache_options": (),
    "prompt_cache_retention": (),
}
# Hints that promise nothing about the answer: accepted and recorded with the interaction.
HINTS = ("user", "safety_identifier", "prompt_cache_key")

Name = Annotated[Seen, Field(min_length=1, max_length=256)]
EndUser = Annotated[Name, AfterValidator(of_a_person)]
PART = ("type", "text")  # all that a text part has here


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Message(Strict):
    """One turn; `content` may be given as text parts, which are joined."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str
    # what the client's own message objects carry along; only their empty forms are accepted
    refusal: None = None
    annotations: list[Any] | None = Field(None, max_length=0)
    audio: None = None
    function_call: None = None
    tool_calls: list[Any] | None = Field(None, max_length=0)

    @field_validator("content", mode="before")
    @classmethod
    def join_parts(cls, content: Any) -> Any:
        if not isinstance(content, list):
            return content
        if not content:
            raise ValueError("must not be empty")
        for index, part in enumerate(content):
            if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
                raise ValueError(f"part {index} is not a text part, the only kind this model takes")
        return "".join(part["text"] for part in content)

    def plain(self) -> dict[str, str]:
        return {"role": "system" if self.role == "developer" else self.role, "content": self.content}


class StreamOptions(Strict):
    include_usage: bool = False
    include_obfuscation: bool = False  # accepted: no padding is ever added


class ReviewOptions(Strict):
    on_hold: Literal["answer", "error"] = Field("answer", description="`error`: a held answer is told as 409.")
    domain: Annotated[Seen, Field(min_length=1, max_length=100)] | None = Field(
        None, description="What the question is about, for the choice of reviewer, where the model does not tell."
    )


class ChatRequest(Strict):
    """POST /v1/chat/completions. Parameters not listed here are refused by name."""

    model: Name
    messages: list[Message] = Field(min_length=1, max_length=1024)
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1, le=MAX_INTEGER)
    max_completion_tokens: int | None = Field(None, ge=1, le=MAX_INTEGER)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=-MAX_INTEGER, le=MAX_INTEGER)
    stop: list[Annotated[str, Field(min_length=1, max_length=256)]] | None = Field(None, max_length=4)
    logprobs: bool = False
    top_logprobs: int | None = Field(None, ge=0, le=MAX_TOP_LOGPROBS)
    metadata: dict[Annotated[Seen, Field(max_length=64)], Annotated[str, Field(max_length=512)]] = Field(
        default_factory=dict, max_length=16
    )
    user: EndUser | None = None
    safety_identifier: EndUser | None = None
    prompt_cache_key: Name | None = None
    review: ReviewOptions = ReviewOptions(on_hold="answer", domain=None)

    @field_validator("stop", mode="before")
    @classmethod
    def as_list(cls, stop: Any) -> Any:
        return [stop] if isinstance(stop, str) else stop

    @property
    def token_limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    def params(self) -> dict[str, Any]:
        """What is recorded of the parameters, as validated; messages and metadata have their own columns."""
        kept = self.model_dump(exclude={"model", "messages", "metadata", "review", "stream_options"}, exclude_none=True)
        return {**kept, "on_hold": self.review.on_hold}


def chat_request(data: dict[str, Any]) -> ChatRequest:
    """The validated request; raises 400 naming the parameter that is refused, unknown or ill-formed."""
    given = {name: value for name, value in data.items() if value is not None}
    for name in REFUSED.keys() & given.keys():
        refuse_unless_neutral(name, given.pop(name))
    for name in given.keys() - ChatRequest.model_fields.keys():
        raise bad_request(name, f"'{name[:100]}' is not a parameter of this API.", "unknown_parameter")
    if isinstance(given.get("messages"), list):
        given["messages"] = [without_nulls(message) for message in given["messages"]]
        refuse_members_of_parts(given["messages"])
    refuse_misfits(given)
    return validated(ChatRequest, given)


def refuse_unless_neutral(name: str, value: Any) -> None:
    neutral = REFUSED[name]
    if any(value == accepted and isinstance(value, bool) == isinstance(accepted, bool) for accepted in neutral):
        return
    instead = f" Leave it out or send {json.dumps(neutral[0])}." if neutral else " Leave it out."
    raise bad_request(name, f"'{name}' is not supported with this value.{instead}", "unsupported_parameter")


def without_nulls(message: Any) -> Any:
    """A message without its null fields, `content` excepted: an answer that was held has none to repeat."""
    if not isinstance(message, dict):
        return message
    return {name: value for name, value in message.items() if value is not None or name == "content"}


def refuse_members_of_parts(messages: list[Any]) -> None:
    """What a text part has beside its text is refused by name; its null members are neutral."""
    for index, message in enumerate(messages):
        parts = message.get("content") if isinstance(message, dict) else None
        for place, part in enumerate(parts if isinstance(parts, list) else ()):
            if isinstance(part, dict) and part.get("type") == "text":
                more = sorted(name for name, value in part.items() if value is not None and name not in PART)
                if more:
                    path = f"messages[{index}].content[{place}].{more[0][:64]}"
                    raise bad_request(path, f"{path}: a text part has 'type' and 'text' only.", "unknown_parameter")


def refuse_misfits(given: dict[str, Any]) -> None:
    """Combinations of parameters that do not fit together, each refused by name."""
    if "stream_options" in given and given.get("stream") is not True:
        raise bad_request("stream_options", "stream_options is only for stream: true.")
    if "top_logprobs" in given and given.get("logprobs") is not True:
        raise bad_request("top_logprobs", "top_logprobs needs logprobs: true.")
    limits = (given.get("max_tokens"), given.get("max_completion_tokens"))
    if None not in limits and limits[0] != limits[1]:
        raise bad_request("max_tokens", "max_tokens and max_completion_tokens differ; send one.")
