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
    result = lint_copy(tmp_path)
    assert result.returncode != 0, result.stdout
    assert "serving.wrong" in result.stdout


def test_the_products_contracts_find_imports_of_modules_that_no_list_names(tmp_path):
    for package in ("gateway", "serving", "storage", "review_ui", "launch", "training", "benchmarks"):
        for file in (ROOT / package).rglob("*.py"):
            copy = tmp_path / file.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(file.read_text())
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    assert lint_copy(tmp_path).returncode == 0
    for file, line in (
        ("gateway/wrong.py", "from serving import processes"),
        ("storage/wrong.py", "from serving import haproxy_guard"),
        ("review_ui/wrong.py", "from storage import ids"),
        ("gateway/policy.py", "import fastapi"),
    ):
        with (tmp_path / file).open("a") as module:
            module.write(f"\n{line}\n")
    told = lint_copy(tmp_path).stdout
    assert "gateway.wrong -> serving.processes" in told
    assert "storage.wrong -> serving.haproxy_guard" in told
    assert "review_ui.wrong -> storage.ids" in told
    assert "gateway.policy -> fastapi" in told


def lint_copy(folder: Path) -> subprocess.CompletedProcess[str]:
    """Lints the packages in `folder`, not those that are installed."""
    command = [sys.executable, "-c", "import sys; sys.path.insert(0, ''); from importlinter.cli import lint_imports;"
               " sys.exit(lint_imports(no_cache=True))"]  # fmt: skip
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)
