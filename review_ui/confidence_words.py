"""What the figures of confidence mean, in sentences; also what would make a missing figure appear."""

from __future__ import annotations

from collections.abc import Sequence

from review_ui.confidence_figures import (
    NO_DOMAIN,
    Bound,
    CertificateState,
    ConfidenceFigures,
    Drift,
    ReleasedRisk,
    Reliability,
    RiskPoint,
    Watch,
)  # fmt: skip
from review_ui.inert import visible
from review_ui.measured import percent

TITLES = {
    CertificateState.IN_FORCE: "The certificate is in force",
    CertificateState.SUSPENDED: "The certificate is suspended: everything is held",
    CertificateState.NONE: "No certificate vouches for releases yet",
}
NO_RELIABILITY = (
    "No answer with a confidence was reviewed in this time. The diagram appears with the first verdicts: decide what "
    "waits at the desk, or look over a longer time."
)
NO_RISK_COVERAGE = (
    "Too few answers with a confidence were reviewed in this time to draw the curve. It appears as verdicts on held "
    "answers and on random audits come in."
)
NO_RELEASED_RISK = (
    "No released answer was audited in this time, so nothing is known of how many are wrong. The estimate appears with "
    "the first verdicts on random audits; a policy’s audit share says how many are drawn."
)
NO_WATCH = (
    "Nothing to watch over yet. The alarm’s course appears once a certificate is in force and the first random audit "
    "of a released answer was decided."
)
NO_DRIFT = (
    "No signal can be compared with its usual range. The table appears once a calibration is active and the model has "
    "answered."
)
NO_BOUNDS = "There are none. Domains and their thresholds appear once a certificate is made from labelled answers."
HIGHER = "An answer is released from the higher of this threshold and its policy’s."
NOT_NOW = "While the certificate is suspended, none of these releases anything."
DRIFT_IS_NO_ALARM = (
    "Warnings, not alarms: a signal that moved says that questions or answers are of another kind, not that answers "
    "are wrong. By its making, about one in ten answers lies outside a usual range. Only the alarm above, which looks "
    "at wrong answers, stops releases."
)

BY = "by an operator (countersign certificates make --activate)"


def promise(found: ConfidenceFigures) -> str:
    """What the certificate's state means for answers now."""
    certificate = found.certificate
    if certificate.state is CertificateState.SUSPENDED:
        by_alarm = found.watch is not None and found.watch.alarmed_at is not None
        why = "Released answers have been wrong more often than allowed" if by_alarm else "An operator suspended it"
        return f"{why}. Every answer is held until it is recertified."
    if certificate.state is CertificateState.NONE:
        return "Every answer is held for a person, unless its policy says that it may leave without a certificate."
    if not any(bound.threshold is not None for bound in certificate.bounds):
        return "It certifies no threshold in any domain, so every answer is held for a person."
    most = f"Of the answers released in a domain, at most {percent(certificate.alpha)} are wrong."
    if certificate.delta is None:
        return most
    return f"{most} That holds with {percent(1 - certificate.delta)} certainty in each domain."


def to_do(found: ConfidenceFigures) -> str:
    """What a person can do about the state; empty while all is well."""
    state = found.certificate.state
    if state is CertificateState.IN_FORCE:
        return ""
    goal = "answers can be certified anew" if state is CertificateState.SUSPENDED else "a certificate can be made"
    return f"What to do: decide the answers that wait at the desk, random audits first. {_labels(found, goal)}"


def _labels(found: ConfidenceFigures, goal: str) -> str:
    if found.labels is None or not found.labels_needed:
        return f"Each verdict is a label; with enough of them, {goal} {BY}."
    missing = found.labels_needed - found.labels
    have = f"There are {found.labels:,} labelled answers of the {found.labels_needed:,} needed"
    return f"{have}, so {goal} {BY}." if missing <= 0 else f"{have}; with {missing:,} more, {goal} {BY}."


