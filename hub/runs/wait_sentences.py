"""Explanation why a run does not start yet: order of the conditions, and the sentence for each.

Pure functions: the facts are collected by the caller at one moment, and the first closed gate is named. A
gate is a condition that the dispatcher checks.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo
from typing import Final

import msgspec

from hub.base.clock import from_epoch_ms, offset_text
from protocol.causes import AT_ONCE, account_cause, describe_cause
from protocol.errors import connect_command
from protocol.lifecycles import EXECUTING_RUN_STATES, FINAL_RUN_STATES, PauseReason, RunState
from protocol.requirements import Unmet
from storage.runs.run_devices import ADMIT
from storage.runs.run_locks import LockInTheWay

_LIFECYCLES: Final = {
    "paused": "agent is paused",
    "maintenance": "agent is in maintenance",
    "terminated": "agent has ended",
}
PAUSING: Final = "pauses when the files in hand are done"
SILENT_AFTER: Final = timedelta(seconds=5)  # without an answer by which the run advances


class CrashHold(msgspec.Struct):
    """Pause after repeated crashes, in which the hub starts no run that may have caused them.

    Attributes:
        until: end of the pause; aware, UTC.
        starts: number of consecutive starts with a crash between each two.
        within_s: maximum seconds between two of these starts.
    """

    until: datetime
    starts: int
    within_s: float


class Wanting(msgspec.Struct, frozen=True, kw_only=True):
    """State of the connector that a run reads.

    Attributes:
        name: None if hub.toml no longer declares it.
        state: ``ok``; in any other state a person has to act, and *code* and *detail* give the reason.
        retry_at: after temporary errors, the time before which only manually started runs are tried.
        is_granted: True if a person signs in to the connector; False if hub.toml has its secret.
        was_reached: True if it worked with its present settings and sign-in.
    """

    name: str | None
    state: str | None = "ok"
    code: str | None = None
    detail: str | None = None
    retry_at: datetime | None = None
    is_granted: bool = False
    was_reached: bool = True


class WaitFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Facts that may hold a run back at the time *now*. Times are aware and in UTC.

    Attributes:
        reason: reason of the run's last state change.
        is_manual: True if a person started the run; an unhealthy agent does not hold it back.
        is_pairing: True if an unknown device of this name shows a pairing code.
        is_revoked: True if the device's credentials are revoked.
        offline_since: when the device was last seen; None if never.
        is_away: True if the agent is offline although its device is connected.
        away_reason: why the agent, or its device, went offline; see ``protocol.causes``.
        starts_at: end of the settling time of a device that has just connected.
        exhaust_reason: why the agent is exhausted: ``rate_limit``, ``billing`` or ``budget``.
        budget: setting of the day's budget that holds the run, as far as known since the hub's start.
        recovery_at: when an exhausted agent is tried again; None if unknown.
        is_pausing: True if a pause was requested and files are still in progress.
        hold: pause of the hub after repeated crashes, if it applies to this run.
        follows: True if an active run of the same schedule goes first.
        unmet: requirements that neither the run's device nor its agent meets.
        lock: first of the run's locks that it cannot acquire yet.
        has_place: False if the agent has no device, and its user none that is admitted.
        unanswered_since: when the oldest of the calls that its device has not answered was sent.
        advanced_at: when the run last changed, as it does with each item that its device takes.
        connector: connector that the run reads instead of its device; the device may be disconnected then.
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
    is_pairing: bool = False
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
    has_place: bool = True
    connector: Wanting | None = None
    unanswered_since: datetime | None = None
    advanced_at: datetime | None = None
    is_draining: bool = False
    stopped: str | None = None  # why the hub starts no run
    hold: CrashHold | None = None


def why_waiting(facts: WaitFacts, zone: tzinfo | None = None) -> str | None:
    """Return the reason why a run waits, or what it is stopping for.

    The result is None while the run executes without interruption, and after its end.

    Args:
        zone: time zone of times of day; by default this machine's.
    """
    if facts.state in FINAL_RUN_STATES:
        return None
    if facts.state in EXECUTING_RUN_STATES:
        if facts.is_cancelling:
            return f"is being cancelled: device {facts.device} has to let go"
        since = facts.unanswered_since
        if since is not None and (facts.is_pausing or _is_silent(since, facts)):
            sent = describe_time(since, facts.now, zone, has_seconds=True)
            silent = f"device {facts.device} has not answered a call of {sent}"
            return f"pauses when its calls are answered: {silent}" if facts.is_pausing else silent
        return PAUSING if facts.is_pausing else None
    return (
        _held_by_a_person(facts)
        or facts.stopped
        or (
            f"{facts.reason or 'the model is away'}; goes on when it answers"  # the rest was delivered
            if facts.pause_reason is PauseReason.MODEL_AWAY
            else None
        )
        or (_held_by_the_device(facts, zone) if facts.connector is None else None)
        or (None if facts.has_place else f"no device of the agent's user is admitted; {ADMIT}")
        or _held_by_the_connector(facts.connector, facts, zone)
        or (describe_unmet(facts.unmet, facts.device) if facts.unmet else None)
        or _held_by_the_model(facts, zone)
        or _held_by_the_hub(facts, zone)
        or _not_yet(facts, zone)
        or _held_by_a_lock(facts, zone)
        or _no_slot(facts)
        or "next in line"
    )


def _is_silent(since: datetime, facts: WaitFacts) -> bool:
    """Return whether the run has not advanced since a call of *since*. A slow device lets it advance."""
    return facts.now - max(since, facts.advanced_at or since) >= SILENT_AFTER


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


def _held_by_the_device(facts: WaitFacts, zone: tzinfo | None) -> str | None:
    if facts.device is None:
        return "agent has no device"
    if facts.is_revoked:
        command = connect_command(facts.device, anew=True)
        return f"device {facts.device} was revoked; let it in again: {command}"
    cause = describe_cause(facts.away_reason, facts.device)
    if facts.is_away and cause is not None:
        return cause
    if facts.is_away:
        since = (
            "" if facts.away_since is None else f" since {describe_time(facts.away_since, facts.now, zone)}"
        )
        why = "" if facts.away_reason is None else f": {facts.away_reason}"
        return f"agent is offline{since}, though device {facts.device} is connected{why}"
    if facts.is_online:
        return None
    if facts.offline_since is None and facts.is_pairing:
        return f"device {facts.device} waits for pairing: hub pair approve CODE, as the device shows it"
    if facts.offline_since is None:
        return f"device {facts.device} has not connected yet"
    last_seen = describe_time(facts.offline_since, facts.now, zone)
    return f"device {facts.device} is offline, last seen {last_seen}{f': {cause}' if cause else ''}"


def _held_by_the_connector(wanting: Wanting | None, facts: WaitFacts, zone: tzinfo | None) -> str | None:
    if wanting is None:
        return None
    name = wanting.name
    if name is None:
        return "its connector is no longer declared in hub.toml"
    why = "" if wanting.detail is None else f" ({wanting.detail})"
    cause = account_cause(
        name,
        wanting.state or "ok",
        wanting.code or "",
        is_granted=wanting.is_granted,
        was_reached=wanting.was_reached,
    )
    if wanting.state != "ok":
        return f"connector {name} {cause.sentence}{why}: {cause.remedy}"
    if wanting.retry_at is None or wanting.retry_at <= facts.now or facts.is_manual:
        return None
    again = f"tried again at {describe_time(wanting.retry_at, facts.now, zone)}"
    lasting = f"; {cause.remedy}" if cause.lasts_after_s == AT_ONCE else ""
    return f"connector {name} {cause.sentence}{why}; {again}{lasting}"


def describe_unmet(unmet: Sequence[Unmet], device: str | None) -> str:
    """Return the unmet requirement: ``needs file.read >= 1.2: device desk has 1.1.0``."""
    first, others = unmet[0], len(unmet) - 1
    has = [
        f"{where} has {version}"
        for where, version in ((f"device {device}", first.of_device), ("its agent", first.of_agent))
        if version is not None
    ]
    nowhere = (
        "its agent does not have it" if device is None else f"neither device {device} nor its agent has it"
    )
    versions = " and ".join(has) or nowhere
    return f"needs {first.need}: {versions}" + (f"; and {others} more that it needs" if others else "")


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
        case "rate_limit":
            what = "a rate limit is reached"
        case _:
            what = "model's quota is used up"
    again_at = facts.recovery_at or (None if facts.is_exhausted else facts.eligible_at)
    return what if again_at is None else f"{what}; tried again at {describe_time(again_at, facts.now, zone)}"


def _held_by_the_hub(facts: WaitFacts, zone: tzinfo | None) -> str | None:
    if facts.is_draining:
        return "the hub stops; goes on when it is back"
    return None if facts.hold is None else describe_hold(facts.hold, facts.now, zone)


def describe_hold(hold: CrashHold, now: datetime, zone: tzinfo | None = None) -> str | None:
    """Return the end and reason of the pause after crashes, or None once the pause is over."""
    if hold.until <= now:
        return None
    until = describe_time(hold.until, now, zone)
    each = f"each within {hold.within_s / 60:g} min of the last"
    return f"held back until {until} after {hold.starts} starts with crashes between them, {each}"


def _not_yet(facts: WaitFacts, zone: tzinfo | None) -> str | None:
    if facts.starts_at is not None and facts.starts_at > facts.now:
        return f"just connected; starts at {describe_time(facts.starts_at, facts.now, zone)}"
    if facts.eligible_at > facts.now:
        return f"tried again at {describe_time(facts.eligible_at, facts.now, zone)}"
    return None


def _held_by_a_lock(facts: WaitFacts, zone: tzinfo | None) -> str | None:
    if facts.lock is None:
        return None
    lock, before = facts.lock.lock, facts.lock.ahead
    behind = f"{before} before it in its queue" if before else ""
    if not facts.lock.is_held:
        return f"waits for lock {lock.resource}: {behind}"
    since = describe_time(from_epoch_ms(lock.acquired_at or 0), facts.now, zone)
    text = f"waits for lock {lock.resource}, held by {lock.holder_text} since {since}"
    return f"{text}; {behind}" if behind else text


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


NEAR: Final = timedelta(minutes=2)  # below this, seconds are shown


def describe_time(
    at: datetime, now: datetime, zone: tzinfo | None = None, *, has_seconds: bool = False
) -> str:
    """Return the time as ``09:14 +01:00``; with seconds if near ahead, with the date if on another day.

    Args:
        zone: time zone of the result; by default this machine's.
        has_seconds: False: with seconds only if near ahead.
    """
    here = at.astimezone(zone)
    is_today = here.date() == now.astimezone(zone).date()
    is_near = is_today and timedelta() <= at - now < NEAR
    time = "%H:%M:%S" if has_seconds or is_near else "%H:%M"
    return f"{here:{time if is_today else f'%Y-%m-%d {time}'}} {offset_text(here)}"
