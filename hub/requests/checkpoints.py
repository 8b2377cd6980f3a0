"""Requests about checkpoints: a device stores, reads and deletes those of its own agents."""

from typing import Any

import msgspec

from hub.agents.checkpoints import Checkpoints
from hub.links.link import DeviceLink
from hub.requests.agents import agent_of
from hub.requests.params import BadParams, Methods, params_as
from protocol.coordination import Method
from protocol.frame import Fence, Id, Integer, Parameters, Text, Values
from protocol.ids import AgentId, DeviceId, RunId
from protocol.lifecycles import RunState
from storage.agents.checkpoints import AGENT_SCOPE, CheckpointRow
from storage.runs import runs
from storage.runs.runs import HeldRun, UnknownRun
from storage.store import Store


class _Of(msgspec.Struct, frozen=True, kw_only=True):
    agent_id: Id
    scope: str = AGENT_SCOPE


class _Put(_Of, frozen=True, kw_only=True):
    sequence: Integer
    state: dict[str, Any]
    is_recoverable: bool = True
    run_id: Id | None = None
    fence: Fence | None = None
    lock: Text | None = None
    lock_fence: Fence | None = None


class CheckpointRequests:
    """Handlers of ``checkpoints.*``."""

    def __init__(self, store: Store, checkpoints: Checkpoints) -> None:
        self._store = store
        self._checkpoints = checkpoints

    @property
    def methods(self) -> Methods:
        return {
            Method.CHECKPOINTS_GET: self._get,
            Method.CHECKPOINTS_PUT: self._put,
            Method.CHECKPOINTS_CLEAR: self._clear,
        }

    async def _get(self, link: DeviceLink, params: Parameters) -> Values:
        of = params_as(params, _Of)
        agent = await agent_of(self._store, link.device_id, of.agent_id)
        return {"checkpoint": _record(await self._checkpoints.get(agent.id, of.scope))}

    async def _put(self, link: DeviceLink, params: Parameters) -> Values:
        put = params_as(params, _Put)
        agent = await agent_of(self._store, link.device_id, put.agent_id)
        row = await self._checkpoints.put(
            agent.id,
            scope=put.scope,
            sequence=put.sequence,
            state=put.state,
            is_recoverable=put.is_recoverable,
            held=await self._held(link.device_id, agent.id, put),
            lock=_lock(put),
            source="device",
            actor=f"device:{link.device_id}",
        )
        return {"checkpoint": _record(row)}

    async def _clear(self, link: DeviceLink, params: Parameters) -> Values:
        of = params_as(params, _Of)
        agent = await agent_of(self._store, link.device_id, of.agent_id)
        cleared = await self._checkpoints.clear(
            agent.id, of.scope, source="device", actor=f"device:{link.device_id}"
        )
        return {"cleared": _record(cleared)}

    async def _held(self, device_id: DeviceId, agent_id: AgentId, put: _Put) -> HeldRun | None:
        """Return the run that the device works on, with its fence.

        Raises:
            BadParams: only one of run and fence is given.
            UnknownRun: the agent has no such run at this device.
        """
        if put.run_id is None and put.fence is None:
            return None
        if put.run_id is None or put.fence is None:
            raise BadParams("run_id, fence: give both, as agent_run had them, or neither")
        run = await self._store.read(runs.find_run, RunId(put.run_id))
        if run is None or run.device_id != device_id or run.agent_id != agent_id:
            raise UnknownRun(f"the agent has no run {put.run_id!r} at this device")
        return HeldRun(run.id, RunState.RUNNING, put.fence)


def _lock(put: _Put) -> tuple[str, int] | None:
    """Return the name and fence of the lock that protects the checkpoint.

    Raises:
        BadParams: only one of lock and fence is given.
    """
    if put.lock is None and put.lock_fence is None:
        return None
    if put.lock is None or put.lock_fence is None:
        raise BadParams("lock, lock_fence: give both, as locks.acquire answered them, or neither")
    return put.lock, put.lock_fence


def _record(row: CheckpointRow) -> Values:
    return {
        "scope": row.scope,
        "sequence": row.sequence,
        "state": row.state,
        "is_recoverable": row.is_recoverable,
        "run_id": row.run_id,
        "fence": row.fence,
        "updated_at_ms": row.updated_at,
    }
