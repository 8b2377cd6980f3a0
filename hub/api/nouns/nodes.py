"""Nodes: the hub processes that share this hub's database."""

from typing import Annotated, Literal

from hub.api.binding import OPTIONAL
from hub.api.door.roles import Scope
from hub.api.noun import ALL, Noun, Part, audited, command, listed, route
from hub.api.nouns.upkeep import DrainRequest, DrainView, Upkeep
from hub.api.others import NodeNotAlive
from hub.api.parameters import Actor
from hub.api.view import Instant, View
from hub.clock import Clock, epoch_ms
from hub.log import Channel
from protocol.errors import ErrorCode, HubError
from protocol.ids import NodeId
from storage import audit
from storage.devices import nodes
from storage.devices.nodes import NodeRow
from storage.store import Connection, Store

log = Channel(__name__)


class NodeView(View, kw_only=True):
    """A node of this hub. The process of a dead one ended without a word, or its database is out of reach.

    *here*: it is the node that answers. *devices*, *runs*: connected to it, and executed by it.
    *address*: where devices reach it.
    *settings_revision*: of the shared settings that it uses; *settings_refused*: why it uses no newer one.
    """

    id: str
    name: str | None
    here: bool
    state: Literal["alive", "stopped", "dead"]
    version: str | None
    started_at: Instant
    stopped_at: Instant | None
    settings_revision: int | None
    settings_refused: str | None
    devices: int
    runs: int
    address: str | None


class OfAnotherNode(HubError):
    """Error: only the node itself can do it. *boot_id*: its hub process."""

    code = ErrorCode.NODE_UNREACHABLE

    def __init__(self, node: NodeRow) -> None:
        super().__init__(f"{node.name or node.id} is another node; ask it, or give the nodes a bus")
        self.boot_id = node.boot_id


class Nodes(Noun):
    """Nodes of this hub. A node is named by its name, its id, or six or more characters at the id's end."""

    name, path = "nodes", "/v1/nodes"
    errors = (ErrorCode.UNKNOWN_NODE,)

    def __init__(self, store: Store, upkeep: Upkeep, *, here: NodeId, clock: Clock) -> None:
        self._upkeep = upkeep
        self._store = store
        self._here = here
        self._clock = clock

    @command(
        "nodes ls",
        example="hub nodes ls",
        json="nodes",
        table=(
            "id|id as node",
            "name",
            "*|node_state as state",
            "version",
            "settings_revision|or_none as settings",
            "started_at|at as started",
            "devices",
            "runs",
        ),
        empty="no nodes",
    )
    @listed("", Scope.READ, key=lambda node: (node.id,))
    async def all(self, part: Part = ALL) -> list[NodeView]:
        """List the nodes with their devices and runs, as the database has them."""
        rows = await self._store.read(
            nodes.list_nodes, user_id=self.user_id, limit=part.limit, after=part.after
        )
        return [self._view(row) for row in rows]

    @command(
        "nodes rm NODE_ID",
        example="hub nodes rm 4e21a9",
        json="node",
        message="node {name} is removed",
    )
    @route("DELETE", "/{node_id}", Scope.SYSTEM, errors=[ErrorCode.ILLEGAL_TRANSITION])
    @audited("node.removed")
    async def remove(self, node_id: str, actor: Actor) -> NodeView:
        """Remove a node that is not alive from the list. A process that was only frozen ends itself."""
        at = epoch_ms(self._clock.now())

        def write(c: Connection) -> NodeRow:
            node = nodes.remove_node(c, node_id)
            audit.append(c, at=at, actor=actor, event="node.removed", subject=node.id)
            return node

        removed = await self._store.write(write)
        log.info("node.removed", node=removed.id)
        return self._view(removed)

    @command(
        "nodes drain NODE_ID",
        example="hub nodes drain 4e21a9 --restart",
        json="drain",
        help="Stop a node after its work in progress; the others go on with its runs and devices.",
        options={"restarts": "--restart: Ask its devices to reconnect at once."},
        message="the node stops; runs in progress: {executing}",
    )
    @route("POST", "/{node_id}/drain", Scope.SYSTEM, status=202, errors=[ErrorCode.NODE_UNREACHABLE])
    @audited("hub.drained")
    async def drain(
        self, node_id: str, options: Annotated[DrainRequest, OPTIONAL], actor: Actor
    ) -> DrainView:
        """Stop a node gracefully: it starts no run, and pauses those that it executes."""
        node = await self._store.read(nodes.node_called, node_id)
        if node.id != self._here:
            raise NodeNotAlive(node) if node.expires_at is None else OfAnotherNode(node)
        return await self._upkeep.drain(options, actor)

    def _view(self, row: NodeRow) -> NodeView:
        ended = "dead" if row.stopped_at is None else "stopped"
        return NodeView.from_row(
            row,
            here=row.id == self._here,
            state=ended if row.expires_at is None else "alive",
            settings_revision=row.settings_number,
        )
