"""A whole log is intact, or the first bad event is named with the reason."""

from __future__ import annotations

import dataclasses

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.verifier.written import Log, small_log
from verifier.checkpoints import VerifyingKey
from verifier.findings import Altered, CannotRead
from verifier.log import Intact, verify
from verifier.reading import Tables


def verified(log: Log, outside: bool = True, sampled: bool = False) -> Intact:
    kept = iter(log.outside) if outside else None
    return verify(log.tables, VerifyingKey(log.vkey), kept, sampled=sampled)


def found_in(log: Log) -> Altered:
    with pytest.raises(Altered) as found:
        verified(log)
    return found.value


def test_a_clean_log_is_intact():
    found = verified(small_log())
    assert (found.leaves, found.events, found.erased, found.unsealed, found.checkpoints) == (41, 41, 1, 3, 5)
    assert found.root is not None


def test_an_empty_log_is_intact():
    assert verified(Log()) == Intact(0, 0, 0, 0, 0, 0, True, 0, None, None)


def test_more_than_one_kept_subtree_is_compared():
    log = Log()
    for _ in range(700):
        log.add()
    log.seal()
    assert verified(log).leaves == 700
    assert len(log.tables.audit_nodes) == 2


def test_purged_events_may_be_missing_and_nothing_else_may():
    log = small_log()
    log.purge(5, 5)
    log.seal()
    del log.tables.audit_events[:5]
    assert verified(log).purged == 5
    del log.tables.audit_events[0]
    assert found_in(log).leaf_index == 5


def test_a_purge_accounts_for_every_row_that_is_gone():
    log = small_log()
    log.purge(5, 4)
    log.seal()
    del log.tables.audit_events[:5]
    assert "5 purged events are missing" in str(found_in(log))


def test_a_purge_cannot_reach_beyond_itself():
    log = small_log()
    log.purge(99, 0)
    log.seal()
    assert found_in(log).leaf_index == 44


def test_facts_may_be_gone_after_their_completion_was_deleted():
    log = Log()
    log.add(sealed_facts=b"x" * 40, interaction_id="chatcmpl-gone")
    log.seal()
    log.erase(0)
    assert "no later erasure" in str(found_in(log))
    log.add("interaction.deleted", {}, interaction_id="chatcmpl-gone")
    assert verified(log).erased == 1  # also while the deletion waits to be sealed
    log.seal()
    assert verified(log).erased == 1


def test_an_erasure_does_not_cover_what_came_after_it():
    log = Log()
    log.add("subject.erased", {"subject": "sub_1", "events": 0, "interactions": 0})
    log.add(sealed_facts=b"x" * 40)
    log.seal()
    log.erase(1)
    assert found_in(log).leaf_index == 1


def test_an_outside_file_that_lags_is_told_and_one_with_gaps_is_not_accepted():
    log = small_log()
    del log.outside[-2:]
    assert verified(log).lagging == 2
    del log.outside[1]
    assert "later ones are" in str(found_in(log))
    assert verified(log, sampled=True).leaves == 41


def test_an_outside_file_that_lags_by_more_than_a_copy_takes_is_warned_of():
    log = small_log()
    del log.outside[-3:]
    assert verified(log).warnings == ()
    del log.outside[-1:]
    (warning,) = verified(log).warnings
    assert "The last 4 checkpoints" in warning
    assert "the first 8 events" in warning


def test_an_emptied_outside_file_is_found():
    log = small_log()
    log.outside = []
    assert "it was emptied" in str(found_in(log))
    with pytest.raises(CannotRead, match="nobody kept any"):
        verified(log, sampled=True)
    young = Log()
    young.add()
    young.seal()
    young.outside = []
    assert verified(young).lagging == 1


def test_a_log_cut_off_with_its_checkpoints_is_found_by_those_kept_outside():
    log = small_log()
    log.tables = Tables(
        audit_events=log.tables.audit_events[:33],
        audit_leaves=log.tables.audit_leaves[:33],
        audit_checkpoints=log.tables.audit_checkpoints[:4],
    )
    found = found_in(log)
    assert (found.leaf_index, found.last_leaf) == (33, 40)
    assert verified(log, outside=False).leaves == 33  # nobody could tell without


def test_checkpoints_removed_from_the_database_are_missed():
    log = small_log()
    del log.tables.audit_checkpoints[2]
    assert "removed or rewritten" in str(found_in(log))


def test_a_rewritten_log_under_another_key_is_refused():
    log, forged = small_log(), small_log()
    forged.key = Ed25519PrivateKey.generate()
    notes = [(size, forged.note(size, b"\0" * 32)) for size, _ in log.tables.audit_checkpoints]
    log.tables = dataclasses.replace(log.tables, audit_checkpoints=notes)
    assert "another key" in str(found_in(log))


def test_time_may_not_run_backwards_between_checkpoints():
    log = small_log()
    size, _ = log.outside[-1]
    root = VerifyingKey(log.vkey).opened(log.outside[-1][1]).root
    log.outside[-1] = log.tables.audit_checkpoints[-1] = (size, log.note(size, root, "1.000"))
    assert "earlier than the one before" in str(found_in(log))


def test_a_consistently_rewritten_event_is_found_between_its_checkpoints():
    log = small_log()
    other = Log()
    other.tables.audit_events = [()] * 10  # type: ignore[list-item]
    row = other.add(facts={"action": "hold"})
    log.tables.audit_events[10] = row
    log.tables.audit_leaves[10] = (10, row[0], row[11])
    found = found_in(log)
    assert (found.leaf_index, found.last_leaf) == (8, 15)
