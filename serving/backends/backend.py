"""What a replica needs of whatever generates its answers."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from serving.engine.gang import RankReport
from serving.engine.generation import Generated, GenerationRequest
from serving.engine.stats import EngineStats


class BackendRefused(Exception):
    """The backend cannot be started with these settings here; the message is one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """Who answers. Calibrations bind to `id`."""

    id: str  # the name and the weights' digest
    name: str
    architecture: str
    context_length: int  # tokens
    parameters: int  # of the network, each counted once


class RunningEngine(Protocol):
    @property
    def reports(self) -> Sequence[RankReport]: ...

    def submit(self, request: GenerationRequest) -> Future[Generated]:
        """Cancelling the future gives the generation up; see serving.engine.engine.Engine for what is raised."""

    def stats(self) -> EngineStats: ...


class Backend(Protocol):
    """Use from one event loop."""

    @property
    def epoch(self) -> int:
        """Grows whenever an engine takes another's place."""

    @property
    def given_up(self) -> str | None:
        """Why no engine will run here any more; the replica then asks to be replaced."""

    @property
    def ready(self) -> bool: ...

    @property
    def engine(self) -> RunningEngine | None:
        """None before the first start is complete and while a repair runs."""

    async def start(self) -> None:
        """Returns when generations can be submitted."""

    async def running_engine(self, seconds: float) -> RunningEngine:
        """The engine, after a repair if one runs. Raises RankLost when that takes longer than `seconds`."""

    async def stop(self) -> None:
        """Leaves no process behind."""
