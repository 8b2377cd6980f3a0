"""Locks, as operators are told of them, and taken from their holders."""

from collections import defaultdict
from collections.abc import Sequence

from hub.agents.locks import Locks
from hub.api.facades.locks import AmbiguousLock, UnknownLock
from hub.api.views.locks import LockHolderView, LockView, LockWaitView
from hub.clock import Clock, epoch_ms, from_epoch_ms
from hub.log import Channel
from hub.operations.moments import moment
from hub.operations.names import agent_named, user_names
from hub.operations.seen import Seen
from protocol.ids import UserId
from storage.agents import locks
from storage.audit import audit
from storage.audit.audit import Entry
from storage.store import Store

log = Channel(__name__)


class LockOperations(Seen):
    """Implements ``api.facades.locks.LockFacade``."""

    def __init__(self, store: Store, held: Locks, *, clock: Clock) -> None:
        self._store = store
        self._locks = held
        self._clock = clock

    async def all(self, *, agent: str | None = None, and_free: bool = False) -> list[LockView]:
        """Locks that somebody holds or waits for, by user and name."""
        agent_ids = None
        if agent is not None:
            agent_ids = [(await agent_named(self._store, agent, self.user_id)).id]
        rows = await self._store.read(
            locks.list_locks, user_id=self.user_id, agent_ids=agent_ids, and_free=and_free
        )
        return await self._views(rows)

    async def release(self, resource: str, *, fence: int | None = None, actor: str) -> LockView:
        """Take a lock from whoever holds it."""
        found = await self._find(resource)
        entry = Entry(
            at=epoch_ms(self._clock.now()),
            actor=actor,
            event="lock.released",
            subject=resource,
            detail={"held_by": found.told_holder, "fence": found.fence, "user": found.user_id},
        )
        freed = audit.audited(locks.force_release, lambda freed: entry if freed else None)
        released = await self._store.write(freed, found.user_id, resource, fence=fence)
        if released is None:
            found = await self._find(resource)
            if found.holder is not None:
                raise locks.LockLost(
                    f"lock {resource!r} is held by {found.told_holder} under fence {found.fence}, not {fence}"
                )
        else:
            was, handed = released
            agent_id = None if was.holder is None else was.holder.agent_id
            log.info("lock.forced", lock=resource, fence=was.fence, agent_id=agent_id, actor=actor)
            self._locks.told(handed)
        (view,) = await self._views([await self._find(resource)])
        return view

    async def _find(self, resource: str) -> locks.LockRow:
        found = await self._store.read(locks.find_locks_named, resource, user_id=self.user_id)
        if not found:
            raise UnknownLock(f"there is no lock {resource!r}")
        if len(found) > 1:
            raise AmbiguousLock(f"several users have a lock {resource!r}; say whose: --user NAME")
        return found[0]

    async def _views(self, rows: Sequence[locks.LockRow]) -> list[LockView]:
        names = await user_names(self._store)
        queues: defaultdict[tuple[UserId, str], list[LockWaitView]] = defaultdict(list)
        for wait in await self._store.read(locks.list_lock_waits, user_id=self.user_id):
            told = LockWaitView(
                holder=_holder(wait.holder, wait.agent_name, wait.device_name),
                since=from_epoch_ms(wait.queued_at),
                until=moment(wait.deadline_at),
            )
            queues[wait.user_id, wait.resource].append(told)
        return [
            LockView(
                resource=row.resource,
                user=names[row.user_id],
                fence=row.fence,
                holder=None if row.holder is None else _holder(row.holder, row.agent_name, row.device_name),
                since=moment(row.acquired_at),
                until=None if row.holder is None else from_epoch_ms(row.expires_at),
                waiting=tuple(queues[row.user_id, row.resource]),
            )
            for row in rows
        ]


def _holder(holder: locks.Holder, agent: str | None, device: str | None) -> LockHolderView:
    return LockHolderView(kind=holder.kind.value, id=holder.id, agent=agent, device=device)
