"""What SQLite's columns would take and PostgreSQL's do not, NUL, surrogates, large numbers, is refused before it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from storage.database import migrate
from tests.gateway.fake_serving import FakeServing
from tests.gateway.operations import BODIES, Operation
from tests.gateway.running import Gateway, running, settings_for
from tests.gateway.test_hostile_input import HUGE, check, operations, rows
from tests.storage.servers import new_database, postgres_server

NUMBERS = (HUGE, 2**63, 2**31, -(2**63) - 1, -1)
TEXTS = ("a\x00", "a\ud800")


@pytest.fixture(scope="module")
def besieged(serving: FakeServing, valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway whose database nobody but the requests changes."""
    with postgres_server() as server:
        url = new_database(server)
        migrate(url)
        home = tmp_path_factory.mktemp("besieged")
        with running(settings_for(home, serving.url, valkey_url, database_url=url, worker="off")) as found:
            found.ask("held [0.3]")
            yield found


@pytest.fixture
def unchanged(besieged: Gateway) -> Iterator[Gateway]:
    before = rows(besieged)
    yield besieged
    assert rows(besieged) == before


@pytest.mark.parametrize("operation", operations(having="path_names"))
def test_name_that_no_column_holds_is_400(unchanged: Gateway, operation: Operation) -> None:
    with unchanged.http("admin") as http:
        for odd in ("%00", "a%00b", "%ED%A0%80"):
            answer = http.request(operation.method, operation.at(odd), json=BODIES.get(operation.name))
            check(answer, f"{operation.name} {odd}")


@pytest.mark.parametrize("operation", operations(having="query"))
def test_value_of_a_query_that_no_column_holds_is_no_fault_of_the_gateway(
    besieged: Gateway, operation: Operation
) -> None:
    with besieged.http("admin") as http:
        for name in operation.query:
            for value in map(str, NUMBERS):
                answer = http.request(operation.method, operation.at(), params={**operation.needed, name: value})
                assert answer.status_code < 500, (operation.name, name, value[:20], answer.text[:200])
            answer = http.request(operation.method, operation.at(), params={**operation.needed, name: "\x00"})
            check(answer, f"{operation.name} {name}", name)


@pytest.mark.parametrize("operation", operations(having="fields"))
def test_value_of_a_body_that_no_column_holds_is_no_fault_of_the_gateway(
    unchanged: Gateway, operation: Operation
) -> None:
    with unchanged.http("admin") as http:
        for name in operation.fields:
            for odd in (*TEXTS, list(TEXTS), {TEXTS[0]: TEXTS[1]}, 2**64, -HUGE, 2**63):
                body = json.dumps({**BODIES[operation.name], name: odd})
                answer = http.request(operation.method, operation.at(), content=body)
                check(answer, f"{operation.name} {name}: {str(odd)[:40]!r}")


@pytest.mark.parametrize("text", TEXTS, ids=["NUL", "surrogate"])
def test_question_that_no_column_holds_is_400_and_named(unchanged: Gateway, text: str) -> None:
    questions: dict[str, dict[str, Any]] = {
        "messages": {"messages": [{"role": "user", "content": text}]},
        "metadata": {"metadata": {"name": text}},
        "stop": {"stop": [text]},
        "user": {"user": text},
    }
    with unchanged.http() as http:
        for param, change in questions.items():
            body = json.dumps({**BODIES["POST /v1/chat/completions"], **change})
            check(http.post("/v1/chat/completions", content=body), param, param)
