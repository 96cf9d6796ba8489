"""Knows what no address may carry, whichever endpoint it names."""

from __future__ import annotations

from starlette.requests import Request

from gateway.errors import bad_request
from storage.storable import hidden_character

LONGEST = 4096  # characters of one value; an id or a cursor is far shorter
FREE = "metadata["  # values of these are people's own text, and are only compared


async def refuse_odd(request: Request) -> None:
    """A dependency of every endpoint: raises 400 for what is no id, name, number or cursor."""
    for name, value in (*request.path_params.items(), *request.query_params.multi_items()):
        param = shown(name)
        if len(name) > LONGEST or len(str(value)) > LONGEST:
            raise bad_request(param, f"{param}: is longer than {LONGEST} characters.")
        if "\x00" in name or "\x00" in str(value):  # PostgreSQL keeps none, so SQLite is not asked for one either
            raise bad_request(param, f"{param}: the NUL character is not allowed.")
        hidden = hidden_character(name if name.startswith(FREE) else f"{name}{value}")
        if hidden is not None:
            raise bad_request(param, f"{param}: the character {hidden} is not allowed here.")


def shown(name: str) -> str:
    return name.replace("\x00", "\\0")[:64]
