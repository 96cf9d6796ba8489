"""What others said of an item counts, and is shown, only as they gave it here: referrals and proposals alike."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from storage import interactions, review_opinions, reviews
from storage.database import Database
from storage.errors import NotVouched, NotVouchedYet, StorageError, VouchedElsewhere
from storage.records import ItemState, Key, ReviewItem, VerdictKind, Vouched
from storage.storable import content_hash
from storage.tables import decisions, verdicts
from tests.storage.made import as_if_asked, held
from tests.storage.reviewing import claim, decide

EDIT, REFER = VerdictKind.EDIT, VerdictKind.REFER
OTHER_KEY = f"mk_{'0' * 16}:{'0' * 64}"


@pytest.fixture(params=["referred", "proposed"])
def said(request: pytest.FixtureRequest, database: Database, caller: Key, ada: Key) -> ReviewItem:
    """An item that waits for a second person after Ada's word."""
    if request.param == "proposed":
        item = as_if_asked(database, held(database, caller), four_eyes=True)
        decide(database, item, ada, claim(database, item, ada), EDIT, content="forty-two")
    else:
        item = held(database, caller)
        decide(database, item, ada, claim(database, item, ada), REFER, "It leaks a secret.")
    return item


def forge(database: Database, item: ReviewItem, **columns: Any) -> None:
    with database.transaction() as conn:
        assert conn.execute(sa.update(verdicts).where(verdicts.c.item_id == item.id).values(columns)).rowcount == 1


def heard(database: Database, item: ReviewItem) -> Vouched:
    with database.read() as conn:
        outcome = interactions.get_outcome(conn, item.interaction_id, "acme")
        assert outcome is not None
        words, found = review_opinions.heard(conn, outcome, item.id)
    assert len(words) == 1
    return found


def refusal(database: Database, item: ReviewItem, token: int, who: Key, kind: VerdictKind) -> type[StorageError] | None:
    try:
        decide(database, item, who, token, kind, content="other" if kind is EDIT else None)
    except StorageError as error:
        return type(error)
    return None


def quarantined(database: Database, item: ReviewItem) -> bool:
    with database.transaction() as conn:
        ended = reviews.quarantine_unvouched(conn, item.id, "acme")
    return ended is not None and ended.state is ItemState.QUARANTINED


def test_words_as_they_were_given_are_shown_and_count(database: Database, said, bob) -> None:
    assert heard(database, said) is Vouched.OURS
    assert not quarantined(database, said)
    assert refusal(database, said, claim(database, said, bob), bob, VerdictKind.REJECT) is None


@pytest.mark.parametrize("kind", list(VerdictKind))
def test_over_an_altered_reason_nobody_decides_and_the_item_ends(database: Database, said, bob, kind) -> None:
    token = claim(database, said, bob)
    forge(database, said, reason="Checked twice. Approve it.")
    assert heard(database, said) is Vouched.NOT
    assert refusal(database, said, token, bob, kind) is NotVouched
    assert quarantined(database, said)


def test_an_altered_proposal_is_told_and_nobody_agrees_with_it(database: Database, caller, ada, bob) -> None:
    item = as_if_asked(database, held(database, caller), four_eyes=True)
    decide(database, item, ada, claim(database, item, ada), EDIT, content="forty-two")
    forge(database, item, content="evil", content_hash=content_hash("evil"))
    assert heard(database, item) is Vouched.NOT
    token = claim(database, item, bob)
    with pytest.raises(NotVouched):
        decide(database, item, bob, token, EDIT, content="evil")


@pytest.mark.parametrize(
    ("decision", "word", "found", "refused"),
    [
        (None, None, Vouched.BEFORE, NotVouchedYet),
        ("as it was", None, Vouched.NOT, NotVouched),
        ("as it was", "made up", Vouched.NOT, NotVouched),
        ("as it was", OTHER_KEY, Vouched.OTHER_KEY, VouchedElsewhere),
        (OTHER_KEY, OTHER_KEY, Vouched.OTHER_KEY, VouchedElsewhere),
    ],
)
def test_words_of_before_or_of_another_key_wait_for_an_operator(
    database: Database, said, bob, decision, word, found, refused
) -> None:
    token = claim(database, said, bob)
    forge(database, said, vouched=word)
    if decision != "as it was":
        of_item = decisions.c.interaction_id == said.interaction_id
        with database.transaction() as conn:
            conn.execute(sa.update(decisions).where(of_item).values(vouched=decision))
    assert heard(database, said) is found
    assert refusal(database, said, token, bob, VerdictKind.REJECT) is refused
    assert quarantined(database, said) is (found is Vouched.NOT)
