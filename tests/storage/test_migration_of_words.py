"""Verdicts of before stay as they are once the database holds two people to theirs; a lone last one ends nothing."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from storage.schema import downgrade, upgrade
from tests.storage.conftest import VAULT
from tests.storage.first_version import TEXT_HASH, bring_up, make, writing

BEFORE = "0008"
WORD = {
    "item_id": "rev_1", "tenant": "acme", "kind": "approve", "reason": "", "content_hash": TEXT_HASH,
    "fencing_token": 1, "created_at": 6.0, "final": False, "vouched": "mac",
}  # fmt: skip
FIRST = {**WORD, "id": "ver_1", "reviewer_id": "key_2"}
LAST = {**WORD, "id": "ver_2", "reviewer_id": "key_3", "fencing_token": 3, "final": True}
OTHER_TEXT = {**FIRST, "id": "ver_0", "reviewer_id": "key_4", "kind": "edit", "content_hash": "of another text"}


@pytest.fixture
def url(empty_url: str) -> str:
    """Of the version before, with rows of the first one, where rev_1 was approved."""
    make(empty_url)
    upgrade(empty_url, BEFORE, VAULT, vouch_for_waiting=True)
    with writing(empty_url) as conn:
        conn.execute(sa.text("DELETE FROM verdicts"))
        conn.execute(sa.text("UPDATE review_items SET four_eyes = true WHERE id = 'rev_1'"))
    return empty_url


def say(url: str, *words: dict[str, object]) -> None:
    with writing(url) as conn:
        for word in words:
            marks = ", ".join(f":{name}" for name in word)
            conn.execute(sa.text(f"INSERT INTO verdicts ({', '.join(word)}) VALUES ({marks})"), word)


def said(url: str) -> dict[str, tuple[object, ...]]:
    """id → final, four_eyes, agrees_with, agrees_with_reviewer."""
    with writing(url) as conn:
        rows = conn.execute(
            sa.text("SELECT id, final, four_eyes, agrees_with, agrees_with_reviewer FROM verdicts ORDER BY id")
        )
        return {row[0]: (bool(row[1]), bool(row[2]), *row[3:]) for row in rows}


def test_a_last_word_is_said_to_agree_with_the_first_for_its_text(url: str) -> None:
    say(url, OTHER_TEXT, FIRST, LAST)
    bring_up(url)
    found = said(url)
    alone = (False, True, None, None)
    assert found == {"ver_0": alone, "ver_1": alone, "ver_2": (True, True, "ver_1", "key_2")}
    downgrade(url, BEFORE)
    bring_up(url)
    assert said(url) == found


def test_words_that_were_erased_still_agree(url: str) -> None:
    say(url, {**FIRST, "content_hash": ""}, {**LAST, "content_hash": ""})
    bring_up(url)
    assert said(url)["ver_2"] == (True, True, "ver_1", "key_2")


@pytest.mark.parametrize("beside", [[], [OTHER_TEXT], [{**FIRST, "item_id": "rev_2"}]])
def test_a_last_word_whose_first_is_gone_ends_nothing_any_more(url: str, beside: list[dict[str, object]]) -> None:
    say(url, LAST, *beside)
    bring_up(url)
    assert said(url)["ver_2"] == (False, True, None, None)


@pytest.mark.parametrize("four_eyes", ["true", "false"])
def test_a_word_that_one_person_may_give_alone_stays_as_it_is(url: str, four_eyes: str) -> None:
    with writing(url) as conn:
        conn.execute(sa.text(f"UPDATE review_items SET four_eyes = {four_eyes}"))
    word = {**LAST, "kind": "reject", "content_hash": None} if four_eyes == "true" else LAST
    say(url, word)
    bring_up(url)
    assert said(url) == {"ver_2": (True, four_eyes == "true", None, None)}


def test_an_altered_action_stops_no_migration_and_none_comes_after(url: str) -> None:
    with writing(url) as conn:
        conn.execute(sa.text("UPDATE review_items SET action = 'x' WHERE id = 'rev_2'"))
    bring_up(url)
    with writing(url) as conn:
        actions = conn.execute(sa.text("SELECT action FROM review_items ORDER BY id")).scalars().all()
    assert actions == ["hold", "hold"]
    with pytest.raises(IntegrityError), writing(url) as conn:
        conn.execute(sa.text("UPDATE review_items SET action = 'x' WHERE id = 'rev_2'"))
