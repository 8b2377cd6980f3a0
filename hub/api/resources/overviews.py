"""Overviews of agents, news since a person looked, stream of changes (reset after a restart), audit log.

The id of a change names the start of the hub. So a stream that goes on after a restart begins with ``reset``,
as that of ``logs`` does.

The audit log: changes, refusals, and checks that the log itself was not changed.
"""

from collections.abc import AsyncGenerator, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any, Final, Literal

import anyio
from msgspec import Meta

from hub.api.binding import FromHeader
from hub.api.events import EventStream
from hub.api.resource import (
    ALL,
    Instant,
    ListPart,
    OpenStreams,
    Resource,
    ResourceRegistry,
    View,
    command,
    listed,
    route,
    tool,
)
from hub.api.resources.agent_configs import AgentConfigsResource
from hub.api.resources.agent_status import AgentStatusesResource, AgentStatusView, EventWord, Word
from hub.api.resources.agents import AgentsResource, AgentView
from hub.api.resources.capabilities import CapabilitiesResource, CapabilityView
from hub.api.resources.checkpoints import CheckpointsResource
from hub.api.resources.costs import CostsResource, SpendView
from hub.api.resources.issues import IssueCounts, IssuesResource
from hub.api.resources.locks import LocksResource, LockView
from hub.api.resources.measurements import MeasurementsResource
from hub.api.resources.runs import RunListFilter, RunsResource, RunView
from hub.api.resources.schedules import SlotsResource, SlotView
from hub.base.clock import Clock, epoch_ms
from hub.base.log import Channel
from hub.base.roles import Scope
from hub.base.toml.limits import NANOS
from hub.settings.edits import CHANGED, KeyChange
from protocol.errors import ErrorCode
from protocol.ids import BootId, UserId
from protocol.lifecycles import RunOutcome, RunState
from protocol.status_vocabularies import EVENT_ALIASES
from storage import audit, changes
from storage.agents import agents
from storage.audit import ActivityEntry, AuditBreak, AuditRow
from storage.coordination import questions
from storage.devices import pairings
from storage.kernel.database import StorageError
from storage.runs import items, model_calls, runs
from storage.runs.items import VERDICTS
from storage.store import Connection, Store

log = Channel(__name__)

MAX_BREAKS: Final = 100  # listed
NOTE_S: Final = 1.0


class AuditEntryView(View):
    """Entry of the audit log.

    *actor*: ``operator:UID`` (over the Unix socket), ``token:ID``, ``device:ID`` or ``hub``; *subject*: the
    id of what was changed. *alias*: the name of the event in the coordination vocabulary, by which it is also
    found. *hash* covers the stored fields and *prev_hash*, the hash of the entry before. *actor_name*,
    *subject_name*: present names of their ids, if they have any. *changes*: of values, as *detail* has them.
    """

    seq: int
    at: Instant
    actor: str
    event: str
    subject: str | None
    outcome: Literal["done", "refused"]
    detail: dict[str, Any]
    prev_hash: str
    hash: str
    alias: str | None = None
    actor_name: str | None = None
    subject_name: str | None = None
    changes: tuple[KeyChange, ...] = ()


class AuditCheckView(View):
    """Result of a check of the whole chain.

    *last_seq* and *last_hash* are its end; kept elsewhere, they can be verified later.
    """

    ok: bool
    entries: int
    first_seq: int | None = None
    last_seq: int | None = None
    last_hash: str | None = None
    breaks: tuple[AuditBreak, ...] = ()
    more_breaks: int = 0  # found, and not listed


