"""Speaks the gateway's HTTP API in the reviewer's own name; every failure is a GatewayFault."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx2

from review_ui.capacity_figures import Capacity, Wish, capacity
from review_ui.confidence_figures import ConfidenceFigures, confidence_figures
from review_ui.faults import Broken, GatewayUnreachable, fault_for
from review_ui.figures import Figures, figures
from review_ui.reviews import Review, ReviewPage, review, review_page
from storage.records import Role, VerdictKind

Value = TypeVar("Value")
MAX_DOWNLOAD = 100_000_000  # bytes: the dashboard keeps a download in memory until it was fetched


@dataclass(frozen=True, slots=True)
class Me:
    id: str
    name: str
    tenant: str
    roles: frozenset[str]
    skills: tuple[str, ...] | None = None  # the domains this person decides; None: every one

    def may(self, *roles: Role) -> bool:
        return Role.ADMIN in self.roles or any(role in self.roles for role in roles)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A redeemed sign-in link: a key of this person's own, for this browser."""

    key: str
    name: str
    expires_at: float | None


@dataclass(frozen=True, slots=True)
class EventPage:
    rows: tuple[dict[str, Any], ...]
    next: str | None


class Gateway:
    """One reviewer's view of the gateway; safe to use from several threads."""

    def __init__(self, http: httpx2.Client, key: str | None = None) -> None:
        self._http = http
        self._key = key

    def redeem(self, link: str) -> SignedIn:
        data = self._ask("POST", "/v1/signin", json={"link": link})
        return _read(data, lambda d: SignedIn(d["key"], d["name"], d.get("expires_at")))

    def whoami(self) -> Me:
        data = self._ask("GET", "/v1/whoami")
        return _read(data, _me)

    def sign_out(self) -> None:
        self._ask("DELETE", "/v1/whoami")

    def claim_next(self) -> Review | None:
        """The most urgent item, now claimed; None when nothing waits."""
        data = self._ask("POST", "/v1/reviews/claim", json={})
        return None if data is None else _read(data, review)

    def claim(self, item_id: str) -> Review:
        return _read(self._ask("POST", f"/v1/reviews/{item_id}/claim", json={}), review)

    def review(self, item_id: str) -> Review:
        return _read(self._ask("GET", f"/v1/reviews/{item_id}"), review)

    def reviews(self, states: str, *, limit: int = 50, after: str | None = None) -> ReviewPage:
        query = {"state": states, "limit": limit, "after": after}
        return _read(self._ask("GET", "/v1/reviews", query=query), review_page)

    def save_draft(self, item_id: str, fencing_token: int, text: str, note: str) -> float:
        body = {"fencing_token": fencing_token, "text": text, "note": note}
        return _read(self._ask("PUT", f"/v1/reviews/{item_id}/draft", json=body), lambda d: float(d["saved_at"]))

    def extend(self, item_id: str, fencing_token: int) -> float:
        body = {"fencing_token": fencing_token}
        return _read(self._ask("POST", f"/v1/reviews/{item_id}/extend", json=body), lambda d: float(d["expires_at"]))

    def release(self, item_id: str, fencing_token: int) -> None:
        self._ask("POST", f"/v1/reviews/{item_id}/release", json={"fencing_token": fencing_token})

    def decide(self, item_id: str, fencing_token: int, kind: VerdictKind, reason: str, content: str | None) -> Review:
        body = {"fencing_token": fencing_token, "verdict": str(kind), "reason": reason, "content": content}
        return _read(self._ask("POST", f"/v1/reviews/{item_id}/verdict", json=body), review)

    def monitoring(self, hours: int) -> dict[str, Any]:
        return _read(self._ask("GET", "/v1/monitoring", query={"hours": hours}), dict)

    def traffic(self, hours: int) -> Figures:
        return _read(self.monitoring(hours), figures)

    def confidence(self, hours: int) -> ConfidenceFigures:
        """How right confidence was. Raises Missing where the gateway is of before there were such figures."""
        return _read(self._ask("GET", "/v1/monitoring/confidence", query={"hours": hours}), confidence_figures)

    def capacity(self, wish: Wish) -> Capacity:
        """The threshold that these reviewers and this error budget allow. Raises Missing, as `confidence`."""
        return _read(self._ask("GET", "/v1/monitoring/capacity", query=wish.query()), capacity)

    def events(self, filters: dict[str, Any], *, limit: int = 50, after: str | None = None) -> EventPage:
        data = self._ask("GET", "/v1/audit/events", query={**filters, "limit": limit, "after": after})
        return _read(data, lambda d: EventPage(tuple(d["data"]), d.get("next")))

    def event(self, event_id: str) -> dict[str, Any]:
        return _read(self._ask("GET", f"/v1/audit/events/{event_id}"), dict)

    def export(self, filters: dict[str, Any], form: str) -> bytes:
        """The file with every event that fits. Raises GatewayFault, also when it is too large for a browser."""
        query, whole = {**filters, "format": form}, bytearray()
        try:
            with self._http.stream("GET", "/v1/audit/export", params=query, headers=self._headers()) as answer:
                if not answer.is_success:
                    answer.read()
                    raise _fault(answer)
                for piece in answer.iter_bytes():
                    whole += piece
                    if len(whole) > MAX_DOWNLOAD:
                        raise Broken("More than the dashboard hands on: use `countersign audit export`.")
        except httpx2.TransportError as error:
            raise GatewayUnreachable("The gateway broke the export off.") from error
        return bytes(whole)

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._key}"} if self._key else {}

    def _ask(self, method: str, path: str, *, json: Any = None, query: dict[str, Any] | None = None) -> Any:
        params = {name: value for name, value in (query or {}).items() if value is not None and value != ""}
        try:
            answer = self._http.request(method, path, json=json, params=params, headers=self._headers())
        except httpx2.TransportError as error:
            raise GatewayUnreachable("The gateway does not answer.") from error
        if answer.status_code == 204:
            return None
        if answer.is_success:
            return _body(answer)
        raise _fault(answer)


def connect(gateway_url: str, timeout_seconds: float) -> httpx2.Client:
    """The one pool of connections that all reviewers of this process share."""
    return httpx2.Client(base_url=gateway_url, timeout=timeout_seconds, trust_env=False)


def _me(data: dict[str, Any]) -> Me:
    skills = data.get("skills")
    known = None if skills is None else tuple(str(skill) for skill in skills)
    return Me(data["id"], data["name"], data["tenant"], frozenset(data["roles"]), known)


def _body(answer: httpx2.Response) -> Any:
    try:
        return answer.json()
    except ValueError as error:
        raise Broken("The gateway's answer is not JSON.", request_id=answer.headers.get("x-request-id")) from error


def _read(data: Any, reader: Callable[[Any], Value]) -> Value:
    try:
        return reader(data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Broken(f"The gateway's answer has an unexpected shape ({type(error).__name__}: {error}).") from error


def _fault(answer: httpx2.Response) -> Exception:
    request_id = answer.headers.get("x-request-id")
    try:
        error = answer.json()["error"]
        message, code = str(error["message"]), error.get("code")
    except (ValueError, KeyError, TypeError):
        message, code = f"The gateway answered {answer.status_code} without saying why.", None
    return fault_for(answer.status_code)(message, code=code, request_id=request_id)
