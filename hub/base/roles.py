"""Roles and scopes of operators, and the table that gives the scope required by each route.

Claims of a client about itself are never trusted: a principal comes from the kernel (Unix socket) or from a
token's row. A route that is not in the table is refused for every caller. ``hub routes`` prints the table."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import cache
from typing import Any, Final, NamedTuple, Self

from protocol.coordination import AGENT as AGENT_ACTOR
from protocol.coordination import DEVICE, Method
from protocol.grants import NO_LIMITS, Grant, TokenLimits
from protocol.ids import AgentId, DeviceId, UserId


class Role(StrEnum):
    """Role of an operator; a set of scopes."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


class Scope(StrEnum):
    """Permission for one kind of request."""

    READ = "read"  # look at agents, runs, devices
    ROWS = "rows"  # query approved rows of devices whose owners grant it
    FILES = "files"  # list and read shared files of devices whose owners grant it
    RUN = "run"  # start, stop and pause runs and agents
    REVIEW = "review"  # approve, change and reject items in their owner's name
    ANSWER = "answer"  # answer and withdraw questions in the name of the person who is asked
    DEVICES = "devices"  # approve, rename and revoke devices
    SETTINGS = "settings"  # see and change hub.toml
    AUDIT = "audit"  # read the audit log
    TOKENS = "tokens"  # create and revoke the tokens of operators
    SYSTEM = "system"  # drain, back up, logs, dumps, users


ROLE_SCOPES: Final[Mapping[Role, frozenset[Scope]]] = {
    Role.VIEWER: frozenset({Scope.READ, Scope.ROWS, Scope.FILES}),
    Role.OPERATOR: frozenset(Scope) - {Scope.SETTINGS, Scope.AUDIT, Scope.TOKENS, Scope.SYSTEM},
    Role.ADMIN: frozenset(Scope),
}
# Scopes to act in the name of the owner of the things, or to read them at the owner's device: a token has
# those alone that are named for it.
AT_DEVICES: Final = frozenset({Scope.ROWS, Scope.FILES})  # no page has them, and release 0.2 knows none
IN_NAME_OF_OWNERS: Final = frozenset({*AT_DEVICES, Scope.REVIEW, Scope.ANSWER})
OF_OWNER: Final = frozenset(
    {Scope.READ, Scope.RUN, Scope.REVIEW, Scope.ANSWER}
)  # session of a device's owner
SESSION: Final = "session:"  # prefix of the actor of a browser
OPERATOR: Final = "operator:"  # the same of a caller over a Unix socket
ASSISTANT: Final = "assistant:"  # the same of an assistant there
PRINCIPAL: Final = "principal"  # in a request's state, set by ``api.http.access``; absent on public routes
# Scopes that show or change the whole hub; a principal scoped to one user has none of them.
HUB_WIDE: Final = frozenset({Scope.SETTINGS, Scope.AUDIT, Scope.SYSTEM})


@dataclass(frozen=True)
class Principal:
    """Authenticated caller of a request.

    Attributes:
        actor: name in history and audit: ``operator:UID`` (Unix socket), ``assistant:UID:NAME`` (the same, by
            an assistant; without a name ``assistant:UID``), ``token:ID``, ``agent:ID`` or ``device:ID``.
        role: role of an operator; None: an agent or a device, which has no role.
        scopes: permissions; a subset of those of the role.
        user_id: the user whose devices, agents and runs are visible; None: all users'.
        name: display name.
        agent_id: the agent that calls; None: an operator calls.
        limits: the only devices, tables and shared folders that are visible.
    """

    actor: str
    role: Role | None
    scopes: frozenset[Scope]
    user_id: UserId | None
    name: str
    agent_id: AgentId | None = None
    limits: TokenLimits = NO_LIMITS

    @classmethod
    def of_uid(cls, uid: int) -> Self:
        """Return the principal of a caller over the hub's Unix socket, with all scopes."""
        return cls(f"{OPERATOR}{uid}", Role.ADMIN, ROLE_SCOPES[Role.ADMIN], None, f"uid {uid}")

    @classmethod
    def of_agent(cls, agent_id: AgentId, *, user_id: UserId, name: str) -> Self:
        """Return the principal of an agent with a token: no scopes, and only its user's objects."""
        return cls(f"{AGENT_ACTOR}{agent_id}", None, frozenset(), user_id, name, agent_id)

    @classmethod
    def of_device(cls, device_id: DeviceId, *, user_id: UserId) -> Self:
        """Return the principal of a connected device: no scopes, and only its user's objects."""
        return cls(f"{DEVICE}{device_id}", None, frozenset(), user_id, device_id)

    @property
    def share(self) -> str | None:
        """Return the name that ``Shares`` counts; None: the request came over a Unix socket."""
        if self.actor.startswith((OPERATOR, ASSISTANT)):
            return None
        if self.agent_id is not None:  # agents share one count per user, apart from the user's own requests
            return f"agents:{self.user_id}"
        return f"user:{self.user_id}" if self.user_id is not None else self.actor

    @property
    def may_all(self) -> bool:
        """True if the principal may do everything at the hub in its own name, and sees all users."""
        is_limited = self.user_id is not None or self.limits.kinds
        return not is_limited and self.scopes >= scopes_of(Role.ADMIN)

    def may(self, scope: Scope) -> bool:
        """Return whether the principal has *scope*."""
        return scope in self.scopes and (self.user_id is None or scope not in HUB_WIDE)


