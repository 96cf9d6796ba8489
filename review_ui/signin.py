"""Signing in and out: a one-use link or a pasted key becomes a cookie that scripts cannot read."""

from __future__ import annotations

import html
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from review_ui.client import Gateway
from review_ui.faults import GatewayFault, GatewayUnreachable, SignedOut
from review_ui.headers import KEY_COOKIE

PASTED_KEY_SECONDS = 12 * 3600  # the cookie's life for a key that names no end
NO_ANSWER = "The gateway does not answer, so nobody can sign in just now. Try again in a moment."

PAGE = Path(__file__).with_name("signin.html").read_text(encoding="utf-8")
KEY_FORM = PAGE[PAGE.index("<!-- key -->") : PAGE.index("<!-- key end -->")]
LINK_FORM = """<form method="post" action="/signin"><input type="hidden" name="link" value="{link}">
<button type="submit" autofocus>Sign in as a reviewer</button></form>"""


def signin_routes(http: httpx2.Client) -> list[Route]:
    """Synchronous endpoints: Starlette runs them in threads, as the client blocks."""
    return [
        Route("/signin", _arrive, methods=["GET"]),
        Route("/signin", _sign_in(http), methods=["POST"]),
        Route("/signout", _leave(http), methods=["GET"]),
    ]


def _arrive(request: Request) -> Response:
    """Redeems nothing: what scans mails and previews addresses opens links too, and a person presses a button."""
    link = request.query_params.get("link", "")
    return _page(form=LINK_FORM.format(link=html.escape(link)) if link else KEY_FORM)


def _sign_in(http: httpx2.Client) -> Callable[[Request], Response]:
    async def sign_in(request: Request) -> Response:
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return _page("This form was sent from another site, so it was not used.", 403)
        form = await request.form()
        link, key = (str(form.get(name, "")).strip() for name in ("link", "key"))
        if link:
            return await run_in_threadpool(_redeem, http, request, link)
        return await run_in_threadpool(_check, http, request, key)

    return sign_in  # type: ignore[return-value]


def _redeem(http: httpx2.Client, request: Request, link: str) -> Response:
    try:
        signed_in = Gateway(http).redeem(link)
    except GatewayUnreachable:
        return _page(NO_ANSWER, 503, LINK_FORM.format(link=html.escape(link)))
    except GatewayFault as fault:
        return _page(f"{fault} Ask for a fresh link, or paste your key.", 403)
    return _with_key(request, signed_in.key, signed_in.expires_at)


def _check(http: httpx2.Client, request: Request, key: str) -> Response:
    if not key.isascii() or not key.isprintable() or not key:
        return _page("That is not a key. A key begins with csk_ and is one word.", 403)
    try:
        Gateway(http, key).whoami()
    except GatewayUnreachable:
        return _page(NO_ANSWER, 503)
    except SignedOut:
        return _page("The gateway does not know this key, or it has ended.", 403)
    except GatewayFault as fault:
        return _page(str(fault), 403)
    return _with_key(request, key, None)


def _leave(http: httpx2.Client) -> Callable[[Request], Response]:
    def leave(request: Request) -> Response:
        answer = RedirectResponse("/signin", status_code=303)
        key = request.cookies.get(KEY_COOKIE)  # SameSite=Strict: another site cannot bring it along
        if key:
            answer.delete_cookie(KEY_COOKIE, httponly=True, samesite="strict")
            _revoke(http, key)
        return answer

    return leave


def _revoke(http: httpx2.Client, key: str) -> None:
    try:
        Gateway(http, key).sign_out()
    except GatewayFault:
        return  # the browser forgets the key all the same, and it ends by itself


def _with_key(request: Request, key: str, expires_at: float | None) -> Response:
    answer = RedirectResponse("/", status_code=303)
    life = PASTED_KEY_SECONDS if expires_at is None else max(0, int(expires_at - time.time()))
    answer.set_cookie(
        KEY_COOKIE, key, max_age=life, httponly=True, samesite="strict", secure=request.url.scheme == "https"
    )
    answer.headers["cache-control"] = "no-store"
    return answer


def _page(problem: str = "", status: int = 200, form: str = KEY_FORM) -> Response:
    said = f'<p class="problem" role="alert">{html.escape(problem)}</p>' if problem else ""
    return HTMLResponse(
        PAGE.replace(KEY_FORM, form).replace("<!-- problem -->", said), status, headers={"cache-control": "no-store"}
    )
