"""Rows reach the next stage in order, two steps ahead of it and no further, and nobody waits for ever."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from serving.experts.exchange import ExchangeTimeout, ExchangeVoid
from serving.experts.shm_layout import create_shared_file
from serving.stages.gloo_handoff import GlooHandoff
from serving.stages.handoff import Handed, Handoff, HandoffTimeout, named_in_the_gang
from serving.stages.handoff_layout import SLOTS, HandoffLayout, time_limits
from serving.stages.shm_handoff import ShmHandoff
from serving.stages.stage_links import StageLinks

HIDDEN, ROWS, SENDER, RECEIVER = 16, 32, 3, 5
LAYOUT = HandoffLayout(ROWS, HIDDEN)
Opener = Callable[[float], tuple[Handoff, Handoff]]


@pytest.fixture(params=["shm", "gloo"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Seconds → the sender's and the receiver's end."""
    path = tmp_path / "handoff"

    def open_shm(seconds: float) -> tuple[Handoff, Handoff]:
        create_shared_file(path, LAYOUT)
        return tuple(ShmHandoff(path, LAYOUT, peer, seconds, lambda: False) for peer in (RECEIVER, SENDER))

    def open_gloo(seconds: float) -> tuple[Handoff, Handoff]:
        def end(sends: bool) -> Handoff:
            return GlooHandoff(path, HIDDEN, RECEIVER if sends else SENDER, seconds, sends=sends)

        with ThreadPoolExecutor(2) as pool:
            return tuple(pool.map(end, (True, False)))

    return open_shm if request.param == "shm" else open_gloo


def step_of(number: int, rows: int) -> Handed:
    generator = torch.Generator().manual_seed(number)
    return Handed(torch.randn(rows, HIDDEN, generator=generator), torch.rand(rows, generator=generator))


def same(found: Handed, wanted: Handed) -> bool:
    return torch.equal(found.hidden, wanted.hidden) and torch.equal(found.gate_entropy, wanted.gate_entropy)


def test_many_steps_of_uneven_sizes_arrive_in_order(opened: Opener) -> None:
    sender, receiver = opened(20.0)
    sizes = [1, 0, ROWS, 7, 3] * 20

    def send() -> None:
        for number, rows in enumerate(sizes):
            sender.send(step_of(number, rows))

    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send)
        assert all(same(receiver.receive(rows), step_of(number, rows)) for number, rows in enumerate(sizes))
        sending.result()


def test_a_stage_goes_on_until_all_slots_are_full_and_then_names_who_does_not_read(opened: Opener) -> None:
    sender, _ = opened(0.5)
    for number in range(SLOTS):
        sender.send(step_of(number, 2))
    with pytest.raises(HandoffTimeout) as caught:
        sender.send(step_of(SLOTS, 2))
    assert caught.value.missing == (RECEIVER,)
    assert sender.wait_seconds > 0


def test_rows_that_were_handed_over_may_be_overwritten(opened: Opener) -> None:
    sender, receiver = opened(20.0)
    handed = step_of(1, 4)
    sender.send(handed)
    handed.hidden.zero_()
    assert same(receiver.receive(4), step_of(1, 4))


def test_rows_that_never_come_name_who_did_not_send_them(opened: Opener) -> None:
    _, receiver = opened(0.5)
    with pytest.raises(HandoffTimeout, match=r"rank 3 did not arrive at an exchange within 0\.5 s") as caught:
        receiver.receive(1)
    assert caught.value.missing == (SENDER,)


def test_a_connection_that_broke_names_nobody(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        sender, receiver = pool.map(
            lambda sends: GlooHandoff(tmp_path / "handoff", HIDDEN, 0, 20.0, sends=sends), (True, False)
        )
    sender.close()
    with pytest.raises(HandoffTimeout) as caught:
        receiver.receive(1)
    assert caught.value.missing == ()


def test_who_is_missing_is_told_by_its_number_in_the_gang() -> None:
    found = named_in_the_gang(ExchangeTimeout((0, 1), 3.0), first=2)
    assert isinstance(found, ExchangeTimeout)
    assert found.missing == (2, 3)
    for known in (HandoffTimeout((1,), 3.0), ExchangeVoid()):
        assert named_in_the_gang(known, first=2) is known


def test_who_waits_in_shared_memory_is_called_away(tmp_path: Path) -> None:
    create_shared_file(tmp_path / "handoff", LAYOUT)
    receiver = ShmHandoff(tmp_path / "handoff", LAYOUT, SENDER, 300.0, lambda: True)
    with pytest.raises(ExchangeVoid):
        receiver.receive(1)


def test_between_two_epochs_nothing_is_handed_over(opened: Opener) -> None:
    links, (sender, receiver) = StageLinks(), opened(20.0)
    links.begin(receiver, None)
    sender.send(step_of(1, 2))
    assert same(links.receive(2), step_of(1, 2))
    with pytest.raises(ExchangeVoid):
        links.send(step_of(1, 2))
    links.end()
    with pytest.raises(ExchangeVoid):
        links.receive(2)


def test_the_neighbour_of_a_rank_that_stands_still_waits_least() -> None:
    receiving, sending = zip(*(time_limits(10.0, stage, 4) for stage in range(4)), strict=True)
    assert receiving[1:] == (20.0, 30.0, 40.0)
    assert sending[:-1] == (40.0, 30.0, 20.0)  # all longer than an exchange's 10 s, within whose stage it is known
