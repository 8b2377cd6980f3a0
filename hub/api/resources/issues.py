"""Routes of issues that a person has to resolve: list, counts, fixes, and muting."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Annotated, Final, Literal

import anyio
from msgspec import Meta

from hub.api.binding import BodyField
from hub.api.resource import (
    ALL,
    Actor,
    Instant,
    ListPart,
    Resource,
    View,
    audited,
    command,
    listed,
    route,
    tool,
)
from hub.base.clock import Clock, epoch_ms
from hub.base.roles import Scope
from hub.health.issues import Fix, Issue, Severity, place
from hub.health.issues import IssueRegistry as FoundIssues
from protocol.errors import CodedError, ErrorCode
from storage import audit
from storage import issue_mutes as storage_issue_mutes
from storage.issue_mutes import IssueMute
from storage.kernel.columns import Key
from storage.store import Connection, Store

CHECK_S: Final = 2.0  # time for checks of which the worst and the numbers are asked, and for other numbers
KEY: Final = r"^[\w.-]{1,200}$(?!\n)"


class IssueMuteView(View, kw_only=True):
    """Mute of an issue: who muted it, when and why. *ends_at*: null: until it is unmuted.

    *actor_name*: the name of the actor's id, as in the audit log.
    """

    key: str
    reason: str
    actor: str
    actor_name: str | None = None
    muted_at: Instant
    ends_at: Instant | None = None


class IssueView(View):
    """A problem that a person has to resolve.

    *id* is a stable dotted name of its kind; with *subject*, the thing concerned, it names the issue. In
    addresses *key* names it. An *error* does not work; a *warning* is not safe, or will not work soon; a
    *notice* waits for a person. *since*: when it began if that is known, else when the hub first found it.
    *fix* says what to do; each of *fixes* does it. *is_stop*: the hub takes no work while it holds.
    """

    id: str
    subject: str
    severity: Literal["error", "warning", "notice"]
    since: Instant
    explanation: str
    fix: str
    key: str
    fixes: tuple[Fix, ...] = ()
    is_stop: bool = False
    muted: IssueMuteView | None = None


_MUTE_REQUEST: Final = BodyField(
    "MuteRequest", "Request to mute an issue, with the reason for others. *until*: null: until it is unmuted."
)


class IssueCounts(View):
    """Numbers of issues by severity, without muted ones."""

    errors: int = 0
    warnings: int = 0
    notices: int = 0


def _key(issue: IssueView) -> Key:
    return place(issue.is_stop, issue.severity, issue.since, issue.id, issue.subject)


async def read_mutes(store: Store, clock: Clock) -> dict[str, IssueMuteView]:
    """Return the mutes that have not ended, by the key of their issue."""
    now = epoch_ms(clock.now())
    return await store.read(lambda c: _named(c, storage_issue_mutes.list_mutes(c, now).values()))


class IssuesResource(Resource):
    """Issues of the hub; scoped to a user, those of this user's things."""

    name, path = "issues", "/v1/issues"

    def __init__(self, issues: FoundIssues, store: Store, clock: Clock) -> None:
        self._issues = issues
        self._store = store
        self._clock = clock

    @command(
        "issues ls",
        example="hub issues ls --muted",
        json="issues",
        help="List the issues that hub doctor checks for, with the keys by which they are muted.",
        options={"online": None, "anew": None, "limit": None, "muted": "List those that are muted instead."},
        table=(
            "key as issue",
            "severity",
            "since|at",
            "explanation",
            "muted.ends_at|at as until?",
            "muted.reason as because?",
        ),
        empty="no issues",
    )
    @tool()
    @listed("", Scope.READ, key=_key)
    async def all(
        self,
        online: Annotated[bool, Meta(description="Ask other machines too, as the model's endpoint.")] = False,
        anew: Annotated[bool, Meta(description="Check now; else a check a few seconds old will do.")] = False,
        muted: Annotated[bool, Meta(description="Those that are muted, instead of the others.")] = False,
        part: ListPart = ALL,
    ) -> list[IssueView]:
        """Check settings, certificates, disk, tokens, devices, agents, backups and the audit log."""
        # A doctor counts the muted ones after it had the others checked.
        found = self._issues.current if muted else await self._issues.fresh(online=online, anew=anew)
        mutes = self._issues.muted
        shown = [issue for issue in found if self._is_seen(issue) and (issue.found.key in mutes) == muted]
        return part.of([_view(issue, mutes) for issue in shown], _key)

    @command(
        "issues mute KEY",
        example="hub issues mute backup.old --reason 'the disk is mirrored' --until 2027-01-31",
        json="issue_mute",
        help="Do not show an issue any more, at any node: by hub status, hub doctor and the dashboard.\n\n"
        "It is listed by hub issues ls --muted. Without --until it stays muted until hub issues unmute.",
        options={"reason": "Why, for others.", "until": "When it is shown again."},
        message="issue {key} is muted",
    )
    @route("POST", "/{key}/mute", Scope.RUN, errors=[ErrorCode.LIMIT_REACHED, ErrorCode.UNKNOWN_NAME])
    @audited("issue.muted")
    async def mute(
        self,
        key: Annotated[str, Meta(pattern=KEY)],
        reason: Annotated[str, Meta(min_length=1, max_length=500), _MUTE_REQUEST],
        actor: Actor,
        until: Annotated[Instant | None, _MUTE_REQUEST] = None,
    ) -> IssueMuteView:
        """Hide an issue at all nodes, until a time or until it is unmuted."""
        now = self._now
        ends_at = None if until is None else epoch_ms(until)
        if ends_at is not None and ends_at <= now:
            raise CodedError(ErrorCode.BAD_PARAMS, "until: expected a time to come")
        issue = next((current for current in self._issues.current if current.found.key == key), None)
        is_elsewhere = issue is None and self._store.is_shared and self.user_id is None  # at another node
        if not is_elsewhere and (issue is None or not self._is_seen(issue)):
            raise CodedError(ErrorCode.UNKNOWN_NAME, f"there is no issue {key} now; hub issues ls lists all")
        owner = None if issue is None else issue.found.user_id
        row = IssueMute(key, owner, reason, actor, now, ends_at)
        await self._store.write(storage_issue_mutes.mute, row)
        await self._issues.refresh_muted()
        return (await self._store.read(_named, [row]))[key]

    @command(
        "issues unmute KEY",
        example="hub issues unmute backup.old",
        json="issue_mute",
        help="Show a muted issue again.",
        message="issue {key} is shown again",
    )
    @route("POST", "/{key}/unmute", Scope.RUN, errors=[ErrorCode.UNKNOWN_NAME])
    @audited("issue.unmuted")
    async def unmute(self, key: Annotated[str, Meta(pattern=KEY)], actor: Actor) -> IssueMuteView:
        """Show a muted issue again. Returns the mute that has ended."""
        now = self._now
        row = (await self._store.read(storage_issue_mutes.list_mutes, now)).get(key)
        if row is None or self.user_id not in (None, row.user_id):
            message = f"issue {key} is not muted; hub issues ls --muted lists those that are"
            raise CodedError(ErrorCode.UNKNOWN_NAME, message)
        await self._store.write(storage_issue_mutes.unmute, key, at=now, actor=actor)
        await self._issues.refresh_muted()
        return (await self._store.read(_named, [row]))[key]

    async def counts(self, since: datetime | None = None) -> IssueCounts:
        """Return the number of issues, or of those that began since then, by severity."""
        return _counted(issue for issue in await self._shown() if since is None or issue.since >= since)

    async def worst(self, most: int) -> tuple[tuple[IssueView, ...], IssueCounts]:
        """Return the worst issues, at most so many, and the number of all by severity."""
        shown = await self._shown()
        return tuple(_view(issue, {}) for issue in shown[:most]), _counted(shown)

    async def _shown(self) -> list[Issue]:
        """Return the issues that are not muted, as the list has them, the worst first."""
        with anyio.move_on_after(CHECK_S):
            await self._issues.fresh()
        shown = (issue for issue in self._issues.current if issue.found.key not in self._issues.muted)
        return [issue for issue in shown if self._is_seen(issue)]

    def _is_seen(self, issue: Issue) -> bool:
        return self.user_id in (None, issue.found.user_id) or issue.found.is_stop


def _counted(issues: Iterable[Issue]) -> IssueCounts:
    seen = [issue.found.severity for issue in issues]
    return IssueCounts(
        errors=seen.count(Severity.ERROR),
        warnings=seen.count(Severity.WARNING),
        notices=seen.count(Severity.NOTICE),
    )


def _named(c: Connection, mutes: Collection[IssueMute]) -> dict[str, IssueMuteView]:
    """Return the mutes by their keys, with the names of those who muted."""
    names = audit.names_of_actors(c, {mute.actor for mute in mutes})
    return {mute.key: IssueMuteView.from_row(mute, actor_name=names.get(mute.actor)) for mute in mutes}


def _view(issue: Issue, mutes: Mapping[str, IssueMuteView]) -> IssueView:
    return IssueView.from_row(
        issue,
        issue.found,
        muted=mutes.get(issue.found.key),
    )
