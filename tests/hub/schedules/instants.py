"""Instants as tests write them, and triggers from one line."""

from datetime import UTC, datetime

from hub.schedules.trigger import Trigger, trigger_of


def ms(text: str) -> int:
    """Epoch milliseconds of ``2026-03-29T01:00:00Z``, or of a shorter spelling of it; UTC."""
    return int(datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=UTC).timestamp() * 1_000)


def cron(expression: str, tz: str = "UTC") -> Trigger:
    return trigger_of(kind="cron", expr=expression, every_ms=None, at_ms=None, tz=tz, anchor_ms=0)


def next_fires(trigger: Trigger, after: str, count: int) -> list[str]:
    """The next fires as text, in UTC."""
    fires: list[str] = []
    at = ms(after)
    while len(fires) < count and (found := trigger.next_after(at)) is not None:
        at = found
        fires.append(datetime.fromtimestamp(at / 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    return fires
