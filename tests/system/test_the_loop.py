"""A shaky answer is held, reviewed by a person, and released; a sure one leaves at once."""

from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from launch.product import SERVING
from tests.system.people import EASY, ask, foreign_question, held, review

MANY = [f"What is {first} + {second}?" for first in range(2, 10) for second in range(11, 14)]


def test_a_sure_answer_leaves_at_once(caller):
    completion = ask(caller, EASY)
    assert completion.choices[0].finish_reason == "stop"
    assert completion.choices[0].message.content.endswith("Answer: 12")
    assert review(completion)["status"] == "none"
    assert review(completion)["action"] == "release"
    assert review(completion)["confidence"] >= review(completion)["threshold"]


def test_a_foreign_question_is_held_without_a_byte_of_its_answer(caller):
    raw = caller.chat.completions.with_raw_response.create(
        model="countersign-reference", messages=[{"role": "user", "content": foreign_question()}]
    )
    assert raw.status_code == 202
    assert int(raw.headers["retry-after"]) > 0
    completion = raw.parse()
    assert raw.headers["location"] == f"/v1/chat/completions/{completion.id}"
    message = completion.choices[0].message
    assert message.content is None
    assert message.refusal.startswith("Held for human review")
    assert completion.choices[0].finish_reason == "content_filter"
    assert review(completion)["action"] == "hold"
    assert review(completion)["calibration"].startswith("cal_")


def test_an_approved_answer_is_retrieved_as_the_model_wrote_it(caller, reviewer):
    completion = held(caller)
    item = reviewer.claim(review(completion)["id"])
    assert reviewer.decide(item, "approve").status_code == 200
    released = caller.chat.completions.retrieve(completion.id)
    assert released.choices[0].message.content == item["answer"]["text"]
    assert released.choices[0].finish_reason == "stop"
    assert review(released)["status"] == "approved"


def test_an_edited_answer_is_retrieved_in_the_reviewers_words(caller, reviewer):
    completion = held(caller)
    item = reviewer.claim(review(completion)["id"])
    assert reviewer.decide(item, "edit", "it did not know", "Nobody knows.").status_code == 200
    released = caller.chat.completions.retrieve(completion.id)
    assert released.choices[0].message.content == "Nobody knows."
    assert review(released)["status"] == "edited"


def test_a_rejected_answer_never_leaves(caller, reviewer):
    completion = held(caller)
    item = reviewer.claim(review(completion)["id"])
    assert reviewer.decide(item, "reject", "wrong").status_code == 200
    withheld = caller.chat.completions.retrieve(completion.id)
    assert withheld.choices[0].message.content is None
    assert withheld.choices[0].finish_reason == "content_filter"
    assert review(withheld)["status"] == "rejected"


def test_a_verdict_ends_a_long_poll(caller, reviewer):
    completion = held(caller)
    with ThreadPoolExecutor(1) as waiting:
        polled = waiting.submit(caller.chat.completions.retrieve, completion.id, extra_headers={"Prefer": "wait=60"})
        item = reviewer.claim(review(completion)["id"])
        assert reviewer.decide(item, "edit", "it did not know", "Nobody knows.").status_code == 200
        assert polled.result(60).choices[0].message.content == "Nobody knows."


def test_a_streamed_held_answer_arrives_after_its_verdict(caller, reviewer):
    stream = ask(caller, foreign_question(), stream=True)
    first = next(stream)
    assert first.choices[0].delta.content in (None, "")
    item = reviewer.claim(first.model_extra["review"]["id"])
    assert reviewer.decide(item, "edit", "it did not know", "Nobody knows.").status_code == 200
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices) == "Nobody knows."


def test_a_second_verdict_is_refused_and_recorded(caller, reviewer):
    completion = held(caller)
    item = reviewer.claim(review(completion)["id"])
    assert reviewer.decide(item, "approve").status_code == 200
    refused = reviewer.decide(item, "reject", "too late")
    assert refused.status_code == 409
    assert refused.json()["error"]["code"] == "already_decided"
    assert reviewer.events(kinds="verdict.refused", item_id=item["id"])
    assert review(caller.chat.completions.retrieve(completion.id))["status"] == "approved"


def test_both_replicas_answer_and_each_divides_its_experts_between_two_ranks(product, plain):
    headers = {"Authorization": f"Bearer {product.wiring.serving_token}"}
    described, asked = {}, set()
    with httpx2.Client(base_url=product.part(SERVING).ready_url.removesuffix("/health"), headers=headers) as serving:
        for _ in range(100):
            body = serving.get("/model").json()
            described[body["replica"]] = body["parameters"]["by_rank"]
            if len(described) == 2:
                break

        def question(text):
            body = {"messages": [{"role": "user", "content": text}], "max_tokens": 8}
            return serving.post("/ask", json=body, timeout=60).json()["replica"]

        with ThreadPoolExecutor(8) as callers:
            asked = set(callers.map(question, MANY))
    assert len(described) == 2
    assert asked == set(described)
    for ranks in described.values():
        assert [rank["rank"] for rank in ranks] == [0, 1]
        first, second = (rank["expert_ids"] for rank in ranks)
        for layer in first:
            assert len(first[layer]) == len(second[layer]) == 32
            assert not set(first[layer]) & set(second[layer])
        assert ranks[0]["expert"] == ranks[1]["expert"] > 0


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"model": "countersign-reference"}, 400, "messages"),
        ({"model": "no-such-model", "messages": [{"role": "user", "content": "?"}]}, 404, "model"),
        ({"model": "countersign-reference", "messages": [{"role": "user", "content": "?"}], "n": 2}, 400, "n"),
    ],
)
def test_bad_input_is_named_with_a_request_id(plain, body, status, param):
    response = plain.post("/v1/chat/completions", json=body)
    assert response.status_code == status, response.text
    assert response.json()["error"]["param"] == param
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert response.headers["x-request-id"]


def test_a_bad_key_is_refused(plain):
    response = plain.get("/v1/models", headers={"Authorization": "Bearer csk_wrong"})
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "invalid_api_key"
