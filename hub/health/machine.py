"""Checks of the machine: disk space, open files, file modes, lost log lines, watchdog and clock."""

import os
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from hub.clock import from_epoch_ms, utc_text
from hub.health.issues import Check, Finding, error, notice, warning
from hub.runs.clock_watch import JUMP_S, ClockWatch

SCARCE_FILES: Final = 0.8  # share of the files that the process may open
GROUP_DIR, PRIVATE_FILE = 0o750, 0o600
LOST_LINES_REPORTED: Final = timedelta(hours=1)  # after the last lost line
STEP_REPORTED: Final = timedelta(days=1)
SHOWN_STEP_MS: Final = 60_000


def full_disk(problem: str | None) -> Finding | None:
    """Return the condition of a state folder whose disk has no room, which *problem* explains."""
    if problem is None:
        return None
    fix = "free some space; the hub continues within seconds"
    return error("disk.full", problem, fix=fix, is_stop=True)


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
            fix=f"hub doctor --fix; or chmod {first.expected_mode:04o} {first.path}",
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
    if step is None or abs(step.by_ms) < SHOWN_STEP_MS or now - from_epoch_ms(step.at) >= STEP_REPORTED:
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
