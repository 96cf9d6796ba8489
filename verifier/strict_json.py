"""Reads JSON that says one thing only: what a person finds in the file is what this program checked."""

from __future__ import annotations

import json
from typing import Any

from verifier.findings import CannotRead, printable


class _Twice(ValueError):
    """A member's name stands twice in one object: people tend to read the first one, programs the last one."""


def _once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(members)
    if len(read) != len(members):
        names = [name for name, _ in members]
        raise _Twice(next(name for place, name in enumerate(names) if name in names[:place]))
    return read


def _beyond(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON.")


_decoder = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_beyond)


def parsed(raw: bytes) -> Any:
    """Raises ValueError, also where a member stands twice, or RecursionError."""
    return _decoder.decode(raw.decode(json.detect_encoding(raw)))


def read_object(raw: bytes, where: str, what: str) -> dict[str, Any]:
    """`where`: the file or line; `what` it should be, with its article. Raises CannotRead."""
    try:
        read = parsed(raw)
    except _Twice as error:
        why = f"the member {printable(str(error))} stands twice in one object: who reads it may see the other one"
        raise CannotRead(f"{where} is not {what}: {why}.") from error
    except (ValueError, RecursionError) as error:
        raise CannotRead(f"{where} is not JSON; {what} that was cut off ends like this.") from error
    if type(read) is not dict:
        raise CannotRead(f"{where} is not a JSON object.")
    return read
