"""A complete agent in the words of another vocabulary, with its tables and columns by name.

Pure functions over the data of ``storage.agents.agent_snapshot``. Instants are RFC 3339 in UTC, and ids are
text. If a seed numbers its rows, the number is replaced by a text that identifies the row.
``hub/docs/vocabularies.md`` lists the mapping of each name.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from hub.agents.documents import NUL
from hub.agents.vocabularies import columns_of
from hub.clock import epoch_ms
from protocol.agent_status import VALUES, Axes, Axis, Kind
from protocol.lifecycles import RunOutcome, RunState
from protocol.vocabularies import (
    ORCHESTRATOR_STATUS,
    STATE_DETAIL,
    CalendarExhaustReason,
    Vocabulary,
    calendar_reason,
    own_type,
    reading,
    run_log_agent_type,
    run_log_status,
    status_words,
)
from storage.agents.agent_snapshot import AgentFacts, Measured
from storage.agents.agent_states import AgentMove
from storage.agents.status_writes import BadWrite, StatusWrite, Word
from storage.runs.runs import RunMove, RunRow

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Document = dict[str, Any]


def document_of(vocabulary: Vocabulary, facts: AgentFacts) -> Document:
    """Return the document of the agent in *vocabulary*."""
    return _DOCUMENTS[vocabulary](facts)


def _calendar(facts: AgentFacts) -> Document:
    agent, state = facts.agent, facts.state
    return {
        "id": agent.id,
        "user_id": agent.user_id,
        "agent_id": agent.external_id or agent.id,
        "claw_identifier": agent.instance_id or "",
        **status_words(state.axes, Vocabulary.CALENDAR),
        "last_heartbeat": _instant(state.last_heartbeat_at),
        "exhausted_at": _instant(state.exhausted_at),
        "recovery_at": _instant(state.recovery_at),
        "exhaust_reason": calendar_reason(state.exhaust_reason),
        "created_at": _instant(facts.created_at),
    }


def _orchestrator(facts: AgentFacts) -> Document:
    agent = facts.agent
    kind = Kind(agent.type, agent.subtype)
    return {
        "id": agent.id,
        "name": agent.name,
        "description": agent.description,
        "type": agent.type,
        "local_type": own_type(kind),
        **status_words(facts.state.axes, Vocabulary.ORCHESTRATOR),
        "project_id": agent.project_id,
        "template_id": agent.template_id,
        "configuration": facts.configuration,
        "prompt_template": agent.own_prompt or None,
        "created_at": _instant(facts.created_at),
        "updated_at": _instant(facts.updated_at),
        "agent_template": _template(facts),
        "agent_checkpoint": _checkpoint(facts),
        "agent_state_history": [
            exported for move in facts.moves if (exported := _state_move(agent.id, move)) is not None
        ],
        "agent_execution": [_execution(run) for run in facts.runs],
        "execution_state_history": [
            _run_move(run.id, move) for run in facts.runs for move in facts.run_moves[run.id]
        ],
    }


def _template(facts: AgentFacts) -> Document | None:
    template = facts.template
    if template is None:
        return None
    return {
        "id": template.id,
        "name": template.name,
        "description": template.description,
        "agent_type": template.agent_type,
        "configuration_schema": template.configuration_schema,
        "default_configuration": template.default_configuration,
        "prompt_template": template.prompt_template,
        "created_at": _instant(template.created_at),
        "updated_at": _instant(template.updated_at),
    }


def _checkpoint(facts: AgentFacts) -> Document | None:
    stored = facts.checkpoint
    if stored is None:
        return None
    return {
        "id": f"{facts.agent.id}:{stored.scope}",
        "agent_id": facts.agent.id,
        "state_data": stored.state,
        "sequence_number": stored.sequence,
        "is_recoverable": stored.is_recoverable,
        "created_at": _instant(stored.created_at),
    }


def _state_move(agent_id: str, move: AgentMove) -> Document | None:
    """Return a move as a change of the two status words, or None if it changed neither."""
    after, before = move.snapshot, _before(move)
    words = {
        "previous_status": None if before is None else str(ORCHESTRATOR_STATUS.read(before)),
        "new_status": str(ORCHESTRATOR_STATUS.read(after)),
        "previous_state_detail": None if before is None else str(STATE_DETAIL.read(before)),
        "new_state_detail": str(STATE_DETAIL.read(after)),
    }
    if words["previous_status"] == words["new_status"] and (
        words["previous_state_detail"] == words["new_state_detail"]
    ):
        return None
    return {
        "id": f"{agent_id}:{move.seq}",
        "agent_id": agent_id,
        **words,
        "reason": move.reason,
        "timestamp": _instant(move.at),
    }


def _before(move: AgentMove) -> Axes | None:
    """Return the axes before the move, or None for the creation of the agent."""
    if move.old_value is None:
        return None
    axis = Axis(move.axis)
    return move.snapshot.after(axis, VALUES[axis](move.old_value))


def _execution(run: RunRow) -> Document:
    return {
        "id": run.id,
        "agent_id": run.agent_id,
        "task_id": task_id(run),
        "state": run.state,
        "parameters": run.parameters,
        "context": run.context,
        "progress_percentage": run.progress,
        "status_message": run.status_message,
        "result": run.result,
        "error_message": next((error.message for error in run.errors), None),
        "retry_count": run.attempt - 1,
        "created_at": _instant(run.created_at),
        "updated_at": _instant(run.updated_at),
        "started_at": _instant(run.started_at),
        "completed_at": _instant(run.completed_at),
    }


def task_id(run: RunRow) -> str:
    """Return the task of a run: ``task_id`` of its context, else the run's id."""
    named = run.context.get("task_id")
    return named if isinstance(named, str) and named else run.id


