"""Table of the REST routes and the requests of devices, with the scope that each needs.

A route that is not in the table is refused for every caller. ``hub routes`` prints the table.
"""

from collections.abc import Mapping
from enum import Enum
from functools import cache
from typing import Any, Final, NamedTuple

from hub.api.door.roles import ROLE_SCOPES, Principal, Role, Scope
from protocol.coordination import Method


class Public(Enum):
    """Need of a route that answers without a token."""

    PUBLIC = "public"


PUBLIC: Final = Public.PUBLIC


class OfAgents(Enum):
    """Need of a route that only an agent with a token of its own may call; no scope permits it."""

    AGENT = "agent"


AGENT: Final = OfAgents.AGENT
Need = Scope | Public | OfAgents  # requirement of a row of the table


class Asked(NamedTuple):
    """An HTTP method and the template of a path, as the routers spell them."""

    method: str
    path: str


ROUTES: Final[dict[Asked, Need]] = {}  # each noun adds its rows

# In addition to ``HUB_WIDE``: routes that show data of all users, refused to a caller scoped to one user.
HUB_WIDE_ROUTES: Final = frozenset({Asked("GET", "/metrics")})

# Requests that only a device may send, over its connection, with the objects that each applies to.
DEVICE_REQUESTS: Final[Mapping[str, str]] = {
    Method.AGENTS_LIST: "its own agents",
    Method.AGENTS_GET: "its own agents",
    Method.AGENTS_CREATE: "agents on itself",
    Method.AGENTS_UPDATE: "its own agents",
    Method.AGENTS_DELETE: "its own agents",
    Method.STATUS_GET: "its own agents",
    Method.STATUS_SET: "its own agents",
    Method.RUNS_START: "its own agents",
    Method.RUNS_CANCEL: "its own runs",
    Method.RUNS_LIST: "its own runs",
    Method.RUNS_GET: "its own runs",
    Method.RUNS_REPORT: "its own runs",
    Method.CAPABILITIES_LIST: "its own agents",
    Method.CAPABILITIES_PUT: "its own agents",
    Method.CAPABILITIES_REMOVE: "its own agents",
    Method.CHECKPOINTS_GET: "its own agents",
    Method.CHECKPOINTS_PUT: "its own agents",
    Method.CHECKPOINTS_CLEAR: "its own agents",
    Method.LOCKS_ACQUIRE: "its own agents",
    Method.LOCKS_RENEW: "its own agents",
    Method.LOCKS_RELEASE: "its own agents",
    Method.LOCKS_LIST: "its own agents",
    Method.BOARDS_LIST: "its user's boards",
    Method.MEMORY_LIST: "its user's boards",
    Method.MEMORY_ADD: "its user's boards",
    Method.MESSAGES_LIST: "its own agents",
    Method.MESSAGES_ANSWER: "its own agents",
    Method.MESSAGES_NUDGE: "its user's boards",
    Method.QUESTIONS_LIST: "its user's questions",
    Method.QUESTIONS_ASK: "its user's boards",
    Method.QUESTIONS_ANSWER: "its user's questions",
    Method.REVIEW_REPORT: "its own items",
    Method.METRICS_REPORT: "its own agents",
    Method.METRICS_QUERY: "its own agents",
    Method.CONFIG_GET: "its own agents",
    Method.CONFIG_SET: "its own agents",
    Method.CONFIG_UNSET: "its own agents",
    Method.SUBSCRIBE: "its own agents and runs",
    Method.UNSUBSCRIBE: "its own agents and runs",
    Method.KEYS_ROTATE: "its own key",
    Method.SIGN_INS_ANSWER: "sign-ins begun at it",
}


_PARAMETER: Final = "{}"
_ROWS: Final = ""  # in a node of the tree: the rows whose path ends there, by method; no part is empty there


@cache
def _tree() -> dict[str, Any]:
    """Return the table by the parts of its paths."""
    tree: dict[str, Any] = {}
    for asked in ROUTES:
        node = tree
        for part in asked.path[1:].split("/"):
            node = node.setdefault(_PARAMETER if part[0] == "{" else part, {})
        node.setdefault(_ROWS, {})[asked.method] = asked
    return tree


def _rows(path: str) -> list[dict[str, Asked]]:
    """Return the rows that match a path, by method; first those without a parameter where others have one."""
    root, *parts = path.split("/")
    nodes = [] if root else [_tree()]
    for part in parts:
        nodes = [node[key] for node in nodes for key in (part, _PARAMETER) if part and key in node]
    return [node[_ROWS] for node in nodes if _ROWS in node]


def declare(method: str, path: str, need: Need) -> None:
    """Add a route to the table; called when the class of a noun is defined."""
    ROUTES[Asked(method, path)] = need
    _tree.cache_clear()


def route_of(method: str, path: str) -> Asked | None:
    """Return the row that matches a request, or None."""
    return next((rows[method] for rows in _rows(path) if method in rows), None)


def methods_of(path: str) -> tuple[str, ...]:
    """Return the HTTP methods of the rows with this path; empty: it is unknown."""
    return tuple(method for rows in _rows(path) for method in rows)


def parameters_in(asked: Asked, path: str) -> dict[str, str]:
    """Return the path parameters of a request for *path*, which matches the row *asked*."""
    parts = zip(asked.path.split("/"), path.split("/"), strict=True)
    return {template[1:-1]: part for template, part in parts if template[:1] == "{"}


def may_ask(principal: Principal, asked: Asked) -> bool:
    """Return whether *principal* may call the route of the row *asked*."""
    need = ROUTES[asked]
    if need is AGENT:
        return principal.agent_id is not None
    is_narrow = principal.user_id is not None and asked in HUB_WIDE_ROUTES
    return need is PUBLIC or (principal.may(need) and not is_narrow)


def roles_that_may(need: Need) -> tuple[Role, ...]:
    """Return the roles whose scopes permit the route; empty for routes of agents."""
    return tuple(role for role in Role if need is PUBLIC or need in ROLE_SCOPES[role])
