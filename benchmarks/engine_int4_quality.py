"""What packing costs: logits on known answers, greedy tokens, and right answers to held-out questions, by the engine.

`python -m benchmarks.engine_int4_quality --json`
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.machine import machine
from serving.engine.engine_config import EngineConfig
from serving.engine.gang import Gang
from serving.engine.generation import GenerationRequest, Message
from serving.engine.local import local_engine, local_gang
from serving.engine.plan import RankPlan, SequenceStep
from serving.experts.pack import pack
from serving.model.checkpoint import open_checkpoint
from training import tokens
from training.evaluate import held_out
from training.questions import Question, grade

_LONGEST = 200  # tokens of an answer
_TOGETHER = 64  # questions in the engine at once


def quality(floats: Path, packed: Path, questions: Sequence[Question]) -> dict[str, Any]:
    texts = [tokens.encode([tokens.Turn("user", q.text), tokens.Turn("assistant", q.solution)])[0] for q in questions]
    logits = [np.concatenate(_logits(directory, texts)) for directory in (floats, packed)]
    written = [_answers(directory, questions) for directory in (floats, packed)]
    right = [[grade(q, text) for q, text in zip(questions, texts, strict=True)] for texts in written]
    difference = np.abs(logits[1] - logits[0])
    return {
        "questions": len(questions),
        "tokens": len(logits[0]),
        "logit_difference_mean": round(float(difference.mean()), 4),
        "logit_difference_p99": round(float(np.quantile(difference, 0.99)), 4),
        "logit_deviation": round(float(logits[0].std()), 4),  # of the logits themselves, to compare with
        "same_greedy_token": round(float((logits[0].argmax(1) == logits[1].argmax(1)).mean()), 4),
        "same_answer": round(float(np.mean([a == b for a, b in zip(*written, strict=True)])), 4),
        "accuracy_floats": round(float(np.mean(right[0])), 4),
        "accuracy_int4": round(float(np.mean(right[1])), 4),
        "only_floats_right": sum(a and not b for a, b in zip(*right, strict=True)),
        "only_int4_right": sum(b and not a for a, b in zip(*right, strict=True)),
    }


def _logits(directory: Path, texts: Sequence[Sequence[int]]) -> list[npt.NDArray[np.float32]]:
    """[tokens, vocab] of each text: what follows each of its tokens."""
    longest = max(map(len, texts))
    config = EngineConfig(ranks=1, kv_tokens=longest + 16, step_tokens=longest)
    with local_gang(open_checkpoint(directory), config) as gang:
        blocks = tuple(range(-(-longest // config.block_size)))
        return [_logits_of(gang, step, text, blocks) for step, text in enumerate(texts)]


def _logits_of(gang: Gang, step: int, text: Sequence[int], blocks: tuple[int, ...]) -> npt.NDArray[np.float32]:
    plan = RankPlan(step, (len(text),), (SequenceStep(text, 0, blocks),), want_logits=True)
    found = gang.step([plan])[0].logits
    if found is None:
        raise RuntimeError("a rank gave no logits although they were asked for")
    return found


def _answers(directory: Path, questions: Sequence[Question]) -> list[str]:
    """What the engine writes greedily."""
    with local_engine(directory, ranks=1, most_running=_TOGETHER, most_waiting=len(questions)) as engine:
        futures = [
            engine.submit(
                GenerationRequest(
                    uuid.uuid4().hex,
                    (Message("user", question.text),),
                    max_tokens=_LONGEST,
                    temperature=0.0,
                    top_logprobs=0,
                )
            )
            for question in questions
        ]
        return [future.result().text for future in futures]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=Path("serving/checkpoints/reference"))
    parser.add_argument("--per-cell", type=int, default=20, help="questions of each domain and difficulty")
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="one line")
    options = parser.parse_args(arguments)
    if not options.checkpoint.is_dir():
        parser.error(f"--checkpoint: {options.checkpoint} is no directory")
    with tempfile.TemporaryDirectory(prefix="countersign-int4-") as folder:
        packed = Path(folder) / "int4"
        pack(options.checkpoint, packed)
        found = quality(options.checkpoint, packed, held_out(options.seed, options.per_cell))
    print(json.dumps(found | {"machine": machine()}, indent=None if options.json else 2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
