"""What one stage came to: the faults that struck, those that did not, and what was found afterwards."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tests.faults.evidence import Violation
from tests.faults.history import Accepted, Acknowledged, History, Probed
from tests.faults.schedule import Fault

Told = tuple[Fault, str]  # a fault and what was hit, or why nothing was


@dataclass
class Report:
    """What happened, and what was found. Only what `struck` counts as a fault."""

    seed: int
    struck: list[Told] = field(default_factory=list)
    missed: list[Told] = field(default_factory=list)  # nothing was there to be hit, also when tried again
    outside_steps: list[Told] = field(default_factory=list)  # was to die at a durable step, came to none, was killed
    failed: list[Told] = field(default_factory=list)  # could not be done, or did not come back
    history: History = field(default_factory=History)
    violations: list[Violation] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    unexpected_deaths: dict[str, int] = field(default_factory=dict)
    crash_points: list[str] = field(default_factory=list)  # where a life died that was then brought to its end
    unfinished_lives: list[str] = field(default_factory=list)  # where one died that was not
    left_open: int = 0  # items that did not end though nothing was in their way
    log_trouble: str = ""  # what the verifier said, if the log is not intact
    tries: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def kinds(self) -> Counter[str]:
        return kinds_in(self.struck)

    @property
    def acknowledged(self) -> Counter[str]:
        """Distinct interactions, by what answered."""
        seen = {
            fact.interaction: fact.via for _, fact in self.history.of(Acknowledged) if isinstance(fact, Acknowledged)
        }
        return Counter(seen.values())

    @property
    def verdicts(self) -> int:
        """Final ones that were acknowledged."""
        return len({fact.item for _, fact in self.history.of(Accepted) if isinstance(fact, Accepted) and fact.final})

    @property
    def probes(self) -> int:
        return len(self.history.of(Probed))


def kinds_in(told: list[Told]) -> Counter[str]:
    return Counter(fault.kind for fault, _ in told)
