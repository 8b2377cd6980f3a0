"""Requests that another node answers, or all nodes (at most 100): choice of the node, and time limits.

A request names a node with the header ``Hub-Node``, or all of them with ``all``. Without it, the node is
asked that has the device or the run: ``AtAnotherNode`` names its process.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, Self
from urllib.parse import unquote

import anyio
import msgspec
from msgspec import Raw, Struct

from hub.cluster.messages import BusReply, BusRequest, NodeUnreachable
from hub.links.device_link import DeviceLink
from hub.links.roster import Roster
from protocol.errors import AtAnotherNode, CodedError, ErrorCode
from protocol.ids import BootId, DeviceId, NodeId
from storage.devices import nodes
from storage.devices.nodes import NodeRow
from storage.kernel.database import StorageError
from storage.store import Store

HEADER: Final = "hub-node"
JSON: Final = "application/json"
TO_ANOTHER_NODE: Final = "ask that node, or give the nodes a bus: 'hub help cluster'"
ALL: Final = "all"  # in place of a node: each node answers
WITHIN_S: Final = 25.0  # a command line waits for 30 s
READ_WITHIN_S: Final = 4.0  # of a node that the request names, or of all: an operator asks in an outage
READ_S: Final = 1.0  # for the database, before the nodes of the last time are asked
MAX_NODES: Final = 100  # that are asked together

Ask = Callable[[BootId, BusRequest, float], Awaitable[BusReply]]


async def link_of(store: Store, roster: Roster, device_id: DeviceId, name: str) -> DeviceLink | None:
    """Return the link of a device, or None if it is not connected.

    Raises:
        AtAnotherNode: it is connected to another node.
    """
    link = roster.find(device_id)
    if link is None and store.is_shared:
        boot_id = await store.read(nodes.boot_of, device_id)
        if boot_id is not None:
            message = f"device {name!r} is connected to another node"
            raise AtAnotherNode(ErrorCode.DEVICE_OFFLINE, message, boot_id, hint=TO_ANOTHER_NODE)
    return link


class NodeReply(Struct, frozen=True):
    """Response of one node to a request that all nodes were asked."""

    id: NodeId
    name: str | None
    status: int
    body: Any

    @classmethod
    def of(cls, node: NodeRow, reply: BusReply) -> Self:
        """Return the reply of a node with its body, as JSON or as a text."""
        is_json = "json" in reply.headers.get("content-type", "") and reply.body
        body = Raw(reply.body) if is_json else reply.body.decode(errors="replace")
        return cls(node.id, node.name, reply.status, body)


class Peers:
    """Other nodes of this hub.

    Args:
        ask: sends a request to a hub process, with a time limit in seconds; None: there is no bus.
    """

    def __init__(self, store: Store, here: BootId, ask: Ask | None) -> None:
        self._store = store
        self._here = here
        self._ask = ask
        self._nodes: list[NodeRow] = []

    def can_answer(self, boot_id: BootId) -> bool:
        """Return whether *boot_id* is the process of another node, and there is a bus to it."""
        return self._ask is not None and boot_id != self._here

    async def list_nodes(self) -> list[NodeRow]:
        """Return the nodes of the database, or those of the last time if it gives no answer."""
        with suppress(StorageError), anyio.move_on_after(READ_S):
            self._nodes = await self._store.read(nodes.list_nodes, limit=MAX_NODES)
        return self._nodes

    async def named(self, header: str | None) -> BootId | None:
        """Return the process of the node that a request names; None: it is this one, or none is named.

        Raises:
            CodedError: there is no such node.
            CodedError (NODE_UNREACHABLE): it is stopped or dead.
        """
        if header is None:
            return None
        called = unquote(header)
        known, length = await self.list_nodes(), max(len(called), nodes.MIN_END)
        found = [row for row in known if called in (row.id, row.id[-length:], row.name)]
        node = found[0] if len(found) == 1 else await self._store.read(nodes.node_called, called)
        if node.boot_id == self._here:
            return None
        if node.expires_at is None:
            raise not_alive(node)
        return node.boot_id

    async def ask(self, boot_id: BootId, request: BusRequest, within_s: float) -> BusReply:
        """Return the reply of another process. Raises NodeUnreachable."""
        if self._ask is None:
            raise NodeUnreachable("this hub has no bus to its other nodes: [cluster] bus of hub.toml")
        return await self._ask(boot_id, request, within_s)

    async def ask_all(self, own: BusReply, request: BusRequest) -> list[NodeReply]:
        """Return the replies of the nodes that are alive, in the order of their ids.

        Args:
            own: reply of this node.
        """
        alive = [row for row in await self.list_nodes() if row.expires_at is not None]
        replies: dict[str, BusReply] = {}

        async def ask(row: NodeRow) -> None:
            try:
                replies[row.id] = await self.ask(row.boot_id, request, READ_WITHIN_S)
            except NodeUnreachable as error:
                body = msgspec.json.encode({"code": error.code, "detail": str(error)})
                replies[row.id] = BusReply(status=503, headers={"content-type": JSON}, body=body)

        async with anyio.create_task_group() as asking:
            for row in alive:
                if row.boot_id == self._here:
                    replies[row.id] = own
                else:
                    asking.start_soon(ask, row)
        return [NodeReply.of(row, replies[row.id]) for row in alive]


def not_alive(node: NodeRow) -> CodedError:
    """Return the error about a stopped or dead node, if only the node itself can answer."""
    name = node.name or node.id
    ended = "is dead: it ended without a word, or its database is out of reach"
    return CodedError(
        ErrorCode.NODE_UNREACHABLE,
        f"node {name} {ended if node.stopped_at is None else 'is stopped'}",
        hint=f"start it; if it is gone for good: hub nodes rm {node.id[-6:]}",
    )
