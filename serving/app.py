"""The serving application over HTTP: a few routes on every replica, and how Ray Serve deploys the replicas."""

from __future__ import annotations

import hmac
import math
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import structlog
from prometheus_client import CONTENT_TYPE_LATEST
from ray import serve
from ray.serve.config import BackpressureConfig
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving import telemetry
from serving.answer import answer_to_json
from serving.ask import InvalidAsk, parse_ask
from serving.backends.choice import devices_of, ranks_of
from serving.confidence.checked import InvalidCalibration
from serving.engine.errors import Aborted, ContextTooLong, EngineClosed, InvalidRequest, Overloaded, RankLost
from serving.metrics import stats_to_json, stats_to_prometheus
from serving.ray_narrowed import replica_grpc_on_loopback
from serving.replica import Replica, UnknownCalibration
from serving.settings import ServingSettings

log = structlog.get_logger()

Endpoint = Callable[[Request], Awaitable[Response]]


def create_app(replica: Replica) -> Starlette:
    """The ASGI application of one replica."""
    token = replica.settings.serving_token
    secret = token.get_secret_value().encode() if token else None

    async def ask(request: Request) -> Response:
        body = await _body(request, replica.settings.max_body_bytes)
        answer = await replica.ask(parse_ask(body), request.headers.get("traceparent"))
        return json_response(answer_to_json(answer))

    async def model(request: Request) -> Response:
        if not replica.backend.ready:
            return refusal(503, "The replica's ranks are starting.", "starting", retry_after=2)
        return json_response(replica.describe())

    async def health(request: Request) -> Response:
        if not replica.backend.ready:
            return refusal(503, "The replica's ranks are starting.", "starting", retry_after=2)
        return json_response({"status": "ok", "model": replica.model.id, "replica": replica.id, "asks": replica.held})

    async def stats(request: Request) -> Response:
        return json_response(stats_to_json(replica.stats()))

    async def metrics(request: Request) -> Response:
        return Response(stats_to_prometheus(replica.stats()), media_type=CONTENT_TYPE_LATEST)

    def guarded(endpoint: Endpoint) -> Endpoint:
        async def call(request: Request) -> Response:
            if secret and not _bearer_matches(request, secret):
                return refusal(401, "Present COUNTERSIGN_SERVING_TOKEN as a bearer token.", "invalid_api_key")
            return await _answered(endpoint, request)

        return call

    return Starlette(
        routes=[
            Route("/ask", guarded(ask), methods=["POST"]),
            Route("/model", guarded(model)),
            Route("/health", guarded(health)),
            Route("/stats", guarded(stats)),
            Route("/metrics", guarded(metrics)),
        ]
    )


async def _answered(endpoint: Endpoint, request: Request) -> Response:
    """The endpoint's response, or what HTTP says to each way of failing."""
    try:
        return await endpoint(request)
    except InvalidAsk as error:
        return refusal(error.status, error.message, error.code, param=error.param)
    except InvalidCalibration as error:
        return refusal(400, f"calibration.body: {error}", "invalid_calibration", param="calibration.body")
    except ContextTooLong as error:
        return refusal(400, f"{error}.", "context_length_exceeded", param="messages")
    except InvalidRequest as error:
        return refusal(400, f"{error}.", "invalid_request", param=error.parameter)
    except UnknownCalibration as error:
        message = f"Calibration {error.calibration_id[:64]} is not known here; send it in full."
        return refusal(409, message, "unknown_calibration", param="calibration")
    except Overloaded as error:
        return refusal(429, f"{error}.", "overloaded", retry_after=math.ceil(error.retry_after))
    except (RankLost, EngineClosed, Aborted) as error:
        return refusal(503, f"{error}; ask again from the prompt.", "rank_lost", retry_after=1)


async def _body(request: Request, limit: int) -> bytes:
    """Raises InvalidAsk (413) as soon as more than `limit` bytes have come."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise InvalidAsk(f"The body is larger than {limit} bytes.", None, status=413, code="body_too_large")
        parts.append(part)
    return b"".join(parts)


def _bearer_matches(request: Request, secret: bytes) -> bool:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), secret)


def json_response(content: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """orjson writes NaN and infinities as null: an unknown number never leaves as a number."""
    return Response(orjson.dumps(content), status, headers, "application/json")


def refusal(
    status: int, message: str, code: str, *, param: str | None = None, retry_after: int | None = None
) -> Response:
    kind = "invalid_request_error" if status < 429 else "rate_limit_error" if status == 429 else "server_error"
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    error = {"message": message, "type": kind, "param": param, "code": code}
    return json_response({"error": error}, status, headers)


class ServedReplica:
    """What Ray Serve runs: one gang behind the ASGI application."""

    async def __init__(self, cpu_share: float) -> None:  # type: ignore[misc]  # Serve awaits it
        replica_grpc_on_loopback()
        settings = ServingSettings()  # from the environment, so that no secret travels through Ray
        telemetry.configure_logs(settings)
        replica_id = serve.get_replica_context().replica_id.unique_id
        structlog.contextvars.bind_contextvars(replica=replica_id)
        self.replica = Replica(replica_id, settings, cpu_share)
        await self.replica.start()

    def __serve_build_asgi_app__(self) -> Starlette:
        return create_app(self.replica)

    async def check_health(self) -> None:
        self.replica.check_health()

    async def __del__(self) -> None:
        await self.replica.stop()


def cpu_share(cores: int, settings: ServingSettings) -> float:
    """Logical CPUs for each bundle, so that every replica with its ranks is placed whatever the number of cores."""
    bundles = settings.replicas * bundles_of(settings)
    return min(1.0, int(cores / bundles * 1e4) / 1e4)


def bundles_of(settings: ServingSettings) -> int:
    """One for the replica itself, one for each rank and for each spare that Ray starts; vLLM's are the replica's."""
    return 1 if settings.backend == "vllm" else 1 + ranks_of(settings) + settings.spare_ranks


def build(settings: ServingSettings, share: float) -> Any:
    """The Serve application: `replicas` gangs side by side, bundle 0 for the replica."""
    devices = devices_of(settings)
    own = {"CPU": share, "GPU": devices} if devices else {"CPU": share}
    deployment = serve.deployment(
        name="replica",
        num_replicas=settings.replicas,
        ray_actor_options={"num_cpus": share, "num_gpus": devices},
        placement_group_bundles=[own, *[{"CPU": share}] * (bundles_of(settings) - 1)],
        placement_group_strategy="STRICT_PACK",
        max_ongoing_requests=settings.max_asks + 16,  # beyond the replica's own limit: /health and /model still answer
        backpressure_config=BackpressureConfig(status_code=429, retry_after_s=1),
        health_check_period_s=2,
        health_check_timeout_s=10,
        graceful_shutdown_wait_loop_s=0.2,
        graceful_shutdown_timeout_s=5,
    )
    return deployment(serve.ingress(None)(ServedReplica)).bind(share)
