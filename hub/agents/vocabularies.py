"""Columns of agents in the terms of other systems (calendar, orchestrator, run log): reading and writing.

Five vocabularies describe agents: calendar, orchestrator, foundation, run log and coordination. A column is
declared once, with where the hub stores it, how it is read, and how it is written: as a word of the agent's
status, as one of its settings, or elsewhere. ``hub/docs/vocabularies.md`` is generated from that. Instants
are RFC 3339 in UTC, and ids are text: where a vocabulary numbers its rows, the number is replaced by a text
that identifies the row.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final, NamedTuple, get_args
from uuid import UUID

import msgspec

from hub.agents.json_objects import NUL
from hub.agents.schemas import MAX_LEVELS, levels_of
from hub.base.clock import epoch_ms, from_epoch_ms
from protocol.agent_status import Axes, Axis, Lifecycle
from protocol.agent_types import TYPE_NAMES, AgentKind, kind_of, own_type
from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId
from protocol.lifecycles import RunOutcome, RunState
from protocol.status_vocabularies import (
    CalendarExhaustReason,
    RunLogStatus,
    Vocabulary,
    calendar_reason,
    pair_of,
    run_log_agent_type,
    run_log_status,
    status_words,
)
from storage.agents import agent_snapshot, checkpoints, configs, measurements, state_history
from storage.agents import capabilities as agents_capabilities
from storage.agents import templates as agents_templates
from storage.agents.agent_snapshot import AgentRelations
from storage.agents.agents import AgentRow
from storage.agents.locks import LockRow
from storage.audit import list_activity
from storage.effects.status_writes import BadWrite, StatusWrite
from storage.kernel.columns import Key
from storage.runs import runs, units
from storage.runs.runs import ANSWER, ATTEMPT_FAILED, RunRow
from storage.store import Connection

HUB: Final = "by the hub only"
CONFIG: Final = "`PUT /v1/agents/{name}/config/{key}`, `config.set` of a device, or hub.toml"
CAPABILITY: Final = (
    "`PUT /v1/agents/{name}/capabilities/{capability}`, `capabilities.put` of a device, or hub.toml"
)
TEMPLATE: Final = "`PUT /v1/templates/{name}`, or [[templates]] of hub.toml"
METRIC: Final = (
    "`POST /v1/agents/{name}/metrics`, or `metrics.report` of a device; those of the hub by its work"
)
CHECKPOINT: Final = "`PUT /v1/agents/{name}/checkpoints/{scope}`, or `checkpoints.put` of a device"
RUN_START: Final = "`POST /v1/agents/{name}/runs`, or `runs.start` of a device"
RUN_REPORT: Final = "`runs.report` of the device that executes it"
RUN_MOVES: Final = "the transitions of the run; people start, pause, resume and cancel"
TRANSITIONS: Final = "the transitions of the agent"

Document = dict[str, Any]


class SettingTarget(NamedTuple):
    """Setting of an agent that a column is written to.

    Attributes:
        key: as in ``PATCH /v1/agents/{name}``.
        convert: makes the value of the setting out of a value of the column that is not null; raises
            BadWrite.
        may_be_null: null removes the setting.
        is_required: an agent that is created in the words of the vocabulary needs a value.
    """

    key: str
    convert: Callable[[Any], Any] = lambda value: value
    may_be_null: bool = False
    is_required: bool = False


class VocabularyColumn(NamedTuple):
    """Column of a vocabulary.

    Attributes:
        name: as in its document.
        lives: columns of this hub that store it, as ``agent_states.health``, separated by spaces.
        read: returns the value for a row of its table, which belongs to the agent.
        note: how it is read.
        written: how it is written, or why it is not.
        setting: setting that it is written to; None: it is none of the agent's settings.
        is_instant: its values are instants, which have several spellings.
    """

    name: str
    lives: str
    read: Callable[[AgentRow, Any], Any]
    note: str
    written: str
    setting: SettingTarget | None = None
    is_instant: bool = False


class Rows(NamedTuple):
    """Rows of a table that an agent has many of: they are read in pages.

    Attributes:
        read: returns the rows of an agent in their order; its further arguments are the filters.
        key: returns the sort key of a row.
        order: the order, in words.
        in_document: maximum number of rows in the document of the agent.
        filters: columns by which the rows are filtered, each with its words; without words it is any text.
    """

    read: Callable[..., list[Any]]
    key: Callable[[Any], Key]
    order: str
    in_document: int = 100
    filters: Mapping[str, tuple[str, ...]] = MappingProxyType({})


class VocabularyTable(NamedTuple):
    """Table of a vocabulary.

    Attributes:
        row: returns the only row of an agent, if any; the row of the first table is the facts about it.
        rows: those of a table that an agent has many rows of.
    """

    name: str
    columns: tuple[VocabularyColumn, ...]
    row: Callable[[Connection, AgentRow], Any] | None = None
    rows: Rows | None = None

    def document(self, agent: AgentRow, row: Any) -> Document:
        """Return a row of an agent in the words of the vocabulary."""
        return {column.name: column.read(agent, row) for column in self.columns}


def _column(
    name: str,
    lives: str,
    read: Callable[[Any], Any] | str = "",
    note: str = "as stored",
    written: str = HUB,
) -> VocabularyColumn:
    """Return a column that a function of the row reads, or the attribute *read*, by default *name*."""
    get = attrgetter(read or name) if isinstance(read, str) else read
    return VocabularyColumn(name, lives, lambda _, row: get(row), note, written)


def _instant(
    name: str, lives: str, path: str = "", note: str = "as stored", written: str = HUB
) -> VocabularyColumn:
    """Return a column of an instant, which the attribute *path* reads, by default *name*."""
    get = attrgetter(path or name)
    return VocabularyColumn(
        name, lives, lambda _, row: instant_text(get(row)), note, written, is_instant=True
    )


def set_by(column: str, key: str) -> str:
    """Return how a column that is a setting is written."""
    return f"PATCH of `{column}`, which sets `{key}`; in hub.toml for an agent that is declared there"


def _setting(
    name: str,
    lives: str,
    read: Callable[[Any], Any] | str,
    note: str = "as stored",
    *,
    key: str = "",
    **options: Any,
) -> VocabularyColumn:
    """Return a column that is written to the setting *key*, by default *name*; see ``SettingTarget``."""
    setting = SettingTarget(key or name, **options)
    return _column(name, lives, read, note, set_by(name, setting.key))._replace(setting=setting)


def _shown_name(facts: AgentRelations) -> str:
    return facts.agent.title or facts.agent.name


def _project(value: Any) -> str:
    with suppress(ValueError, AttributeError, TypeError):
        return str(UUID(value))
    raise BadWrite("project_id: expected a UUID")


def _type(value: Any) -> Any:
    if value not in TYPE_NAMES:
        raise BadWrite(f"type: expected one of {', '.join(TYPE_NAMES)}")
    return value


def _cron(value: Any) -> dict[str, Any]:
    """Return a schedule; a new one also runs when its device first connects, as in the document."""
    if not isinstance(value, str):
        raise BadWrite("schedule_cron: expected a cron expression, or null")
    return {"cron": value, "on_first_connect": True}


def _configuration(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadWrite("configuration: expected an object")
    return value


def _status(vocabulary: Vocabulary, name: str, lives: str) -> VocabularyColumn:
    """Return a status column, which is read and written by rules."""

    def read(facts: AgentRelations) -> Any:
        return status_words(facts.state.axes, vocabulary, slots=facts.state.max_concurrent_runs)[name]

    return _column(name, lives, read, "by the rules above", f"PATCH of `{name}`, as its values say")


def _owner(table: str, note: str = "as stored", written: str = HUB) -> VocabularyColumn:
    """Return the column with the id of the agent that a row belongs to."""
    return VocabularyColumn("agent_id", f"{table}.agent_id", lambda agent, _: agent.id, note, written)


def _joined(lives: str, *paths: str) -> VocabularyColumn:
    """Return the id of a row: the agent's id, and what identifies the row among those of the agent."""
    gets = [attrgetter(path) for path in paths]
    return VocabularyColumn(
        "id",
        lives,
        lambda agent, row: ":".join(map(str, (agent.id, *(get(row) for get in gets)))),
        "joined",
        HUB,
    )


