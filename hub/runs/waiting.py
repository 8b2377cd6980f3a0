"""Why a run does not go on, as a sentence for a person.

Pure: the facts are gathered elsewhere, all at one moment, and the first gate that is
shut is the one that is named. A gate here is one that the dispatcher looks at.
"""

from collections.abc import Sequence
from datetime import datetime, tzinfo
from typing import Final

import msgspec

from hub.clock import from_epoch_ms
from hub.runs.moments import told_time
from protocol.lifecycles import EXECUTING_RUN_STATES, FINAL_RUN_STATES, PauseReason, RunState
from protocol.requirements import Unmet
from storage.runs.run_locks import LockInTheWay

_LIFECYCLES: Final = {
    "paused": "agent is paused",
    "maintenance": "agent is in maintenance",
    "terminated": "agent has ended",
}


PAUSING: Final = "pauses when the files in hand are done"


class Hold(msgspec.Struct, frozen=True):
    """The hub died again and again: until then it starts nothing by itself that it may have died of.

    Attributes:
        until: aware, UTC.
        starts: in a row, with a crash between each two.
        within_s: each of them came no later after the one before it.
    """

    until: datetime
    starts: int
    within_s: float


class Wanting(msgspec.Struct, frozen=True, kw_only=True):
    """The connector that a run reads, as it stands.

    Attributes:
        name: ``None``: hub.toml names it no more.
        state: ``ok``; else a person has to do something, and *detail* says why.
        retry_at: after passing errors, until when only what a person starts is tried.
        is_granted: somebody signs in to it; another one has its secret in hub.toml.
    """

    name: str | None
    state: str | None = "ok"
    detail: str | None = None
    retry_at: datetime | None = None
    is_granted: bool = False


class WaitFacts(msgspec.Struct, frozen=True, kw_only=True):
    """All that may hold a run back, as it was at *now*. Instants are aware UTC.

    Attributes:
        reason: of the run's last move.
        is_manual: a person started it, so a failing agent does not hold it back.
        is_revoked: the device is let in no more.
        offline_since: when the device was seen last; ``None`` where it never was.
        is_away: the device is connected, and the agent offline all the same, as its heartbeats tell.
        starts_at: until then a device that has just connected is left in peace.
        exhaust_reason: why the agent is exhausted: ``rate_limit``, ``billing`` or ``budget``.
        budget: the setting of the budget of a day that holds the run, as far as this start of the hub knows.
        recovery_at: when an exhausted agent is asked again; ``None``: nobody knows.
        is_pausing: a person asked for a pause, and the files in hand are not done yet.
        hold: the hub died too often, and this run is of a kind that waits for that.
        follows: a run of the same schedule is under way, and this one does not run beside it.
        unmet: what the run needs, and neither its device nor its agent has.
        lock: the first of its locks whose turn has not come.
        connector: what it reads, if that is not its device; then the device need not be there.
    """

    now: datetime
    state: RunState
    pause_reason: PauseReason | None = None
    reason: str | None = None
    is_cancelling: bool = False
    is_pausing: bool = False
    is_manual: bool = False
    eligible_at: datetime
    device: str | None
    is_online: bool = True
    is_revoked: bool = False
    offline_since: datetime | None = None
    is_away: bool = False
    away_since: datetime | None = None
    away_reason: str | None = None
    starts_at: datetime | None = None
    lifecycle: str = "active"
    is_exhausted: bool = False
    exhaust_reason: str | None = None
    budget: str | None = None
    recovery_at: datetime | None = None
    is_healthy: bool = True
    follows: bool = False
    unmet: Sequence[Unmet] = ()
    lock: LockInTheWay | None = None
    on_device: int = 0
    per_device: int = 1
    of_agent: int = 0
    per_agent: int = 1
    on_hub: int = 0
    per_hub: int = 32
    of_mailboxes: int = 0
    mailboxes: int = 8
    connector: Wanting | None = None
    is_draining: bool = False
    is_disk_full: bool = False
    hold: Hold | None = None


def why_waiting(facts: WaitFacts, zone: tzinfo | None = None) -> str | None:
    """What has to happen before the run goes on, or what it is stopping for.

    ``None`` while it just executes, and when it has ended.

    Args:
        zone: in which times of day are told; this machine's own by default.
    """
    if facts.state in FINAL_RUN_STATES:
        return None
    if facts.state in EXECUTING_RUN_STATES:
        if facts.is_cancelling:
            return f"is being cancelled: device {facts.device} has to let go"
        return PAUSING if facts.is_pausing else None
    return (
        _held_by_a_person(facts)
        or _held_by_an_absent_model(facts)
        or (_held_by_the_device(facts, zone) if facts.connector is None else None)
        or _held_by_the_connector(facts.connector, facts, zone)
        or _held_by_a_need(facts)
        or _held_by_the_model(facts, zone)
        or _held_by_the_hub(facts, zone)
        or _not_yet(facts, zone)
        or _held_by_a_lock(facts, zone)
        or _no_slot(facts)
        or "next in line"
    )


def _held_by_a_person(facts: WaitFacts) -> str | None:
    if facts.pause_reason is PauseReason.USER:
        return "paused by hand"
    if facts.pause_reason is PauseReason.WAITING_INPUT:
        return "waits for an answer"
    if facts.lifecycle != "active":
        return _LIFECYCLES.get(facts.lifecycle, f"agent is {facts.lifecycle}, not active yet")
    if not facts.is_healthy and not facts.is_manual:
        return "agent has a lasting error; start a run by hand to try it"
    return None