def bound_cells(bound: Bound) -> tuple[str, str, str, str, str]:
    """Domain, threshold, coverage, evidence and what it means, as the domains' table shows them."""
    held = bound.threshold is None
    return (
        bound.domain or NO_DOMAIN,
        "–" if held else percent(bound.threshold, 1),
        "–" if held else percent(bound.coverage),
        f"{bound.errors:,} of {bound.released:,} wrong" if not held else "–",
        f"{bound.labels:,}",
    )


def reliability_cells(row: Reliability) -> tuple[str, str, str, str]:
    between = f"{percent(row.low, 1)} to {percent(row.high, 1)}"
    return percent(row.confidence, 1), percent(row.accuracy, 1), between, f"{row.count:,}"


def risk_cells(point: RiskPoint) -> tuple[str, str, str]:
    return percent(point.threshold, 1), percent(point.coverage, 1), percent(point.risk, 1)


def reliability(rows: Sequence[Reliability]) -> str:
    """The diagram in a sentence, for who cannot see it."""
    total, astray = sum(row.count for row in rows), [row for row in rows if not row.low <= row.confidence <= row.high]
    groups = f"{total:,} reviewed answers in {len(rows)} group{'s' if len(rows) > 1 else ''} of like confidence"
    if not astray:
        return f"{groups}; in each, the share that was right agrees with the confidence stated."
    worst = max(astray, key=lambda row: abs(row.confidence - row.accuracy))
    return (
        f"{groups}; in {len(astray)} of them the share that was right differs from the confidence stated, most where "
        f"{percent(worst.confidence)} was stated and {percent(worst.accuracy)} were right."
    )


def risk_coverage(points: Sequence[RiskPoint], alpha: float | None) -> str:
    """The curve in a sentence: how much could be released within the risk allowed."""
    whole = f"If everything were released, {percent(points[-1].risk, 1)} would be wrong."
    if alpha is None:
        return whole
    within = [point for point in points if point.risk <= alpha]
    if not within:
        return f"{whole} No threshold keeps the risk under the {percent(alpha)} allowed."
    most = within[-1]
    return (
        f"{whole} Within the {percent(alpha)} allowed, {percent(most.coverage)} could be, from a confidence of "
        f"{percent(most.threshold)} on. The certificate asks for more: it allows for chance."
    )


def released_risk(found: ReleasedRisk) -> str:
    """How many of the released answers are wrong, and how well that is known."""
    seen = f"{found.audited:,} of {found.released:,} released answers were audited"
    if found.estimate is None:
        return f"{seen}: too few to estimate how many are wrong."
    if found.low is None or found.high is None:
        return f"{seen}: an estimated {percent(found.estimate, 1)} are wrong; too few were to say how surely."
    return (
        f"{seen}. An estimated {percent(found.estimate, 1)} are wrong; with {percent(found.level)} certainty between "
        f"{percent(found.low, 1)} and {percent(found.high, 1)}."
    )


def watch(found: Watch) -> str:
    """Where the alarm stands."""
    seen = f"{found.audited:,} audited so far"
    if found.alarmed_at is not None:
        return f"The alarm was raised: wrong answers are more than chance explains. {seen.capitalize()}.{_where(found)}"
    if found.wealth is None or found.alarm_at is None:
        return f"No alarm; {seen}."
    stands = f"the evidence stands at {found.wealth:.3g}, the alarm is raised at {found.alarm_at:.3g}"
    return f"No alarm: {stands}; {seen}.{_where(found)}"


def _where(found: Watch) -> str:
    """Which kind of question the evidence is about, where one stands out among several."""
    name, audited, wealth = max(found.domains, key=lambda each: each[2], default=("", 0, 0.0))
    if len(found.domains) < 2 or wealth <= 1.0:
        return ""
    return f" It is strongest for {visible(name) or NO_DOMAIN}: {wealth:.3g} after {audited:,} audits."


def drift(rows: Sequence[Drift]) -> str:
    moved = sum(row.warning for row in rows)
    has = "has moved from where it usually lies" if moved < 2 else "have moved from where they usually lie"
    return f"{moved or 'None'} of {len(rows)} signals {has}."
