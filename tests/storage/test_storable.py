"""What cannot be kept the same in SQLite and PostgreSQL is refused by name; JSON has one form."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import InvalidValue
from storage.storable import (
    checked_name,
    checked_text,
    content_hash,
    finite,
    from_json,
    is_visible,
    object_from,
    to_json,
)

_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=10,
)


@given(_values)
def test_json_comes_back_unchanged(value: Any) -> None:
    assert from_json(to_json("data", value)) == value


def test_equal_values_have_equal_json() -> None:
    assert to_json("data", {"b": 1, "a": "é"}) == to_json("data", {"a": "é", "b": 1}) == '{"a":"é","b":1}'


@pytest.mark.parametrize("value", ["a\x00b", ["\x00"], {"\x00": 1}, "\\\x00", "\ud800", {"a": "\udfff"}])
def test_nul_and_lone_surrogates_are_refused_by_field(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^messages: contains a"):
        to_json("messages", value)


@pytest.mark.parametrize("value", ["\\u0000", "\\\\u0000", "u0000", "\\"])
def test_the_letters_that_would_escape_a_nul_are_text(value: str) -> None:
    assert from_json(to_json("messages", [value])) == [value]


@pytest.mark.parametrize("value", [math.nan, math.inf, [-math.inf], object()])
def test_what_json_does_not_know_is_refused_by_field(value: Any) -> None:
    with pytest.raises(InvalidValue, match=r"^answer: ") as caught:
        to_json("answer", value)
    assert caught.value.field == "answer"


@pytest.mark.parametrize("value", ["a\x00", "\ud83d"])
def test_text_that_cannot_be_kept_is_refused_by_field(value: str) -> None:
    with pytest.raises(InvalidValue, match=r"^note: "):
        checked_text("note", value)


def test_bidirectional_and_combining_characters_are_kept() -> None:
    assert checked_text("text", "\u202eabc\u0301 😀") == "\u202eabc\u0301 😀"


def test_content_hash_is_sha256_of_utf8() -> None:
    assert content_hash("é") == "4a99557e4033c3539de2eb65472017cad5f9557f7a0625a09f1c3f6e2ba69c4c"


@pytest.mark.parametrize("text", ["", " \n\t", "\u200b\u2060", "\ufeff", "\u2028\u00a0", "\u202e\u00ad", "\x07"])
def test_nobody_sees_a_text_of_spaces_and_marks_of_formatting(text: str) -> None:
    assert not is_visible(text)
    assert is_visible(f"{text}é{text}")


@pytest.mark.parametrize("hidden", ["\u202e", "\u2067", "\u200e", "\ufeff", "\u2028", "\x1b", "\n", "\x85"])
def test_name_has_no_character_that_hides_or_reorders(hidden: str) -> None:
    with pytest.raises(InvalidValue, match=f"^name: contains U\\+{ord(hidden):04X}"):
        checked_name("name", f"Ada{hidden}ecalevoL")


@pytest.mark.parametrize("name", ["Ada Lovelace", "محمد", "שרה", "می\u200cخواهم", "👩\u200d⚕️", "O’Brien-Ñúñez"])
def test_names_of_people_are_names(name: str) -> None:
    assert checked_name("name", name) == name


@pytest.mark.parametrize("text", ["{", "[]", "1", "", "[" * 100_000])
def test_what_is_no_object_reads_as_an_empty_one(text: str) -> None:
    assert object_from(text) == {}
    assert object_from('{"a":1}') == {"a": 1}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, "1", None, [1.0]])
def test_what_is_no_finite_number_reads_as_none(value: object) -> None:
    assert finite(value) is None
    assert finite(3) == 3.0
