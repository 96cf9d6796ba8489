"""Builds the operators in C++ for this very processor, once, and loads them into the process."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import logging
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch

from serving.kernels.shapes import tell_shapes

_HERE = Path(__file__).resolve().parent
_FLAGS = ("-std=c++20", "-O3", "-shared", "-fPIC")
_NARROWER = {"AVX2": ("-mavx2", "-mfma"), "DEFAULT": ()}  # where torch is held to fewer instructions, these are as well
_log = logging.getLogger(__name__)
_refused: set[tuple[Path, int]] = set()  # files that could not be loaded, as of when
_found: list[Path] = []  # the one that is loaded: operators can be registered but once in a process


class KernelsNotBuilt(Exception):
    """There is no g++, or it refused; says so in one sentence."""


def library(home: Path) -> Path:
    """Where the operators of this source, torch and processor lie, once they are built."""
    return home / f"kernels-{_key()}.so"


def build(home: Path) -> Path:
    """Some seconds where it is not there yet; of several processes one does it. Raises KernelsNotBuilt."""
    file = library(home)
    if file.exists():
        return file
    compiler = shutil.which("g++")
    if compiler is None:
        raise KernelsNotBuilt("there is no g++ to build the kernels for few rows")
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _alone(file.with_suffix(".lock")):
        if not file.exists():
            with tempfile.TemporaryDirectory(dir=home) as folder:
                made = Path(folder) / file.name
                command = [compiler, *_flags(), str(_HERE / "operators.cpp"), *_torch(), "-o", str(made)]
                done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603
                if done.returncode:
                    raise KernelsNotBuilt(f"g++ could not build the kernels for few rows: {done.stderr[-2000:]}")
                made.replace(file)
    return file


def load(home: Path) -> bool:
    """Whether the operators can be called from now on; False where they are not built."""
    file = library(home)
    if not _found and file.exists():
        try:
            ctypes.CDLL(str(file), mode=ctypes.RTLD_GLOBAL)  # compiled steps find what they call among the global names
        except OSError as error:
            known = file, file.stat().st_mtime_ns
            if known not in _refused:
                _log.warning("%s cannot be loaded, products go on without it: %s", file, error)
            _refused.add(known)
            return False
        _found.append(file)
        tell_shapes()
    return loaded()


def build_and_load(home: Path) -> bool:
    """Tells why it cannot, and goes on. What was there and cannot be loaded is built anew."""
    if load(home):
        return True
    library(home).unlink(missing_ok=True)
    try:
        build(home)
    except KernelsNotBuilt as error:
        _log.warning("%s; products go on without them", error)
    return load(home)


def loaded() -> bool:
    return bool(_found)


def direct_calls() -> dict[Any, list[str]]:
    """How compiled steps call the operators, once they are loaded: straight, without torch's dispatcher.

    For torch._inductor.config.aot_inductor.custom_ops_to_c_shims: what operators.cpp has, as it is declared in C.
    """
    ours, tensor = torch.ops.countersign, "AtenTensorHandle"
    given = {
        ours.few_rows.default: [tensor] * 2,
        ours.routed_experts.default: [tensor] * 5,
        ours.routed_experts_int4.default: [tensor] * 7,
        ours.attend_once.default: [tensor] * 4 + ["int64_t"] * 3 + ["double"],
    }
    return {
        operator: [f"AOTITorchError aoti_torch_cpu_{operator._opname}({', '.join(types)}, {tensor}*)"]
        for operator, types in given.items()
    }


def source_digest() -> str:
    digest = hashlib.sha256()
    for file in sorted(_HERE.glob("*.h")) + sorted(_HERE.glob("*.cpp")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def processor() -> str:
    """Code is generated for the very processor, and for what torch may use of it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()} {flags}"


@cache
def _key() -> str:
    facts = (source_digest(), _flags(), torch.__version__, processor())
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def _flags() -> tuple[str, ...]:
    return (*_FLAGS, *_NARROWER.get(torch.backends.cpu.get_cpu_capability(), ("-march=native",)))


def _torch() -> tuple[str, ...]:
    home = Path(torch.__file__).resolve().parent
    return (f"-I{home / 'include'}", f"-L{home / 'lib'}", "-ltorch", "-ltorch_cpu", "-lc10")


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