def instant_text(at: int | None) -> str | None:
    """Return an instant in epoch milliseconds as RFC 3339 in UTC, with milliseconds."""
    if at is None:
        return None
    return from_epoch_ms(at).isoformat(timespec="milliseconds").replace("+00:00", "Z")


CALENDAR: Final = VocabularyTable(
    "agents",
    (
        _column("id", "agents.id", "agent.id", "as text: ids here are UUIDs, not numbers"),
        _column(
            "user_id",
            "agents.user_id",
            "agent.user_id",
            written="`user` of `POST /v1/agents`: a device has agents of its own user only",
        ),
        _setting(
            "agent_id",
            "agents.external_id agents.id",
            lambda facts: facts.agent.external_id or facts.agent.id,
            "`external_id`, or the agent's own id where it has none",
            key="external_id",
            is_required=True,
        ),
        _setting(
            "claw_identifier",
            "agents.instance_id",
            lambda facts: facts.agent.instance_id or "",
            "`instance_id`, or empty",
            key="instance_id",
            convert=lambda value: None if value == "" else value,
            is_required=True,
        ),
        _status(
            Vocabulary.CALENDAR,
            "status",
            "agent_states.connectivity agent_states.reported_connectivity agent_states.availability",
        ),
        _instant(
            "last_heartbeat",
            "agent_states.last_heartbeat_at",
            "state.last_heartbeat_at",
            written="heartbeats of the device, or of the agent itself",
        ),
        _instant(
            "exhausted_at",
            "agent_states.exhausted_at",
            "state.exhausted_at",
            written="the transition that makes it exhausted",
        ),
        _instant(
            "recovery_at",
            "agent_states.recovery_at",
            "state.recovery_at",
            "as stored; at that time the hub makes the agent available",
            "PATCH of `recovery_at` with or after `status`; else by the provider's answer",
        ),
        _instant(
            "probe_at",
            "agent_states.probe_at",
            "state.probe_at",
            "not in the document: while `recovery_at` is unknown, as for `billing`, the next try",
            "the exhaustion",
        ),
        _column(
            "exhaust_reason",
            "agent_states.exhaust_reason",
            lambda facts: calendar_reason(facts.state.exhaust_reason),
            "as stored; `budget`, an agent's own of a day, is read as `billing`",
            "PATCH of `exhaust_reason` with or after `status`; else by the provider's answer",
        ),
        _instant("created_at", "agents.created_at"),
    ),
)


