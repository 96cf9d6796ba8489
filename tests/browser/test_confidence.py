"""Confidence in a real browser: the monitoring view draws its figures, and the desk marks each step of an answer."""

from __future__ import annotations

import re
import time

import pytest
from playwright.sync_api import Page, expect

from tests.browser import desk_flow
from tests.browser.conftest import House
from tests.review_ui.confidence_samples import suspended
from tests.review_ui.samples import checked, item

pytestmark = pytest.mark.browser
HOSTILE = '<img src="https://evil.example/a.png" onerror="window.pwned = 1"> ![x](https://evil.example/b.png)'


def show(page: Page, part: str) -> None:
    page.get_by_role("radio", name=part, exact=True).click()


def test_monitoring_draws_confidence_and_capacity_and_hostile_names_stay_text(house: House) -> None:
    told = suspended(time.time())
    told["certificate"]["why"] = told["model"] = told["certificate"]["domains"][0]["domain"] = HOSTILE
    told["drift"][1]["signal"] = HOSTILE
    house.gateway.confidence = told
    desk_flow.sign_in(house.page, house.link)
    house.page.get_by_role("link", name="Monitoring").click()
    expect(house.page.get_by_role("alert")).to_contain_text("suspended: everything is held")

    show(house.page, "Confidence")
    expect(house.page.get_by_text(re.compile("with 80 more, answers can be certified anew"))).to_be_visible()
    expect(
        house.page.locator("[data-testid='stVegaLiteChart'] svg, [data-testid='stVegaLiteChart'] canvas")
    ).to_have_count(4)
    expect(house.page.locator("td", has_text=HOSTILE)).to_have_count(2)
    expect(house.page.get_by_text(HOSTILE, exact=True).first).to_be_visible()

    show(house.page, "Capacity")
    expect(house.page.get_by_text(re.compile("Release from a confidence of 84.0 % on"))).to_be_visible()

    assert house.traffic.outside() == []
    assert house.page.evaluate("() => window.pwned") is None


def test_steps_are_marked_by_sign_and_word_and_told_by_keyboard(house: House) -> None:
    case = checked(item(0, time.time(), waited=9000))
    case["steps"][1]["why"] = f"322 - 57 is 265. {HOSTILE}"
    house.gateway.add_item(case)
    desk_flow.sign_in(house.page, house.link)
    desk_flow.claim_next(house.page)
    answer = house.page.get_by_label("The model's answer")
    expect(answer).to_have_text(case["answer"]["text"])  # the marks are no part of it

    wrong = answer.locator(".step.invalid")
    expect(wrong).to_have_text("322 - 57 = 275.")
    assert wrong.evaluate("e => getComputedStyle(e, '::before').content").startswith('"✗ 2 wrong"')
    expect(house.page.locator("td", has_text="2 ✗ wrong")).to_be_visible()
    answer.focus()
    detail = house.page.locator(".detail")
    house.page.keyboard.press("ArrowRight")
    expect(detail).to_have_text("Step 1: right. 14 * 23 is 322.")
    for _ in range(2):
        house.page.keyboard.press("ArrowRight")
    expect(detail).to_have_text(f"Step 2: wrong. 322 - 57 is 265. {HOSTILE}")

    assert house.traffic.outside() == []
    assert house.page.evaluate("() => window.pwned") is None
