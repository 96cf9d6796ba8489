"""What a threshold asks of the reviewers, in sentences."""

from __future__ import annotations

from review_ui.capacity_figures import Capacity, Wish
from review_ui.measured import percent

TOO_FEW = (
    "Too few reviewed and audited answers to predict anything. The curve appears as verdicts come in: decide what "
    "waits at the desk, random audits first."
)
NO_ASKS = "Nobody asked anything lately, so reviews a day cannot be told: fill in how many answers a day to expect."
PREDICTED = (
    "Predicted from reviewed and audited answers, weighted by how likely each was to be looked at. A release also "
    "needs the threshold of the certificate in force, whichever is higher."
)


def advice(found: Capacity, wish: Wish) -> str:
    """The answer to the form, first whether both can be met."""
    budget = percent(wish.error_budget, 1)
    if found.chosen is not None:
        chosen = found.chosen
        return (
            f"Release from a confidence of {percent(chosen.threshold, 1)} on: {percent(chosen.review_rate)} of the "
            f"answers are then reviewed, about {chosen.reviews_per_day:,.0f} a day{_of_manageable(found)}, and "
            f"{percent(chosen.released_risk, 1)} of the released ones are expected to be wrong, within "
            f"the budget of {budget}."
        )
    if not found.curve:
        return NO_ASKS if found.asks_unknown else TOO_FEW
    return f"No threshold meets both. {_what_it_would_take(found, wish)}"


def _of_manageable(found: Capacity) -> str:
    return "" if found.capacity_per_day is None else f" of the {found.capacity_per_day:,.0f} there is time for"


def _what_it_would_take(found: Capacity, wish: Wish) -> str:
    budget, enough = percent(wish.error_budget, 1), found.within(wish.error_budget)
    if enough is None:
        least = min(found.curve, key=lambda choice: choice.released_risk)
        return (
            f"However much is reviewed, at least {percent(least.released_risk, 1)} of what is released is expected to "
            f"be wrong, more than the budget of {budget}: allow more errors, or calibrate the model anew."
        )
    hours = enough.reviews_per_day * wish.minutes_per_item / 60
    return (
        f"To keep errors within {budget}, about {enough.reviews_per_day:,.0f} answers a day must be reviewed"
        f"{_of_time(found)}: that takes {hours:,.1f} reviewers’ hours a day instead of {wish.reviewer_hours:,.1f}."
    )


def _of_time(found: Capacity) -> str:
    return "" if found.capacity_per_day is None else f", and there is time for {found.capacity_per_day:,.0f}"
