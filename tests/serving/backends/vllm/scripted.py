"""A generator that gives what a test wrote down, on an event loop of its own, as vLLM would: it runs no model."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Sequence

from serving.backends.vllm.flight import VllmFlight, VllmOutput, VllmToken
from serving.backends.vllm.load import VllmLoad
from serving.engine.gang import RankReport


def token(number: int, entropy: float = 0.5, alternatives: int = 5) -> VllmToken:
    """Chosen with probability 1/2, as the best of its alternatives."""
    ids = (number, 0, number, *range(100, 100 + alternatives - 1))
    logprobs = (-0.7, entropy, -0.7, *(-2.0 - place for place in range(alternatives - 1)))
    return VllmToken(number, ids, logprobs)


def first_output(flight: VllmFlight, *tokens: VllmToken, finish_reason: str | None = None) -> VllmOutput:
    """With the prompt's log-probabilities: -1 of its second token, -2 of the next one, and so on."""
    prompt = tuple(-float(place) for place in range(1, len(flight.prompt.ids)))
    return VllmOutput(tokens, finish_reason, prompt, reused_tokens=0)


class ScriptedGenerator:
    """`said` answers every request; None waits until the generation is given up."""

    def __init__(self, said: Sequence[VllmToken | Exception | None]) -> None:
        self.said = said
        self.dead: str | None = None
        self.asked = threading.Event()
        self.given_up: list[str] = []
        self.reports = (RankReport(0, 1234, 0, 0, {}), RankReport(1, 1235, 0, 0, {}))
        self.load, self.longest, self.blocks, self.chunk = VllmLoad(), 96, 10, 64
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    async def generate(self, flight: VllmFlight) -> AsyncGenerator[VllmOutput, None]:
        waiting = asyncio.Event()
        try:
            self.asked.set()
            yield first_output(flight)
            for what in self.said:
                if what is None:
                    await waiting.wait()
                elif isinstance(what, Exception):
                    raise what
                else:
                    yield VllmOutput((what,), None, None, 0)
        except (asyncio.CancelledError, GeneratorExit):
            self.given_up.append(flight.request.request_id)
            raise

    def shutdown(self) -> None:
        asyncio.run_coroutine_threadsafe(self._give_all_up(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)

    async def _give_all_up(self) -> None:
        generations = asyncio.all_tasks() - {asyncio.current_task()}
        for generation in generations:
            generation.cancel()
        await asyncio.gather(*generations, return_exceptions=True)
