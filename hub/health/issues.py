"""What a person should see to: found by checks, kept with the moment since when it is so.

A check is one callable that looks at facts handed to it and returns findings. It
decides nothing else: what is found again is the same issue, what is not found any
more is over. A check that breaks is an issue itself.
"""

import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Final

import anyio
from anyio.abc import TaskStatus

from hub.clock import Clock
from hub.log import Channel
from hub.metrics import Metrics
from hub.turns import Turns
from protocol.ids import UserId

log = Channel(__name__)

EVERY_S: Final = 60.0
FRESH_S: Final = 5.0  # who asks more often than this is told what was found before
FRESH_ONLINE_S: Final = 30.0  # so long other machines are left in peace, whoever asks
KEPT_ONLINE_S: Final = 300.0  # so long it counts what other machines answered
CHECK_S: Final = 10.0  # what one check may take


class Severity(StrEnum):
    """How bad it is: something does not work, it will not or is not safe, or it only waits for somebody."""

    ERROR = "error"
    WARNING = "warning"
    NOTICE = "notice"


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        id: a stable dotted name of the kind of issue, as ``disk.full``.
        explanation: a sentence: what is so, and what follows from it.
        fix: what to do, as a command where there is one.
        subject: what it is about, where there may be several; with *id* it names the issue.
        user_id: whose matter it is; ``None``: the hub's own.
        since: where the facts tell it; else when it was found first.
    """

    severity: Severity
    id: str
    explanation: str
    _: KW_ONLY
    fix: str
    subject: str = ""
    user_id: UserId | None = None
    since: datetime | None = None


error = partial(Finding, Severity.ERROR)
warning = partial(Finding, Severity.WARNING)
notice = partial(Finding, Severity.NOTICE)


@dataclass(frozen=True)
class Issue:
    """A finding, and since when it is so (aware, UTC)."""

    found: Finding
    since: datetime


Check = Callable[[datetime], Awaitable[Iterable[Finding]]]  # it is told the wall time
_Key = tuple[str, str]  # id and subject of a finding
_ORDER: Final = list(Severity)


class Issues:
    """The registry: runs the checks every minute, and when somebody asks."""

    def __init__(self, *, clock: Clock, metrics: Metrics, every_s: float = EVERY_S) -> None:
        self.turns = Turns(clock)
        self._clock = clock
        self._every_s = every_s
        self._checks: dict[str, Check] = {}
        self._online: dict[str, Check] = {}
        self._found_online: dict[_Key, Finding] = {}
        self._issues: dict[_Key, Issue] = {}
        self._looked_at = -math.inf  # monotonic
        self._asked_at = -math.inf  # other machines
        self._looking = anyio.Lock()
        for severity in Severity:
            metrics.issues.labels(severity).set_function(partial(self.count, severity))

    def add(self, name: str, check: Check, *, online: bool = False) -> None:
        """Run *check* too, from now on; only when somebody asks for it where it is *online*."""
        (self._online if online else self._checks)[name] = check

    @property
    def current(self) -> list[Issue]:
        """What the last look found, the worst first, then the oldest."""
        return sorted(
            self._issues.values(),
            key=lambda issue: (_ORDER.index(issue.found.severity), issue.since, issue.found.id),
        )

    def count(self, severity: Severity) -> int:
        """How many issues of this severity there are."""
        return sum(issue.found.severity is severity for issue in self._issues.values())

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Look every minute until cancelled."""
        task_status.started()
        while True:
            self.turns.work()
            await self.look()
            self.turns.wait(self._every_s)
            await self._clock.sleep(self._every_s)

    def forget(self) -> None:
        """Something was changed: who asks next is told of what is so after that."""
        self._looked_at = -math.inf

    async def fresh(self, *, online: bool = False, anew: bool = False) -> list[Issue]:
        """What is so now, or was so a few seconds ago.

        Args:
            online: what asks other machines is looked at too; it counts for a few minutes.
            anew: a few seconds ago will not do.
        """
        now = self._clock.monotonic()
        is_due = online and now - self._asked_at >= FRESH_ONLINE_S
        if is_due or anew or now - self._looked_at >= FRESH_S:
            await self.look(online=is_due)
        return self.current

    async def look(self, *, online: bool = False) -> None:
        """Run every check; those that ask other machines only where *online*."""
        async with self._looking:
            now = self._clock.now()
            found = await _run_all(self._checks, now)
            if online:
                self._asked_at = self._clock.monotonic()
                self._found_online = await _run_all(self._online, now)
            elif self._clock.monotonic() - self._asked_at >= KEPT_ONLINE_S:
                self._found_online = {}
            self._keep(found | self._found_online, now)
            self._looked_at = self._clock.monotonic()

    def _keep(self, found: dict[_Key, Finding], now: datetime) -> None:
        for key in self._issues.keys() - found.keys():
            gone = self._issues.pop(key)
            log.info("issue.closed", issue=gone.found.id, subject=gone.found.subject)
        for key, finding in found.items():
            before = self._issues.get(key)
            since = finding.since or (now if before is None else before.since)
            self._issues[key] = Issue(finding, since)
            if before is None and finding.severity is Severity.NOTICE:
                log.info("issue.opened", issue=finding.id, subject=finding.subject)
            elif before is None:
                log.warning("issue.opened", issue=finding.id, subject=finding.subject)


async def _run_all(checks: Mapping[str, Check], now: datetime) -> dict[_Key, Finding]:
    return {
        (finding.id, finding.subject): finding
        for name, check in checks.items()
        for finding in await _run(name, check, now)
    }


async def _run(name: str, check: Check, now: datetime) -> list[Finding]:
    try:
        with anyio.fail_after(CHECK_S):
            return list(await check(now))
    except Exception as exc:  # the others are to be run all the same
        log.error("issue.check_failed", exc=exc, check=name)
        return [
            warning(
                "check.failed",
                f"it could not be found out whether all is well with: {name}",
                fix="the hub's log says why: hub logs --level error",
                subject=name,
            )
        ]
