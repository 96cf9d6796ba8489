"""Starts the dashboard: `python -m review_ui.start`."""

from __future__ import annotations

import errno
import json
import socket
import sys

from pydantic import ValidationError

from review_ui.settings import Settings


def main() -> int:
    """Serves until stopped; 1 with one sentence on standard error when it cannot start."""
    try:
        settings = Settings()
    except ValidationError as error:
        fault = error.errors()[0]
        return _refuse(f"COUNTERSIGN_{str(fault['loc'][0]).upper()}: {fault['msg']}. Correct it and start again.")
    if problem := address_problem(settings.host, settings.port):
        return _refuse(problem)
    from review_ui.app import create_app, streamlit_options

    line = {"level": "info", "event": "dashboard starting", "host": settings.host, "port": settings.port}
    sys.stderr.write(json.dumps(line) + "\n")
    create_app(settings).run(config=streamlit_options(settings))
    return 0


def address_problem(host: str, port: int) -> str | None:
    """Why the dashboard cannot listen there, in one sentence that says what to do."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return f"Port {port} on {host} is in use; stop what listens there or set COUNTERSIGN_PORT to another."
            advice = "set COUNTERSIGN_HOST or COUNTERSIGN_PORT"
            return f"The dashboard cannot listen on {host}:{port} ({error.strerror}); {advice}."
    return None


def _refuse(sentence: str) -> int:
    sys.stderr.write(sentence + "\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
