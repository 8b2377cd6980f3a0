"""Nodes in the database: starts after crashes, addresses, load, and transferred keys."""

from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode, IllegalTransition
from protocol.ids import BootId, DeviceId, NodeId, UserId
from storage.kernel.columns import Int, Key, columns_of, fetch_page, in_parts, now_ms, paged, struct_from
from storage.kernel.database import lone
from storage.kernel.migrate import revisions
from storage.leases import END, LIVING_BOOTS, NODE_PREFIX, is_alive, is_online, lease_of_node
from storage.schema import devices, leases, nodes, runs

BOOTS_WINDOW_MS = 600_000  # starts that follow each other within this time are counted together


class NodeStart(msgspec.Struct, frozen=True):
    """Start of a node.

    *boots_10min*: number of consecutive starts within ten minutes of each other, each after a crash.
    *earlier*: the boot before this one.
    """

    node_id: NodeId
    boot_id: BootId
    started_at: int
    boots_10min: int
    earlier: BootId | None


BOOT = sa.select(
    nodes.c.id, nodes.c.boot_id, nodes.c.started_at, nodes.c.boots_10min, nodes.c.stopped_at
).where(nodes.c.id == sa.bindparam("node"))
TOUCH = sa.select(sa.literal(1))


def begin_boot(
    c: sa.Connection,
    node_id: NodeId,
    boot_id: BootId,
    at: int,
    *,
    window_ms: int = BOOTS_WINDOW_MS,
    name: str | None = None,
    version: str | None = None,
    address: str | None = None,
) -> NodeStart:
    """Record a start of the node. A start after an orderly stop resets the count.

    The leases of the node's earlier process end: one process at a time has the state folder.

    Args:
        name: of the node, for people.
        version: of the hub.
        address: of the node for devices.
    """
    about = {"name": name, "version": version, "revision": revisions()[-1], "address": address}
    last = c.execute(BOOT, {"node": node_id}).one_or_none()
    if last is None:
        first = {"id": node_id, "boot_id": boot_id, "started_at": at, "seen_at": at}
        c.execute(sa.insert(nodes), first | about)
        return NodeStart(node_id, boot_id, at, 1, None)
    crashed_just_now = last.stopped_at is None and at - last.started_at < window_ms
    boots = last.boots_10min + 1 if crashed_just_now else 1
    c.execute(
        sa.update(nodes)
        .where(nodes.c.id == node_id)
        .values(boot_id=boot_id, boots_10min=boots, started_at=at, seen_at=at, stopped_at=None, **about)
    )
    c.execute(END, {"ended": last.boot_id})
    return NodeStart(node_id, boot_id, at, boots, BootId(last.boot_id))


def end_boot(c: sa.Connection, node_id: NodeId, boot_id: BootId, at: int) -> None:
    """Record an orderly stop of the node."""
    c.execute(
        sa.update(nodes)
        .where(nodes.c.id == node_id, nodes.c.boot_id == boot_id)
        .values(stopped_at=at, seen_at=at)
    )
    c.execute(END, {"ended": boot_id})


def touch(c: sa.Connection) -> None:
    """Query the database without effect, to check whether it works."""
    c.execute(TOUCH)


_demand = sa.bindparam("demand", type_=Int)
DEMAND = (
    sa.update(nodes)
    .where(nodes.c.boot_id == sa.bindparam("boot"), nodes.c.demand.is_distinct_from(_demand))
    .values(demand=_demand)
)
DEMANDS = sa.select(nodes.c.demand).where(
    nodes.c.boot_id != sa.bindparam("boot"), nodes.c.boot_id.in_(LIVING_BOOTS)
)


def share_demand(c: sa.Connection, boot_id: BootId, demand: int) -> list[int]:
    """Record the demand of this hub process for models; return those of the others that live."""
    c.execute(DEMAND, {"boot": boot_id, "demand": demand})
    return [other or 0 for other in c.execute(DEMANDS, {"boot": boot_id}).scalars()]


class NodeRow(msgspec.Struct, frozen=True):
    """Node of this database.

    Attributes:
        name: for people; several nodes may have one name. None: of a node that release 0.1.0 recorded.
        version: of the hub at its last start.
        stopped_at: when it was stopped in order, after its last start.
        expires_at: end of its lease, in the database's time; None: the lease has ended.
        settings_number: revision of the shared settings that it uses.
        settings_refused: why it does not use a newer one.
        devices: number of devices that are connected to it.
        runs: number of runs that it executes.
        address: its own for devices, if it has one.
    """

    id: NodeId
    boot_id: BootId
    name: str | None
    version: str | None
    started_at: int
    stopped_at: int | None
    expires_at: int | None
    settings_number: int | None
    settings_refused: str | None
    devices: int
    runs: int
    address: str | None


MAX_ADDRESSES: Final = 64  # in a welcome
MIN_END: Final = 6  # characters at the end of an id that identify it
_alive = sa.and_(
    leases.c.name == sa.literal(NODE_PREFIX) + nodes.c.id,
    leases.c.holder_boot_id == nodes.c.boot_id,
    leases.c.expires_at > now_ms(),
)
_devices = sa.select(sa.func.count()).where(devices.c.boot_id == nodes.c.boot_id, leases.c.name.is_not(None))
_runs = sa.select(sa.func.count()).where(
    runs.c.state.in_([*map(sa.literal_column, ("'PREPARING'", "'RUNNING'"))]),
    runs.c.lease_boot_id == nodes.c.boot_id,
)


