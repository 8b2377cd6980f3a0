"""Which node's hub.toml declares which agents, so that no node archives those of another.

Several nodes on one database have a hub.toml each, while the rows are common to all. A node archives only
rows that no other node declares, so that nodes with different files do not undo the work of each other.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.ids import NodeId, UserId
from storage import leases as stored_leases
from storage.agents.declared_agents import DeclaredAgent
from storage.agents.templates import WrittenTemplate
from storage.connectors.connectors import DeclaredConnector
from storage.coordination.gateways import DeclaredGateway
from storage.devices import users
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


class OtherDeclarations:
    """Declarations of the other nodes.

    Args:
        others: declarations of nodes, whether they are alive or not.
        ids: id of each user, by name.
    """

    def __init__(self, others: Sequence[NodeDeclarations] = (), ids: Mapping[str, UserId] = NO_IDS) -> None:
        known = [other.declared for other in others if other.declared is not None]
        # While such a node lives, it may have declared whatever is there.
        self._is_known = not any(other.is_alive and other.declared is None for other in others)
        agents = (name.partition("/") for declarations in known for name in declarations.agents)
        self._agents = {(ids[user], name) for user, _, name in agents if user in ids}
        self._known = known

    def has_agent(self, user_id: UserId, name: str) -> bool:
        """Return True if another node may declare the agent of the user."""
        return not self._is_known or (user_id, name) in self._agents

    def has(self, kind: str, name: str) -> bool:
        """Return True if another node may declare the template, gateway or connector. *kind*: a field."""
        return not self._is_known or any(name in getattr(declarations, kind) for declarations in self._known)


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
        agents={f"{agent.user_name or users.OWNER}/{agent.name}": _digest(agent) for agent in agents},
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


def declared_elsewhere(c: sa.Connection, node_id: NodeId) -> OtherDeclarations:
    """Return what other nodes declare, whether they are alive or not."""
    others = [declaration for declaration in list_declarations(c) if declaration.node_id != node_id]
    return OtherDeclarations(others, {user.name: user.id for user in users.list_users(c)})


def _declared(document: Any) -> Declarations | None:
    try:
        return None if document is None else msgspec.convert(document, Declarations)
    except msgspec.ValidationError:
        return None


def _digests(named: Iterable[WrittenTemplate | DeclaredGateway | DeclaredConnector]) -> dict[str, str]:
    return {declaration.name: _digest(declaration) for declaration in named}


def _digest(one: object) -> str:
    return hashlib.sha256(msgspec.json.encode(one, enc_hook=str, order="sorted")).hexdigest()[:_DIGEST]
