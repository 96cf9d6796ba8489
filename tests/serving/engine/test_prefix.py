"""A block's key stands for every token up to its end, which of them are content, and the salt."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serving.engine.plan import NO_TARGET
from serving.engine.prefix import BlockKeys, Key

SIZE = 4
tokens = st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=30)


def keys_of(sequence: list[tuple[int, bool]], salt: str = "", size: int = SIZE) -> list[Key]:
    made = BlockKeys(salt, size)
    made.extend([token for token, _ in sequence], [content for _, content in sequence])
    return made.keys


@given(tokens, tokens)
def test_keys_agree_exactly_as_far_as_the_full_blocks_do(
    first: list[tuple[int, bool]], second: list[tuple[int, bool]]
) -> None:
    one, other = keys_of(first), keys_of(second)
    assert len(one) == len(first) // SIZE
    for place, (a, b) in enumerate(zip(one, other, strict=False), 1):
        assert (a == b) == (first[: place * SIZE] == second[: place * SIZE])


@given(tokens, st.lists(st.integers(0, 30), max_size=5))
def test_keys_do_not_depend_on_how_a_sequence_grew(sequence: list[tuple[int, bool]], cuts: list[int]) -> None:
    made = BlockKeys("", SIZE)
    for end in [*sorted(cut for cut in cuts if cut < len(sequence)), len(sequence)]:
        made.extend([token for token, _ in sequence[:end]], [content for _, content in sequence[:end]])
    assert made.keys == keys_of(sequence)


def test_sequences_of_different_salts_share_no_key() -> None:
    sequence = [(1, True)] * 12
    assert set(keys_of(sequence, "one")).isdisjoint(keys_of(sequence, "other"))


def test_a_prompts_last_token_is_never_in_a_link() -> None:
    for length in range(1, 14):
        ids = list(range(length))
        made = BlockKeys("", SIZE)
        made.extend(ids, [True] * length)
        links = made.links(ids, [*ids[1:], NO_TARGET])
        assert len(links) == (length - 1) // SIZE
        assert [link.successor for link in links] == [SIZE * (place + 1) for place in range(len(links))]
