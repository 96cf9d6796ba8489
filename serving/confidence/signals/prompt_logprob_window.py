"""How familiar the strangest passage of the question was to the model."""

from serving.confidence.evidence import Evidence, finite


def prompt_logprob_window(evidence: Evidence) -> float | None:
    """Lowest mean log-probability over a window of 16 content tokens of the prompt, nats."""
    return finite(evidence.prompt.min_window_logprob)
