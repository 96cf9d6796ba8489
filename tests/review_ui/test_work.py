"""What a reviewer does, without a screen: claims, proposals, verdicts, drafts, and every way they can fail."""

from __future__ import annotations

import time

import pytest

from review_ui import work as working
from review_ui.client import Gateway, connect
from review_ui.faults import GatewayUnreachable, Missing, SignedOut
from review_ui.work import Work
from storage.records import VerdictKind
from tests.review_ui.gateway_double import GatewayDouble
from tests.review_ui.samples import item

ITEM = "rev_0000"


@pytest.fixture
def gateway(gateway_url: str) -> Gateway:
    return Gateway(connect(gateway_url, 5.0), "csk_ada")


@pytest.fixture
def work(gateway: Gateway) -> Work:
    """The item is claimed and has stood on the screen for a minute."""
    made = Work()
    working.claim_next(made, gateway, time.time())
    made.shown_at = time.time() - 60
    return made


def propose(work: Work, kind: VerdictKind = VerdictKind.APPROVE, item_id: str = ITEM, dwell: float = 1.0) -> None:
    working.propose(work, item_id, kind, time.time(), dwell=dwell, undo=3.0, reason="because")


def test_a_verdict_meant_for_another_item_is_ignored(work: Work) -> None:
    propose(work, item_id="rev_9999")

    assert work.proposal is None


def test_a_second_verdict_does_not_replace_the_first(work: Work) -> None:
    propose(work, VerdictKind.APPROVE)
    propose(work, VerdictKind.REJECT)

    assert work.proposal is not None
    assert work.proposal.kind is VerdictKind.APPROVE


def test_an_undone_verdict_is_not_sent(work: Work, gateway: Gateway, double: GatewayDouble) -> None:
    propose(work)
    working.undo(work, ITEM)

    assert not working.send(work, gateway, time.time())
    assert double.items[ITEM]["state"] == "claimed"


def test_a_verdict_that_cannot_be_sent_stays_proposed(work: Work, gateway: Gateway, double: GatewayDouble) -> None:
    propose(work)
    double.broken = True
    assert not working.send(work, gateway, time.time())
    assert work.proposal is not None
    assert "not sent" in str(work.send_fault)

    double.broken = False

    assert working.send(work, gateway, time.time())
    assert double.items[ITEM]["state"] == "approved"


def test_a_lapsed_claim_keeps_the_item_and_says_what_to_do(work: Work, gateway: Gateway, double: GatewayDouble) -> None:
    propose(work)
    double.lapse(ITEM)

    assert not working.send(work, gateway, time.time())

    assert work.notice is not None
    assert "Claim it again" in work.notice.text
    assert work.review is not None
    assert not working.is_mine(work.review, time.time())


def test_a_claim_whose_time_is_over_is_not_mine_even_before_the_gateway_says_so(work: Work) -> None:
    assert work.review is not None
    assert working.is_mine(work.review, time.time())
    assert not working.is_mine(work.review, time.time() + 3600)


def test_a_skipped_item_is_not_claimed_again_while_others_wait(
    work: Work, gateway: Gateway, double: GatewayDouble
) -> None:
    double.add_item(item(1, time.time(), waited=10))
    working.put_back(work, gateway, time.time())
    working.claim_next(work, gateway, time.time())
    assert work.item_id == "rev_0001"

    working.put_back(work, gateway, time.time())
    working.claim_next(work, gateway, time.time())

    assert work.item_id == ITEM  # only skipped ones are left, so the most urgent of them


def test_an_unsaved_draft_is_told_and_kept(work: Work, gateway: Gateway, double: GatewayDouble) -> None:
    double.broken = True
    working.save_draft(work, gateway, ITEM, "my words", "my reason")
    assert "Not saved" in str(work.draft_fault)
    assert work.typed == ("my words", "my reason")

    double.broken = False
    working.save_draft(work, gateway, ITEM, "my words", "my reason")

    assert work.draft_fault is None
    assert double.items[ITEM]["draft"]["text"] == "my words"


def test_a_claim_is_extended_only_when_little_of_it_is_left(
    work: Work, gateway: Gateway, double: GatewayDouble
) -> None:
    working.extend(work, gateway, time.time())
    assert not [entry for entry in double.log if entry[1].endswith("extend")]

    working.extend(work, gateway, time.time() + 800)

    assert [entry for entry in double.log if entry[1].endswith("extend")]


def test_every_status_has_its_own_fault(gateway: Gateway, gateway_url: str) -> None:
    with pytest.raises(Missing):
        gateway.review("rev_none")
    with pytest.raises(SignedOut):
        Gateway(connect(gateway_url, 5.0), "csk_nobody").whoami()
    with pytest.raises(GatewayUnreachable):
        Gateway(connect("http://127.0.0.1:9", 1.0), "csk_ada").whoami()


def test_the_claim_of_someone_who_left_is_not_extended(work: Work, gateway: Gateway, double: GatewayDouble) -> None:
    work.active_at = time.time() - 3600

    working.extend(work, gateway, time.time() + 800)

    assert not [entry for entry in double.log if entry[1].endswith("extend")]