def _count(query: sa.Select[Any]) -> sa.ScalarSelect[Any]:
    return query.correlate(nodes, leases).scalar_subquery()


def _nodes(user_id: UserId | None) -> sa.Select[Any]:
    held, working = _devices, _runs
    if user_id is not None:
        owned = sa.select(devices.c.id).where(devices.c.user_id == user_id)
        held, working = held.where(devices.c.user_id == user_id), working.where(runs.c.device_id.in_(owned))
    columns = columns_of(NodeRow, nodes, leases, devices=_count(held), runs=_count(working))
    return sa.select(*columns).join_from(nodes, leases, _alive, isouter=True)


def list_nodes(
    c: sa.Connection, *, user_id: UserId | None = None, limit: int | None = None, after: Key | None = None
) -> list[NodeRow]:
    """Return the nodes, the oldest first. *user_id*: whose devices and runs are counted; None: all."""
    return fetch_page(c, NodeRow, paged(_nodes(user_id), nodes.c.id, limit=limit, after=after), limit)


def node_called(c: sa.Connection, called: str, *, user_id: UserId | None = None) -> NodeRow:
    """Return the node of this id, of this unique end of an id, or of this unique name.

    Raises:
        CodedError: there is none, or several.
    """
    is_end = nodes.c.id.endswith(called, autoescape=True) if len(called) >= MIN_END else sa.false()
    query = _nodes(user_id).where(sa.or_(nodes.c.id == called, nodes.c.name == called, is_end)).limit(2)
    found = c.execute(query).all()
    if not found:
        raise CodedError(ErrorCode.UNKNOWN_NODE, f"there is no node {called!r}")
    if len(found) > 1:
        raise CodedError(ErrorCode.UNKNOWN_NODE, f"several nodes are called {called!r}: use an id")
    return struct_from(NodeRow, found[0])


ADDRESSES = sa.select(nodes.c.address).where(nodes.c.address.is_not(None)).order_by(nodes.c.id)


def addresses(c: sa.Connection) -> list[str]:
    """Return the addresses of all nodes for devices, those of dead nodes too, as they may come back."""
    return list(dict.fromkeys(c.execute(ADDRESSES.limit(MAX_ADDRESSES)).scalars()))


def others_with_room(c: sa.Connection, boot_id: BootId) -> list[tuple[int, str]]:
    """Return the number of devices and the address of each node that lives, save that of this process."""
    return [
        (node.devices, node.address)
        for node in list_nodes(c)
        if node.expires_at is not None and node.address is not None and node.boot_id != boot_id
    ]


BOOT_OF = sa.select(devices.c.boot_id).where(devices.c.id == sa.bindparam("device"), is_online())


def boot_of(c: sa.Connection, device_id: DeviceId) -> BootId | None:
    """Return the hub process that has the connection of a device, if one that lives does."""
    return c.execute(BOOT_OF, {"device": device_id}).scalar_one_or_none()


def remove_node(c: sa.Connection, called: str) -> NodeRow:
    """Delete a node whose process has ended, with its lease. A process that was only frozen ends itself.

    Raises:
        CodedError: there is none, or several.
        IllegalTransition: the node is alive; nothing was deleted.
    """
    node = node_called(c, called)
    if node.expires_at is not None:
        raise IllegalTransition(
            f"node {called} is alive; stop it first with 'hub nodes drain {called}', or wait 30 s after its"
            " process died"
        )
    c.execute(sa.delete(leases).where(leases.c.name == lease_of_node(node.id)))
    c.execute(sa.delete(nodes).where(nodes.c.id == node.id, nodes.c.boot_id == node.boot_id))
    return node


def give_keys(c: sa.Connection, node_id: NodeId, sealed: bytes) -> None:
    """Store keys that are sealed for a node, in place of earlier ones that it has not taken."""
    c.execute(sa.update(nodes).where(nodes.c.id == node_id).values(sealed_keys=sealed))


@lone
def given_keys(c: sa.Connection, node_id: NodeId) -> bytes | None:
    """Return the keys that another node sealed for this one, if there are any."""
    return c.execute(sa.select(nodes.c.sealed_keys).where(nodes.c.id == node_id)).scalar_one_or_none()


def drop_given_keys(c: sa.Connection, node_id: NodeId, sealed: bytes) -> None:
    """Delete sealed keys that the node has taken, unless others came meanwhile."""
    taken = sa.and_(nodes.c.id == node_id, nodes.c.sealed_keys == sealed)
    c.execute(sa.update(nodes).where(taken).values(sealed_keys=None))


_is_old = sa.func.coalesce(nodes.c.stopped_at, nodes.c.started_at) < sa.bindparam("before", type_=Int)
OLD_NODES = sa.select(nodes.c.id).where(
    _is_old,
    nodes.c.boot_id != sa.bindparam("own"),
    ~is_alive(nodes.c.boot_id),
    ~sa.exists().where(devices.c.boot_id == nodes.c.boot_id),
)


def prune_nodes(c: sa.Connection, *, own: BootId, before: int, rows: int = 100) -> int:
    """Delete nodes that ended before *before*, with their leases. Return the number of deleted nodes.

    The node of the boot *own* stays: a database that a hub has used is never without one. The other leases
    stay too, because their fences never start anew; there are only a few.
    """
    old = c.execute(OLD_NODES.limit(rows), {"before": before, "own": own}).scalars().all()
    for part in in_parts(old):
        c.execute(sa.delete(leases).where(leases.c.name.in_([lease_of_node(NodeId(id)) for id in part])))
        c.execute(sa.delete(nodes).where(nodes.c.id.in_(part)))
    return len(old)
