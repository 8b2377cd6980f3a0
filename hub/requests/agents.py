"""Requests about agents: a device reads, creates, changes and removes its own agents."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from hub.agents.writing import AgentWriter
from hub.api.agent_bodies import Rules, body_of, changed_by, made_of
from hub.api.nouns.agents import managed
from hub.links.link import DeviceLink
from hub.requests.params import BadParams, Methods, text_in
from hub.settings.reading import FileLines
from protocol.coordination import Method
from protocol.frame import Parameters, Record, Values
from protocol.ids import DeviceId
from storage.agents import agent_snapshot, agents, made_agents
from storage.agents.agent_snapshot import Setup
from storage.agents.agents import AgentRow, UnknownAgent
from storage.agents.made_agents import AgentOfFile
from storage.devices import devices
from storage.devices.devices import Grant
from storage.store import Store

_ELSEWHERE: Final = ("user", "device")  # a device makes agents of its own user, on itself


class Written:
    """Writer of agents, with the rules of hub.toml.

    Args:
        rules: returns the rules of hub.toml that apply to every agent.
        lines: locates the agents that hub.toml declares.
    """

    def __init__(self, writer: AgentWriter, *, rules: Callable[[], Rules], lines: FileLines) -> None:
        self.writer = writer
        self.rules = rules
        self.lines = lines


class AgentRequests:
    """Handlers of ``agents.*``; only the reading ones without *written*."""

    def __init__(self, store: Store, written: Written | None = None) -> None:
        self._store = store
        self._written = written

    @property
    def methods(self) -> Methods:
        reading: Methods = {Method.AGENTS_LIST: self._list, Method.AGENTS_GET: self._get}
        if self._written is None:
            return reading
        return {
            **reading,
            Method.AGENTS_CREATE: self._create,
            Method.AGENTS_UPDATE: self._update,
            Method.AGENTS_DELETE: self._delete,
        }

    async def _list(self, link: DeviceLink, params: Parameters) -> Parameters:
        mine = await self._store.read(agents.list_agents, device_id=link.device_id)
        return {"agents": [_agent_record(row) for row in mine]}

    async def _get(self, link: DeviceLink, params: Parameters) -> Values:
        row = await agent_of(self._store, link.device_id, text_in(params, "agent_id"))
        return {"agent": await self._whole(row)}

    async def _create(self, link: DeviceLink, params: Parameters) -> Values:
        written = self._writing()
        device = await self._store.read(devices.get_device, link.device_id)
        body = body_of({**_checked(params), "device": device.name})
        agent = made_of(body, written.rules())
        if agent.mailbox is not None:
            await self._store.read(devices.require_grant, link.device_id, Grant.CONNECTORS)
        made = await written.writer.make(agent, user_id=device.user_id, start=body.start, actor=_actor(link))
        return {"agent": await self._whole(made)}

    async def _update(self, link: DeviceLink, params: Parameters) -> Values:
        written = self._writing()
        row = await self._own(link, params)
        changes = {key: value for key, value in _checked(params).items() if key not in ("agent_id", "rev")}
        rev = params.get("rev", row.config_rev)
        if not isinstance(rev, int) or isinstance(rev, bool):
            raise BadParams("rev: expected the number of a revision")
        now = await self._store.read(made_agents.said_of, row)
        new = changed_by(changes, now, written.rules())
        if row.mailbox is not None or new.mailbox is not None:
            await self._store.read(devices.require_grant, link.device_id, Grant.CONNECTORS)
        done = await written.writer.edit(row.id, new, revision=rev, actor=_actor(link))
        return {"agent": await self._whole(done)}

    async def _delete(self, link: DeviceLink, params: Parameters) -> Values:
        written = self._writing()
        row = await self._own(link, params)
        removed = await written.writer.remove(row.id, actor=_actor(link))
        return {"agent": {"agent_id": removed.id, "name": removed.name}}

    async def _own(self, link: DeviceLink, params: Parameters) -> AgentRow:
        """Return an agent that the API created. Raises UnknownAgent, ManagedByFile."""
        row = await agent_of(self._store, link.device_id, text_in(params, "agent_id"))
        if row.source == "file":
            raise managed(self._writing().lines, AgentOfFile(row))
        return row

    def _writing(self) -> Written:
        assert self._written is not None  # or the method is not served
        return self._written

    async def _whole(self, row: AgentRow) -> Mapping[str, Any]:
        return whole_record(row, await self._store.read(agent_snapshot.setup_of, row.id))


async def agent_of(store: Store, device_id: DeviceId, given: str) -> AgentRow:
    """Return the agent of that id or name, if it works on this device.

    Raises:
        UnknownAgent: the device has no such agent.
    """
    for row in await store.read(agents.list_agents, device_id=device_id):
        if given in (row.id, row.name):
            return row
    raise UnknownAgent(f"this device has no agent {given!r}")


def whole_record(row: AgentRow, setup: Setup) -> Mapping[str, Any]:
    """Return an agent with its configuration, in the form of the wire."""
    return {
        **_agent_record(row),
        "description": row.description,
        "type": row.subtype or row.type,
        "template": row.template,
        "external_id": row.external_id,
        "instance_id": row.instance_id,
        "project_id": row.project_id,
        "file_extensions": list(row.file_extensions),
        "prompt": row.prompt,
        "timezone": row.timezone,
        "schedule": row.schedule,
        "needs": list(row.needs),
        "locks": list(row.locks),
        "priority": row.priority,
        "max_concurrent_runs": row.max_concurrent_runs,
        "source": row.source,
        "rev": row.config_rev,
        "lifecycle": row.lifecycle,
        "configuration": setup.configuration,
    }


def _checked(params: Parameters) -> dict[str, Any]:
    """Return the parameters of an agent, after a check that they name no user and no device."""
    for key in _ELSEWHERE:
        if key in params:
            raise BadParams(f"{key}: a device makes agents of its own user, which work on it; leave it out")
    return dict(params)


def _actor(link: DeviceLink) -> str:
    return f"device:{link.device_id}"


def _agent_record(row: AgentRow) -> Record:
    return {
        "agent_id": row.id,
        "name": row.name,
        "data_types": list(row.data_types),
        "paths": list(row.paths),
    }
