"""Valkey keeps ids in order of urgency, a set for each tenant, and says so when it cannot be reached."""

from pathlib import Path

import pytest
import redis

from storage.review_queue import QueueUnreachable, ReviewQueue
from storage.review_reads import Waiting


def test_the_most_urgent_comes_first(queue: ReviewQueue) -> None:
    queue.rebuild([Waiting("late", "acme", 30.0), Waiting("soon", "acme", 10.0), Waiting("next", "acme", 20.0)])
    assert queue.most_urgent("acme", 2) == ["soon", "next"]
    assert queue.most_urgent("acme", 2, offset=2) == ["late"]
    assert queue.depth("acme") == 3


def test_the_order_is_valkeys(queue: ReviewQueue, redis_client: redis.Redis) -> None:
    queue.add("first", 1.0, "acme")
    queue.add("second", 2.0, "acme")
    redis_client.zadd("countersign:waiting:acme", {"second": 0.5})
    assert queue.most_urgent("acme", 1) == ["second"]


def test_adding_again_keeps_the_score_that_is_there(queue: ReviewQueue) -> None:
    assert queue.rebuild([Waiting("a", "acme", 1.0)]) == 1
    assert queue.rebuild([Waiting("a", "acme", 9.0), Waiting("b", "acme", 5.0)]) == 1
    assert queue.most_urgent("acme", 5) == ["a", "b"]


def test_tenants_are_apart(queue: ReviewQueue) -> None:
    queue.rebuild([Waiting("a", "acme", 1.0), Waiting("b", "rival", 1.0), Waiting("c", "acme", 2.0)])
    assert (queue.most_urgent("acme", 9), queue.most_urgent("rival", 9)) == (["a", "c"], ["b"])
    assert queue.tenants() == {"acme", "rival"}
    queue.remove("a", "rival")
    assert queue.depth("acme") == 2


def test_removing_what_is_not_there_is_no_error(queue: ReviewQueue) -> None:
    queue.remove("nothing", "acme")
    queue.remove_all([], "acme")
    assert queue.missing("acme", ["nothing"]) == ["nothing"]
    assert queue.missing("acme", []) == []


def test_prefixes_share_a_server_without_meeting(valkey, queue: ReviewQueue) -> None:
    other = ReviewQueue(valkey.url, prefix="other")
    other.add("a", 1.0, "acme")
    assert (queue.depth("acme"), other.depth("acme")) == (0, 1)
    other.close()


def test_only_ids_and_scores_are_kept(queue: ReviewQueue, redis_client: redis.Redis) -> None:
    queue.add("rev_1", 5.0, "acme")
    assert set(redis_client.scan_iter()) == {"countersign:tenants", "countersign:waiting:acme"}
    assert redis_client.zrange("countersign:waiting:acme", 0, -1, withscores=True) == [("rev_1", 5.0)]


@pytest.mark.parametrize("act", ["ping", "add", "most_urgent", "depth", "missing", "rebuild", "remove"])
def test_an_absent_server_is_said_in_one_sentence(tmp_path: Path, act: str) -> None:
    queue = ReviewQueue(f"unix://{tmp_path}/none.sock")
    arguments = {
        "add": ("a", 1.0, "t"),
        "most_urgent": ("t", 1),
        "depth": ("t",),
        "missing": ("t", ["a"]),
        "rebuild": ([Waiting("a", "t", 1.0)],),
        "remove": ("a", "t"),
    }
    with pytest.raises(QueueUnreachable, match="REDIS_URL") as caught:
        getattr(queue, act)(*arguments.get(act, ()))
    assert "\n" not in str(caught.value)


def test_an_unreadable_url_is_said_in_one_sentence() -> None:
    with pytest.raises(QueueUnreachable, match="REDIS_URL cannot be read"):
        ReviewQueue("http://localhost")


def test_commands_are_never_repeated_behind_our_back(queue: ReviewQueue) -> None:
    assert queue._redis.connection_pool.connection_kwargs["retry"]._retries == 0
