"""`./run` answers from anywhere, explains itself, and starts nothing it was not asked for."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str, script: Path = ROOT / "run", cwd: Path = ROOT, **environment: str):
    return subprocess.run(
        ["bash", str(script), *arguments], cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True
    )


def test_help_names_every_command():
    result = run("help")
    assert result.returncode == 0
    for command in ("up", "ask", "countersign", "test", "check", "bench", "train", "calibrate"):
        assert f"\n  {command}" in result.stdout


def test_without_a_command_it_explains_itself():
    assert run().stdout == run("help").stdout


def test_an_unknown_command_is_refused_with_the_help():
    result = run("nonsense")
    assert result.returncode == 2
    assert "usage: ./run" in result.stderr
    assert result.stdout == ""


def test_it_answers_from_a_folder_with_spaces_and_from_anywhere(tmp_path):
    home = tmp_path / "a folder with spaces"
    home.mkdir()
    shutil.copy(ROOT / "run", home / "run")
    assert run("help", script=home / "run", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("name", ["nothing_like_it", "../launch/up", "", "__init__"])
def test_an_unknown_benchmark_lists_those_there_are(name):
    result = run("bench", name)
    assert result.returncode == 2
    assert "choose one of" in result.stderr
    assert "\n  loop" in result.stderr


@pytest.fixture
def installed(tmp_path):
    """An environment that is up to date, whose Python says what it was asked to run."""
    programs = tmp_path / "venv" / "bin"
    programs.mkdir(parents=True)
    python = programs / "python"
    python.write_text('#!/bin/sh\n[ "$1" = -c ] && echo same || printf "%s\\n" "$COUNTERSIGN_HOME" "$@"\n')
    python.chmod(0o755)
    (programs / "pip").write_text(f"#!{python}\n")
    (programs.parent / ".countersign-installed").write_text("same base\n")
    return programs.parent


@pytest.mark.parametrize(("told", "home"), [({}, f"{ROOT}/.countersign"), ({"COUNTERSIGN_HOME": "/mine"}, "/mine")])
def test_the_products_commands_work_on_the_home_of_the_launch_from_anywhere(
    installed, tmp_path, monkeypatch, told, home
):
    for name in ("COUNTERSIGN_HOME", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    result = run("countersign", "keys", "create", "a b", cwd=tmp_path, COUNTERSIGN_VENV=str(installed), **told)
    assert result.stdout.splitlines() == [home, "-m", "gateway.command", "keys", "create", "a b"], result.stderr


def test_a_folder_that_is_no_environment_is_not_overwritten(tmp_path):
    kept = tmp_path / "precious"
    kept.write_text("mine")
    result = run("check", COUNTERSIGN_VENV=str(tmp_path), COUNTERSIGN_HOME=str(tmp_path / "home"))
    assert result.returncode == 1
    assert "COUNTERSIGN_VENV" in result.stderr
    assert kept.read_text() == "mine"


def test_a_machine_without_python_is_told_what_to_install(tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("bash", "dirname", "mkdir", "grep", "tail", "cat", "flock"):
        if found := shutil.which(tool):
            (tools / tool).symlink_to(found)
    result = run("check", PATH=str(tools), COUNTERSIGN_VENV=str(tmp_path / "venv"), COUNTERSIGN_HOME=str(tmp_path))
    assert result.returncode == 1
    assert "Python 3.11" in result.stderr
    assert not (tmp_path / "venv").exists()
