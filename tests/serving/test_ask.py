"""The body of an ask is read strictly: what is refused names its field, what is accepted keeps its meaning."""

import orjson
import pytest

from serving.ask import Ask, CalibrationReference, InvalidAsk, parse_ask
from serving.engine.generation import Message

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 2?"}]


def test_a_whole_ask_is_read() -> None:
    body = {
        "messages": MESSAGES,
        "max_tokens": 7,
        "temperature": 0,
        "top_p": 0.5,
        "seed": 3,
        "stop": ["\n"],
        "top_logprobs": 2,
        "calibration": {"id": "cal_1"},
    }
    assert parse_ask(orjson.dumps(body)) == Ask(
        messages=(Message("system", "Be brief."), Message("user", "2 + 2?")),
        max_tokens=7,
        temperature=0.0,
        top_p=0.5,
        seed=3,
        stop=("\n",),
        top_logprobs=2,
        calibration=CalibrationReference("cal_1"),
    )


def test_what_is_left_out_is_the_checkpoints_to_choose() -> None:
    ask = parse_ask(orjson.dumps({"messages": MESSAGES, "temperature": None}))

    assert (ask.max_tokens, ask.temperature, ask.top_p, ask.seed, ask.stop) == (None, None, None, None, ())
    assert ask.top_logprobs == 5
    assert ask.calibration is None


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"[]", None),
        (b'{"messages": NaN}', None),
        (b'{"messages": "\\ud800"}', None),
        (b"[" * 100_000, None),
        (b"\xff", None),
        (b"{}", "messages"),
        (b'{"messages": {}}', "messages"),
        (b'{"messages": ["hello"]}', "messages[0]"),
        (b'{"messages": [{"role": "tool", "content": ""}]}', "messages[0].role"),
        (b'{"messages": [{"role": "user", "content": [1]}]}', "messages[0].content"),
        (b'{"messages": [{"role": "user", "content": "", "name": "x"}]}', "messages[0]"),
    ],
)
def test_a_body_that_is_no_ask_is_refused(body: bytes, param: str | None) -> None:
    with pytest.raises(InvalidAsk) as refused:
        parse_ask(body)
    assert refused.value.param == param
    assert refused.value.message.endswith(".")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens", 0),
        ("max_tokens", True),
        ("max_tokens", 1.5),
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", "0"),
        ("top_p", 0),
        ("top_p", 1.1),
        ("seed", 2**63),
        ("stop", "x"),
        ("stop", [""]),
        ("stop", ["a", "b", "c", "d", "e"]),
        ("stop", ["x"] * 5_000),
        ("cache_salt", ""),
        ("cache_salt", "x" * 257),
        ("cache_salt", 7),
        ("top_logprobs", 21),
        ("logit_bias", {}),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(InvalidAsk) as refused:
        parse_ask(orjson.dumps({"messages": MESSAGES, field: value}))
    assert refused.value.param == field


def test_an_ask_without_a_salt_shares_its_prompt_with_no_other() -> None:
    first, second = (parse_ask(orjson.dumps({"messages": MESSAGES})) for _ in range(2))
    salted = parse_ask(orjson.dumps({"messages": MESSAGES, "cache_salt": "tenant"}))

    assert first.cache_salt != second.cache_salt
    assert salted.cache_salt == "tenant"


@pytest.mark.parametrize(
    ("calibration", "param"),
    [
        ("cal_1", "calibration.id"),
        ({}, "calibration.id"),
        ({"id": "cal_1", "body": []}, "calibration.body"),
        ({"id": "cal_1", "body": {"id": "cal_2"}}, "calibration.body.id"),
    ],
)
def test_a_calibration_must_name_itself(calibration: object, param: str) -> None:
    with pytest.raises(InvalidAsk) as refused:
        parse_ask(orjson.dumps({"messages": MESSAGES, "calibration": calibration}))
    assert refused.value.param == param
