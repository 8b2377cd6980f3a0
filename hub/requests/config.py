"""Requests about configurations: a device reads and changes those of its own agents."""

from collections.abc import Mapping
from typing import Any, Final

from hub.agents.configs import AgentConfigs, config_values
from hub.links.link import DeviceLink
from hub.requests.agents import agent_of
from hub.requests.params import BadParams, Methods, text_in
from protocol.configs import ConfigType
from protocol.coordination import Method
from protocol.frame import Parameters, Values
from storage.agents import agent_snapshot, configs
from storage.agents.agents import AgentRow
from storage.agents.config_changes import ConfigsChanged, NewConfig
from storage.agents.configs import ConfigRow
from storage.store import Store

MOST_KEYS: Final = 1_000  # in one request


class ConfigRequests:
    """Handlers of ``config.*``."""

    def __init__(self, store: Store, configs: AgentConfigs) -> None:
        self._store = store
        self._configs = configs

    @property
    def methods(self) -> Methods:
        return {
            Method.CONFIG_GET: self._get,
            Method.CONFIG_SET: self._set,
            Method.CONFIG_UNSET: self._unset,
        }

    async def _get(self, link: DeviceLink, params: Parameters) -> Values:
        agent = await self._agent(link, params)
        rows = await self._store.read(configs.list_configs, agent.id)
        return {**await self._values(agent), "configs": [_record(row) for row in rows]}

    async def _set(self, link: DeviceLink, params: Parameters) -> Values:
        agent = await self._agent(link, params)
        values = params.get("values")
        if not isinstance(values, dict) or not 0 < len(values) <= MOST_KEYS:
            raise BadParams(f'values: expected an object of 1 to {MOST_KEYS} configs, as in {{"limit": 5}}')
        types = _types(params, values)
        done = await self._configs.change(
            agent,
            [NewConfig(key=key, value=value, type=types.get(key)) for key, value in values.items()],
            expected_rev=_rev(params),
            actor=f"device:{link.device_id}",
        )
        return await self._done(agent, done)

    async def _unset(self, link: DeviceLink, params: Parameters) -> Values:
        agent = await self._agent(link, params)
        given = params.get("keys")
        if not isinstance(given, list) or not 0 < len(given) <= MOST_KEYS:
            raise BadParams(f"keys: expected a list of 1 to {MOST_KEYS} keys")
        keys = [key for key in given if isinstance(key, str)]
        if len(keys) < len(given):
            raise BadParams("keys: expected a list of keys, and one of them is no text")
        done = await self._configs.change(
            agent, drops=keys, expected_rev=_rev(params), actor=f"device:{link.device_id}"
        )
        return await self._done(agent, done)

    async def _agent(self, link: DeviceLink, params: Parameters) -> AgentRow:
        return await agent_of(self._store, link.device_id, text_in(params, "agent_id"))

    async def _done(self, agent: AgentRow, done: ConfigsChanged) -> Values:
        return {**await self._values(agent), "changed": list(done.keys)}

    async def _values(self, agent: AgentRow) -> Values:
        return config_values(await self._store.read(agent_snapshot.effective_of, agent.id))


def _types(params: Parameters, values: Mapping[str, Any]) -> dict[str, ConfigType]:
    """Return the requested types by key.

    Raises:
        BadParams: a key has no value, or its type does not exist.
    """
    given = params.get("types", {})
    if not isinstance(given, dict):
        raise BadParams('types: expected an object, as in {"limit": "integer"}')
    found = {}
    for key, type in given.items():
        if key not in values:
            raise BadParams(f"types: {key!r} is not among the values")
        if not isinstance(type, str) or type not in set(ConfigType):
            raise BadParams(f"types: {key!r} has none of {', '.join(ConfigType)}, but {type!r}")
        found[key] = ConfigType(type)
    return found


def _rev(params: Parameters) -> int | None:
    """Return the revision that the device has read, if it sent one.

    Raises:
        BadParams: the revision is not a number.
    """
    rev = params.get("rev")
    if rev is not None and (not isinstance(rev, int) or isinstance(rev, bool)):
        raise BadParams("rev: expected the number of a revision")
    return rev


def _record(row: ConfigRow) -> Values:
    return {
        "key": row.key,
        "type": row.type,
        "value": row.value,
        "description": row.description,
        "source": row.source,
    }
