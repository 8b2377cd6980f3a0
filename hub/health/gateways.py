"""Checks of gateways that the hub cannot use, and the steps that correct it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from hub.clock import epoch_ms
from hub.health.issues import Check, Finding, Severity, error, notice, warning
from hub.openclaw import GatewayHealth, GatewayState, Problem
from storage.coordination import gateway_agents, gateways
from storage.coordination.gateway_agents import GatewayAgentRow
from storage.coordination.gateways import GatewayRow
from storage.store import Store

AWAY_FOR: Final = timedelta(minutes=5)  # a gateway that drains and restarts is connected again by then

_LOOK: Final = "hub gateways show {name}"


def check_gateways(
    store: Store,
    health: Callable[[], Sequence[GatewayHealth]],
    lost_since: Callable[[str], datetime | None],
) -> Check:
    """Return the check for gateways that are unreachable for long, refuse the hub or limit its rights.

    Args:
        health: returns the health of every gateway.
        lost_since: returns the time since when the named gateway is disconnected, or None.
    """

    async def look(now: datetime) -> Iterable[Finding]:
        rows = {row.name: row for row in await store.read(gateways.list_gateways)}
        return [
            found
            for one in health()
            if one.name in rows
            for found in _about(one, rows[one.name], lost_since(one.name), now)
        ]

    return look


def check_gateway_agents(store: Store, reply_url: Callable[[], str | None]) -> Check:
    """Return the check for agents that could not be created at their gateway, or have no reply URL."""

    async def look(now: datetime) -> Iterable[Finding]:
        found: list[Finding] = []
        for row in await store.read(gateways.list_gateways):
            members = await store.read(gateway_agents.list_gateway_agents, row.id)
            found += [_not_made(one, row) for one in members if one.state == gateway_agents.FAILED]
        if reply_url() is None and await store.read(gateway_agents.has_tokens, epoch_ms(now)):
            found.append(
                notice(
                    "coordination.no_reply_url",
                    "agents at gateways have tokens, but are not told where to answer;"
                    " what they say in their chat counts as their answer",
                    fix="write reply_url of [coordination] in hub.toml",
                )
            )
        return found

    return look


def _not_made(agent: GatewayAgentRow, row: GatewayRow) -> Finding:
    return error(
        "gateway.agent_not_made",
        f"agent {agent.agent_name} could not be made at gateway {row.name}: {agent.problem}",
        fix=_LOOK.format(name=row.name),
        subject=agent.agent_id,
        user_id=row.user_id,
    )


def _about(
    one: GatewayHealth, row: GatewayRow, lost_since: datetime | None, now: datetime
) -> Iterator[Finding]:
    about = partial(Finding, subject=row.name, user_id=row.user_id, since=lost_since)
    told, fix = _told(one.problem, row.name)
    match one.state:
        case GatewayState.PARKED:
            explained = f"gateway {row.name}: {told}"
            yield about(Severity.WARNING, "gateway.pairing_needed", explained, fix=fix)
        case GatewayState.REFUSED:
            explained = f"gateway {row.name} does not let us in: {told}"
            yield about(Severity.ERROR, _kind(one.problem), explained, fix=fix)
        case GatewayState.WAITING | GatewayState.CONNECTING if (
            lost_since is not None and now - lost_since >= AWAY_FOR
        ):
            minutes = int((now - lost_since).total_seconds() // 60)
            explained = f"gateway {row.name} is away for {minutes} min: {told}; messages to its agents wait"
            yield about(Severity.ERROR, "gateway.unreachable", explained, fix=fix)
    if one.admin_problem is not None and one.state is GatewayState.READY:
        told, fix = _told(one.admin_problem, row.name)
        yield warning(
            "gateway.no_admin_rights",
            f"gateway {row.name}: {told}; no agent is made and no soul written there",
            fix=fix,
            subject=row.name,
            user_id=row.user_id,
        )


def _told(problem: Problem | None, name: str) -> tuple[str, str]:
    """Return the description of a problem and the step that corrects it."""
    if problem is None:
        return "no connection came about yet", _LOOK.format(name=name)
    return problem.message, problem.hint or f"hub gateways reconnect {name} tries it at once"


def _kind(problem: Problem | None) -> str:
    code = "" if problem is None else problem.code
    if code == "PROTOCOL_MISMATCH":
        return "gateway.other_version"
    return "gateway.credentials_refused" if code.startswith(("AUTH_", "DEVICE_AUTH_")) else "gateway.refused"