def _run_move(run_id: str, move: RunMove) -> Document:
    return {
        "id": f"{run_id}:{move.seq}",
        "execution_id": run_id,
        "previous_state": move.old_state,
        "new_state": move.new_state,
        "reason": move.reason,
        "timestamp": _instant(move.at),
    }


def _foundation(facts: AgentFacts) -> Document:
    state = facts.state
    return {
        "id": facts.agent.id,
        "agent_id": facts.agent.id,
        **status_words(state.axes, Vocabulary.FOUNDATION),
        "active_workflows": list(facts.live_runs),
        "locks": {
            lock.resource: {
                "holder": lock.holder_text,
                "fence": lock.fence,
                "acquired_at": _instant(lock.acquired_at),
                "expires_at": _instant(lock.expires_at),
            }
            for lock in facts.locks
        },
        "last_activity": _instant(state.last_activity_at),
        "resource_usage": state.resource_usage,
        "metadata": state.metadata,
        "created_at": _instant(facts.created_at),
        "updated_at": _instant(state.updated_at),
        "agent_configs": [
            {
                "id": f"{facts.agent.id}:{config.key}",
                "agent_id": facts.agent.id,
                "config_key": config.key,
                "config_value": config.text,
                "config_type": config.type,
                "description": config.description,
                "created_at": _instant(config.created_at),
                "updated_at": _instant(config.updated_at),
            }
            for config in facts.configs
        ],
        "agent_capabilities": [
            {
                "id": f"{facts.agent.id}:{one.name}:{one.version}",
                "agent_id": facts.agent.id,
                "capability_name": one.name,
                "capability_version": str(one.version),
                "enabled": one.enabled,
                "config": one.config,
                "description": one.description,
                "created_at": _instant(one.created_at),
                "updated_at": _instant(one.updated_at),
            }
            for one in facts.capabilities
        ],
        "agent_metrics": [_metric(facts.agent.id, series) for series in facts.metrics],
    }


def _metric(agent_id: str, series: Measured) -> Document:
    return {
        "id": series.id,
        "agent_id": agent_id,
        "metric_name": series.name,
        "metric_value": series.last,
        "metric_type": series.type,
        "tags": series.tags,
        "recorded_at": _instant(series.last_at),
    }


def _run_log(facts: AgentFacts) -> Document:
    agent = facts.agent
    return {
        "id": agent.id,
        "name": agent.name,
        "user_id": agent.user_id,
        "agent_type": run_log_agent_type(facts.executor),
        "device_id": agent.device_id,
        "directory_paths": list(agent.paths),
        "file_extensions": list(agent.file_extensions),
        "data_types": list(agent.data_types),
        "prompt_template": agent.prompt,
        "schedule_cron": facts.cron,
        "last_run_at": _instant(facts.last_run_at),
        "agent_run_log": [_logged(run, facts) for run in facts.runs],
    }