def _history_word(name: str, axes: str) -> VocabularyColumn:
    """Return the column of a word; *axes*: attribute of the axes that it is read from."""
    word, get = attrgetter(name.partition("_")[2]), attrgetter(axes)
    return _column(
        name,
        "agent_state_history.snapshot agent_state_history.old_value agent_state_history.old_detail",
        lambda move: None if (found := get(move)) is None else str(word(pair_of(found))),
        "by the rules above; transitions that changed neither word are left out",
        TRANSITIONS,
    )


ORCHESTRATOR: Final = VocabularyTable(
    "agent",
    (
        _column("id", "agents.id", "agent.id"),
        _setting(
            "name",
            "agents.title agents.name",
            _shown_name,
            "`title`, or `name` where it has none",
            key="title",
            is_required=True,
        ),
        _setting("description", "agents.description", "agent.description", may_be_null=True),
        _setting(
            "type",
            "agents.type agents.subtype",
            "agent.type",
            "the shared type; `local_type` is the local one, and may be written here too",
            convert=_type,
            is_required=True,
        ),
        _setting(
            "local_type",
            "agents.type agents.subtype",
            lambda facts: own_type(AgentKind(facts.agent.type, facts.agent.subtype)),
            "the type before the standardization",
            key="type",
            convert=_type,
        ),
        _status(Vocabulary.ORCHESTRATOR, "status", "agent_states.health agent_states.lifecycle"),
        _status(
            Vocabulary.ORCHESTRATOR,
            "state_detail",
            "agent_states.health agent_states.lifecycle agent_states.state_detail",
        ),
        _setting("project_id", "agents.project_id", "agent.project_id", convert=_project, is_required=True),
        _setting(
            "template_id",
            "agents.template_id",
            "agent.template_id",
            "as stored; the name of a template may be written too",
            key="template",
            may_be_null=True,
        ),
        _setting(
            "configuration",
            "agent_configs.config_value agent_templates.default_configuration",
            "configuration",
            "one object: the agent's configs over the defaults of its template",
            key="config",
            convert=_configuration,
            may_be_null=True,
        ),
        _setting(
            "prompt_template",
            "agents.prompt_template",
            lambda facts: facts.agent.own_prompt or None,
            "its own prompt",
            key="prompt",
            may_be_null=True,
        ),
        _instant("created_at", "agents.created_at"),
        _instant("updated_at", "agents.updated_at"),
    ),
)
AGENT_TEMPLATE: Final = VocabularyTable(
    "agent_template",
    (
        _column("id", "agent_templates.id"),
        *(
            _column(name, f"agent_templates.{name}", written=TEMPLATE)
            for name in ("name", "description", "agent_type", "configuration_schema", "default_configuration")
        ),
        _column("prompt_template", "agent_templates.prompt_template", written=TEMPLATE),
        _instant("created_at", "agent_templates.created_at"),
        _instant("updated_at", "agent_templates.updated_at"),
    ),
    lambda c, agent: None if agent.template is None else agents_templates.find_template(c, agent.template),
)
AGENT_CHECKPOINT: Final = VocabularyTable(
    "agent_checkpoint",
    (
        _joined("checkpoints.agent_id checkpoints.scope", "scope"),
        _owner("checkpoints", "of the scope `agent`", CHECKPOINT),
        _column("state_data", "checkpoints.state_data", "state", written=CHECKPOINT),
        _column(
            "sequence_number", "checkpoints.sequence_number", "sequence", "as stored; only grows", CHECKPOINT
        ),
        _column("is_recoverable", "checkpoints.is_recoverable", written=CHECKPOINT),
        _instant("created_at", "checkpoints.created_at"),
    ),
    lambda c, agent: checkpoints.find_checkpoint(c, agent.id),
)
AGENT_STATE_HISTORY: Final = VocabularyTable(
    "agent_state_history",
    (
        _joined("agent_state_history.agent_id agent_state_history.seq", "seq"),
        _owner("agent_state_history"),
        _history_word("previous_status", "axes_before"),
        _history_word("new_status", "snapshot"),
        _history_word("previous_state_detail", "axes_before"),
        _history_word("new_state_detail", "snapshot"),
        _column("reason", "agent_state_history.reason", written="`reason` of a write"),
        _instant("timestamp", "agent_state_history.at", "at"),
    ),
    rows=Rows(state_history.word_changes, lambda move: (move.seq,), "the newest first"),
)
RUNS: Final = 20  # newest ones in a document: each may be long


def _executions(
    c: Connection, agent_id: AgentId, *, task_id: str | None = None, state: str | None = None, **part: Any
) -> list[RunRow]:
    states = None if state is None else [RunState(state)]
    return runs.list_runs(c, agent_id=agent_id, task_id=task_id, states=states, **part)


def _key_of_run(run: RunRow) -> Key:
    return run.created_at, run.id


