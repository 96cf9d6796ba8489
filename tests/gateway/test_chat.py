"""What a caller sees through the unmodified openai client: every action, whole."""

import threading
import time

import openai
import pytest

from tests.gateway.fake_serving import MODEL, SECRET_TEXT, FakeServing
from tests.gateway.running import Gateway

ASK = {"model": "countersign-reference"}


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_confident_answer_is_released(gateway: Gateway) -> None:
    done = gateway.openai().chat.completions.create(messages=user("2+2 [0.97]"), **ASK)
    assert done.choices[0].message.content == SECRET_TEXT
    assert done.choices[0].finish_reason == "stop"
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens
    review = done.model_extra["review"]
    assert (review["action"], review["status"], review["confidence"]) == ("release", "none", 0.97)
    assert review["threshold"] == 0.85
    assert review["calibration"].startswith("cal_")
    assert review["id"] is None


def test_doubtful_answer_is_held_and_carries_no_text(gateway: Gateway) -> None:
    raw = gateway.openai().chat.completions.with_raw_response.create(messages=user("7*8 [0.61]"), **ASK)
    held = raw.parse()
    assert raw.status_code == 202
    assert int(raw.headers["retry-after"]) >= 1
    assert raw.headers["location"] == f"/v1/chat/completions/{held.id}"
    assert held.choices[0].message.content is None
    assert held.choices[0].message.refusal.startswith("Held for human review")
    assert held.choices[0].finish_reason == "content_filter"
    assert held.model_extra["review"]["status"] == "pending"
    assert held.model_extra["review"]["id"].startswith("rev_")
    assert SECRET_TEXT not in raw.text


def test_flagged_answer_is_shown_and_waits_for_review(gateway: Gateway) -> None:
    raw = gateway.openai("flagging").chat.completions.with_raw_response.create(messages=user("3*3 [0.5]"), **ASK)
    flagged = raw.parse()
    assert raw.status_code == 200
    assert flagged.choices[0].message.content == SECRET_TEXT
    assert (flagged.model_extra["review"]["action"], flagged.model_extra["review"]["status"]) == ("flag", "pending")


def test_policy_that_releases_below_the_threshold_does(gateway: Gateway) -> None:
    done = gateway.openai("trusting").chat.completions.create(messages=user("3*4 [0.5]"), **ASK)
    assert done.choices[0].message.content == SECRET_TEXT
    assert done.model_extra["review"]["reason"] == "low_confidence"


@pytest.mark.parametrize("who", ["caller", "flagging", "trusting"])
def test_unknown_confidence_is_held_whatever_the_policy(gateway: Gateway, who: str) -> None:
    raw = gateway.openai(who).chat.completions.with_raw_response.create(messages=user("? [unknown]"), **ASK)
    assert raw.status_code == 202
    assert raw.parse().model_extra["review"]["reason"] == "unknown_confidence"
    assert SECRET_TEXT not in raw.text


def test_answer_cut_off_is_held_as_unfinished(gateway: Gateway) -> None:
    held = gateway.openai().chat.completions.create(messages=user("long [0.99] [cut]"), max_tokens=5, **ASK)
    assert held.model_extra["review"]["reason"] == "unfinished"
    assert held.choices[0].message.content is None


def test_approved_answer_is_retrieved_as_it_stood(gateway: Gateway) -> None:
    client = gateway.openai()
    held = client.chat.completions.create(messages=user("9*9 [0.4]"), **ASK)
    gateway.judge(held.model_extra["review"]["id"])
    done = client.chat.completions.retrieve(held.id)
    assert done.choices[0].message.content == SECRET_TEXT
    assert done.choices[0].finish_reason == "stop"
    assert done.model_extra["review"]["status"] == "approved"


def test_edited_answer_is_retrieved_with_the_reviewers_words(gateway: Gateway) -> None:
    client = gateway.openai()
    held = client.chat.completions.create(messages=user("9*8 [0.4]"), logprobs=True, **ASK)
    gateway.judge(held.model_extra["review"]["id"], "edit", "a slip", "It is 72.")
    raw = client.chat.completions.with_raw_response.retrieve(held.id)
    done = raw.parse()
    assert done.choices[0].message.content == "It is 72."
    assert done.choices[0].logprobs is None
    assert done.model_extra["review"]["status"] == "edited"
    assert SECRET_TEXT not in raw.text


def test_rejected_answer_is_withheld_for_good(gateway: Gateway) -> None:
    client = gateway.openai()
    held = client.chat.completions.create(messages=user("9*7 [0.4]"), **ASK)
    gateway.judge(held.model_extra["review"]["id"], "reject", "wrong")
    raw = client.chat.completions.with_raw_response.retrieve(held.id)
    done = raw.parse()
    assert raw.status_code == 200
    assert done.choices[0].message.content is None
    assert "must not be released" in done.choices[0].message.refusal
    assert done.choices[0].finish_reason == "content_filter"
    assert SECRET_TEXT not in raw.text


