"""Issues about gateways: how long one may be disconnected, and agents missing there."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from hub.base.clock import epoch_ms
from hub.base.roles import Scope
from hub.health.issues import Finding, Fix, Severity, error, notice, post, warning
from hub.openclaw import GatewayHealth, GatewayProblem
from storage.coordination import gateway_agents, gateways
from storage.coordination.gateway_agents import GatewayAgentRow
from storage.coordination.gateways import GatewayRow
from storage.store import Store

AWAY_FOR: Final = timedelta(minutes=5)  # a gateway that drains and restarts is connected again by then


_CHECK_S: Final = "hub gateways show {name}"


async def check_gateways(
    store: Store,
    health: Callable[[], Sequence[GatewayHealth]],
    lost_since: Callable[[str], datetime | None],
    now: datetime,
) -> Iterable[Finding]:
    """Find gateways that are unreachable for long, refuse the hub or limit its rights.

    Args:
        health: returns the health of every gateway.
        lost_since: returns the time since when the named gateway is disconnected, or None.
    """
    rows = {row.name: row for row in await store.read(gateways.list_gateways)}
    return [
        found
        for connection in health()
        if connection.name in rows
        for found in _about_gateway(connection, rows[connection.name], lost_since(connection.name), now)
    ]


async def check_gateway_agents(
    store: Store, reply_url: Callable[[], str | None], now: datetime
) -> Iterable[Finding]:
    """Find agents that could not be created at their gateway, or have no reply URL."""
    found: list[Finding] = []
    for row in await store.read(gateways.list_gateways):
        members = await store.read(gateway_agents.list_gateway_agents, row.id)
        found += [_not_made(member, row) for member in members if member.state == gateway_agents.FAILED]
    if reply_url() is None and await store.read(gateway_agents.has_tokens, epoch_ms(now)):
        found.append(
            notice(
                "coordination.no_reply_url",
                "agents at gateways have tokens, but do not know the URL for answers;"
                " their chat messages count as their answers",
                fix="write reply_url of [coordination] in hub.toml",
            )
        )
    return found


def _not_made(agent: GatewayAgentRow, row: GatewayRow) -> Finding:
    return error(
        "gateway.agent_not_made",
        f"agent {agent.agent_name} could not be made at gateway {row.name}: {agent.problem}",
        fix=_CHECK_S.format(name=row.name),
        subject=agent.agent_id,
        user_id=row.user_id,
        fixes=_retry(row, "Try to make it again"),
    )


def _retry(row: GatewayRow, title: str) -> tuple[Fix, ...]:
    """Return the fix that tries now what a gateway refused, or could not be asked."""
    command, path = f"hub gateways reconnect {row.name}", f"/v1/gateways/{row.id}/reconnect"
    return post(title, command, path, Scope.RUN)


def _about_gateway(
    connection: GatewayHealth, row: GatewayRow, lost_since: datetime | None, now: datetime
) -> Iterator[Finding]:
    again = _retry(row, "Connect again")
    about = partial(Finding, subject=row.name, user_id=row.user_id, since=lost_since, fixes=again)
    explanation, fix = _explain(connection.problem, row.name)
    match connection.state:
        case "parked":
            explained = f"gateway {row.name}: {explanation}"
            yield about(Severity.WARNING, "gateway.pairing_needed", explained, fix=fix)
        case "refused":
            explained = f"gateway {row.name} refuses this hub: {explanation}"
            yield about(Severity.ERROR, _kind(connection.problem), explained, fix=fix)
        case "waiting" | "connecting" if lost_since is not None and now - lost_since >= AWAY_FOR:
            minutes = int((now - lost_since).total_seconds() // 60)
            explained = (
                f"gateway {row.name} is away for {minutes} min: {explanation}; messages to its agents wait"
            )
            yield about(Severity.ERROR, "gateway.unreachable", explained, fix=fix)
    if connection.admin_problem is not None and connection.state == "ready":
        explanation, fix = _explain(connection.admin_problem, row.name)
        yield warning(
            "gateway.no_admin_rights",
            f"gateway {row.name}: {explanation}; no agent is created and no soul written there",
            fix=fix,
            subject=row.name,
            user_id=row.user_id,
            fixes=_retry(row, "Ask for them again"),
        )


def _explain(problem: GatewayProblem | None, name: str) -> tuple[str, str]:
    """Return the description of a problem and the step that corrects it."""
    if problem is None:
        return "no connection came about yet", _CHECK_S.format(name=name)
    return problem.message, problem.hint or f"hub gateways reconnect {name} tries it at once"


def _kind(problem: GatewayProblem | None) -> str:
    code = "" if problem is None else problem.code
    if code == "PROTOCOL_MISMATCH":
        return "gateway.other_version"
    return "gateway.credentials_refused" if code.startswith(("AUTH_", "DEVICE_AUTH_")) else "gateway.refused"
