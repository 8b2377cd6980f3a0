"""Messages between nodes: which hints about runs and devices they exchange over the bus."""

from collections.abc import Awaitable, Callable

from hub.app.boot import HubContext, StartResult
from hub.cluster.messages import (
    RENEWALS,
    BusReply,
    BusRequest,
    DeviceTaken,
    Hint,
    NodeBus,
    NodeRenewed,
    RunChanged,
    RunsWaiting,
)
from hub.links.roster import Roster
from hub.runs.leases import NodeLease
from hub.runs.lifecycle import RunWatch
from protocol.ids import BootId, DeviceId, RunId


def make_bus(
    context: HubContext,
    start: StartResult,
    *,
    on_hint: Callable[[Hint], None],
    on_request: Callable[[BusRequest], Awaitable[BusReply]],
) -> NodeBus | None:
    """Create the bus of hub.toml; None: it has none, or no other hub can use the database.

    Args:
        on_hint: follows a hint of another node; called once the bus is served.
        on_request: answers a request of another node; likewise.

    Raises:
        SecretMissing: the address cannot be resolved.
    """
    url = context.settings.cluster.resolved()
    if not url or not context.store.is_shared:
        return None
    from hub.cluster.bus import Bus, Member  # only with the extra [cluster]

    member = Member(start.hub_id, context.boot_id, start.secret)
    return Bus(
        url, member, clock=context.clock, chance=context.chance, on_hint=on_hint, on_request=on_request
    )


class NodeHints:
    """Hints of what happens at this node, for the others; without a bus, no node gets them."""

    def __init__(self, bus: NodeBus | None, boot_id: BootId, *, address: str | None = None) -> None:
        """Create the sender of hints. *address*: of this node for devices, if it has one."""
        self._bus = bus
        self._boot_id = boot_id
        self._address = address

    def run_changed(self, run_id: RunId) -> None:
        """Send that a run came to another state."""
        if self._bus is not None:
            self._bus.hint(RunChanged(run_id))

    def runs_waiting(self) -> None:
        """Send that a run was queued, or is to be cancelled."""
        if self._bus is not None:
            self._bus.hint(RunsWaiting())

    def device_taken(self, device_id: DeviceId, epoch: int, boot_id: BootId) -> None:
        """Send to the process that had a device that it is connected here."""
        if self._bus is not None:
            self._bus.hint(DeviceTaken(device_id, epoch), boot_id)

    def lease_renewed(self, steady_s: float, *, devices: int) -> None:
        """Send that this node, with so many devices, has renewed its lease for so many seconds."""
        if self._bus is not None:
            self._bus.hint(NodeRenewed(self._boot_id, steady_s, devices, self._address), RENEWALS)


def follow_hint(
    hint: Hint, *, watch: RunWatch, recheck: Callable[[], None], roster: Roster, lease: NodeLease
) -> None:
    """Follow a hint of another node.

    Args:
        recheck: looks for runs and schedules that other nodes have changed.
        lease: of this node.
    """
    match hint:
        case RunChanged(run_id):
            watch.changed(run_id)
        case RunsWaiting():
            recheck()
        case DeviceTaken(device_id, epoch):
            roster.supersede(device_id, epoch)
        case NodeRenewed():
            lease.other_renewed(hint.boot_id, hint.steady_s, devices=hint.devices, address=hint.address)
