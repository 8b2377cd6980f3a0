"""Routes of locks: list, acquire, renew, release, and release by force."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from hub.agents.locks import MAX_TTL_MS, MAX_WAIT_MS, MIN_TTL_MS, TTL_MS, LockTicket, holder_of, itself
from hub.agents.locks import LockService as HeldLocks
from hub.api.binding import BodyField, bad_request
from hub.api.device import DeferredResponse, Link, OwnAgent, object_of
from hub.api.resource import (
    ALL,
    Actor,
    Instant,
    ListPart,
    Resource,
    View,
    audited,
    command,
    device,
    listed,
    route,
)
from hub.base.clock import Clock, from_epoch_ms
from hub.base.log import Channel
from hub.base.roles import Scope
from protocol.agent_status import Lifecycle
from protocol.coordination import LOCK, LOCK_CHARACTERS, MAX_LOCKS, Method, lock_names
from protocol.errors import CodedError, ErrorCode
from protocol.frame import Fence
from protocol.grants import Grant
from protocol.ids import UserId
from storage import audit
from storage.agents import agents, locks
from storage.agents.agents import AgentRow
from storage.audit import AuditEntry
from storage.store import Connection, Store

log = Channel(__name__)


class LockHolderView(View):
    """Run, device or agent that holds a lock or waits for it. *id*: its id."""

    kind: Literal["run", "device", "agent"]
    id: str
    agent: str | None = None
    device: str | None = None


class LockWaitView(View):
    """Entry of a lock's queue. *until*: end of the wait; None: the wait has no time limit."""

    holder: LockHolderView
    since: Instant
    until: Instant | None = None


class LockView(View):
    """A lock. *fence* grows with each holder; *waiting* are those in its queue, the next in turn first."""

    resource: str
    user: str
    fence: int
    holder: LockHolderView | None = None
    since: Instant | None = None
    until: Instant | None = None  # then it is over, unless it is renewed
    waiting: tuple[LockWaitView, ...] = ()


_RELEASE: Final = BodyField(
    "Release", "The lock to release; *fence*: only if its holder still has this fence."
)


LockName = Annotated[str, Meta(extra_json_schema={"pattern": f"^{LOCK.pattern}$"})]
TtlMs = Annotated[int, Meta(ge=MIN_TTL_MS, le=MAX_TTL_MS)]


class Acquisition(Struct, frozen=True):
    """The locks that an agent of a device is to hold: *resource*, *resources* or both."""

    resource: str | None = None
    resources: tuple[str, ...] = ()
    ttl_ms: TtlMs = TTL_MS
    wait_ms: Annotated[int, Meta(ge=0, le=MAX_WAIT_MS)] = 0

    def names(self) -> tuple[str, ...]:
        """Return the names of the requested locks. Raises CodedError."""
        given = [*self.resources, *([] if self.resource is None else [self.resource])]
        if not given:
            raise bad_request([f"resources: expected the names of 1 to {MAX_LOCKS} locks"])
        return lock_names(given)


_LOCK_REQUEST_BODY: Final = BodyField(
    "LockRequestBody",
    "The locks that an agent is to hold itself. *ttl_ms*: they are over then, unless they are renewed.",
)


class HeldLocksBody(View):
    """Locks that an agent holds itself: the fence of each, by name. *ttl_ms*: of a renewal."""

    fences: Annotated[
        dict[str, Fence], Meta(min_length=1, max_length=MAX_LOCKS, examples=[{"mailbox:anna": 7}])
    ]
    ttl_ms: TtlMs = TTL_MS


class LockGrantView(View):
    """Locks that an agent holds itself, until *until*: the fence of each, by name."""

    fences: dict[str, int]
    until: Instant


class ReleasedLocksView(View):
    """Names of the locks that an agent released."""

    resources: tuple[str, ...]


class HeldFences(Struct, frozen=True):
    """The fences of locks that an agent of a device holds, by name."""

    fences: Annotated[dict[str, Fence], Meta(min_length=1, max_length=MAX_LOCKS)]
    ttl_ms: TtlMs = TTL_MS


_RECORD = object_of(
    *("resource", "fence", "holder_text as held_by", "holder.agent_id as agent_id"),
    *("acquired_at as acquired_at_ms", "expires_at as expires_at_ms", "waiting"),
)
_grant = object_of("fences", "expires_at as expires_at_ms")
_Found = tuple[Sequence[locks.LockRow], Sequence[locks.LockWait]]


