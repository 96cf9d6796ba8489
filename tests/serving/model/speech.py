"""Gives a tiny checkpoint of any family a tokenizer and its family's chat template, so that it can be asked."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

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
