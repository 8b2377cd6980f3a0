"""Routes of runs: list, details, progress, trace, waiting for the end, cancel, pause, resume, rerun.

A request with ``Prefer: wait=N`` is answered at the end of a run, or after ``LONGEST_WAIT_S``.
"""

from collections import Counter
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from typing import Annotated, Any, Final, Literal, NamedTuple

import anyio
from msgspec import Meta

from hub.api.agent_bodies import ids_called
from hub.api.binding import BodyField, From, FromHeader, RequestContext
from hub.api.device import Link, object_of
from hub.api.events import EventStream, Streams
from hub.api.http.access import NoCapacity
from hub.api.resource import (
    ALL,
    Actor,
    AddressedResource,
    Instant,
    ListPart,
    OpenStreams,
    Paging,
    Resource,
    View,
    audited,
    command,
    device,
    listed,
    route,
    tool,
)
from hub.api.wait_reasons import WaitConditions, WaitReasons, read_waits
from hub.base.clock import Clock, epoch_ms, from_epoch_ms
from hub.base.roles import BY_DEVICE, Principal, Scope
from hub.base.toml.limits import NANOS
from hub.runs.control import RunControl
from hub.runs.dispatcher import Dispatcher
from hub.runs.failures import describe_errors, explain
from hub.runs.lifecycle import RunWatch
from hub.runs.sentences import describe_folded, describe_left, describe_missed, describe_reason
from hub.runs.wait_sentences import PAUSING
from protocol.coordination import Method
from protocol.errors import CodedError, ErrorCode, IllegalTransition
from protocol.frame import Fence, Id
from protocol.grants import Grant
from protocol.ids import DeviceId, RunId, UserId, trace_id_of
from protocol.lifecycles import EXECUTING_RUN_STATES, FINAL_RUN_STATES, RUN, RunOutcome, RunState, UnitState
from storage import audit
from storage.devices import devices
from storage.runs import runs
from storage.runs.run_needs import Offered
from storage.runs.runs import TASK_CHARACTERS, RunFilter, RunMove, RunReport, RunRow
from storage.runs.spans import KINDS, RunSpan, SpanKind, list_spans
from storage.runs.units import UnitRow, first_units, list_units, missing_units, unread_languages
from storage.schedules import fires
from storage.store import Connection, Store

LONGEST_WAIT_S: Final = 60  # proxies commonly give up then
LISTED_RUNS: Final = 50  # in an answer to a device
LISTED_ERRORS: Final = 20  # of a run in an answer to a device, the newest
MAX_UNITS: Final = 2_000  # shown of one run; its counts are of all
OutcomeWord = Literal["success", "partial", "failed", "cancelled"]
_OUTCOMES: Final[Mapping[OutcomeWord | None, RunOutcome]] = {
    "success": RunOutcome.SUCCESS,
    "partial": RunOutcome.PARTIAL,
    "failed": RunOutcome.ERROR,
}
_OUTCOME_WORDS: Final = {outcome: word for word, outcome in _OUTCOMES.items() if word}
_SETTLED: Final = frozenset({UnitState.DONE, UnitState.SKIPPED, UnitState.FAILED})
_CHANGED: Final = (ErrorCode.UNKNOWN_RUN, ErrorCode.ILLEGAL_TRANSITION, ErrorCode.STALE_RUN)


