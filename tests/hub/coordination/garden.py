"""Two gateways, four boards and everybody who may ask something of them, in a store.

The board asked about is ``roses``, at the gateway ``west``: on it are ``lead`` and ``worker``.
``stranger`` is on ``weeds``, which is at ``west`` too; ``foreign_main`` is the main agent of
``east``, which serves ``lawn``; ``shed`` has no gateway, and ``idle`` has no board.
"""

from typing import Final

from hub.coordination.board_access import Caller
from protocol.ids import AgentId, BoardId, GatewayId, UserId
from storage.agents import agents, declared_agents
from storage.agents.agents import AgentRow
from storage.agents.declared_agents import DeclaredAgent
from storage.coordination import boards, gateways
from storage.coordination.boards import BoardRow
from storage.coordination.gateways import DeclaredGateway
from storage.devices import users
from storage.store import Store

OWNER, EVE = UserId("owner"), UserId("eve")
CALLERS: Final = ("user", "lead", "worker", "main", "stranger", "foreign_main")
AGENTS: Final = ("lead", "worker", "main", "stranger", "foreign_main", "idle", "eves")
_ON_DEVICES: Final = ("lead", "worker", "stranger", "idle")


class Garden:
    """What stands there. *callers*: by what they are towards the board ``roses``."""

    def __init__(self, store: Store, board: BoardRow, ids: dict[str, AgentId]) -> None:
        self.store = store
        self.board = board
        self._ids = ids
        self.callers = {"user": Caller("token:mine", OWNER)}
        for name, id in ids.items():
            self.callers[name] = Caller.of_agent(id, EVE if name == "eves" else OWNER)

    async def agent(self, name: str) -> AgentRow:
        return await self.store.read(agents.get_agent, self._ids[name])

    async def remove(self, name: str) -> None:
        """Take an agent of a device out of hub.toml."""
        await _declare(self.store, *(one for one in _ON_DEVICES if one != name))


async def open_garden(store: Store) -> Garden:
    """All of it, made."""
    for user_id in (OWNER, EVE):
        await store.write(users.ensure_user, user_id, user_id, 1)
    await _declare(store, *_ON_DEVICES)
    await store.write(
        gateways.reconcile_gateways,
        owner_id=OWNER,
        declared=[DeclaredGateway(name=name, user_name="owner") for name in ("west", "east")],
        at=1,
        fresh_ids=["west", "main", "x", "east", "foreign_main", "y"],
    )
    served = {"roses": GatewayId("west"), "weeds": GatewayId("west"), "lawn": GatewayId("east"), "shed": None}
    for name, gateway_id in served.items():
        await store.write(
            boards.create_board,
            id=BoardId(f"board-{name}"),
            user_id=OWNER,
            name=name,
            gateway_id=gateway_id,
            at=1,
            actor="operator:0",
        )
    ids = {name: AgentId(f"agent-{name}") for name in (*_ON_DEVICES, "eves")}
    ids |= {name: AgentId(name) for name in ("main", "foreign_main")}
    for on, name in (("roses", "lead"), ("roses", "worker"), ("weeds", "stranger")):
        await store.write(
            boards.add_member,
            BoardId(f"board-{on}"),
            ids[name],
            is_lead=name != "worker",
            at=1,
            actor="operator:0",
        )
    return Garden(store, await store.read(boards.get_board, BoardId("board-roses")), ids)


async def _declare(store: Store, *names: str) -> None:
    declared = [DeclaredAgent(name=name, device_name="desk", paths=("notes",)) for name in names]
    declared.append(DeclaredAgent(name="eves", device_name="den", user_name="eve", paths=("notes",)))
    fresh = [f"{kind}-{one.name}" for one in declared for kind in ("agent", "device", "schedule", "user")]
    await store.write(
        declared_agents.reconcile_declared, user_id=OWNER, declared=declared, at=1, fresh_ids=fresh
    )