AGENT_EXECUTION: Final = VocabularyTable(
    "agent_execution",
    (
        _column("id", "runs.id"),
        _column("agent_id", "runs.agent_id", written=RUN_START),
        _column(
            "task_id",
            "runs.task_id runs.id",
            lambda run: run.task_id or run.id,
            "`task_id` of the context, else the run's id",
            RUN_START,
        ),
        _column("state", "runs.state", written=RUN_MOVES),
        _column("parameters", "runs.parameters", written=RUN_START),
        _column("context", "runs.context", written=RUN_START),
        _column("progress_percentage", "runs.progress", "progress", "as stored, 0 to 100", RUN_REPORT),
        _column("status_message", "runs.status_message", written=RUN_REPORT),
        _column(
            "result",
            "runs.result",
            lambda run: (run.result or {}).get(ANSWER, run.result),
            "that of a task as its device reported it; else counts of what was read and found",
            "the end of the run",
        ),
        _column(
            "error_message",
            "runs.errors",
            lambda run: next((error.message for error in run.lasting_errors), None),
            "the first error that no later attempt overcame",
            "errors of the run",
        ),
        _column(
            "retry_count",
            "runs.attempt",
            lambda run: run.attempt - 1,
            "`attempt` - 1",
            "another attempt of the run",
        ),
        _instant("created_at", "runs.created_at"),
        _instant("updated_at", "runs.updated_at"),
        _instant("started_at", "runs.started_at", written=RUN_MOVES),
        _instant("completed_at", "runs.completed_at", written=RUN_MOVES),
    ),
    rows=Rows(
        _executions,
        _key_of_run,
        "the newest first",
        in_document=RUNS,
        filters={"task_id": (), "state": tuple(RunState)},
    ),
)
EXECUTION_STATE_HISTORY: Final = VocabularyTable(
    "execution_state_history",
    (
        _column(
            "id",
            "run_state_history.run_id run_state_history.seq",
            lambda move: f"{move.run_id}:{move.seq}",
            "both, joined",
        ),
        _column("execution_id", "run_state_history.run_id", "run_id"),
        _column("previous_state", "run_state_history.old_state", "old_state", written=RUN_MOVES),
        _column("new_state", "run_state_history.new_state", "new_state", written=RUN_MOVES),
        _column("reason", "run_state_history.reason", written=RUN_MOVES),
        _instant("timestamp", "run_state_history.at", "at"),
    ),
    rows=Rows(
        lambda c, id, execution_id=None, **part: runs.moves_of_runs(c, id, run_id=execution_id, **part),
        lambda move: (move.run_created_at, move.run_id, move.seq),
        "those of the newest execution first, the newest of each first",
        filters={"execution_id": ()},
    ),
)


def _lock(lock: LockRow) -> Document:
    return {
        "holder": lock.holder_text,
        "fence": lock.fence,
        "acquired_at": instant_text(lock.acquired_at),
        "expires_at": instant_text(lock.expires_at),
    }


FOUNDATION: Final = VocabularyTable(
    "agent_states",
    (
        _column("id", "agent_states.agent_id", "agent.id", "one row for each agent, so its id"),
        _column("agent_id", "agent_states.agent_id", "agent.id"),
        _status(Vocabulary.FOUNDATION, "current_status", "agent_states.health agent_states.availability"),
        _column(
            "active_workflows",
            "runs.state runs.id",
            lambda facts: list(facts.live_runs),
            "ids of the live runs",
            RUN_START,
        ),
        _column(
            "locks",
            "agent_locks.resource agent_locks.agent_id",
            lambda facts: {lock.resource: _lock(lock) for lock in facts.locks},
            "an object by name: holder, fence, since, until",
            "`POST /v1/agents/{name}/locks`, `locks.acquire` of a device, and runs: under fences",
        ),
        _instant(
            "last_activity",
            "agent_states.last_activity_at",
            "state.last_activity_at",
            written="transitions of the agent and of its runs",
        ),
        _column(
            "resource_usage",
            "agent_states.resource_usage",
            "state.resource_usage",
            written="heartbeats of the device, or of the agent itself",
        ),
        _column(
            "metadata",
            "agent_states.metadata",
            "state.metadata",
            written="PATCH of `metadata`: replaces it",
        ),
        _instant("created_at", "agents.created_at", note="as stored: the state is made with its agent"),
        _instant("updated_at", "agent_states.updated_at", "state.updated_at"),
    ),
)


def _stamps(table: str) -> tuple[VocabularyColumn, VocabularyColumn]:
    return _instant("created_at", f"{table}.created_at"), _instant("updated_at", f"{table}.updated_at")


