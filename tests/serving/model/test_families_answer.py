"""An engine answers with every family, in a chat template with its tokens, what transformers would say."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from serving.engine.generation import GenerationRequest, Message
from serving.engine.local import local_engine
from serving.model.families.registry import FAMILIES
from tests.serving.tiny_checkpoint import CONTEXT, reference_logits, write_tiny_checkpoint

QWEN = """{%- set last = namespace(at=messages | length - 1) %}
{%- for message in messages[::-1] if message.role == 'user' and message.content is string %}
    {%- set last.at = messages | length - 1 - loop.index0 %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content.split('</think>')[-1].lstrip('\\n') if message.role == 'assistant'
        else message.content %}
    {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}
{%- endif %}"""
DEEPSEEK = """{% set first = namespace(system='') %}
{%- for message in messages if message['role'] == 'system' %}{% set first.system = message['content'] %}{% endfor -%}
{{ bos_token }}{{ first.system }}
{%- for message in messages %}
    {%- if message['role'] == 'user' %}{{ '<｜User｜>' + message['content'] }}{% endif %}
    {%- if message['role'] == 'assistant' and message['content'] is not none %}
        {{- '<｜Assistant｜>' + message['content'].split('</think>')[-1] + '<｜end▁of▁sentence｜>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<｜Assistant｜><think>\\n' }}{% endif %}"""
SPEECH = {  # template, its special tokens, the one that ends an answer
    "afmoe": (QWEN, ("<|endoftext|>", "<|im_start|>", "<|im_end|>"), "<|im_end|>"),
    "qwen3_moe": (QWEN, ("<|endoftext|>", "<|im_start|>", "<|im_end|>"), "<|im_end|>"),
    "deepseek_v3": (
        DEEPSEEK,
        ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"),
        "<｜end▁of▁sentence｜>",
    ),
}
CHAT = [("system", "Sums."), ("user", "2 + 2?"), ("assistant", "4"), ("user", "ünd 3 + 3?")]


def write_speech(directory: Path, family: str) -> None:
    template, special, end = SPEECH[family]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={letter: place for place, letter in enumerate(letters)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(token) for token in special])
    made.add_tokens([AddedToken("<think>", special=False, normalized=False)])
    made.save(str(directory / "tokenizer.json"))
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": special[0], "eos_token": end}
    (directory / "tokenizer_config.json").write_text(json.dumps(names | {"chat_template": template}))


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
