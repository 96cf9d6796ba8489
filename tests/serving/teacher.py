"""Leads known texts through a gang of real ranks and collects the logits of every token."""

from __future__ import annotations

from collections.abc import Sequence as Row

import numpy as np
import numpy.typing as npt

from serving.engine.gang import Gang
from serving.engine.plan import RankPlan, SequenceStep
from serving.engine.scheduler import Scheduler, Sequence

Logits = npt.NDArray[np.float32]


def logits_of(
    gang: Gang, scheduler: Scheduler, texts: Row[list[int]], prompts: Row[int], block_size: int
) -> list[Logits]:
    """Each text [tokens]: its first `prompt` tokens at once or in chunks, the others one by one; → [tokens, vocab]."""
    sequences = {}
    for number, (text, prompt) in enumerate(zip(texts, prompts, strict=True)):
        sequences[str(number)] = Sequence(str(number), prompt, len(text))
        scheduler.add(sequences[str(number)])
    found: dict[str, list[Logits]] = {name: [] for name in sequences}
    step = 0
    while any(turns := scheduler.next_step()):
        counts = tuple(sum(turn.count for turn in rank) for rank in turns)
        plans = [
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
                placement=gang.placement.version,
            )
            for rank in turns
        ]
        for rank, answer in zip(turns, gang.step(plans), strict=True):
            first = 0
            for turn in rank:
                assert answer.logits is not None
                found[turn.sequence.id].append(answer.logits[first : first + turn.count])
                first += turn.count
                scheduler.advance(turn)
                if turn.draws:
                    if turn.sequence.length == turn.sequence.longest:
                        scheduler.remove(turn.sequence)
                    else:
                        scheduler.grow(turn.sequence)
        step += 1
    return [np.concatenate(parts) for parts in found.values()]
