"""Requests about status: a device reads and writes the status of its own agents."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from hub.agents.vocabulary_export import document_of, instant_of, text_of, write_of
from hub.links.link import DeviceLink
from hub.requests.agents import agent_of
from hub.requests.params import BadParams, Methods, text_in
from hub.runs.agent_control import AgentControl
from protocol.coordination import Method
from protocol.frame import Parameters, Values
from protocol.standing import DERIVED, STORED_AXES, Axis
from protocol.vocabularies import words_of
from storage.agents import agent_snapshot, agent_states
from storage.agents.agents import AgentRow
from storage.agents.status_writes import StandingWrite
from storage.store import Store


class StatusRequests:
    """Handlers of ``status.*``."""

    def __init__(self, store: Store, control: AgentControl) -> None:
        self._store = store
        self._control = control

    @property
    def methods(self) -> Methods:
        return {Method.STATUS_GET: self._get, Method.STATUS_SET: self._set}

    async def _get(self, link: DeviceLink, params: Parameters) -> Values:
        agent = await agent_of(self._store, link.device_id, text_in(params, "agent_id"))
        return await self._values(agent, params)

    async def _set(self, link: DeviceLink, params: Parameters) -> Values:
        agent = await agent_of(self._store, link.device_id, text_in(params, "agent_id"))
        change = params.get("set")
        if not isinstance(change, dict) or not change:
            raise BadParams('set: expected an object of what to write, as in {"availability": "on_call"}')
        if params.get("as") is None:
            asked = _asked(change)
        else:
            asked = write_of(words_of(text_in(params, "as")), change)
        await self._control.write(agent, asked, actor=f"device:{link.device_id}")
        return await self._values(agent, params)

    async def _values(self, agent: AgentRow, params: Parameters) -> Values:
        """Return the axes of an agent, or the document of the vocabulary that *as* names."""
        if params.get("as") is not None:
            words = words_of(text_in(params, "as"))
            return {"agent": document_of(words, await self._store.read(agent_snapshot.facts_of, agent.id))}
        state = await self._store.read(agent_states.find_state, agent.id)
        status: dict[str, Any] = msgspec.to_builtins(state)
        return {"status": status}


def _asked(change: Mapping[str, Any]) -> StandingWrite:
    known = {*map(str, STORED_AXES), *_FIELDS}
    for name in change:
        if name == Axis.ACTIVITY:
            raise BadParams(f"set: {DERIVED}")
        if name not in known:
            raise BadParams(f"set: there is no {name!r}; there are {', '.join(sorted(known))}")
    fields = {name: read(name, change[name]) for name, read in _FIELDS.items() if name in change}
    axes = {name: text_of(name, value) for name, value in change.items() if name not in _FIELDS}
    return StandingWrite(axes=axes, **fields)


_FIELDS: Final[Mapping[str, Callable[[str, Any], Any]]] = {
    "reason": text_of,
    "exhaust_reason": text_of,
    "recovery_at": instant_of,
}
