"""Exhausted agents (rate limit, no credit): length of the wait, and recovery.

After a rate limit the waits go from a minute to an hour, without credit from ten minutes to six hours,
doubled each time.
"""

import sqlalchemy as sa

from protocol.agent_status import Availability, Axis, ExhaustReason
from protocol.ids import AgentId
from storage.agents.state_moves import axes_in, locked_state, move, next_move, remember
from storage.kernel.columns import Int, unindexed
from storage.schema import agent_states

WAIT_MS, WAIT_CAP_MS = 60_000, 3_600_000  # rate limit: first and longest wait
# billing: first and longest wait before a probe
BILLING_PROBE_MS, BILLING_PROBE_CAP_MS = 600_000, 6 * 3_600_000


EXHAUST = (
    sa.update(agent_states)
    .where(agent_states.c.agent_id == sa.bindparam("agent"))
    .values(
        availability="exhausted",
        exhaust_reason=sa.bindparam("cause"),
        exhausted_at=sa.func.coalesce(agent_states.c.exhausted_at, sa.bindparam("now", type_=Int)),
        recovery_at=sa.bindparam("back"),
        probe_at=sa.bindparam("probe"),
        exhaust_count=sa.bindparam("times"),
        version=agent_states.c.version + 1,
        updated_at=sa.bindparam("now"),
    )
)
_back_at = sa.func.coalesce(agent_states.c.recovery_at, agent_states.c.probe_at)
_is_exhausted = sa.text("agent_states.availability = 'exhausted'")
BACK = (
    sa.select(agent_states.c.agent_id, agent_states.c.exhaust_reason, agent_states.c.recovery_at)
    .where(_is_exhausted, _back_at <= sa.bindparam("now"))
    .order_by(unindexed(agent_states.c.agent_id))
    .with_for_update()
)
NEXT_BACK = sa.select(sa.func.min(_back_at)).where(_is_exhausted)
FORGIVE = (
    sa.update(agent_states)
    .where(agent_states.c.agent_id == sa.bindparam("agent"), agent_states.c.exhaust_count > 0)
    .values(exhaust_count=0, updated_at=sa.bindparam("now"))
)


def exhaust(
    c: sa.Connection,
    agent_id: AgentId,
    *,
    cause: str | None,
    retry_after_ms: int | None = None,
    recovery_at: int | None = None,
    at: int,
    actor: str,
    reason: str | None = None,
    is_last_word: bool = False,
) -> int:
    """Mark the agent as exhausted. Return when it recovers or probes, in epoch milliseconds.

    ``rate_limit``: the provider's delay, but no less than 1 min, 2 min, ... 1 h, doubling with each
    consecutive exhaustion. ``billing``: the recovery is unknown, so ``recovery_at`` is NULL and a probe is
    due after 10 min, 20 min, ... 6 h. ``budget``: when the budget is renewed. An agent that is already
    exhausted keeps the later of the two instants, with its cause.

    Args:
        cause: an ``ExhaustReason``; None: unknown, with the instants of ``billing``.
        retry_after_ms: delay that the provider named; for a budget, the time until its renewal.
        recovery_at: known time of recovery; disables the doubling.
        reason: text for the history.
        is_last_word: a person set it: overwrite a later instant too.

    Raises:
        CodedError (UNKNOWN_AGENT): no agent has the id; nothing was written.
    """
    why = None if cause is None else ExhaustReason(cause)
    row = locked_state(c, agent_id)
    axes = axes_in(row)
    was_exhausted = axes.availability is Availability.EXHAUSTED
    is_known = recovery_at is not None or why is ExhaustReason.BUDGET
    times = row.exhaust_count if was_exhausted or is_known else row.exhaust_count + 1
    if recovery_at is not None:
        back = max(recovery_at, at)
    elif why is ExhaustReason.BUDGET:
        back = at + (WAIT_MS if retry_after_ms is None else retry_after_ms)
    else:
        is_billing = why is not ExhaustReason.RATE_LIMIT
        least, most = (BILLING_PROBE_MS, BILLING_PROBE_CAP_MS) if is_billing else (WAIT_MS, WAIT_CAP_MS)
        back = at + max(retry_after_ms or 0, min(most, least * 2 ** min(max(times - 1, 0), 30)))
    if was_exhausted and not is_last_word:
        known_already = int(row.recovery_at or row.probe_at)
        if known_already >= back:
            return known_already
    is_probe = why is not ExhaustReason.RATE_LIMIT and not is_known
    until = {"back": None, "probe": back} if is_probe else {"back": back, "probe": None}
    c.execute(EXHAUST, {"agent": agent_id, "cause": why, "times": times, "now": at} | until)
    if not was_exhausted:
        to, causes = Availability.EXHAUSTED, ": ".join(filter(None, (why, reason))) or None
        made = next_move(row, Axis.AVAILABILITY, axes.availability, to, reason=causes, actor=actor, at=at)
        remember(c, [(made, axes.after(Axis.AVAILABILITY, Availability.EXHAUSTED))])
    return back


def recover_due(c: sa.Connection, at: int, *, actor: str) -> list[AgentId]:
    """Make every exhausted agent available whose recovery or probe is due. Return their ids."""
    back = c.execute(BACK, {"now": at}).all()
    for row in back:
        reason = "probe" if row.recovery_at is None else "recovered"
        _recover(c, row.agent_id, reason, actor, at)
    return [AgentId(row.agent_id) for row in back]


def recover_agent(c: sa.Connection, agent_id: AgentId, *, at: int, actor: str) -> bool:
    """Make an exhausted agent available at once. Return False if it was not exhausted."""
    if locked_state(c, agent_id).availability != Availability.EXHAUSTED:
        return False
    _recover(c, agent_id, "said to be back", actor, at)
    return True


def _recover(c: sa.Connection, agent_id: AgentId, reason: str, actor: str, at: int) -> None:
    move(c, agent_id, Axis.AVAILABILITY, Availability.AVAILABLE, at=at, actor=actor, reason=reason)


def next_recovery(c: sa.Connection) -> int | None:
    """Return the earliest recovery or probe of all exhausted agents, if any."""
    return c.execute(NEXT_BACK).scalar_one_or_none()


def forgive(c: sa.Connection, agent_id: AgentId, at: int) -> None:
    """Reset the count of consecutive exhaustions, after the model answered."""
    c.execute(FORGIVE, {"agent": agent_id, "now": at})
