"""What a model was asked, and what each answer cost: one row for each question that was sent.

Money that was spent is a fact, whatever has become of the run meanwhile: it is written
without a look at the run's fence, and added to the run in the same transaction.
"""

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId, RunId, UserId
from storage.agents import agent_states
from storage.kernel.columns import Int
from storage.runs.run_rows import Usage
from storage.schema import model_calls, runs

ANSWERED = "answered"  # the outcome of a call that brought an answer; any other one is an error code


class ModelCall(msgspec.Struct, frozen=True, kw_only=True):
    """A question that was sent, failed tries included.

    *outcome* is ``answered``, or the error code that it ended in. *question* is the key of
    its answer in the journal; *model* is which one of a chain answered.
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
    """Tokens and money. *cost_nanos* is in billionths of a US dollar."""

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
    """A question was sent: what it cost is kept, and added to its run.

    A model that answered has quota again, so its agent's exhaustion is forgiven.
    """
    usage = call.usage
    c.execute(
        sa.insert(model_calls),
        {
            "id": call.id,
            "at": call.at,
            "agent_id": call.agent_id,
            "user_id": call.user_id,
            "run_id": call.run_id,
            "unit_key": call.unit_key,
            "question": call.question,
            "model": call.model,
            "outcome": call.outcome,
            "requests": usage.requests,
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "cost_nanos": usage.cost_nanos,
            "took_ms": call.took_ms,
        },
    )
    if call.run_id is not None:
        counts = {"sent": usage.requests, "prompt": usage.prompt_tokens, "cost": usage.cost_nanos}
        counts |= {"completion": usage.completion_tokens}
        c.execute(COUNT_SPENT, {"run": call.run_id, "now": call.at} | counts)
    if call.outcome == ANSWERED:
        agent_states.forgive(c, call.agent_id, call.at)


def spent_since(c: sa.Connection, since: int, *, agent_id: AgentId | None = None) -> Spent:
    """What was spent from *since* on (epoch milliseconds), by one agent or by all."""
    query = SPENT_SINCE if agent_id is None else SPENT_BY_AGENT
    given: dict[str, object] = {"since": since} | ({} if agent_id is None else {"agent": agent_id})
    tokens, cost = c.execute(query, given).one()
    return Spent(tokens=int(tokens), cost_nanos=int(cost))


def spent_by_run(c: sa.Connection, run_id: RunId) -> Spent:
    """What the run has spent so far."""
    row = c.execute(SPENT_BY_RUN, {"run": run_id}).one_or_none()
    return Spent() if row is None else Spent(tokens=int(row[0]), cost_nanos=int(row[1]))