class RunView(View, kw_only=True):
    """A run in one line."""

    id: str
    agent: str
    device: str
    trigger: str = (
        "manual"  # schedule, catchup, backfill, manual, rerun, change (of a file), wake (news, *followed_by*)
    )
    state: RunState
    outcome: RunOutcome | None = None
    reason: str | None = None  # why it is paused, failed or cancelled: a stable word, or a text
    because: str | None = None  # the same as a sentence; of a partial run what failed; see also *folded*
    fix: str | None = None  # what mends the first failure of a run that failed or is partial
    waiting_for: str | None = None  # a sentence: what has to happen before it continues
    is_pausing: bool = False  # a pause is requested; it executes until the current files are done
    missed: int = 0  # fires that it covers in addition to its own
    missed_because: str | None = None  # a sentence: how many, and why they had no run
    attempt: int = 1
    units_total: int = 0  # 0 while their number is not known
    units_done: int = 0
    units_skipped: int = 0  # known from an earlier run, or left out on purpose
    left_out: dict[str, int] = {}  # of them, those that were left out, by reason; see PROTOCOL.md
    unread_languages: dict[str, int] = {}  # files of its agent whose sentences nothing reads, by language
    units_failed: int = 0
    units_left: int = 0  # of a run that has ended: files left to the next runs
    followed_by: str | None = None  # id of the run that reads them at once
    left_because: str | None = None  # a sentence: how many are read and left, and which run goes on with them
    items_created: int = 0
    error_count: int = 0  # so far; a completed run does not count what a later attempt overcame
    model_requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0  # 0 where a model has no price
    items_updated: int = 0  # rows of the device that were changed, as their sources had
    items_known: int = 0  # found, and not sent: the device has them, or its owner refused them
    task_id: str | None = None  # as given by the caller who started it
    progress: float = 0.0  # 0 to 100: of its units, or as its device reports while their number is unknown
    message: str | None = None  # the last one from its device
    fire_at: Instant | None = None  # its nominal time
    created_at: Instant
    started_at: Instant | None = None
    completed_at: Instant | None = None
    folded: int = 0  # earlier runs of its schedule without news, which it represents
    folded_since: Instant | None = None


class UnitView(View):
    """File of a run. *items* counts those answered for, *items_planned* those found in it.

    *began_at*: its first piece was received; *read_at*: its text was received; *planned_at*: its items were
    found and stored; *settled_at*: each of them was answered for, or the file was given up. *error* says why
    it failed.
    """

    path: str
    state: UnitState
    size_bytes: int | None = None
    attempts: int = 0
    items: int = 0
    items_planned: int = 0
    began_at: Instant | None = None
    read_at: Instant | None = None
    planned_at: Instant | None = None
    settled_at: Instant | None = None
    error: str | None = None
    notes: dict[str, int | dict[str, int]] = {}  # of reading: what was dropped, hidden, asked again


class UnitsPage(View):
    """A page of a run's files; *next_cursor* leads to the next one.

    *missing*: files that the run has counted, and whose rows another program deleted.
    """

    units: tuple[UnitView, ...]
    next_cursor: str | None = None
    left_out: dict[str, int] = {}  # files of the run that were left out, by reason; not all are listed
    missing: int = 0


class RunCountsView(View):
    """Numbers of matching runs; *is_complete*: false if only the newest 10,000 are counted."""

    total: int
    states: dict[RunState, int]
    outcomes: dict[OutcomeWord, int]
    is_complete: bool = True


class RunErrorView(View, kw_only=True):
    """Line of the run's error log. *path* is missing in an error of the run as a whole.

    *attempt*: number of the attempt in which it occurred, if known. The error ``attempt_failed`` ended one.
    """

    attempt: int | None = None
    path: str | None = None
    code: str
    message: str
    at: Instant


class MoveView(View):
    """Change of the run's state. *actor_name*: the name of the actor's id, as in the audit log."""

    at: Instant
    before: RunState | None
    after: RunState
    actor: str
    actor_name: str | None = None
    reason: str | None = None  # a stable word, or a text
    because: str | None = None  # the same as a sentence


class RunDetail(RunView, kw_only=True):
    """A run with all its details, as it was at *as_of*."""

    as_of: Instant
    priority: int = 0
    max_attempts: int = 1
    dispatches: int = 0  # times that it began, and was returned to the queue: by its device, or its connector
    crashes: int = 0  # times that the hub crashed since the run last made progress
    rerun_of: str | None = None
    trace_id: str | None = None  # of the run, in its frames and logs
    cancel_requested_at: Instant | None = None
    cancel_reason: str | None = None
    needs: tuple[str, ...] = ()  # capabilities without which it does not start
    locks: tuple[str, ...] = ()  # held while it executes
    settings: dict[str, Any] = {}  # of its agent, when it was created
    parameters: dict[str, Any] = {}  # given when it was started
    context: dict[str, Any] = {}  # given when it was started, or reported by its device
    result: dict[str, Any] | None = None  # at its end: outcome, units, items by table, errors, left out
    units: tuple[UnitView, ...] = ()  # at most 2,000; those that an earlier run settled come last
    errors: tuple[RunErrorView, ...] = ()
    history: tuple[MoveView, ...] = ()


