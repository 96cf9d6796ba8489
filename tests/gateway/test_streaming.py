"""What a streaming caller sees: nothing of a held answer before the verdict, and everything in the client's shapes."""

import threading
from typing import Any

import httpx2
import openai
import pytest

from tests.gateway.fake_serving import SECRET_TEXT
from tests.gateway.running import Gateway

ASK = {"model": "countersign-reference"}


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def text_of(chunks: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_released_answer_streams_with_review_on_the_first_chunk(gateway: Gateway) -> None:
    chunks = list(gateway.openai().chat.completions.create(messages=user("s [0.97]"), stream=True, **ASK))
    assert text_of(chunks) == SECRET_TEXT
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[0].model_extra["review"]["action"] == "release"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert chunks[-1].choices[0].delta.model_extra["review"]["status"] == "none"
    assert all(chunk.usage is None for chunk in chunks)


def test_usage_comes_last_when_asked_for(gateway: Gateway) -> None:
    chunks = list(
        gateway.openai().chat.completions.create(
            messages=user("u [0.97]"), stream=True, stream_options={"include_usage": True}, **ASK
        )
    )
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens > 0
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_streamed_logprobs_go_with_their_tokens(gateway: Gateway) -> None:
    chunks = list(
        gateway.openai().chat.completions.create(
            messages=user("l [0.97]"), stream=True, logprobs=True, top_logprobs=1, **ASK
        )
    )
    rows = [chunk.choices[0].logprobs.content[0] for chunk in chunks if chunk.choices[0].logprobs]
    assert "".join(row.token for row in rows) == SECRET_TEXT == text_of(chunks)


def test_flagged_answer_streams_and_the_last_delta_says_pending(gateway: Gateway) -> None:
    chunks = list(gateway.openai("flagging").chat.completions.create(messages=user("f [0.5]"), stream=True, **ASK))
    assert text_of(chunks) == SECRET_TEXT
    assert chunks[-1].choices[0].delta.model_extra["review"]["status"] == "pending"


def test_stream_helper_keeps_the_extension(gateway: Gateway) -> None:
    with gateway.openai().chat.completions.stream(messages=user("h [0.97]"), **ASK) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content == SECRET_TEXT
    assert final.model_extra["review"]["action"] == "release"


class Reviewed:
    """A held stream, read as bytes, during which a reviewer gives a verdict."""

    def __init__(self, gateway: Gateway, question: str, **verdict: Any) -> None:
        body = {**ASK, "messages": user(question), "stream": True}
        self.before, self.after = b"", b""
        with gateway.http() as http, http.stream("POST", "/v1/chat/completions", json=body) as response:
            self.status, self.headers = response.status_code, response.headers
            judged = threading.Event()
            reviewer: threading.Thread | None = None
            for part in response.iter_bytes():
                if reviewer is None and self.before.count(b": keep-alive") >= 2:
                    reviewer = threading.Thread(target=self._judge, args=(gateway, judged), kwargs=verdict)
                    reviewer.start()  # it waits for two comments: so they flowed before the verdict
                if reviewer is None:
                    self.before += part
                else:
                    self.after += part
            if reviewer is not None:
                reviewer.join()

    def _judge(self, gateway: Gateway, judged: threading.Event, **verdict: Any) -> None:
        item = self.before.split(b'"id":"rev_')[1].split(b'"')[0].decode()
        gateway.judge(f"rev_{item}", **verdict)
        judged.set()


def test_held_stream_shows_nothing_before_the_verdict_and_the_answer_after_it(gateway: Gateway) -> None:
    seen = Reviewed(gateway, "held stream [0.2]")
    assert seen.status == 200
    assert seen.headers["content-type"].startswith("text/event-stream")
    assert b'"status":"pending"' in seen.before
    assert b"forty" not in seen.before
    assert b'"content":"' + SECRET_TEXT.encode() in seen.after
    assert b'"status":"approved"' in seen.after
    assert seen.after.endswith(b"data: [DONE]\n\n")


def test_held_stream_ends_with_the_edited_text(gateway: Gateway) -> None:
    seen = Reviewed(gateway, "edit stream [0.2]", verdict="edit", reason="wrong", content="Forty-three.")
    assert b"Forty-three." in seen.after
    assert SECRET_TEXT.encode() not in seen.before + seen.after
    assert b'"finish_reason":"stop"' in seen.after


def test_held_stream_ends_as_filtered_when_rejected(gateway: Gateway) -> None:
    seen = Reviewed(gateway, "reject stream [0.2]", verdict="reject", reason="harmful")
    assert SECRET_TEXT.encode() not in seen.before + seen.after
    assert b'"finish_reason":"content_filter"' in seen.after
    assert b'"status":"rejected"' in seen.after


def test_held_stream_of_a_key_revoked_meanwhile_ends_in_an_error_without_text(gateway: Gateway) -> None:
    key_id, secret = gateway.brief_key()
    body = {**ASK, "messages": user("revoked stream [0.2]"), "stream": True}
    with gateway.http(secret) as http, http.stream("POST", "/v1/chat/completions", json=body) as response:
        parts = response.iter_bytes()
        first = next(parts)
        gateway.revoke(key_id)
        gateway.judge("rev_" + first.split(b'"id":"rev_')[1].split(b'"')[0].decode())
        rest = b"".join(parts)
    assert b'"code":"invalid_api_key"' in rest
    assert SECRET_TEXT.encode() not in first + rest
    assert b'"status":"approved"' not in rest
    assert rest.endswith(b"data: [DONE]\n\n")


def test_held_stream_without_a_verdict_ends_as_filtered_and_still_pending(gateway: Gateway) -> None:
    chunks = list(
        gateway.openai().chat.completions.create(
            messages=user("no one [0.2]"), stream=True, extra_headers={"Prefer": "wait=1"}, **ASK
        )
    )
    assert text_of(chunks) == ""
    assert chunks[-1].choices[0].finish_reason == "content_filter"
    assert chunks[-1].choices[0].delta.model_extra["review"]["status"] == "pending"


@pytest.mark.parametrize(("asked", "told"), [("wait=0", "wait=0"), ("wait=9999", "wait=300"), ("", None)])
def test_held_stream_tells_the_wait_that_it_keeps(gateway: Gateway, asked: str, told: str | None) -> None:
    body = {**ASK, "messages": user("preferred stream [0.2]"), "stream": True}
    headers = {"prefer": asked} if asked else {}
    with gateway.http() as http, http.stream("POST", "/v1/chat/completions", json=body, headers=headers) as response:
        assert response.headers.get("preference-applied") == told


def test_held_stream_with_on_hold_error_is_a_409_before_any_event(gateway: Gateway) -> None:
    with pytest.raises(openai.ConflictError) as caught:
        gateway.openai().chat.completions.create(
            messages=user("e [0.2]"), stream=True, extra_body={"review": {"on_hold": "error"}}, **ASK
        )
    assert caught.value.code == "review_pending"


def test_caller_who_leaves_a_held_stream_leaves_the_review_item(gateway: Gateway) -> None:
    body = {**ASK, "messages": user("leaving [0.2]"), "stream": True}
    with gateway.http() as http, http.stream("POST", "/v1/chat/completions", json=body) as response:
        first = next(response.iter_bytes())
    item = "rev_" + first.split(b'"id":"rev_')[1].split(b'"')[0].decode()
    assert gateway.judge(item)["state"] == "approved"


def test_stream_whose_question_fails_is_an_error_and_no_event(gateway: Gateway) -> None:
    body = {**ASK, "messages": user("busy [busy]"), "stream": True}
    with gateway.http() as http:
        response: httpx2.Response = http.post("/v1/chat/completions", json=body)
    assert response.status_code == 429
    assert response.json()["error"]["code"] == "overloaded"