def _logged(run: RunRow, facts: AgentFacts) -> Document:
    return {
        "run_id": run.id,
        "agent_id": run.agent_id,
        "agent_type": run_log_agent_type(facts.executor),
        "user_id": run.user_id,
        "status": run_log_outcome(run),
        "items_processed": run.units_done + run.units_failed,
        "items_created": run.items_created,
        "errors": _errors(run),
        "completed_at": _instant(run.completed_at),
    }


def run_log_outcome(run: RunRow) -> str:
    """Return the outcome of an ended run by the run-log seed's rule, which counts created items."""
    if run.state is not RunState.COMPLETED:
        return str(run_log_status(run.state, run.outcome))
    if run.error_count == 0:
        return str(run_log_status(run.state, RunOutcome.SUCCESS))
    return str(run_log_status(run.state, RunOutcome.PARTIAL if run.items_created else RunOutcome.ERROR))


def _errors(run: RunRow) -> list[str]:
    messages = [error.message for error in run.errors]
    if run.state is RunState.CANCELLED:
        return [*messages, f"cancelled: {run.cancel_reason or run.reason or 'no reason given'}"]
    return messages


def _instant(at: int | None) -> str | None:
    """Return an instant as RFC 3339 in UTC, with milliseconds."""
    if at is None:
        return None
    return (_EPOCH + timedelta(milliseconds=at)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_DOCUMENTS: Mapping[Vocabulary, Callable[[AgentFacts], Document]] = {
    Vocabulary.CALENDAR: _calendar,
    Vocabulary.ORCHESTRATOR: _orchestrator,
    Vocabulary.FOUNDATION: _foundation,
    Vocabulary.RUN_LOG: _run_log,
}


REASON: Final = "reason"  # not a column; text for the history
METADATA_BYTES: Final = 65_536
TEXT_CHARACTERS: Final = 1_000  # limit of each text, because the history stores it


def write_of(vocabulary: Vocabulary, change: Mapping[str, Any]) -> StatusWrite:
    """Return the write requested by *change*, a mapping from columns of *vocabulary* to values.

    Raises:
        BadWrite: *change* is empty, or a column is unknown, read-only or has an invalid value. The message
            names the column and the correction.
    """
    if not change:
        raise BadWrite(f"say what to write: {', '.join(writable(vocabulary))}")
    words: list[Word] = []
    fields: dict[str, Any] = {}
    for column, value in change.items():
        if reading(vocabulary, column) is not None:
            words.append(Word(vocabulary, column, text_of(column, value)))
        elif column == REASON:
            fields[column] = text_of(column, value)
        elif vocabulary is Vocabulary.CALENDAR and column == "exhaust_reason":
            fields[column] = _exhaust_reason(value)
        elif vocabulary is Vocabulary.CALENDAR and column == "recovery_at":
            fields[column] = instant_of(column, value)
        elif vocabulary is Vocabulary.FOUNDATION and column == "metadata":
            fields[column] = _metadata(value)
        else:
            raise BadWrite(_not_written(vocabulary, column))
    return StatusWrite(words=tuple(words), **fields)


def writable(vocabulary: Vocabulary) -> tuple[str, ...]:
    """Return the columns that can be written by this operation."""
    return tuple(column for column, written in columns_of(vocabulary).items() if written.startswith("PATCH"))


def _not_written(vocabulary: Vocabulary, column: str) -> str:
    columns = columns_of(vocabulary)
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
    if value is not None and value not in list(CalendarExhaustReason):
        raise BadWrite(f"exhaust_reason: expected one of {', '.join(CalendarExhaustReason)}, or null")
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
        BadWrite: it is too large, or has a null character.
    """
    encoded = msgspec.json.encode(metadata)
    if NUL in encoded:
        raise BadWrite("metadata: a null character, which cannot be kept; leave it out")
    size = len(encoded)
    if size > METADATA_BYTES:
        raise BadWrite(f"metadata: {size} bytes of JSON, at most {METADATA_BYTES} are kept")
    return metadata
