"""Sentences for people about fires, pauses and ends of runs.

Pure functions from the stable words of rows (``schedule_fires.decision`` and ``reason``, ``runs.reason``) to
sentences. A word of a newer release is shown unchanged, as is a reason that was written for people already.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from hub.base.fire_counts import describe_count
from storage.schedules.fires import FireCount

_CAUSES: Final = {
    "hub_down": "the hub was down",
    "device_offline": "device {device} was offline",
    "exhausted": "the model's rate limit or quota was reached",
    "agent_paused": "the agent was paused",
    "schedule_paused": "the schedule was paused",
    "still_running": "the run before was still going",
    "still_waiting": "a run was waiting already",
    "queue_full": "too many runs were waiting",
    "window": "older than the catch-up window",
    "edited": "the schedule was changed",
    "not_told_yet": "the agent is woken as soon as it is connected and idle",
    "still_waking": "the wake before was not answered yet",
    "superseded": "a newer slot replaced it",
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


def describe_missed(missed: Sequence[FireCount], device: str) -> str | None:
    """Return the fires that a run replaced or blocked: ``2 missed: device desk was offline``.

    Fires that were skipped because the run was in progress are reported separately.
    """
    merged = [fires for fires in missed if fires.decision == "coalesced"]
    skipped = sum(fires.fires for fires in missed if fires.decision != "coalesced")
    parts = [_describe_causes(merged, device)] if merged else []
    if skipped:
        parts.append(f"{describe_count(skipped)} skipped while it was under way")
    return ", ".join(parts) or None


def _describe_causes(missed: Sequence[FireCount], device: str) -> str:
    by_cause: dict[str, int] = {}
    for fires in missed:
        cause = describe_cause(fires.reason, device) or "for no known reason"
        by_cause[cause] = by_cause.get(cause, 0) + fires.fires
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
    "superseded": "a newer run replaces it",
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


def describe_left(settled: int, left: int, *, is_followed: bool) -> str | None:
    """Return what an ended run has left, and which runs read it; None: it left nothing."""
    if left == 0:
        return "more is left; the next run goes on with it at once" if is_followed else None
    rest = (
        f"the next run goes on with {left:,} at once" if is_followed else f"{left:,} left for the next runs"
    )
    return f"{settled:,} of {settled + left:,} files read; {rest}"


def describe_folded(runs: int, since: datetime) -> str:
    """Return how many runs another one represents: ``nothing new, as in the 8638 runs since …``."""
    before = "the run" if runs == 1 else f"the {runs} runs"
    return f"nothing new, as in {before} since {since.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