def _held_by_an_absent_model(facts: WaitFacts) -> str | None:
    """What waits for a model that gives no answers; said before all else, for the rest is delivered."""
    if facts.pause_reason is not PauseReason.MODEL_AWAY:
        return None
    return f"{facts.reason or 'the model is away'}; goes on when it answers"


def _held_by_the_device(facts: WaitFacts, zone: tzinfo | None) -> str | None:
    if facts.device is None:
        return "agent has no device"
    if facts.is_revoked:
        return f"device {facts.device} was revoked; pair another device of that name"
    if facts.is_away:
        since = "" if facts.away_since is None else f" since {told_time(facts.away_since, facts.now, zone)}"
        why = "" if facts.away_reason is None else f": {facts.away_reason}"
        return f"agent is offline{since}, though device {facts.device} is connected{why}"
    if facts.is_online:
        return None
    if facts.offline_since is None:
        return f"device {facts.device} has not connected yet"
    return f"device {facts.device} is offline, last seen {told_time(facts.offline_since, facts.now, zone)}"


def _held_by_the_connector(wanting: Wanting | None, facts: WaitFacts, zone: tzinfo | None) -> str | None:
    if wanting is None:
        return None
    name = wanting.name
    if name is None:
        return "its connector is no longer declared in hub.toml"
    why = "" if wanting.detail is None else f" ({wanting.detail})"
    if wanting.state == "sign_in" and wanting.is_granted:
        return f"connector {name} wants a sign-in{why}: hub connectors login {name}"
    if wanting.state == "sign_in":
        return f"connector {name} wants another secret{why}: put it right, then hub connectors test {name}"
    if wanting.state != "ok":
        return f"connector {name} is blocked{why}: put that right, then hub connectors test {name}"
    if wanting.retry_at is None or wanting.retry_at <= facts.now or facts.is_manual:
        return None
    return f"connector {name} did not answer; tried again at {told_time(wanting.retry_at, facts.now, zone)}"


def _held_by_a_need(facts: WaitFacts) -> str | None:
    return told_unmet(facts.unmet, facts.device) if facts.unmet else None


def told_unmet(unmet: Sequence[Unmet], device: str | None) -> str:
    """What is needed and not there: ``needs file.read >= 1.2: device desk has 1.1.0``."""
    first, others = unmet[0], len(unmet) - 1
    has = [
        f"{where} has {version}"
        for where, version in ((f"device {device}", first.of_device), ("its agent", first.of_agent))
        if version is not None
    ]
    told = " and ".join(has) or f"neither device {device} nor its agent has it"
    return f"needs {first.need}: {told}" + (f"; and {others} more that it needs" if others else "")


def _held_by_the_model(facts: WaitFacts, zone: tzinfo | None) -> str | None:
    if not facts.is_exhausted and facts.pause_reason is not PauseReason.EXHAUSTED:
        return None
    match facts.exhaust_reason:
        case "budget" if facts.budget is not None:
            what = f"the budget {facts.budget} is reached"
        case "budget":
            what = "a budget of the day is reached"
        case "billing":
            what = "model's bill is not paid"
        case _:
            what = "model's quota is used up"
    again_at = facts.recovery_at or (None if facts.is_exhausted else facts.eligible_at)
    return what if again_at is None else f"{what}; tried again at {told_time(again_at, facts.now, zone)}"


def _held_by_the_hub(facts: WaitFacts, zone: tzinfo | None) -> str | None:
    if facts.is_draining:
        return "the hub stops; goes on when it is back"
    if facts.is_disk_full:
        return "disk is nearly full"
    return None if facts.hold is None else told_hold(facts.hold, facts.now, zone)


def told_hold(hold: Hold, now: datetime, zone: tzinfo | None = None) -> str | None:
    """Until when the hub holds back what it may have died of, and why; ``None`` once that is over."""
    if hold.until <= now:
        return None
    until = told_time(hold.until, now, zone)
    each = f"each within {hold.within_s / 60:g} min of the last"
    return f"held back until {until} after {hold.starts} starts with crashes between them, {each}"


def _not_yet(facts: WaitFacts, zone: tzinfo | None) -> str | None:
    if facts.starts_at is not None and facts.starts_at > facts.now:
        return f"just connected; starts at {told_time(facts.starts_at, facts.now, zone)}"
    if facts.eligible_at > facts.now:
        return f"tried again at {told_time(facts.eligible_at, facts.now, zone)}"
    return None


def _held_by_a_lock(facts: WaitFacts, zone: tzinfo | None) -> str | None:
    if facts.lock is None:
        return None
    lock, before = facts.lock.lock, facts.lock.ahead
    behind = f"{before} before it in its queue" if before else ""
    if not facts.lock.is_held:
        return f"waits for lock {lock.resource}: {behind}"
    since = told_time(from_epoch_ms(lock.acquired_at or 0), facts.now, zone)
    told = f"waits for lock {lock.resource}, held by {lock.told_holder} since {since}"
    return f"{told}; {behind}" if behind else told


def _no_slot(facts: WaitFacts) -> str | None:
    if facts.follows:
        return "the run before it of this schedule goes first"
    if facts.connector is None:
        place = (facts.on_device, facts.per_device, f"on device {facts.device}")
    else:
        place = (facts.of_mailboxes, facts.mailboxes, "by runs that read connectors")
    for taken, limit, where in (
        place,
        (facts.of_agent, facts.per_agent, "by this agent"),
        (facts.on_hub, facts.per_hub, "on this hub"),
    ):
        if taken >= limit:
            return f"slot {taken} of {limit} taken {where}"
    return None
