"""A person in a real Chromium claims, approves and edits at the desk, and the callers get what was decided."""

import pytest
from playwright.sync_api import expect

from launch.access import REVIEWER, TENANT
from launch.parts import dashboard_url
from launch.product import open_with_keys
from storage import keys
from tests.browser import desk_flow
from tests.browser.chromium import chromium, page
from tests.system.people import held, review

pytestmark = pytest.mark.browser


@pytest.fixture
def link(product):
    """A one-use sign-in link for the reviewer, as `countersign signin-link` makes them."""
    database = open_with_keys(product.settings, product.wiring.database_url)
    with database.transaction() as connection:
        reviewer = keys.by_name(connection, TENANT, REVIEWER)
        secret = keys.create_signin_link(connection, reviewer.id, 600.0)
    database.close()
    return f"{dashboard_url(product.settings)}/signin?link={secret}"


def test_a_person_approves_one_answer_and_edits_another(link, caller, reviewer):
    reviewer.empty_the_queue()
    first, second = held(caller), held(caller)
    with chromium() as browser, page(browser) as (desk, traffic):
        desk_flow.sign_in(desk, link)
        assert desk_flow.claim_next(desk) == review(first)["id"]  # it has waited longer
        shown = desk_flow.answer_text(desk)
        desk_flow.approve(desk)
        assert desk_flow.claim_next(desk) == review(second)["id"]
        desk_flow.edit(desk, "Nobody knows.", "it did not know")
        assert traffic.outside() == []

    approved = caller.chat.completions.retrieve(first.id, extra_headers={"Prefer": "wait=30"})
    assert review(approved)["status"] == "approved"
    assert approved.choices[0].message.content == shown
    edited = caller.chat.completions.retrieve(second.id, extra_headers={"Prefer": "wait=30"})
    assert review(edited)["status"] == "edited"
    assert edited.choices[0].message.content == "Nobody knows."


def test_a_sign_in_link_opens_the_desk_once(link):
    with chromium() as browser, page(browser) as (desk, _):
        desk_flow.sign_in(desk, link)
    with chromium() as browser, page(browser) as (other, _):
        desk_flow.use_link(other, link)
        expect(other.get_by_role("alert")).to_contain_text("used")
