"""What a threshold asks of the reviewers, in sentences."""

from __future__ import annotations

from review_ui.capacity_figures import Capacity, Choice, Wish
from review_ui.measured import percent

TOO_FEW = (
    "Too few reviewed and audited answers to predict anything. The curve appears as verdicts come in: decide what "
    "waits at the desk, random audits first."
)
PREDICTED = (
    "Predicted from reviewed and audited answers, weighted by how likely each was to be looked at. A release also "
    "needs the threshold of the certificate in force, whichever is higher."
)


def advice(found: Capacity, wish: Wish) -> str:
    """The answer to the form, first whether both can be met."""
    if found.chosen is not None:
        return _taken(found, found.chosen, wish)
    if not found.curve:
        return TOO_FEW
    return f"No threshold meets both. {_what_it_would_take(found, wish)}"


def _taken(found: Capacity, chosen: Choice, wish: Wish) -> str:
    a_day = "" if chosen.reviews_per_day is None else f", about {chosen.reviews_per_day:,.0f} a day{_there_is(found)}"
    return (
        f"Release from a confidence of {percent(chosen.threshold, 1)} on: {percent(chosen.review_rate)} of the answers "
        f"are then reviewed{a_day}, and {percent(chosen.released_risk, 1)} of the released ones are expected to be "
        f"wrong, within the budget of {percent(wish.error_budget, 1)}.{_carried(found, chosen)}"
    )


def _there_is(found: Capacity) -> str:
    return "" if found.capacity_per_day is None else f" of the {found.capacity_per_day:,.0f} there is time for"


def _carried(found: Capacity, chosen: Choice) -> str:
    """How many answers a day the reviewers are enough for, where nobody said how many there are."""
    if chosen.reviews_per_day is not None or not chosen.review_rate or found.capacity_per_day is None:
        return ""
    return f" The time there is suffices for {found.capacity_per_day / chosen.review_rate:,.0f} answers a day."


def _what_it_would_take(found: Capacity, wish: Wish) -> str:
    budget, enough = percent(wish.error_budget, 1), found.within(wish.error_budget)
    if enough is None:
        least = min(found.curve, key=lambda choice: choice.released_risk)
        return (
            f"However much is reviewed, at least {percent(least.released_risk, 1)} of what is released is expected to "
            f"be wrong, more than the budget of {budget}: allow more errors, or calibrate the model anew."
        )
    if enough.reviews_per_day is None:
        return f"To keep errors within {budget}, {percent(enough.review_rate)} of the answers must be reviewed."
    hours = enough.reviews_per_day * wish.minutes_per_item / 60
    time_for = "" if found.capacity_per_day is None else f", and there is time for {found.capacity_per_day:,.0f}"
    return (
        f"To keep errors within {budget}, about {enough.reviews_per_day:,.0f} answers a day must be "
        f"reviewed{time_for}: that takes {hours:,.1f} reviewers’ hours a day instead of {wish.reviewer_hours:,.1f}."
    )


def described(found: Capacity) -> str:
    """The chart for who cannot see it. Needs one point at least."""
    least, most = found.curve[0], found.curve[-1]
    return (
        f"From {percent(least.review_rate)} reviewed with {percent(least.released_risk, 1)} wrong among the released "
        f"to {percent(most.review_rate)} reviewed with {percent(most.released_risk, 1)}."
    )
