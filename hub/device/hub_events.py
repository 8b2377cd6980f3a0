"""Storage of a hub's events and agents' configs at the device, and detection of lost events.

The newest configuration of each agent of this device is stored in the device's file. A revision never
decreases. A gap in the event numbers triggers a new request of all configurations.
"""

from collections.abc import Callable
from typing import Any

import anyio
import anyio.to_thread
import msgspec

from hub.base.log import Channel
from hub.base.name_lists import counted
from hub.device.connection import HubConnection, Tools
from hub.device.device_file import Configuration, DeviceStore
from protocol.coordination import Event, EventName, Method
from protocol.frame import Parameters, Values

log = Channel(__name__)


class Hearing:
    """Receiver of one connection's events; the status callback gets a short sentence for each change.

    *on_paths* gets the id and the paths of each agent that the hub names, and after each change.
    """

    def __init__(
        self,
        line: HubConnection,
        tools: Tools,
        on_status: Callable[[str], None],
        on_paths: Callable[[str, list[str]], None] | None = None,
    ) -> None:
        self._on_paths = on_paths
        self._line = line
        self._tools = tools
        self._on_status = on_status
        self._seq = 0  # number of the previous event
        self._known: dict[str, int] = {}  # by agent: last revision received on this connection
        self._waiting: dict[str, Configuration] = {}  # to be stored
        self._has_gap = False
        self._arrived = anyio.Event()

    async def serve(self) -> None:
        """Store received configurations and fetch missed ones, until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived = anyio.Event()
            await self._keep()
            if self._has_gap:
                self._has_gap = False
                await self._ask_again()

    def handle_event(self, event: Event) -> None:
        """Handle an event of the hub; never blocks."""
        if event.seq != self._seq + 1:
            self._has_gap = True
            self._arrived.set()
        self._seq = event.seq
        if event.event == EventName.AGENT_CONFIG:
            self._note(event.data)

    def _note(self, data: Any) -> None:
        try:
            one = msgspec.convert(data, Configuration)
        except msgspec.ValidationError as error:
            log.warning("device.config.unreadable", why=str(error))
            return
        if self._on_paths is not None:
            self._on_paths(one.agent_id, one.paths)
        if one.rev > self._known.get(one.agent_id, -1):
            self._known[one.agent_id] = one.rev
            self._waiting[one.agent_id] = one
            self._arrived.set()

    async def _keep(self) -> None:
        """Store the received configurations; after a disk failure, the next connection gets them again."""
        waiting, self._waiting = list(self._waiting.values()), {}
        if waiting:
            await self._tools.on_file(DeviceStore.keep_configurations, waiting, otherwise=None)
        for new in waiting:
            keys = counted(len(new.configuration), "key")
            self._on_status(f"configuration of {new.agent_id}: revision {new.rev}, {keys}")

    async def _ask_again(self) -> None:
        """Fetch the configuration of each agent sequentially: a hub limits the number of pending requests."""
        listed = await self._ask(Method.AGENTS_LIST, {})
        try:
            mine = msgspec.convert(listed, _Agents).agents
        except msgspec.ValidationError as error:
            log.warning("device.config.unreadable", why=str(error))
            return
        for agent in mine:
            answer = await self._ask(Method.CONFIG_GET, {"agent_id": agent.agent_id})
            if answer is not None:
                self._note(answer)

    async def _ask(self, method: Method, params: Parameters) -> Values | None:
        """Send a request and return its result, or None after a refusal or timeout."""
        response = await self._line.request(method, params)
        return None if response is None else response.result


class _Agent(msgspec.Struct):
    agent_id: str


class _Agents(msgspec.Struct):
    """Needed fields of the answer to ``agents.list``."""

    agents: list[_Agent]
