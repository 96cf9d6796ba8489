"""Leads known texts through a gang of real ranks and collects the logits of every token."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence as Row

import numpy as np
import numpy.typing as npt

from serving.engine.gang import Gang
from serving.engine.plan import RankPlan, SequenceStep
from serving.engine.scheduler import Scheduler, Sequence, Turn

Logits = npt.NDArray[np.float32]


def logits_of(
    gang: Gang, scheduler: Scheduler, texts: Row[list[int]], prompts: Row[int], block_size: int, depth: int = 1
) -> list[Logits]:
    """Each text [tokens]: its first `prompt` tokens at once or in chunks, the others one by one; → [tokens, vocab].

    Up to `depth` steps are in flight, as the scheduler must know.
    """
    sequences = {}
    for number, (text, prompt) in enumerate(zip(texts, prompts, strict=True)):
        sequences[str(number)] = Sequence(str(number), prompt, len(text) + 1)  # the last token is computed, too
        scheduler.add(sequences[str(number)])
    found: dict[str, list[Logits]] = {name: [] for name in sequences}
    in_flight: deque[list[list[Turn]]] = deque()
    step = 0
    while True:
        while len(in_flight) < depth and any(turns := scheduler.next_step()):
            gang.submit(_plans(step, turns, texts, block_size, gang.placement.version))
            scheduler.depart(turns)
            in_flight.append(turns)
            step += 1
        if not in_flight:
            return [np.concatenate(parts) for parts in found.values()]
        turns = in_flight.popleft()
        answers = gang.collect()
        assert answers is not None
        for rank, answer in zip(turns, answers[-len(turns) :], strict=True):
            first = 0
            for turn in rank:
                assert answer.logits is not None
                found[turn.sequence.id].append(answer.logits[first : first + turn.count])
                first += turn.count
                _go_on(scheduler, turn)


def _plans(
    step: int, turns: list[list[Turn]], texts: Row[list[int]], block_size: int, placement: int
) -> list[RankPlan]:
    counts = tuple(sum(turn.count for turn in rank) for rank in turns)
    return [
        RankPlan(
            step,
            counts,
            tuple(
                SequenceStep(
                    texts[int(turn.sequence.id)][turn.start : turn.start + turn.count],
                    turn.start,
                    turn.sequence.blocks[: -(-(turn.start + turn.count) // block_size)],
                )
                for turn in rank
            ),
            want_logits=True,
            placement=placement,
        )
        for rank in turns
    ]


def _go_on(scheduler: Scheduler, turn: Turn) -> None:
    scheduler.advance(turn)
    if turn.draws and turn.sequence.length == turn.sequence.longest:
        scheduler.remove(turn.sequence)
