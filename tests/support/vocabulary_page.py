"""Generation of ``hub/docs/vocabularies.md``: the axes of an agent, and each name of the vocabularies."""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Final

from hub.agents.vocabularies import CONFIG, HUB, METRIC, RUN_MOVES, TABLES, Rows, VocabularyColumn, set_by
from hub.api.resource import View
from hub.api.resources.messages import BroadcastBody, LeadMessageBody, NudgeBody
from hub.api.resources.questions import AskBody
from hub.api.resources.souls import NewSoul
from protocol.agent_status import STORED_AXES, VALUES, Activity, Axis, Health, Lifecycle, legal_moves
from protocol.agent_status import TABLES as TRANSITIONS
from protocol.agent_types import TYPE_OF, AgentType
from protocol.configs import ConfigType
from protocol.coordination import MetricType
from protocol.lifecycles import RunState
from protocol.status_vocabularies import EVENT_ALIASES, PAIRS, READINGS, Rule, StatusProjection, Vocabulary

_ABOUT: Final = {
    Vocabulary.CALENDAR: "The words of a calendar: one runtime status, by which a calendar wakes an agent.",
    Vocabulary.ORCHESTRATOR: "The words of an orchestrator: status, finer state, templates, executions.",
    Vocabulary.FOUNDATION: "The words of a foundation layer: configs, states, capabilities and metrics.",
    Vocabulary.RUN_LOG: "The words of a run log: the outcome of each run.",
    Vocabulary.COORDINATION: "The words of agents that work together: messages, souls, questions.",
}
_ACTIVITIES: Final = {
    Activity.IDLE: "no live run",
    Activity.WAITING: "live runs, none of them RUNNING",
    Activity.PROCESSING: "at least one RUNNING",
    Activity.SATURATED: "as many RUNNING as `max_concurrent_runs` allows (foundation: if more than one)",
}
_HEAD: Final = """\
# Vocabularies

What other programs call the status of an agent, and where each name is kept.

<!-- Generated from hub/agents/vocabularies.py and protocol/agent_status.py: make documents -->

Five vocabularies describe agents, each in words of its own. An agent has a value on each of four axes, and a
fifth axis is derived from its runs. The status words of a vocabulary are read from the axes, and written to
them, by the rules below. Coordination has no status; it has names of events and of fields.

- **Read**: `GET /v1/agents/{name}/as/{vocabulary}` returns an agent in the words of that vocabulary.
- **Read all agents**: `GET /v1/agents/as/{vocabulary}` returns them in pages, with the columns of the first
  table below. `?status=` limits them to a status word, as in `GET /v1/agents/as/calendar?status=idle`; in the
  orchestrator `?state_detail=` does so too. `GET /v1/agents?as={vocabulary}&status=` finds the same agents.
  Without `as` the status is a word of the calendar.
- **Read a long table**: `GET /v1/agents/{name}/as/{vocabulary}/{table}` returns it in pages of `limit` rows,
  200 at most, each with the `next_cursor` of the next one. The section of the table names its filters. An
  agent in the words of the vocabulary has only the first rows of such a table.
- **Write**: `PATCH` of the same, as in `{"status": "on_call"}`. A write moves the agent on its axes, and what
  it answers is what is read next. A word that runs or the device hide is accepted, and read once they no
  longer do: `on_call` is written while the device is away, and read when it is back. A refusal names the
  legal words.
- **Settings** are written in the same way, together with words or alone, as in `{"name": "Mail of mine"}`:
  all of a write is done, or nothing. They need the scope *devices*, as `PATCH /v1/agents/{name}` does; words
  need *run*. Settings of an agent that is declared in `hub.toml` are changed there.
- **Create**: `POST /v1/agents/as/{vocabulary}` makes an agent out of its settings and, if they are given, its
  first words: of an orchestrator it is INACTIVE until it is activated. The tables say which columns it needs.
  Its name in the hub is made of its name there, with a number where that is taken; its `id` may be given
  instead. A device does the same with `as` in `agents.create`.
- **A whole object** may be sent back as it was read, with changes: columns that are equal are no change, also
  those that are not written. One that was read before another change is refused by the columns that differ.
- A device does the same for its own agents with `status.get` and `status.set`.
- `hub agents status NAME --as VOCABULARY` shows the words, `--set FIELD=VALUE` writes them.

## The axes

| axis | value | may go to |
|---|---|---|
"""

