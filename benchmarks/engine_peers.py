"""Has transformers, vLLM and llama.cpp generate from a checkpoint, each by a program in an environment of its own.

The method is that of `benchmarks.peers.engine.timed`, the same for all and for our engine: see decision 0030.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.engine_peer_environments import PeersNotReady, folder_of, prepare, python_of, require
from benchmarks.peers.engine.timed import Asked, write
from training.tokens import Turn, prompt

__all__ = ["BATCHES", "PEERS", "PeersFailed", "PeersNotReady", "measure", "measure_one", "prepare", "require"]

ROOT = Path(__file__).parent.parent
BATCHES = (1, 8, 32)
PROMPT = 24  # tokens
TOKENS = 64  # of the shorter answers; the longer ones have twice as many
ROUNDS = 7
SECONDS = 900.0  # the longest that one peer may take: vLLM compiles first


class PeersFailed(Exception):
    """A peer's program ended with an error, took too long or said something else than times."""


@dataclass(frozen=True, slots=True)
class Peer:
    environment: str
    program: str
    arguments: tuple[str, ...] = ()


PEERS = {
    "transformers": Peer("vllm", "by_transformers"),
    "vllm": Peer("vllm", "by_vllm", ("compiled",)),
    "vllm_eager": Peer("vllm", "by_vllm", ("eager",)),
    "llama_cpp": Peer("llama_cpp", "by_llama_cpp"),
}


def measure(home: Path, checkpoint: Path, batches: Sequence[int] = BATCHES) -> dict[str, Any]:
    """All peers in turn: `tok_s` [peer][batch], `versions` and `load` of each. Raises PeersNotReady and PeersFailed."""
    asked = questions(checkpoint, batches)
    found = {name: measure_one(name, home, asked) for name in PEERS}
    return {
        "tok_s": {name: {batch: one["tok_s"] for batch, one in of["batches"].items()} for name, of in found.items()},
        "versions": {name: of["versions"] for name, of in found.items()},
        "load": {name: of["load"] for name, of in found.items()},
    }


def measure_one(name: str, home: Path, asked: Asked, core: int | None = None) -> dict[str, Any]:
    """One peer on one core (None: the last there is): `batches` as `timed.rates` has them, `versions`, `load`.

    Raises PeersNotReady and PeersFailed.
    """
    peer = PEERS[name]
    require(home, [peer.environment])
    core = last_core() if core is None else core
    cache = folder_of(home).absolute() / "cache"
    with tempfile.TemporaryDirectory(prefix="countersign-peers-") as folder:
        told, answer = Path(folder, "asked.json"), Path(folder, "found.json")
        write(asked, told)
        program = [str(python_of(home, peer.environment)), "-m", f"benchmarks.peers.engine.{peer.program}"]
        _run([*program, str(told), str(answer), *peer.arguments], environment(core, cache), core)
        said = answer.read_text(encoding="utf-8") if answer.exists() else ""
    return read_answer(name, said, asked.batches)


def questions(checkpoint: Path, batches: Sequence[int] = BATCHES, tokens: int = TOKENS, rounds: int = ROUNDS) -> Asked:
    """Random prompts of PROMPT tokens, as our engine would write a question: between the tokens of a chat."""
    draw = random.Random(0)
    texts = ["".join(chr(draw.randrange(33, 127)) for _ in range(PROMPT - 3)) for _ in range(max(batches))]
    prompts = [prompt([Turn("user", text)]) for text in texts]
    return Asked(str(checkpoint.resolve()), prompts, list(batches), tokens, rounds)


def environment(core: int, cache: Path) -> dict[str, str]:
    """One thread, nothing from the network, and vLLM all in one process: on one core that is its fastest way."""
    threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TORCHINDUCTOR_COMPILE_THREADS")
    offline = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "VLLM_NO_USAGE_STATS", "DO_NOT_TRACK")
    return {
        **os.environ,
        **dict.fromkeys([*threads, *offline, "VLLM_CPU_KVCACHE_SPACE"], "1"),  # of the cache: GiB
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HOME": str(cache / "huggingface"),
        "VLLM_CACHE_ROOT": str(cache / "vllm"),
        "VLLM_CPU_OMP_THREADS_BIND": str(core),
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_HOST_IP": "127.0.0.1",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "GLOO_SOCKET_IFNAME": "lo",
    }


def read_answer(name: str, said: str, batches: Sequence[int]) -> dict[str, Any]:
    """What a peer's program wrote, by batch as numbers. Raises PeersFailed."""
    try:
        found = json.loads(said)
        by_batch = {batch: dict(found["batches"][str(batch)]) for batch in batches}
        versions, load = dict(found["versions"]), list(found["load"])
    except (ValueError, KeyError, TypeError) as error:
        raise PeersFailed(f"{name} wrote no times that can be read ({error!r})") from None
    for batch, one in by_batch.items():
        if not one.get("tok_s"):
            raise PeersFailed(f"{name} was disturbed too much at {batch} sequences: run it again with less load")
    return {"batches": by_batch, "versions": versions, "load": load}


def last_core() -> int:
    return max(os.sched_getaffinity(0))


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Processes and threads that this thread starts meanwhile run on that core alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _run(command: list[str], told: Mapping[str, str], core: int) -> None:
    """What it says meanwhile goes to standard error."""
    try:
        with on_core(core):
            subprocess.run(command, cwd=ROOT, env=told, timeout=SECONDS, stdout=sys.stderr, check=True)  # noqa: S603
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
        raise PeersFailed(str(error)) from None
