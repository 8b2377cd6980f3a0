"""Trace of a run (spans), derived from its rows.

No span is stored. Each is read from a row that the run has anyway, with its times, and goes with it.
"""

from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa

from protocol.ids import RunId, span_id_of
from protocol.lifecycles import FINAL_RUN_STATES, CallState, RunState, UnitState
from storage.kernel.columns import Int, Key, columns_of, fetch_page, paged
from storage.schema import model_calls, run_calls, run_state_history, run_units, runs

SpanKind = Literal["run", "state", "unit", "model", "call"]
KINDS: Final[tuple[SpanKind, ...]] = ("run", "state", "unit", "model", "call")


class RunSpan(msgspec.Struct, frozen=True, kw_only=True):
    """Part of a run that took time, in epoch milliseconds.

    Attributes:
        rank: number of its kind in ``KINDS``: spans that began together are in this order.
        ref: id in its kind, as the key of a unit; for a state the number of the move.
        unit_key: the unit that it is about.
        ended_at: None: it goes on.
        read_at, planned_at: of a unit: arrival of its text, and time of its plan.
        sends: times that a call was sent.
        items: calls of a unit.
        fence: of a state: under which fence the run was in it.
    """

    rank: int
    ref: str
    name: str
    outcome: str | None
    started_at: int
    ended_at: int | None
    unit_key: str | None = None
    read_at: int | None = None
    planned_at: int | None = None
    items: int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost_nanos: int | None = None
    sends: int | None = None
    fence: int | None = None

    @property
    def kind(self) -> SpanKind:
        return KINDS[self.rank]

    @property
    def key(self) -> Key:
        """Its sort key in the trace."""
        return self.started_at, self.rank, self.ref

    @property
    def id(self) -> str:
        """Its id in the trace, which the frames about it bear."""
        if self.kind == "run":
            return ROOT
        if self.kind == "call":
            return span_id_of("tool_call", self.ref)
        if self.name == RunState.PREPARING:
            return span_id_of("agent_run", str(self.fence))
        return span_id_of(self.kind, self.ref)

    @property
    def parent(self) -> str | None:
        """The id of the span that it is part of."""
        if self.kind == "run":
            return None
        return span_id_of("unit", self.unit_key) if self.rank > _UNIT and self.unit_key else ROOT


ROOT: Final = span_id_of("run")
_RUN, _STATE, _UNIT, _MODEL, _CALL = range(len(KINDS))
_run: sa.BindParameter[str] = sa.bindparam("run", type_=sa.Text)


def _text(column: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
    """Return a column of certain values as a text, as other kinds have others."""
    return sa.type_coerce(column, sa.Text)


def _columns(rank: int, *tables: sa.FromClause, **spelled: Any) -> list[sa.ColumnElement[Any]]:
    unsaid: dict[str, Any] = {name: None for name in RunSpan.__struct_fields__ if name not in spelled}
    own = {"rank": sa.cast(sa.literal_column(str(rank)), Int)} | spelled
    return columns_of(RunSpan, *tables, **(unsaid | own))


_moves = (
    sa.select(
        run_state_history,
        sa.func.lead(run_state_history.c.at).over(order_by=run_state_history.c.seq).label("left_at"),
    )
    .where(run_state_history.c.run_id == _run)
    .subquery()
)
_unit_began = sa.func.coalesce(run_units.c.began_at, run_units.c.read_at, run_units.c.updated_at)
_settled = run_units.c.state.in_((UnitState.DONE, UnitState.FAILED, UnitState.SKIPPED))
_answered = run_calls.c.state.in_((CallState.ACKED, CallState.REJECTED, CallState.UNKNOWN))


def _ended(at: sa.ColumnElement[Any], condition: sa.ColumnElement[bool]) -> sa.ColumnElement[Any]:
    return sa.case((condition, at), else_=sa.null())


# Selects of the spans of each kind, with the columns of their sort keys.
_KINDS: Final[tuple[sa.Select[Any], ...]] = (
    sa.select(
        *_columns(
            _RUN,
            ref=runs.c.id,
            name=_text(runs.c.trigger_kind),
            outcome=sa.func.coalesce(_text(runs.c.outcome), _text(runs.c.state)),
            started_at=runs.c.created_at,
            ended_at=runs.c.completed_at,
        )
    ).where(runs.c.id == _run),
    sa.select(
        *_columns(
            _STATE,
            ref=sa.cast(_moves.c.seq, sa.Text),
            name=_text(_moves.c.new_state),
            outcome=_moves.c.reason,
            started_at=_moves.c.at,
            ended_at=_moves.c.left_at,
            fence=_moves.c.fence,
        )
    ).where(_moves.c.new_state.not_in(FINAL_RUN_STATES)),
    sa.select(
        *_columns(
            _UNIT,
            ref=run_units.c.unit_key,
            name=sa.literal("unit"),
            outcome=_text(run_units.c.state),
            # a unit of an earlier run, of which this one delivers the rest, begins when it was taken over
            started_at=sa.case((_unit_began < runs.c.created_at, run_units.c.updated_at), else_=_unit_began),
            ended_at=_ended(run_units.c.updated_at, _settled),
            unit_key=run_units.c.unit_key,
            read_at=run_units.c.read_at,
            planned_at=run_units.c.planned_at,
            items=run_units.c.calls_planned,
        )
    )
    .join_from(run_units, runs, runs.c.id == run_units.c.run_id)
    # without those that an earlier run has settled
    .where(
        run_units.c.run_id == _run,
        sa.or_(run_units.c.state != UnitState.SKIPPED, run_units.c.error.is_not(None)),
    ),
    sa.select(
        *_columns(
            _MODEL,
            model_calls,
            ref=model_calls.c.id,
            name=model_calls.c.model,
            outcome=model_calls.c.outcome,
            started_at=model_calls.c.at - model_calls.c.took_ms,
            ended_at=model_calls.c.at,
            unit_key=model_calls.c.unit_key,
            prompt_tokens=model_calls.c.prompt_tokens,
            completion_tokens=model_calls.c.completion_tokens,
            cost_nanos=model_calls.c.cost_nanos,
            sends=model_calls.c.requests,
        )
    ).where(model_calls.c.run_id == _run),
    sa.select(
        *_columns(
            _CALL,
            ref=run_calls.c.call_id,
            name=run_calls.c.action + " " + run_calls.c.target_table,
            outcome=_text(run_calls.c.state),
            started_at=run_calls.c.sent_at,
            ended_at=_ended(run_calls.c.updated_at, _answered),
            unit_key=run_calls.c.unit_key,
            sends=run_calls.c.sends,
        )
    ).where(run_calls.c.run_id == _run, run_calls.c.sent_at.is_not(None)),
)


def list_spans(
    c: sa.Connection, run_id: RunId, *, limit: int | None = None, after: Key | None = None
) -> list[RunSpan]:
    """Return the spans of a run in the order of their beginnings."""
    spans: list[RunSpan] = []
    for query in _KINDS:
        named = query.selected_columns
        by = named["started_at"], named["rank"], named["ref"]
        part = paged(query, *(_plain(column) for column in by), limit=limit, after=after)
        spans += fetch_page(c, RunSpan, part, limit, {"run": run_id})
    return sorted(spans, key=lambda span: span.key)[:limit]


def _plain(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Return the expression without its label, which a condition may not name."""
    return column.element if isinstance(column, sa.Label) else column
