"""Signing in: a link works once, a key works when pasted, and every answer carries security headers."""

from __future__ import annotations

import urllib.request

import pytest
from playwright.sync_api import expect

from tests.browser import desk_flow
from tests.browser.conftest import House

pytestmark = pytest.mark.browser


def test_a_view_without_sign_in_leads_to_the_sign_in_page(house: House) -> None:
    house.page.goto(f"{house.dashboard.url}/queue")

    expect(house.page).to_have_url(f"{house.dashboard.url}/signin")
    expect(house.page.get_by_label("Your key")).to_be_focused()


def test_a_link_signs_in_once_and_its_second_use_is_refused(house: House) -> None:
    desk_flow.sign_in(house.page, house.link)
    house.page.context.clear_cookies()

    desk_flow.use_link(house.page, house.link)

    expect(house.page.get_by_role("alert")).to_contain_text("already used")
    assert house.page.context.cookies() == []


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_only_opens_a_link_does_not_use_it_up(house: House, method: str) -> None:
    with urllib.request.urlopen(urllib.request.Request(house.link, method=method), timeout=10) as answer:
        assert "set-cookie" not in answer.headers

    desk_flow.sign_in(house.page, house.link)


def test_a_hostile_link_is_text_in_the_page(house: House) -> None:
    house.page.goto(f"{house.dashboard.url}/signin?link=%22%3E%3Cb%3Eforged%3C%2Fb%3E")

    expect(house.page.get_by_role("button", name="Sign in as a reviewer")).to_be_focused()
    expect(house.page.get_by_text("forged")).to_have_count(0)


def test_the_key_is_in_a_cookie_that_scripts_and_other_sites_cannot_use(house: House) -> None:
    desk_flow.sign_in(house.page, house.link)

    (cookie,) = [c for c in house.page.context.cookies() if c["name"] == "countersign_key"]
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    assert "countersign_key" not in house.page.evaluate("() => document.cookie")


def test_a_pasted_key_signs_in_and_a_wrong_one_is_told(house: House) -> None:
    house.page.goto(f"{house.dashboard.url}/signin")
    house.page.get_by_label("Your key").fill("csk_wrong")
    house.page.keyboard.press("Enter")
    expect(house.page.get_by_role("alert")).to_contain_text("does not know this key")

    house.page.get_by_label("Your key").fill("csk_ada")
    house.page.keyboard.press("Enter")

    expect(house.page.get_by_text("3 answers wait")).to_be_visible()


def test_signing_out_ends_the_key_and_forgets_it(house: House) -> None:
    desk_flow.sign_in(house.page, house.link)

    house.page.get_by_role("link", name="Sign out").click()

    expect(house.page.get_by_label("Your key")).to_be_visible()
    assert "csk_ada" not in house.gateway.people
    assert [c for c in house.page.context.cookies() if c["name"] == "countersign_key"] == []


def test_an_auditor_sees_the_log_and_no_desk(house: House) -> None:
    house.gateway.add_person("csk_eve", "Eve Auditor", "auditor")
    house.gateway.add_link("link-of-eve", "csk_eve")

    desk_flow.sign_in(house.page, f"{house.dashboard.url}/signin?link=link-of-eve")

    expect(house.page.get_by_role("link", name="Audit")).to_be_visible()
    expect(house.page.get_by_role("link", name="Desk")).to_have_count(0)


@pytest.mark.parametrize("path", ["/signin", "/_stcore/health"])
def test_every_answer_carries_security_headers(house: House, path: str) -> None:
    with urllib.request.urlopen(house.dashboard.url + path, timeout=10) as answer:
        headers = answer.headers

    assert "script-src 'self' blob:" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


def test_a_host_name_that_is_not_allowed_is_refused(house: House) -> None:
    request = urllib.request.Request(house.dashboard.url + "/signin", headers={"Host": "evil.example"})

    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(request, timeout=10)
