"""Status of agents at gateways: when an agent counts as connected, busy, exhausted or missing.

Events report the start and end of turns. After each connection, the gateway is asked for its agents and for
those that are working. If the gateway is disconnected for ``GRACE_S``, its agents become offline. Their turns
are no longer counted then, because their state is unknown. No model is asked. After a failure for lack of
credit, others without a cause count as such for ``BILLING_S``.

Only the structure of events is used, never message text. Unknown events are ignored. Of several hubs, only
the lease holder writes.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, Protocol

import anyio
import msgspec
from anyio.abc import TaskGroup, TaskStatus

from hub.base.clock import Clock, now_ms, wait_for_event
from hub.base.log import Channel
from hub.base.periodic_loop import LoopReports
from hub.openclaw import (
    Fleet,
    Gateway,
    GatewayError,
    GatewayEvent,
    GatewayHealth,
    GatewayNews,
    StateChanged,
)
from hub.openclaw.methods import agents_list, chat_history
from protocol.agent_status import ExhaustReason
from storage.coordination import gateway_agents, gateway_creations, gateways
from storage.coordination import gateway_reports as coordination_gateway_reports
from storage.coordination.gateway_agents import GatewayAgentRow
from storage.coordination.gateway_reports import Exhaustion, Seen
from storage.coordination.gateways import UnknownGateway
from storage.kernel.database import StorageError
from storage.leases import LostLease
from storage.store import Store

log = Channel(__name__)

GRACE_S: Final = 5.0  # a shorter interruption is ignored; a restart takes longer
QUERY_S: Final = 60.0  # between two queries for agents and for long turns
CONTACT_S: Final = 600.0  # between two updates of the agents' last contact
RETRY_S: Final = 5.0  # after an error of the gateway or the database
MISSING_S: Final = 1.0  # a new agent is not listed at once, so a missing agent is queried again
BILLING_S: Final = 600.0  # time for which a gateway does not use a key without credit
MAX_FACTS: Final = 10_000  # queue limit; above it, everything is queried again
AT_ONCE: Final = 200  # facts per transaction, which blocks other writers for at most 0.1 s
ASKED_AT_ONCE: Final = 8  # sessions of one gateway queried concurrently
REMEMBERED: Final = 1_000  # ended turns, because the end of each turn is reported repeatedly
_FEW: Final = 1  # rows of a history, because only the state is needed, not the text


_UNMADE: Final = (gateway_agents.REQUESTED, gateway_agents.CREATING)
MAX_DELAY_MS: Final = 31 * 86_400_000  # no quota lasts longer than a month

_REASONS: Final = {"rate_limit": ExhaustReason.RATE_LIMIT, "billing": ExhaustReason.BILLING}


# Event in a turn of an agent.
Turn = Literal[
    "begun",
    "waits",  # continues later, because its model has to be retried
    "ended",
    "failed",
    "aborted",
]


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """Content of an event about an agent's turn.

    Attributes:
        remote_id: the agent's id at its gateway.
        cause: why its model did not answer; None if unknown.
        delay_ms: delay after which the gateway asks the model again.
    """

    remote_id: str
    run_id: str
    turn: Turn
    cause: ExhaustReason | None = None
    delay_ms: int | None = None


def read_fact(event: GatewayEvent) -> Fact | None:
    """Return what *event* reports about an agent's turn, or None."""
    payload = event.payload
    if not isinstance(payload, Mapping):
        return None
    run_id, remote_id = payload.get("runId"), _agent_in(payload)
    if not isinstance(run_id, str) or remote_id is None:
        return None
    match event.name:
        case "agent":
            return _of_agent(payload, remote_id, run_id)
        case "chat":
            return _of_chat(payload, remote_id, run_id)
    return None


def _of_agent(payload: Mapping[str, Any], remote_id: str, run_id: str) -> Fact | None:
    data = payload.get("data")
    if not isinstance(data, Mapping):
        return None
    match payload.get("stream"), data.get("phase"):
        case "lifecycle", "start":
            return Fact(remote_id=remote_id, run_id=run_id, turn="begun")
        case "lifecycle", "end":
            turn: Turn = "aborted" if data.get("aborted") is True else "ended"
            return Fact(remote_id=remote_id, run_id=run_id, turn=turn)
        case "lifecycle", "error":
            turn = "aborted" if data.get("aborted") is True else "failed"
            return _failed(remote_id, run_id, turn, data.get("errorObservation"))
        case "run_status", "retrying":
            cause, delay = _REASONS.get(str(data.get("reason"))), data.get("delayMs")
            is_delay = isinstance(delay, int | float) and 0 <= delay <= MAX_DELAY_MS
            return Fact(
                remote_id=remote_id,
                run_id=run_id,
                turn="waits",
                cause=cause,
                delay_ms=int(delay) if is_delay and delay is not None else None,
            )
    return None


