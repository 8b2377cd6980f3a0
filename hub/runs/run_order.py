"""Settings with which a claimed run executes, as copied into its row at its creation.

The settings were copied from the agent's into the run's row at its creation. So a run has the same ones after
a restart with others.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from hub.agents.prompts import OPENS, rendered, variables_of
from hub.extraction.extractor import Extractor
from hub.extraction.items import ExtractionOptions, Outside
from hub.extraction.model import Models
from protocol.coordination import lock_names
from protocol.errors import ErrorCode, HubError
from protocol.ids import AgentId, DeviceId, RunId, UserId
from protocol.lifecycles import RunState
from protocol.requirements import BadRequirement, parse_requirement
from protocol.secret_rules import RedactionRule
from protocol.tables import TABLES, DeviceTable, Tables, tables_with
from protocol.work import RunConfig
from storage.agents import agent_snapshot
from storage.agents.agent_snapshot import Setup
from storage.agents.agents import AgentRow, is_worker
from storage.agents.configs import Mailbox
from storage.agents.declared_agents import DeclaredAgent
from storage.agents.due_schedules import DueSchedule
from storage.executing_runs import FencedRun
from storage.runs.runs import TASK, RunRow
from storage.store import Store


class UndeclaredTable(HubError):
    """An agent names a table that the settings do not declare."""

    code = ErrorCode.BAD_CONFIG

    def __init__(self, name: str) -> None:
        super().__init__(f"data_types: there is no table {name!r}; declare it in [[tables]] of hub.toml")


class RunSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings with which a run was created, as stored in its row."""

    paths: tuple[str, ...]
    file_extensions: tuple[str, ...]
    data_types: tuple[str, ...]
    prompt: str
    timezone: str
    config_fingerprint: str
    allow_cloud: bool = True
    outside: Outside = "mark"
    redact: tuple[RedactionRule, ...] = ()
    batch: bool = False
    learn: bool = False
    mailbox: Mailbox | None = None  # read instead of files
    own_tables: tuple[DeviceTable, ...] = ()  # declarations of the tables that are not built in

    @property
    def is_task(self) -> bool:
        """True for a run of a worker, which reads nothing."""
        return is_worker(self.paths, self.mailbox, self.data_types)


# what has the settings of an agent that are copied into its runs
AgentConfig: TypeAlias = AgentRow | DeclaredAgent | DueSchedule


def extraction_config_of(
    agent: AgentConfig,
    setup: Setup | None = None,
    parameters: Mapping[str, Any] | None = None,
    *,
    tables: Tables = TABLES,
) -> ExtractionOptions:
    """Return the extraction settings of *agent*.

    Args:
        setup: values of the prompt's variables; see ``needs_setup``.
        parameters: of the run, in place of the agent's configs of the same names.
        tables: declarations of all tables.

    Raises:
        BadPrompt: the prompt has a variable without a value.
        UndeclaredTable: the agent names a table that is not declared any more.
    """
    for name in agent.data_types:
        if name not in tables:
            raise UndeclaredTable(name)
    prompt = agent.prompt if setup is None else rendered(agent.prompt, variables_of(setup, parameters))
    return ExtractionOptions(
        data_types=tuple(agent.data_types),
        prompt=prompt,
        timezone=agent.timezone,
        allow_cloud=agent.model_use.allow_cloud,
        outside=agent.model_use.outside,
        redact=agent.model_use.redact,
        own_tables=tuple(table for table in tables.own if table.name in agent.data_types),
    )


def needs_setup(agent: AgentConfig) -> bool:
    """Return True if the prompt has variables, so that their values must be read."""
    return OPENS in agent.prompt


async def set_up(store: Store, agent: AgentRow) -> Setup | None:
    """Return the values of the variables in the agent's prompt, or None if it has none."""
    return await store.read(agent_snapshot.setup_of, agent.id) if needs_setup(agent) else None


async def setups_of_due(store: Store, due: Sequence[DueSchedule]) -> Mapping[AgentId, Setup]:
    """Return the values of prompt variables for the agents of several schedules, as ``set_up`` does.

    Agents without variables are left out.
    """
    agent_ids = [due_schedule.schedule.agent_id for due_schedule in due if needs_setup(due_schedule)]
    return await store.read(agent_snapshot.setups_of, agent_ids) if agent_ids else {}


def settings_of(
    agent: AgentConfig,
    extractor: Extractor,
    setup: Setup | None = None,
    parameters: Mapping[str, Any] | None = None,
    models: Models | None = None,
) -> RunSettings:
    """Return the settings of a new run of *agent*, from its current ones.

    Args:
        setup, parameters: as for ``extraction_config_of``.
        models: models of the run, if not those of the extractor.

    Raises:
        BadPrompt, UndeclaredTable: as for ``extraction_config_of``.
    """
    extraction_config = extraction_config_of(agent, setup, parameters, tables=extractor.tables)
    return RunSettings(
        paths=tuple(agent.paths),
        file_extensions=tuple(agent.file_extensions),
        data_types=extraction_config.data_types,
        prompt=extraction_config.prompt,
        timezone=extraction_config.timezone,
        config_fingerprint=extractor.fingerprint(extraction_config, models),
        allow_cloud=extraction_config.allow_cloud,
        outside=extraction_config.outside,
        redact=extraction_config.redact,
        batch=agent.model_use.batch,
        learn=agent.model_use.learn,
        mailbox=agent.mailbox,
        own_tables=extraction_config.own_tables,
    )


