"""Names every signal there is, in the order in which people read them."""

from collections.abc import Callable

from serving.confidence.evidence import Evidence
from serving.confidence.signals.agreement import agreement
from serving.confidence.signals.answer_departs import answer_departs
from serving.confidence.signals.answer_entropy_max import answer_entropy_max
from serving.confidence.signals.answer_found import answer_found
from serving.confidence.signals.answer_logprob_mean import answer_logprob_mean
from serving.confidence.signals.answer_logprob_min import answer_logprob_min
from serving.confidence.signals.answer_margin_min import answer_margin_min
from serving.confidence.signals.answer_substituted import answer_substituted
from serving.confidence.signals.entropy_max import entropy_max
from serving.confidence.signals.entropy_mean import entropy_mean
from serving.confidence.signals.finished import finished
from serving.confidence.signals.gate_entropy_mean import gate_entropy_mean
from serving.confidence.signals.lag_max import lag_max
from serving.confidence.signals.lag_sum import lag_sum
from serving.confidence.signals.length import length
from serving.confidence.signals.logprob_bottom_tenth import logprob_bottom_tenth
from serving.confidence.signals.logprob_lowest_window import logprob_lowest_window
from serving.confidence.signals.logprob_mean import logprob_mean
from serving.confidence.signals.logprob_min import logprob_min
from serving.confidence.signals.logprob_sum import logprob_sum
from serving.confidence.signals.logprob_tail import logprob_tail
from serving.confidence.signals.margin_mean import margin_mean
from serving.confidence.signals.margin_min import margin_min
from serving.confidence.signals.prompt_length import prompt_length
from serving.confidence.signals.prompt_logprob_mean import prompt_logprob_mean
from serving.confidence.signals.prompt_logprob_window import prompt_logprob_window
from serving.confidence.signals.samples import samples
from serving.confidence.signals.steps_invalid import steps_invalid
from serving.confidence.signals.steps_unknown import steps_unknown
from serving.confidence.signals.steps_valid import steps_valid
from serving.confidence.signals.top_mass import top_mass

# A signal is a pure function of the evidence: a finite number, or None where it cannot be computed.
SIGNALS: tuple[tuple[str, Callable[[Evidence], float | None]], ...] = (
    ("prompt_logprob_mean", prompt_logprob_mean),
    ("prompt_logprob_window", prompt_logprob_window),
    ("prompt_length", prompt_length),
    ("logprob_sum", logprob_sum),
    ("logprob_mean", logprob_mean),
    ("logprob_min", logprob_min),
    ("logprob_bottom_tenth", logprob_bottom_tenth),
    ("logprob_lowest_window", logprob_lowest_window),
    ("logprob_tail", logprob_tail),
    ("answer_logprob_min", answer_logprob_min),
    ("answer_logprob_mean", answer_logprob_mean),
    ("answer_entropy_max", answer_entropy_max),
    ("answer_margin_min", answer_margin_min),
    ("entropy_mean", entropy_mean),
    ("entropy_max", entropy_max),
    ("margin_min", margin_min),
    ("margin_mean", margin_mean),
    ("lag_max", lag_max),
    ("lag_sum", lag_sum),
    ("top_mass", top_mass),
    ("gate_entropy_mean", gate_entropy_mean),
    ("length", length),
    ("finished", finished),
    ("answer_found", answer_found),
    ("steps_valid", steps_valid),
    ("steps_invalid", steps_invalid),
    ("steps_unknown", steps_unknown),
    ("answer_substituted", answer_substituted),
    ("answer_departs", answer_departs),
    ("agreement", agreement),
    ("samples", samples),
)
NAMES = frozenset(name for name, _ in SIGNALS)
OF_STEPS = frozenset({"steps_valid", "steps_invalid", "steps_unknown", "answer_substituted", "answer_departs"})
