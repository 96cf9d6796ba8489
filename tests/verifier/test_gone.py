"""An event that excuses what is gone must be of its tenant, sealed, and as old as only signed times can show."""

from __future__ import annotations

import pytest

from tests.verifier.written import Log, small_log
from verifier.checkpoints import VerifyingKey
from verifier.findings import Altered, CannotRead
from verifier.log import Intact, verify

DAY = 86_400.0
FACTS = b"nonce and tag and ciphertext"


def verified(log: Log) -> Intact:
    return verify(log.tables, VerifyingKey(log.vkey), iter(log.outside))


def purged(before: int = 5, **columns: object) -> Log:
    """A log without its first events, and with the purge that says so, as it should be but for `columns`."""
    log = small_log()
    log.seal()
    log.purge(before, before, **columns)  # type: ignore[arg-type]
    log.seal()
    del log.tables.audit_events[:before]
    return log


def test_a_purge_as_the_product_writes_it_is_right() -> None:
    assert verified(purged()).purged == 5


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"tenant": "acme"}, "another tenant than default"),
        ({"days": 182.9}, "at least 183 days"),
        ({"days": -1e9}, "at least 183 days"),
        ({"days": 201.0}, "sealed after its cutoff"),
        ({"at": 1_900_000_000.0, "days": 10.0}, "a time of its own making"),
    ],
)
def test_a_purge_that_says_otherwise_is_found_and_named(columns: dict[str, object], why: str) -> None:
    log = purged(**columns)
    with pytest.raises(Altered, match=why) as found:
        verified(log)
    assert found.value.event_id == log.tables.audit_events[-1][0]


@pytest.mark.parametrize("cutoff", [None, "0", float("1e400"), True])
def test_a_purge_must_say_its_cutoff(cutoff: object) -> None:
    log = small_log()
    facts = {"before_index": 0, "events": 0, "cutoff": cutoff}
    log.add("audit.purged", {name: value for name, value in facts.items() if value is not None}, tenant="default")
    log.seal()
    with pytest.raises(Altered):
        verified(log)


def test_of_two_purges_the_later_one_must_fit_what_both_removed() -> None:
    log = small_log()
    log.seal()
    for before in (3, 6):
        log.purge(before, 3)
        log.seal()
    del log.tables.audit_events[:6]
    assert verified(log).purged == 6


def test_a_purge_excuses_nothing_before_it_is_sealed() -> None:
    log = small_log()
    log.seal()
    log.purge(5, 5)
    del log.tables.audit_events[:5]
    with pytest.raises(CannotRead, match="not sealed yet"):
        verified(log)
    log.seal()
    assert verified(log).purged == 5


@pytest.mark.parametrize(
    ("kind", "facts", "about"),
    [("subject.erased", {"subject": "sub_1"}, None), ("interaction.deleted", {}, "chatcmpl-1")],
)
def test_an_erasure_excuses_its_own_tenants_events_only(kind: str, facts: dict[str, object], about: str | None) -> None:
    log = Log()
    log.add(sealed_facts=FACTS * 2, interaction_id="chatcmpl-1")
    log.erase(0)
    log.add(kind, facts, interaction_id=about, tenant="rival")
    log.seal()
    with pytest.raises(Altered, match="no later erasure"):
        verified(log)
    log.add(kind, facts, interaction_id=about)
    log.seal()
    assert verified(log).erased == 1


def test_an_erasure_that_is_not_sealed_yet_is_told() -> None:
    log = Log()
    log.add(sealed_facts=FACTS * 2, interaction_id="chatcmpl-1")
    log.seal()
    log.erase(0)
    log.add("interaction.deleted", {}, interaction_id="chatcmpl-1")
    (warning,) = verified(log).warnings
    assert "not sealed yet" in warning
    log.seal()
    assert verified(log).warnings == ()
