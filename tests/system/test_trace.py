"""One trace from the chat request through serving, and a verdict that links to it; logs say its id."""

import json
import secrets

import pytest

from launch.product import GATEWAY
from tests.system.people import foreign_question, review
from tests.system.waiting import until

SERVING = "countersign-serving"


def spans(span_file, trace_id):
    lines = span_file.read_text().splitlines() if span_file.exists() else []
    return [span for span in map(json.loads, lines) if span["trace_id"] == trace_id]


@pytest.fixture(scope="module")
def traced(request):
    """A held answer asked within the caller's own trace, and its verdict."""
    product, span_file = request.getfixturevalue("product"), request.getfixturevalue("span_file")
    from tests.system.people import Reviewer, ask, caller_of

    trace_id, parent = secrets.token_hex(16), secrets.token_hex(8)
    header = {"traceparent": f"00-{trace_id}-{parent}-01"}
    with caller_of(product.access) as caller, Reviewer(product.access.url, product.access.reviewer_key) as reviewer:
        completion = ask(caller, foreign_question(), extra_headers=header)
        item = reviewer.claim(review(completion)["id"])
        assert reviewer.decide(item, "edit", "it did not know", "Nobody knows.").status_code == 200
        until(lambda: any(span.get("service") == SERVING for span in spans(span_file, trace_id)))
        events = reviewer.events(item_id=item["id"]) + reviewer.events(interaction_id=completion.id)
    return trace_id, parent, completion, item, events


def test_the_question_continues_the_callers_trace(traced, span_file):
    trace_id, parent, _, item, _ = traced
    (chat,) = [span for span in spans(span_file, trace_id) if span["name"].startswith("chat ")]
    assert chat["parent_id"] == parent
    assert chat["attributes"]["review.item.id"] == item["id"]
    assert chat["attributes"]["review.action"] == "hold"


def test_serving_and_its_two_ranks_are_part_of_the_same_trace(traced, span_file):
    mine = {span["span_id"]: span for span in spans(span_file, traced[0])}
    (chat,) = [span for span in mine.values() if span["name"].startswith("chat ")]
    served = [span for span in mine.values() if span.get("service") == SERVING]
    names = {span["name"] for span in served}
    assert {"replica.ask", "engine.prefill", "engine.decode", "confidence.assess"} <= names
    assert {span["attributes"]["countersign.rank"] for span in served if span["name"] == "engine.rank"} == {0, 1}
    for span in served:
        ancestor = span
        while ancestor["span_id"] != chat["span_id"]:
            ancestor = mine[ancestor["parent_id"]]


def test_the_verdict_is_a_trace_of_its_own_that_links_to_the_question(traced, span_file):
    trace_id, _, _, item, _ = traced
    (chat,) = [span for span in spans(span_file, trace_id) if span["name"].startswith("chat ")]
    everything = map(json.loads, span_file.read_text().splitlines())
    (verdict,) = [
        span
        for span in everything
        if span["name"] == "review verdict" and span["attributes"]["review.item.id"] == item["id"]
    ]
    assert {"trace_id": trace_id, "span_id": chat["span_id"]} in verdict["links"]
    assert verdict["attributes"]["review.verdict"] == "edit"


def test_both_services_send_their_part_to_a_collector(traced, collector):
    def senders():
        return {service for service, trace_id, _ in collector.spans if trace_id == traced[0]}

    until(lambda: senders() == {"countersign-gateway", SERVING}, 30)


def test_the_desk_and_the_audit_log_name_the_trace(traced):
    trace_id, _, _, item, events = traced
    assert item["trace_id"] == trace_id
    assert {event["trace_id"] for event in events if event["kind"] == "decision"} == {trace_id}


def test_logs_are_json_lines_that_carry_the_trace_and_no_content(traced, product, home):
    trace_id, _, _, item, _ = traced
    text = product.children[GATEWAY].log.read_text()
    lines = [json.loads(line) for line in text.splitlines() if line.strip()]
    assert any(line.get("trace_id") == trace_id for line in lines)
    for log in (home / "logs").glob("*.log"):
        written = log.read_text(errors="replace")
        for secret in (product.access.key, product.access.reviewer_key, product.wiring.serving_token):
            assert secret not in written, log
        assert item["answer"]["text"] not in written, log
        assert "poet laureate" not in written, log


def test_no_content_is_in_any_span(traced, span_file):
    assert "poet laureate" not in span_file.read_text()
    assert "Nobody knows." not in span_file.read_text()


def test_metrics_count_what_was_held(traced, plain):
    text = plain.get("/metrics").text
    assert "countersign" in text
    assert any(line.startswith("countersign") and 'action="hold"' in line for line in text.splitlines())
