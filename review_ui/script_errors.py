"""Answers an exception that a view did not expect: one log line without content, one sentence on screen."""

from __future__ import annotations

import json
import sys
import traceback
from datetime import UTC, datetime

import streamlit as st


def tell(error: Exception) -> bool:
    """True: Streamlit shows nothing of its own. The message of the exception may hold content, so it is left out."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = f"{last[0].name}:{last[0].lineno}" if last else "?"
    line = {"at": datetime.now(UTC).isoformat(), "level": "error", "event": "view failed",
            "error": type(error).__name__, "where": where}  # fmt: skip
    sys.stderr.write(json.dumps(line) + "\n")
    st.error("Something went wrong in the dashboard itself. Nothing was decided; reload the page.")
    return True
