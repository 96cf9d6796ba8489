"""Which public data the parts need under COUNTERSIGN_DATA, and where each set can be had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.mmlu_pro import MODELS, SOURCE


class Missing(Exception):
    """Data are not there; the message names each set that is wanted and where it can be had."""


@dataclass(frozen=True, slots=True)
class DataSet:
    """One public set: the files looked for, and where they come from."""

    name: str
    files: tuple[str, ...]
    source: str


MMLU_PRO = DataSet(
    "mmlu_pro",
    tuple(f"mmlu_pro/{model}.csv" for model in MODELS),
    f"six models' answers to 12,032 questions: {SOURCE} (MIT)",
)
GSM8K = DataSet(
    "gsm8k",
    ("gsm8k/train.jsonl", "gsm8k/test_even.jsonl", "gsm8k/model_solutions_even.jsonl"),
    "github.com/openai/grade-school-math (MIT): train.jsonl as it is, and every second line from the first "
    "of test.jsonl and of example_model_solutions.jsonl",
)
BIG_BENCH = DataSet(
    "big_bench_mistake",
    ("big_bench_mistake/multistep_arithmetic.jsonl",),
    "300 traces with their first mistake: github.com/WHGTyen/BIG-Bench-Mistake (Apache-2.0)",
)
NEEDED: dict[str, tuple[DataSet, ...]] = {
    "own": (GSM8K,),
    "certificate": (MMLU_PRO,),
    "review": (MMLU_PRO,),
    "drift": (MMLU_PRO,),
    "verify": (BIG_BENCH, GSM8K),
    "cost": (GSM8K,),
}


def require(data: Path, parts: Sequence[str]) -> None:
    """Raises Missing where a file that one of the parts reads is not there."""
    wanted = dict.fromkeys(one for part in parts for one in NEEDED[part])
    absent = {one: [file for file in one.files if not (data / file).is_file()] for one in wanted}
    lines = [f"  {one.name}: {', '.join(files)}\n    {one.source}" for one, files in absent.items() if files]
    if lines:
        raise Missing(f"COUNTERSIGN_DATA is {data}, which lacks\n" + "\n".join(lines))