def _of_chat(payload: Mapping[str, Any], remote_id: str, run_id: str) -> Fact | None:
    match payload.get("state"):
        case "final" if payload.get("message") is not None:
            return Fact(remote_id=remote_id, run_id=run_id, turn="ended")
        case "error":
            return _failed(remote_id, run_id, "failed", payload.get("errorDetail"))
        case "aborted":
            return Fact(remote_id=remote_id, run_id=run_id, turn="aborted")
    return None  # a final event without a message ends queued input, not a turn


def _failed(remote_id: str, run_id: str, turn: Turn, raw: object) -> Fact:
    detail: Mapping[str, Any] = raw if isinstance(raw, Mapping) else {}
    return Fact(
        remote_id=remote_id,
        run_id=run_id,
        turn=turn,
        cause=_REASONS.get(str(detail.get("failoverReason"))),
    )


def _agent_in(payload: Mapping[str, Any]) -> str | None:
    """Return the agent id in the payload, or in its session key ``agent:<id>:<rest>``."""
    if isinstance(named := payload.get("agentId"), str):
        return named
    parts = str(payload.get("sessionKey", "")).split(":", 2)
    return parts[1] if len(parts) == 3 and parts[0] == "agent" else None


class _Working(msgspec.Struct, eq=False):
    """Turns of one agent, as far as known.

    Attributes:
        is_guessed: True if the turns' ids are uncertain.
    """

    row: GatewayAgentRow
    runs: set[str] = msgspec.field(default_factory=set)
    is_guessed: bool = False


