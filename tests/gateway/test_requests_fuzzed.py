"""Whatever JSON arrives, it becomes a valid request or a 400 that can itself be written as JSON."""

import json
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from gateway.bodies import parse_object
from gateway.errors import ApiError, error_body
from gateway.schemas import REFUSED, ChatRequest, chat_request

NAMES = [*ChatRequest.model_fields, *REFUSED, "colour", ""]
text = st.text(st.characters(), max_size=8)  # surrogates and control characters included
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), text)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3))
messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "system", "assistant", "developer"]), "content": text},
        optional={"refusal": values, "name": values, "tool_calls": values},
    ),
    max_size=3,
)
sound = st.fixed_dictionaries({}, optional={"model": st.just("m"), "messages": messages})
bodies = st.builds(
    lambda odd, good: {**odd, **good}, st.dictionaries(st.sampled_from(NAMES), values, max_size=4), sound
)


def outcome(body: bytes) -> ChatRequest | ApiError:
    try:
        return chat_request(parse_object(body))
    except ApiError as error:
        return error


@given(bodies)
def test_any_object_is_a_request_or_a_400_that_names_what_is_wrong(body: dict[str, Any]) -> None:
    found = outcome(json.dumps(body).encode())
    if isinstance(found, ApiError):
        assert found.status == 400
        assert orjson.dumps(error_body(found.status, found.message, found.code, found.param))
    else:
        assert found.model_dump_json()  # nothing in it that could not be stored


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_a_400(body: bytes) -> None:
    found = outcome(body)
    assert isinstance(found, ChatRequest) or found.status == 400


@given(bodies)
def test_accepted_request_holds_no_refused_parameter(body: dict[str, Any]) -> None:
    found = outcome(json.dumps(body).encode())
    if isinstance(found, ChatRequest):
        given_values = {name: body[name] for name in REFUSED.keys() & body.keys() if body[name] is not None}
        assert all(value in REFUSED[name] for name, value in given_values.items())
