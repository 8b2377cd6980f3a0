"""Reserved sums of day budgets per node, so that nodes together stay within them.

Sums of processes that live no longer are deleted.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId, BootId
from storage import leases
from storage.kernel.columns import Int
from storage.runs.model_calls import Spent, spent_since
from storage.schema import budget_holds

_LOCK: Final = 0x6875_7403  # key of PostgreSQL's advisory lock on the sums


class BudgetHold(msgspec.Struct, frozen=True, kw_only=True):
    """Sum that a node reserves on one account.

    *agent_id*: None for the hub's account. *began*: start of the account's day, in epoch milliseconds.
    *is_short*: it is for questions in flight alone, not for batches.
    """

    agent_id: AgentId | None
    began: int
    amount: Spent
    is_short: bool


class Drawn(msgspec.Struct, frozen=True, kw_only=True):
    """Sums drawn on one account: *spent* by all nodes, and *held* by the others.

    *is_waited_for*: another node has questions in flight, which may cost less than it holds.
    """

    spent: Spent
    held: Spent
    is_waited_for: bool


_is_account = sa.and_(
    budget_holds.c.account == sa.bindparam("account"), budget_holds.c.began == sa.bindparam("day")
)
_HELD = sa.select(
    sa.func.coalesce(sa.func.sum(budget_holds.c.tokens), 0),
    sa.func.coalesce(sa.func.sum(budget_holds.c.cost_nanos), 0),
    sa.func.coalesce(sa.func.max(budget_holds.c.in_flight), 0),
).where(_is_account, budget_holds.c.boot_id != sa.bindparam("boot"))
_is_own = _is_account & (budget_holds.c.boot_id == sa.bindparam("boot"))
_FORGET = sa.delete(budget_holds).where(_is_own | ~leases.has_node(budget_holds.c.boot_id))
_HOLD = sa.insert(budget_holds).values(
    boot_id=sa.bindparam("boot"),
    account=sa.bindparam("account"),
    began=sa.bindparam("day", type_=Int),
    tokens=sa.bindparam("tokens", type_=Int),
    cost_nanos=sa.bindparam("cost", type_=Int),
    in_flight=sa.bindparam("waits", type_=Int),
)


def hold(c: sa.Connection, boot_id: BootId, holds: Sequence[BudgetHold]) -> list[Drawn]:
    """Store the sums that a node reserves, and return what is drawn on these accounts, in their order.

    Sums of hub processes that live no longer are deleted.
    """
    if c.dialect.name == "postgresql":  # two nodes that reserve at once would not see each other's sum
        c.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    return [_hold(c, boot_id, own_hold) for own_hold in holds]


def _hold(c: sa.Connection, boot_id: BootId, one: BudgetHold) -> Drawn:
    named = {"boot": boot_id, "account": one.agent_id or "", "day": one.began}
    c.execute(_FORGET, named)
    if one.amount != Spent():
        amount = {"tokens": one.amount.tokens, "cost": one.amount.cost_nanos, "waits": int(one.is_short)}
        c.execute(_HOLD, named | amount)
    tokens, cost, waits = c.execute(_HELD, named).one()
    return Drawn(
        spent=spent_since(c, one.began, agent_id=one.agent_id),
        held=Spent(tokens=int(tokens), cost_nanos=int(cost)),
        is_waited_for=bool(waits),
    )