class Watch:
    """Watch of the agents of one gateway."""

    def __init__(
        self,
        name: str,
        store: Store,
        fleet: Fleet,
        *,
        clock: Clock,
        on_missing: Callable[[GatewayAgentRow], None],
    ) -> None:
        self.name = name
        self._on_missing = on_missing
        self._store = store
        self._fleet = fleet
        self._clock = clock
        self._wake = anyio.Event()
        self._facts: deque[Fact] = deque()
        self._agents: dict[str, _Working] = {}  # by the gateway's ids
        self._unwritten: list[Seen] = []  # results of processed facts
        # own agents missing from the gateway's list, with the time since when
        self._missing: dict[str, float] = {}
        self._over: deque[str] = deque(maxlen=REMEMBERED)
        self._lost_at: float | None = clock.monotonic()  # None once it is connected
        self._is_offline = False  # and written to the database
        self._is_new = True  # everything must be queried
        self._query_at = 0.0  # monotonic
        self._contact_at = 0.0
        self._no_credit_until = 0.0

    def enqueue(self, fact: Fact) -> None:
        """Queue a fact; called by a socket's reader, so it never waits."""
        if len(self._facts) >= MAX_FACTS:
            log.warning("gateway_status.full", gateway=self.name, limit=MAX_FACTS)
            self._facts.clear()
            self._is_new = True
        self._facts.append(fact)
        self._wake.set()

    def recheck(self) -> None:
        """Query everything again, because the known state may be outdated."""
        self._is_new = True
        self._wake.set()

    async def serve(self) -> None:
        """Watch until cancelled, or until the gateway is no longer declared."""
        while (gateway := self._fleet.find(self.name)) is not None:
            self._wake = anyio.Event()
            try:
                wait_s = await self._turn(gateway)
            except (GatewayError, StorageError) as exc:
                log.info("gateway_status.put_off", gateway=self.name, code=exc.code)
                wait_s, self._is_new = RETRY_S, True
            except UnknownGateway:
                return  # its row is already archived
            except Exception as exc:  # the loop must survive any error
                log.error("gateway_status.broke", exc=exc, gateway=self.name)
                wait_s, self._is_new = RETRY_S, True
            await wait_for_event(self._wake, self._clock, wait_s)

    async def _turn(self, gateway: Gateway) -> float:
        """Process facts and queries that are due. Return the seconds until the next."""
        now = self._clock.monotonic()
        health = gateway.health()
        if health.state != "ready":
            return await self._lose(health, now)
        self._lost_at = None
        await self._write_facts()
        if self._is_new or now >= self._query_at:
            is_whole, self._is_new = self._is_new or self._is_offline, False
            is_settled = await self._query(gateway, is_whole=is_whole)
            self._is_offline = False
            self._query_at = self._clock.monotonic() + (QUERY_S if is_settled else MISSING_S)
        doubtful = [agent for agent in self._agents.values() if agent.is_guessed and not agent.runs]
        if doubtful:
            await self._query_turns(gateway, doubtful, because="its last turn is over")
        return 0.0 if self._facts else max(0.0, self._query_at - self._clock.monotonic())

    async def _lose(self, health: GatewayHealth, now: float) -> float:
        """Set the agents of a disconnected gateway offline after a grace period."""
        if self._lost_at is None:
            self._lost_at = now
        if (left := self._lost_at + GRACE_S - now) > 0:
            return left
        self._facts.clear()
        self._unwritten = []
        if not self._is_offline:
            problem = health.problem
            state = "is not connected" if problem is None else f"is away: {problem.message}"
            why = f"gateway {self.name} {state}"
            rows = await self._rows()
            seen = [
                Seen(agent_id=row.agent_id, is_online=False, why=why, turns=0, because=why) for row in rows
            ]
            await self._write(seen)
            self._is_offline, self._is_new = True, True
            self._agents.clear()
        return QUERY_S

    # --- events ---

    async def _write_facts(self) -> None:
        while self._facts or self._unwritten:
            if not self._unwritten:
                some = [self._facts.popleft() for _ in range(min(AT_ONCE, len(self._facts)))]
                self._unwritten = list(self._judged(some))
            await self._write(self._unwritten)
            self._unwritten = []

    def _judged(self, facts: Iterable[Fact]) -> Iterator[Seen]:
        """Yield the changes that result from *facts*, in order."""
        at, now = now_ms(self._clock), self._clock.monotonic()
        for fact in facts:
            agent = self._agents.get(fact.remote_id)
            if agent is None:
                continue  # not an agent of this hub; or queried next
            agent_id, is_known = agent.row.agent_id, fact.run_id in agent.runs
            match fact.turn:
                case "begun":
                    if fact.run_id in self._over:
                        continue
                    agent.runs.add(fact.run_id)
                    if not is_known:
                        yield self._turns(agent, f"turn {fact.run_id} began")
                case "waits":
                    if fact.cause is not None:
                        until = None if fact.delay_ms is None else at + fact.delay_ms
                        yield Seen(agent_id=agent_id, exhausted=Exhaustion(fact.cause, until))
                case "ended" | "failed" | "aborted":
                    if fact.run_id in self._over:
                        continue  # the end of a turn is reported twice, the second time with less detail
                    self._over.append(fact.run_id)
                    agent.runs.discard(fact.run_id)
                    if is_known and not agent.is_guessed:
                        yield self._turns(
                            agent, f"turn {fact.run_id} is over", has_answered=fact.turn == "ended"
                        )
                    elif fact.turn == "ended":
                        yield Seen(agent_id=agent_id, has_answered=True)
                    if agent.is_guessed:
                        agent.runs.clear()  # queried at once
                    if fact.turn == "failed" and (why := self._why_failed(fact, is_known, now)) is not None:
                        yield Seen(agent_id=agent_id, exhausted=Exhaustion(why))

    def _why_failed(self, fact: Fact, was_begun: bool, now: float) -> ExhaustReason | None:
        """Return the exhausted quota that made a turn fail, or None.

        After one failure for lack of credit, a gateway rejects further turns for some minutes, and reports no
        machine-readable reason for them.
        """
        if fact.cause is ExhaustReason.BILLING:
            self._no_credit_until = now + BILLING_S
        elif fact.cause is None and not was_begun and now < self._no_credit_until:
            return ExhaustReason.BILLING
        return fact.cause

    def _turns(self, agent: _Working, because: str, *, has_answered: bool = False) -> Seen:
        return Seen(
            agent_id=agent.row.agent_id, turns=len(agent.runs), because=because, has_answered=has_answered
        )

    # --- queries ---

    async def _query(self, gateway: Gateway, *, is_whole: bool) -> bool:
        """Query which agents exist and which are working: all, or those with known turns.

        Return False if an agent is missing that may only not be listed yet.
        """
        rows = await self._rows()
        listed = {entry.id for entry in (await agents_list(gateway)).agents}
        now = self._clock.monotonic()
        self._missing = {
            row.remote_id: self._missing.get(row.remote_id, now)
            for row in rows
            if row.remote_id not in listed
        }
        seen, lost, is_settled = list[Seen](), list[GatewayAgentRow](), True
        for row in rows:
            missing_for_s = now - self._missing.get(row.remote_id, now)
            if row.remote_id in listed:
                why = f"gateway {self.name} has it"
                seen.append(Seen(agent_id=row.agent_id, is_online=True, why=why, is_known=True))
            elif row.state == gateway_agents.READY and missing_for_s < MISSING_S:
                is_settled = False
            elif row.state == gateway_agents.READY:
                problem = f"gateway {self.name} has no agent {row.remote_id}"
                seen.append(self._offline(row, problem, is_known=False, problem=problem))
                lost += [row] if _is_ours_to_make(row) else []
            else:
                seen.append(self._offline(row, f"gateway {self.name} has yet to make it"))
        await self._write(seen)
        for row in rows:
            if row.role != gateway_agents.LEAD and row.state in _UNMADE:
                self._on_missing(row)
        for row in lost:  # the gateway was reset; its main agent must be created again to reach people
            problem, at = f"gateway {self.name} has lost it", now_ms(self._clock)
            if await self._store.write(gateway_creations.note_missing, row.agent_id, problem=problem, at=at):
                log.warning("agent.lost_at_gateway", agent_id=row.agent_id, gateway=self.name)
                self._on_missing(row)
        known = {row.remote_id: self._agents.get(row.remote_id) or _Working(row) for row in rows}
        for row in rows:
            known[row.remote_id].row = row
        self._agents = {id: working for id, working in known.items() if id in listed}
        asked = [agent for agent in self._agents.values() if is_whole or agent.runs]
        await self._query_turns(gateway, asked, because="as its gateway shows it")
        if self._clock.monotonic() >= self._contact_at and rows:
            at = now_ms(self._clock)
            await self._store.write(gateways.note_heartbeat, rows[0].gateway_id, at=at)
            self._contact_at = self._clock.monotonic() + CONTACT_S
        return is_settled

    def _offline(
        self, row: GatewayAgentRow, why: str, *, is_known: bool | None = None, problem: str | None = None
    ) -> Seen:
        return Seen(
            agent_id=row.agent_id,
            is_online=False,
            why=why,
            turns=0,
            because=why,
            is_known=is_known,
            problem=problem,
        )

    async def _query_turns(self, gateway: Gateway, agents: Sequence[_Working], *, because: str) -> None:
        """Query whether each agent is working. The id of a running turn may be uncertain."""
        limiter = anyio.CapacityLimiter(ASKED_AT_ONCE)
        seen: list[Seen] = []
        failed: list[GatewayError] = []

        async def ask(agent: _Working) -> None:
            async with limiter:
                if failed:
                    return
                key = agent.row.session_key or gateway_agents.session_key_of(agent.row.remote_id)
                try:
                    history = await chat_history(gateway, key, limit=_FEW)
                except GatewayError as exc:
                    failed.append(exc)
                    return
            is_running = history.is_running
            agent.is_guessed = is_running
            agent.runs = {history.in_flight_run or because} if is_running else set()
            seen.append(self._turns(agent, because))

        async with anyio.create_task_group() as asking:
            for agent in agents:
                asking.start_soon(ask, agent)
        await self._write(seen)
        if failed:
            raise failed[0]

    # --- rows ---

    async def _rows(self) -> list[GatewayAgentRow]:
        row = await self._store.read(gateways.get_gateway, self.name)
        return await self._store.read(gateway_agents.list_gateway_agents, row.id)

    async def _write(self, seen: Sequence[Seen]) -> None:
        """Write the changes, if any."""
        at = now_ms(self._clock)
        for begin in range(0, len(seen), AT_ONCE):
            await self._store.write(
                coordination_gateway_reports.record_observations, self.name, seen[begin:][:AT_ONCE], at=at
            )