MAX_NAMED: Final = 1_000  # configs, capabilities and series in a document
AGENT_CONFIGS: Final = VocabularyTable(
    "agent_configs",
    (
        _joined("agent_configs.agent_id agent_configs.config_key", "key"),
        _owner("agent_configs", written=CONFIG),
        _column("config_key", "agent_configs.config_key", "key", written=CONFIG),
        _column(
            "config_value",
            "agent_configs.config_value",
            "text",
            written=f"{CONFIG}; parsed by its type when it is written",
        ),
        _column("config_type", "agent_configs.config_type", "type", written=CONFIG),
        _column("description", "agent_configs.description", written=CONFIG),
        *_stamps("agent_configs"),
    ),
    rows=Rows(configs.list_configs, lambda config: (config.key,), "by key", in_document=MAX_NAMED),
)
AGENT_CAPABILITIES: Final = VocabularyTable(
    "agent_capabilities",
    (
        _joined("agent_capabilities.agent_id agent_capabilities.name", "name", "version"),
        _owner("agent_capabilities", written=CAPABILITY),
        _column("capability_name", "agent_capabilities.name", "name", written=CAPABILITY),
        _column(
            "capability_version",
            "agent_capabilities.ver_major agent_capabilities.ver_minor agent_capabilities.ver_patch"
            " agent_capabilities.prerelease",
            lambda row: str(row.version),
            "the four, joined",
            CAPABILITY,
        ),
        *(
            _column(name, f"agent_capabilities.{name}", written=CAPABILITY)
            for name in ("enabled", "config", "description")
        ),
        *_stamps("agent_capabilities"),
    ),
    rows=Rows(
        agents_capabilities.capabilities_page,
        agents_capabilities.key_of,
        "by name and version",
        in_document=MAX_NAMED,
    ),
)
AGENT_METRICS: Final = VocabularyTable(
    "agent_metrics",
    (
        _column("id", "metric_series.id", note="of the series: samples are added up in buckets"),
        _owner("metric_series", written=METRIC),
        _column("metric_name", "metric_series.name", "name", written=METRIC),
        _column(
            "metric_value",
            "agent_metrics.last",
            "last",
            "the newest sample; older ones are in the buckets",
            METRIC,
        ),
        _column("metric_type", "metric_series.metric_type", "type", written=METRIC),
        _column("tags", "metric_series.tags", written=METRIC),
        _instant("recorded_at", "agent_metrics.last_at", "last_at", "of the newest sample", METRIC),
    ),
    rows=Rows(
        measurements.list_series,
        lambda series: (series.name, measurements.tags_key(series.tags)),
        "by name and tags",
        in_document=MAX_NAMED,
    ),
)
_AGENT_TYPE: Final = VocabularyColumn(
    "agent_type",
    "agents.executor",
    lambda agent, _: run_log_agent_type(agent.executor),
    "`local` for the executor `device`, else `cloud`",
    HUB,
)


def run_log_outcome(run: RunRow) -> str:
    """Return the outcome of a run by the rule of the run log, which counts created items."""
    if run.state is not RunState.COMPLETED:
        return str(run_log_status(run.state, run.outcome))
    if run.error_count == 0:
        return str(run_log_status(run.state, RunOutcome.SUCCESS))
    return str(run_log_status(run.state, RunOutcome.PARTIAL if run.items_created else RunOutcome.ERROR))


def _errors(run: RunRow) -> list[str]:
    messages = [
        f"attempt {error.attempt}: {error.message}" if error.code == ATTEMPT_FAILED else error.message
        for error in run.errors
    ]
    if run.state is RunState.CANCELLED:
        return [*messages, f"cancelled: {run.cancel_reason or run.reason or 'no reason given'}"]
    return messages


_ERRORS_NOTE: Final = (
    "their messages so far, `attempt 1: ` before what ended an attempt; one that a later attempt overcame"
    " stays and does not count for status"
)
RUN_LOG: Final = VocabularyTable(
    "config",
    (
        _column("id", "agents.id", "agent.id"),
        _setting(
            "name",
            "agents.title agents.name",
            _shown_name,
            "`title`, or `name` where it has none",
            key="title",
            is_required=True,
        ),
        _column("user_id", "agents.user_id", "agent.user_id"),
        _AGENT_TYPE,
        _column(
            "enabled",
            "agent_states.lifecycle",
            lambda facts: facts.state.axes.lifecycle is Lifecycle.ACTIVE,
            "lifecycle is active",
            "PATCH of `enabled` moves lifecycle -> active or paused",
        ),
        _setting(
            "provider",
            "connectors.provider agents.connector_id",
            "provider",
            "the provider of the connector that a cloud agent reads; written by the name of the connector",
            key="connector",
            may_be_null=True,
        ),
        _setting(
            "filter_config",
            "agent_configs.config_value",
            lambda facts: None if facts.agent.mailbox is None else facts.agent.mailbox.filter,
            "`filter` of a cloud agent",
            key="filter",
            may_be_null=True,
        ),
        _setting(
            "device_id",
            "agents.device_id",
            "agent.device_id",
            "as stored; the name of a device may be written too; a cloud agent needs none",
            key="device",
            is_required=True,
        ),
        _setting(
            "directory_paths",
            "agent_configs.config_value",
            lambda facts: list(facts.agent.paths),
            "`paths` of the agent; a cloud agent has none",
            key="paths",
            is_required=True,
        ),
        _setting(
            "file_extensions",
            "agent_configs.config_value",
            lambda facts: list(facts.agent.file_extensions),
        ),
        _setting(
            "data_types", "agents.data_types", lambda facts: list(facts.agent.data_types), is_required=True
        ),
        _setting(
            "prompt_template",
            "agents.prompt_template agent_templates.prompt_template",
            "agent.prompt",
            "the prompt in use",
            key="prompt",
            is_required=True,
        ),
        _setting(
            "schedule_cron",
            "schedules.expr",
            "cron",
            "of the agent's first cron schedule; a write keeps the policies of the schedule, not its jitter;"
            " a new schedule has `on_first_connect`",
            key="schedule",
            convert=_cron,
            may_be_null=True,
        ),
        _instant("last_run_at", "runs.completed_at", note="of the newest run", written=RUN_MOVES),
    ),
)


def _logged_runs(
    c: Connection, agent_id: AgentId, *, status: RunLogStatus | None = None, **part: Any
) -> list[RunRow]:
    logged = runs.list_runs(c, agent_id=agent_id, logged_as=status, **part)
    empty = units.empty_units(c, [run.id for run in logged])
    return [msgspec.structs.replace(run, units_done=run.units_done - empty.get(run.id, 0)) for run in logged]


