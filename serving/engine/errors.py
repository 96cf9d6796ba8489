"""The ways a generation can fail, each a type of its own."""

from __future__ import annotations


class EngineError(Exception):
    """Anything the engine says about a generation it did not finish."""


class ContextTooLong(EngineError):
    """The prompt and the tokens asked for do not fit the model's context; nothing was run."""

    def __init__(self, prompt_tokens: int, max_tokens: int, limit: int) -> None:
        self.prompt_tokens, self.max_tokens, self.limit = prompt_tokens, max_tokens, limit
        super().__init__(
            f"messages take {prompt_tokens} tokens and max_tokens is {max_tokens}, together more than the "
            f"{limit} tokens of context: shorten the messages or lower max_tokens"
        )


class InvalidRequest(EngineError):
    """A parameter is outside its range; `parameter` names it."""

    def __init__(self, parameter: str, message: str) -> None:
        self.parameter = parameter
        super().__init__(f"{parameter}: {message}")


class Overloaded(EngineError):
    """As many generations wait as may wait."""

    def __init__(self, waiting: int, retry_after: float) -> None:
        self.waiting, self.retry_after = waiting, retry_after  # seconds
        super().__init__(f"{waiting} generations already wait: ask again in {retry_after:g} s")


class RankLost(EngineError):
    """A rank died or stalled; every generation in flight is void, and so is the engine."""

    def __init__(self, rank: int | None, reason: str) -> None:
        self.rank, self.reason = rank, reason
        super().__init__(f"{'a rank' if rank is None else f'rank {rank}'} was lost: {reason}")


class Aborted(EngineError):
    """The generation was given up before it was finished."""


class EngineClosed(EngineError):
    """The engine takes no more generations."""
