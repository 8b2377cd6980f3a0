"""Events of the hub: the configuration of this device's agents is kept in its file, the newest of each.

Over one connection. A revision never goes back; an event that is missing, as the numbers
of the others show, is asked for again.
"""

from collections.abc import Callable
from typing import Any, Final

import anyio
import msgspec

from hub.device.configurations import Configuration
from hub.device.line import Line
from hub.device.tools import Tools
from hub.log import Channel
from protocol.coordination import Event, EventName, Method, Request, Response
from protocol.frame import Parameters, Values

ANSWER_WITHIN_S: Final = 30.0

log = Channel(__name__)


class Hearing:
    """Takes what one connection tells.

    Args:
        told: is told, in a short sentence, what changed.
    """

    def __init__(self, line: Line, tools: Tools, told: Callable[[str], None]) -> None:
        self._line = line
        self._tools = tools
        self._told = told
        self._seq = 0  # of the event before
        self._known: dict[str, int] = {}  # by agent: the revision that this connection told last
        self._waiting: dict[str, Configuration] = {}  # to be kept
        self._has_gap = False
        self._arrived = anyio.Event()
        self._asked = 0
        self._answer: Response | None = None
        self._answered = anyio.Event()

    async def serve(self) -> None:
        """Keep what comes, and ask for what did not, until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived = anyio.Event()
            await self._keep()
            if self._has_gap:
                self._has_gap = False
                await self._ask_again()

    def take(self, event: Event) -> None:
        """An event of the hub; never waits."""
        if event.seq != self._seq + 1:
            self._has_gap = True
            self._arrived.set()
        self._seq = event.seq
        if event.event == EventName.AGENT_CONFIG:
            self._note(event.data)

    def answered(self, response: Response) -> None:
        """The hub's answer, if it is one to a question of ours."""
        if response.id == self._id:
            self._answer = response
            self._answered.set()

    def _note(self, data: Any) -> None:
        try:
            one = msgspec.convert(data, Configuration)
        except msgspec.ValidationError as error:
            log.warning("device.config.unreadable", why=str(error))
            return
        if one.rev > self._known.get(one.agent_id, -1):
            self._known[one.agent_id] = one.rev
            self._waiting[one.agent_id] = one
            self._arrived.set()

    async def _keep(self) -> None:
        waiting, self._waiting = self._waiting, {}
        if waiting:
            await self._tools.keep_configurations(list(waiting.values()))
        for one in waiting.values():
            self._told(f"configuration of {one.agent_id}: revision {one.rev}, {_counted(one)}")

    async def _ask_again(self) -> None:
        """Ask for each agent, one after the other: a hub lets only some requests wait."""
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
        """What the hub answers; ``None`` where it refuses, or does not answer in time."""
        self._asked += 1
        self._answer, self._answered = None, anyio.Event()
        await self._line.send(Request(id=self._id, method=method, params=params))
        with anyio.move_on_after(ANSWER_WITHIN_S):
            await self._answered.wait()
        return None if self._answer is None else self._answer.result

    @property
    def _id(self) -> str:
        return f"config-{self._asked}"


class _Agent(msgspec.Struct):
    agent_id: str


class _Agents(msgspec.Struct):
    """The answer to ``agents.list``, as much of it as is needed."""

    agents: list[_Agent]


def _counted(one: Configuration) -> str:
    keys = len(one.configuration)
    return "1 key" if keys == 1 else f"{keys} keys"
