"""A replica answers through vLLM as through our own engine, and asks to be replaced when vLLM is lost."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

import pytest

from serving.answer import Step
from serving.ask import Ask
from serving.backends.vllm.arguments import VllmSizes
from serving.backends.vllm.checkpoint import open_any_checkpoint
from serving.backends.vllm.host import VllmHost
from serving.backends.vllm.keeper import VllmKeeper
from serving.engine.errors import RankLost
from serving.engine.generation import Message
from serving.replica import Replica, Unhealthy
from serving.settings import ServingSettings
from tests.serving.backends.foreign_checkpoint import write_llama
from tests.serving.backends.vllm.scripted import ScriptedGenerator, token
from training.tokens import EOS

ASK = Ask((Message("user", "2+2?"),), max_tokens=8)


class Unchecked:
    """Nothing is known of any step."""

    async def start(self) -> None: ...

    async def steps(self, question: str, text: str) -> tuple[Step, ...]:
        return ()

    async def close(self) -> None: ...


@pytest.fixture
def generator() -> ScriptedGenerator:
    return ScriptedGenerator([token(ord("h"), entropy=0.9), token(ord("i"), entropy=0.1), token(EOS)])


@pytest.fixture
def replica(
    generator: ScriptedGenerator, tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> Replica:
    """Its backend is vLLM's; only what generates is written down here."""
    directory = write_llama(tmp_path / "llama")
    monkeypatch.setattr("serving.backends.vllm.checks.installed_vllm", lambda: generator)
    monkeypatch.setattr("serving.backends.vllm.keeper.installed_vllm", lambda: generator)
    generator.device = "cpu"  # type: ignore[attr-defined]
    found = Replica("replica", ServingSettings(home=tmp_path, backend="vllm", checkpoint=directory), 0.5)
    found.backend = VllmKeeper(open_any_checkpoint(directory), VllmSizes(tensor=2), lambda: generator)
    found._verifier = Unchecked()  # type: ignore[assignment]
    return found


async def test_an_ask_is_answered_with_every_signal_that_its_tokens_allow(replica: Replica) -> None:
    await replica.start()
    answer = await replica.ask(ASK, traceparent=None)
    described, stats = replica.describe(), replica.stats()
    await replica.stop()

    signals = {signal.name: signal.value for signal in answer.confidence.signals}
    assert (answer.text, answer.finish_reason) == ("hi", "stop")
    assert answer.model == described["id"] == replica.model.id
    assert answer.prompt.mean_logprob is not None
    assert signals["logprob_mean"] == pytest.approx(-0.7)
    assert signals["entropy_max"] == pytest.approx(0.9)
    assert signals["gate_entropy_mean"] is None  # the gate is not looked at
    assert (described["parameters"]["total"], len(described["parameters"]["by_rank"])) == (15, 2)
    assert (described["epoch"], stats.ready) == (1, True)


async def test_a_dead_engine_makes_the_replica_ill(replica: Replica, generator: ScriptedGenerator) -> None:
    await replica.start()
    replica.check_health()
    generator.dead = "vLLM's engine died"
    with pytest.raises(Unhealthy, match="vLLM's engine died"):
        replica.check_health()
    with pytest.raises(RankLost, match="vLLM's engine died"):
        await replica.ask(ASK, traceparent=None)
    assert not replica.backend.ready
    await replica.stop()


async def test_a_start_that_fails_is_told(replica: Replica) -> None:
    def fails() -> ScriptedGenerator:
        raise RankLost(None, "vLLM did not start: no such model")

    keeper = replica.backend
    assert isinstance(keeper, VllmKeeper)
    keeper._generator = fails
    with pytest.raises(RankLost, match="no such model"):
        await replica.start()
    assert not keeper.ready
    await replica.stop()


def test_a_host_that_cannot_start_says_why_and_leaves_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    host = VllmHost(open_any_checkpoint(write_llama(tmp_path / "llama")), VllmSizes(), "cpu")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("VLLM_RPC_BASE_PATH", "/elsewhere")  # and put back afterwards
    with pytest.raises(RankLost, match=r"vLLM did not start: .*vllm"):
        host.start({})
    assert not host.loop.is_running()
    assert Path(os.environ["VLLM_RPC_BASE_PATH"]).parent == tmp_path
    assert not Path(os.environ["VLLM_RPC_BASE_PATH"]).exists()


async def test_a_caller_that_leaves_gives_its_generation_up(replica: Replica, generator: ScriptedGenerator) -> None:
    generator.said = [None]
    await replica.start()
    ask = asyncio.create_task(replica.ask(ASK, traceparent=None))
    assert await asyncio.to_thread(generator.asked.wait, 10)
    ask.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ask
    await replica.stop()
    assert len(generator.given_up) == 1
    assert replica.held == 0
