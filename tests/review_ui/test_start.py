"""Starting the dashboard: one sentence and exit 1 when it cannot, and settings that name their variable."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from review_ui import settings as settings_module
from review_ui.app import streamlit_options
from review_ui.settings import Settings

PACKAGE = Path(settings_module.__file__).parent


def start(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "review_ui.start"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_busy_port_is_one_sentence_and_exit_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = start(COUNTERSIGN_PORT=str(port))

    assert done.returncode == 1
    assert (
        done.stderr
        == f"Port {port} on 127.0.0.1 is in use; stop what listens there or set COUNTERSIGN_PORT to another.\n"
    )


def test_a_wrong_setting_is_named_in_one_sentence() -> None:
    done = start(COUNTERSIGN_PORT="many")

    assert done.returncode == 1
    assert done.stderr.startswith("COUNTERSIGN_PORT: ")
    assert done.stderr.count("\n") == 1


def test_streamlit_reports_nothing_home_and_shows_no_error_details() -> None:
    options = streamlit_options(Settings(host="127.0.0.1", allowed_hosts="desk.example"))

    assert options["browser.gatherUsageStats"] is False
    assert options["client.showErrorDetails"] == "none"
    assert options["server.enableAgentApi"] is False
    assert options["server.allowedHosts"] == ["localhost", "127.0.0.1", "[::1]", "desk.example"]


def test_no_module_hides_one_of_the_standard_library() -> None:
    # Streamlit puts the script's folder first on sys.path
    names = {path.stem for path in PACKAGE.glob("*.py")} | {path.name for path in PACKAGE.iterdir() if path.is_dir()}

    assert names.isdisjoint(sys.stdlib_module_names - {"__init__"})
