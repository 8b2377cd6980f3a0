"""Messages between nodes: which hints about runs and devices they exchange over the bus."""

from collections.abc import Callable

from hub.app.boot import HubContext, StartResult
from hub.base.version import command_to_add
from hub.cluster.messages import RENEWALS, DeviceTaken, Hint, NodeBus, NodeRenewed, RunChanged, RunsWaiting
from hub.links.auth import Authenticator
from hub.links.roster import Roster
from hub.runs.control import RunControl
from hub.runs.leases import NodeLease
from hub.runs.lifecycle import RunWatch
from protocol.errors import CodedError, ErrorCode
from protocol.ids import BootId


def make_bus(context: HubContext, start: StartResult) -> NodeBus | None:
    """Create the bus of hub.toml; None: it has none, or no other hub can use the database.

    Raises:
        CodedError: a package is missing.
        SecretMissing: the address cannot be resolved.
    """
    url = context.settings.cluster.resolved()
    if not url or not context.store.is_shared:
        return None
    try:
        from hub.cluster.bus import Bus, Member
    except ImportError as error:
        raise CodedError(
            ErrorCode.BAD_SETTINGS,
            f"[cluster] bus needs {error.name}, of the extra 'cluster': {command_to_add('cluster')}",
        ) from error
    member = Member(start.hub_id, context.boot_id, start.secret)
    return Bus(url, member, clock=context.clock, chance=context.chance)


def exchange_hints(
    bus: NodeBus,
    *,
    watch: RunWatch,
    control: RunControl,
    recheck: Callable[[], None],
    roster: Roster,
    authenticator: Authenticator,
    lease: NodeLease,
    boot_id: BootId,
    address: str | None = None,
) -> None:
    """Send hints of what happens at this node to the others, and follow theirs.

    Args:
        recheck: looks for runs and schedules that other nodes have changed.
        lease: of this node.
        address: of this node for devices, if it has one.
    """

    def follow(hint: Hint) -> None:
        match hint:
            case RunChanged(run_id):
                watch.changed(run_id)
            case RunsWaiting():
                recheck()
            case DeviceTaken(device_id, epoch):
                roster.supersede(device_id, epoch)
            case NodeRenewed():
                lease.other_renewed(hint.boot_id, hint.steady_s, devices=hint.devices, address=hint.address)

    bus.on_hint = follow
    lease.on_renewed = lambda steady_s: bus.hint(
        NodeRenewed(boot_id, steady_s, len(roster), address), RENEWALS
    )
    watch.on_moved = lambda run_id: bus.hint(RunChanged(run_id))
    control.wake_others = lambda: bus.hint(RunsWaiting())
    authenticator.on_taken = lambda device_id, epoch, boot: bus.hint(DeviceTaken(device_id, epoch), boot)
