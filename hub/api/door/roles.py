"""Roles, the scopes of each role, and the principal of a request.

The scope that a route needs is in ``api/door/routes``. Claims of a client about itself are never trusted:
a principal comes from the kernel (Unix socket) or from a token's row.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from protocol.authority import AGENT
from protocol.ids import AgentId, UserId


class Role(StrEnum):
    """Role of an operator; a set of scopes."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


class Scope(StrEnum):
    """Permission for one kind of request."""

    READ = "read"  # look at agents, runs, devices
    RUN = "run"  # start, stop and pause runs and agents
    DEVICES = "devices"  # approve, rename and revoke devices
    SETTINGS = "settings"  # see and change hub.toml
    AUDIT = "audit"  # read the audit log
    TOKENS = "tokens"  # create and revoke the tokens of operators
    SYSTEM = "system"  # drain, back up, logs, dumps, users


ROLE_SCOPES: Final[Mapping[Role, frozenset[Scope]]] = {
    Role.VIEWER: frozenset({Scope.READ}),
    Role.OPERATOR: frozenset({Scope.READ, Scope.RUN, Scope.DEVICES}),
    Role.ADMIN: frozenset(Scope),
}
OPERATOR: Final = "operator:"  # prefix of the actor of a caller over a Unix socket
PRINCIPAL: Final = "principal"  # in a request's state, set by ``api.door.access``; absent on public routes
# Scopes that show or change the whole hub; a principal scoped to one user has none of them.
HUB_WIDE: Final = frozenset({Scope.SETTINGS, Scope.AUDIT, Scope.SYSTEM})


@dataclass(frozen=True)
class Principal:
    """Authenticated caller of a request.

    Attributes:
        actor: name in history and audit: ``operator:UID`` (Unix socket), ``token:ID`` or ``agent:ID``.
        role: role of an operator; None: an agent, which has no role.
        scopes: permissions; a subset of those of the role.
        user_id: the user whose devices, agents and runs are visible; None: all users'.
        name: display name.
        agent_id: the agent that calls; None: an operator calls.
    """

    actor: str
    role: Role | None
    scopes: frozenset[Scope]
    user_id: UserId | None
    name: str
    agent_id: AgentId | None = None

    @classmethod
    def of_uid(cls, uid: int) -> Self:
        """Return the principal of a caller over the hub's Unix socket, with all scopes."""
        return cls(f"{OPERATOR}{uid}", Role.ADMIN, ROLE_SCOPES[Role.ADMIN], None, f"uid {uid}")

    @classmethod
    def of_agent(cls, agent_id: AgentId, *, user_id: UserId, name: str) -> Self:
        """Return the principal of an agent with a token: no scopes, and only its user's objects."""
        return cls(f"{AGENT}{agent_id}", None, frozenset(), user_id, name, agent_id)

    @property
    def share(self) -> str | None:
        """Return the name that ``api.door.fair_quota`` counts; None: the request came over a Unix socket."""
        if self.actor.startswith(OPERATOR):
            return None
        if self.agent_id is not None:  # agents share one count per user, apart from the user's own requests
            return f"agents:{self.user_id}"
        return f"user:{self.user_id}" if self.user_id is not None else self.actor

    @property
    def may_all(self) -> bool:
        """True if the principal has every scope and sees all users."""
        return self.user_id is None and self.scopes >= ROLE_SCOPES[Role.ADMIN]

    def may(self, scope: Scope) -> bool:
        """Return whether the principal has *scope*."""
        return scope in self.scopes and (self.user_id is None or scope not in HUB_WIDE)


def least_role(scope: Scope) -> Role:
    """Return the least powerful role that has *scope*."""
    return next(role for role in Role if scope in ROLE_SCOPES[role])


def scopes_of(role: Role, wanted: Collection[Scope] = ()) -> frozenset[Scope]:
    """Return the scopes of a token: those of its role, limited to the requested scopes if any are given."""
    return ROLE_SCOPES[role] & frozenset(wanted) if wanted else ROLE_SCOPES[role]
