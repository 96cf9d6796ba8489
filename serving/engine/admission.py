"""Turns a request into a generation ready to run, or says what is wrong with it before anything runs."""

from __future__ import annotations

import math
import secrets

from serving.engine.errors import ContextTooLong, InvalidRequest
from serving.engine.flight import Flight
from serving.engine.generation import GenerationRequest
from serving.engine.plan import Sampling
from serving.engine.prefix import BlockKeys
from serving.engine.prompt import PromptWriter
from serving.engine.scheduler import Sequence
from serving.engine.text import TextStream
from serving.model.checkpoint import GenerationDefaults

MOST_TOP_LOGPROBS = 20
MOST_STOPS = 64  # each is looked for after every token, on the thread that all generations share
_SEEDS = (1 << 63) - 1


class Admission:
    def __init__(self, writer: PromptWriter, defaults: GenerationDefaults, longest: int, block_size: int) -> None:
        """`longest`: tokens that a sequence may have, prompt and generated together."""
        self._writer, self._defaults, self._longest, self._block_size = writer, defaults, longest, block_size

    def prepare(self, request: GenerationRequest) -> Flight:
        """Raises InvalidRequest or ContextTooLong."""
        sampling = sampling_of(request, self._defaults)
        check_request(request)
        prompt = self._writer.write(request.messages)
        size = len(prompt.ids)
        max_tokens = max_tokens_of(request, self._defaults, size, self._longest)
        keys = BlockKeys(request.cache_salt, self._block_size)
        keys.extend(prompt.ids, prompt.content)
        prefix = keys.links(prompt.ids, prompt.targets())
        return Flight(
            request=request,
            prompt=prompt,
            sampling=sampling,
            max_tokens=max_tokens,
            sequence=Sequence(request.request_id, size, size + max_tokens, prefix),
            stream=TextStream(request.stop),
            keys=keys,
        )


def max_tokens_of(request: GenerationRequest, defaults: GenerationDefaults, prompt_tokens: int, longest: int) -> int:
    """How many may be generated, `longest` being the tokens of prompt and answer together. Raises ContextTooLong."""
    room = longest - prompt_tokens
    wanted = request.max_tokens or max(1, min(defaults.max_tokens, room))
    if wanted > room:
        raise ContextTooLong(prompt_tokens, wanted, longest)
    return wanted


def sampling_of(request: GenerationRequest, defaults: GenerationDefaults) -> Sampling:
    """Raises InvalidRequest."""
    temperature = defaults.temperature if request.temperature is None else request.temperature
    top_p = defaults.top_p if request.top_p is None else request.top_p
    if not (math.isfinite(temperature) and 0 <= temperature <= 2):
        raise InvalidRequest("temperature", "must be between 0 and 2")
    if not 0 < top_p <= 1:
        raise InvalidRequest("top_p", "must be above 0 and at most 1")
    seed = secrets.randbits(63) if request.seed is None else request.seed & _SEEDS
    return Sampling(temperature, top_p, seed)


def check_request(request: GenerationRequest) -> None:
    """What holds for every model. Raises InvalidRequest."""
    if not request.messages:
        raise InvalidRequest("messages", "must hold at least one message")
    if request.max_tokens is not None and request.max_tokens < 1:
        raise InvalidRequest("max_tokens", "must be at least 1")
    if not 0 <= request.top_logprobs <= MOST_TOP_LOGPROBS:
        raise InvalidRequest("top_logprobs", f"must be between 0 and {MOST_TOP_LOGPROBS}")
    if len(request.stop) > MOST_STOPS:
        raise InvalidRequest("stop", f"must hold at most {MOST_STOPS} strings")
    if any(not stop for stop in request.stop):
        raise InvalidRequest("stop", "must not hold an empty string")