class AuditLogResource(Resource):
    """The audit log of all users."""

    name, path, list_key = "audit", "/v1/audit", "entries"
    is_scoped = False

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def note(self, event: str, *, actor: str) -> None:
        """Write an entry about an action that changed nothing, unless the database is slow or broken."""
        at = self._now
        with anyio.move_on_after(NOTE_S):
            try:
                await self._store.write(audit.append, at=at, actor=actor, event=event)
            except StorageError as exc:
                log.error("audit.unwritten", exc=exc, about=event, actor=actor)

    @command(
        "audit ls",
        example="hub audit ls --event settings.changed",
        json="audit",
        help="List the last entries, the newest first.",
        options={
            "event": "Only this event; 'token.' means all events that begin so.",
            "actor": "Only this actor: operator:UID, token:ID, device:ID or hub.",
            "subject": "Only entries about this subject.",
            "since": "Only entries from then on.",
            "until": "Only entries before.",
            "limit": "--limit=50: Maximum number of entries.",
        },
        table=(
            "seq as entry",
            "at|at",
            "*|acted_by as actor",
            "{event}{outcome|refused} as event",
            "alias as alias?",
            "*|acted_on as subject",
            "*|entry_details as detail",
        ),
        empty="no matching entries",
    )
    @listed("", Scope.AUDIT, key=lambda entry: (entry.seq,))
    async def entries(
        self,
        order: Annotated[
            Literal["newest", "oldest"], Meta(description="Which entries come first.")
        ] = "newest",
        event: EventWord = None,
        actor: Word = None,
        subject: Word = None,
        since: Instant | None = None,
        until: Instant | None = None,
        part: ListPart = ALL,
    ) -> list[AuditEntryView]:
        """List changes and refusals with their actors, the newest first."""
        rows, names = await self._store.read(
            audit.list_named_entries,
            limit=part.limit,
            after=part.after,
            oldest_first=order == "oldest",
            event=event,
            actor=actor,
            subject=subject,
            since=None if since is None else epoch_ms(since),
            until=None if until is None else epoch_ms(until),
        )
        return [_view(row, names) for row in rows]

    @command(
        "audit verify",
        example="hub audit verify",
        json="audit_check",
        help="Verify the whole chain: edited, removed and exchanged entries are reported.\n\n"
        "Exits with 1 when the log was changed.",
        options={
            "known": "NUMBER:HASH that you noted earlier; checks that the log still has this entry.",
        },
        prints="*|chain",
        notes=("last_seq|chain_note",),
        fails_if="ok|no",
    )
    @route("GET", "/verify", Scope.AUDIT)
    async def verify(
        self,
        known: Annotated[
            str,
            Meta(
                pattern=r"^[1-9]\d{0,17}:[0-9a-f]{64}$(?!\n)",
                description="The number of an entry and its hash, kept elsewhere: ``812:3f2a...``",
            ),
        ]
        | None = None,
    ) -> AuditCheckView:
        """Check the whole chain for edited, removed and exchanged entries."""
        # In parts, so that others use the database in between.
        part = await self._store.read(audit.check_part)
        entries, breaks = part.entries, list(part.breaks)
        while not part.is_last:
            part = await self._store.read(audit.check_part, part.end)
            entries += part.entries
            breaks += part.breaks
        if known is not None:
            seq, _, digest = known.partition(":")
            link = audit.Link(int(seq), bytes.fromhex(digest))
            found = await self._store.read(audit.check_known, link)
            breaks += [] if found is None else [found]
        first = await self._store.read(audit.list_entries, limit=1, oldest_first=True)
        end = part.end
        return AuditCheckView(
            ok=not breaks,
            entries=entries,
            first_seq=first[0].seq if first else None,
            last_seq=None if end is None else end.seq,
            last_hash=None if end is None else end.hash.hex(),
            breaks=tuple(breaks[:MAX_BREAKS]),
            more_breaks=max(0, len(breaks) - MAX_BREAKS),
        )


def _view(row: AuditRow, names: Mapping[str, str]) -> AuditEntryView:
    detail = audit.read_detail(row.detail)
    is_done = row.outcome == "done"
    return AuditEntryView.from_row(
        row,
        detail=detail,
        alias=next(
            (alias.name for alias in EVENT_ALIASES if is_done and alias.fits(row.event, detail)),
            None,
        ),
        prev_hash=row.prev_hash.hex(),
        hash=row.hash.hex(),
        actor_name=names.get(row.actor),
        subject_name=names.get(row.subject or ""),
        changes=tuple(_changes(row, detail)),
    )