_FIELDS: Final = (
    *("content", "kind", "correlation_id", "preferred_channel", "reply_tags", "reply_source"),
    *("reason", "source_url"),
)
_REQUESTS: Final[tuple[tuple[str, str, type[View]], ...]] = (
    ("messages", "`POST /v1/boards/{board}/agents/{agent}/nudge`", NudgeBody),
    ("messages", "`POST /v1/boards/{board}/lead/message`", LeadMessageBody),
    ("broadcasts", "`POST /v1/broadcasts`", BroadcastBody),
    ("questions", "`POST /v1/boards/{board}/ask-user`", AskBody),
    ("soul_writes", "`PUT /v1/boards/{board}/agents/{agent}/soul`", NewSoul),
)

# Limits of texts, in characters or in bytes; a value that is an object counts with its JSON.
LIMITS: Final[dict[str, tuple[int, str]]] = {
    "agents.agent_id": (128, "characters"),
    "agents.claw_identifier": (128, "characters"),
    "agent.name": (100, "characters"),
    "agent.description": (10_000, "characters"),
    "agent.prompt_template": (32_768, "characters"),
    "agent_template.name": (50, "characters"),
    "agent_template.description": (10_000, "characters"),
    "agent_template.prompt_template": (32_768, "characters"),
    "agent_state_history.reason": (1_000, "characters"),
    "agent_checkpoint.state_data": (65_536, "bytes"),
    "agent_execution.task_id": (128, "characters"),
    "agent_execution.parameters": (16_384, "bytes"),
    "agent_execution.context": (16_384, "bytes"),
    "agent_states.metadata": (65_536, "bytes"),
    "agent_configs.config_key": (255, "characters"),
    "agent_configs.config_value": (65_536, "bytes"),
    "agent_configs.description": (10_000, "characters"),
    "agent_capabilities.capability_name": (255, "characters"),
    "agent_capabilities.capability_version": (50, "characters"),
    "agent_capabilities.config": (16_384, "bytes"),
    "agent_capabilities.description": (10_000, "characters"),
    "agent_metrics.metric_name": (255, "characters"),
    "config.name": (100, "characters"),
    "config.prompt_template": (32_768, "characters"),
    "content of a message": (32_768, "bytes"),
    "content of a soul": (262_144, "bytes"),
    "content of a memory item": (65_536, "bytes"),
    "correlation_id": (128, "characters"),
    "preferred_channel": (128, "characters"),
    "reply_source": (128, "characters"),
    "each of reply_tags": (64, "characters"),
    "reason of a soul": (1_000, "characters"),
    "source_url of a soul": (2_000, "characters"),
}
_LIMITS_HEAD: Final = """
## Limits of texts

A longer text is refused, and the refusal names the limit. An object counts with the bytes of its JSON. Where
the hub itself writes, it cuts: an error of a run and what its device says have at most 1,000 characters.

| text | at most |
|---|---|"""


Row = tuple[str, str, str, str]  # name, columns that store it, how it is read, how it is written


def _by_whom(column: VocabularyColumn) -> str:
    is_required = column.setting is not None and column.setting.is_required
    return column.written + ("; a new agent needs it" if is_required else "")


