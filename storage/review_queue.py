"""Orders waiting review items in Valkey or Redis; SQL remains the truth, and only ids are kept here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby, islice
from operator import attrgetter

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from storage.errors import QueueUnreachable as QueueUnreachable
from storage.review_reads import Waiting

DEFAULT_PREFIX = "countersign"
_BATCH = 1_000


class ReviewQueue:
    """One sorted set a tenant, scored by urgency (unix seconds, lower is sooner). Safe to share between threads.

    Every method raises QueueUnreachable. Adding keeps a score that is there, and all commands may be repeated.
    """

    def __init__(self, redis_url: str, prefix: str = DEFAULT_PREFIX, timeout_seconds: float = 2.0) -> None:
        self._prefix = prefix
        try:
            # retries off: redis-py repeats commands by itself, whose first reply may only have been lost
            self._redis = redis.Redis.from_url(
                redis_url,
                retry=Retry(NoBackoff(), 0),
                socket_timeout=timeout_seconds,
                socket_connect_timeout=timeout_seconds,
                decode_responses=True,
            )
        except ValueError as error:
            raise QueueUnreachable(f"REDIS_URL cannot be read: {error}.") from error

    def close(self) -> None:
        self._redis.close()

    def ping(self) -> None:
        with self._as_unreachable():
            self._redis.ping()

    def add(self, item_id: str, urgency: float, tenant: str) -> None:
        self.rebuild([Waiting(item_id, tenant, urgency)])

    def remove(self, item_id: str, tenant: str) -> None:
        self.remove_all([item_id], tenant)

    def remove_all(self, item_ids: Sequence[str], tenant: str) -> None:
        with self._as_unreachable():
            if item_ids:
                self._redis.zrem(self._key(tenant), *item_ids)

    def most_urgent(self, tenant: str, limit: int, offset: int = 0) -> list[str]:
        """Ids in order of urgency: hints, which SQL must confirm by a claim."""
        with self._as_unreachable():
            return [str(member) for member in self._redis.zrange(self._key(tenant), offset, offset + limit - 1)]

    def depth(self, tenant: str) -> int:
        with self._as_unreachable():
            return int(self._redis.zcard(self._key(tenant)))

    def tenants(self) -> set[str]:
        with self._as_unreachable():
            return {str(tenant) for tenant in self._redis.smembers(self._tenants_key())}

    def missing(self, tenant: str, item_ids: Sequence[str]) -> list[str]:
        """Those of `item_ids` that are not queued."""
        with self._as_unreachable():
            scores = self._redis.zmscore(self._key(tenant), list(item_ids)) if item_ids else []
        return [item_id for item_id, score in zip(item_ids, scores, strict=True) if score is None]

    def rebuild(self, rows: Iterable[Waiting]) -> int:
        """Adds what is not there yet; returns how many that were."""
        added, rest = 0, iter(rows)
        with self._as_unreachable():
            while batch := list(islice(rest, _BATCH)):
                pipe = self._redis.pipeline(transaction=True)
                for tenant, members in groupby(sorted(batch, key=attrgetter("tenant")), key=attrgetter("tenant")):
                    pipe.sadd(self._tenants_key(), tenant)
                    pipe.zadd(self._key(tenant), {member.item_id: member.urgency for member in members}, nx=True)
                added += sum(int(reply) for reply in pipe.execute()[1::2])
        return added

    def _key(self, tenant: str) -> str:
        return f"{self._prefix}:waiting:{tenant}"

    def _tenants_key(self) -> str:
        return f"{self._prefix}:tenants"

    @contextmanager
    def _as_unreachable(self) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError) as error:
            why = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            raise QueueUnreachable(f"The queue that REDIS_URL names cannot be used: {why}.") from error
