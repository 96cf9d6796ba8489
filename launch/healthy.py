"""Asks one address whether its server is ready: the health check of a container, which has no curl."""

from __future__ import annotations

import os
import sys

from launch.readiness import answers

if __name__ == "__main__":
    sys.exit(0 if answers(sys.argv[1], os.environ.get("COUNTERSIGN_SERVING_TOKEN", "")) else 1)
