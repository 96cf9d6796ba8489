"""Reads what is used of vLLM's RequestOutput; imports no vLLM."""

from __future__ import annotations

from typing import Any

from serving.backends.vllm.flight import VllmOutput, VllmToken


def output_since(output: Any, taken: int) -> VllmOutput:
    """What it holds beyond the first `taken` tokens.

    `output` is cumulative, with flat log-probabilities. vLLM merges those of one token at a time into dictionaries when
    they come faster than they are read: two columns of the same token would become one.
    """
    completion, prompt, metrics = output.outputs[0], output.prompt_logprobs, output.metrics
    return VllmOutput(
        tokens=tuple(
            _token(completion.token_ids[place], completion.logprobs, place)
            for place in range(taken, len(completion.token_ids))
        ),
        finish_reason=completion.finish_reason,
        prompt_logprobs=None if prompt is None or taken else tuple(prompt.logprobs),
        reused_tokens=output.num_cached_tokens or 0,
        scheduled_at=(metrics.scheduled_ts or None) if metrics is not None else None,
    )


def _token(token_id: int, logprobs: Any, place: int) -> VllmToken:
    first, end = logprobs.start_indices[place], logprobs.end_indices[place]
    return VllmToken(token_id, tuple(logprobs.token_ids[first:end]), tuple(logprobs.logprobs[first:end]))
