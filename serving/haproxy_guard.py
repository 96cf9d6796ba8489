"""Runs HAProxy on loopback only, and never longer than the process that started it.

Serve 2.60 writes `bind *:` for HAProxy's statistics page and metrics and gives its admin socket mode 666; nothing in
Serve's settings changes that, so this stands in for the binary (RAY_SERVE_HAPROXY_BINARY_PATH), narrows the written
configuration, and becomes HAProxy under the same process id.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
# Serve tells its routes without the token; decoded, as a replica would answer the escaped address too.
NO_ROUTES = "http-request deny deny_status 404 if { path,url_dec -m str -i /-/routes }"


def on_loopback(configuration: str) -> str:
    """The same configuration on loopback but for Serve's own frontend, which listens where COUNTERSIGN_HOST says.

    The frontend tells nobody its routes.
    """
    sections = re.split(r"(?m)^(?=\S)", configuration)
    narrowed = "".join(part if part.startswith("frontend http_frontend") else _narrow(part) for part in sections)
    unlisted = re.sub(r"(?m)^([ \t]*)acl routes path .*$", rf"\g<0>\n\g<1>{NO_ROUTES}", narrowed)
    return re.sub(r"(?m)^(\s*stats socket .*)\bmode 666\b", r"\g<1>mode 600", unlisted)


def _narrow(section: str) -> str:
    return re.sub(r"(?m)^(\s*bind\s+)\*?:", r"\g<1>127.0.0.1:", section)


def main() -> None:
    binary, *arguments = sys.argv[1:]
    if "-f" in arguments:
        path = Path(arguments[arguments.index("-f") + 1])
        path.write_text(on_loopback(path.read_text()))
    # Serve's manager killed with -9 must not leave a proxy that holds the port.
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    os.execv(binary, [binary, *arguments])  # noqa: S606


if __name__ == "__main__":
    main()
