"""The one table of what may be asked, and which scope it needs: REST routes and requests of devices.

A route that is not in it is refused, whoever asks. ``hub routes`` prints it.
"""

import re
from collections.abc import Mapping
from enum import Enum
from functools import cache
from typing import Final, NamedTuple

from hub.api.door.roles import ROLE_SCOPES, Principal, Role, Scope
from protocol.coordination import Method


class Public(Enum):
    """Asked by anybody who may reach the listener, without a token."""

    PUBLIC = "public"


PUBLIC: Final = Public.PUBLIC


class OfAgents(Enum):
    """Asked by an agent with a token of its own, and by nobody else: no scope opens it."""

    AGENT = "agent"


AGENT: Final = OfAgents.AGENT
Need = Scope | Public | OfAgents  # what a row of the table asks for


class Asked(NamedTuple):
    """An HTTP method and the template of a path, as the routers spell them."""

    method: str
    path: str


_S = Scope

# The nouns enter their own rows.
ROUTES: Final[dict[Asked, Need]] = {
    Asked("GET", "/metrics"): _S.READ,
    Asked("GET", "/docs"): _S.READ,
    Asked("GET", "/docs/{topic}"): _S.READ,
    Asked("GET", "/v1/openapi.json"): _S.READ,
}

# Beside the scopes of ``HUB_WIDE``: what tells of everybody, and so nothing to who sees one user only.
HUB_WIDE_ROUTES: Final = frozenset({Asked("GET", "/metrics")})

# What a device may ask for over its connection; nobody but a device can. The text says of what.
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


class _Template(NamedTuple):
    pattern: re.Pattern[str]
    path: str


def _template(path: str) -> _Template:
    parts = re.split(r"\{\w+\}", path)
    return _Template(re.compile("[^/]+".join(map(re.escape, parts))), path)


@cache
def _templates() -> list[_Template]:
    """Return the paths of the table. One without parameters goes before one that would take it as a name."""
    paths = sorted({asked.path for asked in ROUTES}, key=lambda path: path.count("{"))
    return [_template(path) for path in paths]


def declare(method: str, path: str, need: Need) -> None:
    """Enter a route in the table; a noun does that when its class is defined."""
    ROUTES[Asked(method, path)] = need
    _templates.cache_clear()


def route_of(method: str, path: str) -> Asked | None:
    """The row that a request falls under; None: it stands in no row."""
    for template in _templates():
        if template.pattern.fullmatch(path):
            asked = Asked(method, template.path)
            if asked in ROUTES:
                return asked
    return None


def may_ask(principal: Principal, asked: Asked) -> bool:
    """Whether *principal* may ask what stands in the row *asked*."""
    need = ROUTES[asked]
    if need is AGENT:
        return principal.agent_id is not None
    is_narrow = principal.user_id is not None and asked in HUB_WIDE_ROUTES
    return need is PUBLIC or (principal.may(need) and not is_narrow)


def roles_that_may(need: Need) -> tuple[Role, ...]:
    """The roles whose scopes are enough; none for what agents ask."""
    return tuple(role for role in Role if need is PUBLIC or need in ROLE_SCOPES[role])
