"""Other nodes of this hub, one of which answers a request that this node cannot answer.

A request names a node with the header ``Hub-Node``. Without it, the node is asked that has the device or
the run: an error with an attribute ``boot_id`` names its process.
"""

from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import unquote

from hub.cluster.messages import NodeUnreachable, Reply, Request
from hub.links.link import DeviceLink
from hub.links.roster import Roster
from protocol.errors import ErrorCode, HubError
from protocol.ids import BootId, DeviceId
from storage.devices import nodes
from storage.store import Store

HEADER: Final = "hub-node"
WITHIN_S: Final = 25.0  # a command line waits for 30 s

Ask = Callable[[BootId, Request, float], Awaitable[Reply]]


class ConnectedElsewhere(HubError):
    """Error: the device is connected to another node, whose hub process is *boot_id*."""

    code = ErrorCode.DEVICE_OFFLINE
    hint = "ask that node, or give the nodes a bus: 'hub help cluster'"

    def __init__(self, name: str, boot_id: BootId) -> None:
        super().__init__(f"device {name!r} is connected to another node")
        self.boot_id = boot_id


async def link_of(store: Store, roster: Roster, device_id: DeviceId, name: str) -> DeviceLink | None:
    """Return the link of a device, or None if it is not connected.

    Raises:
        ConnectedElsewhere: it is connected to another node.
    """
    link = roster.find(device_id)
    if link is None and store.is_shared:
        boot_id = await store.read(nodes.boot_of, device_id)
        if boot_id is not None:
            raise ConnectedElsewhere(name, boot_id)
    return link


class Others:
    """Other nodes of this hub.

    Args:
        ask: sends a request to a hub process, with a time limit in seconds; None: there is no bus.
    """

    def __init__(self, store: Store, here: BootId, ask: Ask | None) -> None:
        self._store = store
        self._here = here
        self._ask = ask

    def can_answer(self, boot_id: BootId) -> bool:
        """Return whether *boot_id* is the process of another node, and there is a bus to it."""
        return self._ask is not None and boot_id != self._here

    async def named(self, header: str | None) -> BootId | None:
        """Return the process of the node that a request names; None: it is this one, or none is named.

        Raises:
            UnknownNode: there is no such node.
            NodeUnreachable: the node is not alive.
        """
        if header is None:
            return None
        called = unquote(header)
        node = await self._store.read(nodes.node_called, called)
        if node.boot_id == self._here:
            return None
        if node.expires_at is None:
            raise NodeUnreachable(f"node {called} is not alive")
        return node.boot_id

    async def ask(self, boot_id: BootId, request: Request) -> Reply:
        """Return the reply of another process. Raises NodeUnreachable."""
        if self._ask is None:
            raise NodeUnreachable("this hub has no bus to its other nodes: [cluster] bus of hub.toml")
        return await self._ask(boot_id, request, WITHIN_S)