class RunProgress(View):
    """The run at one moment. *seq* grows by one with each; the last one has a final state."""

    seq: int
    run: RunView
    working_on: str | None = None  # the current file


run_record = object_of(
    *("id as run_id", "agent_id", "state", "outcome", "reason", "attempt", "units_total"),
    *(
        "units_done",
        "units_failed",
        "items_created",
        "error_count",
        "progress",
        "status_message as message",
        "context",
        "task_id",
        "result",
    ),
)

_error_record = object_of("attempt", "unit_key as path", "code", "message", "at")


def _run_record(row: RunRow) -> dict[str, Any]:
    errors = [_error_record(error) for error in row.errors[-LISTED_ERRORS:]]
    return {"run": run_record(row) | {"errors": errors}}


class RunRows(NamedTuple):
    """Runs, and the rows that their views need: names of devices, conditions of waiting, missed fires."""

    rows: Sequence[RunRow]
    devices: Mapping[DeviceId, str]
    waits: WaitConditions
    missed: Mapping[RunId, Sequence[fires.FireCount]]


class RunListFilter(NamedTuple):
    """Filter of a request."""

    agent: Annotated[str, Meta(max_length=200)] | None = None
    device: Annotated[str, Meta(max_length=200, description="A device's name or id.")] | None = None
    state: Annotated[RunState, Meta(description="Only runs in this state.")] | None = None
    task_id: (
        Annotated[str, Meta(max_length=TASK_CHARACTERS, description="Only runs for this task.")] | None
    ) = None
    outcome: Annotated[OutcomeWord, Meta(description="Only runs that ended so.")] | None = None
    since: Annotated[Instant, Meta(description="Only runs created from then on.")] | None = None
    until: Annotated[Instant, Meta(description="Only runs created until then.")] | None = None
    text: (
        Annotated[str, Meta(max_length=200, description="In the agent's name, the reason or the errors.")]
        | None
    ) = None


RunQuery = Annotated[RunListFilter, From(RunListFilter)]
NO_FILTER: Final = RunListFilter()


class WaitPreference:
    """The preference of a request to wait for an end (RFC 7240). *wait_s*: at most ``LONGEST_WAIT_S``."""

    def __init__(self, wait_s: int, streams: Streams, call: RequestContext) -> None:
        self.wait_s = wait_s
        self._streams = streams
        self._call = call

    async def wait_for(self, events: AsyncGenerator[object]) -> None:
        """Read *events* to their end, until the time is over, or until the hub stops.

        It replaces an event stream; where none is free, the preference is not applied.

        Raises:
            CodedError (AUTH_FAILED): the token does not count any more.
        """
        caller: Principal = self._call.caller
        try:
            with self._streams.place(caller), self._streams.scope(), anyio.move_on_after(self.wait_s):
                async with aclosing(events):
                    async for _ in events:
                        pass
        except NoCapacity:
            return
        if not await self._streams.still_counts(caller):
            raise CodedError(ErrorCode.AUTH_FAILED, "this token was revoked, or has expired, during the wait")
        self._call.head.headers["preference-applied"] = f"wait={self.wait_s}"


def _patience(
    call: RequestContext,
    streams: OpenStreams,
    prefer: Annotated[
        Annotated[str, Meta(max_length=1_000, description=f"``wait=N``: {LONGEST_WAIT_S} seconds at most.")]
        | None,
        FromHeader("prefer"),
    ] = None,
) -> WaitPreference | None:
    """Return the first valid ``wait`` of the request; preferences that are not known are ignored."""
    for preference in (prefer or "").split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        seconds = value.strip().strip('"')
        if name.strip().lower() == "wait" and seconds.isascii() and seconds.isdigit():
            return WaitPreference(min(int(seconds), LONGEST_WAIT_S), streams, call)
    return None


Preferred = Annotated[WaitPreference | None, From(_patience)]


