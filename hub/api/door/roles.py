"""Who asks: roles, the scopes that each brings, and the principal of one request.

What a route needs stands in ``api/door/routes``. Nothing that a client says about itself
is believed: a principal comes from the kernel (Unix socket) or from a token's row.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from protocol.authority import AGENT
from protocol.ids import AgentId, UserId


class Role(StrEnum):
    """What an operator is for; a bundle of scopes."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


class Scope(StrEnum):
    """One kind of thing that may be done."""

    READ = "read"  # look at agents, runs, devices
    RUN = "run"  # start, stop and pause runs and agents
    DEVICES = "devices"  # let devices in, rename them, throw them out
    SETTINGS = "settings"  # see and change hub.toml
    AUDIT = "audit"  # see who did what
    TOKENS = "tokens"  # make and revoke the tokens of operators
    SYSTEM = "system"  # drain, back up, logs, dumps, users


ROLE_SCOPES: Final[Mapping[Role, frozenset[Scope]]] = {
    Role.VIEWER: frozenset({Scope.READ}),
    Role.OPERATOR: frozenset({Scope.READ, Scope.RUN, Scope.DEVICES}),
    Role.ADMIN: frozenset(Scope),
}
OPERATOR: Final = "operator:"  # begins the actor of whoever came over a Unix socket
PRINCIPAL: Final = "principal"  # in a request's state, set by ``api.door.access``; absent on public routes
# What shows or changes the hub as a whole; a principal who sees one user only has none of it.
HUB_WIDE: Final = frozenset({Scope.SETTINGS, Scope.AUDIT, Scope.SYSTEM})


@dataclass(frozen=True)
class Principal:
    """Who asks, in one request.

    Attributes:
        actor: as history and audit tell it: ``operator:UID`` (Unix socket), ``token:ID`` or ``agent:ID``.
        role: None: an agent, which has none.
        scopes: what it may do; never more than its role brings.
        user_id: whose devices, agents and runs it sees; None: everybody's.
        name: as people read it.
        agent_id: the agent that asks, for what agents may ask; None: an operator.
    """

    actor: str
    role: Role | None
    scopes: frozenset[Scope]
    user_id: UserId | None
    name: str
    agent_id: AgentId | None = None

    @classmethod
    def of_uid(cls, uid: int) -> Self:
        """Whoever the hub's own Unix socket lets in: may do everything."""
        return cls(f"{OPERATOR}{uid}", Role.ADMIN, ROLE_SCOPES[Role.ADMIN], None, f"uid {uid}")

    @classmethod
    def of_agent(cls, agent_id: AgentId, *, user_id: UserId, name: str) -> Self:
        """An agent that showed a token of its own: no scope is its, and no other user's thing."""
        return cls(f"{AGENT}{agent_id}", None, frozenset(), user_id, name, agent_id)

    @property
    def share(self) -> str | None:
        """Return the name that ``api.door.fair_quota`` counts; None: the request came over a Unix socket."""
        if self.actor.startswith(OPERATOR):
            return None
        if self.agent_id is not None:  # however many of them ask, their user is heard
            return f"agents:{self.user_id}"
        return f"user:{self.user_id}" if self.user_id is not None else self.actor

    @property
    def may_all(self) -> bool:
        """Whether nothing is kept from it."""
        return self.user_id is None and self.scopes >= ROLE_SCOPES[Role.ADMIN]

    def may(self, scope: Scope) -> bool:
        """Whether it may do what needs *scope*."""
        return scope in self.scopes and (self.user_id is None or scope not in HUB_WIDE)


def least_role(scope: Scope) -> Role:
    """The first role, from the least to the most, that brings *scope*."""
    return next(role for role in Role if scope in ROLE_SCOPES[role])


def scopes_of(role: Role, wanted: Collection[Scope] = ()) -> frozenset[Scope]:
    """The scopes of a token: what its role brings, narrowed to *wanted* where any are given."""
    return ROLE_SCOPES[role] & frozenset(wanted) if wanted else ROLE_SCOPES[role]
