"""What can go wrong between the dashboard and the gateway, in words a reviewer can act on."""

from __future__ import annotations


class GatewayFault(Exception):
    """Any answer that is not the one asked for; `str()` is a sentence for the screen."""

    def __init__(self, message: str, *, code: str | None = None, request_id: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.request_id = request_id


class GatewayUnreachable(GatewayFault):
    """No answer at all; nothing is known to have happened."""


class SignedOut(GatewayFault):
    """401: the key is unknown, expired or revoked."""


class NotAllowed(GatewayFault):
    """403: the key lacks the role."""


class Missing(GatewayFault):
    """404: no such thing for this tenant."""


class Conflict(GatewayFault):
    """409: someone else decided, or the claim lapsed; `code` tells which."""


class Refused(GatewayFault):
    """Any other 4xx: the request itself was at fault."""


class Broken(GatewayFault):
    """5xx, or an answer that is not what the contract promises."""


BY_STATUS: dict[int, type[GatewayFault]] = {401: SignedOut, 403: NotAllowed, 404: Missing, 409: Conflict}


def fault_for(status: int) -> type[GatewayFault]:
    return BY_STATUS.get(status, Refused if status < 500 else Broken)