class RunsResource(Resource):
    """Runs of agents. A run is named by its id, or by the last six or more characters of it."""

    name, path, within = "runs", "/v1/runs", BY_DEVICE
    tagged = ("id", "state", "is_pausing", "reason")

    def __init__(
        self,
        *,
        store: Store,
        dispatcher: Dispatcher,
        control: RunControl,
        waiting: WaitReasons,
        watch: RunWatch,
        clock: Clock,
    ) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._control = control
        self._waiting = waiting
        self._watch = watch
        self._clock = clock

    @command(
        "runs ls",
        example="hub runs ls --outcome failed --since 'yesterday 18:00' --why",
        json="runs",
        help="List the newest runs first, with the reason why each waits.",
        options={
            "agent": "Only the runs of this agent.",
            "device": "Only the runs on this device, by name or id.",
            "state": "--in-state: Only the runs in this state.",
            "task_id": "--task: Only the runs for this task.",
            "outcome": "Only the runs that ended so.",
            "since": "Only the runs created from then on.",
            "until": "Only the runs created until then, a day included.",
            "text": "Only those with these words in the agent's name, the reason or the errors.",
            "limit": "--limit=20: Maximum number of runs.",
        },
        rows="runs",
        table=(
            "id|id as run",
            "agent",
            "*|run_result as state",
            "*|began_at as started~3",
            "*|settled as files~2",
            "items_created as items~1",
            "*|run_note as note",
        ),
        lines=(
            "--why",
            "Print for each run why it waits, failed or was partial.",
            "{id|id} {agent}, {*|began}: {*|run_reason}",
        ),
        empty="no matching runs; start one: hub run AGENT --follow",
    )
    @tool()
    @listed(
        "",
        Scope.READ,
        key=lambda run: (epoch_ms(run.created_at), run.id),
        errors=[ErrorCode.UNKNOWN_AGENT, ErrorCode.UNKNOWN_DEVICE],
    )
    async def newest(self, asked: RunQuery = NO_FILTER, part: ListPart = ALL) -> list[RunView]:
        """List runs, the newest first: of an agent, of a device, for a task, by state, outcome, time, text.

        Only the newest 10,000 runs that the other filters let through are searched for a text.
        """
        offered = self.offered

        def read(c: Connection) -> RunRows:
            rows = runs.list_runs(c, limit=part.limit, after=part.after, **self._filter(c, asked))
            return read_facts(c, rows, offered)

        return self.views_of(await self._store.read(read))

    @route("GET", "/counts", Scope.READ, errors=[ErrorCode.UNKNOWN_AGENT, ErrorCode.UNKNOWN_DEVICE])
    async def counts(self, asked: RunQuery) -> RunCountsView:
        """Count the newest 10,000 runs by state and outcome, each with those that it represents."""

        def read(c: Connection) -> list[runs.EndCount]:
            return runs.count_by_end(c, **self._filter(c, asked))

        states, outcomes = Counter[RunState](), Counter[OutcomeWord]()
        examined = 0
        for state, outcome, count, folded in await self._store.read(read):
            examined += count - folded
            states[state] += count
            word = _OUTCOME_WORDS.get(outcome) if outcome else None  # None: a broken row
            if word is not None or (outcome is None and state is RunState.CANCELLED):
                outcomes[word or "cancelled"] += count
        return RunCountsView(
            total=states.total(),
            states={state: count for state, count in states.items() if isinstance(state, RunState)},
            outcomes=dict(outcomes),
            is_complete=examined < runs.MAX_EXAMINED,
        )

    def _filter(self, c: Connection, asked: RunListFilter) -> RunFilter:
        agent_id, device_id = ids_called(
            *(c, asked.agent, asked.device),
            user_id=self.user_id,
            at=self._now,
            only=self.limited_to.devices,
        )
        states = None if asked.state is None else {asked.state}
        if asked.outcome == "cancelled":
            states = {RunState.CANCELLED} & (states or {RunState.CANCELLED})
        return RunFilter(
            agent_id=agent_id,
            device_id=device_id,
            devices=self.limited_to.devices,
            user_id=self.user_id,
            states=states,
            task_id=asked.task_id,
            outcome=_OUTCOMES.get(asked.outcome),
            since=None if asked.since is None else epoch_ms(asked.since),
            until=None if asked.until is None else epoch_ms(asked.until),
            text=asked.text,
        )

    @command(
        "runs files RUN_ID",
        example="hub runs files 4e21a9 --only FAILED",
        json="run_units",
        help="List the files of a run, by path.\n\n"
        "Exits with 1 when files are missing that the run has counted: another program deleted them.",
        options={
            "state": "--only: Only those in this state.",
            "limit": "--limit=200: Maximum number of files.",
        },
        rows="units",
        table=(
            "path as file",
            "state",
            "items",
            "attempts as tries",
            "settled_at|at as done",
            "error|short as error",
        ),
        empty="no matching files{missing|missing_units}",
        message="{left_out|left_out}{missing|missing_units}",
        fails_if="missing",
    )
    @tool()
    @route("GET", "/{run_id}/units", Scope.READ, errors=[ErrorCode.UNKNOWN_RUN])
    async def units(
        self,
        run_id: str,
        paging: Paging,
        state: Annotated[UnitState, Meta(description="Only files in this state.")] | None = None,
    ) -> UnitsPage:
        """List the files of a run by their paths."""

        def read(c: Connection) -> tuple[RunRow, list[UnitRow], int]:
            row = run_named(c, run_id, self.user_id, self.limited_to.devices)
            units = list_units(c, row.id, state=state, limit=paging.part.limit, after=paging.after)
            return row, units, missing_units(c, row.id)

        row, units, missing = await self._store.read(read)
        page = paging.fetched(list(map(_unit_view, units)), key=lambda unit: (unit.path,))
        left_out = (row.result or {}).get("left_out", {})
        return UnitsPage(page.items, page.next_cursor, left_out, missing)

    @tool(
        resource=AddressedResource("hub://runs/{run_id}", "runs_newest", "runs", "{agent}: {state}", ("run",))
    )
    @route("GET", "/{run_id}", Scope.READ, errors=[ErrorCode.UNKNOWN_RUN], is_tagged=True)
    async def get(self, run_id: str, patience: Preferred = None) -> RunDetail:
        """Return one run with its files, errors and moves. The last six characters of its id suffice.

        With ``Prefer: wait=N``, when it has ended, or after N seconds.
        """
        if patience is not None:
            await patience.wait_for(self.follow((await self._run(run_id)).id))
        offered = self.offered

        def read(c: Connection) -> tuple[RunRows, list[UnitRow], list[RunMove], dict[str, str]]:
            row = run_named(c, run_id, self.user_id, self.limited_to.devices)
            units, moves = first_units(c, row.id, MAX_UNITS), runs.run_history(c, row.id)
            names = audit.names_of_actors(c, {move.actor for move in moves})
            return read_facts(c, [row], offered), units, moves, names

        found, units, moves, names = await self._store.read(read)
        (row,), (view,) = found.rows, self.views_of(found)
        return RunDetail.from_row(
            view,
            row,
            as_of=self._clock.now(),
            dispatches=row.dispatch_count,
            crashes=row.crash_count,
            trace_id=trace_id_of(row.id),
            unread_languages=view.unread_languages or unread_languages(units),
            units=tuple(map(_unit_view, units)),
            errors=tuple(RunErrorView.from_row(error, path=error.unit_key) for error in row.errors),
            history=tuple(_move_view(move, row, names) for move in moves),
        )

    @route("GET", "/{run_id}/events", Scope.READ, errors=[ErrorCode.UNKNOWN_RUN])
    async def events(self, run_id: str, streams: OpenStreams) -> EventStream:
        """Send server-sent events named ``progress``, from now until the run's state is final."""
        run = await self.get(run_id)  # an unknown run is a 404, which cannot be sent once events flow
        return EventStream(self.follow(run.id), name="progress", streams=streams)

    async def follow(self, run_id: str) -> AsyncGenerator[RunProgress]:
        """Yield the run now and after each change, until its state is final.

        A reader that is slower than the run misses steps, never the last one. The reader closes the
        generator (``contextlib.aclosing``).
        """
        found, seq, last = (await self._run(run_id)).id, 0, None

        def read(c: Connection, offered: Offered) -> RunRows:
            return read_facts(c, [run_named(c, found, self.user_id, self.limited_to.devices)], offered)

        async with aclosing(self._watch.changes(found)) as changes:
            async for _ in changes:
                (view,) = self.views_of(await self._store.read(read, self.offered))
                if view == last:
                    continue
                seq, last = seq + 1, view
                yield RunProgress(seq=seq, run=view)
                if view.state in FINAL_RUN_STATES:
                    return

    @command(
        "runs cancel RUN_ID",
        example="hub runs cancel 4e21a9 --reason 'wrong folder'",
        json="run",
        help="End a run. Items that it has delivered stay.",
        options={"reason": "Reason, shown with the run."},
        message="run {id|id} of {agent}: {*|run_state}",
    )
    @tool(is_destructive=True, is_repeatable=True)
    @route("POST", "/{run_id}/cancel", Scope.RUN, errors=_CHANGED, is_tagged=True)
    @audited("run.cancelled")
    async def cancel(
        self,
        run_id: str,
        actor: Actor,
        reason: Annotated[
            str,
            Meta(min_length=1, max_length=200, pattern=r"^[^\x00]+$(?!\n)"),
            BodyField(
                "Cancellation", "Reason of a cancellation; the first reason is kept.", is_optional=True
            ),
        ] = "cancelled by an operator",
    ) -> RunView:
        """End the run. What it sent to its device stays. A run that has ended is returned as it is."""
        row = await self._run(run_id)
        return await self.view(await self._control.cancel(row.id, actor=actor, reason=reason))

    @command(
        "runs pause RUN_ID",
        example="hub runs pause 4e21a9",
        json="run",
        help="Pause a run until it is resumed. A run that executes finishes its files in progress first.",
        message="run {id|id} of {agent}: {*|run_state}",
    )
    @route("POST", "/{run_id}/pause", Scope.RUN, errors=_CHANGED, is_tagged=True)
    @audited("run.paused")
    async def pause(self, run_id: str, actor: Actor) -> RunView:
        """Pause the run until it is resumed."""
        row = await self._run(run_id)
        return await self.view(await self._control.pause(row.id, actor=actor))

    @command(
        "runs resume RUN_ID",
        example="hub runs resume 4e21a9",
        json="run",
        help="Resume a run that was paused by hand.",
        message="run {id|id} of {agent}: {*|run_state}",
    )
    @route("POST", "/{run_id}/resume", Scope.RUN, errors=_CHANGED, is_tagged=True)
    @audited("run.resumed")
    async def resume(self, run_id: str, actor: Actor) -> RunView:
        """Queue a run again that an operator paused."""
        row = await self._run(run_id)
        if self._is_pausing(row):
            until = (await self.view(row)).waiting_for or PAUSING
            raise IllegalTransition(f"run {row.id} is not paused yet: it {until}; resume it then")
        return await self.view(await self._control.resume(row.id, actor=actor))

    @command(
        "runs rerun RUN_ID",
        example="hub runs rerun 4e21a9",
        json="run",
        help="Start a new run of the same agent. Files that are settled are not read again.",
        prints="id",
        message="{*|run_state}; show it: hub runs show {id|id}",
    )
    @route(
        "POST",
        "/{run_id}/rerun",
        Scope.RUN,
        errors=[ErrorCode.UNKNOWN_RUN, ErrorCode.UNKNOWN_AGENT, ErrorCode.LIMIT_REACHED],
        status=202,
        location="/v1/runs/{0.id}",
    )
    @audited("run.rerun")
    async def rerun(self, run_id: str, actor: Actor) -> RunView:
        """Queue a new run of the same agent; files that are settled are not read again."""
        row = await self._run(run_id)
        return await self.view(await self._control.rerun(row.id, actor=actor))

    @device(Method.RUNS_LIST, "its own runs", answer=lambda rows: {"runs": list(map(run_record, rows))})
    async def of_device(self, link: Link) -> Sequence[RunRow]:
        """Return the newest runs of a device."""
        return await self._store.read(runs.list_runs, device_id=link.device_id, limit=LISTED_RUNS)

    @device(Method.RUNS_GET, "its own runs", answer=_run_record)
    async def get_own(self, link: Link, run_id: Id) -> RunRow:
        """Return a run of a device. Raises CodedError."""
        row = await self._store.read(runs.find_run, RunId(run_id))
        if row is None or row.device_id != link.device_id:
            raise CodedError(ErrorCode.UNKNOWN_RUN, f"this device has no run {run_id!r}")
        return row

    @device(Method.RUNS_CANCEL, "its own runs", Grant.AGENTS, answer=_run_record)
    @audited("run.cancelled")
    async def cancel_own(self, link: Link, run_id: Id, actor: Actor) -> RunRow:
        """End a run of a device."""
        row = await self.get_own(link, run_id)
        return await self._control.cancel(row.id, actor=actor, reason="asked by its device")

    @device(Method.RUNS_REPORT, "its own runs", answer=_run_record)
    @audited("run.reported", is_often=True)
    async def report(self, link: Link, run_id: Id, fence: Fence, progress: RunReport) -> RunRow:
        """Store the progress of a run that a device works on. Raises StaleRun."""
        row = await self.get_own(link, run_id)
        return await self._control.report(row.id, fence, progress)

    async def view(self, row: RunRow) -> RunView:
        """Return the view of one run."""
        (view,) = self.views_of(await self._store.read(read_facts, [row], self.offered))
        return view

    @property
    def offered(self) -> Offered:
        """Offers of the connected devices, by device."""
        return self._dispatcher.offered

    @property
    def now_ms(self) -> int:
        return self._now

    def views_of(self, found: RunRows) -> list[RunView]:
        """Return the views of runs, with the reasons why they wait and the fires that they cover."""
        waiting = self._waiting.sentences(found.rows, found.waits)
        if self.limited_to.devices:  # the holder of a lock may be an agent of another device
            waiting = {id: sentence.partition(", held by ")[0] for id, sentence in waiting.items()}
        return [
            _run_view(
                row,
                device=found.devices.get(row.device_id, "") if row.device_id else "",
                waiting_for=waiting.get(row.id),
                is_pausing=self._is_pausing(row),
                missed=found.missed.get(row.id, ()),
            )
            for row in found.rows
        ]

    def _is_pausing(self, row: RunRow) -> bool:
        return row.state in EXECUTING_RUN_STATES and self._dispatcher.is_pausing(row.id)

    async def _run(self, run_id: str) -> RunRow:
        return await self._store.read(run_named, run_id, self.user_id, self.limited_to.devices)


