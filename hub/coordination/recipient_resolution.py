"""Resolution of the agent and home of a message, including messages to a board's lead."""

from typing import Protocol

from hub.coordination.message_transitions import Moving
from protocol.errors import ErrorCode, HubError
from protocol.ids import AgentId, BoardId
from storage.coordination import boards, message_rows, messages
from storage.coordination.boards import UnknownBoard
from storage.coordination.message_rows import MessageSight
from storage.store import Store


class Leads(Protocol):
    """Ensures that boards have a lead."""

    async def ensure(self, board_id: BoardId) -> AgentId:
        """Return the board's lead, ready to receive messages; create it if there is none.

        Raises:
            GatewayError: the gateway is unreachable or refused.
            HubError: the board has neither a lead nor a gateway to create one.
        """
        ...


class Homes:
    """Resolver of messages' homes. *leads* is set when its service is available."""

    def __init__(self, store: Store, moving: Moving) -> None:
        self.leads: Leads | None = None
        self._store = store
        self._moving = moving

    async def settle(self, seen: MessageSight) -> MessageSight | None:
        """Return the message with its home, or None if it has none and was failed.

        Raises:
            GatewayError: the gateway of its lead is unreachable; the caller retries later.
        """
        if seen.to_lead and seen.to_agent_id is None:
            return await self._to_lead(seen)
        if seen.to_agent_id is None or seen.is_removed:
            await self._moving.fail(seen, ErrorCode.UNKNOWN_AGENT, "the agent it is for was removed")
            return None
        if seen.home_gateway_id is None and seen.home_device_id is None:
            reason = f"agent {seen.to_agent} lives on no gateway and on no device"
            await self._moving.fail(seen, ErrorCode.NO_SESSION, reason)
            return None
        return await self._at_home(seen, seen)

    async def made_ready(self, seen: MessageSight) -> MessageSight | None:
        """Create the message's lead at its gateway. Return None if the recipient is not the board's lead."""
        if self.leads is None or seen.board_id is None or seen.to_agent_id is None:
            return None
        lead = await self._store.read(boards.lead_of, seen.board_id)
        if lead is None or lead.agent_id != seen.to_agent_id:
            return None
        await self.leads.ensure(seen.board_id)
        return await self._store.read(message_rows.find_sight, seen.id)

    async def _to_lead(self, seen: MessageSight) -> MessageSight | None:
        if seen.board_id is None:
            await self._moving.fail(seen, ErrorCode.UNKNOWN_BOARD, "the board it is for was removed")
            return None
        try:
            board = await self._store.read(boards.get_board, seen.board_id)
        except UnknownBoard as error:
            await self._moving.fail(seen, error.code, str(error))
            return None
        agent_id = board.lead_id
        if board.gateway_id is not None and self.leads is not None:
            try:
                agent_id = await self.leads.ensure(board.id)
            except HubError as error:
                if error.retryable:
                    raise
                await self._moving.fail(seen, error.code, str(error))
                return None
        if agent_id is None:
            await self._moving.fail(seen, ErrorCode.NO_LEAD, f"board {board.name} has no lead")
            return None
        found = await self._store.write(
            messages.give_home,
            seen.id,
            seen_version=seen.version,
            agent_id=agent_id,
            gateway_id=seen.gateway_id,
            device_id=None,
            at=self._moving.now(),
        )
        return None if found is None else await self._at_home(found, found)

    async def _at_home(self, seen: MessageSight, home: MessageSight) -> MessageSight | None:
        """Store the recipient's current home in the message's row, so that the courier finds it there."""
        device_id = None if home.home_gateway_id is not None else home.home_device_id
        if (seen.gateway_id, seen.device_id) == (home.home_gateway_id, device_id):
            return seen
        return await self._store.write(
            messages.give_home,
            seen.id,
            seen_version=seen.version,
            agent_id=seen.to_agent_id,
            gateway_id=home.home_gateway_id,
            device_id=device_id,
            at=self._moving.now(),
        )
