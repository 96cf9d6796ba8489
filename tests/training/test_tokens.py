"""Text of users never becomes a role token, and the tokenizer file agrees with the code."""

import pytest
from transformers import PreTrainedTokenizerFast

from training import tokens
from training.tokens import Turn, build_tokenizer, decode, encode, prompt

SPELLED = "".join(tokens.SPECIALS)


def test_ids_are_bytes_and_roles_come_after_them() -> None:
    assert prompt([Turn("user", "1é")]) == [257, 260, 49, 195, 169, 261]


def test_spelling_a_role_token_produces_only_bytes() -> None:
    ids = encode([Turn("user", SPELLED)])[0]
    assert [i for i in ids if i >= 256] == [tokens.BOS, tokens.USER]
    assert decode(ids) == SPELLED


def test_an_assistant_message_ends_and_only_it_is_produced() -> None:
    ids, produced = encode([Turn("user", "a"), Turn("assistant", "b")])
    assert ids == [257, 260, 97, 261, 98, 258]
    assert produced == [False, False, False, False, True, True]


@pytest.mark.parametrize(
    "text", ["12 + 7 = 19\n", "naïve 日本 😀", " \t\r\n ", "", bytes(range(256)).decode("latin-1")]
)
def test_the_tokenizer_file_spells_text_as_bytes(text: str) -> None:
    tokenizer = build_tokenizer()
    ids = tokenizer.encode(text).ids
    assert ids == list(text.encode())
    assert tokenizer.decode(ids) == text == decode(ids)


def test_the_chat_template_writes_the_training_format() -> None:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=build_tokenizer(), chat_template=tokens.CHAT_TEMPLATE)
    turns = [Turn("system", "s"), Turn("user", "q\n"), Turn("assistant", "a"), Turn("user", "é?")]
    messages = [{"role": turn.role, "content": turn.content} for turn in turns]
    written = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert written == prompt(turns)


def test_broken_bytes_are_shown_not_raised() -> None:
    assert decode([0xC3, tokens.EOS]) == "�"
