"""What a device says of one agent in a heartbeat, in this project's words. Pure.

A word that is not known says nothing, and is named, so that it can be counted: a device
of a newer release keeps its agents online all the same.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from hub.agents.documents import NUL
from protocol.coordination import AgentBeat
from protocol.ids import AgentId
from protocol.standing import Availability, ExhaustReason
from storage.agents.heartbeats import AgentReport

MOST_RECOVERY_MS: Final = 31 * 86_400_000  # no quota takes longer than a month
WHY_CHARACTERS: Final = 500  # of why an agent is in error
NOT_SAID: Final = "its device reports an error"
_ERROR: Final = "ERROR"

# The calendar's words, and those of the foundation. What an agent does is known by its runs.
_AVAILABILITY: Final[Mapping[str, Availability | None]] = {
    "idle": Availability.AVAILABLE,
    "on_call": Availability.ON_CALL,
    "exhausted": Availability.EXHAUSTED,
    "busy": None,
    "waiting": None,
    "processing": None,
    "offline": None,
    "error": None,
}


class Doubt(msgspec.Struct, frozen=True):
    """What of a heartbeat was left out: ``unknown_status``, ``unknown_reason``, ``usage_too_large``, ..."""

    what: str
    told: str


def read_beat(beat: AgentBeat, at: int, *, usage_bytes: int) -> tuple[AgentReport, tuple[Doubt, ...]]:
    """What *beat* says at *at* (epoch ms), and what of it was left out.

    An exhaustion whose end has come already is over, whatever the device thinks; one whose end is
    further away than ``MOST_RECOVERY_MS`` is looked at again by then.

    Args:
        usage_bytes: the longest resource usage that is kept, as JSON.
    """
    doubts: list[Doubt] = []
    status = beat.status.lower()
    if status not in _AVAILABILITY:
        doubts.append(Doubt("unknown_status", beat.status))
    availability = _AVAILABILITY.get(status)
    reason, recovery_at = ExhaustReason.RATE_LIMIT, beat.recovery_at_ms
    if availability is Availability.EXHAUSTED:
        said = (beat.exhaust_reason or reason).lower()
        if said in (ExhaustReason.RATE_LIMIT, ExhaustReason.BILLING):
            reason = ExhaustReason(said)
        else:
            doubts.append(Doubt("unknown_reason", said))
        if recovery_at is not None and recovery_at <= at:
            availability = None
        elif recovery_at is not None:
            recovery_at = min(recovery_at, at + MOST_RECOVERY_MS)
    usage = beat.resource_usage or None
    told = b"" if usage is None else msgspec.json.encode(usage)
    if len(told) > usage_bytes:
        doubts.append(Doubt("usage_too_large", f"more than {usage_bytes} bytes"))
        usage = None
    elif NUL in told:
        doubts.append(Doubt("usage_unreadable", "a null character"))
        usage = None
    report = AgentReport(
        agent_id=AgentId(beat.agent_id),
        is_online=status != "offline",
        availability=availability,
        exhaust_reason=reason,
        recovery_at=recovery_at if availability is Availability.EXHAUSTED else None,
        error=_error(status, (beat.state_detail or "").replace("\0", " ")),
        usage=usage,
    )
    return report, tuple(doubts)


def _error(status: str, detail: str) -> str | None:
    word, _, why = detail.partition(":")
    if word.strip().upper() == _ERROR:
        return why.strip()[:WHY_CHARACTERS] or NOT_SAID
    return (detail.strip()[:WHY_CHARACTERS] or NOT_SAID) if status == "error" else None
