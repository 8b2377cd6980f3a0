"""Identity of this hub, its starts, the leases of its processes, and settings that its nodes share.

A lease is a right that expires unless it is renewed. A ``Term`` is one holding of a lease, identified by its
fence. Its holder checks it in each transaction that depends on it (``check_term``): writes of a holder that
missed its own expiry are refused. Instants of leases are the database's own, so that hubs with different
clocks agree.

All nodes of one database may share settings: every node uses the newest revision of them.
"""

from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode, HubError, IllegalTransition
from protocol.ids import BootId, DeviceId, NodeId, UserId
from storage import audit
from storage.kernel.columns import Int, Key, columns_of, fill, fill_page, filled, in_parts, now_ms, paged
from storage.kernel.database import end_sessions, lone
from storage.kernel.migrate import revisions
from storage.schema import devices, hub, leases, nodes, runs, settings_revisions

_NODE = "node "  # with the node's id: name of the lease that its process renews while it lives
ALONE_MS = 100 * 365 * 86_400_000  # lease of a process that has its database alone: until its end
BOOTS_WINDOW_MS = 600_000  # starts that follow each other within this time are counted together


class Boot(msgspec.Struct, frozen=True):
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
HUB_ID = sa.select(hub.c.value).where(hub.c.key == "hub_id")
SECRET = sa.select(hub.c.value).where(hub.c.key == "extraction.secret")
KEY = sa.select(hub.c.value).where(hub.c.key == "identity.key")
TOUCH = sa.select(sa.literal(1))


def find_hub_id(c: sa.Connection) -> str | None:
    """Return the id by which devices know this hub, or None before its first start."""
    return c.execute(HUB_ID).scalar_one_or_none()


def ensure_hub_id(c: sa.Connection, fresh_id: str) -> str:
    """Return the id by which devices know this hub; *fresh_id* becomes the id if none exists."""
    known = find_hub_id(c)
    if known is not None:
        return known
    c.execute(sa.insert(hub), {"key": "hub_id", "value": fresh_id})
    return fresh_id


def ensure_extraction_secret(c: sa.Connection, fresh: bytes) -> bytes:
    """Return the secret for the delimiters in this hub's prompts; *fresh* becomes the secret if none exists.

    It survives restarts and restores: otherwise every stored answer would be useless.
    """
    known = c.execute(SECRET).scalar_one_or_none()
    if known is not None:
        return bytes.fromhex(known)
    c.execute(sa.insert(hub), {"key": "extraction.secret", "value": fresh.hex()})
    return fresh


def ensure_key(c: sa.Connection, fresh: bytes) -> bytes:
    """Return the private key by which devices know this hub: 32 bytes; *fresh* if none exists.

    Equal on all nodes and after a restore: otherwise every device would refuse the hub.
    """
    known = c.execute(KEY).scalar_one_or_none()
    if known is not None:
        return bytes.fromhex(known)
    c.execute(sa.insert(hub), {"key": "identity.key", "value": fresh.hex()})
    return fresh


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
) -> Boot:
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
        return Boot(node_id, boot_id, at, 1, None)
    crashed_just_now = last.stopped_at is None and at - last.started_at < window_ms
    boots = last.boots_10min + 1 if crashed_just_now else 1
    c.execute(
        sa.update(nodes)
        .where(nodes.c.id == node_id)
        .values(boot_id=boot_id, boots_10min=boots, started_at=at, seen_at=at, stopped_at=None, **about)
    )
    c.execute(END, {"ended": last.boot_id})
    return Boot(node_id, boot_id, at, boots, BootId(last.boot_id))


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


class LostLease(HubError):
    """Error: another holder has the lease, or it expired; nothing was written."""

    retryable = True


class Term(msgspec.Struct, frozen=True):
    """Holding of the lease *name* by a hub process."""

    name: str
    boot_id: BootId
    fence: int