def page() -> str:
    """Return the document."""
    return _HEAD + "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    for axis, transitions in TRANSITIONS.items():
        for value in VALUES[axis]:
            to = ", ".join(legal_moves(axis, value)) or "nowhere: it is final"
            first = " (at first)" if value is transitions.initial else ""
            yield f"| {axis} | `{value}`{first} | {to} |"
    for activity, means in _ACTIVITIES.items():
        yield f"| {Axis.ACTIVITY} | `{activity}` | derived: {means} |"
    for vocabulary in Vocabulary:
        yield from ("", f"## {vocabulary}", "", _ABOUT[vocabulary])
        for column in READINGS:
            if column.vocabulary is vocabulary:
                yield from _table(f"{column.in_seed}: values", list(_words(column)))
        if vocabulary is Vocabulary.ORCHESTRATOR:
            yield from _pairs()
        for title, rows in _values(vocabulary).items():
            yield from _table(f"{title}: values", rows)
        for table in TABLES[vocabulary]:
            rows = [(f"{table.name}.{one.name}", one.lives, one.note, _by_whom(one)) for one in table.columns]
            yield from _table(f"{table.name}: columns", rows)
            if table.rows is not None:
                yield from ("", *_pages(vocabulary, table.name, table.rows))
    yield _LIMITS_HEAD
    yield from (f"| {name} | {limit:,} {unit} |" for name, (limit, unit) in LIMITS.items())


def _table(title: str, rows: Sequence[Row]) -> Iterator[str]:
    yield from ("", f"### {title}", "", "| name | lives in | read | written |", "|---|---|---|---|")
    for name, lives, read, written in rows:
        columns = ", ".join(f"`{column}`" for column in lives.split()) or "nowhere"
        yield f"| `{name}` | {columns} | {read} | {written} |"


def _pages(vocabulary: Vocabulary, name: str, rows: Rows) -> Iterator[str]:
    yield f"In pages, {rows.order}: `GET /v1/agents/{{name}}/as/{vocabulary}/{name}`."
    if rows.filters:
        yield f"Filters: {', '.join(f'`{column}`' for column in rows.filters)}."
    yield f"The first {rows.in_document:,} are in `GET /v1/agents/{{name}}/as/{vocabulary}`."


def _words(column: StatusProjection) -> Iterator[Row]:
    for word in column.words:
        rules = [rule for rule in column.rules if rule.word == word]
        axes = dict.fromkeys(rule.axis for rule in rules if rule.axis in STORED_AXES)
        lives = " ".join(f"agent_states.{axis}" for axis in axes)
        read = "; or ".join(_conditions(rule) for rule in rules)
        yield f"{column.in_seed}.{word}", lives, read, _written(column, rules[0])


def _conditions(rule: Rule) -> str:
    if not rule.when:
        return "in every other case"
    return " and ".join(f"{axis} is {' or '.join(sorted(values))}" for axis, values in rule.when.items())


def _written(column: StatusProjection, rule: Rule) -> str:
    if rule.writes is None:
        return "refused: activity is derived from the runs of the agent"
    moves = ", ".join(f"{move.axis} -> {move.to}" for move in rule.writes)
    until = ", whatever its device does, until another word is written" if "offline" in moves else ""
    return f"`PATCH /v1/agents/{{name}}/as/{column.vocabulary}` moves {moves}{until}"


_PAIRS_HEAD: Final = """
### AgentStatus and AgentStateDetail: pairs

What `status` and `state_detail` mean together. A write of one word keeps the other if the two are a pair of
this table; otherwise the other word follows. A pair that is not here is refused with those that are legal. A
write leads through the states of the lifecycle that are between. While a run of an ACTIVE agent executes, it
is read as `BUSY` and `ACTIVE`, which is never written.

| status | state_detail | lifecycle | health |
|---|---|---|---|"""


def _pairs() -> Iterator[str]:
    yield from _PAIRS_HEAD.split("\n")
    for (status, detail), axes in PAIRS.items():
        is_error = axes.health is Health.ERROR
        lifecycle = "any but terminated" if is_error else axes.lifecycle
        yield f"| `AgentStatus.{status}` | `AgentStateDetail.{detail}` | {lifecycle} | {axes.health} |"
    yield f"| `AgentStatus.BUSY` | `AgentStateDetail.ACTIVE` | {Lifecycle.ACTIVE}, and a run executes | ok |"


