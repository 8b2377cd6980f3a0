"""Requests to models, and their cost: one row for each question that was sent.

The cost of a request counts whatever the state of its run. It is written without a check of the run's fence,
and added to the run in the same transaction.
"""

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId, RunId, UserId
from storage.agents import agent_states
from storage.kernel.columns import Int
from storage.kernel.rows import values_of
from storage.runs.run_rows import Usage
from storage.schema import model_calls, runs

ANSWERED = "answered"  # outcome of a request that brought an answer; other outcomes are error codes


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
)
_spent = (
    sa.func.coalesce(sa.func.sum(model_calls.c.prompt_tokens + model_calls.c.completion_tokens), 0),
    sa.func.coalesce(sa.func.sum(model_calls.c.cost_nanos), 0),
)
SPENT_SINCE = sa.select(*_spent).where(model_calls.c.at >= sa.bindparam("since"))
SPENT_BY_AGENT = SPENT_SINCE.where(model_calls.c.agent_id == sa.bindparam("agent"))
SPENT_BY_RUN = sa.select(runs.c.prompt_tokens + runs.c.completion_tokens, runs.c.cost_nanos).where(
    runs.c.id == sa.bindparam("run")
)


def record_call(c: sa.Connection, call: ModelCall) -> None:
    """Record a request and its cost, and add them to its run.

    An answer proves that the agent has quota, so its count of exhaustions is reset.
    """
    usage = call.usage
    c.execute(sa.insert(model_calls), values_of(call, model_calls, **msgspec.structs.asdict(usage)))
    if call.run_id is not None:
        counts = {"sent": usage.requests, "prompt": usage.prompt_tokens, "cost": usage.cost_nanos}
        counts |= {"completion": usage.completion_tokens}
        c.execute(COUNT_SPENT, {"run": call.run_id, "now": call.at} | counts)
    if call.outcome == ANSWERED:
        agent_states.forgive(c, call.agent_id, call.at)


def spent_since(c: sa.Connection, since: int, *, agent_id: AgentId | None = None) -> Spent:
    """Return tokens and cost from *since* on (epoch milliseconds), of one agent or all."""
    query = SPENT_SINCE if agent_id is None else SPENT_BY_AGENT
    given: dict[str, object] = {"since": since} | ({} if agent_id is None else {"agent": agent_id})
    tokens, cost = c.execute(query, given).one()
    return Spent(tokens=int(tokens), cost_nanos=int(cost))


def spent_by_run(c: sa.Connection, run_id: RunId) -> Spent:
    """Return tokens and cost of the run so far."""
    row = c.execute(SPENT_BY_RUN, {"run": run_id}).one_or_none()
    return Spent() if row is None else Spent(tokens=int(row[0]), cost_nanos=int(row[1]))
