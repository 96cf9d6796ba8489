"""Tokens a second of a packed checkpoint beside the one it was made from, through the engine with one rank.

Seconds are of the rank's processor time: what others do on the machine hardly moves them.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from pathlib import Path
from typing import Any

import torch

from serving.engine.engine import Engine
from serving.engine.generation import GenerationRequest, Message
from serving.engine.local import local_engine
from serving.experts.pack import pack
from training.architecture import build, reference_config
from training.export import write_companions

_TOKENS, _ROUNDS = 48, 4
_AT_ONCE = (1, 8)


def end_to_end(checkpoint: Path, packed: Path, folder: Path) -> dict[str, Any]:
    """Of the reference model, whose experts fit in a cache, and of a random one whose experts do not."""
    wide = write_wide(folder / "wide")
    pack(wide, folder / "wide-int4")
    return {"reference": compare(checkpoint, packed), "wide": compare(wide, folder / "wide-int4")}


def compare(floats: Path, packed: Path) -> dict[str, Any]:
    """Most tokens a second by how many generate at once; `ratio`: packed over floats, of the largest number."""
    with contextlib.ExitStack() as stack:
        # Both are started, and take turns: what disturbs one disturbs the other.
        engines = {
            name: stack.enter_context(local_engine(directory, ranks=1))
            for name, directory in (("floats", floats), ("int4", packed))
        }
        found: dict[str, Any] = {}
        for at_once in _AT_ONCE:
            best = dict.fromkeys(engines, 0.0)
            for _ in range(_ROUNDS):
                for name, engine in engines.items():
                    best[name] = max(best[name], _tokens_a_second(engine, at_once))
            ratio = round(best["int4"] / best["floats"], 3)
            found[str(at_once)] = {name: round(value) for name, value in best.items()} | {"ratio": ratio}
    return found | {"ratio": found[str(_AT_ONCE[-1])]["ratio"]}


def _tokens_a_second(engine: Engine, at_once: int) -> float:
    asked = [_question(number) for number in range(at_once)]
    clock = (~engine.reports[0].pid << 3) | 2  # Linux's clock of another process, as clock_getcpuclockid makes it
    before, started = engine.stats().generated_tokens, time.clock_gettime(clock)
    for future in [engine.submit(request) for request in asked]:
        future.result()
    return (engine.stats().generated_tokens - before) / (time.clock_gettime(clock) - started)


def _question(number: int) -> GenerationRequest:
    text = f"What is {number + 11} * {number + 23} + {number + 5} * {number + 8} - {number}?"
    messages = (Message("user", text),)
    return GenerationRequest(uuid.uuid4().hex, messages, max_tokens=_TOKENS, temperature=0.0, top_logprobs=0)


def write_wide(target: Path) -> Path:
    """A random model with 50 million weights in its experts: twelve times the reference's."""
    config = reference_config()
    config.update({"num_hidden_layers": 3, "layer_types": config.layer_types[:3]})
    config.update({"hidden_size": 512, "moe_intermediate_size": 256, "intermediate_size": 512})
    build(config, seed=1).to(torch.bfloat16).save_pretrained(target)
    write_companions(target, config)
    return target
