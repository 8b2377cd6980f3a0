"""Locks over API and device: lifetime limits, waits in the queue, renewal, release and granting."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final

import anyio
from anyio.abc import TaskStatus

from hub.base.clock import Clock, IdFactory
from hub.base.log import Channel
from hub.base.metrics import Metrics
from hub.base.periodic_loop import LoopReports
from hub.links.device_link import DeviceLink
from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId, DeviceId, UserId
from storage.agents import locks
from storage.agents import locks as rows
from storage.kernel.database import StorageError
from storage.store import ObservedDatabase, Store

log = Channel(__name__)

POLL_S: Final = 2.0  # maximum delay for a waiting run after its holder died
REST_S: Final = 30.0  # between two rounds while no request waits, and only this hub could add one
WAITING_POLL_S: Final = 0.25  # the same for a device that waits here, and after the end of a run
MIN_WAIT_S: Final = 0.01  # between two rounds
TTL_MS: Final = 60_000
MIN_TTL_MS: Final = 1_000  # less would mostly cover the round trip
MAX_TTL_MS: Final = 86_400_000
MAX_WAIT_MS: Final = 600_000


class LockTicket:
    """A device's place in the queues of some locks.

    Attributes:
        wait_s: maximum seconds in the queues.
    """

    def __init__(self, link: DeviceLink, request: locks.LockRequest) -> None:
        self.link = link
        self.request = request
        self.wait_s = (request.wait_ms or 0) / 1_000
        self.settled = anyio.Event()
        self.grant: locks.LockGrant | None = None
        self.is_disconnected = False  # the device has disconnected


class LockService:
    """Grants locks to agents of devices, and passes released locks on.

    Attributes:
        limits, waits_per_device: limits on locks and on requests that wait for them.
        is_resting: True while no request waits, and only a write can add one.
        on_run_granted: called when a waiting run got its locks, and can be claimed.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        ids: IdFactory,
        metrics: Metrics,
        on_run_granted: Callable[[], None] = lambda: None,
        is_connected: Callable[[DeviceLink], bool] = lambda _: True,
    ) -> None:
        self.loop = LoopReports(clock)
        self.limits = locks.DEFAULT_LIMITS
        self.waits_per_device = 16
        self.on_run_granted = on_run_granted
        self._store = store
        self._clock = clock
        self._is_connected = is_connected
        self._ids = ids
        self._metrics = metrics
        self._waiting: dict[str, LockTicket] = {}  # by request
        self._wake = anyio.Event()
        self._can_rest = self.is_resting = False
        self._has_written = True  # since the last round

    def __len__(self) -> int:
        """Return the number of waiting requests of devices."""
        return len(self._waiting)

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Pass expired locks on, and notify the new holders, until cancelled."""
        if not self._store.is_shared:
            await self._store.write(rows.forget_waits)  # their devices were connected to the previous process
        task_status.started()
        while True:
            self.loop.work()
            self._wake = anyio.Event()
            wait_s = POLL_S
            try:
                wait_s = await self._grant_due()
            except StorageError as exc:
                log.error("locks.database", exc=exc)  # retried after POLL_S
            self.loop.wait(wait_s)
            with anyio.move_on_after(wait_s):
                await self._wake.wait()

    def rest_between_writes(self, store: ObservedDatabase) -> None:
        """Look for locks to grant only after writes while no request waits; no effect if hubs share it."""
        if not store.is_shared:
            self._can_rest = True
            store.listen(self._written)

    def _written(self) -> None:
        self._has_written = True
        if self.is_resting:
            self._wake.set()

    async def ask(
        self,
        link: DeviceLink,
        agent_id: AgentId,
        names: tuple[str, ...],
        *,
        ttl_ms: int = TTL_MS,
        wait_ms: int = 0,
    ) -> locks.LockGrant | LockTicket:
        """Acquire all locks for an agent of a device, or return its place in their queues.

        Raises:
            CodedError (LOCK_HELD): a lock is held, and the request does not wait.
            HoldsAlready, TooManyLocks, CodedError: the request is not allowed.

        If an error is raised, no lock was acquired.
        """
        waits = sum(turn.link.device_id == link.device_id for turn in self._waiting.values())
        if wait_ms and waits >= self.waits_per_device:
            self._metrics.limits_reached.labels("lock_waits_per_device").inc()
            raise CodedError(
                ErrorCode.LIMIT_REACHED,
                f"{waits} requests of this device wait for locks (lock_waits_per_device)",
            )
        request = locks.LockRequest(
            request_id=self._ids.fresh(),
            user_id=link.user_id,
            names=names,
            holder=holder_of(link.device_id, agent_id),
            ttl_ms=ttl_ms,
            wait_ms=wait_ms,
        )
        # registered before the write, because the grant may follow at once
        turn = self._waiting[request.request_id] = LockTicket(link, request)
        try:
            with self._metrics.count_limits():
                acquired = await self._store.write(rows.acquire, request, self.limits)
        except BaseException:
            del self._waiting[request.request_id]
            raise
        self._hand_out(acquired.handed)
        if acquired.grant is None:
            self._wake.set()
            if not self._is_connected(link):  # it disconnected before its request was processed
                turn.is_disconnected = True
                turn.settled.set()
            return turn
        del self._waiting[request.request_id]
        _log_granted(acquired.grant)
        return acquired.grant

    async def acquire(
        self, user_id: UserId, agent_id: AgentId, names: tuple[str, ...], *, ttl_ms: int = TTL_MS
    ) -> locks.LockGrant:
        """Acquire all locks for an agent itself, at once.

        Raises:
            CodedError (LOCK_HELD), TooManyLocks: no lock was acquired.
        """
        return await self._acquire(user_id, itself(agent_id), names, ttl_ms)

    async def _acquire(
        self, user_id: UserId, holder: locks.Holder, names: tuple[str, ...], ttl_ms: int
    ) -> locks.LockGrant:
        request = locks.LockRequest(
            request_id=self._ids.fresh(), user_id=user_id, names=names, holder=holder, ttl_ms=ttl_ms
        )
        with self._metrics.count_limits():
            acquired = await self._store.write(rows.acquire, request, self.limits)
        assert acquired.grant is not None  # it does not wait
        self._hand_out(acquired.handed)
        _log_granted(acquired.grant)
        return acquired.grant

    @asynccontextmanager
    async def hold(
        self, user_id: UserId, holder: locks.Holder, names: tuple[str, ...]
    ) -> AsyncIterator[Mapping[str, int]]:
        """Hold locks inside the block, renewed as long as it lasts. Yields their fences.

        Raises:
            CodedError (LOCK_HELD), TooManyLocks: no lock was acquired.
            LockLost: a lock was released by force; the block was cancelled.
        """
        if not names:
            yield {}
            return
        grant = await self._acquire(user_id, holder, names, TTL_MS)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._keep, grant)
                yield grant.fences
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True), suppress(locks.LockLost):
                await self.release(user_id, grant.fences, holder)

    async def _keep(self, grant: locks.LockGrant) -> None:
        """Renew locks until cancelled."""
        while True:
            await self._clock.sleep(TTL_MS / 3_000)
            await self.renew(grant.user_id, grant.fences, grant.holder, ttl_ms=TTL_MS)

    async def granted(self, turn: LockTicket) -> locks.LockGrant:
        """Wait for the locks and return their grant.

        Raises:
            CodedError (LOCK_TIMED_OUT): the locks were not granted in time.
        """
        request = turn.request
        try:
            with anyio.move_on_after(turn.wait_s):
                await turn.settled.wait()
            if turn.grant is None:
                acquired = await self._store.write(rows.withdraw, request.user_id, request.request_id)
                self._hand_out(acquired.handed)
                turn.grant = acquired.grant
        finally:
            del self._waiting[request.request_id]
        if turn.grant is None:
            raise CodedError(ErrorCode.LOCK_TIMED_OUT, await self._why_not(request))
        if turn.is_disconnected:
            # the device cannot get the answer any more
            await self.release(request.user_id, turn.grant.fences, request.holder)
        return turn.grant

    async def renew(
        self, user_id: UserId, fences: Mapping[str, int], holder: locks.Holder, *, ttl_ms: int
    ) -> int:
        """Renew locks. Return when they expire (epoch ms).

        Raises:
            LockLost: the holder no longer has a lock; none was renewed.
        """
        return await self._store.write(rows.renew, user_id, fences, holder, ttl_ms=ttl_ms)

    async def release(self, user_id: UserId, fences: Mapping[str, int], holder: locks.Holder) -> None:
        """Release locks.

        Raises:
            LockLost: another holder has a lock; none was released.
        """
        self._hand_out(await self._store.write(rows.release, user_id, fences, holder))
        log.info("lock.released", locks=sorted(fences), **_named(holder))

    def report(self, handed: Iterable[locks.LockGrant]) -> None:
        """Report grants that another component of this hub caused."""
        self._hand_out(handed)

    def device_lost(self, device_id: DeviceId, epoch: int) -> None:
        """End all waits of a closed connection. Locks that the device holds stay held."""
        for turn in self._waiting.values():
            if turn.link.device_id == device_id and turn.link.epoch == epoch:
                turn.is_disconnected = True
                turn.settled.set()

    async def _grant_due(self) -> float:
        """Grant due locks. Return the seconds until the next round."""
        self.is_resting, has_written, self._has_written = False, self._has_written, False
        found = await self._store.read(rows.pending_work, list(self._waiting))
        self._hand_out(grant for grant in found.granted.values() if grant.request_id in self._waiting)
        for user_id in found.users_due:
            self._hand_out(await self._store.write(rows.sweep, user_id))
        is_due = bool(self._waiting or found.users_due or found.next_due_ms is not None)
        self.is_resting = self._can_rest and not (is_due or has_written or self._has_written)
        wait_s = WAITING_POLL_S if self._waiting else REST_S if self.is_resting else POLL_S
        return wait_s if found.next_due_ms is None else min(wait_s, found.next_due_ms / 1_000 + MIN_WAIT_S)

    def _hand_out(self, handed: Iterable[locks.LockGrant]) -> None:
        for grant in handed:
            turn = self._waiting.get(grant.request_id)
            if turn is not None and turn.grant is None:
                turn.grant = grant
                turn.settled.set()
                _log_granted(grant)
            if grant.holder.kind == "run":
                _log_granted(grant)
                self.on_run_granted()

    async def _why_not(self, request: locks.LockRequest) -> str:
        """Return the holder of the lock that was not granted, and since when."""
        waited = f"it was not granted within {(request.wait_ms or 0) / 1_000:g} s:"
        for lock in await self._store.read(locks.locks_named, request.user_id, request.names):
            if lock.holder is not None and lock.holder != request.holder:
                since, until = (
                    locks.instant_text(lock.acquired_at or 0),
                    locks.instant_text(lock.expires_at),
                )
                held = f"is held by {lock.holder_text} since {since}, until {until} at most"
                return f"{waited} lock {lock.resource!r} {held}"
        return f"{waited} others were before it in the queue of {request.names[0]!r}"


def holder_of(device_id: DeviceId, agent_id: AgentId) -> locks.Holder:
    """Return an agent of a device as a holder of locks."""
    return locks.Holder("device", device_id, agent_id)


def itself(agent_id: AgentId) -> locks.Holder:
    """Return an agent as a holder of locks by itself, without a device."""
    return locks.Holder("agent", agent_id, agent_id)


def _named(holder: locks.Holder) -> dict[str, str | None]:
    """Return the holder and its agent as fields of a log event."""
    return {"agent_id": holder.agent_id} | {f"{holder.kind}_id": holder.id}


def _log_granted(grant: locks.LockGrant) -> None:
    holder = grant.holder
    log.info("lock.granted", locks=sorted(grant.fences), **_named(holder))
