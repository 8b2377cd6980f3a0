"""Routes of the hub's nodes: list, drain, back up and remove."""

from collections.abc import Callable
from typing import Annotated, Literal

from hub.api.binding import OPTIONAL
from hub.api.peers import not_alive
from hub.api.resource import (
    ALL,
    Actor,
    Instant,
    ListPart,
    Resource,
    View,
    audited,
    command,
    listed,
    route,
)
from hub.base.clock import Clock
from hub.base.log import Channel
from hub.base.roles import (
    Scope,
)
from hub.base.supervisor import Drain
from hub.health.backups import Backups
from protocol.errors import AtAnotherNode, ErrorCode, HubError
from protocol.ids import NodeId
from storage import audit
from storage.devices import nodes
from storage.devices.nodes import NodeRow
from storage.store import Connection, Store

log = Channel(__name__)


class DrainRequest(View):
    """Options of a stop.

    *restarts*: another process takes over, so devices connect again at once; by default that is so
    if a service manager holds the device port.
    """

    restarts: bool | None = None


class DrainView(View, kw_only=True):
    """A hub that stops. *executing*: the number of runs that finish their present step, or pause."""

    state: Literal["draining"] = "draining"
    restarts: bool
    executing: int


class BackupView(View):
    """A backup that was made and checked. *path* is on the hub's own machine."""

    path: str
    made_at: Instant
    size_bytes: int
    sha256: str  # of the file itself
    revision: str  # of its tables


class UpkeepResource(Resource):
    """The hub as a whole."""

    name, path = "upkeep", "/v1"
    is_scoped = False

    def __init__(
        self,
        *,
        store: Store,
        executing: Callable[[], int],
        drain: Drain,
        backups: Backups,
        clock: Clock,
    ) -> None:
        """Create the resource. *executing*: returns the number of executing runs."""
        self._store = store
        self._executing = executing
        self._drain = drain
        self._backups = backups
        self._clock = clock

    @command(
        "drain",
        example="hub drain --restart",
        json="drain",
        help="Stop the running hub after its work in progress.\n\nNo new runs start. Executing runs finish "
        "their files in progress, or pause and resume when the hub runs again.",
        options={"restarts": "--restart: Ask devices to reconnect at once: another hub takes over."},
        message="the hub stops; runs in progress: {executing}",
    )
    @route("POST", "/drain", Scope.SYSTEM, status=202)
    @audited("hub.drained")
    async def drain(self, options: Annotated[DrainRequest, OPTIONAL], actor: Actor) -> DrainView:
        """Stop gracefully: start no run, and let executing ones finish their present step or pause."""
        executing = self._executing()
        if not self._drain.is_begun:
            entry = audit.AuditEntry(
                at=self._now,
                actor=actor,
                event="hub.drained",
                detail={"executing": executing},
            )
            try:
                await self._store.write(audit.append_entry, entry)
            except HubError as exc:  # a hub whose database is broken can be stopped all the same
                log.error("drain.not_noted", exc=exc)
            log.info("hub.stopping", actor=actor)
            self._drain.begin(restarts=options.restarts)
        return DrainView(restarts=self._drain.restarts, executing=executing)

    @route("POST", "/backups", Scope.SYSTEM, status=201)
    @audited("backup.made")
    async def back_up(self, actor: Actor) -> BackupView:
        """Make a backup in the hub's own folder, and check it."""
        made = await self._backups.make(actor=actor)
        return BackupView.from_row(made, made.manifest, path=str(made.path))


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


class NodesResource(Resource):
    """Nodes of this hub. A node is named by its name, its id, or six or more characters at the id's end."""

    name, path = "nodes", "/v1/nodes"
    errors = (ErrorCode.UNKNOWN_NODE,)

    def __init__(self, store: Store, upkeep: UpkeepResource, *, here: NodeId, clock: Clock) -> None:
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
    async def all(self, part: ListPart = ALL) -> list[NodeView]:
        """List the nodes with their devices and runs, as the database has them."""
        rows = await self._store.read(
            nodes.list_nodes, user_id=self.user_id, limit=part.limit, after=part.after
        )
        return [self._view(row) for row in rows]

    @command(
        "nodes rm NODE_ID",
        example="hub nodes rm 4e21a9",
        json="node",
        message="node {node_id} is removed",
    )
    @route("DELETE", "/{node_id}", Scope.SYSTEM, errors=[ErrorCode.ILLEGAL_TRANSITION])
    @audited("node.removed")
    async def remove(self, node_id: str, actor: Actor) -> NodeView:
        """Remove a node that is not alive from the list. A process that was only frozen ends itself."""
        at = self._now

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
            if node.expires_at is None:
                raise not_alive(node)
            message = f"{node.name or node.id} is another node; ask it, or give the nodes a bus"
            raise AtAnotherNode(ErrorCode.NODE_UNREACHABLE, message, node.boot_id)
        return await self._upkeep.drain(options, actor)

    def _view(self, row: NodeRow) -> NodeView:
        ended = "dead" if row.stopped_at is None else "stopped"
        return NodeView.from_row(
            row,
            here=row.id == self._here,
            state=ended if row.expires_at is None else "alive",
            settings_revision=row.settings_number,
        )
