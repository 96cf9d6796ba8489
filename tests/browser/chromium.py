"""Debian's Chromium, driven by Playwright, with every request it makes on record."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, sync_playwright

PATH = os.environ.get("COUNTERSIGN_CHROMIUM", "/usr/bin/chromium")
ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
WAIT_MS = 20_000


@dataclass
class Traffic:
    """Addresses a page asked for, and what its console said."""

    addresses: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)

    def outside(self) -> list[str]:
        """Requests that left this machine."""
        near = {"127.0.0.1", "localhost", ""}
        return [a for a in self.addresses if urlsplit(a).scheme in ("http", "https", "ws", "wss")
                and (urlsplit(a).hostname or "") not in near]  # fmt: skip


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PATH, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def page(browser: Browser, *, dark: bool = False) -> Iterator[tuple[Page, Traffic]]:
    """A fresh browser context: no cookie, 1280 by 800, a reader in Berlin."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 800}, timezone_id="Europe/Berlin", color_scheme="dark" if dark else "light"
    )
    context.set_default_timeout(WAIT_MS)
    traffic = Traffic()
    one = context.new_page()
    one.on("request", lambda request: traffic.addresses.append(request.url))
    one.on("websocket", lambda socket: traffic.addresses.append(socket.url))
    one.on("console", lambda message: traffic.console.append(message.text))
    try:
        yield one, traffic
    finally:
        context.close()
