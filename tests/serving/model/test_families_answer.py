"""An engine answers with every family, in a chat template with its tokens, what transformers would say."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from serving.engine.generation import GenerationRequest, Message
from serving.engine.local import local_engine
from serving.model.families.registry import FAMILIES
from tests.serving.model.speech import write_speech
from tests.serving.tiny_checkpoint import CONTEXT, reference_logits, write_tiny_checkpoint

CHAT = [("system", "Sums."), ("user", "2 + 2?"), ("assistant", "4"), ("user", "ünd 3 + 3?")]


def by_transformers(directory: Path) -> list[int]:
    theirs = PreTrainedTokenizerFast.from_pretrained(directory)
    given = [{"role": role, "content": content} for role, content in CHAT]
    ids: list[int] = theirs.apply_chat_template(given, add_generation_prompt=True, return_dict=False)
    return ids


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("ranks", [1, 2])
def test_an_answer_is_transformers_own(tmp_path: Path, family: str, ranks: int) -> None:
    directory = write_tiny_checkpoint(tmp_path / "checkpoint", family=family)
    write_speech(directory, family)
    with local_engine(directory, ranks=ranks, kv_tokens=2 * CONTEXT, step_tokens=40) as engine:
        messages = tuple(Message(role, content) for role, content in CHAT)  # type: ignore[arg-type]
        request = GenerationRequest("one", messages, max_tokens=12, temperature=0.0)
        generated = engine.submit(request).result(60)
    prompt = by_transformers(directory)
    assert generated.usage.prompt_tokens == len(prompt)
    ids = [token.token_id for token in generated.tokens]
    logprobs = reference_logits(directory, prompt + ids)[len(prompt) - 1 : -1].double().log_softmax(1)
    for token, expected in zip(generated.tokens, logprobs, strict=True):
        assert token.logprob == pytest.approx(float(expected[token.token_id]), abs=1e-4)
        assert token.logprob == pytest.approx(float(expected.max()), abs=1e-4)  # some tokens are equally probable
        assert token.gate_entropy is not None
        assert 0 < token.gate_entropy <= math.log(8)
