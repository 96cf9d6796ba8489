"""An engine answers with every family, in a chat template with its tokens, what transformers would say."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from serving.answer import answer_from_json
from serving.engine.generation import GenerationRequest, Message
from serving.engine.local import local_engine
from serving.model.families.registry import FAMILIES
from tests.serving.tiny_checkpoint import CONTEXT, reference_logits, write_tiny_checkpoint
from tests.serving_process import running_serving

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


def test_the_application_serves_another_family_and_says_which(tmp_path: Path) -> None:
    directory = write_tiny_checkpoint(tmp_path / "checkpoint", family="deepseek_v3")
    write_speech(directory, "deepseek_v3")
    with (
        running_serving(tmp_path / "home", replicas=1, ranks=2, checkpoint=directory) as serving,
        serving.client() as client,
    ):
        model = client.get("/model").json()
        question = {"messages": [{"role": "user", "content": "2 + 2?"}], "max_tokens": 8, "temperature": 0}
        response = client.post("/ask", json=question)
    assert model["architecture"] == "deepseek_v3"
    assert [len(rank["expert_ids"]["1"]) for rank in model["parameters"]["by_rank"]] == [4, 4]
    assert response.status_code == 200
    answer = answer_from_json(response.json())
    with local_engine(directory, ranks=1, kv_tokens=2 * CONTEXT, step_tokens=40) as engine:
        request = GenerationRequest("one", (Message("user", "2 + 2?"),), max_tokens=8, temperature=0.0)
        alone = engine.submit(request).result(60)
    assert answer.tokens[0].logprob == pytest.approx(alone.tokens[0].logprob, abs=1e-4)
    assert answer.usage.prompt_tokens == alone.usage.prompt_tokens
