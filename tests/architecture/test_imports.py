"""Imports point one way, as the contracts in pyproject.toml say."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [LINT_IMPORTS, "--config", str(folder / "pyproject.toml"), "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_every_import_contract_is_kept():
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


def test_an_import_against_the_direction_is_found(tmp_path):
    for package in ("serving", "gateway"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    (tmp_path / "serving" / "wrong.py").write_text("import gateway\n")
    (tmp_path / "pyproject.toml").write_text(
        '[tool.importlinter]\nroot_packages = ["serving", "gateway"]\n'
        '[[tool.importlinter.contracts]]\nname = "one way"\ntype = "forbidden"\n'
        'source_modules = ["serving"]\nforbidden_modules = ["gateway"]\n'
    )
    command = [sys.executable, "-c", "import sys; sys.path.insert(0, ''); from importlinter.cli import lint_imports;"
               " sys.exit(lint_imports(no_cache=True))"]  # fmt: skip
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode != 0, result.stdout
    assert "serving.wrong" in result.stdout
