"""Knows the one way in which a launch fails: a sentence that says what to do."""

from __future__ import annotations


class CannotStart(Exception):
    """Nothing was started, or all of it was stopped again. `str()` is one sentence for the person at the terminal."""


class ChildDied(CannotStart):
    """A process ended while it was starting; `tail` holds its last log lines."""

    def __init__(self, name: str, sentence: str, tail: tuple[str, ...]) -> None:
        super().__init__(sentence)
        self.name = name
        self.tail = tail
