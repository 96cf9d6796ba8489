"""A grid of real rank processes that tests share: each test has an epoch of its own, and may lose ranks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.engine.engine import Engine
from serving.engine.engine_config import EngineConfig
from serving.engine.gang import Gang
from serving.engine.generation import GenerationRequest, Message
from serving.engine.local import LocalRanks
from serving.engine.scheduler import Scheduler
from serving.model.checkpoint import open_checkpoint
from tests.serving.tiny_checkpoint import CONTEXT, write_tiny_checkpoint

BLOCK = 4
SIZES = {"block_size": BLOCK, "kv_tokens": 4 * CONTEXT, "most_running": 4, "step_tokens": 32}
WAIT = 60.0  # seconds; only how long a broken test hangs
LAYERS, EXPERTS, CHOSEN = 5, 8, 2
MODEL = {  # two and three layers in two stages, experts in both, a tied head at both ends
    "num_hidden_layers": LAYERS,
    "num_dense_layers": 1,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "sliding_attention", "full_attention"],
    "tie_word_embeddings": True,
}


def write_deep_checkpoint(directory: Path) -> Path:
    return write_tiny_checkpoint(directory, **MODEL)


class Grid:
    def __init__(self, directory: Path, ranks: LocalRanks, config: EngineConfig) -> None:
        self.directory, self.checkpoint, self.config = directory, open_checkpoint(directory), config
        self.ranks, self.epoch = ranks, 0

    @property
    def pids(self) -> list[int]:
        return self.ranks.roster.pids

    @contextmanager
    def gang(self) -> Iterator[Gang]:
        """Of a new epoch; places that were lost are filled by new processes."""
        self.epoch += 1
        self.ranks.roster.muster(self.epoch)
        if vacant := self.ranks.roster.vacant:
            self.ranks.roster.fill(self.ranks.start(len(vacant)))
        gang = self.ranks.roster.assemble(self.epoch)
        try:
            yield gang
        finally:
            gang.close()

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        with self.gang() as gang:
            engine = Engine(gang, self.checkpoint, self.config)
            try:
                yield engine
            finally:
                engine.close()

    def scheduler(self, step_tokens: int, depth: int) -> Scheduler:
        return Scheduler(self.config.ranks, self.config.kv_blocks, BLOCK, step_tokens, 4, depth=depth)


@contextmanager
def started(directory: Path, config: EngineConfig) -> Iterator[Grid]:
    with LocalRanks(open_checkpoint(directory), config) as ranks:
        yield Grid(directory, ranks, config)


def ask(name: str, text: str = "What is 2+2?", **parameters: object) -> GenerationRequest:
    return GenerationRequest(name, (Message("user", text),), **parameters)  # type: ignore[arg-type]


def endless(name: str) -> GenerationRequest:
    """One that still runs when the test acts; the tiny model's greedy answers do not end by themselves."""
    return ask(name, max_tokens=CONTEXT - 40)


def answers(engine: Engine) -> list[list[int]]:
    """Greedy, of several sequences at once."""
    asked = [ask(f"{number}", "x" * number, max_tokens=16) for number in range(1, 7)]
    return [[token.token_id for token in each.result(WAIT).tokens] for each in [engine.submit(one) for one in asked]]
