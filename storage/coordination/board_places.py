"""Delivery targets of the leads of a user's boards, in one query."""

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode
from protocol.ids import AgentId, BoardId, DeviceId, GatewayId, UserId
from storage.kernel.rows import columns_of, fill
from storage.schema import agents, board_members, boards, gateway_agents, gateways


class BoardPlace(msgspec.Struct, frozen=True, kw_only=True):
    """Board, with the home of its lead.

    Attributes:
        has_gateway: the board has a gateway, declared or not.
        gateway_id: the board's gateway, if it is declared.
        home_gateway_id, home_device_id: current home of its lead.
    """

    board_id: BoardId
    name: str
    has_gateway: bool
    gateway_id: GatewayId | None
    lead_id: AgentId | None
    home_gateway_id: GatewayId | None
    home_device_id: DeviceId | None

    @property
    def goes_over(self) -> tuple[GatewayId | None, DeviceId | None]:
        """Gateway or device that carries a message to the lead."""
        if self.home_gateway_id is not None:
            return self.home_gateway_id, None
        if self.home_device_id is not None:
            return None, self.home_device_id
        return self.gateway_id, None

    @property
    def refusal(self) -> tuple[ErrorCode, str] | None:
        """Reason why messages cannot reach its lead; ``None``: they can, or a lead can be created."""
        if self.gateway_id is not None or self.home_gateway_id is not None or self.home_device_id is not None:
            return None
        if self.has_gateway:
            return ErrorCode.NO_GATEWAY, f"the gateway of board {self.name} is not in hub.toml any more"
        if self.lead_id is None:
            told = f"board {self.name} has no lead, and no gateway at which one could be made"
            return ErrorCode.NO_LEAD, told
        return ErrorCode.NO_SESSION, f"the lead of board {self.name} lives on no gateway and on no device"


_lead = board_members.alias("lead")
_home = gateways.alias("home")
PLACES = (
    sa.select(
        *columns_of(
            BoardPlace,
            boards,
            board_id=boards.c.id,
            has_gateway=boards.c.gateway_id.is_not(None),
            gateway_id=gateways.c.id,
            lead_id=_lead.c.agent_id,
            home_gateway_id=_home.c.id,
            home_device_id=agents.c.device_id,
        )
    )
    .select_from(boards)
    .outerjoin(gateways, sa.and_(gateways.c.id == boards.c.gateway_id, gateways.c.deleted_at.is_(None)))
    .outerjoin(_lead, sa.and_(_lead.c.board_id == boards.c.id, _lead.c.is_lead))
    .outerjoin(agents, agents.c.id == _lead.c.agent_id)
    .outerjoin(gateway_agents, gateway_agents.c.agent_id == _lead.c.agent_id)
    .outerjoin(_home, sa.and_(_home.c.id == gateway_agents.c.gateway_id, _home.c.deleted_at.is_(None)))
    .where(boards.c.user_id == sa.bindparam("user"))
    .order_by(boards.c.name, boards.c.id)
)
PLACE = PLACES.where(boards.c.id == sa.bindparam("board"))


def list_places(c: sa.Connection, user_id: UserId) -> list[BoardPlace]:
    """Return all boards of a user, by name."""
    return [fill(BoardPlace, row) for row in c.execute(PLACES, {"user": user_id})]


def find_place(c: sa.Connection, user_id: UserId, board_id: BoardId) -> BoardPlace | None:
    """Return the user's board with that id, if any."""
    row = c.execute(PLACE, {"user": user_id, "board": board_id}).one_or_none()
    return None if row is None else fill(BoardPlace, row)
