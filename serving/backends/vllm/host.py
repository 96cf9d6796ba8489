"""Runs vLLM's asynchronous engine on a thread with an event loop of its own; this and the worker alone import it."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Coroutine, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, aclosing, suppress
from typing import Any, TypeVar

import psutil

from serving.backends.vllm.arguments import VllmSizes, engine_arguments, sampling_parameters
from serving.backends.vllm.checkpoint import AnyCheckpoint
from serving.backends.vllm.flight import MalformedOutput, VllmFlight, VllmOutput, VllmToken
from serving.backends.vllm.load import VllmLoad
from serving.backends.vllm.outputs import output_since
from serving.backends.vllm.probe import PROBE, PROBE_PROMPT, check_probe
from serving.engine.errors import InvalidRequest, RankLost
from serving.engine.gang import RankReport
from serving.own_folder import own_folder, temporary_files_in

RPC_SECONDS = 60.0
PROBE_SECONDS = 120.0  # the first step compiles a kernel or two
STOP_SECONDS = 2.0  # for vLLM to end by itself; then its processes are killed

_Result = TypeVar("_Result")


class VllmHost:
    """Processes of vLLM are children of this one; none is left after `shutdown`."""

    def __init__(self, checkpoint: AnyCheckpoint, sizes: VllmSizes, device: str) -> None:
        self.reports: tuple[RankReport, ...] = ()
        self.load = VllmLoad()
        self.longest = 0  # tokens that a sequence may have
        self.blocks = 0  # of the cache
        self.chunk = 0  # tokens of a step at most
        self.loop = asyncio.new_event_loop()
        self._checkpoint, self._sizes, self._device = checkpoint, sizes, device
        self._llm: Any = None
        self._children: list[psutil.Process] = []
        self._before = set(psutil.Process().children())
        self._own = ExitStack()  # of what its processes leave in files
        self._thread = threading.Thread(target=self.loop.run_forever, name="vllm", daemon=True)

    def start(self, environment: Mapping[str, str]) -> None:
        """Blocks until it can generate. Raises RankLost, also when that takes longer than the start may."""
        self._thread.start()
        try:
            own = self._own.enter_context(own_folder())
            os.environ.update({**environment, "VLLM_RPC_BASE_PATH": str(own)})  # its sockets
            with temporary_files_in(own):
                self._run(self._open(), self._sizes.start_seconds)
            self._run(self._probe(), PROBE_SECONDS)
        except BaseException as error:
            self.shutdown()
            if isinstance(error, RankLost):
                raise
            raise RankLost(None, f"vLLM did not start: {_first_line(error)}") from error

    @property
    def dead(self) -> str | None:
        """Why no generation will end any more."""
        llm = self._llm  # another thread may be closing it
        return "vLLM's engine died" if llm is not None and llm.errored else None

    async def generate(self, flight: VllmFlight) -> AsyncGenerator[VllmOutput, None]:
        """On `loop`. Leaving it early gives the generation up. Raises RankLost or InvalidRequest."""
        own = sampling_parameters(flight.sampling, flight.max_tokens, flight.request.top_logprobs, flight.ending)
        prompt: dict[str, Any] = {"prompt_token_ids": list(flight.prompt.ids)}
        if flight.request.cache_salt:
            prompt["cache_salt"] = flight.request.cache_salt
        async with aclosing(self._outputs(prompt, own, flight.request.request_id)) as outputs:
            async for output in outputs:
                yield output

    def shutdown(self) -> None:
        """Within seconds, whatever state vLLM is in."""
        if self._thread.is_alive() and self.loop.is_running():
            with suppress(Exception):
                self._run(self._close(), 3 * STOP_SECONDS)
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(STOP_SECONDS)
        left = {*self._children, *self._descendants()}
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=STOP_SECONDS)
        self._own.close()

    # -- on the loop ---------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        arguments = AsyncEngineArgs(**engine_arguments(self._checkpoint, self._sizes, self._device))
        self._llm = AsyncLLM.from_engine_args(arguments, stat_loggers=[lambda config, engine=0: self.load])
        self._children = self._descendants()
        ranks = await self._llm.collective_rpc("measure_entropies", timeout=RPC_SECONDS)
        self.reports = tuple(
            RankReport(place, rank["pid"], 0, 0, {})  # once packed for a processor, weights cannot be counted
            for place, rank in enumerate(sorted(ranks, key=lambda rank: int(rank["rank"])))
        )
        self.longest = int(self._llm.vllm_config.model_config.max_model_len)
        self.blocks = int(self._llm.vllm_config.cache_config.num_gpu_blocks or 0)
        self.chunk = int(self._llm.vllm_config.scheduler_config.max_num_batched_tokens)

    async def _probe(self) -> None:
        """Two tokens with all that vLLM knows of them: whether this version of it measures what we think it does."""
        tokens: list[VllmToken] = []
        prompt: tuple[float, ...] = ()
        try:
            async for output in self._outputs({"prompt_token_ids": PROBE_PROMPT}, PROBE, "probe"):
                tokens += output.tokens
                prompt = output.prompt_logprobs or prompt
            check_probe(tokens, prompt)
        except MalformedOutput as error:
            raise RankLost(None, f"this version of vLLM is not served: {error}") from error

    async def _outputs(
        self, prompt: dict[str, Any], parameters: dict[str, Any], request_id: str
    ) -> AsyncGenerator[VllmOutput, None]:
        from vllm import SamplingParams
        from vllm.exceptions import VLLMClientError
        from vllm.sampling_params import RequestOutputKind
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        wanted, taken = SamplingParams(**parameters, output_kind=RequestOutputKind.CUMULATIVE), 0
        try:
            async with aclosing(self._llm.generate(prompt, wanted, request_id)) as outputs:
                async for output in outputs:
                    news = output_since(output, taken)
                    taken += len(news.tokens)
                    yield news
        except EngineDeadError as error:
            raise RankLost(None, "vLLM's engine died") from error
        except EngineGenerateError as error:
            raise RankLost(None, f"vLLM failed: {_first_line(error.__cause__ or error)}") from error
        except VLLMClientError as error:
            raise InvalidRequest("messages", _first_line(error)) from error

    async def _close(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}  # vLLM's own too: it would tell of the end as a failure
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=STOP_SECONDS)
        if self._llm is not None:
            llm, self._llm = self._llm, None
            llm.shutdown(timeout=STOP_SECONDS)

    # ------------------------------------------------------------------------------------------------------------

    def _run(self, work: Coroutine[Any, Any, _Result], seconds: float) -> _Result:
        running: Future[_Result] = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return running.result(seconds)
        except TimeoutError as error:
            running.cancel()
            raise RankLost(None, f"vLLM took longer than {seconds:g} s to start") from error

    def _descendants(self) -> list[psutil.Process]:
        """Processes that this one got since, and theirs."""
        new = set(psutil.Process().children()) - self._before
        found = list(new)
        for process in new:
            with suppress(psutil.Error):
                found += process.children(recursive=True)
        return found


def started_host(checkpoint: AnyCheckpoint, sizes: VllmSizes, device: str, environment: Mapping[str, str]) -> VllmHost:
    """Blocks until it can generate. Raises RankLost."""
    host = VllmHost(checkpoint, sizes, device)
    host.start(environment)
    return host


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
