"""The dashboard as one ASGI application: Streamlit, the sign-in routes, and headers on every answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import streamlit as st
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from review_ui import script_errors
from review_ui.client import connect
from review_ui.headers import SecurityHeaders, SignInFirst
from review_ui.settings import Settings
from review_ui.signin import signin_routes

SHELL = Path(__file__).with_name("shell.py")

LIGHT = {
    "primaryColor": "#1f6b66", "backgroundColor": "#ffffff", "secondaryBackgroundColor": "#f4f6f5",
    "textColor": "#1d2624", "linkColor": "#1f6b66", "borderColor": "#d8dfdc",
}  # fmt: skip
DARK = {
    "primaryColor": "#2f857e", "backgroundColor": "#14191a", "secondaryBackgroundColor": "#1e2526",
    "textColor": "#e4e9e7", "linkColor": "#7fc8bf", "borderColor": "#344041",
}  # fmt: skip


def create_app(settings: Settings) -> st.App:
    """The application; `run(config=streamlit_options(settings))` serves it."""
    http = connect(settings.gateway_url, settings.gateway_timeout_seconds)
    return st.App(
        SHELL,
        on_script_error=script_errors.tell,
        routes=signin_routes(http),
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(TrustedHostMiddleware, allowed_hosts=settings.hosts(), www_redirect=False),
            Middleware(SignInFirst),
        ],
    )


def streamlit_options(settings: Settings) -> dict[str, Any]:
    """Streamlit's own settings: loopback, nothing reported home, no error details on screen."""
    return {
        "server.address": settings.host,
        "server.port": settings.port,
        "server.headless": True,
        "server.fileWatcherType": "none",
        "server.enableCORS": True,  # True protects: other origins get no answer and no socket
        "server.enableXsrfProtection": True,
        "server.xsrfCookieSameSite": "strict",
        "server.allowedHosts": settings.hosts(),
        "server.enableAgentApi": False,
        "server.maxUploadSize": 1,
        "browser.gatherUsageStats": False,
        "client.showErrorDetails": "none",
        "client.showErrorLinks": "false",
        "client.toolbarMode": "minimal",
        "runner.magicEnabled": False,
        "logger.hideWelcomeMessage": True,
        "logger.level": settings.log_level,
        "logger.messageFormat": json.dumps({"at": "%(asctime)s", "level": "%(levelname)s", "event": "%(message)s"}),
        "theme.metricValueFontSize": "1.6rem",
        "theme.baseRadius": "medium",
        "theme.baseFontSize": 15,
        "theme.headingFontSizes": ["1.5rem", "1.25rem", "1.05rem"],
        "theme.headingFontWeights": [600, 600, 600],
        **{f"theme.light.{name}": value for name, value in LIGHT.items()},
        **{f"theme.dark.{name}": value for name, value in DARK.items()},
    }
