"""What transformers says of the same questions: greedy tokens with every measure that the contract has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.backends_asked import TOP
from serving.answer import TokenTrace, Usage
from serving.engine.generation import Generated, GenerationRequest
from serving.engine.prompt import open_prompt_writer, trace_prompt
from serving.engine.vocabulary import load_vocabulary


def by_transformers(checkpoint: Path, requests: Sequence[GenerationRequest]) -> list[Generated]:
    """Token by token over the whole text again: nothing is cached."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    vocabulary = load_vocabulary(checkpoint)
    writer = open_prompt_writer(vocabulary, checkpoint)

    def logprobs(ids: Sequence[int]) -> Any:  # [tokens, vocab]
        with torch.inference_mode():
            return model(torch.tensor([list(ids)])).logits[0].double().log_softmax(-1)

    def answer(request: GenerationRequest) -> Generated:
        prompt = writer.write(request.messages)
        ids, traces = list(prompt.ids), []
        of_prompt = logprobs(ids)
        asked = [of_prompt[place - 1, ids[place]].item() for place in range(1, len(ids)) if prompt.content[place]]
        for _ in range(request.max_tokens or 1):
            last = logprobs(ids)[-1]
            best = last.topk(TOP)
            token = int(best.indices[0])
            if token == model.config.eos_token_id:
                break
            top = tuple((vocabulary.shown(int(number)), float(best.values[k])) for k, number in enumerate(best.indices))
            traces.append(
                TokenTrace(
                    vocabulary.shown(token), token, float(last[token]), top, float(-(last.exp() * last).nansum())
                )
            )
            ids.append(token)
        usage = Usage(len(prompt.ids), len(traces))
        traced = trace_prompt(len(prompt.ids), asked)
        return Generated(request.request_id, "", "length", tuple(traces), traced, usage, 0)

    return [answer(request) for request in requests]
