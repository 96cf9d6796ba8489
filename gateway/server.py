"""Runs the gateway or the worker as a process, after checking that it can do its work."""

from __future__ import annotations

import signal
import socket
import sys
import threading
from types import FrameType

import structlog
import uvicorn
from fastapi import FastAPI

from gateway.app import create_app, sealer_of
from gateway.head_deadline import head_deadline
from gateway.logs import configure_logs
from gateway.metrics import Metrics
from gateway.operations import Refused, check_reachable, vault_of
from gateway.settings import Settings
from gateway.worker import Worker
from storage.database import open_database
from storage.review_queue import ReviewQueue

STOP_SECONDS = 5  # for answers under way
BACKLOG = 2048
# A thread that computes gives way to one that waits for a turn within this, and a request takes a dozen turns between
# the event loop, a reader and the writer; with Python's own 5 ms one busy thread delays each by 60 ms.
TURN_SECONDS = 0.0005
log = structlog.get_logger("server")


def serve(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT. Raises StorageError or Refused before anything is started."""
    check_reachable(settings, seals=settings.worker == "embedded")
    listening = listen(settings.host, settings.port)
    configure_logs(settings.log_level)
    sys.setswitchinterval(TURN_SECONDS)
    app = create_app(settings)
    log.info("gateway listens", host=settings.host, port=listening.getsockname()[1])
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)  # uvicorn raises them once more when all is closed
    Server(config_of(settings, app), app).run([listening])


def config_of(settings: Settings, app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="uvloop",
        http=head_deadline(settings.head_seconds),
        ws="none",
        access_log=False,  # request_log.py writes one line a request
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=STOP_SECONDS,
    )


class Server(uvicorn.Server):
    """Ends waiting callers first, so that a stop need not cut them off."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.context.bell.close()
        await super().shutdown(sockets)


def leave(_: int, __: FrameType | None) -> None:
    raise SystemExit(0)


def work(settings: Settings) -> None:
    """Runs the worker until SIGTERM or SIGINT. Raises StorageError when database or queue do not answer."""
    check_reachable(settings, seals=True)
    configure_logs(settings.log_level)
    database = open_database(settings.database, vault_of(settings))
    queue, metrics, ended = ReviewQueue(settings.redis, settings.queue_prefix), Metrics(), threading.Event()
    workers = Worker(settings, database, queue, metrics), sealer_of(settings, database, metrics)

    def end(_: int, __: FrameType | None) -> None:
        ended.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    for each in workers:
        each.start()
    log.info("worker runs")
    ended.wait()
    for each in workers:
        each.stop()
    queue.close()
    database.close()


def listen(host: str, port: int) -> socket.socket:
    """A bound, listening socket; raises Refused when the port is taken or the address is not this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        why = (error.strerror or str(error)).lower()
        raise Refused(f"Cannot listen on {host}:{port}: {why}. Choose another with COUNTERSIGN_PORT.") from None
    return listening
