"""Requests about locks: a device acquires, renews, releases and lists locks for its own agents."""

from typing import Annotated

import msgspec
from msgspec import Meta

from hub.agents.locks import LEAST_TTL_MS, MOST_TTL_MS, MOST_WAIT_MS, TTL_MS, Locks, Turn, holder_of
from hub.api.device import Later
from hub.links.link import DeviceLink
from hub.requests.agents import agent_of
from hub.requests.params import BadParams, Methods, params_as
from protocol.coordination import Method
from protocol.frame import Parameters
from protocol.locks import MOST_LOCKS, lock_names
from storage.agents import agents, lock_turns
from storage.agents.agents import AgentRow
from storage.store import Store

TtlMs = Annotated[int, Meta(ge=LEAST_TTL_MS, le=MOST_TTL_MS)]
WaitMs = Annotated[int, Meta(ge=0, le=MOST_WAIT_MS)]


class _Acquire(msgspec.Struct, frozen=True, kw_only=True):
    agent_id: str
    resource: str | None = None
    resources: list[str] = []
    ttl_ms: TtlMs = TTL_MS
    wait_ms: WaitMs = 0

    def names(self) -> tuple[str, ...]:
        """Return the names of the requested locks. Raises BadParams, BadLockName."""
        given = [*self.resources, *([] if self.resource is None else [self.resource])]
        if not given:
            raise BadParams(f"resources: expected the names of 1 to {MOST_LOCKS} locks")
        return lock_names(given)


class _Held(msgspec.Struct, frozen=True, kw_only=True):
    agent_id: str
    fences: Annotated[dict[str, int], Meta(min_length=1, max_length=MOST_LOCKS)]  # by the lock's name
    ttl_ms: TtlMs = TTL_MS


class LockRequests:
    """Handlers of ``locks.*``."""

    def __init__(self, store: Store, held: Locks) -> None:
        self._store = store
        self._locks = held

    @property
    def methods(self) -> Methods:
        return {
            Method.LOCKS_ACQUIRE: self._acquire,
            Method.LOCKS_RENEW: self._renew,
            Method.LOCKS_RELEASE: self._release,
            Method.LOCKS_LIST: self._list,
        }

    async def _acquire(self, link: DeviceLink, params: Parameters) -> Parameters | Later:
        asked = params_as(params, _Acquire)
        names = asked.names()
        agent = await self._agent(link, asked.agent_id)
        answer = await self._locks.ask(link, agent.id, names, ttl_ms=asked.ttl_ms, wait_ms=asked.wait_ms)
        if not isinstance(answer, Turn):
            return _record(answer)

        async def granted() -> Parameters:
            return _record(await self._locks.granted(answer))

        return Later(granted)

    async def _renew(self, link: DeviceLink, params: Parameters) -> Parameters:
        held = params_as(params, _Held)
        agent = await self._agent(link, held.agent_id)
        holder = holder_of(link.device_id, agent.id)
        until = await self._locks.renew(agent.user_id, held.fences, holder, ttl_ms=held.ttl_ms)
        return {"expires_at_ms": until}

    async def _release(self, link: DeviceLink, params: Parameters) -> Parameters:
        held = params_as(params, _Held)
        agent = await self._agent(link, held.agent_id)
        await self._locks.release(agent.user_id, held.fences, holder_of(link.device_id, agent.id))
        return {}

    async def _list(self, link: DeviceLink, params: Parameters) -> Parameters:
        mine = [row.id for row in await self._store.read(agents.list_agents, device_id=link.device_id)]
        found = await self._store.read(lock_turns.list_locks, agent_ids=mine)
        return {
            "locks": [
                {
                    "resource": lock.resource,
                    "fence": lock.fence,
                    "held_by": lock.told_holder,
                    "agent_id": None if lock.holder is None else lock.holder.agent_id,
                    "acquired_at_ms": lock.acquired_at,
                    "expires_at_ms": lock.expires_at,
                    "waiting": lock.waiting,
                }
                for lock in found
            ]
        }

    async def _agent(self, link: DeviceLink, given: str) -> AgentRow:
        return await agent_of(self._store, link.device_id, given)


def _record(grant: lock_turns.Grant) -> Parameters:
    return {"fences": dict(grant.fences), "expires_at_ms": grant.expires_at}