_until = now_ms() + sa.bindparam("ttl", type_=Int)
_is_term = (
    leases.c.name == sa.bindparam("lease"),
    leases.c.holder_boot_id == sa.bindparam("boot"),
    leases.c.fence == sa.bindparam("held"),
)
ENSURE = sa.insert(leases).from_select(
    ["name"],
    sa.select(sa.bindparam("lease", type_=sa.Text)).where(
        ~sa.exists().where(leases.c.name == sa.bindparam("lease"))
    ),
)
TAKE = (
    sa.update(leases)
    .where(
        leases.c.name == sa.bindparam("lease"),
        sa.or_(
            leases.c.holder_boot_id.is_(None),
            leases.c.holder_boot_id == sa.bindparam("boot"),
            leases.c.expires_at <= now_ms(),
        ),
    )
    .values(
        holder_boot_id=sa.bindparam("boot"),
        fence=leases.c.fence + 1,
        acquired_at=now_ms(),
        expires_at=_until,
    )
    .returning(leases.c.fence)
)
_others = leases.alias("others")
EXPIRED = sa.select(leases.c.holder_boot_id).where(
    leases.c.name == sa.bindparam("lease"),
    leases.c.holder_boot_id != sa.bindparam("boot"),
    leases.c.expires_at <= now_ms(),
    ~sa.exists().where(_others.c.holder_boot_id == leases.c.holder_boot_id, _others.c.expires_at > now_ms()),
)
BEAT = (
    sa.update(leases)
    .where(
        leases.c.name == sa.bindparam("lease"),
        ~sa.exists().where(nodes.c.id == sa.bindparam("node"), nodes.c.boot_id != sa.bindparam("boot")),
    )
    .values(
        holder_boot_id=sa.bindparam("boot"),
        fence=sa.case(
            (leases.c.holder_boot_id == sa.bindparam("boot"), leases.c.fence), else_=leases.c.fence + 1
        ),
        acquired_at=sa.case(
            (leases.c.holder_boot_id == sa.bindparam("boot"), leases.c.acquired_at), else_=now_ms()
        ),
        expires_at=_until,
    )
)
RENEW = sa.update(leases).where(*_is_term).values(expires_at=_until)
# The holder stays: who takes such a lease ends the sessions of its holder, which may only be frozen.
END = sa.update(leases).where(leases.c.holder_boot_id == sa.bindparam("ended")).values(expires_at=0)
RESIGN = sa.update(leases).where(*_is_term).values(holder_boot_id=None, expires_at=0)
CHECK = sa.select(leases.c.fence).where(*_is_term, leases.c.expires_at > now_ms()).with_for_update(read=True)


LIVES_UNTIL = sa.select(leases.c.expires_at).where(
    leases.c.name == sa.bindparam("lease"), leases.c.expires_at > now_ms()
)


OTHERS = (
    sa.select(leases.c.name)
    .where(
        leases.c.name.startswith(_NODE),
        leases.c.holder_boot_id != sa.bindparam("boot"),
        leases.c.expires_at > now_ms(),
    )
    .limit(1)
)
LIVING_NODES = sa.select(leases.c.name).where(leases.c.name.startswith(_NODE), leases.c.expires_at > now_ms())
LIVING_BOOTS = LIVING_NODES.with_only_columns(leases.c.holder_boot_id)
_demand = sa.bindparam("demand", type_=Int)
DEMAND = (
    sa.update(nodes)
    .where(nodes.c.boot_id == sa.bindparam("boot"), nodes.c.demand.is_distinct_from(_demand))
    .values(demand=_demand)
)
DEMANDS = sa.select(nodes.c.demand).where(
    nodes.c.boot_id != sa.bindparam("boot"), nodes.c.boot_id.in_(LIVING_BOOTS)
)


