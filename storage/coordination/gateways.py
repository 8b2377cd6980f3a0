"""Gateways of hub.toml in the database: creation, archiving and main agents.

The file decides: a gateway that it names is created or revived as the same row. A gateway that it no longer
names is archived with its main agent. The agents that live at it (``storage.coordination.gateway_agents``)
stay listed, and are offline.
"""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.ids import AgentId, GatewayId, UserId
from storage import audit
from storage.agents.declared_agents import LOCK_USER
from storage.connectors.connectors import Reconciled
from storage.coordination import gateway_agents
from storage.devices import users
from storage.kernel.columns import (
    Int,
    Key,
    columns_of,
    fetch_page,
    isolating_broken_row,
    paged,
    struct_from,
    struct_or_none,
    structs_from,
)
from storage.schema import agent_states as states
from storage.schema import gateway_agents as agent_rows
from storage.schema import gateways
from storage.schema import users as user_table

ACTOR: Final = "hub.toml"
IDS_PER_GATEWAY: Final = 3  # fresh ids for the gateway, its main agent, its user
MAIN_WORD: Final = "main"  # suffix of a main agent's name, after its gateway's name


class UnknownGateway(HubError):
    """Error: no declared gateway has that name or id."""

    code = ErrorCode.UNKNOWN_GATEWAY


class DeclaredGateway(msgspec.Struct, frozen=True, kw_only=True):
    """Declaration of a gateway in hub.toml, without its address and token.

    Attributes:
        main_agent: id of an existing main agent there; ``None``: the hub creates one.
    """

    name: str
    user_name: str
    main_agent: str | None = None


class GatewayRow(msgspec.Struct, frozen=True, kw_only=True):
    """Gateway. *archived_at*: time at which it was no longer declared."""

    id: GatewayId
    user_id: UserId
    user_name: str
    name: str
    created_at: int
    archived_at: int | None = None


GATEWAYS = sa.select(
    *columns_of(GatewayRow, gateways, user_name=user_table.c.name, archived_at=gateways.c.deleted_at)
).join_from(gateways, user_table)
GATEWAY = GATEWAYS.where(gateways.c.id == sa.bindparam("gateway"))
GATEWAY_NAMED = GATEWAYS.where(gateways.c.name == sa.bindparam("named"))
PRESENT_GATEWAYS = GATEWAYS.where(gateways.c.deleted_at.is_(None))
SET_ASIDE = (
    sa.update(gateways)
    .where(gateways.c.id == sa.bindparam("gateway"))
    .values(name=sa.bindparam("called"), updated_at=sa.bindparam("now"))
)


def list_gateways(
    c: sa.Connection, *, user_id: UserId | None = None, limit: int | None = None, after: Key | None = None
) -> list[GatewayRow]:
    """Return the declared gateways, or those of a user, by name."""
    query = paged(PRESENT_GATEWAYS, gateways.c.name, limit=limit, after=after)
    if user_id is not None:
        query = query.where(gateways.c.user_id == user_id)
    return fetch_page(c, GatewayRow, query, limit)


def find_gateway(c: sa.Connection, id: GatewayId) -> GatewayRow | None:
    """Return the gateway, archived or not."""
    return struct_or_none(GatewayRow, c.execute(GATEWAY, {"gateway": id}).one_or_none())


def get_gateway(c: sa.Connection, given: str, *, user_id: UserId | None = None) -> GatewayRow:
    """Return the declared gateway with that name or id.

    Args:
        user_id: its required owner; gateways of other users do not match.

    Raises:
        UnknownGateway: no gateway matches.
    """
    row = c.execute(GATEWAY_NAMED, {"named": given}).one_or_none()
    row = row or c.execute(GATEWAY, {"gateway": given}).one_or_none()
    if row is None or row.archived_at is not None or user_id not in (None, row.user_id):
        raise UnknownGateway(f"there is no gateway {given!r}")
    return struct_from(GatewayRow, row)


