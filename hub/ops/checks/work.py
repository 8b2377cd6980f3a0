"""Agents and schedules that do not work, and what the hub holds back."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Final

from hub.clock import from_epoch_ms
from hub.ops.issues import Check, Finding, error, warning
from hub.runs.budget import Reached
from storage.store import AgentRow, Store, agents, schedules

_WHY: Final = {
    schedules.FAILURES: "its runs failed again and again",
    schedules.BROKEN: "it cannot be read",
}


def check_schedules(store: Store) -> Check:
    """Schedules that paused themselves."""

    async def look(now: datetime) -> Iterable[Finding]:
        owners = {row.id: row.user_id for row in await store.read(agents.list_agents)}
        return [
            error(
                "schedule.paused",
                f"the schedule of agent {row.agent_name} is paused: {_WHY[row.paused_reason]}",
                fix=f"hub runs ls --agent {row.agent_name}, then hub agents resume {row.agent_name}",
                subject=row.id,
                user_id=owners[row.agent_id],
            )
            for row in await store.read(schedules.list_schedules)
            if not row.enabled and row.paused_reason in _WHY and row.agent_id in owners
        ]

    return look


def check_agents(store: Store, reached: Callable[[], Iterable[Reached]] = tuple) -> Check:
    """Agents whose quota is used up, or that report a fault. Those that a budget holds are told with that."""

    async def look(now: datetime) -> Iterable[Finding]:
        rows = await store.read(agents.list_agents)
        budgets = list(reached())
        return [
            found
            for row in rows
            for found in _about_agent(row)
            if found.id != "agent.exhausted" or not any(one.holds(row.id) for one in budgets)
        ]

    return look


def _about_agent(row: AgentRow) -> Iterator[Finding]:
    if row.availability == "exhausted":
        again = ""
        if row.recovery_at is not None:
            again = f"; it is asked again at {from_epoch_ms(row.recovery_at):%Y-%m-%d %H:%M} UTC"
        yield warning(
            "agent.exhausted",
            f"the model's quota for agent {row.name} is used up, and its runs wait{again}",
            fix=f"see to the plan at the provider; hub agents resume {row.name} asks again at once",
            subject=row.id,
            user_id=row.user_id,
        )
    if row.health != "ok":
        yield error(
            "agent.failing",
            f"agent {row.name} reports a fault, so nothing is started for it",
            fix=f"hub agents {row.name} shows its last run",
            subject=row.id,
            user_id=row.user_id,
        )


def check_budgets(store: Store, reached: Callable[[], Iterable[Reached]]) -> Check:
    """Budgets of days that are used up, so that runs wait for the next one."""

    async def look(now: datetime) -> Iterable[Finding]:
        owners = {row.id: row for row in await store.read(agents.list_agents)}
        found = []
        for one in reached():
            agent = None if one.agent_id is None else owners.get(one.agent_id)
            whose = "" if agent is None else f"agent {agent.name}: "
            name = "NAME" if agent is None else agent.name
            until = "" if one.until is None else f"; runs go on at {one.until:%Y-%m-%d %H:%M} UTC"
            found.append(
                warning(
                    "budget.reached",
                    f"{whose}{one.told}{until}",
                    fix=f"raise it in hub.toml, then hub agents resume {name}; hub costs says who spent it",
                    subject=one.setting if agent is None else agent.id,
                    user_id=None if agent is None else agent.user_id,
                )
            )
        return found

    return look


def check_hold(held_back: Callable[[datetime], str | None]) -> Check:
    """Whether the hub holds work back because it died again and again."""

    async def look(now: datetime) -> Iterable[Finding]:
        told = held_back(now)
        if told is None:
            return []
        fix = "the log of the starts before says what it died of; a run by hand starts at once"
        return [warning("hub.held", f"schedules are {told}", fix=fix)]

    return look