class LocksResource(Resource):
    """Locks of agents: of their runs and of their devices."""

    name, path = "locks", "/v1"

    def __init__(self, store: Store, held: HeldLocks, *, clock: Clock) -> None:
        self._store = store
        self._locks = held
        self._clock = clock

    @command(
        "locks ls",
        example="hub locks ls --agent notes",
        json="locks",
        options={"agent": "Only what this agent holds or waits for.", "free": "--all: Include free locks."},
        table=(
            "resource as lock",
            "user",
            "fence",
            "holder|holder as held by",
            "since|at",
            "until|at",
            "waiting|holders",
        ),
        empty="no locks are held or waited for",
    )
    @listed(
        "/locks", Scope.READ, key=lambda lock: (lock.user, lock.resource), errors=[ErrorCode.UNKNOWN_AGENT]
    )
    async def all(
        self,
        agent: Annotated[str, Meta(max_length=200, description="Only what this agent holds or waits for.")]
        | None = None,
        free: Annotated[bool, Meta(description="Also locks that are free.")] = False,
        part: ListPart = ALL,
    ) -> list[LockView]:
        """List the locks that are held or waited for, by user and name."""

        def read(c: Connection) -> _Found:
            agent_ids = None
            if agent is not None:
                agent_ids = [agents.agent_called(c, agent, self.user_id).id]
            rows = locks.list_locks(
                c,
                user_id=self.user_id,
                agent_ids=agent_ids,
                and_free=free,
                limit=part.limit,
                after=part.after,
            )
            return _with_waits(c, rows)

        return _views(*await self._store.read(read))

    @command(
        "locks release RESOURCE",
        example="hub locks release mailbox:anna --yes",
        json="lock",
        options={"fence": "Only if the lock still has this fence."},
        message="{resource} is released; {holder|holder_now}",
        confirm="take lock {resource} from its holder, which may still be using it?",
    )
    @route("POST", "/locks/release", Scope.RUN, errors=[ErrorCode.UNKNOWN_LOCK, ErrorCode.LOCK_LOST])
    @audited("lock.released")
    async def release(
        self,
        resource: Annotated[
            str,
            Meta(min_length=1, max_length=LOCK_CHARACTERS, examples=["mailbox:anna"]),
            _RELEASE,
        ],
        actor: Actor,
        fence: Annotated[Annotated[int, Meta(ge=1, le=2**53 - 1, examples=[7])] | None, _RELEASE] = None,
    ) -> LockView:
        """Release a lock by force; the next in its queue holds it then.

        What the old holder does under its fence is refused from then on. A free lock stays free.
        """
        found = await self._find(resource)
        entry = AuditEntry(
            at=self._now,
            actor=actor,
            event="lock.released",
            subject=resource,
            detail={"held_by": found.holder_text, "fence": found.fence, "user": found.user_id},
        )
        freed = audit.audited(locks.force_release, lambda freed: entry if freed else None)
        released = await self._store.write(freed, found.user_id, resource, fence=fence)
        if released is None:
            found = await self._find(resource)
            if found.holder is not None:
                raise locks.LockLost(
                    f"lock {resource!r} is held by {found.holder_text} under fence {found.fence}, not {fence}"
                )
        else:
            was, handed = released
            agent_id = None if was.holder is None else was.holder.agent_id
            log.info("lock.forced", lock=resource, fence=was.fence, agent_id=agent_id, actor=actor)
            self._locks.report(handed)
        (view,) = _views(*await self._store.read(_with_waits, [await self._find(resource)]))
        return view

    @route(
        "POST",
        "/agents/{name}/locks",
        Scope.RUN,
        errors=[ErrorCode.UNKNOWN_AGENT, ErrorCode.LOCK_HELD, ErrorCode.LIMIT_REACHED],
    )
    @audited("lock.taken", is_often=True)
    async def take(
        self,
        name: str,
        resources: Annotated[
            Annotated[
                tuple[LockName, ...], Meta(min_length=1, max_length=MAX_LOCKS, examples=[["mailbox:anna"]])
            ],
            _LOCK_REQUEST_BODY,
        ],
        ttl_ms: Annotated[TtlMs, _LOCK_REQUEST_BODY] = TTL_MS,
    ) -> LockGrantView:
        """Acquire locks for an agent itself: all of them at once, or none. It does not wait for them.

        An agent that asks again for what it holds gets it under a greater fence.
        """
        agent = await self._agent(name)
        granted = await self._locks.acquire(agent.user_id, agent.id, lock_names(resources), ttl_ms=ttl_ms)
        return LockGrantView(fences=granted.fences, until=from_epoch_ms(granted.expires_at))

    @route(
        "POST",
        "/agents/{name}/locks/renew",
        Scope.RUN,
        errors=[ErrorCode.UNKNOWN_AGENT, ErrorCode.LOCK_LOST],
    )
    @audited("lock.renewed", is_often=True)
    async def extend(self, name: str, body: HeldLocksBody) -> LockGrantView:
        """Extend the time of locks that an agent holds itself: of all of them, or of none."""
        agent = await self._agent(name)
        until = await self._locks.renew(agent.user_id, body.fences, itself(agent.id), ttl_ms=body.ttl_ms)
        return LockGrantView(fences=body.fences, until=from_epoch_ms(until))

    @route(
        "POST",
        "/agents/{name}/locks/release",
        Scope.RUN,
        errors=[ErrorCode.UNKNOWN_AGENT, ErrorCode.LOCK_LOST],
    )
    @audited("lock.returned", is_often=True)
    async def put_back(self, name: str, body: HeldLocksBody) -> ReleasedLocksView:
        """Release locks that an agent holds itself; the next in each queue holds it then."""
        agent = await self._agent(name)
        await self._locks.release(agent.user_id, body.fences, itself(agent.id))
        return ReleasedLocksView(resources=tuple(body.fences))

    @device(Method.LOCKS_ACQUIRE, "its own agents", Grant.COORDINATION)
    @audited("lock.taken", is_often=True)
    async def acquire(
        self, agent: OwnAgent, link: Link, request: Acquisition
    ) -> dict[str, Any] | DeferredResponse:
        """Acquire locks for an agent of a device, or queue for them. Raises CodedError."""
        names = request.names()
        answer = await self._locks.ask(link, agent.id, names, ttl_ms=request.ttl_ms, wait_ms=request.wait_ms)
        if not isinstance(answer, LockTicket):
            return _grant(answer)

        async def granted() -> dict[str, Any]:
            return _grant(await self._locks.granted(answer))

        return DeferredResponse(granted)

    @device(Method.LOCKS_RENEW, "its own agents", Grant.COORDINATION)
    @audited("lock.renewed", is_often=True)
    async def renew(self, agent: OwnAgent, link: Link, held: HeldFences) -> dict[str, Any]:
        """Extend the time of locks that an agent of a device holds. Raises LockLost."""
        holder = holder_of(link.device_id, agent.id)
        until = await self._locks.renew(agent.user_id, held.fences, holder, ttl_ms=held.ttl_ms)
        return {"expires_at_ms": until}

    @device(Method.LOCKS_RELEASE, "its own agents")
    @audited("lock.returned", is_often=True)
    async def give_back(self, agent: OwnAgent, link: Link, held: HeldFences) -> dict[str, Any]:
        """Release locks that an agent of a device holds. Raises LockLost."""
        await self._locks.release(agent.user_id, held.fences, holder_of(link.device_id, agent.id))
        return {}

    @device(Method.LOCKS_LIST, "its own agents", answer=lambda rows: {"locks": list(map(_RECORD, rows))})
    async def of_device(self, link: Link) -> Sequence[locks.LockRow]:
        """Return the locks that the agents of a device hold or wait for."""

        def read(c: Connection) -> Sequence[locks.LockRow]:
            mine = [agent.id for agent in agents.list_agents(c, device_id=link.device_id)]
            return locks.list_locks(c, agent_ids=mine)

        return await self._store.read(read)

    async def _agent(self, name: str) -> AgentRow:
        agent = await self._agent_called(name)
        if agent.archived_at is not None or agent.lifecycle == Lifecycle.TERMINATED:
            raise CodedError(
                ErrorCode.UNKNOWN_AGENT,
                f"the agent {agent.name!r} was removed or terminated: it holds no locks",
            )
        return agent

    async def _find(self, resource: str) -> locks.LockRow:
        return await self._store.read(_lock_named, resource, self.user_id)


