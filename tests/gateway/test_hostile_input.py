"""Whatever is sent to whichever endpoint is refused with the error it deserves, and nothing of it is stored."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
import sqlalchemy as sa

from gateway.bodies import parse_object
from storage.tables import metadata
from tests.gateway.fake_serving import FakeServing
from tests.gateway.operations import BODIES, OPERATIONS, WITHOUT_BODY, Operation
from tests.gateway.running import Gateway, running, settings_for

FIELDS = {"message", "type", "param", "code"}
HUGE = 10**400
HIDDEN = ["\u202e", "\u2066", "\u200f", "\u0085", "\n"]
# Fields that hold what people write, in Arabic and Hebrew too; all others are names, numbers and choices.
FREE_TEXT = {"messages", "stop", "text", "note", "reason", "content", "link"}
RAW_BODIES = {
    "empty list": b"[]",
    "number": b"1",
    "cut off": b'{"a": ',
    "raw NUL": b'{"a\x00": 1}',
    "no UTF-8": b'{"a": "\xff\xfe"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "10,000 lists": b'{"a": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "10,000 objects": b'{"a": ' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001,
    "surrogate in a name": b'{"\\ud800": 1}',
    "NUL in a name": b'{"\\u0000": 1}',
    "order reversed in a name": '{"\u202ea": 1}'.encode(),
    "number of 5,000 digits": b'{"a": ' + b"9" * 5000 + b"}",
    "a megabyte in a name": b'{"' + b"a" * 1_100_000 + b'": 1}',
}


@pytest.fixture(scope="module")
def besieged(
    tmp_path_factory: pytest.TempPathFactory, serving: FakeServing, valkey_url: str, migrated: Path
) -> Iterator[Gateway]:
    """A gateway whose database nobody but the requests changes."""
    home = tmp_path_factory.mktemp("besieged")
    (home / "countersign.db").write_bytes(migrated.read_bytes())
    with running(settings_for(home, serving.url, valkey_url, worker="off")) as found:
        found.ask("held [0.3]")
        yield found


@pytest.fixture
def unchanged(besieged: Gateway) -> Iterator[Gateway]:
    """The gateway; afterwards every table has as many rows as before."""
    before = rows(besieged)
    yield besieged
    assert rows(besieged) == before


def rows(gateway: Gateway) -> dict[str, int]:
    with gateway.database.read() as conn:
        return {
            table.name: conn.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for table in metadata.sorted_tables
        }


def check(answer: httpx2.Response, what: str, param: str | None = None) -> None:
    assert 400 <= answer.status_code < 500, (what, answer.status_code, answer.text[:300])
    error = answer.json()["error"]
    assert set(error) == FIELDS, what
    assert error["message"], what
    assert not any(each in answer.text for each in HIDDEN), what
    if param is not None:
        assert (answer.status_code, str(error["param"]).split(".")[0].split("[")[0]) == (400, param), (what, error)


def operations(*, having: str) -> list[Any]:
    return [pytest.param(each, id=each.name) for each in OPERATIONS if getattr(each, having)]


def test_every_operation_is_besieged() -> None:
    assert {each.name for each in OPERATIONS} == {*BODIES, *WITHOUT_BODY}
    assert {each.name for each in OPERATIONS if each.fields} == set(BODIES)


@pytest.mark.parametrize("operation", operations(having="path_names"))
def test_odd_name_in_a_path_is_400_and_names_it(unchanged: Gateway, operation: Operation) -> None:
    with unchanged.http("admin") as http:
        for odd in ("\x00", *HIDDEN, "x" * 5000):
            for value in (odd, f"chatcmpl-{odd}1"):
                address = operation.at(
                    httpx2.URL("http://x", params={"v": value}).query.decode()[2:].replace("+", "%20")
                )
                answer = http.request(operation.method, address, json=BODIES.get(operation.name))
                where = None if odd == "\n" else operation.path_names[0]  # a path with a line break may match no route
                check(answer, f"{operation.name} {value[:20]!r}", where)
        surrogate = http.request(operation.method, operation.at("%ED%A0%80"), json=BODIES.get(operation.name))
        check(surrogate, "half a surrogate pair")


@pytest.mark.parametrize("operation", operations(having="query"))
def test_odd_value_in_a_query_is_400_and_names_it(unchanged: Gateway, operation: Operation) -> None:
    with unchanged.http("admin") as http:
        for name, schema in operation.query.items():
            odd = ["\x00", *HIDDEN, "x" * 5000]
            if any(each.get("type") in ("integer", "number") for each in (schema, *schema.get("anyOf", ()))):
                odd += ["NaN", "Infinity", "-Infinity", "1e999", "[]", "true false", ""]
            for value in odd:
                answer = http.request(operation.method, operation.at(), params={**operation.needed, name: value})
                check(answer, f"{operation.name} {name}={value[:20]!r}", name)


@pytest.mark.parametrize("operation", operations(having="query"))
def test_number_that_no_column_holds_is_no_fault_of_the_gateway(besieged: Gateway, operation: Operation) -> None:
    with besieged.http("admin") as http:
        for name in operation.query:
            for value in (str(HUGE), str(2**63), str(2**31), str(-(2**63) - 1), "-1"):
                answer = http.request(operation.method, operation.at(), params={**operation.needed, name: value})
                assert answer.status_code < 500, (operation.name, name, value[:20], answer.text[:200])


@pytest.mark.parametrize("operation", operations(having="fields"))
def test_body_that_is_none_is_4xx(unchanged: Gateway, operation: Operation) -> None:
    with unchanged.http("admin") as http:
        for what, body in RAW_BODIES.items():
            check(http.request(operation.method, operation.at(), content=body), f"{operation.name}: {what}")


@pytest.mark.parametrize("operation", operations(having="fields"))
def test_odd_value_in_a_body_is_400_and_names_its_field(unchanged: Gateway, operation: Operation) -> None:
    with unchanged.http("admin") as http:
        for name, schema in operation.fields.items():
            for odd in oddities(name, schema):
                body = json.dumps({**BODIES[operation.name], name: odd})
                answer = http.request(operation.method, operation.at(), content=body)
                check(answer, f"{operation.name} {name}: {str(odd)[:40]!r}", name)
            large = json.dumps({**BODIES[operation.name], name: "x" * 1_100_000})
            check(http.request(operation.method, operation.at(), content=large), f"{operation.name} {name}: a megabyte")


def oddities(name: str, schema: dict[str, Any]) -> Iterator[Any]:
    """Values that no field takes, in the forms that its schema would take."""
    kinds = {each.get("type") for each in (schema, *schema.get("anyOf", ()))}
    yield from ({"unexpected": []}, float("nan"), float("inf"), float("-inf"), [["x"]])
    texts = ["a\x00", "a\ud800"] + ([] if name in FREE_TEXT else [f"a{each}b" for each in HIDDEN])
    yield from texts
    if kinds & {"integer", "number"}:
        yield from (HUGE, -HUGE, 2**64, "1", True, -(2**63) - 1)
    if "array" in kinds:
        yield from ([text] for text in texts)
    if name == "metadata":
        yield from ({text: "value"} for text in texts)
        yield from ({"name": text} for text in texts[:2])
    if name == "messages":
        yield from ([{"role": "user", "content": text}] for text in texts)


@pytest.mark.parametrize("operation", [pytest.param(each, id=each.name) for each in OPERATIONS])
def test_odd_header_is_no_fault_of_the_gateway(unchanged: Gateway, operation: Operation) -> None:
    names = ("x-request-id", "prefer", "traceparent", "idempotency-key", "x-stainless-read-timeout", "accept")
    with unchanged.http(None) as http:
        for value in (b"\xff\xfe", "\u202e".encode(), b"9" * 400, b'a,b;c="d', b"x" * 20_000):
            headers = [(name.encode(), value) for name in names]
            answer = http.request(operation.method, operation.at(), headers=[*headers, (b"authorization", value)])
            if operation.path.startswith("/health"):
                assert answer.status_code == 200
            else:
                check(answer, f"{operation.name} {value[:20]!r}")


def test_people_write_in_scripts_that_run_from_right_to_left(besieged: Gateway) -> None:
    said = "\u200fشكرا \u2067שלום\u2069 \u202bنص\u202c \u200d"
    held = besieged.ask(f"{said} [0.3]", metadata={"title": said}, stop=[said]).json()
    item = held["review"]["id"]
    token = besieged.claim(item)["claim"]["fencing_token"]
    with besieged.http("ada") as http:
        draft = {"fencing_token": token, "text": said, "note": said}
        http.put(f"/v1/reviews/{item}/draft", json=draft).raise_for_status()
        verdict = {"fencing_token": token, "verdict": "edit", "reason": said, "content": said}
        http.post(f"/v1/reviews/{item}/verdict", json=verdict).raise_for_status()
    with besieged.http() as http:
        found = http.get("/v1/chat/completions", params={"metadata[title]": said}).json()["data"]
    assert [each["choices"][0]["message"]["content"] for each in found] == [said]


MARK = b"\xef\xbb\xbf"
BIG = b"99999999999999999999999"  # beyond 64 bits, within a float


@pytest.mark.parametrize("before", [b"", MARK])
@pytest.mark.parametrize("member", ["x", "prompt_cache_breakpoint"])
@pytest.mark.parametrize("value", [BIG, b'{"mode": "explicit"}', b"[]", b"false", b'""'])
def test_a_text_part_has_a_text_and_no_more(unchanged: Gateway, before: bytes, member: str, value: bytes) -> None:
    part = b'{"type": "text", "text": "hi", "%b": %b}' % (member.encode(), value)
    message = b'{"role": "user", "content": [{"type": "text", "text": "a"}, %b]}' % part
    body = before + b'{"model": "countersign-reference", "messages": [%b]}' % message
    with unchanged.http() as http:
        answer = http.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    check(answer, "a part with more", "messages")
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == (f"messages[0].content[1].{member}", "unknown_parameter")


def test_a_null_member_of_a_text_part_is_as_if_left_out(besieged: Gateway) -> None:
    part = {"type": "text", "text": "hi [0.97]", "prompt_cache_breakpoint": None}
    with besieged.http() as http:
        body = {"model": "countersign-reference", "messages": [{"role": "user", "content": [part]}]}
        assert http.post("/v1/chat/completions", json=body).status_code == 200


def test_a_body_means_the_same_with_and_without_a_byte_order_mark() -> None:
    edges = b'{"a": [%b, -%b, 18446744073709551616, 18446744073709551615, -9223372036854775808, 0, 1e5]}' % (BIG, BIG)
    told, marked = (parse_object(before + edges)["a"] for before in (b"", MARK))
    assert told == marked
    assert [type(number) for number in told] == [type(number) for number in marked]
    assert orjson.dumps(marked) == orjson.dumps(told)


@pytest.mark.parametrize("field", ["user", "safety_identifier"])
def test_an_end_user_is_not_named_as_a_key_whose_facts_would_be_erased_with_theirs(
    unchanged: Gateway, field: str
) -> None:
    with unchanged.http("ada") as http:
        key_id = http.get("/v1/whoami").json()["id"]
    answer = unchanged.ask("collide [0.97]", **{field: f"key:{key_id}"})
    check(answer, "a key's name", field)
    assert answer.status_code == 400
    assert unchanged.ask("hi", **{field: "key:"}).status_code == 400


@pytest.mark.parametrize("field", ["user", "safety_identifier"])
def test_an_end_user_is_not_named_as_an_id_whose_owner_would_be_erased_in_their_place(
    unchanged: Gateway, field: str
) -> None:
    answer = unchanged.ask("collide [0.97]", **{field: "sub_0123456789abcdef01234567"})
    check(answer, "another end user's id", field)
    assert answer.status_code == 400
