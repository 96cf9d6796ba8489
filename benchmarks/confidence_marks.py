"""The marks that the confidence must reach, and which of them a measurement does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Figures = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Mark:
    """A promise about one figure. `reached` is asked only where every figure that it needs was measured."""

    name: str
    needs: tuple[str, ...]
    limit: str  # in words
    reached: Callable[[Figures], bool]


def _most(name: str, limit: float) -> Mark:
    return Mark(name, (name,), f"at most {limit:g}", lambda figures: bool(found(figures, name) <= limit))


def _least(name: str, limit: float) -> Mark:
    return Mark(name, (name,), f"at least {limit:g}", lambda figures: bool(found(figures, name) >= limit))


def _better(name: str, than: str) -> Mark:
    return Mark(name, (name, than), f"above {than}", lambda figures: figures[name] > figures[than])


def _each(name: str, needs: tuple[str, ...], limit: str, holds: Callable[[Figures, str], bool]) -> Mark:
    """One figure for each model, all of which must hold."""
    return Mark(name, needs, limit, lambda figures: all(holds(figures, model) for model in figures[name]))


MARKS: tuple[Mark, ...] = (
    _better("auroc_free", "auroc_free_best_peer"),
    _better("prr_free_by_their_formula", "prr_free_best_peer"),
    _better("auroc_sampled", "auroc_sampled_best_peer"),
    _better("prr_sampled_by_their_formula", "prr_sampled_best_peer"),
    _most("mean_samples", 4),
    _most("ece", 0.02),
    _most("worst_domain_ece", 0.05),
    _most("ood_released", 0.02),
    _each(
        "violation_lower",
        ("violation_lower", "delta"),
        "at most delta, for every model",
        lambda figures, model: figures["violation_lower"][model] <= figures["delta"],
    ),
    _each("coverage", ("coverage",), "above 0, for every model", lambda figures, model: figures["coverage"][model] > 0),
    _each(
        "coverage",
        ("coverage", "coverage_holm"),
        "at least coverage_holm, for every model",
        lambda figures, model: figures["coverage"][model] >= figures["coverage_holm"][model],
    ),
    _least("interval_coverage", 0.93),
    Mark(
        "drift_audits_median",
        ("drift_audits_median", "drift_audits_limit"),
        "at most drift_audits_limit",
        lambda figures: figures["drift_audits_median"] <= figures["drift_audits_limit"],
    ),
    Mark(
        "false_alarm_rate",
        ("false_alarm_rate", "delta"),
        "at most delta",
        lambda figures: figures["false_alarm_rate"] <= figures["delta"],
    ),
    _least("verify.big_bench.recall", 0.95),
    _least("verify.big_bench.first_step", 0.95),
    _most("verify.big_bench.false_alarm", 0.005),
    _most("verify.gsm8k.false_alarm", 0.02),
    _most("verify_p99_ms", 50),
    _most("score_us", 100),
    _most("fit_s", 20),
    _most("recertify_s", 0.2),
)


def missed(figures: Figures, marks: Sequence[Mark] = MARKS) -> list[str]:
    """In words, each mark whose figures were measured and do not reach it."""
    measured = [mark for mark in marks if all(found(figures, need) is not None for need in mark.needs)]
    short = [mark for mark in measured if not mark.reached(figures)]
    return [f"{mark.name} is {found(figures, mark.name)}, not {mark.limit}" for mark in short]


def found(figures: Figures, name: str) -> Any:
    """The figure of a name like "verify.gsm8k.recall"; None where it was not measured."""
    value: Any = figures
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
