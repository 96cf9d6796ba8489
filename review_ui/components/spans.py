"""Cuts an answer into the pieces that the heat map draws: tokens, parted where a step begins or ends."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from review_ui.inert import visible
from review_ui.reviews import Step, Token

MOST_PIECES = 6000  # more of them make a browser slow; the rest follows as one piece of text


def spelled(tokens: Sequence[Token], text: str) -> tuple[Token, ...] | None:
    """The tokens that make up `text`, end markers left out; None when they do not make it up."""
    kept, at = [], 0
    for token in tokens:
        if at == len(text):
            break
        piece = token.text if at else token.text.removeprefix(" ") if not text.startswith(" ") else token.text
        if not text.startswith(piece, at):
            return None
        kept.append(Token(piece, token.logprob, token.alternatives))
        at += len(piece)
    return tuple(kept) if at == len(text) else None


def placed(steps: Sequence[Step], length: int) -> tuple[Step, ...]:
    """Those that lie within a text of that length and do not overlap the one before; others cannot be drawn in it."""
    kept: list[Step] = []
    for step in steps:
        if (kept[-1].end if kept else 0) <= step.start < step.end <= length:
            kept.append(step)
    return tuple(kept)


def pieces(tokens: Sequence[Token], steps: Sequence[Step] = ()) -> list[dict[str, Any]]:
    """One for each token, or for each part of it; `step` is the place in `steps`, which do not overlap, or None."""
    cut, drawn = list(_cut(tokens, steps)), []
    for text, token, step in cut[:MOST_PIECES]:
        drawn.append({**_told(token), "text": visible(text), "step": step})
    if rest := "".join(text for text, _, _ in cut[MOST_PIECES:]):
        drawn.append({"text": visible(rest), "token": "", "probability": 1.0, "alternatives": [], "step": None})
    return drawn


def probability(logprob: float) -> float:
    """In [0, 1]; a log-probability that is not a number counts as a guess."""
    return 0.0 if math.isnan(logprob) else math.exp(min(0.0, logprob))


def _cut(tokens: Sequence[Token], steps: Sequence[Step]) -> Iterator[tuple[str, Token, int | None]]:
    edges = sorted({edge for step in steps for edge in (step.start, step.end)})
    starts, at = [step.start for step in steps], 0
    for token in tokens:
        end = at + len(token.text)
        within = edges[bisect_right(edges, at) : bisect_left(edges, end)]
        for first, last in pairwise((at, *within, end)):
            place = bisect_right(starts, first) - 1
            inside = place >= 0 and first < steps[place].end
            yield token.text[first - at : last - at], token, place if inside else None
        at = end


def _told(token: Token) -> dict[str, Any]:
    """What is said of the whole token, whichever part of it is pointed at."""
    others = [[visible(text), probability(p)] for text, p in token.alternatives if text.strip() != token.text.strip()]
    return {"token": visible(token.text), "probability": probability(token.logprob), "alternatives": others[:3]}
