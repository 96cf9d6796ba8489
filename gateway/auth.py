"""Knows who asks: bearer keys, their roles, and what a role may do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request

from gateway.context import context_of
from gateway.errors import ApiError
from storage import keys
from storage.records import Key, Role

MAX_KEY_LENGTH = 256  # characters; a real one is far shorter


async def authenticate(request: Request, *, let_in: bool = False) -> Key:
    """The key that the request carries; raises 401 when there is none that is valid now.

    `let_in`: it was asked before, and is not refused for want of a place among those that read.
    """
    secret = bearer(request)
    key = await context_of(request).recorder.read(lambda conn: keys.by_secret(conn, secret), always=let_in)
    if key is None:  # revoked and expired ones look the same to whoever guesses
        raise unauthorised("This API key is not valid: unknown, expired or revoked.")
    request.scope["state"]["key_id"] = key.id
    return key


def bearer(request: Request) -> str:
    """The secret from the Authorization header."""
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not secret:
        raise unauthorised("No API key was sent. Send one as 'Authorization: Bearer csk_…'.")
    if len(secret) > MAX_KEY_LENGTH or not secret.isascii():
        raise unauthorised("This API key is not valid: unknown, expired or revoked.")
    return secret


def unauthorised(message: str) -> ApiError:
    return ApiError(401, message, code="invalid_api_key", headers={"www-authenticate": "Bearer"})


def needs(*roles: Role, let_in: bool = False) -> Callable[[Request], Awaitable[Key]]:
    """A dependency: the caller's key, when it has one of `roles`; an admin has them all. `let_in` as `authenticate`."""

    async def allowed(request: Request) -> Key:
        key = await authenticate(request, let_in=let_in)
        if key.roles.isdisjoint({*roles, Role.ADMIN}):
            wanted = " or ".join(role.value for role in roles)
            raise ApiError(403, f"This needs a key with the role {wanted}.", code="missing_role")
        return key

    return allowed


caller = needs(Role.CALLER)
still_caller = needs(Role.CALLER, let_in=True)  # looked up once more, when the answer is there
reviewer = needs(Role.REVIEWER)
auditor = needs(Role.AUDITOR)
watcher = needs(Role.AUDITOR, Role.REVIEWER)
admin = needs(Role.ADMIN)
