"""Has lm-polygraph and uqlm score the very same outputs, in an environment of their own, and names the best of them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.confidence_outputs import Output, Written
from benchmarks.confidence_own import Judged, ranked
from serving.answer import TokenTrace
from serving.confidence.canonical import canonical

ROOT = Path(__file__).parent.parent
TORCH = "torch==2.13.0"
PEERS = ("lm-polygraph==0.7.0", "uqlm==0.6.7")
REQUIREMENTS = Path(__file__).parent / "peers" / "requirements.txt"
SECONDS = 3_600.0  # the longest that the peers may take over one measurement


class PeersNotReady(Exception):
    """The peers' environment is not there; the message says how to make it."""


class PeersFailed(Exception):
    """The peers' program ended with an error; what it said stands on standard error."""


def prepare(environment: Path) -> None:
    """Make the environment: a few minutes and 1.5 GB. Raises subprocess.CalledProcessError."""
    if not _python(environment).exists():
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)  # noqa: S603
    index = os.environ.get("TORCH_INDEX_URL")
    for packages in (
        [TORCH, *(["--index-url", index] if index else [])],
        ["--no-deps", *PEERS],
        ["--only-binary=:all:", TORCH, "-r", str(REQUIREMENTS)],
    ):
        command = [str(_python(environment)), "-m", "pip", "install", "--disable-pip-version-check", *packages]
        subprocess.run(command, check=True, stdout=sys.stderr)  # noqa: S603


def require(environment: Path) -> None:
    """Raises PeersNotReady."""
    if not _python(environment).exists():
        raise PeersNotReady(f"{environment} does not hold the peers' environment; --prepare makes it.")


def measure(judged: Sequence[Judged], environment: Path, folder: Path, distributions: Path | None) -> dict[str, Any]:
    """The whole table under "peers", and the best of both columns. Raises PeersNotReady and PeersFailed.

    `distributions` is a file of the log-probabilities of every token of the vocabulary, for methods that look at them.
    What the peers say of outputs is kept in `folder`, since it does not depend on our calibration.
    """
    require(environment)
    rows = json.dumps([row(one.output) for one in judged])
    kept = folder / f"peers-{_digest(rows)}.json"
    had = kept.exists()
    if not had:
        distribution = [distributions] if distributions else []
        found = _run(environment, folder, "methods", rows, distribution)
        kept.write_text(json.dumps(found), encoding="utf-8")
    ours = {
        "right": [one.output.right for one in judged],
        "confidence": {column: ranked(judged, column).tolist() for column in ("free", "sampled")},
    }
    measured = _run(environment, folder, "given", json.dumps(ours), [])
    return {**summary({**json.loads(kept.read_text(encoding="utf-8")), "ours": measured}), "peers_kept": had}


def _digest(rows: str) -> str:
    """Of the outputs and of the code that scores them."""
    code = [path.read_text(encoding="utf-8") for path in sorted(REQUIREMENTS.parent.glob("*.*"))]
    return hashlib.sha256("".join([rows, *PEERS, *code]).encode()).hexdigest()[:16]


def summary(found: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of the measurement: the best of each column, which method that was, ours by their formula, the table."""
    ran = [method for method in found["methods"] if "why" not in method]
    figures: dict[str, Any] = {}
    for column in ("free", "sampled"):
        there = [method for method in ran if (method["samples"] > 0) == (column == "sampled")]
        for name in ("auroc", "prr"):
            best = max(there, key=lambda method: float(method[name]))
            figures[f"{name}_{column}_best_peer"] = best[name]
            figures[f"{name}_{column}_best_peer_method"] = f"{best['package']} {best['method']}"
        figures[f"prr_{column}_by_their_formula"] = found["ours"][column]["prr"]
    return {**figures, "peer_versions": found["versions"], "peers": found["methods"]}


def row(output: Output) -> dict[str, Any]:
    """One output as benchmarks.peers.outputs reads it."""
    tokens = output.greedy.tokens
    return {
        "prompt": output.question.text,
        "greedy": _answer(output.greedy),
        "ids": [token.token_id for token in tokens],
        "entropies": [token.entropy for token in tokens],
        "top": [_chosen_first(token) for token in tokens],
        "samples": [_answer(sample) for sample in output.samples],
        "right": output.right,
    }


def _answer(written: Written) -> dict[str, Any]:
    return {
        "text": written.text,
        "stated": canonical(written.text),
        "tokens": [token.text for token in written.tokens],
        "logprobs": [token.logprob for token in written.tokens],
    }


def _chosen_first(token: TokenTrace) -> list[tuple[str, float]]:
    return sorted(token.top, key=lambda pair: -pair[1])


def _run(environment: Path, folder: Path, what: str, given: str, more: Sequence[Path]) -> dict[str, Any]:
    """Their program's answer; what it says meanwhile goes to standard error."""
    told, answer = folder / "peers-given.json", folder / "peers-found.json"
    told.write_text(given, encoding="utf-8")
    answer.unlink(missing_ok=True)
    paths = [str(path.resolve()) for path in (told, answer, *more)]
    command = [str(_python(environment).absolute()), "-m", "benchmarks.peers.confidence", what, *paths]
    try:
        subprocess.run(command, cwd=ROOT, timeout=SECONDS, stdout=sys.stderr, check=True)  # noqa: S603
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
        raise PeersFailed(f"{what}: {error}") from None
    found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    return found


def _python(environment: Path) -> Path:
    return environment / "bin" / "python"
