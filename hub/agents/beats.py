"""Translation of one agent's part of a heartbeat into this project's words. Pure functions.

Unknown words are ignored and reported by name, so that they can be counted. So a device of a newer release
still keeps its agents online.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from hub.agents.documents import NUL
from protocol.coordination import AgentBeat
from protocol.ids import AgentId
from protocol.standing import Availability, ExhaustReason
from storage.agents.heartbeats import AgentReport

MOST_RECOVERY_MS: Final = 31 * 86_400_000  # no quota lasts longer than a month
WHY_CHARACTERS: Final = 500  # longest stored text of an agent's error
NOT_SAID: Final = "its device reports an error"
_ERROR: Final = "ERROR"

# Words of the calendar and the foundation. None: an agent's activity is derived from its runs.
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
    """A part of a heartbeat that was ignored, with its kind.

    Kinds are ``unknown_status``, ``unknown_reason``, ``usage_too_large`` and ``usage_unreadable``.
    """

    what: str
    told: str


def read_beat(beat: AgentBeat, at: int, *, usage_bytes: int) -> tuple[AgentReport, tuple[Doubt, ...]]:
    """Return the report in *beat* at the time *at* (epoch ms), and the parts that were ignored.

    An exhaustion whose end has passed is ignored. An end later than ``MOST_RECOVERY_MS`` from now is moved to
    that time.

    Args:
        usage_bytes: limit of the stored resource usage, as JSON.
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