def _changes(row: AuditRow, detail: Mapping[str, object]) -> Iterator[KeyChange]:
    """Yield the changed values that an entry tells, each with the value before."""
    if row.event == CHANGED and row.subject:
        yield KeyChange(row.subject, _text(detail.get("old")), _text(detail.get("new")))
    for name, old in detail.items():
        key = name.removesuffix(audit.OLD)
        if key != name:
            yield KeyChange(key, _text(old), _text(detail.get(key)))


def _text(value: object) -> str | None:
    return None if value is None else str(value)


NEWEST_RUNS: Final = 5


class CheckpointBrief(View):
    """A checkpoint without its content."""

    scope: str
    sequence: int
    is_recoverable: bool
    updated_at: Instant


class AgentOverview(View):
    """An agent, its state and why, its calendar, its runs, and what it holds, can and remembers.

    *runs* are the newest five; *capabilities* those that are enabled; *locks* those that it holds or
    waits for; *config* the keys of its configuration; *series* the number of its metrics.
    """

    agent: AgentView
    status: AgentStatusView
    slots: tuple[SlotView, ...]
    runs: tuple[RunView, ...]
    locks: tuple[LockView, ...]
    capabilities: tuple[CapabilityView, ...]
    config: tuple[str, ...]
    checkpoints: tuple[CheckpointBrief, ...]
    spend: SpendView
    series: int


class OverviewsResource(Resource):
    """Overviews of agents, made from the other resources of the hub."""

    name, path = "overviews", "/v1/agents/{name}/overview"
    errors = (ErrorCode.UNKNOWN_AGENT,)

    def __init__(self, hub: ResourceRegistry) -> None:
        self._hub = hub

    @tool()
    @route("GET", "", Scope.READ)
    async def get(self, name: str) -> AgentOverview:
        """Return one agent with its state and why, calendar, runs, locks, abilities and costs."""
        hub, mine = self._hub, self.user_id
        agent = await hub.resource(AgentsResource, mine).get(name)
        configuration = await hub.resource(AgentConfigsResource, mine).of_agent(name)
        capabilities = await hub.resource(CapabilitiesResource, mine).of_agent(name)
        checkpoints = await hub.resource(CheckpointsResource, mine).all(name)
        return AgentOverview(
            agent=agent,
            status=await hub.resource(AgentStatusesResource, mine).get(name),
            slots=tuple(await hub.resource(SlotsResource, mine).of_agent(name)),
            runs=tuple(
                await hub.resource(RunsResource, mine).newest(
                    RunListFilter(agent=name), ListPart(NEWEST_RUNS)
                )
            ),
            locks=tuple(await hub.resource(LocksResource, mine).all(agent=name)),
            capabilities=tuple(capability for capability in capabilities if capability.enabled),
            config=tuple(sorted(configuration.configuration)),
            checkpoints=tuple(CheckpointBrief.from_row(checkpoint) for checkpoint in checkpoints),
            spend=await hub.resource(CostsResource, mine).of_agent(name),
            series=len(await hub.resource(MeasurementsResource, mine).series(name)),
        )


class ActivityView(View):
    """Entry of the activity log.

    *event*: a stable name; those of coordination are the names of that vocabulary, as ``agent.nudge.sent``.
    *agent_id*: the agent that acted, else the one that it is about; *data*: ids.
    """

    id: str
    at: Instant
    event: str
    level: Literal["debug", "info", "warning", "error"]
    message: str
    actor: str
    agent_id: str | None = None
    run_id: str | None = None
    device_id: str | None = None
    data: dict[str, Any] = {}


