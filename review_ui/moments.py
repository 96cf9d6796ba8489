"""Times and spans as people read them: UTC first, then the reader's own zone."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


def span(seconds: float) -> str:
    """A length of time in its largest fitting unit: "40 s", "12 min", "3 h 05 min", "2 d 4 h"."""
    whole = max(0, int(seconds))
    minutes, hours, days = whole // 60, whole // 3600, whole // 86_400
    if whole < 90:
        return f"{whole} s"
    if minutes < 90:
        return f"{minutes} min"
    if hours < 48:
        return f"{hours} h {minutes % 60:02d} min"
    return f"{days} d {hours % 24} h"


def utc(at: float, now: float) -> str:
    """Clock time in UTC, with the date when it is not today's."""
    moment, today = datetime.fromtimestamp(at, UTC), datetime.fromtimestamp(now, UTC).date()
    if moment.date() == today:
        return f"{moment:%H:%M} UTC"
    return f"{moment:%d %b %H:%M} UTC" if moment.year == today.year else f"{moment:%d %b %Y %H:%M} UTC"


def local(at: float, zone: str | None) -> str | None:
    """Clock time in the browser's zone; None where that is unknown or is UTC itself."""
    if not zone or zone in ("UTC", "Etc/UTC", "GMT"):
        return None
    try:
        return f"{datetime.fromtimestamp(at, ZoneInfo(zone)):%H:%M} {zone}"
    except (ZoneInfoNotFoundError, ValueError):
        return None


def both(at: float, now: float, zone: str | None) -> str:
    """ "14:05 UTC (15:05 Europe/Berlin)"."""
    here = local(at, zone)
    return f"{utc(at, now)} ({here})" if here else utc(at, now)


def until(at: float, now: float) -> str:
    """ "in 12 min", or "12 min ago"."""
    return f"in {span(at - now)}" if at >= now else f"{span(now - at)} ago"