def least_role(scope: Scope) -> Role:
    """Return the least powerful role that has *scope*."""
    return next(role for role in Role if scope in ROLE_SCOPES[role])


def scopes_of(role: Role, requested: Collection[Scope] = ()) -> frozenset[Scope]:
    """Return the scopes of a token: the requested ones of its role; without any, those in its own name."""
    return ROLE_SCOPES[role] & frozenset(requested) if requested else ROLE_SCOPES[role] - IN_NAME_OF_OWNERS


def creation_of(scope: Scope) -> str:
    """Return a hint with the command that creates a token with *scope*, of the least role that has it."""
    named = f" --scope read --scope {scope}" if scope in IN_NAME_OF_OWNERS else ""
    return f"the least role that has it: hub token create --role {least_role(scope)}{named}"


class Unscoped(Enum):
    """Needs of routes that no scope permits."""

    PUBLIC = "public"  # answers without a token
    AGENT = "agent"  # for an agent with a token of its own


PUBLIC: Final = Unscoped.PUBLIC
AGENT: Final = Unscoped.AGENT
Need = Scope | Unscoped  # requirement of a row of the table


class RouteKey(NamedTuple):
    """An HTTP method and the template of a path, as the routers spell them."""

    method: str
    path: str


ROUTES: Final[dict[RouteKey, Need]] = {}  # each resource adds its rows
AUDITED: Final[dict[RouteKey, str]] = {}  # event in the audit log of each route; empty: it changes nothing
# Kinds of limits that each route respects; it is refused to a caller that has limits of another kind.
LIMITED: Final[dict[RouteKey, frozenset[str]]] = {}
BY_DEVICE: Final = ("devices",)
BY_ALL: Final = TokenLimits.__struct_fields__

# In addition to ``HUB_WIDE``: routes that show data of all users, refused to a caller scoped to one user.
HUB_WIDE_ROUTES: Final = frozenset({RouteKey("GET", "/metrics"), RouteKey("GET", "/v1/metrics/series")})


class DeviceNeed(NamedTuple):
    """Row of a request of devices: its objects, the grant that it needs, its event as in ``AUDITED``."""

    of: str
    grant: Grant | None
    event: str


DEVICE_REQUESTS: Final[dict[Method, DeviceNeed]] = {}  # each resource adds its rows


_PARAMETER: Final = "{}"
_ROWS: Final = ""  # in a node of the tree: the rows whose path ends there, by method; no part is empty there


@cache
def _tree() -> dict[str, Any]:
    """Return the table by the parts of its paths; a row of GET also answers HEAD."""
    tree: dict[str, Any] = {}
    for asked in ROUTES:
        node = tree
        for part in asked.path[1:].split("/"):
            node = node.setdefault(_PARAMETER if part[0] == "{" else part, {})
        also = ("HEAD",) if asked.method == "GET" else ()
        node.setdefault(_ROWS, {}).update(dict.fromkeys((asked.method, *also), asked))
    return tree


def declare(method: str, path: str, need: Need, event: str, within: Collection[str] = ()) -> None:
    """Add a route to the tables; called when the class of a resource is defined."""
    ROUTES[RouteKey(method, path)] = need
    AUDITED[RouteKey(method, path)] = event
    LIMITED[RouteKey(method, path)] = frozenset(within)
    _tree.cache_clear()


def declare_request(method: Method, need: DeviceNeed) -> None:
    """Add a request of devices to its table, in the order of the protocol."""
    rows = DEVICE_REQUESTS | {method: need}
    DEVICE_REQUESTS.clear()
    DEVICE_REQUESTS.update((method, rows[method]) for method in Method if method in rows)


def rows_of(path: str) -> dict[str, RouteKey]:
    """Return the rows that match a path, by method; one whose last parts are no parameters goes first.

    A path that has a text wherever another one has a text, and in more places, hides the other one.
    """
    root, *parts = path.split("/")
    nodes = {} if root else {0: _tree()}  # by the places of their texts, as bits
    for place, part in enumerate(parts):
        nodes = {
            texts | bit: node[key]
            for key, bit in ((_PARAMETER, 0), (part, 1 << place))
            for texts, node in nodes.items()
            if part and key in node
        }
    found = {texts: node[_ROWS] for texts, node in nodes.items() if _ROWS in node}
    hidden = {texts for texts in found for other in found if texts != other and texts & other == texts}
    rows = [found[texts] for texts in found if texts not in hidden]
    return {method: asked for row in rows for method, asked in row.items()}


def may_ask(principal: Principal | None, asked: RouteKey) -> bool:
    """Return whether *principal* may call the route of the row *asked*; None: a caller without a token."""
    need = ROUTES[asked]
    if principal is None or need is PUBLIC:
        return need is PUBLIC
    if need is AGENT:
        return principal.agent_id is not None
    is_hub_wide = need in HUB_WIDE or asked in HUB_WIDE_ROUTES
    if need not in principal.scopes or (is_hub_wide and principal.user_id is not None):
        return False
    return principal.limits.kinds <= LIMITED[asked]


def roles_that_may(need: Need) -> tuple[Role, ...]:
    """Return the roles whose scopes permit the route; empty for routes of agents."""
    return tuple(role for role in Role if need is PUBLIC or need in ROLE_SCOPES[role])