def read_facts(c: Connection, rows: Sequence[RunRow], offered: Offered) -> RunRows:
    """Return what the views of these runs need."""
    return RunRows(
        rows,
        devices.names_of_devices(c, (row.device_id for row in rows if row.device_id is not None)),
        read_waits(c, rows, offered),
        fires.missed_of(c, [row.id for row in rows if row.schedule_id is not None]),
    )


def run_named(
    c: Connection, run_id: str, user_id: UserId | None, devices: Collection[DeviceId] = ()
) -> RunRow:
    """Return the run with that id, or the only one whose id ends so; of *devices* alone, if any.

    Raises:
        CodedError (UNKNOWN_RUN, BAD_PARAMS): no run is called so, or several are.
    """
    whole = runs.whole_run_id(c, run_id, user_id, devices)
    row = runs.find_run(c, whole, user_id=user_id, devices=devices)
    if row is None:
        raise CodedError(ErrorCode.UNKNOWN_RUN, f"there is no run {run_id!r}")
    return row


def _run_view(
    row: RunRow,
    *,
    device: str,
    waiting_for: str | None,
    is_pausing: bool,
    missed: Sequence[fires.FireCount],
) -> RunView:
    result = row.result or {}
    unlisted = result.get("unlisted", 0)
    skipped = row.units_skipped + unlisted
    settled = row.units_done + skipped + row.units_failed
    is_listed = row.units_total > 0 or RUN.is_final(row.state)  # else more files may come
    total = max(row.units_total + unlisted, settled if is_listed else 0)
    because = describe_reason(row.reason, within_s=_within_s(row))
    if row.outcome in (RunOutcome.PARTIAL, RunOutcome.ERROR):
        errors = describe_errors(
            row.lasting_errors,
            failed=row.units_failed,
            describe=lambda error: explain(error, row, device).sentence,
        )
        because = errors or because
    if row.folded_since is not None:
        because = describe_folded(row.folded, from_epoch_ms(row.folded_since))
    left = total - settled if RUN.is_final(row.state) else 0
    followed_by = result.get("followed_by")
    is_well = row.outcome in (None, RunOutcome.SUCCESS)
    return RunView.from_row(
        row,
        row.usage,
        fix=next((explain(error, row, device).remedy for error in row.lasting_errors if not is_well), None),
        device=device,
        trigger=row.trigger,
        reason=row.pause_reason or row.reason,
        because=because,
        waiting_for=waiting_for,
        is_pausing=is_pausing,
        missed=sum(fire.fires for fire in missed if fire.decision == "coalesced"),
        missed_because=describe_missed(missed, device),
        units_total=total,
        units_skipped=skipped,
        left_out=result.get("left_out", {}),
        unread_languages=result.get(runs.UNREAD_LANGUAGES, {}),
        units_left=left,
        followed_by=followed_by,
        left_because=describe_left(settled, left, is_followed=followed_by is not None),
        model_requests=row.usage.requests,
        usd=row.usage.cost_nanos / NANOS,
        message=row.status_message,
    )