def _values(vocabulary: Vocabulary) -> dict[str, list[Row]]:
    """Return the values that are no status, by the name of their enum."""
    match vocabulary:
        case Vocabulary.CALENDAR:
            where, lives = "`exhaust_reason` of a write", "agent_states.exhaust_reason"
            return {
                "ExhaustReason": [
                    ("ExhaustReason.rate_limit", lives, "as stored", f"HTTP 429 of the provider, or {where}"),
                    (
                        "ExhaustReason.billing",
                        lives,
                        "as stored; `budget`, an agent's own of a day, is read as billing too",
                        f"`insufficient_quota` of the provider, or {where}",
                    ),
                ]
            }
        case Vocabulary.ORCHESTRATOR:
            local = "`local_type`: the shared type of that name; CUSTOM also for ASSISTANT and DESIGNER"
            return {
                "AgentType": _same("AgentType", AgentType, "agents.type", set_by("type", "type")),
                "AgentType (local)": [
                    *(
                        (f"AgentType (local).{word}", "agents.type", local, set_by("local_type", "type"))
                        for word in ("RESEARCHER", "DEVELOPER", "SPECIALIST", "AUDITOR", "CUSTOM")
                    ),
                    *(
                        (
                            f"AgentType (local).{own}",
                            "agents.type agents.subtype",
                            f"`local_type`: `subtype` as it was written; `type` is {shared}",
                            set_by("local_type", "type"),
                        )
                        for own, shared in TYPE_OF.items()
                    ),
                ],
                "ExecutionState": _same("ExecutionState", RunState, "runs.state", RUN_MOVES),
            }
        case Vocabulary.FOUNDATION:
            return {
                "ConfigType": _same("ConfigType", ConfigType, "agent_configs.config_type", CONFIG),
                "MetricType": _same("MetricType", MetricType, "metric_series.metric_type", METRIC),
            }
        case Vocabulary.RUN_LOG:
            outcome = "runs.state runs.error_count runs.items_created"
            return {
                "status of a run": [
                    ("status.running", "runs.state", "QUEUED, PREPARING, RUNNING or PAUSED", RUN_MOVES),
                    ("status.success", outcome, "COMPLETED without an error", RUN_MOVES),
                    ("status.partial", outcome, "COMPLETED with errors and at least one item", RUN_MOVES),
                    (
                        "status.error",
                        f"{outcome} runs.cancel_reason",
                        "FAILED; CANCELLED, with the error `cancelled: REASON`; or COMPLETED with errors"
                        " and no item",
                        RUN_MOVES,
                    ),
                ],
                "agent_type": [
                    ("agent_type.local", "agents.executor", "executor `device`", HUB),
                    ("agent_type.cloud", "agents.executor", "executor `connector` or `gateway`", HUB),
                ],
            }
        case Vocabulary.COORDINATION:
            return {
                "event_type": list(_events()),
                "requests": [row for one in _REQUESTS for row in _fields(*one)],
            }


def _events() -> Iterator[Row]:
    """Return the rows of the events of coordination, which the activity log has under the same names."""
    entries: dict[str, list[str]] = {}
    for alias in EVENT_ALIASES:
        of_kind = f" of a {alias.kind}" if alias.kind else ""
        entries.setdefault(alias.name, []).append(f"`{alias.event}`{of_kind}")
    for name, stored in entries.items():
        read = f"as stored; also the `alias` of {' and '.join(stored)} in the audit log"
        yield f"event_type.{name}", "activity_log.event_type audit_log.event", read, HUB
    for name in ("agent.nudge.failed", "gateway.main.lead_message.failed", "gateway.lead.ask_user.failed"):
        yield f"event_type.{name}", "activity_log.event_type", "as stored", HUB


def _fields(table: str, route: str, body: type[View]) -> Iterator[Row]:
    """Return the rows of the fields of a request, and of the further names that they have."""
    for name in _FIELDS:
        if name in body.__struct_fields__:
            yield f"{body.__name__}.{name}", f"{table}.{name}", "as stored", route
    for alias, field in body.aliases.items():
        stored = {"boards": "messages.board_id"}.get(field, f"{table}.{field}")
        yield f"{body.__name__}.{alias}", stored, f"as `{field}`", f"{route}, where `{field}` is the same"


def _same(enum: str, values: type[StrEnum], lives: str, written: str) -> list[Row]:
    """Return the rows of values that the hub spells alike."""
    return [(f"{enum}.{value}", lives, "as stored", written) for value in values]
