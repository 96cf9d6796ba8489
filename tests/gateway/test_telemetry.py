"""One trace from the question through serving; the verdict's span links to it; metrics count what happened."""

import json
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from storage import review_sweeps
from tests.gateway.fake_serving import FakeServing
from tests.gateway.running import Gateway, running, settings_for

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


def spans_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def samples(gateway: Gateway) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    with gateway.http(None) as http:
        text = http.get("/metrics").text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_chat_span_continues_the_callers_trace_into_serving_and_the_verdict_links_to_it(
    home: Path, serving: FakeServing, valkey_url: str
) -> None:
    path = home / "spans.jsonl"
    with running(settings_for(home, serving.url, valkey_url, span_file=path)) as gateway:
        held = gateway.openai().chat.completions.create(
            model="countersign-reference",
            messages=[{"role": "user", "content": "trace [0.3]"}],
            extra_headers={"traceparent": f"00-{TRACE}-{PARENT}-01"},
        )
        passed_on = serving.headers[-1]["traceparent"]
        gateway.judge(held.model_extra["review"]["id"])
        detail = gateway.http("ada").get(f"/v1/reviews/{held.model_extra['review']['id']}").json()
    chat, verdict = spans_of(path)
    assert chat["name"] == "chat countersign-reference"
    assert {chat["service"], verdict["service"]} == {"countersign-gateway"}
    assert (chat["trace_id"], chat["parent_id"]) == (TRACE, PARENT)
    assert passed_on == f"00-{TRACE}-{chat['span_id']}-01"
    assert detail["trace_id"] == TRACE
    assert chat["attributes"]["gen_ai.operation.name"] == "chat"
    assert chat["attributes"]["gen_ai.usage.input_tokens"] == 9
    assert chat["attributes"]["review.action"] == "hold"
    assert chat["events"][0]["attributes"]["gen_ai.evaluation.score.value"] == 0.3
    assert verdict["links"] == [{"trace_id": TRACE, "span_id": chat["span_id"]}]
    assert verdict["attributes"]["review.verdict"] == "approve"
    assert verdict["events"][0]["attributes"]["gen_ai.evaluation.name"] == "human_review"


def test_failed_question_marks_its_span(home: Path, serving: FakeServing, valkey_url: str) -> None:
    path = home / "spans.jsonl"
    with running(settings_for(home, serving.url, valkey_url, span_file=path)) as gateway:
        gateway.ask("x [busy]")
    (span,) = spans_of(path)
    assert span["attributes"]["error.type"] == "overloaded"


def test_metrics_count_requests_decisions_and_the_queue(home: Path, serving: FakeServing, valkey_url: str) -> None:
    with running(settings_for(home, serving.url, valkey_url)) as gateway:
        gateway.ask("m [0.97]")
        items = [gateway.ask(f"m{n} [0.3]").json()["review"]["id"] for n in range(3)]
        gateway.judge(items[0])
        gateway.claim(items[1])
        found = samples(gateway)

    def value(name: str, **labels: str) -> float:
        return found[(name, frozenset(labels.items()))]

    assert value("countersign_decisions_total", action="release", reason="confident") == 1
    assert value("countersign_decisions_total", action="hold", reason="low_confidence") == 3
    assert value("countersign_review_items", state="pending") == 1
    assert value("countersign_review_items", state="claimed") == 1
    assert value("countersign_review_oldest_waiting_seconds") > 0
    assert value("countersign_verdicts_total", kind="approve") == 1
    assert value("countersign_verdict_seconds_count") == 1
    posted = {"method": "POST", "route": "/v1/chat/completions"}
    assert value("countersign_requests_total", **posted, status="202") == 3
    assert value("countersign_request_seconds_count", route="/v1/chat/completions") == 4


def test_any_gateway_counts_what_a_worker_elsewhere_ended(home: Path, serving: FakeServing, valkey_url: str) -> None:
    with running(settings_for(home, serving.url, valkey_url, worker="off")) as gateway:
        items = [gateway.ask(f"e{n} [0.3]", "hurried").json()["review"]["id"] for n in range(3)]
        gateway.ask("stays [0.3]")
        with gateway.database.transaction() as connection:  # what `countersign worker` does
            review_sweeps.expire_due(connection)
        found = samples(gateway)
    assert found[("countersign_items_expired_total", frozenset())] == len(items)
    assert found[("countersign_items_quarantined_total", frozenset())] == 0