def _within_s(row: RunRow) -> float | None:
    """Return the seconds after its fire within which the run could have started."""
    return None if row.start_deadline_at is None else (row.start_deadline_at - row.fire_at) / 1_000


def _unit_view(row: UnitRow) -> UnitView:
    return UnitView.from_row(
        row,
        path=row.unit_key,
        items=row.calls_settled,
        items_planned=row.calls_planned,
        settled_at=row.updated_at if row.state in _SETTLED else None,
        notes=row.notes or {},
    )


def _move_view(move: RunMove, row: RunRow, names: Mapping[str, str]) -> MoveView:
    return MoveView.from_row(
        move,
        actor_name=names.get(move.actor),
        before=move.old_state,
        after=move.new_state,
        because=describe_reason(move.reason, within_s=_within_s(row)),
    )


class SpanView(View, kw_only=True):
    """Part of a run that took time; *parent*: the id of the span that it is part of.

    A run has a span of its own, and one for each state and each file. A file has spans of its questions to
    models and its calls to the device. *ended_at* is missing while it goes on.
    *read_at*, *planned_at*: of a file, as in the run's details. *sends*: times that a question or a call was
    sent. *items*: calls that the file led to. *ref*: its id in its kind.
    """

    id: str
    parent: str | None = None
    kind: SpanKind
    name: str
    path: str | None = None
    outcome: str | None = None
    started_at: Instant
    ended_at: Instant | None = None
    read_at: Instant | None = None
    planned_at: Instant | None = None
    items: int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    usd: float | None = None
    sends: int | None = None
    ref: str


