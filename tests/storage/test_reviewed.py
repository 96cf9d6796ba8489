"""Answers with a last word are found for every tenant, in the order asked; what is open or deleted is not."""

from storage import interactions
from storage.database import Database
from storage.records import Key, Role, VerdictKind, Vouched
from storage.reviewed import reviewed, reviewed_models
from tests.storage.labelled import MODEL, answered, judge, label
from tests.storage.made import key


def test_last_words_of_all_tenants_are_found_in_the_order_asked(database: Database, caller: Key, ada: Key) -> None:
    stranger, eve = key(database, "chat", Role.CALLER, "other"), key(database, "Eve", tenant="other")
    asked = []
    for asker, reviewer, right in ((caller, ada, True), (stranger, eve, False), (caller, ada, False)):
        with database.transaction() as conn:
            asked.append(label(conn, asker, reviewer, 0.5, right=right).id)
    with database.read() as conn:
        found = list(reviewed(conn, MODEL))
        assert reviewed_models(conn) == {MODEL: 3}
        assert list(reviewed(conn, "another")) == []
    assert [outcome.interaction.id for outcome in found] == asked
    kinds = [outcome.verdict.kind for outcome in found if outcome.verdict]
    assert kinds == [VerdictKind.APPROVE, VerdictKind.REJECT, VerdictKind.REJECT]
    assert {outcome.vouched for outcome in found} == {Vouched.OURS}


def test_what_is_open_referred_or_deleted_is_not_found(database: Database, caller: Key, ada: Key) -> None:
    with database.transaction() as conn:
        answered(conn, caller, 0.5)
        judge(conn, answered(conn, caller, 0.5)[2], ada, VerdictKind.REFER)
        deleted = label(conn, caller, ada, 0.5)
        interactions.delete(conn, deleted.id, "acme", "key:chat")
    with database.read() as conn:
        assert list(reviewed(conn, MODEL)) == []
        assert reviewed_models(conn) == {}
