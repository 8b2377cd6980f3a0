"""Issues about disk, open files, clock, log, reached limits, refused connections and failing services."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from hub.base.clock import from_epoch_ms, utc_text
from hub.base.loop_meter import LoopMeter
from hub.base.name_lists import listed, often
from hub.base.printable import shell_word
from hub.base.supervisor import ServiceFailures
from hub.base.toml.limits import Limits
from hub.health.issues import Check, Finding, error, notice, warning
from hub.runs.clock_watch import JUMP_S, ClockWatch
from storage.kernel.database import REMEDIES

SCARCE_FILES: Final = 0.8  # share of the files that the process may open
GROUP_DIR, PRIVATE_FILE = 0o750, 0o600
LOST_LINES_REPORTED: Final = timedelta(hours=1)  # after the last lost line
STEP_REPORTED: Final = timedelta(days=1)


def full_disk(problem: str | None) -> Finding | None:
    """Return the condition of a state folder whose disk has no room, which *problem* explains."""
    if problem is None:
        return None
    return error("disk.full", problem, fix=REMEDIES["full"], is_stop=True)


async def check_open_files(
    in_use: Callable[[], int], limit: Callable[[], int], now: datetime
) -> Iterable[Finding]:
    """Find a process that nears its limit of open files and sockets."""
    used, most = in_use(), limit()
    if used < SCARCE_FILES * most:
        return []
    return [
        warning(
            "files.scarce",
            f"{used} of {most} files and sockets are open: further devices will have to wait",
            fix="raise LimitNOFILE= of the unit, or ulimit -n, and restart",
        )
    ]


class Exposed(NamedTuple):
    """Path that other users of this machine may access, its mode, and the mode that it should have."""

    path: Path
    mode: int
    expected_mode: int


def exposed_in(state: Path) -> Iterator[Exposed]:
    """Yield the state folder and those of its files that users other than the owner may access.

    The group may list and traverse the folder, because it needs the socket in it.
    """
    mode = state.stat().st_mode & 0o777
    if not mode & 0o077:
        return  # without access to the folder, the modes of its files do not matter
    if mode & ~GROUP_DIR:
        yield Exposed(state, mode, mode & GROUP_DIR)
    for entry in sorted(os.scandir(state), key=lambda entry: entry.name):
        if not entry.is_file(follow_symlinks=False):
            continue
        mode = entry.stat(follow_symlinks=False).st_mode & 0o777
        if mode & 0o077:
            yield Exposed(Path(entry.path), mode, mode & PRIVATE_FILE)


async def check_folder(state: Path, now: datetime) -> Iterable[Finding]:
    """Find a state folder that other users of this machine may access."""
    exposed = list(exposed_in(state))
    if not exposed:
        return []
    first, others = exposed[0], len(exposed) - 1
    explanation = f"others on this machine get at {first.path} (mode {first.mode:04o})"
    return [
        warning(
            "folder.open",
            f"{explanation} and {others} more" if others else explanation,
            fix=f"hub doctor --fix; or chmod {first.expected_mode:04o} {shell_word(first.path)}",
            subject=str(state),
        )
    ]


def check_log(dropped: Callable[[], int]) -> Check:
    """Return the check for log lines that were dropped because the reader of stderr is too slow."""
    known, lost_at = 0, None

    async def check(now: datetime) -> Iterable[Finding]:
        nonlocal known, lost_at
        count = dropped()
        if count > known:
            known, lost_at = count, now
        if lost_at is None or now - lost_at >= LOST_LINES_REPORTED:
            return []
        return [
            warning(
                "log.dropped",
                f"{count} lines of the log are lost, for what reads it was too slow",
                fix="see to what the hub's stderr is connected to; hub logs has the last lines",
            )
        ]

    return check


async def check_watchdog(is_managed: bool, watchdog_s: float | None, now: datetime) -> Iterable[Finding]:
    """Find a service manager that started the hub without a watchdog."""
    if not is_managed or watchdog_s is not None:
        return []
    return [
        notice(
            "watchdog.off",
            "the service manager would not notice if the hub hung",
            fix="write WatchdogSec= into the unit, or take the shipped one: hub install-unit",
        )
    ]


def check_clock(watch: ClockWatch, now: datetime) -> Iterable[Finding]:
    """Find a clock of this machine that the hub does not go by, and one that was set in the last day."""
    found = []
    if abs(watch.ahead_s) > JUMP_S:
        found.append(
            error(
                "clock.wrong",
                f"the clock of this machine is {describe_span(watch.ahead_s)}"
                f" {'ahead of' if watch.ahead_s > 0 else 'behind'} the hub's, which says"
                f" {now:%Y-%m-%d %H:%M:%S} UTC and does not follow it",
                fix="set the clock right, as by NTP: timedatectl",
            )
        )
    step = watch.base.last
    if step is None or abs(step.by_ms) < 60_000 or now - from_epoch_ms(step.at) >= STEP_REPORTED:
        return found
    direction = "back" if step.by_ms < 0 else "forward"
    explanation = (
        f"the clock was set {direction} by {describe_span(step.by_ms / 1000)}"
        f" at {utc_text(step.at)}; schedules continue from there"
    )
    if step.ended:
        explanation += f", and {step.ended} tokens, sessions or invitations have ended by it"
    found.append(
        warning(
            "clock.set",
            explanation,
            fix="look whether the clock is right now, as by timedatectl; hub agents next shows what comes",
            since=from_epoch_ms(step.at),
        )
    )
    return found


def describe_span(seconds: float) -> str:
    """Return a length of time in its two largest units, without its sign."""
    span = timedelta(seconds=round(abs(seconds)))
    minutes, rest = divmod(span.seconds, 60)
    parts = ((span.days, "d"), (minutes // 60, "h"), (minutes % 60, "min"), (rest, "s"))
    return " ".join([f"{count} {unit}" for count, unit in parts if count][:2]) or "0 s"


LATELY: Final = timedelta(hours=1)
NAMED: Final = 3  # clients named in the explanation

FAILURE_SHOWN_FOR: Final = timedelta(hours=1)  # after the last failure of a service that runs again


class Counsel(NamedTuple):
    """Consequence of reaching a limit, and the advice if it was not intended."""

    led_to: str
    advice: str


_CONNECTED: Final = "see who is connected: hub devices"
_STRANGERS: Final = "hub audit ls --event auth.refused lists the attempts"
_TOKENS: Final = "revoke unused tokens: hub token ls"
_SESSIONS: Final = "end sessions that are not used: hub token ls, hub token revoke ID"
_INVITATIONS: Final = "revoke invitations that are no longer needed: hub pair ls"
_PAIRINGS: Final = "approve or deny those that wait: hub pair ls"
_WAITING: Final = "see what they wait for: hub runs"
_RUN: Final = "split the agent's paths between two agents"
_FILE: Final = "see which one, and whether it is meant to be read: hub runs show"
_CAPABILITIES: Final = "remove versions that are not used: hub agents capabilities NAME"
_REMEMBERED: Final = "let the agent's program store less; see its checkpoints: hub agents checkpoints NAME"
_CONFIGS: Final = "unset unused keys: hub agents config NAME"
_SERIES: Final = "see which tags have so many values: hub agents metrics NAME"

# Keyed by the name under which a limit is counted. Limits that only delay a client are not reported.
COUNSEL: Final[Mapping[str, Counsel]] = {
    "connections": Counsel("devices were refused because the hub is full", _CONNECTED),
    "connections_per_user": Counsel("devices of a user were refused", _CONNECTED),
    "connections_per_network": Counsel(
        "devices behind one address were refused",
        "where that is a proxy, name it in trusted_proxies of [listen.devices]",
    ),
    "new_connections_per_s": Counsel("devices behind one address were asked to retry later", _CONNECTED),
    "strangers": Counsel("connections were refused because too many are not authenticated yet", _STRANGERS),
    "strangers_per_network": Counsel(
        "connections of one address were refused because too many are not authenticated yet", _STRANGERS
    ),
    "open_files": Counsel(
        "connections were refused because the system lets the hub open too few files",
        "raise LimitNOFILE= of the unit, or ulimit -n, and restart",
    ),
    "pairings": Counsel("devices cannot ask for access because too many wait", _PAIRINGS),
    "pairings_per_network": Counsel(
        "devices behind one address cannot ask for access because too many wait", _PAIRINGS
    ),
    "wrong_codes": Counsel(
        "an operator typed so many wrong pairing codes that it has to wait",
        "hub audit ls --event auth.refused lists the attempts",
    ),
    "users": Counsel("a user was not created", "remove users without agents and devices: hub users"),
    "device_tokens": Counsel("a token was not created", _TOKENS),
    "device_tokens_per_user": Counsel("a token was not created", _TOKENS),
    "operator_tokens": Counsel("a token was not created", _TOKENS),
    "operator_tokens_per_user": Counsel("a token was not created", _TOKENS),
    "browser_sessions": Counsel("a browser could not sign in", _SESSIONS),
    "browser_sessions_per_user": Counsel("a browser could not sign in", _SESSIONS),
    "invitations": Counsel("an invitation was not created", _INVITATIONS),
    "invitations_per_user": Counsel("an invitation was not created", _INVITATIONS),
    "waiting_runs": Counsel("fires of schedules were dropped", _WAITING),
    "waiting_manual_runs": Counsel("a run was not started", _WAITING),
    "waiting_manual_runs_per_device": Counsel("a run was not started", _WAITING),
    "run_context_bytes": Counsel("a run was not started, or a report on one refused", _REMEMBERED),
    "capabilities_per_agent": Counsel("a capability was not registered", _CAPABILITIES),
    "capability_config_bytes": Counsel("a capability was not registered", _CAPABILITIES),
    "checkpoints_per_agent": Counsel("a checkpoint was not stored", _REMEMBERED),
    "checkpoint_bytes": Counsel("a checkpoint was not stored", _REMEMBERED),
    "config_keys": Counsel("configs of an agent were not written", _CONFIGS),
    "config_value_bytes": Counsel("configs of an agent were not written", _CONFIGS),
    "config_bytes": Counsel("configs of an agent were not written", _CONFIGS),
    "open_questions_per_user": Counsel(
        "an agent could not ask a question", "answer or withdraw those that wait: hub ask"
    ),
    "device_events": Counsel(
        "devices missed events",
        "they notice and ask again; hub logs has slow devices as event.lost",
    ),
    "run_files": Counsel("a run left files out", _RUN),
    "run_bytes": Counsel("a run left files out", _RUN),
    "items_per_file": Counsel("a file has more items than were brought", _FILE),
    "items_per_run": Counsel("a run left items to the next one", _FILE),
    "run_wall_s": Counsel("a run was not done in time, and failed", _RUN),
    "convert_memory_bytes": Counsel("a file was left out: it is damaged, or needs more memory", _FILE),
    "convert_seconds": Counsel("a file was left out: making text of it takes too long", _FILE),
    "metric_series_per_agent": Counsel("measurements of an agent were refused", _SERIES),
    "metric_series": Counsel("measurements of an agent were refused", _SERIES),
    "metric_series_of_hub": Counsel(
        "figures of the hub as a whole were left out",
        "it has too many series, one for each outcome, model and node: hub metrics",
    ),
    "database_bytes": Counsel(
        "ended work was deleted before its time, as the database was full",
        "hub logs has the periods that were kept as housekeeping.shortened",
    ),
    "posted_waiting": Counsel(
        "posts to a webhook were refused, as too many wait", "see why its agent does not read: hub agents"
    ),
    "posted_bytes": Counsel("a post to a webhook was refused: it is too long", "see who posts so much"),
    "webhook_connections": Counsel("senders to webhooks were refused", "see who posts so often"),
    "webhook_connections_per_network": Counsel(
        "senders to webhooks behind one address were refused",
        "where that is a proxy, name it in trusted_proxies of [listen.webhooks]",
    ),
    "operator_connections": Counsel("operators were refused", "see who asks so often: hub token ls"),
    "operator_connections_per_network": Counsel(
        "operators behind one address were refused",
        "where that is a proxy, name it in trusted_proxies of [listen.operator]",
    ),
    "operator_new_connections_per_s": Counsel(
        "operators behind one address were asked to retry later", "see who asks so often: hub token ls"
    ),
    "operator_strangers": Counsel("connections to the operators' port were refused", _STRANGERS),
    "operator_strangers_per_network": Counsel(
        "connections of one address to the operators' port were refused", _STRANGERS
    ),
}


def check_limits(reached: Callable[[], Mapping[str, int]], limits: Callable[[], Limits]) -> Check:
    """Return the check for limits that were reached within the last hour.

    Args:
        reached: returns how often each limit was reached since the hub started, by name.
        limits: returns the limits in use.
    """
    # Snapshots whose counts changed; the first may be older than an hour.
    checks: deque[tuple[datetime, Mapping[str, int]]] = deque()

    async def check(now: datetime) -> Iterable[Finding]:
        counts = {name: count for name, count in reached().items() if name in COUNSEL}
        if not checks or checks[-1][1] != counts:
            checks.append((now, counts))
        begin = now - LATELY
        while len(checks) > 1 and checks[1][0] <= begin:
            checks.popleft()
        at, before = checks[0]
        if at > begin:
            before = {}
        return [
            _explanation(name, times, limits())
            for name, count in sorted(counts.items())
            if (times := count - before.get(name, 0))
        ]

    return check


def _explanation(name: str, times: int, limits: Limits) -> Finding:
    led_to, advice = COUNSEL[name]
    value = getattr(limits, name, None)
    which = f"the limit {name}" if value is None else f"limits.{name} ({value:,.15g})"
    return warning(
        "limit.reached",
        f"{which} was reached {often(times)} within the last hour: {led_to}",
        fix=advice if value is None else f"{advice}; or raise it: hub config set limits.{name}=NUMBER",
        subject=name,
    )


async def check_loop(meter: LoopMeter, now: datetime) -> Iterable[Finding]:
    """Find clients and tasks that slowed down the event loop within the last hour."""
    slowed = meter.slowed(LATELY.total_seconds())
    if not slowed:
        return []
    causes = ", ".join(f"{cause} ({share:.0%})" for cause, share in slowed)
    return [
        warning(
            "loop.taken",
            f"these took so much of the hub's time in the last hour that others had to wait: {causes}",
            fix="see when: hub logs --level warning; what should not be there is revoked:"
            " hub devices revoke NAME, hub token revoke NAME",
        )
    ]


async def check_shut_out(
    waiting: Callable[[], Iterable[tuple[str, float]]], now: datetime
) -> Iterable[Finding]:
    """Find clients locked out after too many failed attempts to authenticate.

    Args:
        waiting: returns each client, with the seconds for which it is locked out.
    """
    longest = sorted(waiting(), key=lambda item: -item[1])
    if not longest:
        return []
    clients = listed([f"{party} ({wait_s:.0f} s)" for party, wait_s in longest], NAMED)
    return [
        warning(
            "attempts.shut_out",
            f"too many failed sign-in attempts, so these clients have to wait: {clients}",
            fix="hub audit ls --event auth.refused lists the attempts; a valid key or token is"
            " accepted all the same",
        )
    ]


def check_services(failures: Callable[[], Mapping[str, ServiceFailures]], now: datetime) -> Iterable[Finding]:
    """Find services that are down, or failed within the last hour."""
    return [
        _broken_service(name, of)
        for name, of in failures().items()
        if of.is_down or now - of.at < FAILURE_SHOWN_FOR
    ]


def _broken_service(name: str, of: ServiceFailures) -> Finding:
    explanation = f"the hub's service {name!r} broke {often(of.count)} since the start, last with {of.error}"
    severity, now = (error, "it is down and will be restarted") if of.is_down else (warning, "it runs again")
    return severity(
        "service.broken",
        f"{explanation}; {now}",
        fix="hub logs --level error has the details; please report this fault of the hub to its authors",
        subject=name,
    )
