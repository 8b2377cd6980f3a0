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

ROUTES: Final[dict[Asked, Need]] = {
    # system
    Asked("GET", "/healthz"): PUBLIC,
    Asked("GET", "/readyz"): PUBLIC,
    Asked("GET", "/metrics"): _S.READ,
    Asked("GET", "/docs"): _S.READ,
    Asked("GET", "/docs/{topic}"): _S.READ,
    Asked("GET", "/v1/status"): _S.READ,
    Asked("GET", "/v1/routes"): _S.READ,
    Asked("GET", "/v1/openapi.json"): _S.READ,
    Asked("GET", "/v1/events"): _S.READ,
    # agents and their schedules
    Asked("GET", "/v1/agents"): _S.READ,
    Asked("GET", "/v1/agents/{name}"): _S.READ,
    Asked("GET", "/v1/agents/{name}/overview"): _S.READ,
    Asked("GET", "/v1/agents/{name}/next"): _S.READ,
    Asked("GET", "/v1/agents/{name}/fires"): _S.READ,
    Asked("GET", "/v1/agents/{name}/slots"): _S.READ,
    Asked("GET", "/v1/agents/{name}/status"): _S.READ,
    Asked("PATCH", "/v1/agents/{name}/status"): _S.RUN,
    Asked("GET", "/v1/agents/{name}/history"): _S.READ,
    Asked("GET", "/v1/agents/{name}/as/{vocabulary}"): _S.READ,
    Asked("PATCH", "/v1/agents/{name}/as/{vocabulary}"): _S.RUN,
    Asked("POST", "/v1/agents/{name}/terminate"): _S.RUN,
    Asked("POST", "/v1/agents"): _S.DEVICES,
    Asked("PATCH", "/v1/agents/{name}"): _S.DEVICES,
    Asked("DELETE", "/v1/agents/{name}"): _S.DEVICES,
    Asked("POST", "/v1/agents/{name}/validate"): _S.RUN,
    Asked("GET", "/v1/templates"): _S.READ,
    Asked("GET", "/v1/templates/{name}"): _S.READ,
    Asked("PUT", "/v1/templates/{name}"): _S.SETTINGS,
    Asked("DELETE", "/v1/templates/{name}"): _S.SETTINGS,
    Asked("POST", "/v1/templates/{name}/validate"): _S.SETTINGS,
    Asked("POST", "/v1/agents/{name}/pause"): _S.RUN,
    Asked("POST", "/v1/agents/{name}/resume"): _S.RUN,
    Asked("POST", "/v1/agents/{name}/runs"): _S.RUN,
    Asked("POST", "/v1/agents/{name}/backfill"): _S.RUN,
    Asked("POST", "/v1/agents/{name}/estimate"): _S.RUN,
    Asked("GET", "/v1/agents/{name}/config"): _S.READ,
    Asked("PUT", "/v1/agents/{name}/config"): _S.RUN,
    Asked("PATCH", "/v1/agents/{name}/config"): _S.RUN,
    Asked("GET", "/v1/agents/{name}/config/{key}"): _S.READ,
    Asked("PUT", "/v1/agents/{name}/config/{key}"): _S.RUN,
    Asked("DELETE", "/v1/agents/{name}/config/{key}"): _S.RUN,
    Asked("GET", "/v1/agents/{name}/config-history"): _S.READ,
    Asked("POST", "/v1/agents/{name}/config-revert"): _S.RUN,
    Asked("GET", "/v1/agents/{name}/capabilities"): _S.READ,
    Asked("PUT", "/v1/agents/{name}/capabilities/{capability}/{version}"): _S.RUN,
    Asked("DELETE", "/v1/agents/{name}/capabilities/{capability}"): _S.RUN,
    Asked("DELETE", "/v1/agents/{name}/capabilities/{capability}/{version}"): _S.RUN,
    Asked("GET", "/v1/agents/{name}/checkpoints"): _S.READ,
    Asked("GET", "/v1/agents/{name}/checkpoints/{scope}"): _S.READ,
    Asked("PUT", "/v1/agents/{name}/checkpoints/{scope}"): _S.RUN,
    Asked("DELETE", "/v1/agents/{name}/checkpoints/{scope}"): _S.RUN,
    Asked("GET", "/v1/agents/{name}/metrics"): _S.READ,
    Asked("GET", "/v1/agents/{name}/metrics/{metric}"): _S.READ,
    Asked("GET", "/v1/costs"): _S.READ,
    # runs
    Asked("GET", "/v1/runs"): _S.READ,
    Asked("GET", "/v1/runs/{run_id}"): _S.READ,
    Asked("GET", "/v1/runs/{run_id}/events"): _S.READ,
    Asked("POST", "/v1/runs/{run_id}/cancel"): _S.RUN,
    Asked("POST", "/v1/runs/{run_id}/pause"): _S.RUN,
    Asked("POST", "/v1/runs/{run_id}/resume"): _S.RUN,
    Asked("POST", "/v1/runs/{run_id}/rerun"): _S.RUN,
    # gateways, and agents that live there
    Asked("GET", "/v1/gateways"): _S.READ,
    Asked("GET", "/v1/gateways/{gateway}"): _S.READ,
    Asked("POST", "/v1/gateways/{gateway}/reconnect"): _S.RUN,
    Asked("POST", "/v1/gateways/{gateway}/agents"): _S.DEVICES,
    # connectors
    Asked("GET", "/v1/connectors"): _S.READ,
    Asked("GET", "/v1/connectors/{connector}"): _S.READ,
    Asked("POST", "/v1/connectors/{connector}/test"): _S.RUN,
    Asked("POST", "/v1/connectors/{connector}/retry"): _S.RUN,
    Asked("POST", "/v1/connectors/{connector}/sign-in"): _S.DEVICES,
    Asked("GET", "/v1/connectors/{connector}/sign-in/{sign_in}"): _S.DEVICES,
    Asked("POST", "/v1/connectors/{connector}/sign-in/answer"): _S.DEVICES,
    Asked("DELETE", "/v1/connectors/{connector}/grant"): _S.DEVICES,
    # boards, their agents, and what they remember
    Asked("GET", "/v1/boards"): _S.READ,
    Asked("POST", "/v1/boards"): _S.DEVICES,
    Asked("GET", "/v1/boards/{board}"): _S.READ,
    Asked("PATCH", "/v1/boards/{board}"): _S.DEVICES,
    Asked("DELETE", "/v1/boards/{board}"): _S.DEVICES,
    Asked("GET", "/v1/boards/{board}/agents"): _S.READ,
    Asked("POST", "/v1/boards/{board}/agents"): _S.DEVICES,
    Asked("DELETE", "/v1/boards/{board}/agents/{agent}"): _S.DEVICES,
    Asked("PUT", "/v1/boards/{board}/lead"): _S.DEVICES,
    Asked("GET", "/v1/boards/{board}/agents/{agent}/soul"): _S.READ,
    Asked("PUT", "/v1/boards/{board}/agents/{agent}/soul"): _S.RUN,
    Asked("GET", "/v1/boards/{board}/agents/{agent}/soul/history"): _S.READ,
    Asked("GET", "/v1/boards/{board}/agents/{agent}/soul/history/{seq}"): _S.READ,
    Asked("GET", "/v1/boards/{board}/memory"): _S.READ,
    Asked("POST", "/v1/boards/{board}/memory"): _S.RUN,
    Asked("DELETE", "/v1/boards/{board}/memory/{memory_id}"): _S.RUN,
    Asked("GET", "/v1/agents/{name}/tokens"): _S.DEVICES,
    Asked("POST", "/v1/agents/{name}/tokens"): _S.DEVICES,
    Asked("DELETE", "/v1/agent-tokens/{token_id}"): _S.DEVICES,
    Asked("POST", "/v1/boards/{board}/agents/{agent}/nudge"): _S.RUN,
    Asked("POST", "/v1/boards/{board}/lead/ensure"): _S.RUN,
    Asked("POST", "/v1/boards/{board}/lead/message"): _S.RUN,
    Asked("GET", "/v1/broadcasts"): _S.READ,
    Asked("POST", "/v1/broadcasts"): _S.RUN,
    Asked("GET", "/v1/broadcasts/{broadcast_id}"): _S.READ,
    Asked("POST", "/v1/broadcasts/{broadcast_id}/resume"): _S.RUN,
    Asked("GET", "/v1/messages"): _S.READ,
    Asked("GET", "/v1/messages/{message_id}"): _S.READ,
    Asked("POST", "/v1/messages/{message_id}/cancel"): _S.RUN,
    Asked("POST", "/v1/messages/{message_id}/retry"): _S.RUN,
    Asked("POST", "/v1/boards/{board}/ask-user"): _S.RUN,
    Asked("GET", "/v1/questions"): _S.READ,
    Asked("GET", "/v1/questions/{question_id}"): _S.READ,
    Asked("POST", "/v1/questions/{question_id}/answer"): _S.RUN,
    Asked("POST", "/v1/questions/{question_id}/withdraw"): _S.RUN,
    # what an agent asks for itself
    Asked("GET", "/v1/agent"): AGENT,
    Asked("GET", "/v1/agent/boards"): AGENT,
    Asked("GET", "/v1/agent/boards/{board}"): AGENT,
    Asked("GET", "/v1/agent/boards/{board}/agents/{agent}/soul"): AGENT,
    Asked("PUT", "/v1/agent/boards/{board}/agents/{agent}/soul"): AGENT,
    Asked("GET", "/v1/agent/boards/{board}/agents/{agent}/soul/history"): AGENT,
    Asked("GET", "/v1/agent/boards/{board}/agents/{agent}/soul/history/{seq}"): AGENT,
    Asked("GET", "/v1/agent/boards/{board}/memory"): AGENT,
    Asked("POST", "/v1/agent/boards/{board}/memory"): AGENT,
    Asked("POST", "/v1/agent/boards/{board}/agents/{agent}/nudge"): AGENT,
    Asked("GET", "/v1/agent/messages/{message_id}"): AGENT,
    Asked("POST", "/v1/agent/boards/{board}/lead/ensure"): AGENT,
    Asked("POST", "/v1/agent/boards/{board}/lead/message"): AGENT,
    Asked("GET", "/v1/agent/broadcasts"): AGENT,
    Asked("POST", "/v1/agent/broadcasts"): AGENT,
    Asked("GET", "/v1/agent/broadcasts/{broadcast_id}"): AGENT,
    Asked("POST", "/v1/agent/broadcasts/{broadcast_id}/resume"): AGENT,
    Asked("POST", "/v1/agent/boards/{board}/ask-user"): AGENT,
    Asked("GET", "/v1/agent/questions/{question_id}"): AGENT,
    Asked("POST", "/v1/agent/questions/{question_id}/answer"): AGENT,
    # items, and what their owners said
    Asked("GET", "/v1/items"): _S.READ,
    # devices, and how they come in
    Asked("GET", "/v1/devices"): _S.READ,
    Asked("GET", "/v1/devices/{device_id}"): _S.READ,
    Asked("PATCH", "/v1/devices/{device_id}"): _S.DEVICES,
    Asked("POST", "/v1/devices/{device_id}/revoke"): _S.DEVICES,
    Asked("POST", "/v1/devices/{device_id}/grant"): _S.DEVICES,
    Asked("POST", "/v1/devices/{device_id}/kick"): _S.DEVICES,
    Asked("POST", "/v1/devices/{device_id}/resync"): _S.DEVICES,
    Asked("GET", "/v1/pairings"): _S.DEVICES,
    Asked("POST", "/v1/pairings/approve"): _S.DEVICES,
    Asked("POST", "/v1/pairings/{pairing_id}/deny"): _S.DEVICES,
    Asked("GET", "/v1/invitations"): _S.DEVICES,
    Asked("POST", "/v1/invitations"): _S.DEVICES,
    Asked("DELETE", "/v1/invitations/{invitation_id}"): _S.DEVICES,
    Asked("GET", "/v1/tokens"): _S.DEVICES,
    Asked("POST", "/v1/tokens"): _S.DEVICES,
    Asked("DELETE", "/v1/tokens/{token_id}"): _S.DEVICES,
    # operators
    Asked("GET", "/v1/operator-tokens"): _S.TOKENS,
    Asked("POST", "/v1/operator-tokens"): _S.TOKENS,
    Asked("DELETE", "/v1/operator-tokens/{token_id}"): _S.TOKENS,
    # settings
    Asked("GET", "/v1/config"): _S.SETTINGS,
    Asked("PATCH", "/v1/config"): _S.SETTINGS,
    Asked("GET", "/v1/config/schema"): _S.READ,
    Asked("POST", "/v1/config/check"): _S.SETTINGS,
    Asked("POST", "/v1/reload"): _S.SETTINGS,
    # what an operator looks at when something is wrong
    Asked("GET", "/v1/logs"): _S.SYSTEM,
    Asked("GET", "/v1/debug/dump"): _S.SYSTEM,
    Asked("GET", "/v1/audit"): _S.AUDIT,
    Asked("GET", "/v1/audit/verify"): _S.AUDIT,
    Asked("GET", "/v1/issues"): _S.READ,
    Asked("POST", "/v1/drain"): _S.SYSTEM,
    Asked("POST", "/v1/backups"): _S.SYSTEM,
    # the keys that seal sign-ins
    Asked("GET", "/v1/keys"): _S.SYSTEM,
    Asked("POST", "/v1/keys/rotate"): _S.SYSTEM,
    Asked("DELETE", "/v1/keys/{key_id}"): _S.SYSTEM,
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
    """Enter a route in the table; its noun does that when its routes are built."""
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
