"""Slots of agents' calendars, and what became of their wakes, as operators get them."""

from typing import Literal

from pydantic import AwareDatetime

from hub.api.views.view import View


class SlotTimeView(View):
    """One slot that is to come, in UTC; *local* is its beginning in the slot's zone.

    *shift* is a sentence where the clocks change that night.
    """

    starts_at: AwareDatetime
    ends_at: AwareDatetime
    local: AwareDatetime
    shift: str | None = None


class SlotView(View):
    """When an agent is woken, and until when that is worth it.

    One of *expr* (cron), *every_s* and *at* is given, as *kind* says.
    """

    id: str
    label: str
    kind: Literal["cron", "every", "at"]
    expr: str | None = None
    every_s: float | None = None
    at: AwareDatetime | None = None
    said: str = ""  # the same in short, for people
    timezone: str = "UTC"
    duration_s: float
    overlap: str = "skip"
    enabled: bool = True
    paused_reason: str | None = None  # a stable word
    paused_because: str | None = None  # a sentence
    next_times: tuple[SlotTimeView, ...] = ()  # the next five; none while it is not enabled


class WakeView(View):
    """What became of one slot that has come; *said* is it in words."""

    id: str
    slot: str  # its label
    starts_at: AwareDatetime
    ends_at: AwareDatetime
    state: Literal["waiting", "sent", "deferred", "acknowledged", "failed", "skipped"]
    reason: str | None = None  # a stable word
    said: str
    sends: int = 0  # how often the device was told
    sent_at: AwareDatetime | None = None  # the last time
    settled_at: AwareDatetime | None = None
