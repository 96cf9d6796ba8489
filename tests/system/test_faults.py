"""Killed at the worst moment, the product still holds the answer, decides it once, and hands it over."""

import os
import signal

import openai
import psutil
import pytest
import redis

from launch.product import GATEWAY, SERVING, VALKEY
from launch.readiness import answers
from tests.system.people import EASY, ask, foreign_question, held, review
from tests.system.waiting import until

QUEUE_KEY = "countersign:*"


def decide_and_retrieve(caller, reviewer, completion, words):
    item = reviewer.claim(review(completion)["id"])
    assert reviewer.decide(item, "edit", "it did not know", words).status_code == 200
    assert reviewer.decide(item, "approve").status_code == 409
    assert caller.chat.completions.retrieve(completion.id).choices[0].message.content == words
    assert len(reviewer.events(kinds="review.approved,review.edited,review.rejected", item_id=item["id"])) == 1


def test_a_held_answer_survives_kill_9_of_the_gateway(product, caller, reviewer):
    completion = held(caller)
    product.kill(GATEWAY)
    product.spawn(GATEWAY)
    product.wait_ready((GATEWAY,))
    assert review(caller.chat.completions.retrieve(completion.id))["status"] == "pending"
    decide_and_retrieve(caller, reviewer, completion, "After the kill.")


def test_a_claim_survives_kill_9_of_the_gateway(product, caller, reviewer):
    completion = held(caller)
    item = reviewer.claim(review(completion)["id"])
    product.kill(GATEWAY)
    product.spawn(GATEWAY)
    product.wait_ready((GATEWAY,))
    assert reviewer.decide(item, "edit", "it did not know", "Claimed before.").status_code == 200
    assert caller.chat.completions.retrieve(completion.id).choices[0].message.content == "Claimed before."


def test_the_queue_is_rebuilt_after_valkey_lost_all_its_data(product, home, caller, reviewer):
    reviewer.empty_the_queue()
    completion = held(caller)
    item_id = review(completion)["id"]
    with redis.Redis.from_url(product.wiring.redis_url, decode_responses=True) as client:
        until(lambda: item_id in queued(client))
    product.kill(VALKEY)
    for path in (home / VALKEY).rglob("*"):
        if path.is_file():
            path.unlink()
    while_away = held(caller)  # SQL is the truth: nothing waits for Valkey
    product.start_valkey()
    with redis.Redis.from_url(product.wiring.redis_url, decode_responses=True) as client:
        until(lambda: {item_id, review(while_away)["id"]} <= queued(client), seconds=90)
    claimed = reviewer.claim_next()
    assert claimed is not None
    assert claimed["id"] == item_id  # the most urgent: it has waited longer
    assert reviewer.decide(claimed, "edit", "it did not know", "Rebuilt.").status_code == 200
    assert caller.chat.completions.retrieve(completion.id).choices[0].message.content == "Rebuilt."


def queued(client: redis.Redis) -> set[str]:
    """Every member of every ordered set in Valkey."""
    keys = [key for key in client.scan_iter(match=QUEUE_KEY) if client.type(key) == "zset"]
    return {member for key in keys for member in client.zrange(key, 0, -1)}


def rank_actors(product) -> list[psutil.Process]:
    """Ray names a worker's process after its actor."""
    return [process for process in product.processes() if "rank" in " ".join(process.cmdline()[:1]).lower()]


def test_service_comes_back_after_a_rank_actor_is_killed(product, caller, reviewer):
    completion = held(caller)
    ranks = rank_actors(product)
    assert len(ranks) == 4, [process.cmdline()[:1] for process in product.processes()]
    os.kill(ranks[0].pid, signal.SIGKILL)
    until(lambda: len(rank_actors(product)) == 4 and ranks[0].pid not in {p.pid for p in rank_actors(product)}, 120)
    serving = product.part(SERVING)
    until(lambda: answers(serving.ready_url, product.wiring.serving_token), 120)
    assert ask(caller, EASY, timeout=120).choices[0].message.content.endswith("Answer: 12")
    decide_and_retrieve(caller, reviewer, completion, "After the rank.")


def test_a_question_asked_while_a_rank_dies_is_answered_or_refused_in_the_open(product, caller):
    victim = rank_actors(product)[-1]
    os.kill(victim.pid, signal.SIGKILL)
    refused = []
    for _ in range(6):
        try:
            assert ask(caller, foreign_question(), timeout=120).choices[0].message.content is None
        except openai.APIStatusError as error:
            refused.append(error.response)
    assert all(response.status_code in (429, 503) and response.headers["retry-after"] for response in refused)
    until(lambda: victim.pid not in {p.pid for p in rank_actors(product)} and len(rank_actors(product)) == 4, 120)
    assert ask(caller, EASY, timeout=120).choices[0].message.content.endswith("Answer: 12")


@pytest.fixture(autouse=True)
def _whole_again(product):
    """Whatever a test broke is repaired before the next one."""
    yield
    for name in (VALKEY, GATEWAY):
        if not product.children[name].alive:
            product.start_valkey() if name == VALKEY else product.spawn(name)
    product.wait_ready((GATEWAY, SERVING))