AGENT_RUN_LOG: Final = VocabularyTable(
    "agent_run_log",
    (
        _column("run_id", "runs.id", "id"),
        _column("agent_id", "runs.agent_id", written=RUN_START),
        _AGENT_TYPE,
        _column("user_id", "agents.user_id"),
        _column(
            "status",
            "runs.state runs.error_count runs.items_created",
            run_log_outcome,
            "by the values of status above",
            RUN_MOVES,
        ),
        _column(
            "items_processed",
            "runs.units_done runs.units_failed run_units.size_bytes",
            lambda run: run.units_done + run.units_failed,
            "their sum, without those that have no text",
            RUN_MOVES,
        ),
        _column("items_created", "runs.items_created", written=RUN_MOVES),
        _column("errors", "runs.errors runs.cancel_reason", _errors, _ERRORS_NOTE, RUN_MOVES),
        _instant("completed_at", "runs.completed_at", written=RUN_MOVES),
    ),
    rows=Rows(
        _logged_runs,
        _key_of_run,
        "the newest first",
        in_document=RUNS,
        filters={"status": get_args(RunLogStatus)},
    ),
)
BOARD: Final = "`POST /v1/boards/{board}/agents`"
GATEWAY: Final = "[[gateways]] of hub.toml, and `POST /v1/gateways/{gateway}/agents`"
COORDINATION: Final = VocabularyTable(
    "agents",
    (
        _column("id", "agents.id", "agent.id"),
        _setting(
            "name",
            "agents.title agents.name",
            _shown_name,
            "`title`, or `name` where it has none",
            key="title",
        ),
        _column("board_id", "board_members.board_id", "place.board_id", written=BOARD),
        _column("gateway_id", "gateway_agents.gateway_id", "place.gateway_id", written=GATEWAY),
        _column(
            "openclaw_session_id",
            "gateway_agents.session_key",
            "place.session_key",
            "as stored; null for an agent on a device",
            GATEWAY,
        ),
        _instant("updated_at", "agents.updated_at"),
    ),
)
COORDINATION_BOARD: Final = VocabularyTable(
    "boards",
    (
        _column("id", "boards.id", "board_id", written="`POST /v1/boards`"),
        _column("name", "boards.name", "board", written="`POST /v1/boards`, `PATCH /v1/boards/{board}`"),
        _column("gateway_id", "boards.gateway_id", "board_gateway_id", written="`PATCH /v1/boards/{board}`"),
        _instant("created_at", "boards.created_at", "board_created_at"),
    ),
    row=agent_snapshot.place_of,
)
SOUL: Final = VocabularyTable(
    "soul",
    (
        VocabularyColumn(
            "soul_template",
            "soul_versions.content",
            lambda _, soul: soul,
            "the newest text that the hub wrote or saw; it may be long",
            "`PUT /v1/boards/{board}/agents/{agent}/soul`",
        ),
    ),
    row=lambda c, agent: agent_snapshot.soul_of(c, agent.id),
)
ACTIVITY_EVENTS: Final = VocabularyTable(
    "activity_events",
    (
        _column("event_type", "activity_log.event_type"),
        _column("message", "activity_log.message"),
        _owner("activity_log", "the agent that acted, else the one that it is about"),
        _instant("created_at", "activity_log.at", "at"),
    ),
    rows=Rows(
        lambda c, id, event_type=None, **part: list_activity(c, agent_id=id, event=event_type, **part),
        lambda entry: (entry.at, entry.id),
        "the newest first",
        filters={"event_type": ()},
    ),
)
TABLES: Final[Mapping[Vocabulary, tuple[VocabularyTable, ...]]] = {
    Vocabulary.CALENDAR: (CALENDAR,),
    Vocabulary.ORCHESTRATOR: (
        ORCHESTRATOR,
        AGENT_TEMPLATE,
        AGENT_CHECKPOINT,
        AGENT_STATE_HISTORY,
        AGENT_EXECUTION,
        EXECUTION_STATE_HISTORY,
    ),
    Vocabulary.FOUNDATION: (FOUNDATION, AGENT_CONFIGS, AGENT_CAPABILITIES, AGENT_METRICS),
    Vocabulary.RUN_LOG: (RUN_LOG, AGENT_RUN_LOG),
    Vocabulary.COORDINATION: (COORDINATION, COORDINATION_BOARD, SOUL, ACTIVITY_EVENTS),
}


def document_of(vocabulary: Vocabulary, facts: AgentRelations) -> Document:
    """Return the columns of the agent in *vocabulary*, without its other tables."""
    return TABLES[vocabulary][0].document(facts.agent, facts)


def tables_of(c: Connection, vocabulary: Vocabulary, agent: AgentRow) -> Document:
    """Return the other tables of the agent in *vocabulary*: of long ones the first rows of their order."""
    found: Document = {}
    for table in TABLES[vocabulary][1:]:
        if table.rows is not None:
            rows = table.rows.read(c, agent.id, limit=table.rows.in_document, after=None)
            found[table.name] = [table.document(agent, row) for row in rows]
        else:
            assert table.row is not None
            row = table.row(c, agent)
            found[table.name] = None if row is None else table.document(agent, row)
    return found


