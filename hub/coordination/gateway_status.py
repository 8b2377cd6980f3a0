"""Status of agents at gateways: connected or not, busy or idle, out of quota.

Runs one watch per gateway (``gateway_watch``). Of several hubs, only the lease holder writes.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

import anyio
from anyio.abc import TaskGroup, TaskStatus

from hub.clock import Clock
from hub.coordination.gateway_watch import RETRY_S, Watch, first_of, read_fact
from hub.log import Channel
from hub.openclaw import Fleet, GatewayEvent, GatewayHealth, GatewayNews, GatewayState, StateChanged
from hub.turns import Turns
from storage.coordination.gateway_agents import GatewayAgentRow
from storage.devices.nodes import LostLease
from storage.kernel.database import StorageError
from storage.store import Store

log = Channel(__name__)


class Lease(Protocol):
    """Lease of the one hub that writes the status of agents; implemented by ``runs.leadership``."""

    @property
    def renewed_in_s(self) -> float: ...

    async def take(self) -> object: ...

    async def keep(self) -> object: ...

    def lose(self) -> None: ...

    async def resign(self) -> None: ...


class GatewayMonitor:
    """Service that watches every gateway of the fleet.

    Attributes:
        on_missing: called with each agent that must still be created at its connected gateway, except board
            leads, which are created on demand.
    """

    def __init__(self, store: Store, fleet: Fleet, *, lease: Lease, clock: Clock) -> None:
        self.turns = Turns(clock)
        self._store = store
        self._fleet = fleet
        self._lease = lease
        self._clock = clock
        self._watches: dict[str, Watch] = {}  # while this hub holds the lease
        self._lost: dict[str, datetime] = {}
        self._changed = anyio.Event()
        self.on_missing: Callable[[GatewayAgentRow], None] = lambda _: None
        fleet.listen(self._on_news)

    def recheck(self, gateway: str | None = None) -> None:
        """Check again after a change of a gateway's agents, or of the list of gateways."""
        names = {one.name for one in self._fleet.list()}
        for name in [name for name in self._lost if name not in names]:
            del self._lost[name]
        for name in names:
            if self._fleet.get(name).health().state is not GatewayState.READY:
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
                    watch.take(fact)
                return
            case StateChanged(health=GatewayHealth(state=GatewayState.READY)):
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
                    self.turns.wait()
                    await self._lease.take()
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
                self.turns.work()
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
                self.turns.wait(wait_s)
                await first_of(self._clock, wait_s, self._changed)
            watching.cancel_scope.cancel()
        self._watches.clear()
        if lost is not None:
            raise lost

    def _start(self, watching: TaskGroup, name: str) -> None:
        watch = self._watches[name] = Watch(
            name, self._store, self._fleet, clock=self._clock, on_missing=lambda row: self.on_missing(row)
        )
        watching.start_soon(self._keep, watch)

    async def _keep(self, watch: Watch) -> None:
        await watch.serve()
        if self._watches.get(watch.name) is watch:  # its gateway is no longer declared
            del self._watches[watch.name]
