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


# What each refusal means for the person at the desk, and what to do; the gateway's own sentence is for programs.
CONFLICTS = {
    "already_claimed": "Another reviewer has it now.",
    "already_decided": "It was already decided, or has ended.",
    "lapsed_too_often": "Too many claims on it ran out, so it is being set aside.",
    "stale_claim": "Your claim on it has lapsed.",
    "own_request": "You asked it, with this key or another: another person must decide it.",
    "referred_by_self": "You already gave your word on it: it waits for another person.",
    "not_skilled": "It is outside the domains you decide: it waits for a reviewer of that field.",
    "past_deadline": "Its deadline has passed; its answer stays withheld.",
    "content_changed": "The stored answer is not the one that was decided on: nothing was released. Tell an operator.",
    "not_vouched": "Its stored records are not those that were written here: it is set aside. Tell an operator.",
    "not_vouched_yet": "It is of an earlier version: nobody can decide it until an operator vouches for its records.",
    "other_master_key": "Its records were written under another master key: an operator must restore that key.",
    "conflict": "Someone changed it meanwhile.",
    "illegal_transition": "That cannot be done with it any more.",
}


def in_words(fault: GatewayFault) -> str:
    """A sentence for the screen."""
    return CONFLICTS.get(fault.code or "", str(fault)) if isinstance(fault, Conflict) else str(fault)
