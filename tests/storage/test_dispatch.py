"""Valkey follows SQL, whatever is lost on the way."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from storage import outbox, reviews
from storage.dispatch import reconcile, relay
from storage.review_queue import QueueUnreachable, ReviewQueue
from tests.storage.made import held, notes_in
from tests.storage.reviewing import claim


def test_a_held_answer_reaches_the_queue_and_leaves_it_when_claimed(database, queue, caller, ada) -> None:
    waiting = held(database, caller)
    assert relay(database, queue) == 1
    assert queue.most_urgent("acme", 9) == [waiting.id]
    claim(database, waiting, ada)
    assert relay(database, queue) == 1
    assert queue.depth("acme") == 0
    assert relay(database, queue) == 0


def test_a_released_claim_returns_to_the_queue(database, queue, caller, ada) -> None:
    waiting = held(database, caller)
    token = claim(database, waiting, ada)
    with database.transaction() as conn:
        reviews.release_claim(conn, waiting.id, ada, token)
    assert relay(database, queue) == 3
    assert queue.most_urgent("acme", 9) == [waiting.id]


def test_notes_may_be_relayed_again_and_in_parts(database, queue, caller, ada) -> None:
    items = [held(database, caller, urgency=float(n)) for n in range(5)]
    with database.transaction() as conn:
        notes = outbox.take(conn, 10)
    assert relay(database, queue, limit=2) == 2
    assert relay(database, queue) == 3
    claim(database, items[0], ada)
    with database.transaction() as conn:
        for note in notes:
            outbox.add(conn, note.topic, note.payload)  # as after a crash between Valkey and the commit
    relay(database, queue)
    assert queue.most_urgent("acme", 9) == [item.id for item in items[1:]]


def test_the_oldest_notes_go_first(database, queue, caller) -> None:
    items = [held(database, caller) for _ in range(4)]
    assert relay(database, queue, limit=2) == 2
    assert set(queue.most_urgent("acme", 9)) == {item.id for item in items[:2]}


def test_relays_at_once_lose_nothing(database, queue, caller) -> None:
    items = {held(database, caller).id for _ in range(20)}
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: relay(database, queue, limit=3), range(20)))
    assert set(queue.most_urgent("acme", 99)) == items
    with database.read() as conn:
        assert notes_in(conn) == 0


def test_a_note_stays_while_valkey_is_unreachable(database, queue, caller, tmp_path) -> None:
    waiting = held(database, caller)
    with pytest.raises(QueueUnreachable):
        relay(database, ReviewQueue(f"unix://{tmp_path}/none.sock"))
    assert relay(database, queue) == 1
    assert queue.most_urgent("acme", 9) == [waiting.id]


def test_relay_leaves_other_topics_alone(database, queue) -> None:
    with database.transaction() as conn:
        outbox.add(conn, "webhook", {"to": "someone"})
    assert relay(database, queue) == 0
    with database.read() as conn:
        assert notes_in(conn) == 1


def test_an_emptied_valkey_is_rebuilt_from_sql(database, queue, redis_client: redis.Redis, caller, ada) -> None:
    items = [held(database, caller, urgency=float(-n)) for n in range(7)]
    claim(database, items.pop(), ada)
    while relay(database, queue):
        pass
    redis_client.flushall()
    assert reconcile(database, queue) == 6
    assert queue.most_urgent("acme", 99) == [item.id for item in reversed(items)]
    assert reconcile(database, queue) == 0


def test_a_crash_between_commit_and_relay_is_reconciled(database, queue, caller, ada) -> None:
    waiting, claimed = held(database, caller), held(database, caller)
    relay(database, queue)
    claim(database, claimed, ada)
    new = held(database, caller)  # neither this nor the claim was relayed
    assert reconcile(database, queue) == 2
    assert set(queue.most_urgent("acme", 9)) == {waiting.id, new.id}


def test_ids_that_sql_does_not_know_are_removed(database, queue, caller) -> None:
    waiting = held(database, caller)
    queue.add(waiting.id, 1.0, "acme")
    queue.add("rev_from_an_old_snapshot", 0.0, "acme")
    queue.add("rev_of_a_tenant_that_is_gone", 0.0, "gone")
    assert reconcile(database, queue) == 2
    assert queue.most_urgent("acme", 9) == [waiting.id]
    assert queue.depth("gone") == 0


def test_reconcile_pages_through_more_than_one_page(database, queue, redis_client, caller, monkeypatch) -> None:
    monkeypatch.setattr("storage.dispatch._PAGE", 3)
    items = {held(database, caller, urgency=1.0).id for _ in range(10)}
    for number in range(7):
        queue.add(f"stale{number}", 0.5, "acme")
    assert reconcile(database, queue) == 17
    assert set(queue.most_urgent("acme", 99)) == items
