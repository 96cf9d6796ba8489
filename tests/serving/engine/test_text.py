"""Pieces of text join to the whole text, whatever bytes the tokens are."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from serving.engine.text import TextStream


def stream(tokens: list[bytes], stop: tuple[str, ...] = ()) -> TextStream:
    found = TextStream(stop)
    for token in tokens:
        found.add(token)
        if found.stopped:
            break
    found.finish()
    return found


@settings(deadline=None)
@given(st.text(), st.integers(1, 3))
def test_any_text_comes_back_from_its_bytes(text: str, size: int) -> None:
    data = text.encode()
    found = stream([data[at : at + size] for at in range(0, len(data), size)])
    assert found.text == "".join(found.pieces) == text


@settings(deadline=None)
@given(st.lists(st.binary(max_size=3)))
def test_any_bytes_give_the_text_that_a_whole_decoding_gives(tokens: list[bytes]) -> None:
    found = stream(tokens)
    assert found.text == "".join(found.pieces) == b"".join(tokens).decode(errors="replace") or not tokens
    assert len(found.pieces) == len(tokens)


def test_a_character_belongs_to_the_token_that_completes_it() -> None:
    assert stream([b"a", b"\xc3", b"\xa9"]).pieces == ["a", "", "é"]


def test_an_unfinished_character_is_replaced_at_the_end() -> None:
    assert stream([b"a", b"\xc3"]).pieces == ["a", "\ufffd"]


def test_a_stop_string_ends_the_text_before_it() -> None:
    found = stream([b"4", b"2", b"\n", b"\n", b"x"], ("\n\n",))
    assert (found.stopped, found.text, found.pieces) == (True, "42", ["4", "2"])


def test_the_earliest_of_several_stop_strings_counts() -> None:
    assert stream([b"one two three"], ("three", "two")).text == "one "


def test_a_token_that_straddles_the_stop_string_keeps_its_beginning() -> None:
    found = stream([b"ab", b"cSTOPd"], ("STOP",))
    assert (found.text, found.pieces) == ("abc", ["ab", "c"])


def test_a_text_without_the_stop_string_goes_on() -> None:
    found = stream([b"S", b"T", b"O", b"x"], ("STOP",))
    assert (found.stopped, found.text) == (False, "STOx")
