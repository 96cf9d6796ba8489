"""The watch by domain: a domain that went bad is seen though the whole is not, and all is well seldom alarms."""

import json
import random

import pytest
from scipy.stats import binomtest

from serving.confidence.eprocess import Watch, watch_to_json
from serving.confidence.watched_domains import WatchedDomains, watched_from_json, watched_to_json

ALPHA, DELTA = 0.15, 0.05
DOMAINS = ("algebra", "arithmetic", "percent", "word-problem")


def audits_until_alarm(risks: dict[str, float], shares: dict[str, float], seed: int, most: int) -> int | None:
    draws, watched = random.Random(seed), WatchedDomains.of(DOMAINS)
    for number in range(1, most + 1):
        (domain,) = draws.choices(list(shares), list(shares.values()))
        watched = watched.after(draws.random() < risks[domain], ALPHA, domain)
        if watched.alarmed(DELTA):
            return number
    return None


def test_one_domain_is_watched_as_all_are() -> None:
    watched, alone = WatchedDomains.of(["sums"]), Watch()
    assert watched.wealth == pytest.approx(1.0)
    for wrong in (True, False, True, False, False):
        watched, alone = watched.after(wrong, ALPHA, "sums"), alone.after(wrong, ALPHA)
        assert watched.wealth == pytest.approx(alone.wealth)
    assert watched.audited == 5


def test_a_tenth_of_what_is_released_that_is_wrong_throughout_is_seen() -> None:
    """12 % of all are wrong, less than α: no watch over the whole can tell."""
    risks = {"algebra": 1.0, "arithmetic": 0.02, "percent": 0.02, "word-problem": 0.03}
    shares = {"algebra": 0.1, "arithmetic": 0.3, "percent": 0.3, "word-problem": 0.3}
    found = sorted(audits_until_alarm(risks, shares, seed, 400) or 400 for seed in range(50))
    assert found[-1] < 200
    whole = Watch()
    for number in range(400):
        whole = whole.after(number % 8 == 0, ALPHA)
    assert not whole.alarmed(DELTA)


def test_risk_that_rises_everywhere_is_seen_nearly_as_soon_as_by_the_whole_alone() -> None:
    even = dict.fromkeys(DOMAINS, 0.25)
    lost = []
    for seed in range(50):
        draws, alone, at = random.Random(seed), Watch(), 0
        while not alone.alarmed(DELTA):
            draws.choices(list(even), list(even.values()))
            alone, at = alone.after(draws.random() < 0.4, ALPHA), at + 1
        found = audits_until_alarm(dict.fromkeys(DOMAINS, 0.4), even, seed, 2_000)
        assert found is not None
        lost.append(found - at)
    assert 0 <= sorted(lost)[25] <= 12


def test_false_alarms_stay_within_delta_where_every_domain_is_at_the_allowed_risk() -> None:
    uneven = dict(zip(DOMAINS, (0.5, 0.3, 0.15, 0.05), strict=True))
    risks = dict.fromkeys(DOMAINS, ALPHA)
    alarms = sum(audits_until_alarm(risks, uneven, seed, 300) is not None for seed in range(200))
    assert binomtest(alarms, 200, DELTA, alternative="greater").pvalue > 0.01


def test_domains_without_a_share_count_in_the_whole_alone() -> None:
    watched = WatchedDomains.of(DOMAINS)
    for _ in range(6):
        watched = watched.after(True, ALPHA, "gossip")
    assert watched.wealth == pytest.approx(0.5 * watched.together.wealth + 0.5)
    assert set(watched.apart) == set(DOMAINS)


def test_what_is_stored_is_read_back() -> None:
    watched = (
        WatchedDomains.of(["", "sums"]).after(True, ALPHA, "sums").after(False, ALPHA, None).after(False, ALPHA, "sums")
    )
    assert watched_from_json(json.loads(json.dumps(watched_to_json(watched), allow_nan=False))) == watched
    assert watched.apart[""].audited == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "apart"),
        ({"apart": []}, "apart"),
        ({"apart": {}}, "together"),
        ({"apart": {"sums": 1}}, "apart.sums"),
        ({"apart": {"sums": {"log_wealths": [0.0], "audited": 0}}}, "apart.sums.log_wealths"),
        ({"apart": {}, "together": {"log_wealths": [0.0] * 5, "audited": -1}}, "together.audited"),
        ({"apart": {"sums": watch_to_json(Watch(audited=4))}, "together": watch_to_json(Watch(audited=3))}, "apart"),
    ],
)
def test_other_bodies_are_refused_by_field(body: dict[str, object], field: str) -> None:
    with pytest.raises(ValueError, match=rf"^{field}: "):
        watched_from_json(body)