def _lock_named(c: Connection, resource: str, user_id: UserId | None) -> locks.LockRow:
    found = locks.find_locks_named(c, resource, user_id=user_id)
    if not found:
        raise CodedError(ErrorCode.UNKNOWN_LOCK, f"there is no lock {resource!r}")
    if len(found) > 1:
        raise CodedError(
            ErrorCode.BAD_PARAMS, f"several users have a lock {resource!r}; say whose: ?user=NAME"
        )
    return found[0]


def _with_waits(c: Connection, rows: Sequence[locks.LockRow]) -> _Found:
    return rows, locks.list_lock_waits(c, resources=sorted({row.resource for row in rows}))


def _views(rows: Sequence[locks.LockRow], waits: Sequence[locks.LockWait]) -> list[LockView]:
    queues: defaultdict[tuple[UserId, str], list[LockWaitView]] = defaultdict(list)
    for wait in waits:
        holder = _holder(wait.holder, wait)
        queues[wait.user_id, wait.resource].append(
            LockWaitView.from_row(holder=holder, since=wait.queued_at, until=wait.deadline_at)
        )
    return [
        LockView.from_row(
            row,
            holder=None if row.holder is None else _holder(row.holder, row),
            since=row.acquired_at,
            until=None if row.holder is None else row.expires_at,
            waiting=tuple(queues[row.user_id, row.resource]),
        )
        for row in rows
    ]


def _holder(holder: locks.Holder, of: locks.LockRow | locks.LockWait) -> LockHolderView:
    return LockHolderView.from_row(holder, agent=of.agent_name, device=of.device_name)