def _is_ours_to_make(row: GatewayAgentRow) -> bool:
    """Return True for a main agent that hub.toml does not name, so that only the hub creates it."""
    return row.role == gateway_agents.MAIN and row.remote_id == gateway_agents.main_remote_id(row.gateway_id)


class Lease(Protocol):
    """Lease of the one hub that writes the status of agents; implemented by ``runs.leadership``."""

    @property
    def renewed_in_s(self) -> float: ...

    async def hold(self) -> object: ...

    async def keep(self) -> object: ...

    def lose(self) -> None: ...

    async def resign(self) -> None: ...


class GatewayMonitor:
    """Service that watches every gateway of the fleet.

    *on_missing* is called with each agent that must still be created at its connected gateway, except board
    leads, which are created on demand.
    """

    def __init__(
        self,
        store: Store,
        fleet: Fleet,
        *,
        lease: Lease,
        clock: Clock,
        on_missing: Callable[[GatewayAgentRow], None] = lambda _: None,
    ) -> None:
        self.loop = LoopReports(clock)
        self._store = store
        self._fleet = fleet
        self._lease = lease
        self._clock = clock
        self._watches: dict[str, Watch] = {}  # while this hub holds the lease
        self._lost: dict[str, datetime] = {}
        self._changed = anyio.Event()
        self._on_missing = on_missing
        fleet.listen(self._on_news)

    def recheck(self, gateway: str | None = None) -> None:
        """Check again after a change of a gateway's agents, or of the list of gateways."""
        names = {gateway.name for gateway in self._fleet.list()}
        for name in [name for name in self._lost if name not in names]:
            del self._lost[name]
        for name in names:
            if self._fleet.get(name).health().state != "ready":
                self._lost.setdefault(name, self._clock.now())
        for name, watch in self._watches.items():
            if gateway in (None, name):
                watch.recheck()
        self._changed.set()

    def lost_since(self, gateway: str) -> datetime | None:
        """Return since when a gateway is disconnected, or None if it is connected."""
        return self._lost.get(gateway)

    def _on_news(self, news: GatewayNews) -> None:
        watch = self._watches.get(news.gateway)
        match news:
            case GatewayEvent():
                fact = read_fact(news) if watch is not None else None
                if watch is not None and fact is not None:
                    watch.enqueue(fact)
                return
            case StateChanged(health=GatewayHealth(state="ready")):
                self._lost.pop(news.gateway, None)
            case StateChanged():
                self._lost.setdefault(news.gateway, self._clock.now())
        if watch is not None:
            watch.recheck()
        self._changed.set()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Watch until cancelled, without waiting for gateways to connect."""
        task_status.started()
        try:
            while True:
                try:
                    self.loop.wait()
                    await self._lease.hold()
                    await self._lead()
                except LostLease as exc:
                    log.warning("gateway_status.deposed", why=str(exc))
                    self._lease.lose()
                except StorageError as exc:
                    log.warning("gateway_status.database", code=exc.code)
                    await self._clock.sleep(RETRY_S)
        finally:
            await self._lease.resign()

    async def _lead(self) -> None:
        """Watch while the lease is held. Raises LostLease, StorageError."""
        lost: LostLease | StorageError | None = None
        self._watches.clear()
        async with anyio.create_task_group() as watching:
            while lost is None:
                self.loop.work()
                self._changed = anyio.Event()
                for gateway in self._fleet.list():
                    if gateway.name not in self._watches:
                        self._start(watching, gateway.name)
                try:
                    await self._lease.keep()
                except (LostLease, StorageError) as exc:
                    lost = exc
                    break
                wait_s = self._lease.renewed_in_s
                self.loop.wait(wait_s)
                await wait_for_event(self._changed, self._clock, wait_s)
            watching.cancel_scope.cancel()
        self._watches.clear()
        if lost is not None:
            raise lost

    def _start(self, watching: TaskGroup, name: str) -> None:
        watch = self._watches[name] = Watch(
            name, self._store, self._fleet, clock=self._clock, on_missing=self._on_missing
        )
        watching.start_soon(self._keep, watch)

    async def _keep(self, watch: Watch) -> None:
        await watch.serve()
        if self._watches.get(watch.name) is watch:  # its gateway is no longer declared
            del self._watches[watch.name]
