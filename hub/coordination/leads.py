"""Leads of boards: chosen by a person, or created at the board's gateway.

The row of a lead is created in one idempotent transaction. Then ``provisioning`` creates the agent at the
gateway, which may take long and can be resumed.
"""

from typing import Final, NamedTuple

import anyio

from hub.clock import Clock, IdFactory, epoch_ms
from hub.coordination import authority
from hub.coordination.authority import Caller
from hub.coordination.provisioning import Provisioning
from hub.log import Channel
from hub.metrics import Metrics
from hub.openclaw import GatewayError
from protocol.agent_status import Health
from protocol.authority import Verb
from protocol.errors import HubError
from protocol.ids import AgentId, BoardId
from storage.agents import agent_states
from storage.agents.made_agents import AgentLimits, TooManyAgents
from storage.coordination import boards, gateway_agents, gateway_making
from storage.coordination.boards import BoardLimits, BoardRow, MemberRow, TooManyOfBoards
from storage.coordination.gateway_agents import GatewayAgentRow
from storage.coordination.gateway_making import Led, NoGateway
from storage.store import Store

log = Channel(__name__)

ACTOR: Final = "hub"  # actor for leads created to deliver a message
WAIT_S: Final = 30.0  # for a lead to become ready, before its state is returned
MOST_WAIT_S: Final = 120.0


class Ensured(NamedTuple):
    """A board's lead.

    Attributes:
        home: the lead's row at its gateway; None if it lives on a device or has no home.
        is_created: True if this call created it.
    """

    board: BoardRow
    lead: MemberRow
    home: GatewayAgentRow | None
    is_created: bool

    @property
    def is_ready(self) -> bool:
        """True if messages to the lead can be delivered."""
        return self.home is None or self.home.state == gateway_agents.READY


class Leads:
    """Lookup and creation of leads."""

    def __init__(
        self,
        store: Store,
        provisioning: Provisioning,
        *,
        clock: Clock,
        ids: IdFactory,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._provisioning = provisioning
        self._clock = clock
        self._ids = ids
        self._limits_reached = metrics.limits_reached

    async def ensure(self, board_id: BoardId) -> AgentId:
        """Return the board's lead, ready for messages; see ``hub.coordination.recipient_resolution.Leads``.

        Raises:
            UnknownBoard, NoLead, NoGateway, TooManyAgents, TooManyOfBoards
            GatewayError: the gateway is unreachable or refused.
        """
        led = await self.led(board_id, ACTOR)
        home = await self._store.read(gateway_agents.find_gateway_agent, led.lead.agent_id)
        if home is not None:
            await self._made_ready(home)
        return led.lead.agent_id

    async def see_to(self, caller: Caller, board: str, *, wait_s: float = WAIT_S) -> Ensured:
        """Return the board's lead in its state after *wait_s*; its creation continues in the background.

        A lead that was deleted at its gateway is created there again. An unreachable gateway is not an error:
        the lead is created once the gateway is reachable.

        Raises:
            UnknownBoard, AmbiguousBoard, NotAllowed, NotYourBoard, NotGatewayMain
            NoLead, NoGateway, TooManyAgents, TooManyOfBoards: nothing was written.
            GatewayError: the gateway refused.
        """
        found = await self._store.read(authority.board_for, caller, Verb.ENSURE_LEAD, board)
        led = await self.led(found.id, caller.actor)
        home = await self._store.read(gateway_agents.find_gateway_agent, led.lead.agent_id)
        if home is not None:
            try:
                with anyio.move_on_after(min(MOST_WAIT_S, max(0.0, wait_s))):
                    await self._made_ready(home, is_asked=True)
            except HubError as error:
                if not (isinstance(error, GatewayError) and error.retryable):
                    raise
                log.info("lead.put_off", board_id=found.id, agent_id=home.agent_id, code=error.code)
            self._provisioning.kick()
        return await self._ensured(found.id, led)

    async def led(self, board_id: BoardId, actor: str) -> Led:
        """Return the row of the board's lead, creating it if there is none, without asking the gateway.

        Raises:
            UnknownBoard, NoLead, NoGateway, TooManyAgents, TooManyOfBoards: nothing was written.
        """
        lead = await self._store.read(boards.lead_of, board_id)
        board = await self._store.read(boards.get_board, board_id)
        if lead is not None and (lead.gateway_id is None or lead.gateway_id == board.gateway_id):
            return Led(lead, False)  # the usual case: nothing to write
        try:
            led = await self._store.write(
                gateway_making.ensure_lead,
                board_id,
                fresh_id=AgentId(self._ids.fresh()),
                limits=AgentLimits(),
                board_limits=BoardLimits(),
                at=epoch_ms(self._clock.now()),
                actor=actor,
            )
        except (TooManyAgents, TooManyOfBoards) as reached:
            self._limits_reached.labels(reached.limit).inc()
            raise
        if led.is_created:
            log.info("lead.created", board_id=board_id, agent_id=led.lead.agent_id, actor=actor)
            log.info("agent.changed", agent_id=led.lead.agent_id, change="created", actor=actor)
        return led

    async def _made_ready(self, home: GatewayAgentRow, *, is_asked: bool = False) -> None:
        """Create the lead at its gateway if necessary. Raises NoGateway, GatewayError."""
        if not home.is_listed:
            problem = f"gateway {home.gateway_name} of agent {home.agent_name} is not in hub.toml any more"
            raise NoGateway(problem)
        if home.state == gateway_agents.READY:
            if not is_asked:
                state = await self._store.read(agent_states.find_state, home.agent_id)
                if state.health is not Health.ERROR:
                    return
            await self._provisioning.verify(home)
        await self._provisioning.ready(home.agent_id)

    async def _ensured(self, board_id: BoardId, led: Led) -> Ensured:
        board = await self._store.read(boards.get_board, board_id)
        home = await self._store.read(gateway_agents.find_gateway_agent, led.lead.agent_id)
        return Ensured(board, led.lead, home, led.is_created)
