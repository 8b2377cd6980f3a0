"""Messages between nodes: their fields, compatible between two releases."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Final, Protocol, TypeAlias

from anyio.abc import TaskStatus
from msgspec import Struct

from hub.base.periodic_loop import LoopReports
from protocol.errors import ErrorCode, HubError
from protocol.ids import BootId, DeviceId, RunId


class NodeUnreachable(HubError):
    """Error: another node did not answer; whether it did what was requested is unknown."""

    code = ErrorCode.NODE_UNREACHABLE
    retryable = True


class BusRequest(Struct, frozen=True, kw_only=True, tag="request"):
    """Request of an operator's interface that another node answers. The caller was checked by the first.

    Attributes:
        path: decoded.
        query: as it was sent.
        principal: fields of the caller, as ``api.door.roles.Principal`` has them.
        key: its ``Idempotency-Key``, which names a call to a device.
    """

    method: str
    path: str
    query: str
    body: bytes
    principal: Mapping[str, object]
    key: str | None = None


class BusReply(Struct, frozen=True, kw_only=True, tag="reply"):
    """Response to a request."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class RunChanged(Struct, frozen=True, tag="run_changed"):
    """Hint: the row of a run changed."""

    run_id: RunId


class RunsWaiting(Struct, frozen=True, tag="runs_waiting"):
    """Hint: runs were queued, or are to be cancelled, maybe at the node that receives this."""


class DeviceTaken(Struct, frozen=True, tag="device_taken"):
    """Hint: the device has a newer connection at the node that sends this."""

    device_id: DeviceId
    epoch: int


# In the place of a process: all that subscribe to it, which those of release 0.2.0 do not.
RENEWALS: Final = BootId("renewals")


class NodeRenewed(Struct, frozen=True, tag="node_renewed"):
    """Hint: the process that sends this has renewed its lease, each time soon enough.

    Attributes:
        steady_s: duration for which that holds.
        devices: number of devices that are connected to it.
        address: its own for devices, if it has one.
    """

    boot_id: BootId
    steady_s: float
    devices: int
    address: str | None


Hint: TypeAlias = RunChanged | RunsWaiting | DeviceTaken | NodeRenewed
Message: TypeAlias = BusRequest | BusReply | RunChanged | RunsWaiting | DeviceTaken | NodeRenewed


class NodeBus(Protocol):
    """Connection of a node to the others; ``bus`` has the one over NATS, and says more on each attribute."""

    loop: LoopReports
    on_hint: Callable[[Hint], None]
    on_request: Callable[[BusRequest], Awaitable[BusReply]] | None
    lost_since: datetime | None
    problem: str

    async def serve(self, *, task_status: TaskStatus[None] = ...) -> None:
        """Keep the connection until cancelled."""

    def hint(self, hint: Hint, to: BootId | None = None) -> None:
        """Send a hint to the other nodes, or to one."""

    async def ask(self, to: BootId, request: BusRequest, within_s: float) -> BusReply:
        """Return the answer of a node."""

    async def check(self) -> None:
        """Check that the server of the bus answers, and end a connection over which no answer comes."""
