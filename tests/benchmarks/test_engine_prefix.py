"""The benchmark of reuse compares the same prompts, and says what reuse changed."""

from benchmarks.engine_prefix import measure


def test_prompts_that_share_their_beginning_are_answered_alike() -> None:
    found = measure(pairs=2)
    assert found["reused_tokens"] > 0.9 * found["prompt_tokens"]
    assert found["same_tokens"]
    assert found["largest_logprob_difference"] <= 1e-4
