"""How familiar the question was to the model."""

from serving.confidence.evidence import Evidence, finite


def prompt_logprob_mean(evidence: Evidence) -> float | None:
    """Mean log-probability of the prompt's content tokens, nats; the clue that a question is foreign."""
    return finite(evidence.prompt.mean_logprob)
