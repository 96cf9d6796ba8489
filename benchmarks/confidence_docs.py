"""Writes the measured confidence as a page of tables, and the two plots of our own answers beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.confidence_own import Judged, own, ranked
from training.calibration_plots import draw_reliability, draw_risk_coverage

Figures = Mapping[str, Any]
PAGE = "confidence-figures.md"
RELIABILITY, RISK = "figures/confidence-reliability.png", "figures/confidence-risk-coverage.png"
ALPHA = 0.15  # the product's default: at most so many of the released answers may be wrong


def write(figures: Figures, judged: Sequence[Judged], docs: Path) -> None:
    """The page, and where there are own answers the plots; files of the same names are replaced."""
    (docs / "figures").mkdir(parents=True, exist_ok=True)
    (docs / PAGE).write_text("\n".join(page(figures)) + "\n", encoding="utf-8")
    if judged:
        draw(judged, docs, f"{figures.get('model')}, calibration {figures.get('calibration')}")


def draw(judged: Sequence[Judged], docs: Path, about: str) -> None:
    """Both plots of the answers that have a confidence."""
    known = [one for one in own(judged) if one.sampled.value is not None]
    confidence, right = ranked(known, "sampled").tolist(), [one.output.right for one in known]
    note = f"{len(known):,} answers to held-out questions"
    draw_reliability(docs / RELIABILITY, confidence, right, about, note)
    draw_risk_coverage(docs / RISK, confidence, right, ALPHA, [], f"{about}\n{note}")


def page(figures: Figures) -> Iterator[str]:
    """Line by line; a part that was not measured has no section."""
    machine = figures["machine"]
    yield "# Confidence: what was measured\n"
    yield "Written by `./run bench confidence --peers --write-docs docs`; the code that measures explains the words."
    yield f"Seed {figures['seed']}, {machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB,"
    yield f"Python {machine['python']}, load {figures['load']} before and {figures['load_after']} after,"
    yield f"{figures['seconds']:.0f} s in all."
    if "auroc_free" in figures:
        yield from _own(figures)
    if "peers" in figures:
        yield from _peers(figures)
    if "violation_lower" in figures:
        yield from _certificate(figures)
    if "interval_coverage" in figures or "drift_audits_median" in figures:
        yield from _watch(figures)
    if "verify" in figures:
        yield from _verify(figures)
    if "score_us" in figures:
        yield from _cost(figures)
    yield from _missed(figures)


def _own(figures: Figures) -> Iterator[str]:
    yield "\n## Our model's answers\n"
    yield f"{figures['questions']:,} held-out questions that fitted nothing, answered greedily by `{figures['model']}`"
    yield f"under calibration `{figures['calibration']}`; accuracy {figures['accuracy']}."
    yield "Intervals: 95 %, by question.\n"
    rows = [
        [column, *(_with_interval(figures, f"{name}_{column}") for name in ("auroc", "prr", "aurc"))]
        for column in ("free", "sampled")
    ]
    yield from _table(["column", "AUROC", "PRR", "AURC"], rows)
    yield f"\nThe cascade drew {figures['mean_samples']} samples a question, {figures['extra_tokens']} tokens.\n"
    domains = figures["ece_by_domain"]
    cells = [[name, str(figures["questions_by_domain"][name]), str(value)] for name, value in domains.items()]
    yield from _table(
        ["domain", "questions", "ECE (equal mass, debiased)"],
        [*cells, ["all", str(figures["questions"]), str(figures["ece"])]],
    )
    yield f"\nAt a threshold of 0.85: {figures['own_coverage']:.1%} released, {figures['own_released_accuracy']:.2%} of"
    yield f"them right, {figures['own_held_accuracy']:.2%} of the held. Of {figures['ood_questions']} GSM8K questions,"
    yield f"which the model was never taught, {figures['ood_released']:.2%} would be released.\n"
    yield f"![Reliability diagram]({RELIABILITY})\n"
    yield f"![Risk and coverage]({RISK})"


def _peers(figures: Figures) -> Iterator[str]:
    versions = ", ".join(f"{name} {version}" for name, version in figures["peer_versions"].items())
    yield f"\n## Beside {versions}\n"
    yield "All over the same rows; AUROC by scikit-learn, PRR by lm-polygraph's own formula, for ours too. No NLI model"
    yield "and no sentence encoder can be had offline: where a method compares texts, *same stated answer* (canonical"
    yield "numbers, as ours compares them) or rougeL stands in for it. The first is in their favour: it does not err.\n"
    yield from _what_leads(figures)
    ran = [method for method in figures["peers"] if "why" not in method]
    for column in ("free", "sampled"):
        there = [method for method in ran if (method["samples"] > 0) == (column == "sampled")]
        ours = ["**Countersign**", "", _samples(figures, column), *_ours(figures, column)]
        ordered = sorted(there, key=lambda method: -float(method["auroc"]))
        cells = [[str(m[key]) for key in ("method", "package", "samples", "auroc", "prr")] for m in ordered]
        yield f"### {column.capitalize()}\n"
        yield from _table(["method", "package", "samples", "AUROC", "PRR"], [ours, *cells])
        yield ""
    turned = [f"{m['method']} ({m['auroc']})" for m in ran if m["auroc"] < 0.5]
    if turned:
        yield f"Below 0.5, so that its opposite ranks better, as the package itself gives it: {', '.join(turned)}.\n"
    yield "### Did not run\n"
    idle = [[m["method"], m["package"], m["why"].replace("|", "/")] for m in figures["peers"] if "why" in m]
    yield from _table(["method", "package", "why"], idle)


def _what_leads(figures: Figures) -> Iterator[str]:
    """What of our lead comes from where, as far as it was measured."""
    own_answers = figures.get("verify", {}).get("own")
    if own_answers:
        yield "Ours looks at the steps of an answer too, which costs no sample and no pass of the model. Of these"
        yield "answers a logistic fusion of the tokens' signals alone ranks with an AUROC of"
        yield f"{own_answers['auroc_free']}, and with the checked steps of {own_answers['auroc_with']} (5 folds):"
        yield "where steps cannot be checked, expect the first.\n"


def _samples(figures: Figures, column: str) -> str:
    return str(figures["mean_samples"]) if column == "sampled" else "0"


def _ours(figures: Figures, column: str) -> list[str]:
    return [str(figures[f"auroc_{column}"]), str(figures[f"prr_{column}_by_their_formula"])]


def _certificate(figures: Figures) -> Iterator[str]:
    names = [
        "alpha",
        "violation_rate",
        "violation_lower",
        "coverage",
        "coverage_holm",
        "plugin_violation_rate",
        "splits",
    ]
    names = [name for name in names if isinstance(figures.get(name), Mapping)]
    yield f"\n## The certificate on five models of MMLU-Pro (δ = {figures['delta']})\n"
    models = list(figures["violation_lower"])
    yield from _table(["model", *names], [[model, *(str(figures[name][model]) for name in names)] for model in models])


def _watch(figures: Figures) -> Iterator[str]:
    yield "\n## Selective labels and drift\n"
    names = (
        "interval_coverage",
        "runs",
        "drift_audits_median",
        "drift_audits_limit",
        "false_alarm_rate",
        "recertify_requests",
    )
    yield from _table(["figure", "value"], [[name, str(figures[name])] for name in names if name in figures])


def _verify(figures: Figures) -> Iterator[str]:
    yield "\n## Self-verification\n"
    names = ("recall", "false_alarm", "first_step", "put_back_recall", "auroc_free", "auroc_with", "auroc_gain")
    sets = {name: found for name, found in figures["verify"].items() if "recall" in found}
    yield from _table(
        ["data", "wrong", "right", *names],
        [
            [name, *(str(found["solutions"][kind]) for kind in ("wrong", "right")), *_cells(found, names)]
            for name, found in sets.items()
        ],
    )
    yield f"\nA check takes at most {figures['verify_p99_ms']} ms in 99 of 100 cases. What a checker of steps can and"
    yield "cannot see: [self-verification](self-verification.md)."


def _cells(found: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    return ["" if found.get(name) is None else str(found[name]) for name in names]


def _cost(figures: Figures) -> Iterator[str]:
    yield "\n## Cost on one core\n"
    rows = [
        ["score and calibration of 64 tokens with top-5, median", f"{figures['score_us']} µs", "100 µs"],
        [
            f"fitting {figures['fit_rows']:,} rows",
            f"{figures['fit_s']} s ({figures['fit_cpu_s']} s of processor time)",
            "20 s",
        ],
    ]
    if "recertify_s" in figures:
        rows.append(["recertifying on a fitted score", f"{figures['recertify_s']} s", "0.2 s"])
    yield from _table(["what", "measured", "mark"], rows)


def _missed(figures: Figures) -> Iterator[str]:
    yield "\n## What did not reach its mark\n"
    if not figures["missed"] and not figures["failed"]:
        yield "Nothing of what was measured here."
    yield from (f"- {sentence}" for sentence in figures["missed"])
    if figures["load_after"] > figures["machine"]["cores"]:
        yield f"\nTimes were taken while other programs wanted the same {figures['machine']['cores']} cores"
        yield f"(load {figures['load_after']}); on a quiet machine they are shorter."
    yield from (f"- {part} failed: {why}" for part, why in figures["failed"].items())


def _with_interval(figures: Figures, name: str) -> str:
    low, high = figures[f"{name}_interval"]
    return f"{figures[name]:.3f} ({low:.3f} to {high:.3f})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)
