"""What is reused changes no answer: tokens, log-probabilities and the prompt's figures are those of a fresh prompt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.engine.engine import Engine
from serving.engine.generation import Generated, GenerationRequest, Message
from serving.engine.local import local_engine
from serving.settings import REFERENCE_CHECKPOINT
from tests.serving.tiny_checkpoint import CONTEXT, reference_logits

BLOCK = 8
SIZES = {"kv_tokens": 4 * CONTEXT, "block_size": BLOCK, "most_running": 4, "step_tokens": 32}
WAIT = 60.0  # seconds; only how long a broken test hangs
BEGINNING = "You add numbers; say nothing else. "


@pytest.fixture(scope="module", params=[1, 2])
def engine(tiny_checkpoint: Path, request: pytest.FixtureRequest) -> Iterator[Engine]:
    with local_engine(tiny_checkpoint, ranks=request.param, **SIZES) as engine:
        yield engine


def answer(engine: Engine, name: str, salt: str, *texts: str, **parameters: object) -> Generated:
    """`texts` are the caller's and the model's in turn."""
    roles = ("user", "assistant") * len(texts)
    messages = tuple(Message(role, text) for role, text in zip(roles, texts, strict=False))  # type: ignore[arg-type]
    wanted: dict[str, object] = {"max_tokens": 12, "temperature": 0.0, "cache_salt": salt, **parameters}
    return engine.submit(GenerationRequest(name, messages, **wanted)).result(WAIT)  # type: ignore[arg-type]


def assert_same(found: Generated, fresh: Generated) -> None:
    assert fresh.reused_tokens == 0
    assert [token.token_id for token in found.tokens] == [token.token_id for token in fresh.tokens]
    for got, wanted in zip(found.tokens, fresh.tokens, strict=True):
        assert got.logprob == pytest.approx(wanted.logprob, abs=1e-4)
        assert got.entropy == pytest.approx(wanted.entropy, abs=1e-4)
        assert got.gate_entropy == pytest.approx(wanted.gate_entropy, abs=1e-4)
    assert found.prompt.tokens == fresh.prompt.tokens
    assert found.prompt.mean_logprob == pytest.approx(fresh.prompt.mean_logprob, abs=1e-4)
    assert found.prompt.min_window_logprob == pytest.approx(fresh.prompt.min_window_logprob, abs=1e-4)


@pytest.mark.parametrize("extra", range(BLOCK))  # every place in a block where prompts may part
def test_prompts_that_begin_alike_are_answered_as_if_alone(engine: Engine, extra: int) -> None:
    salt, beginning = f"parting-{extra}", BEGINNING + "x" * extra
    answer(engine, "first", salt, beginning + "2 + 2?")
    again = answer(engine, "again", salt, beginning + "2 + 2?")
    parted = answer(engine, "parted", salt, beginning + "17 - 9 = ?")
    assert again.reused_tokens >= len(beginning) - BLOCK
    assert parted.reused_tokens >= len(beginning) - 2 * BLOCK
    assert_same(again, answer(engine, "fresh again", salt + "'", beginning + "2 + 2?"))
    assert_same(parted, answer(engine, "fresh parted", salt + "''", beginning + "17 - 9 = ?"))


def test_what_was_generated_is_reused_when_the_conversation_goes_on() -> None:
    """The reference model, since the tiny one writes bytes that are no text and so come back as other tokens."""
    with local_engine(REFERENCE_CHECKPOINT, **SIZES) as engine:
        first = answer(engine, "turn 1", "talk", "What is 12 + 30?", max_tokens=40)
        texts = ("What is 12 + 30?", first.text, "And twice that?")
        second = answer(engine, "turn 2", "talk", *texts)
        assert second.reused_tokens > first.usage.prompt_tokens + BLOCK  # not the prompt alone
        assert_same(second, answer(engine, "fresh turn 2", "talk'", *texts))


def test_a_reused_prompts_figures_are_those_of_transformers(engine: Engine, tiny_checkpoint: Path) -> None:
    text = BEGINNING + "3 + 4?"
    answer(engine, "before", "figures", BEGINNING + "3 - 4?")
    generated = answer(engine, "after", "figures", text)
    assert generated.reused_tokens > 0
    prompt = [257, 260, *text.encode(), 261]
    logprobs = reference_logits(tiny_checkpoint, prompt).double().log_softmax(1)
    content = [float(logprobs[place, token]) for place, token in enumerate(prompt[2:-1], 1)]
    assert generated.prompt.mean_logprob == pytest.approx(sum(content) / len(content), abs=1e-4)


def test_requests_of_another_salt_reuse_nothing(engine: Engine) -> None:
    answer(engine, "theirs", "tenant one", BEGINNING)
    assert answer(engine, "ours", "tenant two", BEGINNING).reused_tokens == 0
    assert answer(engine, "theirs again", "tenant one", BEGINNING).reused_tokens > 0


def test_text_that_looks_like_framing_is_not_taken_for_it(engine: Engine) -> None:
    """The same bytes as content of another role are other tokens, so nothing is shared beyond them."""
    one = answer(engine, "one message", "framing", "aaaaaaa" + BEGINNING)
    two = answer(engine, "two messages", "framing", "aaaaaaa", BEGINNING, "b")
    assert one.reused_tokens == 0
    assert two.reused_tokens <= BLOCK


def test_reuse_in_company_changes_no_answer(engine: Engine) -> None:
    texts = [BEGINNING + "9 " * (number % 5) + "?" for number in range(16)]
    request = [
        GenerationRequest(
            f"crowd-{n}", (Message("user", text),), max_tokens=10 + n, temperature=0.0, cache_salt="crowd"
        )
        for n, text in enumerate(texts)
    ]
    found = [future.result(WAIT) for future in [engine.submit(one) for one in request]]
    assert sum(generated.reused_tokens for generated in found) > 0
    for n, (generated, text) in enumerate(zip(found, texts, strict=True)):
        assert_same(generated, answer(engine, f"alone-{n}", f"alone-{n}", text, max_tokens=10 + n))


def test_more_prompts_than_the_cache_holds_are_answered_right_while_old_ones_are_forgotten(engine: Engine) -> None:
    for number in range(40):
        answer(engine, f"fill-{number}", "many", f"{number} " * 40, max_tokens=2)
    again = answer(engine, "once more", "many", "39 " * 40, max_tokens=2)
    forgotten = answer(engine, "the first", "many", "0 " * 40, max_tokens=2)
    assert again.reused_tokens > 0
    assert forgotten.reused_tokens == 0
    assert_same(again, answer(engine, "fresh", "many'", "39 " * 40, max_tokens=2))


def test_a_generation_given_up_leaves_only_whole_blocks_and_the_next_answer_is_right(engine: Engine) -> None:
    text = BEGINNING * 4
    request = GenerationRequest("gone", (Message("user", text),), temperature=0.0, cache_salt="gone", max_tokens=80)
    for steps in range(1, 7):  # it is halfway through its prompt when it is given up, or generates
        future = engine.submit(request)
        answer(engine, f"beside-{steps}", f"beside-{steps}", "x", max_tokens=steps)
        future.cancel()
        answer(engine, f"later-{steps}", f"later-{steps}", "x", max_tokens=1)
        assert engine.stats().free_blocks == (4 * CONTEXT // BLOCK,) * len(engine.reports)
    found = answer(engine, "whole", "gone", text)
    assert_same(found, answer(engine, "fresh whole", "gone'", text))