class TracesResource(Resource):
    """Traces of runs. The id of a trace is ``trace_id`` of its run, which frames and logs bear."""

    name, list_key, path, within = "traces", "spans", "/v1/runs", BY_DEVICE

    def __init__(self, store: Store) -> None:
        self._store = store

    @command(
        "runs trace RUN_ID",
        example="hub runs trace 4e21a9",
        json="spans",
        help="List what took time in a run: states, files, questions to models, calls to the device.",
        options={"limit": "--limit=200: Maximum number of parts."},
        table=(
            "started_at|moment as at",
            "*|span_took as took",
            "kind",
            "name",
            "path as file",
            "outcome",
        ),
        empty="nothing has happened yet",
    )
    @listed("/{run_id}/trace", Scope.READ, key=lambda span: _key(span), errors=[ErrorCode.UNKNOWN_RUN])
    async def spans(self, run_id: str, part: ListPart = ALL) -> list[SpanView]:
        """List the spans of a run in the order of their beginnings."""

        def read(c: Connection) -> list[RunSpan]:
            run = run_named(c, run_id, self.user_id, self.limited_to.devices)
            return list_spans(c, run.id, limit=part.limit, after=part.after)

        return [
            SpanView.from_row(
                span,
                path=span.unit_key,
                usd=None if span.cost_nanos is None else span.cost_nanos / NANOS,
            )
            for span in await self._store.read(read)
        ]


def _key(span: SpanView) -> tuple[int, int, str]:
    return epoch_ms(span.started_at), KINDS.index(span.kind), span.ref
