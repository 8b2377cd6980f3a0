"""Registry of issues: severity, fixes, start time, and how often the checks run.

A person may mute an issue, by its key; muted ones are not counted.

A check is an async callable that examines the facts handed to it and returns findings. It decides nothing
else: a repeated finding is the same issue, and an issue without a finding is closed. A check that raises
becomes an issue itself. A source returns the findings that its owner knows without I/O; it is read whenever
the issues are, so that status, doctor, readiness and metrics say the same at the same moment.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property, partial
from typing import Any, Final, Literal

import anyio
import msgspec
from anyio.abc import TaskStatus

from hub.base.clock import Clock, epoch_ms
from hub.base.log import Channel
from hub.base.metrics import Metrics
from hub.base.name_lists import listed
from hub.base.periodic_loop import PeriodicLoop
from hub.base.roles import Scope
from protocol.ids import UserId
from storage.kernel.database import StorageError, written_for

log = Channel(__name__)

EVERY_S: Final = 60.0
FRESH_S: Final = 1.0  # a caller that asks again within this time gets the previous findings
ONLINE_LIFETIME_S: Final = 300.0  # lifetime of findings about other machines
WOKEN_S: Final = 1.0  # least time between two runs of the checks without a request
CHECK_S: Final = 2.5  # time limit of each check; all begin at once, and a doctor waits no longer
NAMED: Final = 5  # checks without an answer in time that an issue names


class Severity(StrEnum):
    """Severity of an issue.

    An error does not work now; a warning will fail or is not safe; a notice waits for a person.
    """

    ERROR = "error"
    WARNING = "warning"
    NOTICE = "notice"


class Fix(msgspec.Struct, frozen=True):
    """A request that corrects an issue, for callers with *scope*, and the *command* that does the same.

    With the *verb* GET, *path* is the page of the dashboard at which a person corrects it. *is_final*: it
    cannot be undone, so ask first.
    """

    title: str
    command: str
    verb: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    scope: Scope
    body: dict[str, Any] | None = None
    is_final: bool = False


def post(
    title: str, command: str, path: str, scope: Scope, body: dict[str, Any] | None = None
) -> tuple[Fix, ...]:
    """Return a fix alone that is a POST with *body*."""
    return (Fix(title, command, "POST", path, scope, body),)


@dataclass(frozen=True)
class Finding:
    """Result of a check: a condition that a person should correct.

    Attributes:
        id: a stable dotted name of the issue's type, such as ``disk.full``.
        explanation: a sentence that states the condition and its consequence.
        fix: the step that corrects it, as a command where the hub has one.
        subject: the affected object, where several may be affected; with *id* it identifies the issue.
        user_id: the owner of the affected object; ``None`` for the hub itself.
        since: start time where the facts contain it; otherwise the time of the first finding is used.
        is_stop: the hub takes no work while it holds, and is not ready.
        fixes: requests of which each corrects the condition.
    """

    severity: Severity
    id: str
    explanation: str
    _: KW_ONLY
    fix: str
    subject: str = ""
    user_id: UserId | None = None
    since: datetime | None = None
    is_stop: bool = False
    fixes: tuple[Fix, ...] = ()

    @cached_property
    def key(self) -> str:
        """Name of the issue in an address: its id, and a digest of its subject."""
        if not self.subject:
            return self.id
        return f"{self.id}-{hashlib.sha256(self.subject.encode()).hexdigest()[:8]}"


error = partial(Finding, Severity.ERROR)
warning = partial(Finding, Severity.WARNING)
notice = partial(Finding, Severity.NOTICE)


def place(is_stop: bool, severity: str, since: datetime, id: str, subject: str) -> tuple[str | int, ...]:
    """Return the sort key of an issue: what stops the hub first, then by severity, then the oldest first."""
    return (int(not is_stop), _ORDER.index(Severity(severity)), epoch_ms(since), id, subject)


@dataclass(frozen=True)
class Issue:
    """Finding, and the time since when it holds (aware, UTC)."""

    found: Finding
    since: datetime


def _place(issue: Issue) -> tuple[str | int, ...]:
    found = issue.found
    return place(found.is_stop, found.severity, issue.since, found.id, found.subject)


Check = Callable[[datetime], Awaitable[Iterable[Finding]]]  # called with the current wall time
Source = Callable[[datetime], Iterable[Finding]]
_Key = tuple[str, str]  # id and subject of a finding
_ORDER: Final = list(Severity)


def lasting(check: Check, clock: Clock, for_s: float) -> Check:
    """Return *check* without findings younger than *for_s* seconds, as after a start or a clock step."""
    first: dict[_Key, float] = {}  # monotonic times

    async def check_again(now: datetime) -> Iterable[Finding]:
        nonlocal first
        found, at = list(await check(now)), clock.monotonic()
        first = {
            (finding.id, finding.subject): first.get((finding.id, finding.subject), at) for finding in found
        }
        return [finding for finding in found if at - first[finding.id, finding.subject] >= for_s]

    return check_again


async def _nothing(*_: object) -> Any:
    return {}


class IssueRegistry:
    """Registry of issues: runs the checks every minute, and on request.

    Args:
        read_muted: returns the mutes by the key of an issue.
        note_changes: stores the keys, and the users, of issues that were opened or closed.
        on_found: called with the registry after each run of the checks.

    Attributes:
        muted: mutes by the key of an issue, as of the last run.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        metrics: Metrics,
        every_s: float = EVERY_S,
        read_muted: Callable[[], Awaitable[Mapping[str, Any]]] = _nothing,
        note_changes: Callable[[Iterable[tuple[str, UserId | None]]], Awaitable[None]] = _nothing,
        on_found: Callable[["IssueRegistry"], Awaitable[None]] = _nothing,
    ) -> None:
        self.loop = PeriodicLoop(clock)
        self._clock = clock
        self._every_s = every_s
        self._checks: dict[str, Check] = {}
        self._online: dict[str, Check] = {}
        self._sources: list[Source] = []
        self._now: dict[_Key, Finding] = {}  # of the sources
        self._checked: dict[_Key, Finding] = {}  # of the last run
        self._unnoted: list[Finding] = []  # opened or closed since the last run
        self._found: dict[str, list[Finding]] = {}  # by the check
        self._issues: dict[_Key, Issue] = {}
        self._worst_first: list[Issue] | None = None  # None: they have changed since they were sorted
        self._ran_at = -math.inf  # monotonic time of the last run
        self._asked_at = -math.inf  # monotonic time of the last run of online checks
        self._running = anyio.Lock()
        self.muted: Mapping[str, Any] = {}
        self._read_muted = read_muted
        self._note_changes = note_changes
        self._on_found = on_found
        metrics.issues.follow(self.counts)

    def add(self, name: str, check: Check, *, online: bool = False) -> None:
        """Register a check; an *online* check runs only on request."""
        (self._online if online else self._checks)[name] = check

    def watch(self, source: Source) -> None:
        """Register a source, which is read whenever the issues are."""
        self._sources.append(source)

    @property
    def known(self) -> list[Issue]:
        """Issues of the sources, as of now."""
        self._read_sources()
        return [self._issues[key] for key in self._now]

    @property
    def current(self) -> list[Issue]:
        """Issues of the last run and of the sources now, the worst first."""
        self._read_sources()
        if self._worst_first is None:
            self._worst_first = sorted(self._issues.values(), key=_place)
        return self._worst_first.copy()

    def counts(self) -> Mapping[tuple[str, ...], int]:
        """Return the numbers of issues that are not muted, by id and severity."""
        self._read_sources()
        found = (issue.found for issue in self._issues.values())
        return Counter((finding.id, finding.severity) for finding in found if finding.key not in self.muted)

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run the checks every minute until cancelled."""
        task_status.started()
        rest_s = self._every_s - WOKEN_S
        await self.loop.serve(self.run_checks, of="issues", every_s=rest_s, least_s=WOKEN_S)

    def forget(self, subject: str | None = None, *, online: bool = False) -> None:
        """Expire the last findings after a change, and run the checks again soon.

        Args:
            subject: that has changed; if no issue is about it, nothing expires. None: any may have.
            online: also drop what other machines answered.
        """
        if subject is not None and all(about != subject for _, about in self._issues):
            return
        if online:
            self._asked_at = -math.inf
        self._ran_at = -math.inf
        self.loop.wake()

    async def fresh(self, *, online: bool = False, anew: bool = False) -> list[Issue]:
        """Return the current issues; they may be up to FRESH_S seconds old.

        Args:
            online: also run the checks that contact other machines, at most every FRESH_S seconds.
            anew: run the checks even if the last findings are younger than FRESH_S seconds.
        """
        is_due = online and self._clock.monotonic() - self._asked_at >= FRESH_S
        if is_due or anew or self._is_old:
            async with self._running:
                if is_due or anew or self._is_old:  # else the run that was waited for is new enough
                    await self._check(online=is_due)
        return self.current

    @property
    def _is_old(self) -> bool:
        return self._clock.monotonic() - self._ran_at >= FRESH_S

    async def run_checks(self, *, online: bool = False) -> None:
        """Run every check, those that contact other machines only if *online*, and report the changes."""
        async with self._running:
            await self._check(online=online)
        try:
            while self._unnoted:
                changed, self._unnoted = self._unnoted, []
                await self._note_changes([(finding.key, finding.user_id) for finding in changed])
            await self._on_found(self)
        except StorageError as exc:  # the next run reads them; an issue says that the database is away
            log.warning("issue.not_noted", code=exc.code)

    async def _check(self, *, online: bool) -> None:
        """Run every check, and keep what each found; a check without an answer keeps what it found last."""
        if online:
            self._asked_at = self._clock.monotonic()
        elif self._clock.monotonic() - self._asked_at >= ONLINE_LIFETIME_S:
            for name in self._online:
                self._found.pop(name, None)
        checks = self._checks | (self._online if online else {})
        late = dict.fromkeys(checks)
        now = self._clock.now()

        async def run(name: str, check: Check) -> None:
            try:
                self._found[name] = list(await check(now))
            except Exception as exc:  # a failing check must not prevent the others
                if isinstance(exc, StorageError) and exc.trouble is not None:  # an issue of its own
                    log.warning("issue.not_checked", check=name, code=exc.code)
                else:
                    self._found[name] = [_failed(name, exc)]
            del late[name]

        with written_for("issues"), anyio.move_on_after(CHECK_S):
            async with anyio.create_task_group() as running:
                running.start_soon(self.refresh_muted)
                for name, check in checks.items():
                    running.start_soon(run, name, check)
        unanswered = notice(  # a busy machine is slow as well; that a server is silent is an issue of its own
            "check.late",
            f"no answer within {CHECK_S:g} s, so what these checks found before is shown:"
            f" {listed(list(late), NAMED)}",
            fix="see whether the database and the bus answer: hub logs --level warning",
        )
        self._found[""] = [unanswered] if late else []
        self._checked = {
            (finding.id, finding.subject): finding for found in self._found.values() for finding in found
        }
        self._read_sources()
        self._ran_at = self._clock.monotonic()

    async def refresh_muted(self) -> None:
        """Read anew which issues are muted, if the database can be read."""
        with suppress(StorageError):
            self.muted = await self._read_muted()

    def _read_sources(self) -> None:
        """Keep the findings of the last run and of the sources; run the checks soon if one is new or over."""
        now = self._clock.now()
        self._now = {
            (finding.id, finding.subject): finding for source in self._sources for finding in source(now)
        }
        if changed := self._keep(self._checked | self._now, now):
            self._unnoted += changed
            self.loop.wake()

    def _keep(self, found: dict[_Key, Finding], now: datetime) -> list[Finding]:
        """Keep findings as the issues. Return those that were opened or closed."""
        changed: list[Finding] = []
        for key in self._issues.keys() - found.keys():
            closed, self._worst_first = self._issues.pop(key), None
            changed.append(closed.found)
            log.info("issue.closed", issue=closed.found.id, subject=closed.found.subject)
        for key, finding in found.items():
            before = self._issues.get(key)
            if before is not None and (before.found is finding or before.found == finding):
                continue
            changed += [finding] if before is None else []
            self._worst_first = None
            since = finding.since or (now if before is None else before.since)
            self._issues[key] = Issue(finding, since)
            if before is None and finding.severity is Severity.NOTICE:
                log.info("issue.opened", issue=finding.id, subject=finding.subject)
            elif before is None:
                log.warning("issue.opened", issue=finding.id, subject=finding.subject)
        return changed


def _failed(name: str, exc: Exception) -> Finding:
    log.error("issue.check_failed", exc=exc, check=name)
    return warning(
        "check.failed",
        f"this check failed: {name}",
        fix="the hub's log has the reason: hub logs --level error",
        subject=name,
    )
