"""Requests about capabilities: a device registers, lists and removes those of its own agents."""

from typing import Any

import msgspec

from hub.agents.capabilities import Capabilities
from hub.links.link import DeviceLink
from hub.requests.agents import agent_of
from hub.requests.params import Methods, params_as
from protocol.coordination import Method
from protocol.frame import Id, Name, Parameters, Text, Values
from storage.agents.capabilities import CapabilityRow
from storage.store import Store


class _Of(msgspec.Struct, frozen=True, kw_only=True):
    agent_id: Id


class _Put(_Of, frozen=True, kw_only=True):
    name: Name
    version: Name
    enabled: bool | None = None
    config: dict[str, Any] = {}
    description: Text | None = None


class _Remove(_Of, frozen=True, kw_only=True):
    name: Name
    version: Name | None = None


class CapabilityRequests:
    """Handlers of ``capabilities.*``."""

    def __init__(self, store: Store, capabilities: Capabilities) -> None:
        self._store = store
        self._capabilities = capabilities

    @property
    def methods(self) -> Methods:
        return {
            Method.CAPABILITIES_LIST: self._list,
            Method.CAPABILITIES_PUT: self._put,
            Method.CAPABILITIES_REMOVE: self._remove,
        }

    async def _list(self, link: DeviceLink, params: Parameters) -> Values:
        agent = await agent_of(self._store, link.device_id, params_as(params, _Of).agent_id)
        return {"capabilities": [_record(row) for row in await self._capabilities.all(agent.id)]}

    async def _put(self, link: DeviceLink, params: Parameters) -> Values:
        put = params_as(params, _Put)
        agent = await agent_of(self._store, link.device_id, put.agent_id)
        done = await self._capabilities.register(
            agent.id,
            name=put.name,
            version=put.version,
            enabled=put.enabled,
            config=put.config,
            description=put.description,
            source="device",
            actor=f"device:{link.device_id}",
        )
        disabled = None if done.disabled is None else str(done.disabled)
        return {"capability": _record(done.row), "disabled": disabled}

    async def _remove(self, link: DeviceLink, params: Parameters) -> Values:
        remove = params_as(params, _Remove)
        agent = await agent_of(self._store, link.device_id, remove.agent_id)
        removed = await self._capabilities.remove(
            agent.id,
            name=remove.name,
            version=remove.version,
            source="device",
            actor=f"device:{link.device_id}",
        )
        return {"removed": [str(row.version) for row in removed]}


def _record(row: CapabilityRow) -> Values:
    return {
        "name": row.name,
        "version": str(row.version),
        "enabled": row.enabled,
        "source": row.source,
        "config": row.config,
        "description": row.description,
    }
