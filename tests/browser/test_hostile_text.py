"""Whatever a model or a caller writes stays text: nothing runs, nothing is fetched, nothing hides."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import expect

from tests.browser import desk_flow
from tests.browser.conftest import House
from tests.review_ui.samples import item

pytestmark = pytest.mark.browser

HOSTILE = (
    "<script>window.pwned = 1</script>",
    '<img src="https://evil.example/a.png" onerror="window.pwned = 1">',
    "![picture](https://evil.example/b.png) [link](javascript:window.pwned=1)",
    "<style>@import url(https://evil.example/c.css)</style>",
    "$\\href{javascript:window.pwned=1}{x}$ :material/home: :red[colour]",
    "</div></span>{{constructor.constructor('window.pwned=1')()}}",
    "safe \u202egpj.exe\u202c \u200bhidden\u2066",
)
ALL = "\n".join((*HOSTILE, "W" * 20_000))


def hostile_house(house: House) -> None:
    house.gateway.items.clear()
    bad = item(0, time.time(), question=ALL, answer=ALL)
    bad["messages"][0]["content"] = ALL
    bad["domain"] = bad["model"] = bad["policy"]["name"] = HOSTILE[1]
    house.gateway.add_item(bad)
    house.gateway.people["csk_ada"]["name"] = HOSTILE[1]


def nothing_happened(house: House) -> None:
    assert house.traffic.outside() == []
    assert house.page.evaluate("() => window.pwned") is None


def test_hostile_text_is_inert_on_the_desk_and_in_the_editor(house: House) -> None:
    hostile_house(house)
    desk_flow.sign_in(house.page, house.link)
    desk_flow.claim_next(house.page)
    for line in HOSTILE[:-1]:
        expect(house.page.get_by_label("The model's answer")).to_contain_text(line)

    words = desk_flow.form(house.page, "e", "The answer, in your words")
    words.fill(ALL + " <img src=https://evil.example/d.png>")
    expect(house.page.get_by_text("Draft saved.")).to_be_visible()

    nothing_happened(house)


def test_hostile_text_is_inert_in_the_queue_and_after_the_verdict(house: House) -> None:
    hostile_house(house)
    desk_flow.sign_in(house.page, house.link)
    house.page.get_by_role("link", name="Queue").click()
    expect(house.page.locator("tbody tr")).to_have_count(1)
    house.page.get_by_role("button", name="Claim: ").click()
    desk_flow.item_in_hand(house.page)
    desk_flow.reject(house.page, HOSTILE[1])
    house.gateway.items["rev_0000"]["verdict"]["reviewer"]["name"] = HOSTILE[1]
    house.page.goto(f"{house.dashboard.url}/?item=rev_0000")
    expect(house.page.get_by_text("Already decided: rejected", exact=True)).to_be_visible()

    nothing_happened(house)


def test_characters_that_hide_or_reorder_text_are_shown(house: House) -> None:
    hostile_house(house)
    desk_flow.sign_in(house.page, house.link)
    desk_flow.claim_next(house.page)

    shown = desk_flow.answer_text(house.page)

    assert "⟨U+202E⟩gpj.exe" in shown
    assert "⟨U+200B⟩hidden" in shown
    assert "\u202e" not in shown


def test_one_huge_line_does_not_widen_the_page(house: House) -> None:
    hostile_house(house)
    desk_flow.sign_in(house.page, house.link)
    desk_flow.claim_next(house.page)

    assert house.page.evaluate("() => document.documentElement.scrollWidth") <= 1280
