"""The desk in a real browser: claim, read, decide by keyboard, and lose nothing."""

from __future__ import annotations

import re
import time

import pytest
from playwright.sync_api import expect

from tests.browser import desk_flow
from tests.browser.conftest import House
from tests.browser.dashboard import dashboard
from tests.review_ui.gateway_double import serve
from tests.review_ui.samples import item

pytestmark = pytest.mark.browser


def test_a_reviewer_approves_one_answer_and_edits_another(house: House) -> None:
    desk_flow.sign_in(house.page, house.link)
    first = desk_flow.claim_next(house.page)
    assert "Approved" in desk_flow.approve(house.page)
    second = desk_flow.claim_next(house.page)
    assert "Edited" in desk_flow.edit(house.page, "48 * 17 - 24 = 792.", "Unclear wording")

    assert (first, second) == ("rev_0000", "rev_0001")
    assert house.gateway.items[first]["state"] == "approved"
    verdict = house.gateway.items[second]["verdict"]
    assert (verdict["kind"], verdict["content"]) == ("edit", "48 * 17 - 24 = 792.")
    assert verdict["reason"] == "Unclear wording"


def test_rapid_keys_claim_only_once(house: House) -> None:
    desk_flow.sign_in(house.page, house.link)
    expect(house.page.get_by_role("button", name="Claim the next")).to_be_enabled()
    for _ in range(5):
        house.page.keyboard.press("n")

    assert desk_flow.item_in_hand(house.page) == "rev_0000"
    assert [name for name, each in house.gateway.items.items() if each["state"] == "claimed"] == ["rev_0000"]


def test_reject_refer_and_skip_go_by_keyboard_alone(house: House) -> None:
    desk_flow.sign_in(house.page, house.link)
    desk_flow.claim_next(house.page)
    desk_flow.skip(house.page)
    rejected = desk_flow.claim_next(house.page)
    desk_flow.reject(house.page, "Cannot be answered")
    referred = desk_flow.claim_next(house.page)
    desk_flow.refer(house.page, "Not my field")

    assert house.gateway.items["rev_0000"]["state"] == "pending"
    assert rejected == "rev_0001"  # not the one just skipped
    assert house.gateway.items[rejected]["state"] == "rejected"
    assert house.gateway.items[referred]["verdict"]["kind"] == "refer"


def test_keys_typed_into_the_editor_decide_nothing(house: House) -> None:
    desk_flow.sign_in(house.page, house.link)
    item_id = desk_flow.claim_next(house.page)
    words = desk_flow.form(house.page, "e", "The answer, in your words")
    expect(words).to_be_focused()

    house.page.keyboard.type("axsenE")

    assert "axsenE" in words.input_value()
    assert house.gateway.items[item_id]["state"] == "claimed"
    assert not [entry for entry in house.gateway.log if entry[1].endswith(("verdict", "release"))]


def test_the_editor_shows_live_what_changes(house: House) -> None:
    desk_flow.sign_in(house.page, house.link)
    desk_flow.claim_next(house.page)

    desk_flow.form(house.page, "e", "The answer, in your words").fill(
        "14 * 23 = 322. 322 - 57 = 265. The answer is 265."
    )

    expect(house.page.locator(".difference ins")).to_have_text(["265", "265"])
    expect(house.page.locator(".difference del")).to_have_text(["275", "275"])


def test_an_edit_without_change_or_reason_is_not_sent(house: House) -> None:
    desk_flow.sign_in(house.page, house.link)
    item_id = desk_flow.claim_next(house.page)
    desk_flow.form(house.page, "e", "The answer, in your words").press("Control+Enter")
    expect(house.page.get_by_text("Nothing is changed")).to_be_visible()

    house.page.get_by_label("The answer, in your words").fill("265")
    house.page.keyboard.press("Control+Enter")

    expect(house.page.get_by_text("Say why, in a few words.")).to_be_visible()
    assert house.gateway.items[item_id]["state"] == "claimed"


def test_doubtful_tokens_are_marked_by_line_style_and_told_by_keyboard(house: House) -> None:
    desk_flow.sign_in(house.page, house.link)
    desk_flow.claim_next(house.page)
    answer = house.page.get_by_label("The model's answer")
    expect(answer).to_have_text(house.gateway.items["rev_0000"]["answer"]["text"])  # once it is drawn

    style = house.page.locator(".token.doubtful").first.evaluate("e => getComputedStyle(e).textDecorationStyle")
    answer.focus()
    house.page.keyboard.press("ArrowRight")

    assert style == "dashed"
    expect(house.page.locator(".detail")).to_contain_text("“ 322.” was 81 % likely. Instead:")


def test_confidence_is_hidden_until_the_verdict(house: House) -> None:
    desk_flow.sign_in(house.page, house.link)
    desk_flow.claim_next(house.page)
    expect(house.page.get_by_text("Confidence is shown after your first judgement.")).to_be_visible()
    assert "61%" not in house.page.locator("body").inner_text()

    assert "61%" in desk_flow.approve(house.page)


def test_a_reload_keeps_the_claim_and_a_new_session_finds_it(house: House) -> None:
    desk_flow.sign_in(house.page, house.link)
    item_id = desk_flow.claim_next(house.page)

    house.page.reload()
    assert desk_flow.item_in_hand(house.page) == item_id
    house.page.goto(house.dashboard.url)

    assert desk_flow.item_in_hand(house.page) == item_id


