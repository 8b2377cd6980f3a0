"""Costs of model calls in the database: recording, sums by agent, model and day.

The cost of a request counts whatever the state of its run. It is written without a check of the fence of the
run, and added to the run in the same transaction.
"""

from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId, RunId, UserId
from protocol.work import Usage
from storage.agents.exhaustion import forgive
from storage.kernel.columns import (
    Int,
    execute_for_each,
    values_of,
)
from storage.kernel.database import lone
from storage.schema import (
    ANSWERED,
    agent_states,
    agents,
    model_calls,
    run_units,
    runs,
    users,
)


class ModelCall(msgspec.Struct, frozen=True, kw_only=True):
    """Question sent to a model, failed attempts included.

    *outcome*: ``answered`` or an error code. *question*: key of its answer in the journal. *model*: the model
    of a chain that answered.
    """

    id: str
    at: int
    agent_id: AgentId
    user_id: UserId
    run_id: RunId | None
    unit_key: str | None
    question: str
    model: str
    outcome: str
    usage: Usage
    took_ms: int


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens and cost. *cost_nanos*: billionths of a US dollar."""

    tokens: int = 0
    cost_nanos: int = 0


class SpentByFire(Spent, frozen=True, kw_only=True):
    """Tokens and cost of the *runs* of one fire, which follow one another."""

    runs: int


ADD_CALL = sa.insert(model_calls)
COUNT_SPENT = (
    sa.update(runs)
    .where(runs.c.id == sa.bindparam("run"))
    .values(
        model_requests=runs.c.model_requests + sa.bindparam("sent", type_=Int),
        prompt_tokens=runs.c.prompt_tokens + sa.bindparam("prompt", type_=Int),
        completion_tokens=runs.c.completion_tokens + sa.bindparam("completion", type_=Int),
        cost_nanos=runs.c.cost_nanos + sa.bindparam("cost", type_=Int),
        updated_at=sa.bindparam("now"),
    )
    .returning(
        sa.select(agent_states.c.exhaust_count)
        .where(agent_states.c.agent_id == sa.bindparam("agent"))
        .scalar_subquery()
        .label("exhaustions")
    )
)
_spent = (
    sa.func.coalesce(sa.func.sum(model_calls.c.prompt_tokens + model_calls.c.completion_tokens), 0),
    sa.func.coalesce(sa.func.sum(model_calls.c.cost_nanos), 0),
)
SPENT_SINCE = sa.select(*_spent).where(model_calls.c.at >= sa.bindparam("since"))
SPENT_BY_AGENT = SPENT_SINCE.where(model_calls.c.agent_id == sa.bindparam("agent"))


def record_call(c: sa.Connection, call: ModelCall) -> None:
    """Record a request and its cost, and add them to its run.

    An answer proves that the agent has quota, so its count of exhaustions is reset.
    """
    usage = call.usage
    row = values_of(call, model_calls, **msgspec.structs.asdict(usage))
    execute_for_each(c, ADD_CALL, [row])
    exhaustions: int | None = 1
    if call.run_id is not None:
        counts = {"sent": usage.requests, "prompt": usage.prompt_tokens, "cost": usage.cost_nanos}
        counts |= {"completion": usage.completion_tokens}
        spent = {"run": call.run_id, "agent": call.agent_id, "now": call.at} | counts
        exhaustions = c.execute(COUNT_SPENT, spent).scalar_one_or_none()
    if call.outcome == ANSWERED and exhaustions:
        forgive(c, call.agent_id, call.at)


def spent_since(c: sa.Connection, since: int, *, agent_id: AgentId | None = None) -> Spent:
    """Return tokens and cost from *since* on (epoch milliseconds), of one agent or all."""
    query = SPENT_SINCE if agent_id is None else SPENT_BY_AGENT
    given: dict[str, object] = {"since": since} | ({} if agent_id is None else {"agent": agent_id})
    tokens, cost = c.execute(query, given).one()
    return Spent(tokens=int(tokens), cost_nanos=int(cost))


_run = runs.alias("run")
SPENT_BY_FIRE = (
    sa.select(
        sa.func.coalesce(sa.func.sum(runs.c.prompt_tokens + runs.c.completion_tokens), 0),
        sa.func.coalesce(sa.func.sum(runs.c.cost_nanos), 0),
        sa.func.count(),
    )
    .join_from(_run, runs, runs.c.agent_id == _run.c.agent_id)
    .where(
        _run.c.id == sa.bindparam("run"),
        runs.c.fire_at == _run.c.fire_at,
        runs.c.schedule_id.is_not_distinct_from(_run.c.schedule_id),
        sa.or_(runs.c.id == _run.c.id, runs.c.completed_at >= _run.c.fire_at),
    )
)


@lone
def spent_by_run(c: sa.Connection, run_id: RunId) -> SpentByFire:
    """Return tokens and cost so far of the run, and of the runs that it follows for the same fire."""
    tokens, cost, count = c.execute(SPENT_BY_FIRE, {"run": run_id}).one()
    return SpentByFire(tokens=int(tokens), cost_nanos=int(cost), runs=count)


DAY_MS = 86_400_000

CostsBy = Literal["agent", "user", "model", "run", "file", "day", "call"]


class CostRow(msgspec.Struct, frozen=True, kw_only=True):
    """Costs under a *key*; *agent*: their agent, if they have only one.

    *calls*: number of calls, *failed* of them without an answer; *took_ms*: sum of their times. The key of a
    day is its start in UTC, in epoch milliseconds.
    """

    key: str
    agent: str | None
    calls: int
    failed: int
    usage: Usage
    took_ms: int


_SUMS: tuple[sa.ColumnElement[Any], ...] = (
    sa.func.count().label("calls"),
    sa.func.sum(sa.case((model_calls.c.outcome == "answered", 0), else_=1)).label("failed"),
    sa.func.sum(model_calls.c.requests).label("requests"),
    sa.func.sum(model_calls.c.prompt_tokens).label("prompt_tokens"),
    sa.func.sum(model_calls.c.completion_tokens).label("completion_tokens"),
    sa.func.sum(model_calls.c.cost_nanos).label("cost_nanos"),
    sa.func.sum(model_calls.c.took_ms).label("took_ms"),
)
_WITHIN = (
    model_calls.c.at >= sa.bindparam("since", type_=Int),
    model_calls.c.at < sa.bindparam("until", type_=Int),
)
_NO_AGENT = sa.literal(None, sa.Text)


def _grouped(key: sa.ColumnElement[Any], agent: sa.ColumnElement[Any] = _NO_AGENT) -> sa.Select[Any]:
    groups = [key] if agent is _NO_AGENT else [key, agent]
    return (
        sa.select(key.label("key"), agent.label("agent"), *_SUMS)
        .join_from(model_calls, agents, agents.c.id == model_calls.c.agent_id)
        .join(users, users.c.id == model_calls.c.user_id)
        .where(*_WITHIN)
        .group_by(*groups)
        .order_by(sa.desc("cost_nanos"), sa.desc("prompt_tokens"), sa.asc("key"))
        .limit(sa.bindparam("most", type_=sa.Integer))
    )


COSTS: dict[CostsBy, sa.Select[Any]] = {
    "agent": _grouped(agents.c.name, agents.c.name),
    "user": _grouped(users.c.name),
    "model": _grouped(model_calls.c.model),
    "run": _grouped(model_calls.c.run_id, agents.c.name).where(model_calls.c.run_id.is_not(None)),
    "file": _grouped(model_calls.c.unit_key, agents.c.name).where(model_calls.c.unit_key.is_not(None)),
    "day": _grouped(model_calls.c.at - model_calls.c.at % DAY_MS),
    "call": _grouped(model_calls.c.id, agents.c.name),
}
TOTAL = sa.select(*_SUMS).where(*_WITHIN)


def costs(
    c: sa.Connection, by: CostsBy, *, since: int, until: int, user_id: UserId | None = None, most: int = 1_000
) -> list[CostRow]:
    """Return the costs in [*since*, *until*) (epoch milliseconds), highest first.

    Args:
        user_id: only for agents of this user.
        most: maximum number of rows; ``total`` covers the rest too.
    """
    query = _of_user(COSTS[by], user_id)
    return [_cost(row) for row in c.execute(query, {"since": since, "until": until, "most": most})]


def total(c: sa.Connection, *, since: int, until: int, user_id: UserId | None = None) -> CostRow:
    """Return the sum of all costs in [*since*, *until*)."""
    row = c.execute(_of_user(TOTAL, user_id), {"since": since, "until": until}).one()
    return _cost(row)


def newest_costs(
    c: sa.Connection, most: int, *, since: int, user_id: UserId | None = None
) -> tuple[Usage, int]:
    """Return the costs of up to *most* calls from *since* on, without a user the newest; and their number."""
    query = sa.select(model_calls).where(model_calls.c.at >= sa.literal(since, Int))
    if user_id is None:
        query = query.order_by(model_calls.c.at.desc())
    else:
        query = query.where(
            model_calls.c.agent_id.in_(sa.select(agents.c.id).where(agents.c.user_id == user_id))
        )
    part = query.limit(most).subquery()
    row = c.execute(
        sa.select(
            sa.func.count(),
            *(
                sa.func.coalesce(sa.func.sum(part.c[name]), 0)
                for name in ("requests", "prompt_tokens", "completion_tokens", "cost_nanos")
            ),
        )
    ).one()
    count, requests, prompt, completion, cost = map(int, row)
    usage = Usage(requests=requests, prompt_tokens=prompt, completion_tokens=completion, cost_nanos=cost)
    return usage, count


def spent_by(c: sa.Connection, agent_id: AgentId, *, since: int) -> CostRow:
    """Return the costs of an agent from *since* on."""
    query = sa.select(*_SUMS).where(
        model_calls.c.agent_id == agent_id, model_calls.c.at >= sa.literal(since, Int)
    )
    return _cost(c.execute(query).one())


def _of_user(query: sa.Select[Any], user_id: UserId | None) -> sa.Select[Any]:
    return query if user_id is None else query.where(model_calls.c.user_id == user_id)


def _cost(row: Any) -> CostRow:
    fields = row._mapping
    key = fields.get("key", "")
    return CostRow(
        key=str(key),
        agent=fields.get("agent"),
        calls=row.calls,
        failed=int(row.failed or 0),
        usage=Usage(
            requests=int(row.requests or 0),
            prompt_tokens=int(row.prompt_tokens or 0),
            completion_tokens=int(row.completion_tokens or 0),
            cost_nanos=int(row.cost_nanos or 0),
        ),
        took_ms=int(row.took_ms or 0),
    )


class RecentCosts(msgspec.Struct, frozen=True, kw_only=True):
    """Costs of the files that an agent read lately; *size*: their total size in characters."""

    files: int
    size: int
    usage: Usage


_each = (
    sa.select(
        model_calls.c.run_id,
        model_calls.c.unit_key,
        sa.func.sum(model_calls.c.requests).label("requests"),
        sa.func.sum(model_calls.c.prompt_tokens).label("prompt_tokens"),
        sa.func.sum(model_calls.c.completion_tokens).label("completion_tokens"),
        sa.func.sum(model_calls.c.cost_nanos).label("cost_nanos"),
    )
    .where(
        model_calls.c.agent_id == sa.bindparam("agent"),
        model_calls.c.at >= sa.bindparam("since", type_=Int),
        model_calls.c.run_id.is_not(None),
        model_calls.c.unit_key.is_not(None),
    )
    .group_by(model_calls.c.run_id, model_calls.c.unit_key)
    .subquery()
)
LATELY = (
    sa.select(
        sa.func.count(),
        sa.func.sum(run_units.c.size_bytes),
        sa.func.sum(_each.c.requests),
        sa.func.sum(_each.c.prompt_tokens),
        sa.func.sum(_each.c.completion_tokens),
        sa.func.sum(_each.c.cost_nanos),
    )
    .join_from(
        _each,
        run_units,
        sa.and_(run_units.c.run_id == _each.c.run_id, run_units.c.unit_key == _each.c.unit_key),
    )
    .where(run_units.c.size_bytes > 0, run_units.c.planned_at.is_not(None))
)


def lately(c: sa.Connection, agent_id: AgentId, *, since: int) -> RecentCosts:
    """Return the costs of files that the agent read from *since* on, as far as their runs are stored."""
    files, size, *spent = c.execute(LATELY, {"agent": agent_id, "since": since}).one()
    requests, prompt, completion, cost = (int(count or 0) for count in spent)
    usage = Usage(requests=requests, prompt_tokens=prompt, completion_tokens=completion, cost_nanos=cost)
    return RecentCosts(files=files, size=int(size or 0), usage=usage)