def config_of(settings: RunSettings) -> RunConfig:
    """Return the part of the settings that is sent to the device."""
    return RunConfig(
        paths=list(settings.paths),
        file_extensions=list(settings.file_extensions),
        prompt_template=settings.prompt,
        data_types=[str(table) for table in settings.data_types],
    )


class RunOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A claimed run. Its *fence* is part of every write and frame of the run."""

    run_id: RunId
    agent_id: AgentId
    user_id: UserId
    device_id: DeviceId
    fence: int
    attempt: int
    max_attempts: int
    dispatches: int  # number of times the run was claimed and returned to the queue unworked
    timeout_s: float  # of all executions together
    executed_s: float = 0.0  # by earlier ones
    settings: RunSettings
    config_rev: int = 0  # of the agent, at the run's creation
    parameters: dict[str, Any] = {}
    context: dict[str, Any] = {}
    created_at: int = 0  # in epoch milliseconds
    fire_at: int = 0  # nominal time, in epoch milliseconds; a run that follows another one has its time
    locks: Mapping[str, int] = {}  # locks held by the run, with their fences

    def held(self, state: RunState) -> FencedRun:
        """Return the run's id and fence with the expected *state*."""
        return FencedRun(id=self.run_id, state=state, fence=self.fence)

    @property
    def config(self) -> RunConfig:
        """Configuration that is sent to the device."""
        return config_of(self.settings)

    @property
    def extraction_config(self) -> ExtractionOptions:
        """Extraction settings of the run."""
        return ExtractionOptions(
            data_types=self.settings.data_types,
            prompt=self.settings.prompt,
            timezone=self.settings.timezone,
            allow_cloud=self.settings.allow_cloud,
            outside=self.settings.outside,
            redact=self.settings.redact,
            own_tables=self.settings.own_tables,
        )

    @property
    def tables(self) -> Tables:
        """Declarations of all tables, as they were at the creation of the run."""
        return tables_with(self.settings.own_tables)


def order_of(run: RunRow, *, locks: Mapping[str, int] | None = None, executed_ms: int = 0) -> RunOrder:
    """Return the order of a run that was just claimed.

    Args:
        executed_ms: how long its earlier executions took.
        locks: locks acquired with the claim, with their fences.

    Raises:
        msgspec.ValidationError: the row's settings cannot be parsed.
    """
    if run.device_id is None:
        raise ValueError(f"run {run.id} has no device")
    return RunOrder(
        run_id=run.id,
        agent_id=run.agent_id,
        user_id=run.user_id,
        device_id=run.device_id,
        fence=run.fence,
        attempt=run.attempt,
        max_attempts=run.max_attempts,
        dispatches=run.dispatch_count,
        timeout_s=run.timeout_ms / 1000,
        executed_s=executed_ms / 1000,
        settings=msgspec.convert(run.settings, RunSettings),
        config_rev=run.config_rev,
        parameters=run.parameters,
        context=run.context if run.task_id is None else run.context | {TASK: run.task_id},
        created_at=run.created_at,
        fire_at=run.fire_at,
        locks=locks or {},
    )


MAX_NEEDS: Final = 32


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Capabilities and locks of a run in addition to its agent's, its parameters, and its context.

    The parameters are values of the prompt's variables, in place of the agent's configs of the same names.
    Both are stored with the run and sent to its device; *task_id* overrides that of the context.
    """

    needs: tuple[str, ...] = ()
    locks: tuple[str, ...] = ()
    parameters: dict[str, Any] = {}
    context: dict[str, Any] = {}
    task_id: str | None = None


NO_OPTIONS: Final = RunOptions()


def run_options(
    *,
    needs: Sequence[str] = (),
    locks: Sequence[str] = (),
    parameters: Mapping[str, Any] | None = None,
    context: Mapping[str, Any] | None = None,
    task_id: str | None = None,
) -> RunOptions:
    """Return the validated additions.

    Raises:
        BadRequirement: a need cannot be parsed, or there are more than ``MAX_NEEDS``.
        CodedError (BAD_PARAMS): a lock has an invalid name.
    """
    if len(needs) > MAX_NEEDS:
        raise BadRequirement(f"needs: a run has at most {MAX_NEEDS}, not {len(needs)}")
    return RunOptions(
        needs=tuple(str(parse_requirement(need)) for need in needs),
        locks=lock_names(locks),
        parameters=dict(parameters or {}),
        context=dict(context or {}),
        task_id=task_id,
    )