def paged_table(
    vocabulary: Vocabulary, name: str, filters: Mapping[str, str]
) -> tuple[VocabularyTable, Rows]:
    """Return a table that is read in pages.

    Raises:
        CodedError (UNKNOWN_NAME, BAD_PARAMS): the vocabulary has no such table; the table has no such filter,
            or that filter no such word.
    """
    paged = {table.name: (table, table.rows) for table in TABLES[vocabulary] if table.rows is not None}
    if name not in paged:
        known = f"tables: {', '.join(paged)}" if paged else "it has none"
        raise CodedError(
            ErrorCode.UNKNOWN_NAME, f"{vocabulary} has no table {name!r} that is read in pages; {known}"
        )
    table, rows = paged[name]
    for column, value in filters.items():
        if column not in rows.filters:
            known = f"filters: {', '.join(rows.filters)}" if rows.filters else "it has no filters"
            raise CodedError(ErrorCode.BAD_PARAMS, f"query.{column}: {name} is not filtered by it; {known}")
        words = rows.filters[column]
        if words and value not in words:
            raise CodedError(
                ErrorCode.BAD_PARAMS, f"query.{column}: {name} has no {value!r}; values: {', '.join(words)}"
            )
    return table, rows


def columns_of(vocabulary: Vocabulary) -> dict[str, str]:
    """Return the top-level columns of a vocabulary's document, with how each is written."""
    return {column.name: column.written for column in TABLES[vocabulary][0].columns}


REASON: Final = "reason"  # not a column; text for the history
LOCAL: Final = ("device_id", "directory_paths")  # columns of an agent that reads files
METADATA_BYTES: Final = 65_536
TEXT_CHARACTERS: Final = 1_000  # limit of each text, because the history stores it


class VocabularyChange(NamedTuple):
    """Requested change of an agent in the words of a vocabulary.

    Attributes:
        settings: values of its settings, by key. ``config`` is the whole configuration, and ``schedule`` has
            no policies.
        columns: the column of each of these keys.
        status: the change of its status; None: no word is written.
    """

    settings: dict[str, Any]
    columns: dict[str, str]
    status: StatusWrite | None


def change_of(vocabulary: Vocabulary, change: Mapping[str, Any], now: Document) -> VocabularyChange:
    """Return the change of an agent that *change* requests, a mapping from columns to values.

    A column with the value that is read is no change, also one that cannot be written: a whole object may be
    sent as it was read. Words of the status are written even then, unless they are part of a whole object,
    which has a column that cannot be written: an agent of a device that is away reads ``offline``, and is to
    be kept offline only if that is asked.

    Args:
        now: the document of the agent, with its other tables.

    Raises:
        BadWrite: as ``write_of``.
    """
    columns = {column.name: column for column in TABLES[vocabulary][0].columns}

    def is_same(name: str) -> bool:
        return name in now and is_same_value(change[name], now[name], columns.get(name))

    words = {
        name: value
        for name, value in change.items()
        if _is_word(name, columns) and not (name == "enabled" and is_same(name))
    }
    others = {name: value for name, value in change.items() if name not in words and not is_same(name)}
    if any(name not in columns or columns[name].setting is None for name in change.keys() - words.keys()):
        words = {name: value for name, value in words.items() if not is_same(name)}
    if change and not words and not others:
        return VocabularyChange({}, {}, None)
    return _change(vocabulary, others, words)


def creation_of(vocabulary: Vocabulary, given: Mapping[str, Any], owner_id: str) -> VocabularyChange:
    """Return the settings and the first words of a new agent of the user *owner_id*, who may be named.

    Raises:
        BadWrite: a column is missing; or as ``write_of``.
    """
    required = _required(vocabulary)
    given = {name: value for name, value in given.items() if (name, value) != ("user_id", owner_id)}
    if not required:
        able = ", ".join(vocabulary for vocabulary in Vocabulary if _required(vocabulary))
        raise BadWrite(f"{vocabulary} has no columns of a new agent; create it as one of: {able}")
    elsewhere = LOCAL if given.get("provider") is not None else ()  # of a cloud agent
    if missing := [name for name in required if given.get(name) is None and name not in elsewhere]:
        raise BadWrite("; ".join(f"{name}: missing" for name in missing))
    columns = {column.name: column for column in TABLES[vocabulary][0].columns}
    words = {name: value for name, value in given.items() if _is_word(name, columns)}
    return _change(vocabulary, {name: value for name, value in given.items() if name not in words}, words)


def _required(vocabulary: Vocabulary) -> list[str]:
    """Return the columns that a new agent needs; none: the vocabulary creates no agents."""
    columns = TABLES[vocabulary][0].columns
    return [column.name for column in columns if column.setting is not None and column.setting.is_required]


def first_lifecycle(vocabulary: Vocabulary, status: StatusWrite | None) -> Lifecycle:
    """Return the first state of a new agent, before its first words are written."""
    if vocabulary is not Vocabulary.ORCHESTRATOR:
        return Lifecycle.ACTIVE
    # Every pair can be reached from CREATED; without words, the agent is READY until it is activated.
    return Lifecycle.CREATED if status is not None and status.words else Lifecycle.READY


def _change(vocabulary: Vocabulary, others: Mapping[str, Any], words: Mapping[str, Any]) -> VocabularyChange:
    """Return the change of these columns that are no words, and these words. Raises BadWrite."""
    columns = {column.name: column for column in TABLES[vocabulary][0].columns}
    settings: dict[str, Any] = {}
    named: dict[str, str] = {}
    for name in others:
        if name not in columns or columns[name].setting is None:
            raise BadWrite(_not_written(vocabulary, name))
    for name, column in columns.items():
        if name not in others or (setting := column.setting) is None:
            continue
        new = _setting_of(name, setting, others[name])
        before = settings.get(setting.key, new)
        if before != new and kind_of(new).type != before:  # two columns are spellings of the type
            raise BadWrite(f"{named[setting.key]} and {name} contradict each other: {before} and {new}")
        settings[setting.key] = new
        named[setting.key] = name
    status = write_of(vocabulary, words) if words or not settings else None
    return VocabularyChange(settings, named, status)


