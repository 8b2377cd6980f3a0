"""Events as messages: the body of a webhook, a sentence for people, and the page of the dashboard."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import msgspec

from hub.clock import from_epoch_ms
from storage.deliveries import DeliveryRow

TEST: Final = "notify.test"
URGENT: Final = frozenset(
    {"run.failed", "question.asked", "agent.failing", "device.away", "issue.opened", "notify.gap"}
)
_SENTENCES: Final[Mapping[str, str]] = {
    "run.completed": "Run of {agent} completed ({outcome}), items: {items}",
    "run.failed": "Run of {agent} failed",
    "run.cancelled": "Run of {agent} was cancelled",
    "items.waiting": "Items of {agent} wait for review: {count}",
    "item.approved": "An item of {agent} was approved",
    "question.asked": "A question waits for an answer",
    "agent.failing": "Agent {agent} fails",
    "agent.well": "Agent {agent} works again",
    "device.away": "Device {device} is away, and runs wait for it",
    "device.back": "Device {device} is back",
    "issue.opened": "Issue {issue} ({severity})",
    "issue.closed": "Issue {issue} is over",
    "notify.gap": "Events were left out: {left_out}",
    TEST: "Test of the target {target}",
}
_PAGES: Final[Mapping[str, tuple[str, str]]] = {  # by the first part of the event: page, and what names it
    "run": ("runs", "run_id"),
    "items": ("runs", "run_id"),
    "item": ("review", ""),
    "question": ("questions", ""),
    "agent": ("agents", "agent"),
    "device": ("devices", "device"),
}
_TIMES: Final = ("since", "expires_at")


class _Fields(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return "?"


def sentence(one: DeliveryRow) -> str:
    """Return an event in one line, with its title or explanation if it has one."""
    text = _SENTENCES[one.event].format_map(_Fields(one.data))
    more = one.data.get("title") or one.data.get("explanation")
    return " ".join(f"{text}: {more}".split() if more else text.split())


def link_of(one: DeliveryRow, pages: str | None) -> str | None:
    """Return the address of the dashboard's page about an event. *pages*: of the dashboard; None: unknown."""
    if pages is None:
        return None
    page, name = _PAGES.get(one.event.partition(".")[0], ("", ""))
    parts = [page, str(one.data[name])] if one.data.get(name) else [page]
    return f"{pages}/{'/'.join(quote(part, safe='') for part in parts)}"


def body_of(one: DeliveryRow, pages: str | None) -> bytes:
    """Return the body of a webhook: the same for each attempt, but for the address of the dashboard."""
    data = {
        name: from_epoch_ms(value) if name in _TIMES and isinstance(value, int) else value
        for name, value in one.data.items()
    }
    link = link_of(one, pages)
    data |= {} if link is None else {"link": link}
    return msgspec.json.encode({"type": one.event, "timestamp": from_epoch_ms(one.created_at), "data": data})
