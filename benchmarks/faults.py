"""Strikes the real processes under load by a schedule from a seed, and checks I1 to I9 over all acknowledged."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from tests.faults import stages
from tests.faults.checker import INVARIANTS
from tests.faults.evidence import Violation
from tests.faults.report import Report, kinds_in
from tests.faults.schedule import BY_NAME
from tests.faults.stages import Plan
from tests.mutations.catalogue import BY_NAME as MECHANISMS
from tests.mutations.tree import Mutation

EMBEDDED_SHARE = 0.15  # of the minutes; the rest belongs to PostgreSQL, Valkey and Ray
SHOWN = 20  # violations that are told in full


def _runs_under_faults(mechanism: Mutation) -> bool:
    """Whether a gateway or a worker runs that code while faults strike; migrations are over by then."""
    files = [edit.file for edit in mechanism.edits]
    return all(file.startswith(("gateway/", "storage/")) and "/migrations/" not in file for file in files)


SEEN = tuple(name for name, mechanism in MECHANISMS.items() if _runs_under_faults(mechanism))


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when nothing was violated (with --without: when something was), 1 otherwise, 130 after Ctrl-C."""
    options = _options(arguments)
    try:
        with stages.ended_by_signals():
            figures, violations, reports = _run(options)
    except (TimeoutError, RuntimeError) as error:
        print(f"faults: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    _tell(violations, figures["seed"])
    print(json.dumps(figures) if options.json else json.dumps(figures, indent=2))
    if options.without:
        return 0 if violations else 1
    return 0 if _sound(figures, violations, reports) else 1


def _run(options: argparse.Namespace) -> tuple[dict[str, Any], list[Violation], list[Report]]:
    seed, minutes = options.seed, options.minutes

    def kept(stage: str) -> Path | None:
        return options.keep / stage if options.keep else None

    if options.without:
        reports = [
            stages.world_stage(Plan(seed, minutes * 60, without=options.without, keep=kept("without")), ray=False)
        ]
        return _figures(reports, seed), _violations(reports), reports
    seconds = minutes * 60
    _say(f"{minutes:g} minutes with seed {seed}: PostgreSQL, Valkey{'' if options.no_ray else ', Ray'}")
    whole = Plan(seed, seconds * (1 - EMBEDDED_SHARE), minutes, keep=kept("world"))
    reports = [stages.world_stage(whole, ray=not options.no_ray)]
    _say("the embedded set-up: SQLite on a small disk")
    report, small_disk = stages.embedded_stage(Plan(seed + 1, seconds * EMBEDDED_SHARE, minutes, keep=kept("embedded")))
    reports.append(report)
    if not small_disk:
        _say("no small disk could be mounted: the kind 'fill the disk' was left out")
    if not options.no_crash_points:
        _say("one life after another on the embedded set-up, each killed at one durable step later")
        reports.append(stages.crash_point_stage(Plan(seed + 3, 0.0, keep=kept("crash-points"))))
    figures = _figures(reports, seed)
    if not options.no_unfenced:
        _say("one minute without fencing, which must report violations")
        unfenced = stages.world_stage(Plan(seed + 2, 60.0, without="fencing", keep=kept("unfenced")), ray=False)
        figures["unfenced_violations"] = len(unfenced.violations)
    return figures, _violations(reports), reports


def _figures(reports: Sequence[Report], seed: int) -> dict[str, Any]:
    violations = _violations(reports)
    kinds, acknowledged = Counter[str](), Counter[str]()
    for report in reports:
        kinds += report.kinds
        acknowledged += report.acknowledged
    total = acknowledged.total()
    named = Counter(violation.kind for violation in violations)
    broken = Counter(violation.invariant for violation in violations)
    return {
        "faults": kinds.total(),
        "kinds": dict(sorted(kinds.items())),
        "ray_kills": sum(count for kind, count in kinds.items() if BY_NAME[kind].kills_ray),
        "missed": _by_kind(reports, "missed"),
        "outside_steps": _by_kind(reports, "outside_steps"),
        "died_at": _died_at(reports),
        "crash_points": _crash_points(reports),
        "not_done": sum(len(report.failed) for report in reports),
        "acknowledged": total,
        "through_ray": round(acknowledged["ray"] / total, 3) if total else 0.0,
        "verdicts": sum(report.verdicts for report in reports),
        "tries": dict(sum((report.tries for report in reports), Counter[str]()).most_common()),
        "probes": sum(report.probes for report in reports),
        "lost": named["lost"],
        "released_unreviewed": named["released unreviewed"],
        "double_verdicts": named["double verdict"],
        "violations": {invariant: broken[invariant] for invariant in INVARIANTS},
        "log_verified": not any(report.log_trouble for report in reports),
        "left_open": sum(report.left_open for report in reports),
        "unexpected_answers": sum(len(report.unexpected) for report in reports),
        "seed": seed,
        "seconds": round(sum(report.seconds for report in reports), 1),
        "load": round(os.getloadavg()[0], 2),
        "machine": machine(),
    }


def _by_kind(reports: Sequence[Report], which: str) -> dict[str, int]:
    """Of those that are not counted as faults."""
    return dict(sorted(sum((kinds_in(getattr(report, which)) for report in reports), Counter[str]()).items()))


def _crash_points(reports: Sequence[Report]) -> dict[str, int]:
    """In how many lives, each cut short at one durable step later than the last, and how many of them went on."""
    survived = sum(len(report.crash_points) for report in reports)
    return {"killed": survived + sum(len(report.unfinished_lives) for report in reports), "survived": survived}


def _died_at(reports: Sequence[Report]) -> dict[str, int]:
    """Between which durable steps parts killed themselves, and how often."""
    hits = [hit for report in reports for fault, hit in report.struck if fault.kind.endswith("at a durable step")]
    steps = [hit.partition(" ")[2].partition(",")[0] for hit in hits]
    return dict(Counter([*steps, *(where for report in reports for where in report.crash_points)]).most_common())


def _violations(reports: Sequence[Report]) -> list[Violation]:
    return [violation for report in reports for violation in report.violations]


def _sound(figures: dict[str, Any], violations: Sequence[Violation], reports: Sequence[Report]) -> bool:
    for report in reports:
        for told in (*report.unexpected[:5], report.log_trouble):
            if told:
                _say(told)
        for fault, why in report.failed:
            _say(f"step {fault.step} ({fault.kind}) could not be done, or did not come back: {why}")
        for life in report.unfinished_lives:
            _say(f"a life did not go on after {life}")
    seen = figures.get("unfenced_violations", 1) > 0
    trouble = [figures[name] for name in ("left_open", "unexpected_answers", "not_done")]
    lives = figures["crash_points"]
    survived = lives["killed"] == lives["survived"]
    return bool(not violations and seen and survived and figures["log_verified"] and not any(trouble))


def _tell(violations: Sequence[Violation], seed: int) -> None:
    for violation in violations[:SHOWN]:
        _say(f"{violation.invariant}: {violation.what}: {', '.join(violation.ids)}")
    if violations:
        _say(f"to replay: the same command with --seed {seed}; with --keep FOLDER, faults.jsonl tells each step")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run bench faults", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0, help="how long faults strike")
    parser.add_argument("--seed", type=int, default=secrets.randbits(31), help="drawn anew each time unless given")
    parser.add_argument("--json", action="store_true", help="the last line on standard output is one JSON object")
    mechanisms = ", ".join(SEEN)
    parser.add_argument("--without", metavar="MECHANISM", default="", help=f"take one out, and see: {mechanisms}")
    parser.add_argument("--no-ray", action="store_true", help="leave the real serving application out")
    parser.add_argument("--no-crash-points", action="store_true", help="leave the numbered durable steps out")
    parser.add_argument("--no-unfenced", action="store_true", help="leave the minute without fencing out")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep each stage's history, faults and logs there")
    options = parser.parse_args(arguments)
    if options.minutes <= 0:
        parser.error("--minutes must be more than 0")
    if options.without and options.without not in MECHANISMS:
        parser.error(f"--without {options.without}: no such mechanism; one of {mechanisms}")
    if options.without and options.without not in SEEN:
        files = ", ".join(edit.file for edit in MECHANISMS[options.without].edits)
        parser.error(f"--without {options.without}: no gateway and no worker runs {files}; one of {mechanisms}")
    return options


if __name__ == "__main__":
    sys.exit(main())
