"""What parent and child of self-verification say to each other: JSON behind its length, four bytes, big end first."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any

from serving.answer import Step

HEAD = struct.Struct(">I")
LARGEST = 1 << 20  # bytes of one message


class BrokenFrame(Exception):
    """The other side sent something that is no message, or ended in the middle of one."""


def frame(message: Any) -> bytes:
    body = json.dumps(message).encode()
    return HEAD.pack(len(body)) + body


def length_of(head: bytes) -> int:
    """Raises BrokenFrame for a length that no message has."""
    (length,) = HEAD.unpack(head)
    if length > LARGEST:
        raise BrokenFrame(f"a message of {length} bytes")
    return int(length)


def rows_of(steps: Sequence[Step]) -> list[list[Any]]:
    return [[step.start, step.end, step.state, step.why] for step in steps]


def steps_of(body: bytes) -> tuple[Step, ...]:
    """Raises BrokenFrame."""
    try:
        rows = json.loads(body)
        steps = tuple(Step(int(start), int(end), state, str(why)) for start, end, state, why in rows)
    except (ValueError, TypeError) as error:
        raise BrokenFrame("no list of steps") from error
    if any(step.state not in ("valid", "invalid", "unknown") for step in steps):
        raise BrokenFrame("a step without a state")
    return steps
