"""The life of one review item as its documentation tells it: what each step must do, or be refused with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from storage.errors import (
    AlreadyClaimed,
    AlreadyDecided,
    Conflict,
    LapsedTooOften,
    NotSkilled,
    OwnRequest,
    PastDeadline,
    ReferredBySelf,
    StaleToken,
)
from storage.records import OPEN_STATES, ItemState, Key, ReviewItem, VerdictKind

LEASE, DAY = 60.0, 86_400.0  # seconds
MAX_LAPSES, MAX_OPINIONS = 2, 3
ANSWER = "42"  # what the model said
_FINAL = {
    VerdictKind.APPROVE: ItemState.APPROVED,
    VerdictKind.EDIT: ItemState.EDITED,
    VerdictKind.REJECT: ItemState.REJECTED,
}


@dataclass
class Expected:
    """What the model thinks of one item."""

    item: ReviewItem
    asker: str
    four_eyes: bool = False
    state: ItemState = ItemState.PENDING
    token: int = 0
    holder: str | None = None
    lease: float = 0.0  # seconds left
    deadline: float = DAY
    lapses: int = 0
    words: dict[str, str | None] = field(default_factory=dict)  # person → text; None: no text
    judges: list[str] = field(default_factory=list)  # who let the text out, the last word last
    released: str | None = None
    deleted: bool = False
    drafts: set[str] = field(default_factory=set)

    def let_go(self) -> None:
        self.state, self.holder, self.lease = ItemState.PENDING, None, 0.0

    def end(self, state: ItemState) -> None:
        self.let_go()
        self.state = state

    def lapse(self) -> None:
        self.let_go()
        self.lapses += 1
        if self.lapses >= MAX_LAPSES:
            self.state = ItemState.QUARANTINED

    def claimed(self, reviewer: Key, token: int) -> None:
        if self.state is ItemState.CLAIMED:
            self.lapses += 1
        self.state, self.holder, self.token, self.lease = ItemState.CLAIMED, reviewer.id, token, LEASE

    def judged(self, reviewer: Key, kind: VerdictKind, text: str | None) -> None:
        others = [person for person, word in self.words.items() if word is not None and word == text]
        if kind is VerdictKind.REFER or (self.four_eyes and kind is not VerdictKind.REJECT and not others):
            self.words[reviewer.id] = None if kind is VerdictKind.REFER else text
            if len(self.words) < MAX_OPINIONS:
                return self.let_go()
            self.end(ItemState.QUARANTINED)
        else:
            self.end(_FINAL[kind])
            self.released, self.judges = text, [*others[: self.four_eyes], reviewer.id]
        self.drafts.clear()
        return None

    def waits_for(self, reviewer: Key) -> bool:
        return self.state is ItemState.PENDING and self.refusal_to_claim(reviewer) is None

    def refusal_to_claim(self, reviewer: Key) -> type[Conflict] | None:
        lapses_now = self.state is ItemState.CLAIMED and self.lease <= 0
        if self.state is ItemState.CLAIMED and not lapses_now:
            return AlreadyClaimed
        if lapses_now and self.lapses + 1 >= MAX_LAPSES:
            return LapsedTooOften
        if self.state not in OPEN_STATES:
            return AlreadyDecided
        if self.deadline <= 0:
            return PastDeadline
        if self.asker == reviewer.id:
            return OwnRequest
        if reviewer.skills is not None and self.item.domain is not None and self.item.domain not in reviewer.skills:
            return NotSkilled
        return ReferredBySelf if reviewer.id in self.words else None

    def refusal_to_act(self, reviewer: Key, token: int) -> type[Conflict] | None:
        if self.state not in OPEN_STATES:
            return AlreadyDecided
        if self.asker == reviewer.id:
            return OwnRequest
        if self.deadline <= 0:
            return PastDeadline
        mine = self.state is ItemState.CLAIMED and (self.holder, self.token) == (reviewer.id, token)
        return None if mine and self.lease > 0 else StaleToken


def first_for(reviewer: Key, items: Iterable[Expected]) -> Expected | None:
    """The first of the items that waits for this reviewer."""
    return next((expected for expected in items if expected.waits_for(reviewer)), None)
