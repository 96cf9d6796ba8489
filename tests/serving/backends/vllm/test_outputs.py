"""Of vLLM's cumulative outputs each token is taken once, with its own columns, however late it is read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from serving.backends.vllm.outputs import output_since


def flat(*rows: tuple[tuple[int, ...], tuple[float, ...]]) -> Any:
    """As vllm.logprobs.FlatLogprobs keeps them."""
    starts, ends, ids, logprobs = [], [], [], []
    for row_ids, row_logprobs in rows:
        starts.append(len(ids))
        ids += row_ids
        logprobs += row_logprobs
        ends.append(len(ids))
    return SimpleNamespace(start_indices=starts, end_indices=ends, token_ids=ids, logprobs=logprobs)


ROWS = [((7, 0, 7), (-0.1, 0.5, -0.1)), ((8, 0, 9), (-1.5, 1.1, -0.3)), ((9, 0, 9), (-0.2, 0.6, -0.2))]


def cumulative(count: int, finish_reason: str | None = None) -> Any:
    completion = SimpleNamespace(
        token_ids=[ids[0] for ids, _ in ROWS[:count]], logprobs=flat(*ROWS[:count]), finish_reason=finish_reason
    )
    prompt = flat(((), ()), ((4,), (-3.0,)), ((5,), (-2.0,)))
    metrics = SimpleNamespace(scheduled_ts=12.5)
    return SimpleNamespace(outputs=[completion], prompt_logprobs=prompt, metrics=metrics, num_cached_tokens=None)


def test_the_first_output_brings_the_prompts_logprobs() -> None:
    found = output_since(cumulative(1), taken=0)
    assert found.prompt_logprobs == (-3.0, -2.0)
    assert (found.reused_tokens, found.scheduled_at, found.finish_reason) == (0, 12.5, None)
    assert [(token.token_id, token.ids, token.logprobs) for token in found.tokens] == [(7, *ROWS[0])]


def test_what_was_taken_is_not_taken_again() -> None:
    found = output_since(cumulative(3, "length"), taken=1)
    assert [token.logprobs for token in found.tokens] == [ROWS[1][1], ROWS[2][1]]
    assert (found.prompt_logprobs, found.finish_reason) == (None, "length")


def test_an_end_without_a_token_is_an_end() -> None:
    found = output_since(cumulative(3, "length"), taken=3)
    assert (found.tokens, found.finish_reason) == ((), "length")