def is_alive(boot_id: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Return the condition, for a query, that this hub process holds an unexpired lease."""
    return sa.exists().where(_others.c.holder_boot_id == boot_id, _others.c.expires_at > now_ms())


_LIVING_BOOTS = sa.select(_others.c.holder_boot_id).where(
    _others.c.name.startswith(_NODE),
    _others.c.holder_boot_id.is_not(None),
    _others.c.expires_at > now_ms(),
)


def has_node(boot_id: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Return the condition, for a query, that this hub process lives as a node."""
    return boot_id.in_(_LIVING_BOOTS)


def is_online(rows: Any = devices) -> sa.ColumnElement[bool]:
    """Return the condition, for a query, that a hub process that lives has the device's connection."""
    return sa.and_(rows.c.boot_id.is_not(None), has_node(rows.c.boot_id))


def beat(c: sa.Connection, node_id: NodeId, boot_id: BootId, *, ttl_ms: int, is_first: bool = True) -> None:
    """Renew the liveness lease of this node's process, which keeps its executing runs, for *ttl_ms*.

    The first beat of a later process ends the lease of an earlier one.

    Args:
        is_first: the lease may be new; otherwise a node without a lease was removed.

    Raises:
        LostLease: a later process began with the node's identity, or the node was removed.
    """
    name = _lease_of(node_id)
    if is_first:
        c.execute(ENSURE, {"lease": name})
    if not c.execute(BEAT, {"lease": name, "node": node_id, "boot": boot_id, "ttl": ttl_ms}).rowcount:
        raise LostLease(f"a later process has the identity of the node {node_id}, or the node was removed")


def living_boots(c: sa.Connection) -> list[BootId]:
    """Return the hub processes that live, those of other nodes too."""
    return [BootId(boot_id) for boot_id in c.execute(LIVING_BOOTS).scalars()]


def share_demand(c: sa.Connection, boot_id: BootId, demand: int) -> list[int]:
    """Record the demand of this hub process for models; return those of the others that live."""
    c.execute(DEMAND, {"boot": boot_id, "demand": demand})
    return [other or 0 for other in c.execute(DEMANDS, {"boot": boot_id}).scalars()]


def lives_until(c: sa.Connection, node_id: NodeId) -> int | None:
    """Return when the node's liveness lease expires, in the database's time; None if it has expired."""
    return c.execute(LIVES_UNTIL, {"lease": _lease_of(node_id)}).scalar_one_or_none()


def has_others(c: sa.Connection, boot_id: BootId) -> bool:
    """Return True if another hub process lives on this database."""
    return c.execute(OTHERS, {"boot": boot_id}).first() is not None


def acquire_lease(c: sa.Connection, name: str, boot_id: BootId, *, ttl_ms: int) -> Term | None:
    """Acquire the lease unless another process holds it. A current holder also gets a new term."""
    c.execute(ENSURE, {"lease": name})
    end_sessions(c, c.execute(EXPIRED, {"lease": name, "boot": boot_id}).scalars())
    fence = c.execute(TAKE, {"lease": name, "boot": boot_id, "ttl": ttl_ms}).scalar_one_or_none()
    return None if fence is None else Term(name, boot_id, fence)


def renew_lease(c: sa.Connection, term: Term, *, ttl_ms: int) -> bool:
    """Extend the term to *ttl_ms* from now. Return False if another process took the lease.

    An expired term that no other process took continues: no other fence was issued.
    """
    return c.execute(RENEW, _spelled(term) | {"ttl": ttl_ms}).rowcount == 1


def resign_lease(c: sa.Connection, term: Term) -> None:
    """Release the lease if this term still holds it, so that no process has to wait for its expiry."""
    c.execute(RESIGN, _spelled(term))


def check_term(c: sa.Connection, term: Term) -> None:
    """Check that the term is valid, and keep it so until the transaction ends.

    Raises:
        LostLease: the term is over; nothing was written.
    """
    if c.execute(CHECK, _spelled(term)).one_or_none() is None:
        raise LostLease(f"the lease {term.name!r} is no longer held under fence {term.fence}")


def end_others(c: sa.Connection, boot_id: BootId) -> None:
    """Release all leases of other processes, for a database that only this hub can have open."""
    c.execute(
        sa.update(leases).where(leases.c.holder_boot_id != boot_id).values(holder_boot_id=None, expires_at=0)
    )


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
    leases.c.name == sa.literal(_NODE) + nodes.c.id,
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
    return fill_page(c, NodeRow, paged(_nodes(user_id), nodes.c.id, limit=limit, after=after), limit)


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
    return fill(NodeRow, found[0])


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
    c.execute(sa.delete(leases).where(leases.c.name == _lease_of(node.id)))
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
        c.execute(sa.delete(leases).where(leases.c.name.in_([_lease_of(NodeId(id)) for id in part])))
        c.execute(sa.delete(nodes).where(nodes.c.id.in_(part)))
    return len(old)


def _lease_of(node_id: NodeId) -> str:
    return _NODE + node_id


def _spelled(term: Term) -> dict[str, str | int]:
    return {"lease": term.name, "boot": term.boot_id, "held": term.fence}


REVISIONS: Final = 100  # the newest ones, and those that a node uses


class SettingsRevision(msgspec.Struct, frozen=True):
    """Revision of the shared settings. *text*: None if each node uses its own file alone."""

    number: int
    text: str | None
    actor: str
    at: int


class PublishedMeanwhile(HubError):
    """Error: another caller has published a revision since the newest one was read; nothing was written."""

    code = ErrorCode.CHANGED_MEANWHILE


_REVISIONS: Final = sa.select(*columns_of(SettingsRevision, settings_revisions))
NEWEST_NUMBER: Final = sa.select(sa.func.max(settings_revisions.c.number))
NEWEST_REVISION: Final = _REVISIONS.order_by(settings_revisions.c.number.desc()).limit(1)


@lone
def newest_number(c: sa.Connection) -> int:
    """Return the number of the newest revision; 0 without one."""
    return c.execute(NEWEST_NUMBER).scalar_one() or 0


def newest_revision(c: sa.Connection) -> SettingsRevision | None:
    """Return the newest revision, if there is one."""
    return filled(SettingsRevision, c.execute(NEWEST_REVISION).one_or_none())


def revision_of(c: sa.Connection, node_id: NodeId) -> SettingsRevision | None:
    """Return the revision that a node used last, if it used one."""
    used = sa.select(nodes.c.settings_number).where(nodes.c.id == node_id).scalar_subquery()
    return filled(
        SettingsRevision, c.execute(_REVISIONS.where(settings_revisions.c.number == used)).one_or_none()
    )


def find_revision(c: sa.Connection, number: int) -> SettingsRevision:
    """Return a revision. Raises CodedError."""
    row = c.execute(_REVISIONS.where(settings_revisions.c.number == number)).one_or_none()
    if row is None:
        raise CodedError(
            ErrorCode.UNKNOWN_NAME,
            f"no revision {number} of the settings is kept; hub config revisions lists all",
        )
    return fill(SettingsRevision, row)


def list_revisions(
    c: sa.Connection, *, limit: int | None = None, after: Key | None = None
) -> list[SettingsRevision]:
    """Return the revisions, the newest first."""
    query = paged(_REVISIONS, settings_revisions.c.number, limit=limit, after=after, descending=True)
    return fill_page(c, SettingsRevision, query, limit)


def publish(c: sa.Connection, revision: SettingsRevision) -> None:
    """Write a revision, which follows the newest one, with its audit entry, and delete old ones.

    Raises:
        PublishedMeanwhile: another one has its number.
    """
    row = msgspec.structs.asdict(revision)
    if newest_number(c) != revision.number - 1:
        raise PublishedMeanwhile("another revision of the settings was published meanwhile; look at it first")
    c.execute(sa.insert(settings_revisions), row)
    in_use = sa.select(nodes.c.settings_number).where(nodes.c.settings_number.is_not(None))
    c.execute(
        sa.delete(settings_revisions).where(
            settings_revisions.c.number <= revision.number - REVISIONS,
            settings_revisions.c.number.not_in(in_use),
        )
    )
    detail = {"is_withdrawn": revision.text is None}
    audit.append(
        c,
        at=revision.at,
        actor=revision.actor,
        event="settings.published",
        subject=str(revision.number),
        detail=detail,
    )


def record_use(c: sa.Connection, node_id: NodeId, number: int | None) -> None:
    """Record the revision that a node uses. *number*: None without one."""
    used = {"settings_number": number, "settings_refused": None}
    c.execute(sa.update(nodes).where(nodes.c.id == node_id).values(used))


def record_refusal(c: sa.Connection, node_id: NodeId, why: str) -> None:
    """Record why a node does not use the newest revision."""
    c.execute(sa.update(nodes).where(nodes.c.id == node_id).values(settings_refused=why))
