"""Application of hub.toml in one transaction, and the declarations of each node.

Declarations of each node: the agents, templates, gateways and connectors in the hub.toml of a node.

Several nodes on one database have a hub.toml each, while the rows are common to all. A node archives only
rows that no other node declares, so that nodes with different files do not undo each other's work.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.ids import NodeId, RunId, UserId
from storage import audit
from storage import leases as stored_leases
from storage.agents import config_changes, declared_agents
from storage.agents.agent_snapshot import Check, TemplateRow, WrittenTemplate, change_alone
from storage.agents.config_changes import Broken, Put
from storage.agents.declared_agents import DeclaredAgent
from storage.audit import Entry
from storage.connectors import connectors
from storage.connectors.connectors import DeclaredConnector, Reconciled
from storage.coordination import gateways
from storage.coordination.gateways import DeclaredGateway
from storage.devices import devices
from storage.runs import run_pauses
from storage.schema import nodes

_DIGEST: Final = 16  # characters
NO_IDS: Final[Mapping[str, UserId]] = MappingProxyType({})


class Declarations(msgspec.Struct, frozen=True, kw_only=True):
    """Digests of declarations by name; the name of an agent has its user before it: ``anna/inbox``."""

    agents: dict[str, str] = {}
    templates: dict[str, str] = {}
    gateways: dict[str, str] = {}
    connectors: dict[str, str] = {}

    def differing(self, other: "Declarations") -> list[str]:
        """Return what both declare, but not alike, as ``agent anna/inbox``."""
        theirs = dict(other.named())
        return [named for named, digest in self.named() if theirs.get(named, digest) != digest]

    def beyond(self, others: Iterable["Declarations"]) -> list[str]:
        """Return what none of the others declares, as ``agent anna/inbox``."""
        theirs = {named for other in others for named, _ in other.named()}
        return [named for named, _ in self.named() if named not in theirs]

    def named(self) -> Iterator[tuple[str, str]]:
        """Yield each declaration as ``agent anna/inbox``, with its digest."""
        for kind in self.__struct_fields__:
            for name, digest in getattr(self, kind).items():
                yield f"{kind.removesuffix('s')} {name}", digest


class NodeDeclarations(msgspec.Struct, frozen=True):
    """Declarations of a node. *declared*: None if its release does not record them."""

    node_id: NodeId
    name: str
    is_alive: bool
    declared: Declarations | None


class Elsewhere:
    """Declarations of the other nodes.

    Args:
        others: declarations of nodes, whether they are alive or not.
        ids: id of each user, by name.
    """

    def __init__(self, others: Sequence[NodeDeclarations] = (), ids: Mapping[str, UserId] = NO_IDS) -> None:
        known = [other.declared for other in others if other.declared is not None]
        # While such a node lives, it may have declared whatever is there.
        self._is_known = not any(other.is_alive and other.declared is None for other in others)
        agents = (name.partition("/") for one in known for name in one.agents)
        self._agents = {(ids[user], name) for user, _, name in agents if user in ids}
        self._known = known

    def has_agent(self, user_id: UserId, name: str) -> bool:
        """Return True if another node may declare the agent of the user."""
        return not self._is_known or (user_id, name) in self._agents

    def has(self, kind: str, name: str) -> bool:
        """Return True if another node may declare the template, gateway or connector. *kind*: a field."""
        return not self._is_known or any(name in getattr(one, kind) for one in self._known)


ALL = sa.select(
    nodes.c.id, nodes.c.name, nodes.c.declared, stored_leases.is_alive(nodes.c.boot_id).label("alive")
).order_by(nodes.c.id)


def declarations_of(
    agents: Iterable[DeclaredAgent],
    templates: Iterable[WrittenTemplate] = (),
    gateways: Iterable[DeclaredGateway] = (),
    connectors: Iterable[DeclaredConnector] = (),
) -> Declarations:
    """Return the digests of the declarations of a hub.toml."""
    return Declarations(
        agents={f"{agent.user_name or devices.OWNER}/{agent.name}": _digest(agent) for agent in agents},
        templates=_digests(templates),
        gateways=_digests(gateways),
        connectors=_digests(connectors),
    )


def record(c: sa.Connection, node_id: NodeId, declared: Declarations) -> None:
    """Record the declarations of a node in place of its earlier ones."""
    document = msgspec.to_builtins(declared)
    c.execute(sa.update(nodes).where(nodes.c.id == node_id).values(declared=document))


def list_declarations(c: sa.Connection) -> list[NodeDeclarations]:
    """Return the declarations of all nodes."""
    return [
        NodeDeclarations(NodeId(row.id), row.name or row.id, bool(row.alive), _declared(row.declared))
        for row in c.execute(ALL)
    ]


def declared_elsewhere(c: sa.Connection, node_id: NodeId) -> Elsewhere:
    """Return what other nodes declare, whether they are alive or not."""
    others = [declaration for declaration in list_declarations(c) if declaration.node_id != node_id]
    return Elsewhere(others, {user.name: user.id for user in devices.list_users(c)})


def _declared(document: Any) -> Declarations | None:
    try:
        return None if document is None else msgspec.convert(document, Declarations)
    except msgspec.ValidationError:
        return None


def _digests(named: Iterable[WrittenTemplate | DeclaredGateway | DeclaredConnector]) -> dict[str, str]:
    return {one.name: _digest(one) for one in named}


def _digest(one: object) -> str:
    return hashlib.sha256(msgspec.json.encode(one, enc_hook=str, order="sorted")).hexdigest()[:_DIGEST]


ACTOR: Final = "hub.toml"
UNDECLARED: Final = "the agent is no longer declared"


class TakenUp(msgspec.Struct, frozen=True):
    """Result of applying hub.toml.

    Attributes:
        followed: waiting runs whose agent moved to another device.
        orphaned: waiting runs that were cancelled with their agent.
        templates: new and changed templates.
        let_go: templates that are no longer declared; those in use become templates of the API.
        broken: agents that are now in error because their set-up is invalid.
        gateways, connectors: ``None``: not reconciled.
    """

    agents: Reconciled
    gateways: Reconciled | None = None
    connectors: Reconciled | None = None
    followed: tuple[RunId, ...] = ()
    orphaned: tuple[RunId, ...] = ()
    templates: tuple[Put, ...] = ()
    let_go: tuple[TemplateRow, ...] = ()
    broken: tuple[Broken, ...] = ()


def take_up(
    c: sa.Connection,
    *,
    user_id: UserId,
    declared: Sequence[DeclaredAgent],
    at: int,
    fresh_ids: Sequence[str],
    templates: Sequence[WrittenTemplate] = (),
    declared_gateways: Sequence[DeclaredGateway] | None = None,
    declared_connectors: Sequence[DeclaredConnector] | None = None,
    check: Check = lambda _: (),
    force: bool = True,
    entries: Sequence[Entry] = (),
    most_per_user: int | None = None,
    node_id: NodeId | None = None,
    also: Callable[[sa.Connection], None] | None = None,
) -> TakenUp:
    """Make templates, agents, gateways and connectors match the declarations, and move their waiting runs.

    See ``reconcile_declared``, ``reconcile_templates``, ``reconcile_gateways``, ``reconcile_connectors``.

    Args:
        declared_gateways, declared_connectors: ``None``: not reconciled.
        fresh_ids: ids for the agents, then one for each template, then those for the gateways, then those for
            the connectors.
        check: returns the problems of an agent's set-up.
        force: put agents with an invalid set-up in error; otherwise refuse.
        entries: audit entries that name the caller.
        most_per_user: limit on the agents of a user; ``None``: not checked.
        node_id: node whose file it is; what other nodes declare stays. ``None``: there are no other nodes.
        also: further writes of the transaction, made first; errors of these are raised too.

    Raises:
        NameTaken: an agent of the API has a declared name.
        TooManyDeclared: a user would have too many agents.
        UnknownTemplate: an agent names a template that does not exist.
        CodedError (NAME_TAKEN): two agents would share an external id.
        WouldBreak: agents would have an invalid set-up.
        RemoteIdTaken: another agent has the remote id of a gateway's declared main agent.
        UnknownConnector: an agent names a connector that its user does not have.
        In each case nothing was written.
    """
    change_alone(c)
    if also is not None:
        also(c)
    elsewhere = Elsewhere() if node_id is None else declared_elsewhere(c, node_id)
    for_agents = declared_agents.IDS_PER_AGENT * len(declared)
    changed = config_changes.reconcile_templates(
        c, templates, fresh_ids=fresh_ids[for_agents:][: len(templates)], at=at
    )
    for_templates = for_agents + len(templates)
    for_gateways = for_templates + gateways.IDS_PER_GATEWAY * len(declared_gateways or ())
    reconciled = None
    if declared_gateways is not None:
        reconciled = gateways.reconcile_gateways(
            c,
            owner_id=user_id,
            declared=declared_gateways,
            at=at,
            fresh_ids=fresh_ids[for_templates:],
            is_elsewhere=partial(elsewhere.has, "gateways"),
        )
    accounts = None
    if declared_connectors is not None:  # before the agents, which refer to them
        accounts = connectors.reconcile_connectors(
            c,
            declared=declared_connectors,
            at=at,
            fresh_ids=fresh_ids[for_gateways:],
            is_elsewhere=partial(elsewhere.has, "connectors"),
        )
    done = declared_agents.reconcile_declared(
        c,
        user_id=user_id,
        declared=declared,
        at=at,
        fresh_ids=fresh_ids,
        most_per_user=most_per_user,
        is_elsewhere=elsewhere.has_agent,
    )
    followed = run_pauses.follow_agents(c, at, actor=ACTOR)
    orphaned = run_pauses.cancel_orphans(c, UNDECLARED, at, actor=ACTOR)
    named = {template.name for template in templates}
    stays = partial(elsewhere.has, "templates")
    let_go = config_changes.let_go_templates(c, named, at=at, is_elsewhere=stays)
    broken = config_changes.settle(c, check, at=at, actor=ACTOR, force=force)
    audit.append_entries(c, entries)
    if node_id is not None:
        ours = declarations_of(declared, templates, declared_gateways or (), declared_connectors or ())
        record(c, node_id, ours)
    return TakenUp(
        agents=done,
        gateways=reconciled,
        connectors=accounts,
        followed=tuple(followed),
        orphaned=tuple(orphaned),
        templates=tuple(changed),
        let_go=tuple(let_go),
        broken=tuple(broken),
    )