def test_a_draft_survives_a_restart_of_the_dashboard(house: House) -> None:
    desk_flow.sign_in(house.page, house.link)
    item_id = desk_flow.claim_next(house.page)
    desk_flow.form(house.page, "e", "The answer, in your words").fill("It is 265, I checked.")
    house.page.get_by_label("What was wrong?").fill("Wrong result")
    expect(house.page.get_by_text("Draft saved.")).to_be_visible()

    house.dashboard.stop()
    house.dashboard.start()
    house.page.goto(f"{house.dashboard.url}/?item={item_id}")
    desk_flow.item_in_hand(house.page)
    desk_flow.press(house.page, "e")

    expect(house.page.get_by_label("The answer, in your words")).to_have_value("It is 265, I checked.")
    expect(house.page.get_by_label("What was wrong?")).to_have_value("Wrong result")


def test_a_decision_by_someone_else_is_told_in_words(house: House) -> None:
    desk_flow.sign_in(house.page, house.link)
    item_id = desk_flow.claim_next(house.page)
    house.gateway.decided_by_another(item_id, "Grace Hopper")

    house.page.keyboard.press("a")

    expect(house.page.get_by_text("Already decided: rejected", exact=True)).to_be_visible()
    expect(house.page.get_by_text(re.compile("Grace Hopper decided this review"))).to_be_visible()
    assert house.gateway.items[item_id]["verdict"]["kind"] == "reject"


def test_a_lapsed_claim_can_be_claimed_again(house: House) -> None:
    desk_flow.sign_in(house.page, house.link)
    item_id = desk_flow.claim_next(house.page)
    house.gateway.lapse(item_id)
    house.page.keyboard.press("a")
    expect(house.page.get_by_text("Your claim on this review has lapsed").first).to_be_visible()

    house.page.get_by_role("button", name="Claim it again").click()

    assert desk_flow.item_in_hand(house.page) == item_id
    assert "Approved" in desk_flow.approve(house.page)


def test_an_outage_keeps_the_item_on_screen_marked_stale(house: House) -> None:
    desk_flow.sign_in(house.page, house.link)
    item_id = desk_flow.claim_next(house.page)
    house.gateway.broken = True

    house.page.keyboard.press("a")

    expect(house.page.get_by_text(re.compile("may be out of date"))).to_be_visible()
    expect(house.page.get_by_label("The model's answer")).to_be_visible()
    house.gateway.broken = False
    house.page.get_by_role("button", name="Try again").first.click()
    expect(house.page.get_by_text(re.compile("may be out of date"))).to_have_count(0)
    assert house.gateway.items[item_id]["id"] == item_id


def test_the_queue_pages_and_a_picked_question_lands_on_the_desk(house: House) -> None:
    for number in range(3, 60):
        house.gateway.add_item(item(number, time.time(), waited=2000 - number))
    desk_flow.sign_in(house.page, house.link)
    house.page.get_by_role("link", name="Queue").click()
    expect(house.page.locator("tbody tr")).to_have_count(50)
    house.page.get_by_role("button", name="Next page").click()
    expect(house.page.locator("tbody tr")).to_have_count(10)

    house.page.get_by_role("button", name="Claim: ").first.click()

    assert desk_flow.item_in_hand(house.page) == "rev_0050"


def test_monitoring_and_audit_show_figures_and_events(house: House) -> None:
    desk_flow.sign_in(house.page, house.link)
    house.page.get_by_role("link", name="Monitoring").click()
    expect(house.page.get_by_text("Review rate", exact=True)).to_be_visible()
    expect(
        house.page.locator("[data-testid='stVegaLiteChart'] canvas, [data-testid='stVegaLiteChart'] svg")
    ).to_have_count(4)

    house.page.get_by_role("link", name="Audit").click()
    house.page.get_by_label("Review id").fill("rev_0001")
    house.page.keyboard.press("Enter")
    expect(house.page.locator("tbody tr")).to_have_count(3)
    house.page.get_by_role("button", name=re.compile("Open the event")).first.click()

    expect(house.page.get_by_role("dialog")).to_contain_text('"item_id": "rev_0001"')


def test_a_verdict_can_be_undone_before_it_is_sent_and_rapid_keys_decide_only_once(house: House) -> None:
    with serve(house.gateway) as url, dashboard(url, undo_seconds=600, dwell_seconds=0.5) as slow:
        desk_flow.sign_in(house.page, f"{slow.url}/signin?link=link-of-ada")
        first = desk_flow.claim_next(house.page)
        for _ in range(3):
            house.page.keyboard.press("a")
        desk_flow.press_until_read(house.page, "a")
        assert house.gateway.items[first]["state"] == "claimed"

        house.page.keyboard.press("u")
        expect(house.page.get_by_role("button", name="Approve")).to_be_visible()
        desk_flow.press_until_read(house.page, "a")
        expect(house.page.locator("[data-testid='stMetric']")).to_contain_text("61%")
        second = desk_flow.press_for_next(house.page, first)

    assert house.gateway.items[first]["state"] == "approved"
    assert house.gateway.items[second]["state"] == "claimed"
    assert len([entry for entry in house.gateway.log if entry[1].endswith("verdict")]) == 1
