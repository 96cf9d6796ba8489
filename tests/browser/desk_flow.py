"""What a reviewer does at the desk, as functions of a Playwright page; the system test walks through them too."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Locator, Page, expect

WAIT_MS = 30_000
TOO_QUICK = "too quick to have been read"
DONE = re.compile(r"^(Approved|Edited|Rejected|Referred to another person): ")


def sign_in(page: Page, link: str) -> None:
    """Opens a one-use sign-in link, `http://…/signin?link=…`, signs in and waits for the desk."""
    use_link(page, link)
    expect(page.get_by_role("link", name="Sign out")).to_be_visible(timeout=WAIT_MS)


def use_link(page: Page, link: str) -> None:
    """Opens the link and presses its button; what comes of it is still to be seen."""
    page.goto(link)
    page.get_by_role("button", name="Sign in as a reviewer").click()


def claim_next(page: Page) -> str:
    """Claims the most urgent item with the keyboard; its id."""
    expect(page.get_by_role("button", name="Claim the next")).to_be_enabled(timeout=WAIT_MS)
    press(page, "n")
    return item_in_hand(page)


def item_in_hand(page: Page) -> str:
    """The id of the item on the desk, once its verdict keys are there and heard."""
    expect(page.get_by_role("button", name="Approve")).to_be_visible(timeout=WAIT_MS)
    expect(page.get_by_text("The model’s answer", exact=True)).to_be_visible(timeout=WAIT_MS)
    wait_until_drawn(page)
    return parse_qs(urlsplit(page.url).query)["item"][0]


def wait_until_drawn(page: Page) -> None:
    """Until Streamlit's script has ended: before that a key may be lost, or stand for what is no longer there."""
    page.locator("[data-testid='stApp'][data-test-script-state='notRunning']").wait_for(timeout=WAIT_MS)


def press(page: Page, key: str, shown: Locator | None = None) -> None:
    """Presses the key once the page hears it, and waits for what it brings up."""
    wait_until_drawn(page)
    page.keyboard.press(key)
    if shown is not None:
        expect(shown).to_be_visible(timeout=WAIT_MS)


def next_item_in_hand(page: Page, before: str) -> str:
    """The id of the item that follows `before` on the desk."""
    expect(page).not_to_have_url(re.compile(re.escape(before)), timeout=WAIT_MS)
    return item_in_hand(page)


def press_for_next(page: Page, before: str) -> str:
    """The id of the item that N leads to."""
    press(page, "n")
    return next_item_in_hand(page, before)


def answer_text(page: Page) -> str:
    """The model's answer as the heat map shows it, once it is drawn."""
    answer = page.get_by_label("The model's answer")
    expect(answer).not_to_be_empty(timeout=WAIT_MS)
    return answer.inner_text()


def approve(page: Page) -> str:
    """Approves the item on the desk; the confirmation."""
    press_until_read(page, "a")
    return confirmation(page)


def press_until_read(page: Page, key: str) -> None:
    """A verdict in the first second does not count; then it says so, and is given again."""
    for _ in range(20):
        press(page, key)
        answer = page.get_by_text(re.compile(f"You approve this answer|{TOO_QUICK}|^Approved: ")).first
        expect(answer).to_be_visible(timeout=WAIT_MS)
        if TOO_QUICK not in answer.inner_text():
            return
        page.wait_for_timeout(250)
    raise AssertionError("The verdict never counted.")


def edit(page: Page, text: str, reason: str) -> str:
    """Replaces the answer by `text`; the confirmation."""
    form(page, "e", "The answer, in your words").fill(text)
    return _give_reason(page, "What was wrong?", reason)


def reject(page: Page, reason: str) -> str:
    form(page, "x", "Why must it not leave?")
    return _give_reason(page, "Why must it not leave?", reason)


def refer(page: Page, reason: str) -> str:
    form(page, "Shift+E", "What should the other person look at?")
    return _give_reason(page, "What should the other person look at?", reason)


def form(page: Page, key: str, label: str) -> Locator:
    """The field that the key opens."""
    field = page.get_by_label(label)
    press(page, key, field)
    return field


def _give_reason(page: Page, label: str, reason: str) -> str:
    field = page.get_by_label(label)
    field.fill(reason)
    field.press("Control+Enter")
    return confirmation(page)


def skip(page: Page) -> None:
    press(page, "s", page.get_by_text("Skipped. It waits again"))


def confirmation(page: Page) -> str:
    """Waits until the verdict is sent; what the desk says of it."""
    said = page.get_by_text(DONE).first
    expect(said).to_be_visible(timeout=WAIT_MS)
    return said.inner_text()


def settle(page: Page) -> None:
    """Until nothing on the page is still being drawn."""
    wait_until_drawn(page)
    page.evaluate("() => document.fonts.ready.then(() => true)")
    page.wait_for_timeout(400)  # charts and fades have no event to wait for


def screenshot_desk(page: Page, path: Path) -> None:
    """The desk with an item in hand, at the size of the README's picture (1280 by 800)."""
    page.set_viewport_size({"width": 1280, "height": 800})
    item_in_hand(page)
    settle(page)
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=path)
