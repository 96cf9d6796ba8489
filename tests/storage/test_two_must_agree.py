"""The database itself, whatever the program does, refuses a last word under four eyes that agrees with nobody's."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from storage import erasure, subjects
from storage.database import Database
from storage.records import Key, ReviewItem, VerdictKind
from storage.storable import content_hash
from storage.tables import verdicts
from tests.storage.made import as_if_asked, held
from tests.storage.reviewing import claim, decide


@pytest.fixture
def watched(database: Database, caller: Key) -> ReviewItem:
    """An item that two people must agree on."""
    return as_if_asked(database, held(database, caller), four_eyes=True)


@pytest.fixture
def first(database: Database, watched: ReviewItem, ada: Key) -> str:
    """Ada's word that the answer may leave: the verdict's id."""
    return decide(database, watched, ada, claim(database, watched, ada))[1].id


def put(database: Database, item: ReviewItem, reviewer: Key, **columns: Any) -> None:
    """A last word that lets the answer out, past the program."""
    row = {
        "id": "ver_put", "item_id": item.id, "tenant": "acme", "reviewer_id": reviewer.id, "kind": "approve",
        "reason": "", "content_hash": content_hash("42"), "fencing_token": 9, "created_at": 1.0, "final": True,
        "four_eyes": item.four_eyes,
    }  # fmt: skip
    with database.transaction() as conn:
        conn.execute(verdicts.insert(), {**row, **columns})


def agreed(database: Database, verdict_id: str) -> tuple[Any, ...]:
    t = verdicts.c
    with database.read() as conn:
        columns = (t.final, t.four_eyes, t.agrees_with, t.agrees_with_reviewer)
        return tuple(conn.execute(sa.select(*columns).where(t.id == verdict_id)).one())


@pytest.mark.parametrize("kind", ["approve", "edit"])
@pytest.mark.parametrize("four_eyes", [True, False, None])
def test_a_last_word_alone_is_refused(database: Database, watched, bob, kind, four_eyes) -> None:
    with pytest.raises(IntegrityError):
        put(database, watched, bob, kind=kind, four_eyes=four_eyes)


def test_a_last_word_without_the_other_persons_is_refused_although_there_is_one(
    database: Database, watched, first, bob
) -> None:
    with pytest.raises(IntegrityError):
        put(database, watched, bob)


def test_agreeing_with_oneself_is_refused(database: Database, watched, first, ada, bob) -> None:
    with pytest.raises(IntegrityError):
        put(database, watched, bob, agrees_with="ver_put", agrees_with_reviewer=bob.id)
    with pytest.raises(IntegrityError):
        put(database, watched, bob, agrees_with=first, agrees_with_reviewer=bob.id)


@pytest.mark.parametrize("forged", [{"agrees_with": "ver_none"}, {"agrees_with_reviewer": None}])
def test_agreeing_with_a_word_that_is_not_there_is_refused(database, watched, first, ada, bob, forged) -> None:
    with pytest.raises(IntegrityError):
        put(database, watched, bob, **{"agrees_with": first, "agrees_with_reviewer": ada.id, **forged})


def test_agreeing_with_a_word_on_another_item_is_refused(database: Database, watched, caller, ada, bob) -> None:
    other = held(database, caller)
    word = decide(database, other, ada, claim(database, other, ada))[1].id
    with pytest.raises(IntegrityError):
        put(database, watched, bob, agrees_with=word, agrees_with_reviewer=ada.id)


def test_agreeing_with_a_word_for_another_text_is_refused(database: Database, watched, first, ada, bob) -> None:
    agrees = {"agrees_with": first, "agrees_with_reviewer": ada.id}
    with pytest.raises(IntegrityError):
        put(database, watched, bob, kind="edit", content_hash=content_hash("43"), **agrees)
    with pytest.raises(IntegrityError):
        put(database, watched, bob, kind="reject", content_hash=None, **agrees)


def test_agreeing_with_another_persons_word_for_the_text_is_what_the_program_writes(
    database: Database, watched, first, ada, bob
) -> None:
    _, word = decide(database, watched, bob, claim(database, watched, bob))
    assert agreed(database, first) == (False, True, None, None)
    assert agreed(database, word.id) == (True, True, first, ada.id)


def test_a_last_word_that_agrees_with_another_persons_is_kept(database: Database, watched, first, ada, bob) -> None:
    put(database, watched, bob, agrees_with=first, agrees_with_reviewer=ada.id)
    assert agreed(database, "ver_put") == (True, True, first, ada.id)


def test_two_who_agreed_are_erased_with_the_text(database: Database, watched, first, caller, ada, bob) -> None:
    _, word = decide(database, watched, bob, claim(database, watched, bob))
    with database.transaction() as conn:
        erasure.erase_subject(conn, "acme", subjects.name_of_key(caller.id), "system")
    assert agreed(database, word.id) == (True, True, first, ada.id)
    with database.read() as conn:
        assert set(conn.execute(sa.select(verdicts.c.content_hash, verdicts.c.reason))) == {("", "")}


@pytest.mark.parametrize("kind", [VerdictKind.APPROVE, VerdictKind.REJECT])
def test_one_persons_word_is_enough_where_two_are_not_asked_for_or_nothing_leaves(
    database: Database, caller, watched, ada, kind
) -> None:
    item = held(database, caller) if kind is VerdictKind.APPROVE else watched
    _, word = decide(database, item, ada, claim(database, item, ada), kind)
    assert agreed(database, word.id) == (True, item.four_eyes, None, None)
