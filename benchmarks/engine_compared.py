"""Our engine beside transformers, vLLM and llama.cpp: the same weights and prompts, one thread each, in turn."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks import engine_own_rates, engine_peers
from benchmarks.engine_model import make
from benchmarks.machine import machine
from benchmarks.peers.engine.timed import Asked

Rates = Mapping[int, Mapping[str, Any]]  # by batch, as `timed.rates` has them
Own = Callable[[Asked], Rates]
Peer = Callable[[str, Asked], Mapping[str, Any]]  # as `engine_peers.measure_one` answers

KEYS = {  # what is asked of the engine: the peer, and the batch
    "over_transformers_b1": ("transformers", 1),
    "over_transformers_b8": ("transformers", 8),
    "over_vllm_b1": ("vllm", 1),
    "over_vllm_b8": ("vllm", 8),
    "over_llamacpp_b1": ("llama_cpp", 1),
    "over_llamacpp_b32": ("llama_cpp", 32),
}


def compare(own: Own, peer: Peer, asked: Asked, names: Sequence[str] = tuple(engine_peers.PEERS)) -> dict[str, Any]:
    """Ours before and after each peer, so that what else the machine does at the time meets both.

    The keys of KEYS are by the time on the wall, `over` has them all, by peer and batch; `over_used` by processor time.
    """
    before, found = own(asked), {}
    for name in names:
        theirs, after = peer(name, asked), own(asked)
        found[name] = {**theirs, "own": (before, after)}
        before = after
    over = {name: _ratios(one, "tok_s") for name, one in found.items()}
    keys = {key: over[name].get(batch) for key, (name, batch) in KEYS.items() if name in over}
    return {
        **keys,
        "over": over,
        "over_used": {name: _ratios(one, "tok_s_used") for name, one in found.items()},
        "peers": {
            name: {batch: rates["tok_s"] for batch, rates in one["batches"].items()} for name, one in found.items()
        },
        "own": {batch: fmean(_own(found, batch)) for batch in asked.batches},
        "different_answers": {name: _different(one) for name, one in found.items()},
        "peer_versions": {name: one["versions"] for name, one in found.items()},
        "peer_load": {name: one["load"] for name, one in found.items()},
    }


def _ratios(one: Mapping[str, Any], rate: str) -> dict[int, float | None]:
    """Ours over theirs, by batch; None where all was noise."""
    found = {}
    for batch, theirs in one["batches"].items():
        ours = [rates[batch][rate] for rates in one["own"]]
        known = theirs[rate] and all(ours)
        found[batch] = round(fmean(ours) / theirs[rate], 2) if known else None
    return found


def _own(found: Mapping[str, Any], batch: int) -> list[float]:
    return [rates[batch]["tok_s"] or 0.0 for one in found.values() for rates in one["own"]]


def _different(one: Mapping[str, Any]) -> int:
    """Greedy answers that are not ours although no margin allows it."""
    ours, _ = one["own"]
    return sum(engine_own_rates.differing(ours[batch], theirs) for batch, theirs in one["batches"].items())


def measure(home: Path, names: Sequence[str], rounds: int) -> dict[str, Any]:
    """Our steps run as they come, not compiled. Raises PeersNotReady and PeersFailed."""
    with tempfile.TemporaryDirectory(prefix="countersign-peers-") as folder:
        asked = engine_peers.questions(make(Path(folder)), rounds=rounds)
        return measure_beside(home, asked, {"token_seconds": 1.0}, names)


def measure_beside(
    home: Path, asked: Asked, settings: Mapping[str, Any], names: Sequence[str] = tuple(engine_peers.PEERS)
) -> dict[str, Any]:
    """`settings`: fields of our EngineConfig. Our rank has one thread, as peers have, and its driver runs beside it;
    `over_on_one_core` is what is left where it may not. Raises PeersNotReady and PeersFailed.
    """
    engine_peers.require(home)
    core = engine_peers.last_core()

    def own(asked: Asked) -> Rates:
        return engine_own_rates.measure(asked, **settings)

    found = compare(own, lambda name, what: engine_peers.measure_one(name, home, what, core), asked, names)
    with engine_peers.on_core(core):
        alone = own(asked)
    return {**found, **_on_one_core(alone, found["peers"])}


def _on_one_core(own: Rates, peers: Mapping[str, Mapping[int, float]]) -> dict[str, Any]:
    over = {
        name: {batch: round(own[batch]["tok_s"] / rate, 2) for batch, rate in by_batch.items() if own[batch]["tok_s"]}
        for name, by_batch in peers.items()
    }
    return {"over_on_one_core": over, "own_on_one_core": {batch: rates["tok_s"] for batch, rates in own.items()}}


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when measured, 1 when a peer failed, 2 when their environments are missing."""
    options = _options(arguments)
    try:
        if options.prepare:
            engine_peers.prepare(options.home)
        found = {**measure(options.home, options.peers, options.rounds), "machine": machine()}
    except engine_peers.PeersNotReady as error:
        print(f"engine_compared: {error}", file=sys.stderr)
        return 2
    except (engine_peers.PeersFailed, subprocess.SubprocessError, OSError) as error:
        print(f"engine_compared: {error}", file=sys.stderr)
        return 1
    print(json.dumps(found, indent=None if options.json else 2))
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run bench engine_compared", description=__doc__)
    parser.add_argument("--prepare", action="store_true", help="first make their environments: up to 25 minutes, 3 GB")
    parser.add_argument("--peers", nargs="+", choices=engine_peers.PEERS, default=list(engine_peers.PEERS))
    parser.add_argument("--rounds", type=int, default=engine_peers.ROUNDS, help="pairs of answers that are timed")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    options.home = Path(os.environ.get("COUNTERSIGN_HOME") or ".countersign")
    return options


if __name__ == "__main__":
    sys.exit(main())
