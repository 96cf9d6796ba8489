"""Has lm-polygraph and uqlm score the very same outputs, in an environment of their own, and names the best of them."""

from __future__ import annotations

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
SECONDS = 1_800.0  # the longest that the peers may take over one measurement


class PeersNotReady(Exception):
    """The peers' environment is not there; the message says how to make it."""


class PeersFailed(Exception):
    """The peers' program ended with an error; the message holds its last lines."""


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
    """
    require(environment)
    given, found = folder / "peers-given.json", folder / "peers-found.json"
    told = {
        "rows": [row(one.output) for one in judged],
        "ours": {column: ranked(judged, column).tolist() for column in ("free", "sampled")},
    }
    given.write_text(json.dumps(told), encoding="utf-8")
    found.unlink(missing_ok=True)
    _run(environment, [str(path.resolve()) for path in (given, found, *([distributions] if distributions else []))])
    return summary(json.loads(found.read_text(encoding="utf-8")))


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


def _run(environment: Path, arguments: Sequence[str]) -> None:
    command = [str(_python(environment)), "-m", "benchmarks.peers.confidence", *arguments]
    try:
        ended = subprocess.run(  # noqa: S603
            command, cwd=ROOT, timeout=SECONDS, stdout=sys.stderr, stderr=subprocess.PIPE, text=True
        )
    except subprocess.TimeoutExpired:
        raise PeersFailed(f"the peers took longer than {SECONDS:.0f} s") from None
    if ended.returncode:
        last = "\n".join(ended.stderr.splitlines()[-5:])
        raise PeersFailed(f"the peers' program ended with {ended.returncode}:\n{last}")


def _python(environment: Path) -> Path:
    return environment / "bin" / "python"
