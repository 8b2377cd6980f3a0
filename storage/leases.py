"""Leases of hub processes: acquisition, renewal, expiry, and which nodes are alive.

A ``Term`` is one holding of a lease, identified by its fence. Its holder checks it in each transaction that
depends on it (``check_term``): writes of a holder that missed its own expiry are refused. Instants of leases
are the own time of the database, so that hubs with different clocks agree.
"""

from typing import Any

import msgspec
import sqlalchemy as sa

from protocol.errors import HubError
from protocol.ids import BootId, NodeId
from storage.kernel.columns import Int, now_ms
from storage.kernel.database import end_sessions
from storage.schema import devices, leases, nodes

NODE_PREFIX = "node "  # with the node's id: name of the lease that its process renews while it lives
ALONE_MS = 100 * 365 * 86_400_000  # lease of a process that has its database alone: until its end


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
        leases.c.name.startswith(NODE_PREFIX),
        leases.c.holder_boot_id != sa.bindparam("boot"),
        leases.c.expires_at > now_ms(),
    )
    .limit(1)
)
LIVING_NODES = sa.select(leases.c.name).where(
    leases.c.name.startswith(NODE_PREFIX), leases.c.expires_at > now_ms()
)
LIVING_BOOTS = LIVING_NODES.with_only_columns(leases.c.holder_boot_id)


def is_alive(boot_id: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Return the condition, for a query, that this hub process holds an unexpired lease."""
    return sa.exists().where(_others.c.holder_boot_id == boot_id, _others.c.expires_at > now_ms())


_LIVING_BOOTS = sa.select(_others.c.holder_boot_id).where(
    _others.c.name.startswith(NODE_PREFIX),
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
    name = lease_of_node(node_id)
    if is_first:
        c.execute(ENSURE, {"lease": name})
    if not c.execute(BEAT, {"lease": name, "node": node_id, "boot": boot_id, "ttl": ttl_ms}).rowcount:
        raise LostLease(f"a later process has the identity of the node {node_id}, or the node was removed")


def living_boots(c: sa.Connection) -> list[BootId]:
    """Return the hub processes that live, those of other nodes too."""
    return [BootId(boot_id) for boot_id in c.execute(LIVING_BOOTS).scalars()]


def lives_until(c: sa.Connection, node_id: NodeId) -> int | None:
    """Return when the node's liveness lease expires, in the database's time; None if it has expired."""
    return c.execute(LIVES_UNTIL, {"lease": lease_of_node(node_id)}).scalar_one_or_none()


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


def lease_of_node(node_id: NodeId) -> str:
    return NODE_PREFIX + node_id


def _spelled(term: Term) -> dict[str, str | int]:
    return {"lease": term.name, "boot": term.boot_id, "held": term.fence}
