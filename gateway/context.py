"""Holds what every endpoint shares while the application runs; wired once, in app.py."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from gateway.access_log import AccessLog
from gateway.case_facts import CaseFacts
from gateway.hints import Hints
from gateway.limits import Places
from gateway.metrics import Metrics
from gateway.model_client import ModelClient
from gateway.random_audit import Draw
from gateway.recorder import Recorder
from gateway.settings import Settings
from gateway.telemetry import Telemetry
from gateway.under_way import UnderWay
from gateway.waiting import Bell
from storage.database import Database
from storage.review_queue import ReviewQueue


@dataclass(frozen=True, slots=True)
class Context:
    """The gateway's shared resources."""

    settings: Settings
    database: Database
    recorder: Recorder
    access: AccessLog
    facts: CaseFacts
    queue: ReviewQueue
    hints: Hints
    model_client: ModelClient
    telemetry: Telemetry
    metrics: Metrics
    bell: Bell
    places: Places
    under_way: UnderWay
    draw: Draw  # for random audits


def context_of(request: Request) -> Context:
    context: Context = request.app.state.context
    return context
