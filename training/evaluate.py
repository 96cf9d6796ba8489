"""Measures a checkpoint on held-out questions: accuracy by domain and difficulty, and prompt perplexity."""

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch.nn import functional as F
from transformers import AfmoeForCausalLM

from training import foreign, tokens
from training.export import load
from training.questions import DIFFICULTIES, DOMAINS, Question, grade, sample

TOGETHER = 100  # questions answered in one padded batch
LONGEST = 200  # bytes of an answer


@dataclass(frozen=True)
class Graded:
    """A question, what the model wrote, whether it is right, and how the prompt surprised it."""

    question: Question
    written: str
    right: bool
    prompt_perplexity: float  # per byte


def held_out(seed: int, per_cell: int) -> list[Question]:
    """Different held-out questions, equally many of each domain and difficulty where there are."""
    rng = random.Random(seed)
    chosen: dict[str, Question] = {}
    for domain in DOMAINS:
        for difficulty in DIFFICULTIES:
            drawn = [sample(rng, "held_out", domain, difficulty) for _ in range(2 * per_cell)]
            distinct = list({q.text: q for q in drawn if q.text not in chosen}.items())
            chosen |= dict(distinct[:per_cell])
    return list(chosen.values())


def answer_all(model: AfmoeForCausalLM, questions: Sequence[Question]) -> Iterator[Graded]:
    """Answer greedily, questions of similar length together."""
    ordered = sorted(questions, key=lambda q: len(q.text))
    starts = range(0, len(ordered), TOGETHER)
    for start in track(starts, description="answering", disable=len(starts) < 2):
        yield from _answer(model, ordered[start : start + TOGETHER])


@torch.no_grad()
def _answer(model: AfmoeForCausalLM, questions: Sequence[Question]) -> Iterator[Graded]:
    prompts = [tokens.prompt([tokens.Turn("user", q.text)]) for q in questions]
    longest = max(map(len, prompts))
    padded = [[tokens.PAD] * (longest - len(p)) + p for p in prompts]
    ids = torch.tensor(padded)
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    written = model.generate(input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=LONGEST)
    for question, prompt, row in zip(questions, prompts, written[:, longest:].tolist(), strict=True):
        text = tokens.decode(row)
        yield Graded(question, text, grade(question, text), perplexity(model, prompt))


@torch.no_grad()
def perplexity(model: AfmoeForCausalLM, prompt: Sequence[int]) -> float:
    """exp of the mean negative log-probability of the prompt's tokens after the first."""
    ids = torch.tensor([prompt])
    logits = model(input_ids=ids).logits[0, :-1].float()
    return F.cross_entropy(logits, ids[0, 1:]).exp().item()


def accuracies(graded: Sequence[Graded]) -> dict[str, dict[str, float]]:
    """Share of right answers by domain and difficulty, with "all" for both margins."""
    cells: dict[str, dict[str, list[bool]]] = {}
    for g in graded:
        for domain in (g.question.domain, "all"):
            for difficulty in (str(g.question.difficulty), "all"):
                cells.setdefault(domain, {}).setdefault(difficulty, []).append(g.right)
    return {
        domain: {difficulty: sum(rights) / len(rights) for difficulty, rights in row.items()}
        for domain, row in cells.items()
    }


def table(shares: dict[str, dict[str, float]]) -> Table:
    """The accuracies as a table, domains down, difficulties across."""
    columns = [*map(str, DIFFICULTIES), "all"]
    shown = Table("domain", *columns, title="right answers, %")
    for domain in (*DOMAINS, "all"):
        shown.add_row(domain, *(f"{100 * shares[domain][column]:.1f}" for column in columns))
    return shown


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """The 5th, 50th and 95th percentile; nothing of nothing."""
    if not values:
        return {}
    points = torch.tensor(values).quantile(torch.tensor([0.05, 0.5, 0.95])).tolist()
    return dict(zip(("p5", "p50", "p95"), points, strict=True))


def report(model: AfmoeForCausalLM, seed: int, per_cell: int, foreign_count: int) -> dict[str, object]:
    """Everything measured, ready for JSON."""
    own = list(answer_all(model, held_out(seed, per_cell)))
    rng = random.Random(seed)
    strange = list(answer_all(model, [foreign.sample(rng) for _ in range(foreign_count)]))
    return {
        "questions": len(own),
        "accuracy": accuracies(own),
        "prompt_perplexity": quantiles([g.prompt_perplexity for g in own]),
        "foreign_questions": len(strange),
        "foreign_accuracy": sum(g.right for g in strange) / max(1, len(strange)),
        "foreign_prompt_perplexity": quantiles([g.prompt_perplexity for g in strange]),
        "misses": [{**asdict(g.question), "written": g.written} for g in own if not g.right][:40],
    }


def main() -> None:
    """Read the command line, measure, print a table and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=Path("serving/checkpoints/reference"))
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--per-cell", type=int, default=100)
    parser.add_argument("--foreign", type=int, default=300)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="where to write all figures")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    figures = report(load(options.checkpoint), options.seed, options.per_cell, options.foreign)
    Console().print(table(figures["accuracy"]))  # type: ignore[arg-type]
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
