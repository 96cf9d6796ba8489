"""No alteration of a sealed log passes, and the event that is named is the one that was altered."""

from __future__ import annotations

import random
from collections import defaultdict
from itertools import islice

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from benchmarks.audit_tampering import Judged, judge, names
from benchmarks.forgeries import COLUMNS_OF, Tampering, flipped
from benchmarks.tamperings import Tamperer
from tests.verifier.written import Log, small_log
from verifier.checkpoints import VerifyingKey
from verifier.findings import Altered
from verifier.log import verify

LOG = small_log()
KEY = VerifyingKey(LOG.vkey)


class OneBit(random.Random):
    """Draws the bit that hypothesis chose."""

    def __init__(self, bit: int) -> None:
        super().__init__(0)
        self._bit = bit

    def sample(self, population, k, **_):  # type: ignore[no-untyped-def]
        return [population[self._bit % len(population)]]


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_flipped_bit_of_any_stored_value_is_found(data: st.DataObject) -> None:
    table = data.draw(st.sampled_from([table for table in COLUMNS_OF if getattr(LOG.tables, table)]))
    rows = getattr(LOG.tables, table)
    place = data.draw(st.integers(0, len(rows) - 1))
    stored = [column for column, value in enumerate(rows[place]) if value is not None]
    column = data.draw(st.sampled_from(stored))
    value = next(flipped(rows[place][column], 1, OneBit(data.draw(st.integers(0, 1 << 16)))))
    changed = list(rows)
    changed[place] = (*rows[place][:column], value, *rows[place][column + 1 :])
    tamperer = Tamperer(LOG.tables, LOG.outside, random.Random(0), 1)
    assume(not tamperer.is_taken(table, COLUMNS_OF[table][column], value))
    leaf, event_id = tamperer.named(table, rows[place], COLUMNS_OF[table][column], value)
    tampering = tamperer.altered("bit", "", table, {place: changed[place]}, leaf, event_id)
    with pytest.raises(Altered) as found:
        verify(tampering.tables, KEY, iter(LOG.outside))
    assert names(tampering, found.value.as_json())


def some_of_each_kind(log: Log, each: int) -> dict[str, list[Tampering]]:
    kinds: dict[str, list[Tampering]] = defaultdict(list)
    for tampering in Tamperer(log.tables, log.outside, random.Random(3), 1).all():
        kinds[tampering.kind].append(tampering)
    draw = random.Random(4)
    return {kind: list(islice(draw.sample(found, len(found)), each)) for kind, found in kinds.items()}


TAMPERINGS = some_of_each_kind(LOG, 60)


@pytest.mark.parametrize("kind", TAMPERINGS)
def test_every_kind_of_tampering_is_found_and_named(kind: str) -> None:
    judged = Judged()
    for tampering in TAMPERINGS[kind]:
        judge(judged, tampering, KEY)
    assert (judged.undetected, judged.misnamed) == ([], [])
    assert judged.tamperings > 0


def test_there_are_many_kinds_of_tampering() -> None:
    assert len(TAMPERINGS) > 20