class ActivityLogResource(Resource):
    """The activity log. A user sees entries about agents and devices of that user."""

    name, path = "activity", "/v1/activity"

    def __init__(self, store: Store) -> None:
        self._store = store

    @command(
        "activity",
        example="hub activity --event agent.nudge.",
        json="activity",
        help="List what happened to agents, messages and questions.",
        options={
            "event": "Only this event; 'agent.nudge.' means all events that begin so.",
            "agent": "Only of this agent.",
            "since": "Only entries from then on.",
            "until": "Only entries before.",
            "limit": "--limit=50: Maximum number of entries.",
        },
        table=("at|at", "event", "actor", "message"),
        empty="no matching entries",
    )
    @tool()
    @listed(
        "", Scope.READ, key=lambda entry: (epoch_ms(entry.at), entry.id), errors=[ErrorCode.UNKNOWN_AGENT]
    )
    async def entries(
        self,
        event: EventWord = None,
        agent: Annotated[str, Meta(max_length=200, description="Only of this agent, by name or id.")]
        | None = None,
        since: Instant | None = None,
        until: Instant | None = None,
        part: ListPart = ALL,
    ) -> list[ActivityView]:
        """List what happened to agents, messages, questions and schedules, the newest first."""

        def read(c: Connection) -> list[ActivityEntry]:
            return audit.list_activity(
                c,
                user_id=self.user_id,
                agent_id=None if agent is None else agents.agent_called(c, agent, self.user_id).id,
                event=event,
                since=None if since is None else epoch_ms(since),
                until=None if until is None else epoch_ms(until),
                limit=part.limit,
                after=part.after,
            )

        rows = await self._store.read(read)
        return [ActivityView.from_row(row, event=row.event_type) for row in rows]


LATELY: Final = timedelta(days=1)
MAX_COUNTED: Final = 1_000  # of each kind, in the order of an index
MAX_CALLS: Final = 10_000  # of models, whose costs are summed up


class RunCounts(View):
    """Numbers of runs that were created in the time, by how they ended."""

    success: int
    partial: int
    failed: int
    cancelled: int


class ItemCounts(View):
    """Numbers of items found, approved or edited, and rejected in the time; *waiting*: all open ones."""

    found: int
    approved: int
    rejected: int
    waiting: int


class QuestionCounts(View):
    """Number of questions asked in the time, and of all open ones."""

    asked: int
    open: int


class SpentView(View):
    """Costs of models in the time. *is_part*: of so many calls that only a part of them is summed up."""

    requests: int
    usd: float
    is_part: bool = False


class SummaryView(View):
    """Summary of the time from *since* until *until*. A number of 1,000 means that there may be more.

    *pairings*: devices that wait to be let in; *issues*: those that began in the time.
    """

    since: Instant
    until: Instant
    runs: RunCounts
    items: ItemCounts
    questions: QuestionCounts
    pairings: int
    issues: IssueCounts
    costs: SpentView


class SummariesResource(Resource):
    """Summaries of what happened, made from the other resources of the hub."""

    name, path = "summary", "/v1/summary"

    def __init__(self, hub: ResourceRegistry, store: Store, clock: Clock) -> None:
        self._hub = hub
        self._store = store
        self._clock = clock

    @command(
        "summary",
        example="hub summary --since 'yesterday 18:00'",
        json="summary",
        help="Show what happened since a time: runs, items, questions and costs.",
        options={"since": "--since=24h: What happened from then on."},
        facts=(
            "since|moment",
            "runs|run_counts as runs",
            "items|run_counts as items",
            "questions|run_counts as questions",
            "pairings as devices that wait",
            "issues|issue_counts as new issues",
            "costs.requests as model requests",
            "costs.usd|usd as USD",
        ),
    )
    @tool()
    @route("GET", "", Scope.READ)
    async def get(
        self,
        since: Annotated[Instant, Meta(description="24 hours ago by default.")] | None = None,
    ) -> SummaryView:
        """Count runs, items, questions, pairings, issues and costs of the time since then."""
        until = self._clock.now()
        begin: datetime = since or until - LATELY
        at, user_id = epoch_ms(begin), self.user_id
        issues = await self._hub.resource(IssuesResource, user_id).counts(since=begin)

        def read(c: Connection) -> SummaryView:
            usage, calls = model_calls.newest_costs(c, MAX_CALLS, since=at, user_id=user_id)
            waiting = [] if user_id else pairings.list_pairings(c, at=epoch_ms(until), limit=MAX_COUNTED)
            return SummaryView(
                since=begin.astimezone(UTC),
                until=until,
                runs=_runs(c, at, user_id),
                items=_items(c, at, user_id),
                questions=QuestionCounts(
                    asked=questions.count_questions(c, MAX_COUNTED, since=at, user_id=user_id),
                    open=questions.count_questions(c, MAX_COUNTED, user_id=user_id),
                ),
                pairings=len(waiting),
                issues=issues,
                costs=SpentView(
                    requests=usage.requests, usd=usage.cost_nanos / NANOS, is_part=calls == MAX_CALLS
                ),
            )

        return await self._store.read(read)


