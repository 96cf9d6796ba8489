"""Generates with transformers' own generate(), as its documentation has it."""

from __future__ import annotations

import sys
from importlib.metadata import version

import torch
from transformers import AutoModelForCausalLM

from benchmarks.peers.engine import timed


def main(given: str, found: str) -> None:
    asked = timed.read(given)
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(asked.checkpoint, dtype=torch.float32).eval()

    def generate(prompts: list[list[int]], tokens: int) -> list[list[int]]:
        ids = torch.tensor(prompts)
        answers = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False)
        rows: list[list[int]] = answers[:, ids.shape[1] :].tolist()
        return rows

    with torch.inference_mode():
        batches = timed.all_rates(generate, asked)
    timed.answer(found, batches, {name: version(name) for name in ("transformers", "torch")})


if __name__ == "__main__":
    main(*sys.argv[1:])
