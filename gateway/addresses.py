"""Knows what no address may carry, whichever endpoint it names."""

from __future__ import annotations

from starlette.requests import Request

from gateway.errors import bad_request


async def refuse_nul(request: Request) -> None:
    """A dependency of every endpoint: PostgreSQL keeps no NUL, so SQLite is not asked for one either; raises 400."""
    for name, value in (*request.path_params.items(), *request.query_params.multi_items()):
        if "\x00" in name or "\x00" in str(value):
            param = name.replace("\x00", "\\0")[:64]
            raise bad_request(param, f"{param}: the NUL character is not allowed.")