def _runs(c: Connection, since: int, user_id: UserId | None) -> RunCounts:
    def count(outcome: RunOutcome | None = None, states: set[RunState] | None = None) -> int:
        return runs.count_runs(c, MAX_COUNTED, outcome=outcome, states=states, since=since, user_id=user_id)

    return RunCounts(
        success=count(RunOutcome.SUCCESS),
        partial=count(RunOutcome.PARTIAL),
        failed=count(RunOutcome.ERROR),
        cancelled=count(states={RunState.CANCELLED}),
    )


def _items(c: Connection, since: int, user_id: UserId | None) -> ItemCounts:
    count = partial(items.count_with_verdicts, c, most=MAX_COUNTED, user_id=user_id)
    return ItemCounts(
        found=count(verdicts=VERDICTS, found_since=since),
        approved=count(verdicts=("approved", "edited"), decided_since=since),
        rejected=count(verdicts=("rejected",), decided_since=since),
        waiting=count(verdicts=("open",)),
    )


OPEN, RESET, CHANGE = "open", "reset", "changed"
EVERY_S: Final = 0.25  # between two looks of a reader; a subject that changes more often is sent once
AT_ONCE: Final = 500


class ChangeView(View):
    """Change of a thing: the route of its *kind* and *id* shows it as it is now, or no longer.

    *version* grows with each change, and is the same for things that changed together.
    """

    kind: str
    id: str
    version: int


class ChangesView(View):
    """Event of a stream of changes.

    *id*: for ``Last-Event-ID``. *event*: ``open`` comes first, ``reset`` in its place if changes may be
    missing, so that everything has to be read again; ``changed`` bears *changes*, each thing once.
    """

    id: str
    event: str
    changes: list[ChangeView] = []


class ChangesResource(Resource):
    """Changes of agents, runs, items, devices and so on, whichever node made them."""

    name, path = "changes", "/v1/changes"

    def __init__(self, *, store: Store, clock: Clock, boot_id: BootId) -> None:
        self._store = store
        self._clock = clock
        self._boot = boot_id[-12:]  # after a restore of the database its numbers are given again

    @route("GET", "", Scope.READ)
    async def stream(
        self,
        streams: OpenStreams,
        last_event_id: Annotated[
            Annotated[str, Meta(max_length=100)] | None, FromHeader("last-event-id")
        ] = None,
    ) -> EventStream:
        """Send server-sent events about what changes from now on, or has changed after ``Last-Event-ID``.

        Open the stream first, then read what you show, and read a thing again when it has changed. Of a thing
        that changed more than once there is the last change only. A change is sent when it is committed, at
        most four times a second.
        """
        return EventStream(self.follow(last_event_id), streams=streams)

    async def follow(self, after: str | None) -> AsyncGenerator[ChangesView]:
        """Yield the changes from now on, or those behind the event *after*; see ``ChangesView``."""
        number = None if after is None else self._number(after)
        is_lost = after is not None and number is None
        if number is None:
            number = await self._store.read(changes.newest)
        yield self._view(RESET if is_lost else OPEN, number)
        while True:
            found = await self._store.read(changes.changes_after, number, user_id=self.user_id, limit=AT_ONCE)
            number = found.upto
            if not found.is_gapless:
                yield self._view(RESET, number)
            if found.changes:
                yield self._view(
                    CHANGE,
                    number,
                    [ChangeView(change.kind, change.subject, change.version) for change in found.changes],
                )
            if not found.has_more:
                await self._clock.sleep(EVERY_S)

    def _number(self, after: str) -> int | None:
        """Return the number in the id of an event; None: it is of another start of the hub."""
        boot, _, number = after.rpartition("-")
        if boot != self._boot or not (number.isascii() and number.isdigit()) or len(number) > 18:
            return None
        return int(number)

    def _view(self, event: str, number: int, found: list[ChangeView] | None = None) -> ChangesView:
        return ChangesView(id=f"{self._boot}-{number}", event=event, changes=found or [])
