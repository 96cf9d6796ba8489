"""The dashboard before the real gateway, with real Valkey and SQLite: from a held answer to what the caller gets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from storage import keys
from tests.browser import desk_flow
from tests.browser.chromium import page as browser_page
from tests.browser.dashboard import Dashboard, dashboard
from tests.gateway.conftest import gateway, home, migrated, serving, valkey_url  # noqa: F401
from tests.gateway.running import Gateway

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def desk(gateway: Gateway) -> Iterator[Dashboard]:  # noqa: F811
    with dashboard(gateway.url) as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser_page(browser) as (one, _traffic):
        yield one


def signin_link(gateway: Gateway, desk: Dashboard, name: str) -> str:  # noqa: F811
    with gateway.database.transaction() as connection:
        key = keys.by_secret(connection, gateway.secrets[name])
        assert key is not None
        return f"{desk.url}/signin?link={keys.create_signin_link(connection, key.id, 60)}"


def test_held_answers_are_approved_and_edited_at_the_desk_and_reach_the_caller(
    gateway: Gateway,  # noqa: F811
    desk: Dashboard,
    page: Page,
) -> None:
    asked = [gateway.ask(f"What is 4{n} + 1? [0.61]").json() for n in range(2)]
    link = signin_link(gateway, desk, "ada")
    desk_flow.sign_in(page, link)

    first = desk_flow.claim_next(page)
    said = desk_flow.answer_text(page)
    desk_flow.approve(page)
    second = desk_flow.claim_next(page)
    desk_flow.edit(page, "It is 42.", "Wrong result")

    assert [first, second] == [one["review"]["id"] for one in asked]
    client = gateway.openai()
    approved, edited = (client.chat.completions.retrieve(one["id"]) for one in asked)
    assert approved.choices[0].message.content == said
    assert edited.choices[0].message.content == "It is 42."
    page.context.clear_cookies()
    desk_flow.use_link(page, link)
    expect(page.get_by_role("alert")).to_be_visible()  # a link works once


def test_a_verdict_after_someone_elses_is_told_and_leaves_an_audit_event(
    gateway: Gateway,  # noqa: F811
    desk: Dashboard,
    page: Page,
) -> None:
    asked = gateway.ask("What is 7 + 5? [0.40]").json()
    item_id = asked["review"]["id"]
    desk_flow.sign_in(page, signin_link(gateway, desk, "ada"))
    assert desk_flow.claim_next(page) == item_id
    with gateway.http("ada") as http:  # the same person, in another window
        token = http.get(f"/v1/reviews/{item_id}").json()["claim"]["fencing_token"]
        body = {"fencing_token": token, "verdict": "reject", "reason": "Wrong", "content": None}
        http.post(f"/v1/reviews/{item_id}/verdict", json=body).raise_for_status()

    page.keyboard.press("a")

    expect(page.get_by_text("Already decided: rejected", exact=True)).to_be_visible()
    assert [event["item_id"] for event in gateway.events(kinds="verdict.refused")] == [item_id]


def test_a_draft_is_kept_by_the_gateway_when_the_dashboard_restarts(
    gateway: Gateway,  # noqa: F811
    desk: Dashboard,
    page: Page,
) -> None:
    gateway.ask("What is 9 + 9? [0.50]")
    desk_flow.sign_in(page, signin_link(gateway, desk, "grace"))
    item_id = desk_flow.claim_next(page)
    desk_flow.form(page, "e", "The answer, in your words").fill("Eighteen.")
    expect(page.get_by_text("Draft saved.")).to_be_visible()

    desk.stop()
    desk.start()
    page.goto(desk.url)
    assert desk_flow.item_in_hand(page) == item_id
    desk_flow.press(page, "e")

    expect(page.get_by_label("The answer, in your words")).to_have_value("Eighteen.")
    assert "Edited" in desk_flow.edit(page, "Eighteen.", "Unclear wording")


def test_queue_and_monitoring_read_the_gateways_figures(gateway: Gateway, desk: Dashboard, page: Page) -> None:  # noqa: F811
    gateway.ask("What is 1 + 1? [0.99]")
    gateway.ask("What is 2 + 2? [0.30]")
    desk_flow.sign_in(page, signin_link(gateway, desk, "grace"))

    page.get_by_role("link", name="Queue").click()
    expect(page.get_by_role("button", name="Claim: What is 2 + 2?")).to_be_visible()
    page.get_by_role("link", name="Monitoring").click()

    expect(page.get_by_text("Median to verdict", exact=True)).to_be_visible()
    expect(page.get_by_text("Confidence, by what was done")).to_be_visible()


def test_the_audit_view_filters_and_opens_events(gateway: Gateway, desk: Dashboard, page: Page) -> None:  # noqa: F811
    asked = gateway.ask("What is 3 + 3? [0.20]").json()
    desk_flow.sign_in(page, signin_link(gateway, desk, "auditor"))

    page.get_by_role("link", name="Audit").click()
    page.get_by_label("Interaction id").fill(asked["id"])
    page.keyboard.press("Enter")
    expect(page.locator("tbody tr", has_text="low confidence")).not_to_have_count(0)
    page.locator("tbody tr", has_text="low confidence").get_by_role("button").first.click()

    expect(page.get_by_role("dialog")).to_contain_text(asked["id"])


def test_the_audit_view_hands_on_what_fits_its_filters(gateway: Gateway, desk: Dashboard, page: Page) -> None:  # noqa: F811
    asked = gateway.ask("What is 5 + 5? [0.20]").json()
    desk_flow.sign_in(page, signin_link(gateway, desk, "auditor"))
    page.get_by_role("link", name="Audit").click()
    page.get_by_label("Interaction id").fill(asked["id"])
    page.keyboard.press("Enter")
    expect(page.locator("tbody tr")).to_have_count(3)

    with page.expect_download() as taken:
        page.get_by_role("button", name="Download JSONL").click()

    lines = [json.loads(line) for line in Path(taken.value.path()).read_text(encoding="utf-8").splitlines()]
    kinds = {line["kind"] for line in lines}
    assert kinds - {"access.events"} == {"interaction.recorded", "decision", "review.created"}  # reading is told too
    assert {line["interaction_id"] for line in lines} == {asked["id"]}
