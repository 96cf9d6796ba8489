"""A plan as a rank reads it: arrays over its sequences, since objects for each would take as long as a small step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serving.engine.plan import FIELDS, HEADER, Floats, Integers, PlanError


@dataclass(frozen=True, slots=True)
class Draws:
    """How the next token of each sequence is drawn; entries as serving.engine.plan.Sampling has them."""

    temperatures: Floats
    top_ps: Floats
    seeds: Integers
    numbers: Integers  # how many tokens were drawn before

    def of(self, which: Integers) -> Draws:
        """Those of some sequences."""
        return Draws(self.temperatures[which], self.top_ps[which], self.seeds[which], self.numbers[which])


@dataclass(frozen=True, slots=True)
class OpenedPlan:
    """Fields as RankPlan and SequenceStep have them."""

    step: int
    counts: tuple[int, ...]
    top_k: int
    want_logits: bool
    placement: int
    may_keep: bool
    reads_prompts: bool
    starts: Integers  # [sequences]
    lengths: Integers  # [sequences] tokens
    sampled: Integers  # [sequences] 0 or 1
    draws: Draws  # [sequences]
    tokens: Integers  # [tokens] of all sequences
    targets: Integers  # [tokens]
    tables: Integers  # [sequences, width], 0 behind the last block of each

    def known_tokens(self, drawn_before: Floats) -> Integers:
        """[tokens], with what the step before has drawn; `drawn_before` is its RankAnswer.drawn.

        Raises PlanError when that has not drawn a token that is asked for.
        """
        unknown = self.tokens < 0
        if not unknown.any():
            return self.tokens
        tokens, places = self.tokens.copy(), ~self.tokens[unknown]
        drawn = drawn_before[places, 0] if places.max() < len(drawn_before) else np.array([np.nan])
        if np.isnan(drawn).any():
            raise PlanError("a plan asks for a token that the step before has not drawn")
        tokens[unknown] = drawn
        return tokens


def open_plan(payload: bytes) -> OpenedPlan:
    """What serving.engine.plan.pack_plan has written. Raises PlanError when lengths do not agree."""
    words = np.frombuffer(bytearray(payload), np.int64)  # a copy, for torch takes no arrays that cannot be written
    if len(words) < HEADER:
        raise PlanError("a plan is shorter than its header")
    step, ranks, count, tokens, width, top_k, *how = words[:HEADER].tolist()
    want_logits, placement, may_keep, reads_prompts = how
    first = HEADER + ranks
    ids = first + count * FIELDS
    targets, tables = ids + tokens, ids + 2 * tokens
    if len(words) != tables + count * width:
        raise PlanError("a plan's length does not agree with its header")
    fields = words[first:ids].reshape(count, FIELDS).T.copy()  # a field's entries beside each other
    floats = fields[5:].view(np.float64)
    return OpenedPlan(
        step,
        tuple(words[HEADER:first].tolist()),
        top_k,
        bool(want_logits),
        placement,
        bool(may_keep),
        bool(reads_prompts),
        starts=fields[0],
        lengths=fields[1],
        sampled=fields[2],
        draws=Draws(floats[0], floats[1], fields[3], fields[4]),
        tokens=words[ids:targets],
        targets=words[targets:tables],
        tables=words[tables:].reshape(count, width),
    )
