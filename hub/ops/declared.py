"""The agents of hub.toml as the rows keep them: seconds become milliseconds, defaults their values."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from hub.ops.agent_settings import AgentSettings
from hub.ops.schedule_settings import ScheduleTable
from hub.ops.settings import Settings
from storage.store import DeclaredAgent, DeclaredSchedule, ModelUse, Redacted

NANOS: Final = 1_000_000_000  # of a US dollar


def declared_agents(settings: Settings) -> list[DeclaredAgent]:
    """What the agents of hub.toml are in the rows."""
    run_wall_s, patterns = settings.limits.run_wall_s, settings.redaction.patterns
    return [declared_agent(agent, run_wall_s=run_wall_s, patterns=patterns) for agent in settings.agents]


def declared_agent(
    agent: AgentSettings, *, run_wall_s: float, patterns: Mapping[str, str] = MappingProxyType({})
) -> DeclaredAgent:
    """What an agent of hub.toml is in the rows.

    Args:
        run_wall_s: how long a run may take whose schedule does not say.
        patterns: of ``[redaction]``; a name that is none of them is one that the hub has.
    """
    schedule = agent.schedule
    return DeclaredAgent(
        name=agent.name,
        user_name=agent.user,
        device_name=agent.device,
        paths=agent.paths,
        file_extensions=agent.file_extensions,
        data_types=agent.data_types,
        prompt=agent.prompt,
        schedule=None if schedule is None else _declared_schedule(schedule, agent.timezone, run_wall_s),
        timezone=agent.timezone,
        priority=agent.priority,
        max_concurrent_runs=agent.max_concurrent_runs,
        model_use=ModelUse(
            allow_cloud=agent.allow_cloud,
            redact=tuple(Redacted(name, patterns.get(name)) for name in agent.redact),
            batch=agent.batch,
            budget_nanos=None if agent.budget_usd is None else round(agent.budget_usd * NANOS),
        ),
    )


def _declared_schedule(schedule: ScheduleTable, timezone: str, run_wall_s: float) -> DeclaredSchedule:
    return DeclaredSchedule(
        kind=schedule.kind,
        expr=schedule.cron,
        every_ms=_ms(schedule.every_s),
        at_ms=None if schedule.at is None else round(schedule.at.timestamp() * 1_000),
        tz=timezone,
        overlap=schedule.overlap,
        coalesce="latest" if schedule.catch_up == "none" else schedule.catch_up,
        catchup_window_ms=0 if schedule.catch_up == "none" else _ms(schedule.catch_up_window_s),
        max_catchup=schedule.max_catch_up,
        start_deadline_ms=_ms(schedule.start_deadline_s),
        run_timeout_ms=round((schedule.run_timeout_s or run_wall_s) * 1_000),
        jitter_ms=round(schedule.jitter * 1_000),
        max_attempts=schedule.max_attempts,
        pause_after_failures=schedule.pause_after_failures,
    )


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1_000)