def reconcile_gateways(
    c: sa.Connection,
    *,
    owner_id: UserId,
    declared: Sequence[DeclaredGateway],
    at: int,
    fresh_ids: Sequence[str],
    is_elsewhere: Callable[[str], bool] = lambda name: False,
) -> Reconciled:
    """Make the gateways match the declarations, each with its main agent.

    Users named for the first time are created. A gateway declared for another user is another gateway. Every
    change has an entry in the audit log.

    Args:
        owner_id: user whose lock serializes hubs that start at once with different files.
        fresh_ids: ``IDS_PER_GATEWAY`` for each declared gateway; not all are used.
        is_elsewhere: returns True for a gateway that stays although it is not declared.

    Raises:
        RemoteIdTaken: another agent has the id of a declared main agent; nothing was written.
    """
    c.execute(LOCK_USER, {"user": owner_id})
    rows = c.execute(GATEWAYS).all()
    known = {row.name: row for row in structs_from(GatewayRow, rows)}
    broken = {row.name for row in rows} - known.keys()  # stay as they are until they are corrected
    created: list[str] = []
    updated: list[str] = []
    revived: list[str] = []
    for position, one in enumerate(declared):
        own_id, main_id, fresh_user = fresh_ids[position * IDS_PER_GATEWAY :][:IDS_PER_GATEWAY]
        whose = users.ensure_user(c, UserId(fresh_user), one.user_name, at)
        if one.name in broken:
            continue
        old = known.pop(one.name, None)
        if old is not None and old.user_id != whose:
            _archive(c, old, at)
            c.execute(SET_ASIDE, {"gateway": old.id, "called": f"{old.name}~{old.id}", "now": at})
            old = None
        if old is None:
            about = {"id": own_id, "user_id": whose, "name": one.name, "created_at": at, "updated_at": at}
            c.execute(sa.insert(gateways), about)
            row = struct_from(GatewayRow, c.execute(GATEWAY, {"gateway": own_id}).one())
            created.append(row.name)
            _record(c, row, "gateway.created", at)
        else:
            row = old
            if old.archived_at is not None:
                c.execute(
                    sa.update(gateways).where(gateways.c.id == old.id).values(deleted_at=None, updated_at=at)
                )
                revived.append(row.name)
                _record(c, row, "gateway.revived", at)
        main, is_changed = gateway_agents.put_main_agent(
            c,
            gateway_id=row.id,
            user_id=row.user_id,
            preferred=f"{row.name}-{MAIN_WORD}",
            remote_id=one.main_agent,
            fresh_id=AgentId(main_id),
            at=at,
            actor=ACTOR,
        )
        if is_changed and row.name not in (*created, *revived):
            updated.append(row.name)
            _record(c, row, "gateway.changed", at, main_agent=main.remote_id)
    undeclared = [row for row in known.values() if row.archived_at is None and not is_elsewhere(row.name)]
    for row in undeclared:
        with isolating_broken_row(c):
            _archive(c, row, at)
    names = tuple(sorted(row.name for row in undeclared))
    return Reconciled(tuple(created), tuple(updated), tuple(revived), names)


def check_main_agents(c: sa.Connection, declared: Sequence[DeclaredGateway]) -> None:
    """Check whether ``reconcile_gateways`` would refuse a main agent; nothing is written.

    Raises:
        RemoteIdTaken: another agent has the id of a declared main agent.
    """
    for gateway in declared:
        row = c.execute(GATEWAY_NAMED, {"named": gateway.name}).one_or_none()
        if row is not None and gateway.main_agent is not None:
            gateway_agents.check_main_agent(c, GatewayId(row.id), gateway.main_agent)


def _archive(c: sa.Connection, row: GatewayRow, at: int) -> None:
    """Archive a gateway that is no longer declared, with its main agent; its other agents are offline."""
    if row.archived_at is not None:
        return
    c.execute(sa.update(gateways).where(gateways.c.id == row.id).values(deleted_at=at, updated_at=at))
    gateway_agents.archive_agents_of(
        c, row.id, at=at, actor=ACTOR, reason="its gateway is no longer declared"
    )
    _record(c, row, "gateway.archived", at)


def _record(c: sa.Connection, row: GatewayRow, event: str, at: int, **detail: str) -> None:
    audit.append(c, at=at, actor=ACTOR, event=event, subject=row.id, detail={"name": row.name} | detail)


def note_heartbeat(c: sa.Connection, gateway_id: GatewayId, *, at: int) -> None:
    """Update the last heartbeat of the gateway's online agents."""
    c.execute(
        sa.update(states)
        .where(
            states.c.agent_id.in_(
                sa.select(agent_rows.c.agent_id).where(agent_rows.c.gateway_id == gateway_id)
            ),
            states.c.connectivity == "online",
            sa.func.coalesce(states.c.last_heartbeat_at, 0) < sa.literal(at, Int),
        )
        .values(last_heartbeat_at=at)
    )


# --- making ---


# --- leads ---