def _setting_of(column: str, setting: SettingTarget, value: Any) -> Any:
    """Return the value of the setting. Raises BadWrite."""
    if value is None:
        if not setting.may_be_null:
            raise BadWrite(f"{column}: may not be null")
        return {} if setting.key in ("config", "filter") else None
    return setting.convert(value)


def _is_word(name: str, columns: Mapping[str, VocabularyColumn]) -> bool:
    """Return True for a word of the status, and for what belongs to it."""
    column = columns.get(name)
    if column is None:
        return name == REASON
    return column.setting is None and column.written.startswith("PATCH")


def is_same_value(given: Any, now: Any, column: VocabularyColumn | None = None) -> bool:
    """Return True if a value is the present one; 1, 1.0 and true are different values."""
    if column is not None and column.is_instant and given is not None:
        with suppress(BadWrite):
            return bool(instant_text(instant_of(column.name, given)) == now)
    return msgspec.json.encode(given, order="sorted") == msgspec.json.encode(now, order="sorted")


def write_of(vocabulary: Vocabulary, change: Mapping[str, Any]) -> StatusWrite:
    """Return the write requested by *change*, a mapping from columns of *vocabulary* to values.

    Raises:
        BadWrite: *change* is empty, or a column is unknown, read-only or has an invalid value. The message
            names the column and the correction.
    """
    if not change:
        raise BadWrite(f"say what to write: {', '.join(writable(vocabulary))}")
    words: dict[str, str | None] = {}
    fields: dict[str, Any] = {}
    for column, value in change.items():
        if column in status_words(Axes(), vocabulary):
            is_empty = column == "state_detail" and value is None
            words[column] = None if is_empty else text_of(column, value)
        elif column == REASON:
            fields[column] = text_of(column, value)
        elif vocabulary is Vocabulary.CALENDAR and column == "exhaust_reason":
            fields[column] = _exhaust_reason(value)
        elif vocabulary is Vocabulary.CALENDAR and column == "recovery_at":
            fields[column] = instant_of(column, value)
        elif vocabulary is Vocabulary.FOUNDATION and column == "metadata":
            fields[column] = _metadata(value)
        elif vocabulary is Vocabulary.RUN_LOG and column == "enabled":
            if not isinstance(value, bool):
                raise BadWrite("enabled: expected true or false")
            fields["axes"] = {Axis.LIFECYCLE: Lifecycle.ACTIVE if value else Lifecycle.PAUSED}
        else:
            raise BadWrite(_not_written(vocabulary, column))
    return StatusWrite(vocabulary=None if "axes" in fields else vocabulary, words=words, **fields)


def writable(vocabulary: Vocabulary) -> tuple[str, ...]:
    """Return the columns that can be written by this operation."""
    return tuple(column for column, written in columns_of(vocabulary).items() if written.startswith("PATCH"))


def _not_written(vocabulary: Vocabulary, column: str) -> str:
    columns = columns_of(vocabulary)
    if column in (table.name for table in TABLES[vocabulary][1:]):
        return f"{vocabulary}.{column} is a table, and not written here: 'hub help vocabularies' says how"
    if column not in columns:
        return f"{vocabulary} has no column {column!r}; written here are: {', '.join(writable(vocabulary))}"
    return f"{vocabulary}.{column} is not written here: {columns[column]}"


def text_of(column: str, value: Any) -> str:
    """Return a text that is not empty and within the limit. Raises BadWrite."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise BadWrite(f"{column}: expected text")
    if len(value) > TEXT_CHARACTERS:
        raise BadWrite(f"{column}: expected at most {TEXT_CHARACTERS} characters, not {len(value)}")
    return value


def _exhaust_reason(value: Any) -> str | None:
    reasons = get_args(CalendarExhaustReason)
    if value is not None and value not in reasons:
        raise BadWrite(f"exhaust_reason: expected one of {', '.join(reasons)}, or null")
    return None if value is None else str(value)


def instant_of(column: str, value: Any) -> int | None:
    """Return the epoch milliseconds of an instant with a time zone, or None. Raises BadWrite."""
    if value is None:
        return None
    try:
        instant = datetime.fromisoformat(text_of(column, value))
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise BadWrite(f"{column}: expected an instant with its zone, as 2026-03-01T08:00:00Z, or null")
    return epoch_ms(instant)


def _metadata(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadWrite("metadata: expected an object")
    return bounded_metadata(value)


def bounded_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return *metadata* after checking that it can be stored.

    Raises:
        BadWrite: it is too large or too deep, or has a null character.
    """
    if levels_of(metadata) > MAX_LEVELS:
        raise BadWrite(f"metadata: deeper than {MAX_LEVELS} levels")
    encoded = msgspec.json.encode(metadata)
    if NUL in encoded:
        raise BadWrite("metadata: a null character, which cannot be kept; leave it out")
    size = len(encoded)
    if size > METADATA_BYTES:
        raise BadWrite(f"metadata: {size} bytes of JSON, at most {METADATA_BYTES} are kept")
    return metadata
