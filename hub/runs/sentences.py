"""Sentences for people about runs: why one waits, decisions on fires, failures and what mends them.

Pure functions: the facts are collected by the caller at one moment, and the first closed gate is named. A
gate is a condition that the dispatcher checks.

Sentences for people about decisions on fires, and about state changes and unsuccessful ends of runs.

Pure functions from the stable words of rows (``schedule_fires.decision`` and ``reason``, ``runs.reason``) to
sentences. A word of a newer release is shown unchanged, as is a reason that was written for people already.
"""

import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, NamedTuple

import msgspec

from hub.base.clock import from_epoch_ms, offset_text
from hub.schedules.trigger import describe_count
from protocol.errors import CATALOGUE, ErrorCode, connect_command
from protocol.lifecycles import EXECUTING_RUN_STATES, FINAL_RUN_STATES, PauseReason, RunState
from protocol.requirements import Unmet
from storage.runs.run_locks import ADMIT, LockInTheWay
from storage.runs.runs import RunError, RunRow
from storage.schedules.fires import Missed

_LIFECYCLES: Final = {
    "paused": "agent is paused",
    "maintenance": "agent is in maintenance",
    "terminated": "agent has ended",
}


PAUSING: Final = "pauses when the files in hand are done"


class Hold(msgspec.Struct):
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
        state: ``ok``; in any other state a person has to act, and *detail* gives the reason.
        retry_at: after temporary errors, the time before which only manually started runs are tried.
        is_granted: True if a person signs in to the connector; False if hub.toml has its secret.
    """

    name: str | None
    state: str | None = "ok"
    detail: str | None = None
    retry_at: datetime | None = None
    is_granted: bool = False


class WaitFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Facts that may hold a run back at the time *now*. Times are aware and in UTC.

    Attributes:
        reason: reason of the run's last state change.
        is_manual: True if a person started the run; an unhealthy agent does not hold it back.
        is_pairing: True if an unknown device of this name shows a pairing code.
        is_revoked: True if the device's credentials are revoked.
        offline_since: when the device was last seen; None if never.
        is_away: True if the agent is offline by its heartbeats although its device is connected.
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
    is_draining: bool = False
    stopped: str | None = None  # why the hub starts no run
    hold: Hold | None = None


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
        if since is not None and (facts.is_pausing or facts.now - since >= timedelta(seconds=30)):
            silent = (
                f"device {facts.device} has not answered a call of {describe_time(since, facts.now, zone)}"
            )
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
    return (
        f"device {facts.device} is offline, last seen {describe_time(facts.offline_since, facts.now, zone)}"
    )


def _held_by_the_connector(wanting: Wanting | None, facts: WaitFacts, zone: tzinfo | None) -> str | None:
    if wanting is None:
        return None
    name = wanting.name
    if name is None:
        return "its connector is no longer declared in hub.toml"
    why = "" if wanting.detail is None else f" ({wanting.detail})"
    if wanting.state == "sign_in" and wanting.is_granted:
        return f"connector {name} needs a sign-in{why}: hub connectors login {name}"
    if wanting.state == "sign_in":
        return f"connector {name} needs another secret{why}: put it right, then hub connectors test {name}"
    if wanting.state != "ok":
        return f"connector {name} is blocked{why}: put that right, then hub connectors test {name}"
    if wanting.retry_at is None or wanting.retry_at <= facts.now or facts.is_manual:
        return None
    return (
        f"connector {name} did not answer; tried again at {describe_time(wanting.retry_at, facts.now, zone)}"
    )


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
        case _:
            what = "model's quota is used up"
    again_at = facts.recovery_at or (None if facts.is_exhausted else facts.eligible_at)
    return what if again_at is None else f"{what}; tried again at {describe_time(again_at, facts.now, zone)}"


def _held_by_the_hub(facts: WaitFacts, zone: tzinfo | None) -> str | None:
    if facts.is_draining:
        return "the hub stops; goes on when it is back"
    return None if facts.hold is None else describe_hold(facts.hold, facts.now, zone)


def describe_hold(hold: Hold, now: datetime, zone: tzinfo | None = None) -> str | None:
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


def describe_time(at: datetime, now: datetime, zone: tzinfo | None = None) -> str:
    """Return the time as ``09:14 +01:00``; with seconds if near ahead, with the date if on another day.

    Args:
        zone: time zone of the result; by default this machine's.
    """
    here, today = at.astimezone(zone), now.astimezone(zone).date()
    time = "%H:%M:%S" if timedelta() <= at - now < NEAR else "%H:%M"
    return f"{here:{time if here.date() == today else '%Y-%m-%d %H:%M'}} {offset_text(here)}"


_CAUSES: Final = {
    "hub_down": "the hub was down",
    "device_offline": "device {device} was offline",
    "exhausted": "the model's quota was used up",
    "agent_paused": "the agent was paused",
    "schedule_paused": "the schedule was paused",
    "still_running": "the run before was still going",
    "still_waiting": "a run was waiting already",
    "queue_full": "too many runs were waiting",
    "window": "older than the catch-up window",
    "edited": "the schedule was changed",
    "not_told_yet": "the agent is woken as soon as it is connected and idle",
    "still_waking": "the wake before was not answered yet",
    "superseded": "a newer slot took its place",
    "busy": "the agent was at work",
    "no_answer": "device {device} did not answer",
    "refused": "device {device} refused",
    "unsupported": "device {device} cannot wake agents",
    "slot_removed": "the slot was taken away",
}
_DECISIONS: Final = {
    "run": "a run was queued",
    "coalesced": "one run covers {them}",
    "skipped_overlap": "skipped",
    "skipped_window": "not caught up",
    "skipped_paused": "skipped",
    "skipped_exhausted": "skipped",
    "dropped_queue_full": "dropped",
    "deferred": "postponed",
    "woken": "the agent was woken",
    "wake_failed": "the agent did not wake",
}
_WAKES: Final = {
    "waiting": "not sent yet",
    "sent": "sent, not answered yet",
    "deferred": "postponed",
    "acknowledged": "the agent was woken",
    "failed": "the agent did not wake",
    "skipped": "skipped",
}
_PAUSES: Final = {
    "failures": "paused after {failures} failed runs in a row",
    "finished": "it has fired for the last time",
    "user": "paused by hand",
    "broken": "cannot be read any more; 'hub check' says why",
}


def describe_cause(reason: str | None, device: str) -> str | None:
    """Return the reason as a sentence: ``device desk was offline``."""
    if reason is None:
        return None
    return _CAUSES.get(reason, reason.replace("_", " ")).format(device=device)


def describe_decision(decision: str, reason: str | None, *, fires: int = 1, device: str) -> str:
    """Return the decision on consecutive fires: ``skipped: the schedule was paused``."""
    what = _DECISIONS.get(decision, decision.replace("_", " "))
    what = what.format(them="it" if fires == 1 else "them")
    if decision == "run" and fires > 1:
        what = "a run was queued for each; the newest represents those without news"
    cause = describe_cause(reason, device)
    return what if cause is None else f"{what}: {cause}"


def describe_wake(state: str, reason: str | None, *, device: str) -> str:
    """Return the result of a wake: ``the agent did not wake: device desk was offline``."""
    what, cause = _WAKES.get(state, state), describe_cause(reason, device)
    return what if cause is None else f"{what}: {cause}"


def describe_missed(missed: Sequence[Missed], device: str) -> str | None:
    """Return the fires that a run replaced or blocked: ``2 missed: device desk was offline``.

    Fires that were skipped because the run was in progress are reported separately.
    """
    merged = [one for one in missed if one.decision == "coalesced"]
    skipped = sum(one.fires for one in missed if one.decision != "coalesced")
    parts = [_describe_causes(merged, device)] if merged else []
    if skipped:
        parts.append(f"{describe_count(skipped)} skipped while it was under way")
    return ", ".join(parts) or None


def _describe_causes(missed: Sequence[Missed], device: str) -> str:
    by_cause: dict[str, int] = {}
    for one in missed:
        cause = describe_cause(one.reason, device) or "for no known reason"
        by_cause[cause] = by_cause.get(cause, 0) + one.fires
    several = len(by_cause) > 1
    causes = [f"{cause} ({describe_count(n)})" if several else cause for cause, n in by_cause.items()]
    return f"{describe_count(sum(by_cause.values()))} missed: " + ", ".join(causes)


def describe_pause(paused_reason: str, failures: int, *, at: datetime | None = None) -> str:
    """Return why a schedule does not fire: ``paused after 5 failed runs in a row``.

    Args:
        at: the only instant of the schedule, if it has just one. Whether a run started then is shown
            elsewhere: an instant that was past when it was declared never gets a run.
    """
    if paused_reason == "finished" and at is not None:
        return f"its time {at.astimezone(UTC):%Y-%m-%d %H:%M} UTC is over"
    return _PAUSES.get(paused_reason, f"paused: {paused_reason.replace('_', ' ')}").format(failures=failures)


_REASONS: Final = {
    "start_deadline": "not started in time",
    "hub_restart": "the hub was ended",
    "hub_error": "an error of the hub ended its work; the log has it as run.broke",
    "crash_loop": "the hub ended again and again while it was under way",
    "paused_too_long": "what it waited for did not come in time",
    "device_gone": "its device is not known any more",
    "superseded": "a newer run takes its place",
    "first_connect": "its device connected, and the agent had never run",
}


def describe_reason(reason: str | None, *, within_s: float | None = None) -> str | None:
    """Return a reason as a sentence, such as ``not started within 30 s of its time``.

    Args:
        within_s: start deadline in seconds after the run's time, if it had one.
    """
    if reason == "start_deadline" and within_s is not None:
        return f"not started within {within_s:g} s of its time"
    return None if reason is None else _REASONS.get(reason, reason)


def describe_folded(runs: int, since: datetime) -> str:
    """Return how many runs another one represents: ``nothing new, as in the 8638 runs since …``."""
    before = "the run" if runs == 1 else f"the {runs} runs"
    return f"nothing new, as in {before} since {since.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def describe_errors(
    errors: Sequence[RunError], *, failed: int, describe: Callable[[RunError], str]
) -> str | None:
    """Summarize the errors of a run: ``3 failed: 2 too_large, 1 changed; first: a.md is too large``.

    Args:
        errors: the stored errors; only the first errors of a run are stored.
        failed: total number of failed files or messages.
        describe: returns the sentence about one error.
    """
    of_files = [error for error in errors if error.unit_key]
    codes = Counter(error.code for error in of_files)
    counted = [f"{count} {code}" for code, count in codes.most_common()] if len(codes) > 1 else []
    recorded = codes.total()
    first = f"{failed} failed" + (f"; the first {recorded}" if 0 < recorded < failed else "")
    sentences = [describe(error) for error in of_files[:1]]
    if counted:
        sentences = [f"{', '.join(counted)}; first: {sentences[0]}"]
    of_units = ": ".join(filter(None, (first if failed else "", *sentences)))
    of_run = dict.fromkeys(describe(error) for error in errors if not error.unit_key)
    return "; ".join(filter(None, (of_units, *of_run))) or None


class Failure(NamedTuple):
    """Sentence about a failure and the step that mends it, as templates or with the names of a run."""

    sentence: str
    remedy: str


_PATHS: Final = {  # by the source of the agent: the command that changes its paths
    "file": "hub config set 'agents.{agent}.paths=[\"PATH\"]'",
    "api": "hub agents edit {agent} --path PATH",
}
_AGAIN: Final = "it is read again by the next run: hub run {agent}"
_SPLIT: Final = "split it, or move it to a folder that the agent does not read"
_LIMIT: Final = "raise the limit: hub config set limits.NAME=NUMBER; or let the agent read less: {paths}"
_REPORT: Final = "hub logs --level error has the details; please report this fault of the hub to its authors"

# Other codes are those of the protocol: the stored message is their sentence, their hint is the remedy.
FAILURES: Final[Mapping[str, Failure]] = {
    # Files, as their device says; a detail may follow the code.
    "missing": Failure(
        "device {device} has no {path} in the folders that it shares", "correct the paths: {paths}"
    ),
    "unreadable": Failure(
        "device {device} is not allowed to read {path}",
        "on {device}: chmod u+r {quoted}; for a folder: chmod u+rx {quoted}",
    ),
    "bad_ignore_file": Failure(
        "device {device} offers nothing of {path}: an ignore file there is broken{more}",
        "on {device}: mend that line",
    ),
    "changed": Failure("{path} changed while it was read", _AGAIN),
    "too_large": Failure("{path} is too large{more}", _SPLIT),
    "too_deep": Failure("{path} lies in too many folders inside each other", "move it up: {paths}"),
    "limit": Failure("device {device} has more files than it can list{more}", _SPLIT),
    "convert_seconds": Failure("making text of {path} takes too long{more}", _SPLIT),
    "convert_memory_bytes": Failure("making text of {path} needs too much memory{more}", _SPLIT),
    "not_convertible": Failure("{path} cannot be made into text{more}", _SPLIT),
    "skipped": Failure("files were left out: {message}", "hub runs show {run} lists the first"),
    # Files and runs, as the hub says.
    "file_changed": Failure("{path} changed while it was read", _AGAIN),
    "file_incomplete": Failure("not all of {path} came: {message}", _AGAIN),
    "unit_failed": Failure("{where}{message}", "hub runs show {run} has all of it"),
    "model_refused": Failure(
        "{where}{message}", "correct the setting that it names, then: hub reload; hub runs rerun {run}"
    ),
    "model_unavailable": Failure("{where}{message}", "ask it: hub doctor --online"),
    "limit_reached": Failure("{where}{message}", _LIMIT),
    "nothing_shared": Failure(
        "device {device} shares none of the folders that the agent reads",
        "correct the paths: {paths}; or end hub connect there, and start it with one more --root FOLDER",
    ),
    "not_granted": Failure("{where}{message}", "its owner grants it, on device {device}: hub grants"),
    "unknown_table": Failure(
        "{where}{message}", "update device {device}, or let the agent write another table"
    ),
    "call_unsupported": Failure(
        "{where}{message}",
        "on {device}, start a program that can do it: hub help write-a-device; or change agent {agent}",
    ),
    "run_failed": Failure("{where}{message}", "hub runs show {run} has all of it"),
    "attempt_failed": Failure("{where}{message}", "hub runs show {run} has all of it"),
    "crash_loop": Failure("the hub ended again and again while the run was under way", _REPORT),
    "hub_error": Failure("an error of the hub ended the run", _REPORT),
    "internal": Failure("a fault of the hub ended it: {message}", _REPORT),
    "paused_too_long": Failure(
        "{where}{message}", "see what it waited for: hub runs show {run}; then hub run {agent}"
    ),
}


def explain(error: RunError, run: RunRow, device: str) -> Failure:
    """Return the sentence about an error of a run on *device*, and what mends it."""
    more = error.message.removeprefix(error.code)
    known = FAILURES.get(error.code)
    if known is None:
        hint = CATALOGUE[ErrorCode(error.code)].hint if error.code in CATALOGUE else "hub runs show {run}"
        known = Failure("{where}{message}", hint)
    names = {
        "agent": run.agent_name,
        "device": device or "of the agent",
        "message": error.message or error.code.replace("_", " "),
        "more": more if more.startswith(":") else "",
        "path": error.unit_key or "a file",
        "quoted": shlex.quote(error.unit_key or "FILE"),
        "where": f"{error.unit_key}: " if error.unit_key else "",
        "run": run.id[-8:],
    }
    names["paths"] = _PATHS[run.agent_source].format_map(names)
    return Failure(known.sentence.format_map(names), known.remedy.format_map(names))