def test_waiting_caller_gets_the_verdict_as_200(gateway: Gateway, serving: FakeServing) -> None:
    def approve_when_it_waits() -> None:
        with gateway.http("ada") as http:
            while not (rows := http.get("/v1/reviews?state=pending&limit=100").json()["data"]):
                time.sleep(0.02)
            mine = [row for row in rows if row["question"].startswith("wait for me")]
        if mine:
            gateway.judge(mine[0]["id"])
        else:
            approve_when_it_waits()

    reviewer = threading.Thread(target=approve_when_it_waits)
    reviewer.start()
    raw = gateway.openai().chat.completions.with_raw_response.create(
        messages=user("wait for me [0.3]"), extra_headers={"Prefer": "wait=25"}, **ASK
    )
    reviewer.join()
    assert raw.status_code == 200
    assert raw.headers["preference-applied"] == "wait=25"
    assert raw.parse().choices[0].message.content == SECRET_TEXT


def test_wait_without_a_verdict_ends_as_202(gateway: Gateway) -> None:
    raw = gateway.openai().chat.completions.with_raw_response.create(
        messages=user("nobody [0.3]"), extra_headers={"Prefer": "respond-async, wait=1"}, **ASK
    )
    assert raw.status_code == 202
    assert raw.headers["preference-applied"] == "wait=1"


def test_on_hold_error_is_409_and_the_client_does_not_retry(gateway: Gateway, serving: FakeServing) -> None:
    before = len(serving.asks)
    with pytest.raises(openai.ConflictError) as caught:
        gateway.openai(max_retries=3).chat.completions.create(
            messages=user("err [0.3]"), extra_body={"review": {"on_hold": "error"}}, **ASK
        )
    assert caught.value.code == "review_pending"
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert len(serving.asks) == before + 1
    held = gateway.openai().chat.completions.retrieve(caught.value.response.headers["location"].rsplit("/", 1)[1])
    assert held.model_extra["review"]["status"] == "pending"


def test_released_logprobs_are_those_of_the_visible_tokens(gateway: Gateway) -> None:
    done = gateway.openai().chat.completions.create(messages=user("lp [0.97]"), logprobs=True, top_logprobs=2, **ASK)
    rows = done.choices[0].logprobs.content
    assert "".join(row.token for row in rows) == SECRET_TEXT
    assert rows[0].logprob == -0.1
    assert [other.logprob for other in rows[0].top_logprobs] == [-0.1, -2.5]


def test_handled_parameters_reach_the_model(gateway: Gateway, serving: FakeServing) -> None:
    gateway.openai().chat.completions.create(
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "a "}, {"type": "text", "text": "b [0.97]"}]},
        ],
        max_completion_tokens=7, temperature=0.5, top_p=0.9, seed=3, stop="\n", model=MODEL,
    )  # fmt: skip
    asked = serving.asks[-1]
    assert asked["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "a b [0.97]"}]
    assert {name: asked[name] for name in ("max_tokens", "temperature", "top_p", "seed", "stop")} == {
        "max_tokens": 7,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 3,
        "stop": ["\n"],
    }


def test_prompts_are_reused_within_a_tenant_alone(gateway: Gateway, serving: FakeServing) -> None:
    for name in ("caller", "flagging", "stranger"):
        gateway.openai(name).chat.completions.create(messages=user("whose [0.97]"), **ASK)
    salts = [ask["cache_salt"] for ask in serving.asks if ask["messages"][-1]["content"] == "whose [0.97]"]
    mine, colleagues, strangers = salts
    assert mine == colleagues != strangers


def test_calibration_travels_by_id_and_in_full_only_when_unknown(gateway: Gateway, serving: FakeServing) -> None:
    serving.known.clear()
    client = gateway.openai()
    for _ in range(2):
        client.chat.completions.create(messages=user("cal [0.97]"), **ASK)
    sent = [ask["calibration"] for ask in serving.asks if ask["messages"][-1]["content"] == "cal [0.97]"]
    assert [set(each) for each in sent] == [{"id"}, {"id", "body"}, {"id"}]


@pytest.mark.parametrize("mark", ["[lost]", "[broken]", "[proxy]"])
def test_lost_generation_is_asked_again_from_the_prompt(gateway: Gateway, serving: FakeServing, mark: str) -> None:
    question = f"once more {mark} [0.97]"
    done = gateway.openai().chat.completions.create(messages=user(question), **ASK)
    assert done.choices[0].message.content == SECRET_TEXT
    assert [ask["messages"][-1]["content"] for ask in serving.asks].count(question) >= 2
