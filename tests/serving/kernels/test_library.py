"""The operators are built once for what they are made of, and without a compiler everything goes on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from serving.kernels import library
from serving.kernels.library import KernelsNotBuilt, build, build_and_load, load


def test_what_is_built_is_not_built_again(kernels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert build(kernels) == library.library(kernels)
    assert load(kernels)


def test_without_a_compiler_a_sentence_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(library, "_found", [])
    with pytest.raises(KernelsNotBuilt, match=r"no g\+\+"):
        build(tmp_path)
    assert not build_and_load(tmp_path)
    assert "no g++" in caplog.text


def test_a_compiler_that_refuses_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: shutil.os.path.realpath("/bin/false"))
    with pytest.raises(KernelsNotBuilt, match="could not build"):
        build(tmp_path)
    assert not list(tmp_path.glob("*.so"))


def test_a_broken_library_is_told_and_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(library, "_found", [])
    library.library(tmp_path).write_bytes(b"no library")
    assert not load(tmp_path)
    assert "cannot be loaded" in caplog.text


def test_another_source_has_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in library._HERE.glob("*"):
        if file.suffix in (".h", ".cpp"):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(library, "_HERE", tmp_path)
    same = library.source_digest()
    with (tmp_path / "products.h").open("a") as header:
        header.write("// changed\n")
    assert library.source_digest() != same


def test_a_broken_library_makes_way_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(library, "_found", [])
    monkeypatch.setattr(shutil, "which", lambda name: None)
    file = library.library(tmp_path)
    file.write_bytes(b"no library")
    assert not build_and_load(tmp_path)
    assert not file.exists()
    assert "no g++" in caplog.text
